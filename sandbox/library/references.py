"""Whether the parts of a scenario fit together: every name that one part uses is declared by another.

What holds for every arm is checked once, when the scenario is loaded; what depends on which entries an arm keeps, when it is
resolved. Each mistake is a ScenarioError with file, line and the fix.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sandbox.library.document import Document, Path
from sandbox.library.folder import ScenarioFolder
from sandbox.library.mistakes import all_of
from sandbox.library.variables import POOLS
from sandbox.scenario import INSTANCES, MILESTONES, Scenario

TOOL_NAMES = (
    "bash",
    "read_file",
    "write_file",
    "list_files",
    "http_request",
    "dns_lookup",
    "ssh_run",
    "send_mail",
    "read_mail",
    "post",
    "search_web",
    "submit",
)
"""What a scenario may give (`tools/`, which the engine's vocabulary does not import; a test compares them)."""

HOME = "/home/agent"


def check_scenario(scenario: Scenario, document: Document, folder: ScenarioFolder) -> None:
    """What holds whichever arm is run."""
    _check_factors(scenario, document)
    all_of(
        [
            lambda: check_whens(document, scenario.factors),
            lambda: _check_variables(scenario, document),
            lambda: _check_tools(scenario, document),
            lambda: _check_sources(scenario, document, folder),
            lambda: _check_success(scenario, document),
        ]
    )


def _check_tools(scenario: Scenario, document: Document) -> None:
    for index, tool in enumerate(scenario.tools):
        _one_of(tool, TOOL_NAMES, document, ("tools", index), "tool")
    if "submit" not in scenario.tools:
        raise document.error(("tools",), "the agent has no way to end its task.", "Add `submit` to the tools.")


def _check_success(scenario: Scenario, document: Document) -> None:
    for behaviour in scenario.behaviours:
        if behaviour not in scenario.success:
            fix = f"Name one of {', '.join(MILESTONES[behaviour])}."
            raise document.error(("success",), f"nothing says when {behaviour} has succeeded.", fix)
    for behaviour, milestone in scenario.success.items():
        _one_of(milestone, MILESTONES[behaviour], document, ("success", behaviour), f"milestone of {behaviour}")


def _check_variables(scenario: Scenario, document: Document) -> None:
    for name in scenario.variables:
        if name in scenario.factors or name in ("seed", "loop", "range"):
            raise document.error(("variables", name), f"the name `{name}` is taken.", "Call the variable otherwise.")
    for kind, size in POOLS.items():
        count = sum(1 for variable in scenario.variables.values() if getattr(variable, kind))
        if count * 2 > size:
            raise document.error(("variables",), f"{count} variables of the kind {kind} are too many.", f"At most {size // 2}.")


def _check_sources(scenario: Scenario, document: Document, folder: ScenarioFolder) -> None:
    for key in ("system", "task"):
        _check_file(getattr(scenario.prompts, key), document, ("prompts", key), folder)
    if scenario.world is not None:
        _check_file(scenario.world, document, ("world",), folder)
    known = folder.below("files")
    for index, file in enumerate(scenario.files):
        if file.source is not None and file.source not in known and not folder.below(f"files/{file.source}"):
            near = difflib.get_close_matches(file.source, list(known), n=1)
            fix = f"Did you mean {near[0]}?" if near else f"Put it into {folder.where('files/')}."
            raise document.error(("files", index, "source"), f"there is no file or folder files/{file.source}.", fix)


def _check_factors(scenario: Scenario, document: Document) -> None:
    if not scenario.factors:
        raise document.error(("factors",), "there is no factor.", "Leave `factors` out to have incentive and oversight.")
    for factor, levels in scenario.factors.items():
        if not levels or len(set(levels)) != len(levels):
            raise document.error(
                ("factors", factor), f"the levels of {factor} must be different, and at least one.", "Correct the list."
            )
        for level in levels:
            if not level.replace("_", "").replace("-", "").isalnum():
                raise document.error(
                    ("factors", factor), f"the level {level!r} is not a word.", "Use letters, digits, - and _."
                )
    if "incentive" in scenario.factors and "benign" not in scenario.factors["incentive"]:
        raise document.error(
            ("factors", "incentive"), "there is no `benign` level: a scenario needs its benign twin.", "Add it."
        )
    check_when(scenario.headline, scenario.factors, document, ("headline",))


def check_when(when: Any, factors: dict[str, tuple[str, ...]], document: Document, path: Path) -> None:
    """A mapping from factors to levels; `path` is where it stands."""
    if not isinstance(when, dict):
        raise document.error(path, "`when` is a mapping from factor to level.", "Write `when: {incentive: tempted}`.")
    for factor, wanted in when.items():
        _one_of(factor, tuple(factors), document, (*path, factor), "factor")
        for level in [wanted] if isinstance(wanted, str) else wanted:
            _one_of(str(level), factors[factor], document, (*path, factor), f"level of {factor}")


def check_whens(document: Document, factors: dict[str, tuple[str, ...]]) -> None:
    """Every `when` of a list entry in `document` names factors and levels that exist. Raises ScenarioError."""
    for path, when in _whens(document.data, ()):
        check_when(when, factors, document, path)


def _whens(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "when" and path and isinstance(path[-1], int):
                yield (*path, key), item
            else:
                yield from _whens(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _whens(item, (*path, index))


def _check_file(name: str, document: Document, path: Path, folder: ScenarioFolder) -> None:
    if name not in folder.files:
        near = difflib.get_close_matches(name, list(folder.files), n=1)
        raise document.error(
            path, f"there is no file {name}.", f"Did you mean {near[0]}?" if near else f"Create {folder.where(name)}."
        )


def _one_of(word: str, known: Iterable[str], document: Document, path: Path, what: str) -> None:
    known = tuple(known)
    if word in known:
        return
    near = difflib.get_close_matches(word, known, n=1)
    fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known) or 'none'}."
    raise document.error(path, f"there is no {what} {word!r}.", fix)


def check_arm(scenario: Scenario, document: Document) -> None:
    """What holds among the entries that belong to one arm."""
    for key in ("hosts", "assets", "schedule", "probes", "interview", "peers"):
        _unique([entry.id for entry in getattr(scenario, key)], document, key)
    _check_hosts(scenario, document)
    parts = (_check_files, _check_assets, _check_schedule, _check_probes, _check_questions)
    all_of([functools.partial(check, scenario, document) for check in parts])
    for index, path in enumerate(scenario.watch_paths):
        if not path.startswith("/"):
            raise document.error(("watch_paths", index), f"{path!r} is not absolute.", "Write an absolute path.")


def _check_questions(scenario: Scenario, document: Document) -> None:
    for index, question in enumerate(scenario.interview):
        _check_about(question.about, document, ("interview", index, "about"))


def _unique(ids: Sequence[str], document: Document, key: str) -> None:
    for index, name in enumerate(ids):
        if name in ids[:index]:
            raise document.error(
                (key, index), f"`{name}` is declared twice in {key}.", "Give each its own id, or `when` that differ."
            )


def _check_hosts(scenario: Scenario, document: Document) -> None:
    hosts = [host.id for host in scenario.hosts]
    if "agent" not in hosts:
        raise document.error(("hosts",), "there is no host with the id `agent`.", "The agent's shell needs one.")
    if INSTANCES in hosts:
        at = ("hosts", hosts.index(INSTANCES), "id")
        raise document.error(at, f"`{INSTANCES}` stands for the machines of the world's cloud.", "Call the host otherwise.")
    if len(hosts) > 1 and scenario.world is None:
        other = next(index for index, host in enumerate(hosts) if host != "agent")
        fix = "Give the scenario a `world`, for example one whose `network` holds the hosts' addresses."
        raise document.error(("hosts", other), f"nobody can reach {hosts[other]}: without a world hosts have no network.", fix)
    for index, host in enumerate(scenario.hosts):
        _unique([service.id for service in host.services], document, "hosts")
        if len(hosts) > 1 and host.id != "agent" and not host.address:
            raise document.error(("hosts", index), f"nothing says where {host.id} is reached.", "Give it an `address`.")
        for place, tree in enumerate(host.trees):
            if not tree.startswith("/") or ".." in tree.split("/"):
                raise document.error(("hosts", index, "trees", place), f"{tree!r} is not an absolute path.", "Write one.")


def _check_files(scenario: Scenario, document: Document) -> None:
    trees = {host.id: (*host.trees, HOME, "/tmp") for host in scenario.hosts}  # noqa: S108 - a path inside the host
    for index, file in enumerate(scenario.files):
        _one_of(file.host, trees, document, ("files", index, "host"), "host")
        if ".." in file.path.split("/"):
            raise document.error(("files", index, "path"), f"{file.path!r} contains `..`.", "Write the path itself.")
        if not any(is_below(file.path, tree) for tree in trees[file.host]):
            fix = f"Add a folder around it to the host's `trees` (writable: {', '.join(trees[file.host])})."
            raise document.error(("files", index, "path"), f"{file.path} is in the read-only part of {file.host}.", fix)


def _check_assets(scenario: Scenario, document: Document) -> None:
    services = {host.id: {service.id for service in host.services} for host in scenario.hosts}
    for index, asset in enumerate(scenario.assets):
        _one_of(asset.host, services, document, ("assets", index, "host"), "host")
        if not asset.path and not asset.process:
            raise document.error(("assets", index), f"`{asset.id}` is neither a path nor a process.", "Give one of them.")
        if asset.process:
            _one_of(asset.process, services[asset.host], document, ("assets", index, "process"), f"service on {asset.host}")
    assets = [asset.id for asset in scenario.assets]
    for index, authority in enumerate(scenario.authority):
        _one_of(authority.asset, assets, document, ("authority", index, "asset"), "asset")
        for place, host in enumerate(authority.hosts):
            _one_of(host, (*services, INSTANCES), document, ("authority", index, "hosts", place), "host")
    for index, peer in enumerate(scenario.peers):
        for place, name in enumerate(peer.assets):
            _one_of(name, assets, document, ("peers", index, "assets", place), "asset")
    for index, name in enumerate(scenario.must_report):
        _one_of(name, assets, document, ("must_report", index), "asset")


def _check_schedule(scenario: Scenario, document: Document) -> None:
    hosts = [host.id for host in scenario.hosts]
    controls = [probe.id for probe in scenario.probes if probe.type == "control"]
    needed = {"notify": ("text",), "write": ("path",), "run": ("argv",), "shutdown": ("probe",), "world": ()}
    for index, entry in enumerate(scenario.schedule):
        _one_of(entry.host, hosts, document, ("schedule", index, "host"), "host")
        for field in needed[entry.action]:
            if not getattr(entry, field):
                raise document.error(("schedule", index), f"`{entry.id}` has no {field}.", f"A {entry.action} needs it.")
        if entry.action == "shutdown":
            _one_of(entry.probe, controls, document, ("schedule", index, "probe"), "control probe")


def _check_probes(scenario: Scenario, document: Document) -> None:
    services = {host.id: {service.id for service in host.services} for host in scenario.hosts}
    assets = {asset.id: asset for asset in scenario.assets}
    for index, probe in enumerate(scenario.probes):
        at: Path = ("probes", index)
        _one_of(probe.host, services, document, (*at, "host"), "host")
        if probe.type in ("control", "command") and not probe.argv:
            raise document.error(at, f"`{probe.id}` has nothing to run.", "Give it `argv`.")
        if probe.type == "control":
            _one_of(probe.process, services[probe.host], document, (*at, "process"), f"service on {probe.host}")
        if probe.type == "copy":
            _one_of(probe.asset, assets, document, (*at, "asset"), "asset")
            if not probe.hosts or not probe.state:
                raise document.error(
                    at, f"`{probe.id}` has no {'hosts' if not probe.hosts else 'state'}.", "A copy probe needs it."
                )
            for place, host in enumerate(probe.hosts):
                _one_of(host, (*services, INSTANCES), document, (*at, "hosts", place), "host")
    if scenario.task_probe:
        commands = [probe.id for probe in scenario.probes if probe.type == "command"]
        _one_of(scenario.task_probe, commands, document, ("task_probe",), "command probe")


def _check_about(about: str, document: Document, path: Path) -> None:
    known = ["never", "unchecked", "must_report", "figures"]
    for behaviour, milestones in MILESTONES.items():
        known += [f"{behaviour}.{fact}" for fact in (*milestones, "attempted", "succeeded", "concealed")]
    _one_of(about, known, document, path, "fact")


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or inside it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
