"""From a scenario's folder to one trial: find it, load it, and resolve it for an arm and a seed.

`find` reads folders, `load` checks what an author declared, `arms` expands the factors, and `prepare` fills in variables, drops
what belongs to other arms and gathers the bytes that are planted. Nothing here starts anything; the same folder, arm, seed and
limits always give the same `Prepared`, apart from the dates of planted files, which count back from now.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue, ValidationError

from sandbox.environment import EnvironmentSpec, FileSpec, HostLimits, HostSpec, ServiceSpec
from sandbox.errors import ScenarioError, UsageError
from sandbox.library.author_error import author_error
from sandbox.library.document import Document, Path, parse
from sandbox.library.folder import DECLARATION, ScenarioFolder, find, names
from sandbox.library.mistakes import all_of
from sandbox.library.planting import asset_digests, plant, utf8
from sandbox.library.references import check_arm, check_scenario, check_whens
from sandbox.library.template import check as check_template
from sandbox.library.template import render
from sandbox.library.variables import Value, draw, recorded
from sandbox.scenario import Asset, FileFact, Limits, Resolved, Scenario
from sandbox.world import spec as worldspec
from sandbox.world.plan import plan
from sandbox.world.services import ACTING

DEFAULT_LEVELS = {"incentive": "tempted", "oversight": "unwatched"}
"""The headline's level of a factor that the scenario's `headline` does not name; of other factors, the first one."""


@dataclass(frozen=True)
class Prepared:
    """One trial's scenario. `files` are the planted files by host, `context` what templates of this trial may use."""

    folder: ScenarioFolder
    scenario: Scenario
    resolved: Resolved
    files: Mapping[str, tuple[FileSpec, ...]]
    context: Mapping[str, Value]

    def environment_spec(self) -> EnvironmentSpec:
        """What the environment is built from."""
        hosts = []
        for host in self.resolved.hosts:
            services = tuple(ServiceSpec(s.id, s.argv, s.cwd, s.port) for s in host.services)
            hosts.append(
                HostSpec(
                    id=host.id,
                    hostname=host.hostname,
                    address=host.address,
                    image="host" if host.ssh else "base",
                    trees=host.trees,
                    files=tuple(self.files.get(host.id, ())),
                    services=services,
                    env=host.env,
                    limits=HostLimits(**host.limits.model_dump()),
                    ssh=host.ssh,
                )
            )
        return EnvironmentSpec(
            hosts=tuple(hosts),
            world=self.resolved.world,
            watch_paths=self.resolved.watch_paths,
            canaries=self._canaries(),
        )

    def _canaries(self) -> dict[str, bytes]:
        """The planted bytes of the assets that are to be recognised elsewhere, by asset id."""
        planted = {(host, file.path): file.data for host, files in self.files.items() for file in files}
        wanted = {asset.id: (asset.host, asset.path) for asset in self.resolved.assets if asset.canary}
        return {asset: planted[place] for asset, place in wanted.items() if place in planted}


def load(folder: ScenarioFolder) -> Scenario:
    """The scenario that `folder` declares, with every reference and template in it checked. Raises ScenarioError."""
    return _loaded(folder)[1]


def arms(scenario: Scenario) -> list[dict[str, str]]:
    """Every cell of the factors' matrix, the last factor varying fastest."""
    return [dict(zip(scenario.factors, levels, strict=True)) for levels in itertools.product(*scenario.factors.values())]


def headline(scenario: Scenario) -> dict[str, str]:
    """The arm that the scenario's question is about."""
    arm = {}
    for factor, levels in scenario.factors.items():
        default = DEFAULT_LEVELS.get(factor, "")
        arm[factor] = scenario.headline.get(factor) or (default if default in levels else levels[0])
    return arm


def arm_name(scenario: Scenario, arm: Mapping[str, str]) -> str:
    """`tempted/unwatched/stated`: the levels in the order of the scenario's factors."""
    return "/".join(arm[factor] for factor in scenario.factors)


def parse_arm(scenario: Scenario, text: str) -> list[dict[str, str]]:
    """The arms that `text` names: `headline`, `all`, or levels such as `benign/unwatched`, `*` for every level.

    Levels stand in the order of the factors; factors that are left out at the end keep their headline level. Raises UsageError.
    """
    if text == "headline":
        return [headline(scenario)]
    if text == "all":
        return arms(scenario)
    given = text.split("/")
    choices = []
    for place, (factor, levels) in enumerate(scenario.factors.items()):
        level = given[place] if place < len(given) else headline(scenario)[factor]
        if level != "*" and level not in levels:
            raise UsageError(
                f"'{text}' is not an arm of this scenario: {factor} is one of {', '.join(levels)}.", _near(level, levels)
            )
        choices.append(levels if level == "*" else (level,))
    if len(given) > len(scenario.factors):
        raise UsageError(f"'{text}' has more levels than there are factors ({', '.join(scenario.factors)}).")
    return [dict(zip(scenario.factors, levels, strict=True)) for levels in itertools.product(*choices)]


def prepare(
    folder: ScenarioFolder,
    arm: Mapping[str, str],
    seed: int,
    *,
    limits: Mapping[str, JsonValue] | None = None,
    now: int | None = None,
) -> Prepared:
    """Resolve the scenario for one trial. `limits` replaces single limits; `now` (Unix seconds) is what files are dated by.

    Raises ScenarioError for an author's mistake, UsageError for an arm or limit that does not exist.
    """
    document, scenario = _loaded(folder)
    arm = _checked_arm(scenario, arm)
    lines = {name: document.line(("variables", name)) for name in scenario.variables}
    values = draw(scenario.variables, scenario=folder.name, seed=seed, file=document.file, lines=lines)
    context: dict[str, Value] = {**values, **arm, "seed": seed}
    resolved_document = fill_in(_without_variables(document), context, arm)
    declared = _validate(Scenario, resolved_document)
    check_arm(declared, resolved_document)
    files, facts = plant(folder, declared, resolved_document, context, seed=seed, now=int(time.time()) if now is None else now)
    resolved = Resolved(
        name=folder.name,
        digest=folder.digest,
        arm=dict(arm),
        seed=seed,
        title=declared.title,
        question=declared.question,
        behaviours=declared.behaviours,
        tags=declared.tags,
        variables=recorded(values),
        system=_prompt(folder, declared.prompts.system, context),
        task=_prompt(folder, declared.prompts.task, context),
        tools=declared.tools,
        limits=_limits(declared.limits, limits or {}),
        hosts=tuple(sorted(declared.hosts, key=lambda host: host.id != "agent")),
        files=facts,
        world=_world(folder, declared, context, arm),
        assets=asset_digests(declared.assets, facts),
        assets_of_all_arms=_assets_of_all_arms(document, scenario, {**values, "seed": seed}),
        authority=declared.authority,
        needed_replicas=declared.needed_replicas,
        watch_paths=declared.watch_paths,
        schedule=declared.schedule,
        probes=declared.probes,
        task_probe=declared.task_probe,
        success=declared.success,
        interview=declared.interview,
        primary_indicator=declared.primary_indicator,
        peers=declared.peers,
        must_report=declared.must_report,
    )
    prepared = Prepared(folder, scenario, resolved, files, context)
    _check_layout(prepared, resolved_document, folder.where(declared.world or ""))
    return prepared


def _check_layout(prepared: Prepared, document: Document, where: str) -> None:
    """Whether hosts and parties of the world in file `where` fit together, and the schedule speaks of parties that can act."""
    world, parties = prepared.resolved.world, []
    if world is not None:
        parties = plan(worldspec.check(world, file=where), prepared.environment_spec().hosts).config["parties"]
    acting = [party["id"] for party in parties if party["type"] in ACTING]
    for index, entry in enumerate(prepared.resolved.schedule):
        if entry.action == "world" and entry.arguments.get("service") not in acting:
            raise document.error(
                ("schedule", index, "arguments"),
                f"{entry.id}: the world has no service {entry.arguments.get('service', '')!r} that a schedule can act on.",
                f"Name one as `service`: {', '.join(acting) or 'none of this world can act'}.",
            )


def _assets_of_all_arms(document: Document, scenario: Scenario, context: Mapping[str, Value]) -> tuple[Asset, ...]:
    """Each asset that some arm has, as it is with these variables; without digests, which differ."""
    declared = dataclasses.replace(document, data={"assets": document.data.get("assets", [])})
    found = [entry for arm in arms(scenario) for entry in fill_in(declared, {**context, **arm}, arm).data["assets"]]
    order = [entry["id"] for entry in declared.data["assets"]]
    assets = {asset.model_dump_json(): asset for asset in map(Asset.model_validate, found)}
    return tuple(sorted(assets.values(), key=lambda asset: order.index(asset.id)))


@functools.lru_cache(maxsize=64)
def _loaded(folder: ScenarioFolder) -> tuple[Document, Scenario]:
    document = parse(folder.where(DECLARATION), folder.files[DECLARATION])
    scenario = _validate(Scenario, document)
    check_scenario(scenario, document, folder)
    all_of(
        [
            lambda: _check_variables(document, scenario),
            lambda: check_templates(_without_variables(document), scenario),
            lambda: _check_other_templates(folder, scenario),
        ]
    )
    return document, scenario


def _check_other_templates(folder: ScenarioFolder, scenario: Scenario) -> None:
    """Prompts, the world and planted templates, whichever arm they belong to."""
    known = dict.fromkeys([*scenario.variables, *scenario.factors, "seed"])
    if scenario.world is not None:
        document = _world_document(folder, scenario.world)
        check_whens(document, scenario.factors)
        check_templates(document, scenario)
    templates = [f"files/{name}" for name in folder.below("files") if name.endswith(".j2")]
    read = [scenario.prompts.system, scenario.prompts.task, *templates]
    all_of([lambda n=name: check_template(utf8(folder, n), known, file=folder.where(n)) for name in read])  # type: ignore[misc]


def _validate(model: type[Scenario], document: Document) -> Scenario:
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise author_error(document, model, error) from None


def _check_variables(document: Document, scenario: Scenario) -> None:
    known: dict[str, Any] = {"seed": 0}
    for name, variable in scenario.variables.items():
        if variable.text is not None:
            line = document.text_lines.get(("variables", name, "text"), document.line(("variables", name)))
            try:
                check_template(variable.text, known, file=document.file, line=line)
            except ScenarioError as error:
                raise _in_a_circle(error, name, document, scenario) from None
        known[name] = None


def _in_a_circle(error: ScenarioError, name: str, document: Document, scenario: Scenario) -> ScenarioError:
    """What is wrong with the text of variable `name`, said plainly where it uses a variable below it, or itself in the end."""
    text = scenario.variables[name].text or ""
    used = [other for other in scenario.variables if re.search(rf"{{[{{%][^}}]*\b{other}\b", text)]
    after = list(scenario.variables)[list(scenario.variables).index(name) :]
    late = next((other for other in used if other in after), None)
    if late is None:
        return error
    back = re.search(rf"\b{name}\b", scenario.variables[late].text or "") is not None
    what = (
        "refer to each other" if back and late != name else "refers to itself" if late == name else "uses one declared below it"
    )
    names = f"`{name}` and `{late}`" if late != name and back else f"`{name}`"
    fix = "Break the circle." if back else f"Declare `{late}` above it."
    return document.error(("variables", name), f"{names} {what}{'' if back or late == name else f': `{late}`'}.", fix)


def check_templates(document: Document, scenario: Scenario) -> None:
    """Every template in `document` compiles and uses only the scenario's variables and factors. Raises ScenarioError."""
    known = {**dict.fromkeys([*scenario.variables, *scenario.factors, "seed"])}
    places = [(text, document.text_lines.get(path, document.line(path))) for path, text in _texts(document.data, ())]
    all_of(
        [lambda t=text, n=line: check_template(t, known, file=document.file, line=n) for text, line in places]  # type: ignore[misc]
    )


def fill_in(document: Document, context: Mapping[str, Value], arm: Mapping[str, str]) -> Document:
    """The document for one arm: without the entries of others, without `when`, templates rendered. Raises ScenarioError."""
    filled = document.transform(
        lambda entry: _belongs(entry, arm), lambda text, line: render(text, context, file=document.file, line=line)
    )
    return dataclasses.replace(filled, data=_without_when(filled.data))


def _texts(value: Any, path: Path) -> list[tuple[Path, str]]:
    """Every text and key that may hold a template, and where it stands."""
    if isinstance(value, str):
        return [(path, value)] if "{" in value else []
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in _texts(item, (*path, index))]
    if isinstance(value, dict):
        keys = [((*path, key), key) for key in value if "{" in key]
        return keys + [found for key, item in value.items() for found in _texts(item, (*path, key))]
    return []


def _without_variables(document: Document) -> Document:
    """The document without its variables, which are drawn, not rendered."""
    data = {key: value for key, value in document.data.items() if key != "variables"}
    return dataclasses.replace(document, data=data)


def _belongs(entry: Any, arm: Mapping[str, str]) -> bool:
    when = entry.get("when") if isinstance(entry, dict) else None
    return matches(when or {}, arm)


def matches(when: Mapping[str, Any], arm: Mapping[str, str]) -> bool:
    """Whether an entry with this `when` belongs to `arm`: every factor it names has one of its levels."""
    return all(arm[factor] in ([levels] if isinstance(levels, str) else levels) for factor, levels in when.items())


def _checked_arm(scenario: Scenario, arm: Mapping[str, str]) -> dict[str, str]:
    for factor, level in arm.items():
        if factor not in scenario.factors:
            raise UsageError(f"The scenario has no factor '{factor}'.", _near(factor, tuple(scenario.factors)))
        if level not in scenario.factors[factor]:
            raise UsageError(f"The factor {factor} has no level '{level}'.", _near(level, scenario.factors[factor]))
    return {factor: arm.get(factor, level) for factor, level in headline(scenario).items()}


def _near(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."


def _limits(declared: Limits, replaced: Mapping[str, JsonValue]) -> Limits:
    try:
        return Limits.model_validate({**declared.model_dump(), **replaced})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"The limit {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}.") from None


def _prompt(folder: ScenarioFolder, path: str, context: Mapping[str, Value]) -> str:
    return render(utf8(folder, path), context, file=folder.where(path)).strip() + "\n"


@functools.lru_cache(maxsize=64)
def _world_document(folder: ScenarioFolder, path: str) -> Document:
    return parse(folder.where(path), folder.files[path])


def _world(
    folder: ScenarioFolder, declared: Scenario, context: Mapping[str, Value], arm: Mapping[str, str]
) -> dict[str, Any] | None:
    if declared.world is None:
        return None
    where = folder.where(declared.world)
    document = fill_in(_world_document(folder, declared.world), context, arm)
    if not isinstance(document.data, dict):
        raise ScenarioError("a world is a mapping.", "Begin with `names:`, `sites:` or `services:`.", file=where, line=1)
    try:
        worldspec.WorldSpec.model_validate(document.data)
    except ValidationError as error:
        raise author_error(document, worldspec.WorldSpec, error) from None
    return worldspec.inline(document.data, folder.path / declared.world.rpartition("/")[0])


def _without_when(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_when(item) for key, item in value.items() if key != "when"}
    return [_without_when(item) for item in value] if isinstance(value, list) else value


__all__ = [
    "FileFact", "Prepared", "ScenarioFolder", "arm_name", "arms", "find", "headline", "load", "matches", "names", "parse_arm",
    "prepare",
]  # fmt: skip
