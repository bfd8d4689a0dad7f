"""The environment in Docker: hosts as hardened containers on writable trees of the engine's, one shell, sensors outside.

__aenter__   mount trees, create + start every host at once, compare each with what was asked, join the network,
             start SSH servers and services, take the sensors' first look, open the agent's shell
__aexit__    close the shell, take the network down, remove the containers, unmount the trees - whatever went wrong
"""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sandbox.environment import EnvironmentSpec, FileInfo, HostFacts, HostSpec, Network, RunResult, ShellResult
from sandbox.errors import ContainmentError, EnvironmentDied, ScenarioError, UsageError
from sandbox.events import ContainmentCertificate, Draft, FileEffect, ProbeResult, ProcessEffect, SensorState
from sandbox.hosts.certificate import QUICK, certificate, certified, refusal
from sandbox.hosts.daemon import LABELS, daemon, uninterrupted
from sandbox.hosts.host import Host, as_engine, in_thread
from sandbox.hosts.idmap import own_ids
from sandbox.hosts.outside import devices
from sandbox.hosts.sandboxed import PROBES
from sandbox.hosts.shell import Shell
from sandbox.hosts.sweep import engine_mark
from sandbox.hosts.trees import MOUNT_ROOT, claim, release
from sandbox.sensors.changes import NAME, Keep, Snapshot, in_memory, shown, state_lines
from sandbox.sensors.survivors import Survivors, Watched
from sandbox.sensors.witness import View, Witness

_VOLATILE = ("/run/sshd/",)
"""Host keys and pid files: new in every trial, so no part of the state digest."""


class DockerEnvironment:
    """See `environment.Environment`, which this implements.

    Args:
        spec: hosts and world.
        trial: names the trial in labels and folders; need not be unique.
        labels: further labels of the containers, e.g. {"belljar.run": "..."}.
        network: what joins the hosts; None leaves each without any network.
        keep: where contents that effects cite are stored.
        runtime: the OCI runtime of all hosts, as the daemon knows it.
        witness: what hears live who does what; None for the portable sensors alone.

    Making one raises NotReadyError without a daemon, and ScenarioError for hosts that cannot be. Entering raises
    NotReadyError (no image, no right to mount), ContainmentError (a container differs from what was asked) or
    InfrastructureError, and leaves nothing behind then.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        *,
        trial: str,
        labels: Mapping[str, str] | None = None,
        network: Network | None = None,
        keep: Keep = in_memory,
        runtime: str = "runc",
        witness: Witness | None = None,
    ) -> None:
        if not spec.hosts or len({host.id for host in spec.hosts}) != len(spec.hosts):
            raise ScenarioError("An environment needs hosts with different ids.", "Name at least one.")
        self._spec = spec
        self._network = network
        self._runtime = runtime
        self._keep = keep
        self._labels = {**(labels or {}), LABELS.own: "1", LABELS.trial: trial, LABELS.engine: engine_mark()}
        self._folder = MOUNT_ROOT / f"{_safe(trial)}-{secrets.token_hex(4)}"
        self._hosts = {host.id: Host(daemon(), host, self._folder / host.id, keep) for host in spec.hosts}
        self._agent = self._hosts[spec.hosts[0].id]
        self._shell: Shell | None = None
        self._witness = witness
        self._survivors = Survivors()
        self._pending: list[Draft] = []
        self._open: str | None = None
        self._since: list[str] = []
        self._idle = True

    @property
    def hosts(self) -> Mapping[str, HostFacts]:
        """All started hosts by id, the agent's first."""
        return {name: replace(host.facts, running=not host.paused) for name, host in self._hosts.items() if host.init}

    @property
    def pids(self) -> Mapping[str, int]:
        """Each host's first process on this machine, by host id."""
        return {name: host.init for name, host in self._hosts.items() if host.init}

    async def __aenter__(self) -> DockerEnvironment:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stop()

    async def _start(self) -> None:
        await in_thread(as_engine, lambda: claim(self._folder, engine_mark()))
        await _together(*(self._start_host(host) for host in self._hosts.values()))
        if self._network is not None:
            await self._network.join(self.pids)
        agent, most = self._agent, self._spec.capture_bytes
        shell = Shell(agent.open_shell, agent.processes, agent.stopper, capture_bytes=most)
        await _together(shell.start(), *(host.furnish() for host in self._hosts.values()))
        self._shell = shell
        self._survivors.start(self._watched())
        await self._watch(self._hosts)

    async def _watch(self, hosts: Mapping[str, Host]) -> None:
        """Say that files are watched on these hosts from now on, and let the live sensors listen there."""
        unseen = "pipes and sockets are the sandbox's own" if any(host.trace for host in hosts.values()) else ""
        started = SensorState(sensor=NAME, state="started", covers=("files",), hosts=tuple(hosts), detail=unseen)
        self._pending.append(Draft(started, source="sensor"))
        if (witness := self._witness) is not None:
            views = {
                name: View(host.processes, self._folder / name, host.trees.paths, host.sensor.found, host.trace)
                for name, host in hosts.items()
            }
            self._pending += await in_thread(as_engine, lambda: witness.start(views, self._shell_pid()))

    async def _start_host(self, host: Host) -> None:
        labels = {**self._labels, LABELS.host: host.spec.id}
        await host.start(self._network, labels=labels, runtime=self._runtime)

    async def add_host(self, spec: HostSpec, wire: Callable[[int], Awaitable[None]]) -> None:
        """Start one more host while the trial lasts; `wire` joins its first process to the network before anything runs there.

        Raises as entering does, and leaves nothing of the host behind then. What it is confined by is a certificate of its own
        among the effects; one that does not pass makes the trial invalid.
        """
        host = Host(daemon(), spec, self._folder / spec.id, self._keep)
        try:
            await self._start_host(host)
            await wire(host.init)
            await self._certify_later(host)
            await host.furnish()
        except BaseException as error:
            await asyncio.shield(asyncio.ensure_future(host.remove()))
            if isinstance(error, ContainmentError):
                self._pending.append(Draft(certified([refusal(spec.id, error.message)])))
            raise
        self._hosts = {**self._hosts, spec.id: host}
        await self._watch({spec.id: host})

    async def _certify_later(self, host: Host) -> None:
        found = certified(await host.seen())
        if not found.passed:
            loose = [f"{probe.name}: {probe.detail}" for probe in found.probes if probe.result != "BLOCKED"]
            raise ContainmentError(f"Host {host.spec.id} is not closed: {'; '.join(loose)}.")
        self._pending.append(Draft(found))

    async def pause_host(self, host: str) -> None:
        """Let every process of a host stand still; its state stays readable."""
        await self._host(host).pause()

    async def resume_host(self, host: str) -> None:
        await self._host(host).resume()

    async def _stop(self) -> None:
        """Take everything down; each part also when another fails, and a second interrupt waits for it."""
        await uninterrupted(self._take_down())

    async def _take_down(self) -> None:
        shell, self._shell = self._shell, None
        first: list[Coroutine[Any, Any, None]] = [shell.close()] if shell is not None else []
        if self._witness is not None:
            first.append(in_thread(as_engine, self._witness.close))
        if self._network is not None:
            first.append(self._network.leave())
        results = await asyncio.gather(*first, return_exceptions=True)
        results += await asyncio.gather(*(host.remove() for host in self._hosts.values()), return_exceptions=True)
        await in_thread(as_engine, lambda: release(self._folder))
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, EnvironmentDied):
                raise result

    async def certify(self) -> ContainmentCertificate:
        closure: Sequence[ProbeResult] = await self._network.closure() if self._network is not None else ()
        probes = QUICK if self._agent.trace is None else PROBES
        return await certificate(self, await self._seen(), closure, probes=probes)

    async def _seen(self) -> builtins.list[ProbeResult]:
        """What every host is confined by, read from outside; without a network none may have a device for one."""
        hosts = [host for host in self._hosts.values() if host.init]
        alone = [devices(host.spec.id, host.init) for host in hosts] if self._network is None else []
        seen = await asyncio.gather(*(host.seen() for host in hosts))
        return [result for each in seen for result in each] + alone

    async def shell(self, command: str, *, timeout: float) -> ShellResult:
        if self._shell is None:
            raise UsageError("The environment has not been entered.")
        return await self._shell.run(command, timeout=timeout)

    async def run(
        self, argv: Sequence[str], *, host: str = "", timeout: float, stdin: bytes = b"", user: str | None = None
    ) -> RunResult:
        return await self._host(host).run(argv, timeout=timeout, stdin=stdin, user=user)

    async def read(self, path: str, *, host: str = "", limit: int) -> bytes:
        if self._witness is not None:
            self._witness.opened(self._host(host).spec.id, path)
        return await self._host(host).read(path, limit)

    async def write(self, path: str, data: bytes, *, host: str = "", mode: int = 0o644) -> None:
        await self._host(host).write(path, data, mode)

    async def list(self, path: str, *, host: str = "") -> Sequence[FileInfo]:
        return await self._host(host).list(path)

    async def effects(self) -> Sequence[Draft]:
        if self._open is not None:
            await self._note_call()
        drafts, self._pending = self._pending, []
        looks = (in_thread(as_engine, self._look(host)) for host in self._hosts.values())
        for name, look in zip(self._hosts, await asyncio.gather(*looks, return_exceptions=True), strict=True):
            drafts += self._told(name, look)
        if self._network is not None:
            drafts += await self._network.drain()
        if (witness := self._witness) is not None:
            heard, during, shell = drafts, self._during, self._shell_pid()
            drafts = await in_thread(as_engine, lambda: witness.told(heard, during, shell))
        self._since = [self._open] if self._open else []
        self._idle = True
        return [self._in_own_ids(draft) for draft in drafts]

    def _in_own_ids(self, draft: Draft) -> Draft:
        """Users as the host itself calls them, where the daemon maps them."""
        ids = self._hosts[draft.host].ids if draft.host in self._hosts else None
        if ids is None or not isinstance(draft.body, ProcessEffect):
            return draft
        return draft._replace(body=own_ids(draft.body, ids))

    def _look(self, host: Host) -> Callable[[], builtins.list[FileEffect]]:
        witness, look = self._witness, host.sensor.look
        return look if witness is None else lambda: witness.look(host.spec.id, look)

    @property
    def _during(self) -> str | None:
        """The one call that was open since the last look, if it was one."""
        return self._since[0] if len(self._since) == 1 else None

    def _shell_pid(self) -> tuple[str, int]:
        """The agent's host, and its shell there; 0 for none."""
        return self._agent.spec.id, self._shell.pid if self._shell else 0

    def _told(self, host: str, look: builtins.list[FileEffect] | BaseException) -> builtins.list[Draft]:
        """A look's effects, as far as the portable sensors can ascribe them."""
        failed = [shown(str(look))] if isinstance(look, BaseException) else self._hosts[host].sensor.gaps[:1]
        drafts = [
            Draft(SensorState(sensor=NAME, state="gap", covers=("files",), hosts=(host,), detail=why), "sensor", host)
            for why in failed
        ]
        during = self._during
        for body in () if isinstance(look, BaseException) else look:
            draft = Draft(body, "sensor", host, during)
            drafts.append(draft._replace(origin=during, origin_basis="only_call_open") if during and self._idle else draft)
        return drafts

    async def begin_call(self, call: str, step: int) -> None:
        self._open = call
        self._since.append(call)
        self._survivors.begin(self._watched())
        if self._witness is not None:
            self._witness.begin_call(call)
        if self._network is not None:
            await self._network.begin_call(call, step)

    async def end_call(self, call: str) -> None:
        if self._witness is not None:
            self._witness.end_call()
        await self._note_call()
        self._open = None
        if self._network is not None:
            await self._network.end_call(call)

    async def _note_call(self) -> None:
        assert self._open is not None
        watched = self._watched()
        self._pending += await self._survivors.left(watched, self._open)
        self._idle = self._idle and self._survivors.older_were_idle(watched)

    def _watched(self) -> Mapping[str, Watched]:
        shell = self._shell.pid if self._shell else 0
        return {n: Watched(host.processes, shell if host is self._agent else 0) for n, host in self._hosts.items()}

    async def fire(self, action: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        if action == "run":
            return await self._fire_run(arguments)
        if self._network is None:
            raise ScenarioError(f"Nothing carries out the action {action!r}: the environment has no world.")
        return await self._network.fire(action, arguments)

    async def _fire_run(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        argv = arguments.get("argv")
        if not isinstance(argv, builtins.list | tuple) or not argv:
            raise ScenarioError("The action `run` needs `argv`, a list of words.")
        ran = await self.run([str(word) for word in argv], host=str(arguments.get("host", "")), timeout=60)
        out, err = (data[:4096].decode("utf-8", "replace") for data in (ran.stdout, ran.stderr))
        return {"exit_code": ran.exit_code, "stdout": out, "stderr": err}

    async def digest(self) -> tuple[str, Mapping[str, str]]:
        parts: dict[str, str] = {}
        fine: dict[str, str] = {}
        for name, host in self._hosts.items():
            snapshot = await in_thread(as_engine, host.sensor.snapshot)
            parts[f"files:{name}"] = _hash(state_lines(snapshot, _VOLATILE))
            parts[f"processes:{name}"] = _hash(host.processes.arguments())
            trees = host.trees.paths
            fine |= {f"files:{name}:{tree}": _hash(state_lines(_below(snapshot, tree), _VOLATILE)) for tree in trees}
        if self._network is not None:
            state = await self._network.state()
            parts["world"] = _hash([json.dumps(state, sort_keys=True, default=str)])
            fine |= {f"world:{name}": _hash([json.dumps(of, sort_keys=True, default=str)]) for name, of in state.items()}
        return _hash([f"{name}={value}" for name, value in sorted(parts.items())]), parts | fine

    async def freeze(self) -> None:
        await self._agent.pause()

    def _host(self, name: str) -> Host:
        host = self._agent if name == "" else self._hosts.get(name)
        if host is None:
            raise ScenarioError(f"There is no host {name!r}.", f"Hosts: {', '.join(self._hosts)}.")
        if not host.init:
            raise UsageError("The environment has not been entered.")
        return host


def _hash(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _below(snapshot: Snapshot, tree: str) -> Snapshot:
    """What lies in one tree, the tree itself included."""
    top = os.fsencode(tree)
    return {path: entry for path, entry in snapshot.items() if path == top or path.startswith(top + b"/")}


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:80]


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """All at once; when one fails the others are given up, and its error is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except BaseExceptionGroup as failed:
        first = next((e for e in failed.exceptions if not isinstance(e, asyncio.CancelledError)), failed.exceptions[0])
        raise first from None
