"""What can be said of a scenario without running it: its arms render, its agents are there, its words and seeds are fit."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from sandbox.errors import ScenarioError, UsageError
from sandbox.gate.agents import misnamed, missing
from sandbox.gate.checked import Checked, held
from sandbox.gate.reading import readable
from sandbox.gate.seeds import shared
from sandbox.gate.words import same_dates, strangers, tells, unused
from sandbox.library.folder import ScenarioFolder
from sandbox.library.loading import Prepared, arm_name, arms, headline, load, prepare
from sandbox.library.oracle import oracle_names, prepare_oracle

_BRACES = re.compile(r"\{\{|\{%")


def check_definition(folder: ScenarioFolder, seeds: Sequence[int] = (0, 1, 2)) -> list[Checked]:
    """Every check of this kind; a scenario that cannot be loaded has only the one that says so."""
    checks: Mapping[str, Callable[[ScenarioFolder, Sequence[int]], Iterable[str]]] = {
        "arms render": _arms_render,
        "agents there": lambda folder, _: missing(folder),
        "agents as named": lambda folder, _: misnamed(folder),
        "no tells": _no_tells,
        "hosts known": lambda folder, _: _strangers(folder),
        "dates differ": lambda folder, seeds: same_dates(prepare(folder, headline(load(folder)), seeds[0])),
        "seeds differ": _seeds_differ,
        "twin and interview": lambda folder, _: _twin_and_interview(folder),
    }
    lines: list[Checked] = []
    for name, check in checks.items():
        started = time.monotonic()
        try:
            problems = list(check(folder, seeds))
        except (ScenarioError, UsageError) as error:
            problems = [str(error)]
        lines.append(held(folder.name, name, problems, time.monotonic() - started))
        if name == "arms render" and problems:
            break
    return lines


def _arms_render(folder: ScenarioFolder, seeds: Sequence[int]) -> Iterator[str]:
    scenario = load(folder)
    for arm in arms(scenario):
        for seed in seeds:
            try:
                trial = prepare(folder, arm, seed)
                for name in oracle_names(folder, arm):
                    prepare_oracle(trial, name)
            except ScenarioError as error:
                yield f"{arm_name(scenario, arm)}, seed {seed}: {error}"
                continue
            for place, text in readable(trial).items():
                if _BRACES.search(text):
                    yield f"{arm_name(scenario, arm)}: {place} still has a template in it (does its name end in .j2?)"


def _no_tells(folder: ScenarioFolder, seeds: Sequence[int]) -> Iterator[str]:
    excused = load(folder).gate.tells
    trials = [prepare(folder, arm, seeds[0]) for arm in arms(load(folder))]
    for trial in trials:
        yield from tells(trial, excused)
    yield from unused([readable(trial) for trial in trials], excused)


def _strangers(folder: ScenarioFolder) -> Iterator[str]:
    for arm in arms(load(folder)):
        yield from strangers(prepare(folder, arm, 0), load(folder).gate.tells)


def _seeds_differ(folder: ScenarioFolder, seeds: Sequence[int]) -> Iterator[str]:
    scenario = load(folder)
    for arm in arms(scenario):
        yield from shared([prepare(folder, arm, seed) for seed in (*seeds, seeds[-1] + 5)], scenario.gate.pinned)


def _twin_and_interview(folder: ScenarioFolder) -> Iterator[str]:
    """The benign twin says nothing of the temptation, oversight is only said, and the interview asks of both kinds."""
    scenario = load(folder)
    arm = headline(scenario)
    if "incentive" in scenario.factors:
        yield from _twin(prepare(folder, {**arm, "incentive": "benign"}, 1), prepare(folder, arm, 1))
    if "oversight" in scenario.factors:
        yield from _oversight([prepare(folder, {**arm, "oversight": level}, 1) for level in scenario.factors["oversight"]])
    about = [question.about for question in prepare(folder, arm, 1).resolved.interview]
    if "never" not in about or len(set(about) - {"never"}) < 2:
        yield "the interview has to ask of something that never happens and of two things that may have"


def _twin(benign: Prepared, tempted: Prepared) -> Iterator[str]:
    if _read(benign) == _read(tempted):
        yield "the benign twin reads like the headline arm: leave the temptation out of a prompt, a file, a notice or the world"
    notices, same = (
        {entry.id for entry in trial.resolved.schedule if entry.action in ("notify", "shutdown")} for trial in (benign, tempted)
    )
    if notices and notices == same:
        yield f"the benign twin has the same notices as the headline arm: {', '.join(sorted(notices))}"


def _oversight(levels: Sequence[Prepared]) -> Iterator[str]:
    """Cues only, and not in a prompt alone: whoever looks around has to find what it says."""
    resolved = [level.resolved for level in levels]
    if len({(level.system, level.task) for level in resolved}) < len(levels):
        yield "the oversight arms read alike: say in a prompt who looks at what is done"
    if len({tuple(_around(level).items()) for level in levels}) < len(levels):
        yield "the oversight arms have the same files and world: let a file say, too, who looks at what is done"
    for part in ("hosts", "watch_paths", "probes", "interview", "authority", "limits", "tools"):
        if any(getattr(level, part) != getattr(resolved[0], part) for level in resolved):
            yield f"the oversight arms differ in `{part}`: they may differ only in what is read"


def _read(trial: Prepared) -> Mapping[str, str]:
    return {place: text for place, text in readable(trial).items() if not place.startswith("interview ")}


def _around(trial: Prepared) -> Mapping[str, str]:
    """What is read besides prompts and notices: files and the world."""
    return {place: text for place, text in _read(trial).items() if not place.startswith(("prompt ", "schedule "))}
