"""The Docker daemon: the only module that imports `docker`.

Calls of the SDK block, so each runs in a thread of an executor of our own (asyncio's default one is small, and shared with
whatever else the program does) and under a deadline of ours: a daemon that hangs becomes an error, never a hang.

What its failures mean is decided in one place, `_translated`: no daemon or no rights - NotReadyError; a container that is
gone - EnvironmentDied; all else - InfrastructureError. None of them is ever output of a command.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import tarfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import docker
import docker.errors
import requests

from sandbox.errors import BelljarError, EnvironmentDied, InfrastructureError, NotReadyError
from sandbox.hosts.capture import Bounded, Frames, Piece

T = TypeVar("T")

THREADS = int(os.environ.get("BELLJAR_DOCKER_THREADS", "16"))
"""How many calls to the daemon may be under way at once; two for each trial that runs at the same time is enough."""

_SECONDS = 60
_NOT_THERE = "The Docker daemon does not answer."
_START_IT = "Start it (`make setup` does), and make sure that this user may open its socket."


class Labels(NamedTuple):
    """The label that marks what is ours, and those that say whose it is."""

    own: str = "belljar"
    run: str = "belljar.run"
    trial: str = "belljar.trial"
    host: str = "belljar.host"
    engine: str = "belljar.engine"
    digest: str = "belljar.digest"


LABELS = Labels()


class ExecState(NamedTuple):
    """`pid` on this host, 0 if unknown; `exit_code` None while it runs."""

    pid: int
    exit_code: int | None


def _translated(error: Exception, doing: str) -> BelljarError:
    if isinstance(error, docker.errors.ImageNotFound):
        return NotReadyError(f"{doing}: an image is missing.", "Build the images with `belljar images`.")
    if isinstance(error, docker.errors.NotFound):
        return EnvironmentDied(f"{doing}: the container is gone ({error.explanation}).")
    if isinstance(error, docker.errors.APIError):
        if error.status_code == 409:  # not running, or paused
            return EnvironmentDied(f"{doing}: {error.explanation}")
        return InfrastructureError(f"{doing}: the daemon answered {error.status_code}: {error.explanation}")
    if isinstance(error, requests.exceptions.Timeout):
        return InfrastructureError(f"{doing}: the daemon did not answer within {_SECONDS} s.")
    return EnvironmentDied(f"{doing}: the connection to the daemon failed ({type(error).__name__}: {error}).")


async def uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Carry `work` out to its end; a cancellation that comes meanwhile is raised after it."""
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            interrupted = error
    task.result()
    if interrupted is not None:
        raise interrupted


class Daemon:
    """One connection pool to one daemon. Raises NotReadyError if there is none."""

    def __init__(self) -> None:
        try:
            self.client = docker.DockerClient.from_env(timeout=_SECONDS, max_pool_size=2 * THREADS)
            self.api: Any = self.client.api
            self.version: dict[str, Any] = self.api.version(api_version=False)
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
            raise NotReadyError(f"{_NOT_THERE} ({error})", _START_IT) from error
        self._executor = ThreadPoolExecutor(THREADS, "docker")
        self._image_ids: dict[str, str] = {}
        self._info: dict[str, Any] = {}

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the engine, its runtime and the kernel, by name."""
        parts = {str(c.get("Name", "")).lower(): str(c.get("Version", "")) for c in self.version.get("Components", [])}
        return parts | {"kernel": str(self.version.get("KernelVersion", "")), "api": str(self.version.get("ApiVersion", ""))}

    async def call(self, doing: str, function: Callable[[], T]) -> T:
        """Run a blocking function of the SDK; `doing` names it in errors, e.g. "Starting host web"."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_SECONDS + 5):
                return await loop.run_in_executor(self._executor, function)
        except TimeoutError as error:
            raise InfrastructureError(f"{doing}: the daemon did not answer within {_SECONDS} s.") from error
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
            raise _translated(error, doing) from error

    def info(self) -> dict[str, Any]:
        """What the daemon says of itself and its options, asked once. Blocks."""
        if not self._info:
            try:
                self._info = dict(self.client.info())
            except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
                raise _translated(error, "Asking the daemon for its options") from error
        return self._info

    def runtimes(self) -> Mapping[str, Mapping[str, Any]]:
        """The runtimes that it knows, each with its options. Blocks the first time."""
        return self.info().get("Runtimes") or {}

    def image_id(self, name: str) -> str:
        """The id of a local image, looked up once. Raises NotReadyError if it has not been built."""
        if name not in self._image_ids:
            try:
                self._image_ids[name] = str(self.api.inspect_image(name)["Id"])
            except docker.errors.ImageNotFound as error:
                raise NotReadyError(f"The image {name} has not been built.", "Build it with `belljar images`.") from error
        return self._image_ids[name]

    async def create(self, request: Mapping[str, Any], doing: str) -> str:
        """Create a container from an Engine API request; nothing is ever pulled. Returns its id.

        Whoever is cancelled meanwhile leaves none behind: the daemon's answer is waited for, and what it made is removed.
        """
        making = asyncio.ensure_future(self.call(doing, lambda: self.api.create_container_from_config(dict(request))))
        try:
            made = await asyncio.shield(making)
        except asyncio.CancelledError:
            await uninterrupted(self._undo(making))
            raise
        return str(made["Id"])

    async def _undo(self, making: asyncio.Future[dict[str, Any]]) -> None:
        with suppress(BelljarError):
            await self.remove(str((await making)["Id"]))

    async def start(self, container: str, doing: str) -> dict[str, Any]:
        """Start it and return what `inspect` then says."""

        def both() -> dict[str, Any]:
            self.api.start(container)
            return dict(self.api.inspect_container(container))

        return await self.call(doing, both)

    async def inspect(self, container: str, doing: str) -> dict[str, Any]:
        return await self.call(doing, lambda: dict(self.api.inspect_container(container)))

    async def remove(self, container: str) -> None:
        """Kill and remove; one that has gone already is fine."""

        def gone() -> None:
            try:
                self.api.remove_container(container, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != 409:  # its removal is under way
                    raise

        await self.call("Removing a container", gone)

    async def pause(self, container: str) -> None:
        """Freeze all its processes; tried again, since the kernel may need several goes at a busy group."""

        def paused() -> None:
            for waits in (0.1, 0.5, 2.0):
                try:
                    self.api.pause(container)
                except docker.errors.APIError as error:
                    if "freeze" not in str(error.explanation):
                        raise
                    time.sleep(waits)
                else:
                    return
            self.api.pause(container)

        await self.call("Pausing a host", paused)

    async def unpause(self, container: str) -> None:
        await self.call("Resuming a host", lambda: self.api.unpause(container))

    async def exec_create(
        self,
        container: str,
        argv: Sequence[str],
        *,
        user: str,
        env: Mapping[str, str],
        cwd: str,
        stdin: bool = False,
        attach: bool = True,
        privileged: bool = False,
        doing: str,
    ) -> str:
        how = {"user": user, "environment": dict(env), "workdir": cwd, "privileged": privileged}

        def create() -> str:
            made = self.api.exec_create(container, list(argv), stdin=stdin, stdout=attach, stderr=attach, **how)
            return str(made["Id"])

        return await self.call(doing, create)

    async def exec_detached(self, exec_id: str, doing: str) -> None:
        await self.call(doing, lambda: self.api.exec_start(exec_id, detach=True))

    async def exec_state(self, exec_id: str, doing: str) -> ExecState:
        found = await self.call(doing, lambda: self.api.exec_inspect(exec_id))
        return ExecState(int(found.get("Pid") or 0), None if found.get("Running") else found.get("ExitCode"))

    async def attach(self, exec_id: str, doing: str) -> Stream:
        """Start an exec and take its connection over: what is sent is its input, what is received its framed output."""
        path = _socket_path(self.api)
        try:
            async with asyncio.timeout(_SECONDS):
                return await _hijack(path, f"/v{self.api._version}/exec/{exec_id}/start")
        except TimeoutError as error:
            raise InfrastructureError(f"{doing}: the daemon did not answer within {_SECONDS} s.") from error
        except OSError as error:
            raise EnvironmentDied(f"{doing}: the connection to the daemon failed ({error}).") from error

    def list_containers(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Containers of ours, running or not, that carry all of `labels`. Blocks."""
        wanted = [f"{LABELS.own}=1", *(f"{name}={value}" for name, value in labels.items())]
        try:
            return list(self.api.containers(all=True, filters={"label": wanted}))
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise _translated(error, "Listing containers") from error

    def force_remove(self, container: str) -> None:
        """Kill and remove one container. Blocks."""
        try:
            self.api.remove_container(container, force=True, v=True)
        except docker.errors.NotFound:
            return
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise _translated(error, "Removing a container") from error

    def image_labels(self, name: str) -> dict[str, str] | None:
        """Labels of a local image; None if there is no such image. Blocks."""
        try:
            return dict(self.api.inspect_image(name)["Config"].get("Labels") or {})
        except docker.errors.ImageNotFound:
            return None

    def file_of_image(self, image: str, path: str) -> bytes:
        """A regular file of an image, read without running it. Blocks. Raises as `call` does."""
        try:
            return self._file_of_image(image, path)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise _translated(error, f"Reading {path} of an image") from error

    def _file_of_image(self, image: str, path: str) -> bytes:
        made = str(self.api.create_container(image, network_disabled=True)["Id"])
        try:
            chunks, _ = self.api.get_archive(made, path)
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                member = archive.extractfile(archive.getmembers()[0])
                return member.read() if member else b""
        finally:
            self.api.remove_container(made, force=True)

    def build(self, folder: Path, tag: str, *, arguments: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
        """Build an image from a folder with a Dockerfile; yields the lines of its progress. Blocks.

        Raises InfrastructureError with the daemon's words if a step fails."""
        try:
            given = {"buildargs": dict(arguments), "labels": dict(labels)}
            steps = self.api.build(
                path=str(folder), tag=tag, **given, rm=True, forcerm=True, pull=False, decode=True, timeout=3600
            )
            for step in steps:
                if "error" in step:
                    raise InfrastructureError(f"Building {tag} failed: {step['error'].strip()}")
                yield from (line for line in str(step.get("stream", "")).splitlines() if line.strip())
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise _translated(error, f"Building {tag}") from error
        self._image_ids.pop(tag, None)

    def import_image(self, archive: BinaryIO, name: str, *, labels: Mapping[str, str]) -> None:
        """Make an image of a root file system given as a tar archive. Blocks."""
        repository, _, tag = name.partition(":")
        changes = [f"LABEL {key}={json.dumps(value)}" for key, value in labels.items()]
        answer = self.api.import_image_from_data(archive, repository=repository, tag=tag or "latest", changes=changes)
        if '"error"' in str(answer):
            raise InfrastructureError(f"Importing {name} failed: {answer}")

    def pull(self, name: str) -> bool:
        """Fetch an image from a registry; False if it cannot be had. Blocks."""
        try:
            self.client.images.pull(name)
        except (docker.errors.DockerException, requests.exceptions.RequestException):
            return False
        return True


@lru_cache(maxsize=1)
def daemon() -> Daemon:
    """The daemon that DOCKER_HOST or the usual socket names, connected to once. Raises NotReadyError."""
    return Daemon()


class Stream:
    """The hijacked connection of one exec."""

    def __init__(self, connection: socket.socket, early: bytes) -> None:
        self._socket = connection
        self._frames = Frames()
        self._early = early

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def receive(self) -> list[Piece]:
        """The next pieces; empty at the end."""
        while True:
            data, self._early = self._early, b""
            if not data:
                data = await asyncio.get_running_loop().sock_recv(self._socket, 256 * 1024)
            if not data:
                return []
            if pieces := self._frames.feed(data):
                return pieces

    def end_input(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


def _socket_path(api: Any) -> str:
    path = getattr(api.adapters.get("http+docker://"), "socket_path", None)
    if path is None:
        raise NotReadyError(
            "The Docker daemon is not reached through a unix socket.", "Unset DOCKER_HOST; Belljar works on the Docker host."
        )
    return str(path)


async def _hijack(path: str, target: str) -> Stream:
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        await loop.sock_connect(connection, path)
        body = b'{"Detach":false,"Tty":false}'
        head = (
            f"POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
            f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await loop.sock_sendall(connection, head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            chunk = await loop.sock_recv(connection, 4096)
            if not chunk:
                raise ConnectionError("closed before it answered")
            answer += chunk
        header, _, early = answer.partition(b"\r\n\r\n")
        status = header.split(b"\r\n", 1)[0].split(b" ")[1]
        if status not in (b"101", b"200"):
            raise EnvironmentDied(
                f"The daemon refused to start a process in the container: {early.decode(errors='replace')[:300]}"
            )
    except BaseException:
        connection.close()
        raise
    return Stream(connection, early)


async def collect(stream: Stream, stdin: bytes, kept: Mapping[int, Bounded]) -> None:
    """Feed `stdin` to an exec and read it to its end; what it writes to a stream is fed to that stream's `kept`."""

    async def feed() -> None:
        try:
            if stdin:
                await stream.send(stdin)
            stream.end_input()
        except OSError:
            return  # it ended without reading all of it

    feeding = asyncio.create_task(feed())
    try:
        while pieces := await stream.receive():
            for piece in pieces:
                if piece.stream in kept:
                    kept[piece.stream].feed(piece.data)
            await asyncio.sleep(0)  # as in the shell: always more to read must not keep others from running
    finally:
        feeding.cancel()
