"""A git host: clone and push over HTTP with real `git`, a page for each repository, and a small API.

    git clone|push https://HOST/OWNER/NAME[.git]          pushing asks for a login; reading a private one does too
    GET  /OWNER/NAME                                      page with the files
    GET  /OWNER/NAME/raw/BRANCH/PATH                      one file
    GET  /api/v1/repos, POST /api/v1/user/repos {"name"[, "private"]}      list; create one's own

Repositories are made when they are first asked for. Events: `repo.cloned`, `repo.pushed` (refs, files), `repo.created`,
`repo.denied`, `file.read`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import zlib
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterator, Mapping
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any, cast

from .. import page
from ..budget import ITEM, Budget, Refused
from ..message import SLICE, Request, Response, slices
from ..surroundings import Surroundings

FOLDER = Path("/tmp/git")  # noqa: S108 - the world's own scratch space
BRANCH = "main"
SECONDS = 60.0
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}")
MAX_REPOSITORIES = 50
MAX_INFLATED = 16 * 1024 * 1024
"""Largest request after it was unpacked: clients pack only what they say they have, never what they push."""

MAX_LISTED = 1 << 20
"""Bytes of a list of files: trees of trees can be endless."""

MAX_FILE = 16 * 1024 * 1024
MAX_REFS = 200
"""References that one push may change; each is a file."""

MAX_LINES = 1000
MAX_TOLD = 50
"""References of a push that are told, with the files that they changed."""

REF_COST = 8 * 1024
OBJECT_COST = 48
"""Bytes that an object costs in the index of its pack."""

AT_ONCE = 4
"""Requests that git's own programs answer at once: each is several processes, of the 64 that the world may have."""

MEMORY_KB = 96 * 1024
SETTINGS = {
    "core.bigFileThreshold": "4m",
    "core.deltaBaseCacheLimit": "8m",
    "core.packedGitLimit": "64m",
    "core.packedGitWindowSize": "8m",
    "gc.auto": "0",
    "http.receivepack": "true",
    "pack.threads": "1",
    "pack.windowMemory": "8m",
    "receive.autogc": "false",
    "receive.unpackLimit": "1",
    "repack.writeBitmaps": "false",
}
"""What keeps git small: packs stay packs, one thread, no housekeeping."""

COMMAND = (
    *("sh", "-c", f'ulimit -d {MEMORY_KB}; exec git "$@"', "git"),
    *itertools.chain.from_iterable(("-c", f"{key}={value}") for key, value in SETTINGS.items()),
)
NO_COMMIT = "0" * 40


class GitHost:
    """The host. Options are those of `GitSpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._name: str = options["name"]
        self._users: dict[str, str] = options["users"]
        self._repositories: dict[str, dict[str, Any]] = {r["name"]: r for r in options["repositories"]}
        self._made: dict[str, asyncio.Task[None]] = {}
        self._folder = FOLDER / around.id
        self._room = asyncio.Semaphore(AT_ONCE)

    async def answer(self, request: Request) -> Response:
        match (request.method, [s for s in request.path.split("/") if s]):
            case ("GET", []):
                return Response.html(
                    page.document(self._name, "".join(f'<p><a href="/{n}">{n}</a></p>' for n in self._public()))
                )
            case ("GET", ["api", "v1", "repos"]):
                return Response.json(
                    [{"full_name": n, "description": self._repositories[n]["description"]} for n in self._public()]
                )
            case ("POST", ["api", "v1", "user", "repos"]):
                return self._create(request)
            case (_, [owner, name, *rest]) if (repository := f"{owner}/{name.removesuffix('.git')}") in self._repositories:
                return await self._repository(request, repository, rest)
        return Response.html(page.error(404, self.server), 404)

    def state(self) -> dict[str, Any]:
        """Branches and tags of every repository that was ever opened."""
        heads = {}
        for name in self._made:
            packed = sorted((self._folder / f"{name}.git" / "refs").rglob("*"))
            heads[name] = {p.name: p.read_text().strip() for p in packed if p.is_file()}
        return {"repositories": sorted(self._repositories), "refs": heads}

    def _public(self) -> list[str]:
        return [name for name, repository in self._repositories.items() if not repository["private"]]

    async def _repository(self, request: Request, name: str, rest: list[str]) -> Response:
        writes = "git-receive-pack" in (request.query.get("service", ""), *rest[-1:])
        user = self._user(request)
        if not user and (writes or self._repositories[name]["private"]):
            if request.credentials != ("", ""):
                self._around.meant("repo.denied", {"repository": name, "user": request.credentials[0]})
            return Response(401, b"Unauthorized\n", [("WWW-Authenticate", f'Basic realm="{self._name}"')])
        await self._ready(name)
        match (request.method, rest):
            case ("GET", ["info", "refs"]) | ("POST", ["git-upload-pack" | "git-receive-pack"]):
                return await self._serve(request, name, rest, user)
            case ("GET", []):
                files = (await self._git(name, "ls-tree", "-r", "--name-only", BRANCH)).decode("utf-8", "replace")
                return Response.html(
                    page.document(name, f"<p>{escape(self._repositories[name]['description'])}</p><pre>{escape(files)}</pre>")
                )
            case ("GET", ["raw", branch, *path]) if NAME.fullmatch(branch) and path:
                self._around.meant("file.read", {"repository": name, "path": "/".join(path)})
                data = await self._git(name, "cat-file", "blob", f"{branch}:{'/'.join(path)}", limit=MAX_FILE)
                if len(data) >= MAX_FILE:
                    raise Refused(413, "the file is too large to be shown")
                return (
                    Response(200, data, [("Content-Type", "text/plain; charset=utf-8")])
                    if data
                    else Response.text("Not Found\n", 404)
                )
        return Response.html(page.error(404, self.server), 404)

    def _user(self, request: Request) -> str:
        """Who asks: a user by password or token, as user name, as password, or alone."""
        user, given = request.credentials
        for name, password in self._users.items():
            if password and password in (given, user) and user in (name, "", password):
                return name
        return ""

    def _create(self, request: Request) -> Response:
        user, fields = self._user(request), request.fields()
        name = str(fields.get("name", ""))
        if not user:
            return Response.json({"message": "token is required"}, 401)
        if not NAME.fullmatch(name) or f"{user}/{name}" in self._repositories or len(self._repositories) >= MAX_REPOSITORIES:
            return Response.json({"message": "The repository name is invalid or taken."}, 409)
        full = f"{user}/{name}"
        self._around.store.keep(full, str(fields.get("description", "")))
        private = bool(fields.get("private", False))
        self._repositories[full] = {
            "name": full,
            "description": str(fields.get("description", "")),
            "private": private,
            "files": {},
        }
        self._around.meant("repo.created", {"repository": full, "user": user, "private": private})
        return Response.json({"full_name": full, "private": private, "clone_url": f"{request.origin}/{full}.git"}, 201)

    async def _serve(self, request: Request, name: str, rest: list[str], user: str) -> Response:
        """Let git's own program answer, as a web server would (its CGI protocol)."""
        variables = {
            "GIT_PROJECT_ROOT": str(self._folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{name}.git/{'/'.join(rest)}",
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.target.partition("?")[2],
            "CONTENT_TYPE": request.header("content-type"),
            "HTTP_GIT_PROTOCOL": request.header("git-protocol"),
            "REMOTE_USER": user,
        }
        body = inflated(request.body) if request.header("content-encoding") == "gzip" else request.body
        pushes = rest == ["git-receive-pack"]
        cost = weight_of_push(body) if pushes else 0
        self._around.store.take(cost)
        output = await self._run(["http-backend"], variables, body, held=None if pushes else self._around.held)
        size, end = len(output), output.find(b"\r\n\r\n")
        head = output[: max(0, end)].decode("latin-1")
        del output[: end + 4]
        headers = [(k, v.strip()) for k, _, v in (line.partition(":") for line in head.split("\r\n")) if v]
        status = next((int(value.split()[0]) for key, value in headers if key.lower() == "status"), 200)
        if pushes and status == 200:
            await self._pushed(name, user, body)
        elif pushes:
            self._around.store.release(cost)
        elif rest == ["git-upload-pack"] and b"command=ls-refs" not in body[:200]:
            self._around.meant("repo.cloned", {"repository": name, "user": user})
        kept = [(key, value) for key, value in headers if key.lower() != "status"]
        return Response(status, cast("bytes", output), kept, held=0 if pushes else size)  # a copy would hold it twice

    async def _pushed(self, name: str, user: str, body: bytes) -> None:
        """Record a push; a client with much to send first asks with an empty one whether it may."""
        refs: list[dict[str, str]] = []
        files: set[str] = set()
        for old, new, ref in updates(body):
            refs.append({"ref": ref, "old": old, "new": new})
            if new != NO_COMMIT and len(refs) <= MAX_TOLD:
                args = ("ls-tree", "-r", "--name-only", new) if old == NO_COMMIT else ("diff", "--name-only", old, new)
                files |= set((await self._git(name, *args)).decode("utf-8", "replace").splitlines())
        subject: dict[str, Any] = {"repository": name, "user": user, "refs": refs[:MAX_TOLD], "files": sorted(files)[:200]}
        if refs:
            self._around.meant("repo.pushed", subject)

    async def _ready(self, name: str) -> None:
        if name not in self._made:
            self._made[name] = asyncio.create_task(self._make(name))
        await asyncio.shield(self._made[name])

    async def _make(self, name: str) -> None:
        """An empty repository, or one with a first commit of the declared files."""
        folder = self._folder / f"{name}.git"
        await self._run(["init", "-q", "--bare", "-b", BRANCH, str(folder)])
        files = self._repositories[name]["files"]
        if files:
            stream = first_commit(files, name.partition("/")[0], self._around.host)
            await self._run(["--git-dir", str(folder), "fast-import", "--quiet"], data=stream)

    async def _git(self, name: str, *arguments: str, limit: int = MAX_LISTED) -> bytes:
        """Output of a git command in a repository, its first `limit` bytes; empty when it fails."""
        return bytes(await self._run(["--git-dir", str(self._folder / f"{name}.git"), *arguments], limit=limit))

    async def _run(
        self,
        arguments: list[str],
        variables: Mapping[str, str] | None = None,
        data: bytes = b"",
        *,
        limit: int = MAX_LISTED,
        held: Budget | None = None,
    ) -> bytearray:
        """Standard output of git within a minute; what it complains of is not shown to anybody.

        Its first `limit` bytes, or with `held` all of it, for which room is then taken there. Refused when there is none.
        """
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/tmp", "GIT_CONFIG_NOSYSTEM": "1"}  # noqa: S108
        output = bytearray()
        async with self._room:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={**environment, **(variables or {})},
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(SECONDS):
                    await asyncio.gather(_feed(process, data), _collect(process, output, limit, held))
                    await process.wait()
            except BaseException as error:
                if held:
                    held.release(len(output))
                _end(process)
                if isinstance(error, TimeoutError):
                    raise ValueError("git took too long") from None
                raise
        return output


def updates(body: bytes) -> list[tuple[str, str, str]]:
    """The ref updates at the head of a push: (old, new, ref), as far as they are well formed."""
    found: list[tuple[str, str, str]] = []
    for _, line in _lines(body):
        words = line.split(b"\0")[0].decode("utf-8", "replace").strip().split(" ", 2)
        if len(words) == 3 and all(re.fullmatch(r"[0-9a-f]{40}", word) for word in words[:2]):
            found.append((words[0], words[1], words[2]))
    return found


def first_commit(files: dict[str, str], author: str, host: str) -> bytes:
    """A stream for `git fast-import`."""
    message = b"Initial commit"
    head = f"commit refs/heads/{BRANCH}\ncommitter {author} <{author}@{host}> 1748939520 +0000\ndata {len(message)}\n"
    lines = [head.encode(), message, b"\n"]
    for path, text in files.items():
        data = text.encode()
        lines += [f"M 100644 inline {path}\ndata {len(data)}\n".encode(), data, b"\n"]
    return b"".join(lines) + b"done\n"


async def _feed(process: Process, data: bytes) -> None:
    """Give a process its input; that it does not want all of it is its own affair."""
    assert process.stdin is not None
    with suppress(ConnectionError):
        for piece in slices(data):
            process.stdin.write(piece)
            await process.stdin.drain()
    process.stdin.close()


async def _collect(process: Process, output: bytearray, limit: int, held: Budget | None) -> None:
    assert process.stdout is not None
    while block := await process.stdout.read(SLICE):
        if held:
            held.take(len(block))
        output += block
        if held is None and len(output) >= limit:
            del output[limit:]
            _end(process)
            return


def _end(process: Process) -> None:
    """End a process and those that it started; git then takes its unfinished files away."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def inflated(body: bytes) -> bytes:
    """A body that was packed with gzip. Refused when it is larger than any that a client packs."""
    inflater = zlib.decompressobj(31)
    try:
        data = inflater.decompress(body, MAX_INFLATED)
    except zlib.error as error:
        raise ValueError(f"not in gzip's format: {error}") from None
    if inflater.unconsumed_tail:
        raise Refused(413, "the request is too large once unpacked")
    return data


def weight_of_push(body: bytes) -> int:
    """What a push may cost in the scratch space: its pack, the pack's index, and a file for each reference.

    Refused when it changes too many references.
    """
    references = len(updates(body))
    if references > MAX_REFS:
        raise Refused(413, "a push of too many references")
    pack = max((end for end, _ in _lines(body)), default=0) + 4
    objects = int.from_bytes(body[pack + 8 : pack + 12], "big") if body.startswith(b"PACK", pack) else 0
    if objects > len(body):
        raise ValueError("a pack of more objects than bytes")
    return ITEM + len(body) + objects * OBJECT_COST + references * REF_COST


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines at the head of a push, each with where it ends, up to the mark that no more follow."""
    place = 0
    for _ in range(MAX_LINES):
        size = body[place : place + 4]
        if not re.fullmatch(rb"[0-9a-fA-F]{4}", size) or int(size, 16) < 4:
            return
        place += int(size, 16)
        yield place, body[place - int(size, 16) + 4 : place]
