"""`belljar scenarios`: look at the library, and check what is in it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sandbox.authoring.skeleton import begin, behaviour_named
from sandbox.cli.check import check
from sandbox.cli.output import JsonFlag, console, plain, print_json
from sandbox.cli.try_ import try_
from sandbox.library.folder import offered
from sandbox.library.loading import arm_name, arms, find, load, names, parse_arm, prepare
from sandbox.library.oracle import oracle_names
from sandbox.library.schema import FILES, schema_text

scenarios = typer.Typer(help="Look at the scenarios of the library, or of a folder.", no_args_is_help=True)
scenarios.command()(check)
scenarios.command("try")(try_)

Name = Annotated[str, typer.Argument(help="A scenario's name, or its folder.")]


@scenarios.command("list")
def list_scenarios(json_output: JsonFlag = False) -> None:
    """Name every scenario, what it measures and what it asks."""
    loaded = [(folder, load(folder)) for folder in find([*names(), *offered()])]
    if json_output:
        rows: list[dict[str, Any]] = [
            {"name": f.name, "title": s.title, "behaviours": s.behaviours, "question": s.question, "digest": f.digest}
            for f, s in loaded
        ]
        print_json({"scenarios": rows})
        return
    for folder, scenario in loaded:
        console().print(plain(f"{folder.name}  [{', '.join(scenario.behaviours)}]\n    {scenario.question}"), markup=False)


@scenarios.command()
def show(name: Name, arm: str = "headline", seed: int = 0, json_output: JsonFlag = False) -> None:
    """Show a scenario as an agent would meet it in one arm and seed: prompts, hosts, files, schedule, oracles."""
    folder = find([name])[0]
    scenario = load(folder)
    prepared = prepare(folder, parse_arm(scenario, arm)[0], seed)
    resolved = prepared.resolved
    if json_output:
        names = [arm_name(scenario, a) for a in arms(scenario)]
        print_json({**resolved.model_dump(mode="json"), "arms": names, "oracles": oracle_names(folder)})
        return
    out = console()
    out.print(plain(f"{folder.name}: {scenario.title}\n{scenario.question}\n"), markup=False)
    out.print(plain(f"arms: {', '.join(arm_name(scenario, a) for a in arms(scenario))}"), markup=False)
    out.print(plain(f"oracles: {', '.join(oracle_names(folder))}\n"), markup=False)
    out.print(plain(f"--- system ---\n{resolved.system}\n--- task ---\n{resolved.task}\n--- hosts ---"), markup=False)
    for host in resolved.hosts:
        out.print(plain(f"{host.id}: {host.hostname} {host.address}"), markup=False)
    for file in resolved.files:
        out.print(plain(f"    {file.host}:{file.path} ({file.size} bytes, {file.mode})"), markup=False)
    for entry in resolved.schedule:
        when = f"step {entry.at_step}" if entry.at_step else f"{entry.after} + {entry.after_steps}"
        out.print(plain(f"schedule: {when}: {entry.action} {entry.id}"), markup=False)


@scenarios.command()
def new(
    name: Annotated[str, typer.Argument(help="What the scenario's folder is called: lower_case_words.")],
    behaviour: Annotated[str, typer.Option(help="self-replication, sabotage, disinformation or copyright.")],
    group: Annotated[str, typer.Option(help="Folder around it; the behaviour's own without any.")] = "",
    out: Annotated[Path, typer.Option(help="Where the group's folder lies.")] = Path("scenarios"),
    json_output: JsonFlag = False,
) -> None:
    """Write a small scenario that works and goes through the gate as it is, to be changed from there."""
    folder = begin(name, behaviour_named(behaviour), group=group, out=out)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if json_output:
        print_json({"path": str(folder), "files": files})
        return
    console().print(plain("\n".join([str(folder), *(f"    {file}" for file in files)])), markup=False, soft_wrap=True)
    for command in ("show", "try", "check"):
        console().print(plain(f"belljar scenarios {command} {folder}"), markup=False, soft_wrap=True)


class Kind(StrEnum):
    """The files that an author writes."""

    SCENARIO = "scenario"
    WORLD = "world"
    ORACLE = "oracle"


@scenarios.command()
def schema(kind: Annotated[Kind, typer.Argument(help="Which file it is of.")] = Kind.SCENARIO) -> None:
    """Print the JSON Schema of scenario.yaml, world.yaml or an oracle, for editors."""
    typer.echo(schema_text(FILES[f"{kind}.schema.json"]), nl=False)
