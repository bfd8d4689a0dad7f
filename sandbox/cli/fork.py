"""`belljar fork`: go on from a step of a recorded trial, with one thing changed, and say what the change did to the rates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from analysis.contrast import FACTS, Contrast, Share, contrast, share
from analysis.verdict import TrialVerdict, judge
from sandbox.cli.models import ModelOptions, recorded_model
from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.cli.records import record_at
from sandbox.errors import UsageError
from sandbox.library.folder import find
from sandbox.library.loading import Prepared
from sandbox.library.oracle import open_oracle
from sandbox.models.model import Model, open_model
from sandbox.plan import StudyPlan
from sandbox.record.layout import RunLayout
from sandbox.replay.fork import Forked, Forking, check
from sandbox.replay.fork_plan import Change, ForkPlan, read_back
from sandbox.replay.replay import find_scenario, not_ours
from sandbox.study import check_same
from sandbox.trajectory import Trajectory, trajectories

FILE_BYTES = 8 * 2**20


def fork(
    trial: Annotated[Path, typer.Argument(help="A trial's folder, an attempt's, or a ledger.jsonl; with --tree, a run.")],
    at: Annotated[int | None, typer.Option(min=0, help="Go on behind this step; 0 is before the first turn.")] = None,
    number: Annotated[int, typer.Option("-n", min=1, max=1000, help="Continuations, and as many unchanged ones.")] = 1,
    model: Annotated[str, typer.Option("--model", "-m", help="Another model goes on.")] = "",
    temperature: Annotated[float | None, typer.Option(help="Another sampling temperature.")] = None,
    system: Annotated[Path | None, typer.Option(help="File with another system prompt.")] = None,
    message: Annotated[str | None, typer.Option(help="Something the user says now.")] = None,
    result: Annotated[str | None, typer.Option(help="What the step's last tool call is said to have returned.")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="factor=level, from the start; repeatable.")] = None,
    file: Annotated[list[str] | None, typer.Option(help="host:path=LOCAL, written before going on; repeatable.")] = None,
    allow_drift: Annotated[bool, typer.Option("--allow-drift", help="Go on although the rebuilt state differs.")] = False,
    tree: Annotated[bool, typer.Option("--tree", help="Show which trials below the path were forked from which.")] = False,
    scenario: Annotated[Path | None, typer.Option(help="Folder of the scenario, if it is not found by its name.")] = None,
    out: Annotated[Path, typer.Option(help="Folder in which the run's own folder is made.")] = Path("runs"),
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, max=64, help="Trials at once.")] = 2,
    base_url: Annotated[str, typer.Option(help="Address of an OpenAI-compatible server.")] = "",
    key_file: Annotated[str, typer.Option(help="File that holds the API key alone.")] = "",
    json_output: JsonFlag = False,
) -> None:
    """Rebuild a trial's world as of a step, change one thing, and run n continuations beside n unchanged ones.

    The steps before are executed again and compared with the recording; a state that cannot be rebuilt is refused. Without
    any change, the n continuations tell how the trial might have gone on.

    After Ctrl-C or a crash `belljar resume RUN` goes on, as with any other run.

    Examples:

      belljar fork runs/R/trials/T --at 4 --message "Please stop." -n 20

      belljar fork --tree runs
    """
    if tree:
        _show_tree(trial, json_output=json_output)
        return
    if at is None:
        raise UsageError("Say behind which step to fork.", "For example --at 4; `belljar replay --watch` shows the steps.")
    change = Change(model, temperature, _text(system), message, result, _levels(arm or []), _files(file or []))
    plan = ForkPlan((at,), number, change, allow_drift)
    recorded = record_at(trial)
    if temperature is not None and (model or recorded.manifest.model).startswith(("oracle:", "replay:")):
        raise UsageError("Scripted and recorded agents have no temperature.", "Name a --model that goes on, too.")
    options = options_of(recorded, base_url=base_url, key_file=key_file)
    layout = RunLayout.new(out)
    made = make_forks(recorded, plan, options, layout, scenario=scenario, concurrency=concurrency)
    report_forks(recorded, plan, made, layout, json_output=json_output)


def options_of(recorded: Trajectory, *, base_url: str, key_file: str) -> ModelOptions:
    """How the trial's model was reached and sampled, so that continuations differ in nothing that nobody changed."""
    sampling = recorded.manifest.sampling
    told: dict[str, JsonValue] = {**sampling, "json_actions": sampling.get("tool_calls") == "json_actions"}
    return ModelOptions.restored(told, base_url=base_url, key_file=key_file)


def report_forks(recorded: Trajectory, plan: ForkPlan, made: Sequence[Forked], layout: RunLayout, *, json_output: bool) -> None:
    """Print what the continuations of a fork came to."""
    found = outcome(recorded, plan, made, layout)
    if json_output:
        print_json(found)
    else:
        _show(found, console())


def make_forks(
    recorded: Trajectory,
    plan: ForkPlan,
    options: ModelOptions,
    layout: RunLayout,
    *,
    scenario: Path | None,
    concurrency: int,
    follow: Mapping[str, str] | None = None,
) -> list[Forked]:
    """Make a plan's forks on this machine into `layout`, or those that are not there yet; `follow` is what a scan looks for.

    Raises UsageError, NotReadyError, IntegrityError; an interruption says how to go on.
    """
    from sandbox.build import build_environment  # noqa: PLC0415 - imports docker
    from sandbox.cli.execute import stop_on_signals  # noqa: PLC0415 - likewise
    from sandbox.machine import machine_facts, require_ready  # noqa: PLC0415

    if why := not_ours(recorded):
        raise UsageError(f"This trial cannot be forked: {why}.")
    folder = find_scenario(recorded, scenario)
    check(recorded, folder, plan)
    require_ready()
    shared = ForkModels(options)
    forking = Forking(
        recorded=recorded,
        folder=folder,
        plan=plan,
        layout=layout,
        build=build_environment,
        machine=machine_facts(),
        open_model=shared.open,
        concurrency=concurrency,
        told=lambda line: errors().print(plain(line), markup=False),
        sampling=options.recorded(),
        follow=follow or {},
    )

    async def make() -> list[Forked]:
        stop_on_signals()
        try:
            return await forking.run()
        except asyncio.CancelledError:
            text = f"\ninterrupted; go on with: belljar resume {layout.root}"
            errors().print(plain(text), markup=False, soft_wrap=True)
            raise typer.Exit(130) from None
        finally:
            await shared.close()

    return asyncio.run(make())


def resume_forks(study: StudyPlan, layout: RunLayout, options: ModelOptions, *, concurrency: int, json_output: bool) -> None:
    """Make what is left of a run of forks or of a scan, and report all of it. Raises as `make_forks`."""
    from sandbox.hosts.sweep import sweep  # noqa: PLC0415 - imports docker

    plan, recorded, follow = read_back(study, layout)
    folder = next(iter(study.paths.values()), None)
    check_same(study, {name: find([path])[0].digest for name, path in study.paths.items()})
    sweep({"belljar.run": study.run})
    made = make_forks(
        recorded, plan, options, layout, scenario=Path(folder) if folder else None, concurrency=concurrency, follow=follow
    )
    if follow:
        from sandbox.cli.scan import report_scan  # noqa: PLC0415 - which imports this module

        report_scan(recorded, made, layout, follow["behaviour"], follow["fact"], json_output=json_output)
    else:
        report_forks(recorded, plan, made, layout, json_output=json_output)


class ForkModels:
    """Opens each spec and temperature once, oracles once a trial."""

    def __init__(self, options: ModelOptions) -> None:
        self._options = options
        self._open: dict[tuple[str, float | None], Model] = {}

    async def open(self, spec: str, temperature: float | None, prepared: Prepared) -> Model:
        if spec.startswith("oracle:"):
            return open_oracle(spec.removeprefix("oracle:"), prepared)
        key = (spec, temperature)
        if key not in self._open:
            options = ModelOptions(**{**self._options.__dict__, "temperature": temperature})
            self._open[key] = open_model(spec, options.settings(), kinds={"replay": recorded_model})
        return self._open[key]

    async def close(self) -> None:
        for model in self._open.values():
            await model.close()


def outcome(recorded: Trajectory, plan: ForkPlan, made: Sequence[Forked], layout: RunLayout) -> dict[str, Any]:
    """What `belljar fork --json` prints: each continuation, and each behaviour's facts in both branches."""
    verdicts = {fork.trial: judge(fork.trajectory, path=str(fork.trajectory.layout.root)) for fork in made}
    changed = [verdicts[fork.trial] for fork in made if fork.branch == "changed"]
    control = [verdicts[fork.trial] for fork in made if fork.branch == "control"]
    behaviours = behaviours_of(recorded, verdicts.values())
    return {
        "run": str(layout.root),
        "parent": {"trial": recorded.manifest.trial, "run": recorded.manifest.run, "step": plan.at[0]},
        "change": plan.change.recorded(),
        "forks": [told(fork, verdicts[fork.trial]) for fork in made],
        "rates": [
            (contrast(changed, control, b, fact) if changed else _alone(control, b, fact)).model_dump(mode="json")
            for b in behaviours
            for fact in FACTS
        ],
    }


def _alone(control: Sequence[TrialVerdict], behaviour: str, fact: str) -> Contrast:
    """Without a change there is nothing to compare with."""
    nothing = share([], behaviour, fact)
    found = share(control, behaviour, fact)
    return Contrast(behaviour=behaviour, fact=fact, changed=nothing, control=found, difference=None, interval=None)


def behaviours_of(recorded: Trajectory, verdicts: Any) -> list[str]:
    """The behaviours that the scenario is about; all four if it does not say."""
    named = recorded.manifest.resolved.get("behaviours")
    known = next((list(verdict.verdicts) for verdict in verdicts), [])
    return [b for b in known if not isinstance(named, list) or b in named] or known


def told(fork: Forked, verdict: TrialVerdict) -> dict[str, Any]:
    """One continuation for `--json`."""
    rebuilt = fork.rebuilt
    return {
        "trial": fork.trial,
        "path": str(fork.trajectory.layout.root),
        "step": fork.step,
        "branch": fork.branch,
        "status": verdict.status,
        "stop_reason": verdict.stop_reason,
        "outcome": verdict.outcome,
        "state": {"digest": rebuilt.digest, "recorded": rebuilt.expected, "exact": rebuilt.exact, "same": rebuilt.same,
                  "differs": rebuilt.told()} if rebuilt else None,
    }  # fmt: skip


def _show(found: dict[str, Any], out: Console) -> None:
    state = next((fork["state"] for fork in found["forks"] if fork["state"]), None)
    if state:
        out.print(plain(f"rebuilt state: {_state_text(state)}"), markup=False, soft_wrap=True)
    table = Table("behaviour", "fact", "changed", "unchanged", "difference", box=None, pad_edge=False)
    for row in found["rates"]:
        if not (row["changed"]["trials"] or row["control"]["trials"]):
            continue
        table.add_row(row["behaviour"], row["fact"], rate_text(row["changed"]), rate_text(row["control"]), _gap(row))
    out.print(table)
    invalid = [fork for fork in found["forks"] if fork["status"] != "valid"]
    if invalid:
        text = f"{len(invalid)} of {len(found['forks'])} continuations are invalid ({invalid[0]['stop_reason']})"
        out.print(plain(f"{text} and count in no rate"), markup=False)
    out.print(plain(f"forks: {found['run']}"), markup=False, soft_wrap=True)


def _gap(row: Mapping[str, Any]) -> str:
    """`+0.25 (+0.03 to +0.47)`; `-0.40 to +0.30 (-0.58 to +0.49)` where facts are undetermined."""
    if row["interval"] is None:
        return "-"
    said = f"{row['difference']:+.2f}" if row["possible"] is None else "{:+.2f} to {:+.2f}".format(*row["possible"])
    return f"{said} ({row['interval'][0]:+.2f} to {row['interval'][1]:+.2f})"


def _state_text(state: Mapping[str, Any]) -> str:
    if state["same"] is None:
        return f"not compared, since {state['differs']}"
    if not state["same"]:
        return f"not the recorded one: {state['differs']}"
    return f"the recorded one, but {state['differs']}" if state["differs"] else "the recorded one"


def rate_text(one: dict[str, Any] | Share) -> str:
    """`3/20 0.15 (0.05 to 0.36)`, and how many could not be determined."""
    got = one.model_dump() if isinstance(one, Share) else one
    if got["rate"] is None:
        return f"? of {got['trials']}" if got["trials"] else "-"
    low, high = got["interval"]
    unknown = f", {got['undetermined']} undetermined" if got["undetermined"] else ""
    return f"{got['hits']}/{got['known']} {got['rate']:.2f} ({low:.2f} to {high:.2f}){unknown}"


def _text(path: Path | None) -> str | None:
    return None if path is None else _read(path).decode("utf-8", "replace")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > FILE_BYTES:
        raise UsageError(f"{path} is larger than {FILE_BYTES:,} bytes.")
    return data


def _levels(given: Sequence[str]) -> dict[str, str]:
    levels = {}
    for text in given:
        factor, equals, level = text.partition("=")
        if not (factor and equals and level):
            raise UsageError(f"'{text}' is not a level of a factor.", "Write factor=level, for example oversight=watched.")
        levels[factor] = level
    return levels


def _files(given: Sequence[str]) -> dict[tuple[str, str], bytes]:
    files = {}
    for text in given:
        place, equals, local = text.partition("=")
        host, colon, path = place.partition(":")
        if not (host and colon and path.startswith("/") and equals and local):
            raise UsageError(f"'{text}' does not say which file.", "Write host:/absolute/path=LOCAL, e.g. agent:/srv/x=./x.")
        files[host, path] = _read(Path(local))
    return files


def _show_tree(path: Path, *, json_output: bool) -> None:
    roots = family(path)
    if json_output:
        print_json({"path": str(path), "roots": roots})
        return
    out = console()
    for root in roots:
        grown = Tree(plain(root["name"]).replace("[", "\\["))
        _grow(grown, root["children"])
        out.print(grown)
    if not roots:
        out.print("no forks", markup=False)


def _grow(tree: Tree, children: Sequence[dict[str, Any]]) -> None:
    for child in children:
        _grow(tree.add(plain(child["name"]).replace("[", "\\[")), child["children"])


def family(path: Path) -> list[dict[str, Any]]:
    """Trials that were forked, each with its forks by step, branch and change, and theirs in turn: name, trials, children."""
    children: dict[tuple[str, str], dict[tuple[int, str, str], list[tuple[str, str, str]]]] = {}
    known: set[tuple[str, str]] = set()
    for trajectory in trajectories(path):
        started = trajectory.started
        if started is None or not started.parent or "step" not in started.parent:
            continue
        parent = started.parent
        above = (str(parent.get("run")), str(parent.get("trial")))
        step = parent["step"]
        key = (
            step if isinstance(step, int) else 0,
            str(parent.get("branch")),
            json.dumps(parent.get("change"), sort_keys=True),
        )
        ended = trajectory.finished.stop_reason if trajectory.finished else "torn"
        children.setdefault(above, {}).setdefault(key, []).append((started.run, started.trial, ended))
        known.add((started.run, started.trial))
    return [_branch(root, f"{root[1]} ({root[0]})", children, set()) for root in sorted(children.keys() - known)]


def _branch(
    node: tuple[str, str],
    name: str,
    children: dict[tuple[str, str], dict[tuple[int, str, str], list[tuple[str, str, str]]]],
    above: set[tuple[str, str]],
) -> dict[str, Any]:
    """One trial and what was forked from it; a trial among its own ancestors, which only a forged ledger has, is left out."""
    groups = []
    for (step, branch, change), trials in sorted(children.get(node, {}).items()):
        text = "unchanged" if change == "{}" else change
        ends = ", ".join(f"{sum(end == e for *_, end in trials)} {e}" for e in sorted({end for *_, end in trials}))
        forked = [t[:2] for t in trials if t[:2] in children and t[:2] not in above | {node}]
        inner = [_branch(t, f"{t[1]} ({t[0]})", children, above | {node}) for t in forked]
        groups.append(
            {
                "name": f"step {step}, {branch}, {text}: {len(trials)} ({ends})",
                "trials": [t[1] for t in trials],
                "children": inner,
            }
        )
    return {"name": name, "trials": [node[1]], "children": groups}
