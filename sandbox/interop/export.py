"""Writing a recorded trial in another program's format, with an account of what that format could not carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pydantic import JsonValue

from sandbox.errors import UsageError
from sandbox.events import Event
from sandbox.interop import atif, inspect_log, langchain_messages, messages
from sandbox.interop.extras import counted, transcript_of
from sandbox.interop.transcript import Transcript
from sandbox.trajectory import Trajectory

_Writer = Callable[[Transcript, dict[str, JsonValue], list[Event]], bytes]


class Exported(NamedTuple):
    """A document, the usual ending of its file's name, and what it does not carry, by description."""

    data: bytes
    suffix: str
    lost: dict[str, int]


WRITERS: dict[str, tuple[str, _Writer]] = {
    "inspect": (".eval", lambda transcript, extras, events: inspect_log.write(transcript, extras, events, ".eval")),
    "inspect-json": (".json", lambda transcript, extras, events: inspect_log.write(transcript, extras, events, ".json")),
    "atif": (".json", lambda transcript, extras, events: atif.write(transcript, extras)),
    "openai-messages": (".json", lambda transcript, extras, events: messages.write(transcript, extras)),
    "langchain-messages": (".json", lambda transcript, extras, events: langchain_messages.write(transcript, extras)),
}
"""By format: the file's ending and what writes it."""

_SHOWN_BY_INSPECT = (" events",)


def export(trajectory: Trajectory, format: str, verdicts: JsonValue = None) -> Exported:
    """A recorded trial in another format; `verdicts`, as JSON, travel in its metadata.

    Raises UsageError for an unknown format or a trial that never reached its model, NotReadyError where the format needs an
    extra that is not installed.
    """
    if format not in WRITERS:
        raise UsageError(f"There is no format {format[:60]!r} to export to.", f"Choose one of {', '.join(WRITERS)}.")
    transcript, extras = transcript_of(trajectory, verdicts)
    if not transcript.turns:
        raise UsageError(f"{trajectory.layout.root} holds no reply of a model: there is nothing to export.")
    suffix, write = WRITERS[format]
    data = write(transcript, extras, list(trajectory.events))
    lost = counted(transcript.lost)
    if format.startswith("inspect"):
        lost = {
            what if not what.endswith(_SHOWN_BY_INSPECT) else f"{what} (shown there, not read back)": n
            for what, n in lost.items()
        }
    return Exported(data, suffix, lost)
