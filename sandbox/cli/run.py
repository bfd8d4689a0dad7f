"""`belljar run`: plan a study, run it, judge it, report it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from sandbox.cli.execute import carry_on, open_study
from sandbox.cli.models import ModelOptions, expand_models
from sandbox.cli.output import JsonFlag
from sandbox.errors import UsageError
from sandbox.library.loading import ScenarioFolder, find, load, parse_arm
from sandbox.library.loading import names as library_names
from sandbox.plan import Cell, plan_study, write_plan
from sandbox.record.layout import RunLayout
from sandbox.scenario import Scenario

Names = Annotated[list[str] | None, typer.Argument(help="Scenarios: names as `belljar scenarios list` shows them, or folders.")]
Everything = Annotated[bool, typer.Option("--all", help="All scenarios of the library.")]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="openai:NAME (any provider), local:smollm2, local:/path.gguf, oracle:NAME, oracle:all, replay:TRIAL; repeatable.",
    ),
]
Arms = Annotated[
    str,
    typer.Option(help="Cells to run: 'headline', 'all', or levels such as tempted/unwatched,benign/*."),
]


def run(
    names: Names = None,
    everything: Everything = False,
    model: Models = ["local:smollm2"],  # noqa: B006 - typer reads the default, nobody changes it
    arms: Arms = "headline",
    epochs: Annotated[int, typer.Option(min=1, help="Trials a cell; epoch k uses seed + k in every cell.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Base seed of the worlds' contents.")] = 0,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, max=64, help="Trials at once.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder in which the run's own folder is made.")] = Path("runs"),
    steps: Annotated[int | None, typer.Option(min=1, help="Bound on steps, in place of the scenario's.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Bound on tokens, in place of the scenario's.")] = None,
    cost: Annotated[float | None, typer.Option(min=0, help="Bound on US dollars a trial; needs --price.")] = None,
    wall: Annotated[float | None, typer.Option(min=1, help="Bound on seconds a trial, in place of the scenario's.")] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Ask at the terminal before each call.")] = False,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature; the provider's default if left out.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Bound of one reply, in tokens.")] = None,
    reasoning_effort: Annotated[str | None, typer.Option(help="In the provider's words, for example low.")] = None,
    base_url: Annotated[str, typer.Option(help="Address of an OpenAI-compatible server; else $BELLJAR_BASE_URL.")] = "",
    key_file: Annotated[
        str, typer.Option(help="File that holds the API key alone; else $BELLJAR_KEY_FILE or the provider's own variable.")
    ] = "",
    price: Annotated[str, typer.Option(help="US dollars per million input and output tokens, for example 0.15,0.6.")] = "",
    json_actions: Annotated[bool, typer.Option("--json-actions", help="For servers without native tool calls.")] = False,
    runtime: Annotated[str, typer.Option(help="OCI runtime of the hosts, as the daemon knows it, e.g. runsc.")] = "runc",
    json_output: JsonFlag = False,
) -> None:
    """Run scenarios with one or more models and say, with evidence, what the agents did.

    Every trial gets a world of its own in Docker; what it causes is recorded from outside. The run's folder holds
    everything and can be continued with `belljar resume RUN` after Ctrl-C, a crash or a reboot.

    Examples:

      belljar run sabotage/shutdown_script --model oracle:all

      belljar run --all --model openai:my-model --base-url http://localhost:8000/v1 --epochs 10
    """
    folders = _chosen(names or [], everything)
    if cost is not None and not price and any(not m.startswith(("oracle:", "replay:", "local:")) for m in model):
        raise UsageError("--cost bounds nothing where prices are not known.", "Give --price IN,OUT as well.")
    options = ModelOptions(temperature, max_tokens, reasoning_effort, base_url, key_file, price, json_actions)
    limits: dict[str, JsonValue] = {
        name: value
        for name, value in {"steps": steps, "tokens": tokens, "cost_usd": cost, "wall_seconds": wall}.items()
        if value is not None
    }
    layout = RunLayout.new(out)
    plan = plan_study(
        run=layout.id,
        digests={folder.name: folder.digest for folder in folders},
        paths={folder.name: str(folder.path) for folder in folders if folder.name not in library_names()},
        cells=[
            Cell(folder.name, arm, expand_models(model, folder, arm)) for folder in folders for arm in _arms(load(folder), arms)
        ],
        epochs=epochs,
        seed=seed,
        limits=limits,
        sampling=options.recorded(),
        runtime=runtime,
    )
    study = open_study(plan, layout, options, concurrency=concurrency, approve=approve)
    write_plan(plan, layout.study)
    asyncio.run(carry_on(study, json_output=json_output))


def _arms(scenario: Scenario, text: str) -> list[dict[str, str]]:
    """The named cells, each once, in the order they were named."""
    found = [arm for part in text.split(",") for arm in parse_arm(scenario, part.strip())]
    return [arm for n, arm in enumerate(found) if arm not in found[:n]]


def _chosen(names: list[str], everything: bool) -> list[ScenarioFolder]:
    if everything == bool(names):
        raise UsageError("Name scenarios, or say --all.", "`belljar scenarios list` shows them.")
    return find(names or library_names())
