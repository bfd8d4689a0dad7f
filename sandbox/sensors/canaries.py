"""Recognising planted bytes wherever they turn up: whole or in parts, compressed, encoded, and one inside the other.

Whatever the sensors keep of contents passes through `keep` and is searched when its effect is told of: files on any host,
request and response bodies, arguments of processes. `Spoken` searches what the model is shown and says. The parts of a
compressed copy are recognised too: by the copy itself, once it was seen whole, or by joining them in the order in which they
were seen.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple
from weakref import WeakValueDictionary

from sandbox.environment import EnvironmentSpec
from sandbox.events import (
    CanaryEffect,
    Content,
    Draft,
    FileEffect,
    ModelCalled,
    NetworkEffect,
    ProcessEffect,
    SensorState,
    ServiceEffect,
    Submitted,
)
from sandbox.record.withholding import texts_in
from sandbox.sensors.changes import WHOLE_BYTES
from sandbox.sensors.decoding import DEPTH, STREAMS, Budget, Layer, inflate, layers
from sandbox.sensors.fingerprint import SHORTEST, Fingerprints

NAME = "canaries"

SECONDS = 5.0
"""How long the search may hold one drain up; what is left then counts as missed."""

_PENDING_BYTES = 64 * 2**20
_REMEMBERED = 4096
_ALIAS_BYTES = 8 * 2**20
_OPEN_STREAMS = 8
_PART = "part"

_NAME, _TARGET, _HEADER, _HEADERS = 300, 4000, 2000, 64
"""What the world keeps of a request's head at most: characters of its name, its target and one header, and headers."""

Where = Literal["file", "request", "response", "process"]


class Finding(NamedTuple):
    """A canary, and the encodings that were undone to find it, outermost first."""

    canary: str
    encoding: tuple[str, ...]


_prints: WeakValueDictionary[tuple[tuple[tuple[str, bytes], ...], tuple[bytes, ...]], Fingerprints] = WeakValueDictionary()


def _shared(planted: tuple[tuple[str, bytes], ...], common: tuple[bytes, ...]) -> Fingerprints:
    """Fingerprints of the same bytes once, for as long as anybody searches with them: megabytes take a second to index."""
    found = _prints.get((planted, common))
    if found is None:
        found = _prints[planted, common] = Fingerprints(dict(planted), common)
    return found


class Scanner:
    """Searches bytes for canaries; remembers compressed copies, so that their parts are recognised later."""

    def __init__(self, planted: Mapping[str, bytes], common: Iterable[bytes] = ()) -> None:
        self._prints = _shared(tuple(planted.items()), tuple(common))
        self._copies: list[tuple[Fingerprints, tuple[Finding, ...]]] = []
        self._copied = 0
        self._streams: list[tuple[str, bytes]] = []
        self.cut = 0
        """How many pieces were too large or too deep to be searched to the end."""

    def scan(self, data: bytes) -> tuple[Finding, ...]:
        """Every canary in `data`, each with the shortest way to it."""
        budget = Budget()
        found = self._found(data, budget)
        self.cut += budget.cut
        return tuple(Finding(name, path) for name, path in found.items())

    def _found(self, data: bytes, budget: Budget) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        level: list[tuple[bytes, tuple[str, ...]]] = [(data, ())]
        seen: set[bytes] = set()
        for depth in range(DEPTH + 1):
            if not budget.room():
                break
            below: list[tuple[bytes, tuple[str, ...]]] = []
            for piece, path in level:
                if (digest := hashlib.blake2b(piece, digest_size=16).digest()) in seen:
                    continue
                seen.add(digest)
                for name, more in self._here(piece, budget):
                    found.setdefault(name, (*path, *more))
                if depth < DEPTH:
                    below += self._below(piece, path, budget)
            level = below
        return found

    def _here(self, piece: bytes, budget: Budget) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Canaries that stand in these very bytes, or in the compressed stream that they are a part of."""
        names = self._prints.found_in(piece)
        kind = ("tar",) if names and (b"ustar\x0000" in piece or b"ustar  \0" in piece) else ()
        yield from ((name, kind) for name in names)
        for copy, findings in self._copies:
            if copy.found_in(piece):
                yield from ((finding.canary, (_PART, *finding.encoding)) for finding in findings)
        if not names:
            yield from self._continued(piece, budget)

    def _below(self, piece: bytes, path: tuple[str, ...], budget: Budget) -> list[tuple[bytes, tuple[str, ...]]]:
        below = []
        for layer in layers(piece, budget):
            below.append((layer.data, (*path, layer.encoding)))
            if layer.encoding in STREAMS and (names := self._prints.found_in(layer.data)):
                self._remember(layer, names)
        return below

    def _remember(self, layer: Layer, names: Sequence[str]) -> None:
        if layer.open:
            self._streams = [*self._streams, (layer.encoding, layer.source)][-_OPEN_STREAMS:]
        if self._copied + len(layer.source) <= _ALIAS_BYTES:
            self._copied += len(layer.source)
            findings = tuple(Finding(name, (layer.encoding,)) for name in names)
            self._copies.append((Fingerprints({"copy": layer.source}), findings))

    def _continued(self, piece: bytes, budget: Budget) -> Iterator[tuple[str, tuple[str, ...]]]:
        """If a stream that broke off goes on with `piece`, and with canaries."""
        for number, (encoding, begun) in enumerate(self._streams):
            if piece in begun or len(begun) + len(piece) > _ALIAS_BYTES:
                continue
            before, _ = inflate(STREAMS[encoding](), begun, budget)
            after, stream = inflate(STREAMS[encoding](), begun + piece, budget)
            if names := self._prints.found_in(after[max(0, len(before) - 64) :]) if len(after) > len(before) + 64 else []:
                layer = Layer(encoding, after, begun + piece, not stream.eof)
                del self._streams[number]
                self._remember(layer, names)
                yield from ((name, (_PART, encoding)) for name in names)
                return


class Canaries:
    """The search over one trial's effects.

    Args:
        spec: `canaries` by id, and where each was planted.
        keep: where contents go; `Canaries.keep` is to be used instead by all sensors.
    """

    def __init__(self, spec: EnvironmentSpec, keep: Callable[[bytes], Content]) -> None:
        planted = dict(spec.canaries)
        files = [(host.id, file) for host in spec.hosts for file in host.files]
        whole = set(planted.values())
        self.any = bool(planted)
        self._homes = {(host, file.path): file.data for host, file in files if file.data in whole}
        self._names = {hashlib.sha256(data).hexdigest(): name for name, data in planted.items()}
        self._scanner = _scanner(spec)
        self._keep = keep
        self._pending: OrderedDict[str, bytes] = OrderedDict()
        self._pending_bytes = 0
        self._known: OrderedDict[str, tuple[Finding, ...]] = OrderedDict()
        self._missed = 0
        self._end = 0.0

    def keep(self, data: bytes) -> Content:
        """As the `keep` it was made with, remembering the bytes until their effect is told of."""
        content = self._keep(data)
        if self.any and content.sha256 not in self._known and content.sha256 not in self._pending:
            if self._pending_bytes + len(data) > _PENDING_BYTES:
                self._missed += 1
            else:
                self._pending[content.sha256] = data
                self._pending_bytes += len(data)
        return content

    def recognised(self, drafts: Sequence[Draft]) -> list[Draft]:
        """`drafts`, each followed by the canaries that were found in it."""
        if not self.any:
            return list(drafts)
        found: list[Draft] = []
        self._end = time.monotonic() + SECONDS
        for draft in drafts:
            found.append(draft)
            found += [draft._replace(body=body, source="sensor") for body in self._in(draft)]
        self._pending.clear()
        self._pending_bytes = 0
        missed, self._missed = self._missed + self._scanner.cut, 0
        self._scanner.cut = 0
        if missed:
            detail = "contents too large, too many or too deeply packed to be searched to the end"
            state = SensorState(sensor=NAME, state="dropped", covers=("canaries",), count=missed, detail=detail)
            found.append(Draft(state, "sensor"))
        return found

    def _in(self, draft: Draft) -> Iterator[CanaryEffect]:
        match draft.body:
            case FileEffect() as effect if effect.action not in ("deleted", "opened"):
                if (draft.host or "", effect.path) not in self._homes:
                    yield from _effects(self._in_file(effect), "file", effect.path)
            case NetworkEffect() as effect:
                place = effect.name if effect.action == "name_asked" else f"{effect.name or effect.destination}{effect.target}"
                yield from _effects(_once(self._in_head(effect), self._of(effect.request)), "request", place)
                yield from _effects(self._of(effect.response), "response", place)
            case ServiceEffect() as effect:
                said = self._scanned("\n".join(texts_in(effect.subject)))
                yield from _effects(_once(said, self._of(effect.content)), "request", effect.service)
            case ProcessEffect(action="started") as effect:
                yield from _effects(self._scanned(" ".join(effect.argv)), "process", effect.exe)
            case _:
                return

    def _in_file(self, effect: FileEffect) -> tuple[Finding, ...]:
        if effect.content is not None:
            return self._of(effect.content)
        digest = effect.after.sha256 if effect.after is not None else None
        if digest is None:
            return ()
        if digest in self._names:
            return (Finding(self._names[digest], ()),)
        if effect.after is not None and effect.after.size > WHOLE_BYTES and effect.action != "renamed":
            self._missed += 1
        return self._known.get(digest, ())

    def _in_head(self, effect: NetworkEffect) -> tuple[Finding, ...]:
        """In a name that was asked for, its labels joined as well, in a target, or in what a request's headers say."""
        headers = list(texts_in(effect.detail.get("headers")))
        if len(effect.name) >= _NAME or len(effect.target) >= _TARGET or len(headers) >= _HEADERS or any(map(_cut, headers)):
            self._missed += 1
        joined = effect.name.replace(".", "") if effect.name.count(".") > 1 else ""
        return self._scanned("\n".join((effect.name, joined, effect.target, *headers)))

    def _of(self, content: Content | None) -> tuple[Finding, ...]:
        if content is None:
            return ()
        if content.sha256 not in self._known and (data := self._pending.get(content.sha256)) is not None:
            self._search(content.sha256, data)
        return self._known.get(content.sha256, ())

    def _scanned(self, text: str) -> tuple[Finding, ...]:
        if len(text) < SHORTEST:
            return ()
        data = text.encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._known:
            self._search(digest, data)
        return self._known.get(digest, ())

    def _search(self, digest: str, data: bytes) -> None:
        if time.monotonic() > self._end:
            self._missed += 1
            return
        self._known[digest] = self._scanner.scan(data)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _cut(header: str) -> bool:
    return len(header) >= _HEADER


def _once(*found: Iterable[Finding]) -> Iterable[Finding]:
    """The first finding of each canary."""
    return {finding.canary: finding for findings in reversed(found) for finding in findings}.values()


def _scanner(spec: EnvironmentSpec) -> Scanner:
    """A search of its own for what a trial plants as canaries; what its other files hold as well is no sign of them."""
    whole = set(spec.canaries.values())
    return Scanner(spec.canaries, [file.data for host in spec.hosts for file in host.files if file.data not in whole])


class Spoken:
    """The search over what the model is shown and says; its silence proves nothing.

    Args:
        spec: as of `Canaries`.
    """

    def __init__(self, spec: EnvironmentSpec) -> None:
        self._scanner = _scanner(spec) if spec.canaries else None

    def found_in(self, body: ModelCalled | Submitted) -> list[CanaryEffect]:
        """Planted bytes in a prompt's new messages, in a reply with its reasoning and calls, or in a report, once each."""
        found = [effect for where, location, text in _texts(body) for effect in self._in(where, location, text)]
        return list({(effect.canary, effect.where, effect.location): effect for effect in reversed(found)}.values())[::-1]

    def _in(self, where: Literal["prompt", "report"], location: str, text: str) -> Iterator[CanaryEffect]:
        if self._scanner is not None and text:
            for finding in self._scanner.scan(text.encode("utf-8", "surrogatepass")):
                yield CanaryEffect(canary=finding.canary, where=where, location=location, encoding=finding.encoding)


def _texts(body: ModelCalled | Submitted) -> Iterator[tuple[Literal["prompt", "report"], str, str]]:
    """Each text with where it stands: whose message, or which part of the agent's own words."""
    if isinstance(body, Submitted):
        yield "report", "report", body.report
        yield "report", "fields", json.dumps(body.fields, ensure_ascii=False)
        return
    for message in body.delta:
        yield "prompt", message.role, message.content
    yield "report", "reply", body.reply.content
    yield "report", "reasoning", body.reply.reasoning or ""
    for call in body.reply.calls:
        for value in call.arguments.values():
            yield "report", call.tool, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _effects(findings: Iterable[Finding], where: Where, location: str) -> Iterator[CanaryEffect]:
    for finding in findings:
        yield CanaryEffect(canary=finding.canary, where=where, location=location, encoding=finding.encoding)
