"""Which format a file is in, told by its content, never by its name; and its trials, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from typing import Any, NamedTuple

from sandbox.errors import UsageError
from sandbox.interop import atif, inspect_log, langchain_messages, messages, mini_swe_agent, swe_agent
from sandbox.interop.extras import restore
from sandbox.interop.intake import MAX_VALUES, SourceFile, check_bounds, gunzip, parse
from sandbox.interop.transcript import Transcript, listing, mapping, words

READERS: dict[str, Callable[[Any, str], Iterator[Transcript]]] = {
    inspect_log.FORMAT: inspect_log.read,
    atif.FORMAT: atif.read,
    messages.FORMAT: messages.read,
    langchain_messages.FORMAT: langchain_messages.read,
    mini_swe_agent.FORMAT: mini_swe_agent.read,
    swe_agent.FORMAT: swe_agent.read,
}
FORMATS = tuple(READERS)
_SHOWING = 50
_ZIP, _GZIP, _ZSTANDARD = b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Recognised(NamedTuple):
    """The format's name, and the trials; reading the next one may raise UsageError."""

    format: str
    transcripts: Iterator[Transcript]


def recognise(source: SourceFile, wanted: str = "") -> Recognised:
    """The trials of a file, in the format `wanted` or the one that its content shows.

    Raises UsageError where it is none of `FORMATS`, not whole, or beyond the bounds of `sandbox/interop/intake.py`.
    """
    if wanted and wanted not in READERS:
        raise UsageError(f"There is no format {wanted[:60]!r}.", f"Choose one of {', '.join(FORMATS)}.")
    if source.data.startswith(_GZIP):
        source = SourceFile(source.name.removesuffix(".gz"), gunzip(source.data, source.name))
    if source.data.startswith(_ZIP):
        if wanted not in ("", inspect_log.FORMAT):
            raise UsageError(f"{source.name} is a zip archive, not {wanted}.")
        return Recognised(inspect_log.FORMAT, _restored(inspect_log.read_archive(source)))
    if source.data.startswith(_ZSTANDARD):
        raise UsageError(
            f"{source.name} is compressed with zstandard.", "A sealed bundle is opened with `belljar seal --open`."
        )
    if not source.data.strip():
        raise UsageError(f"{source.name} is empty.")
    if (count := source.data.count(b"\n")) > MAX_VALUES:
        raise UsageError(f"{source.name} has {count:,} lines; at most {MAX_VALUES:,} are read.", "Split it.")
    if _is_json_lines(source.data):
        return _recognise_lines(source, wanted)
    document = parse(source.data, source.name)
    found = wanted or format_of(document)
    if not found:
        raise UsageError(f"{source.name} is in no format that is read.", f"Say which it is with --from: {', '.join(FORMATS)}.")
    return Recognised(found, _restored(_whole_part(READERS[found](document, _stem(source.name)), source.data), document))


def format_of(document: Any) -> str:
    """The format that a JSON document shows by its keys, empty where none is recognised."""
    root = mapping(document)
    info = mapping(root.get("info"))
    entries = listing(root.get("messages")) if root else listing(document)
    signs = {
        atif.FORMAT: words(root.get("schema_version")).startswith("ATIF"),
        inspect_log.FORMAT: isinstance(root.get("eval"), dict) and "version" in root,
        mini_swe_agent.FORMAT: words(root.get("trajectory_format")).startswith("mini-swe-agent")
        or ("messages" in root and "mini_version" in info),
        swe_agent.FORMAT: isinstance(root.get("trajectory"), list),
        messages.FORMAT: any(isinstance(mapping(value).get("role"), str) for value in entries),
        langchain_messages.FORMAT: any(langchain_messages.entry(value) is not None for value in entries),
    }
    return next((name for name, shown in signs.items() if shown), "")


def _is_json_lines(data: bytes) -> bool:
    """Whether the first lines are at least two, and each an object of its own."""
    first = [line.strip() for line in islice(_lines(data), _SHOWING)]
    return len(first) > 1 and all(line.startswith(b"{") and line.endswith(b"}") for line in first)


def _lines(data: bytes) -> Iterator[bytes]:
    """Those that hold something, one at a time: a file of line feeds alone would be many."""
    return (line.removesuffix(b"\n") for line in BytesIO(data) if line.strip())


def _recognise_lines(source: SourceFile, wanted: str) -> Recognised:
    name = source.name
    first = parse(next(_lines(source.data)), f"{name}: line 1")
    if "hash" in mapping(first) and "header" in mapping(first):
        raise UsageError(f"{name} is a ledger of Belljar already.", "Work on it as it is; a bundle of it is made with `seal`.")
    if not wanted and isinstance(mapping(first).get("role"), str):
        check_bounds(source.data, name)
        document = [parse(line, f"{name}: line {number}") for number, line in enumerate(_lines(source.data), 1)]
        whole = b"\n".join(_lines(source.data))
        return Recognised(messages.FORMAT, _restored(_whole_part(messages.read(document, _stem(name)), whole)))
    found = wanted or format_of(first)
    if not found:
        raise UsageError(f"{name} is in no format that is read.", f"Say which it is with --from: {', '.join(FORMATS)}.")
    return Recognised(found, _read_lines(source, found))


def _read_lines(source: SourceFile, found: str) -> Iterator[Transcript]:
    for number, line in enumerate(_lines(source.data), 1):
        document = parse(line, f"{source.name}: line {number}")
        for transcript in _restored(READERS[found](document, f"{_stem(source.name)}-{number}"), document):
            transcript.part, transcript.part_name = line, f"line {number}"
            yield transcript


def _whole_part(transcripts: Iterator[Transcript], data: bytes) -> Iterator[Transcript]:
    """Where the file holds one trial, the file is its part."""
    for transcript in transcripts:
        if not transcript.part:
            transcript.part = data
        yield transcript


def _restored(transcripts: Iterator[Transcript], document: Any = None) -> Iterator[Transcript]:
    """Each with the extras that stand in its document's metadata."""
    for transcript in transcripts:
        root = mapping(document)
        places = (transcript.extras, mapping(root.get("metadata")).get("belljar"), mapping(root.get("extra")).get("belljar"))
        raw = next((place for place in places if place is not None), None)
        if raw is not None:
            for key in ("metadata", "extra"):
                claims = transcript.claims.get(key)
                if isinstance(claims, dict):
                    claims.pop("belljar", None)
            restore(transcript, raw)
        yield transcript


def _stem(name: str) -> str:
    for suffix in (".json", ".jsonl", ".traj"):
        name = name.removesuffix(suffix)
    return name or "imported"
