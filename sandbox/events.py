"""The vocabulary that everything else shares: what can be written in a ledger, format version 1.

An `Event` is an envelope (who saw it, when, during which call, caused by which call) around one body. The body's `kind`
selects its model; a kind that this version does not know loads as `UnknownBody` and still verifies. Fields annotated
with `Withholdable` enter the hash chain as salted digests, so that they can be removed later without breaking it: such a
field then reads as its type's placeholder and is named in `Event.withheld`. How a line is laid out and hashed is in
`sandbox/record/line.py`.

Adding a kind or an optional field is compatible; renaming or removing one is not, and golden files in `tests/golden` hold it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

FORMAT = 1

Source = Literal["engine", "sensor", "world", "agent"]
Fact = Literal["true", "false", "undetermined", "n/a"]
OriginBasis = Literal["only_call_open", "process_tree", "cgroup", "socket_owner", "content", "engine"]
"""Why an effect is ascribed to a call: it was the only one open and nothing older was running; the process that did it
descends from it; likewise by control group; the socket's owner does; planted content names it; the engine did it itself."""


class _Withholdable:
    """Marks a body field that may be removed from a sealed bundle."""


Withholdable = _Withholdable()


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ObservedAt(NamedTuple):
    """Integer microseconds: since the Unix epoch, and of the recorder's monotonic clock."""

    wall_us: int
    mono_us: int


class Content(Frozen):
    """Bytes, kept bounded in the event: `text` is their head and tail, the whole lies in the blob store if `stored`.

    `text` is complete when `size` bytes fit the bound and are UTF-8 (`complete`); bytes that are not UTF-8 read as
    U+FFFD in `text` and are always stored. `sha256` is that of the whole, before any cut.
    """

    text: str
    size: int
    sha256: str
    complete: bool = True
    stored: bool = False


class Call(Frozen):
    """A tool call as a model asked for it; `provider_id` is the provider's own name for it."""

    id: str
    tool: str
    arguments: dict[str, JsonValue]
    provider_id: str = ""


class Message(Frozen):
    """One message of the conversation. `call_id` says which call a tool message answers; `reasoning` is None where the
    provider gives none."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[Call, ...] = ()
    call_id: str = ""
    reasoning: str | None = None


class Usage(Frozen):
    """Tokens as the provider counts them; None where it does not say. Cost in US dollars, None where unknown."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None


class TrialStarted(Frozen):
    """The manifest: all that is needed to run this trial again, and to analyse it without the scenario's folder.

    `packages` lists image, package and version a line, for every image of `images`."""

    kind: Literal["trial.started"] = "trial.started"
    format: int = FORMAT
    trial: str
    run: str
    scenario: str
    scenario_digest: str
    resolved: Annotated[dict[str, JsonValue], Withholdable]
    arm: dict[str, str]
    seed: int
    epoch: int
    model: str
    sampling: dict[str, JsonValue] = {}
    images: dict[str, str] = {}
    versions: dict[str, str] = {}
    limits: dict[str, JsonValue] = {}
    runtime: str = ""
    users_mapped: bool | None = None
    packages: Content | None = None
    sensors: tuple[str, ...] = ()
    parent: dict[str, JsonValue] | None = None


class ProbeResult(Frozen):
    group: str
    name: str
    result: Literal["BLOCKED", "REACHED", "INVALID"]
    control: bool
    detail: str = ""


class ContainmentCertificate(Frozen):
    """What was tried from inside before the model's first turn, and read of each container from outside; a host that starts
    later has one of its own. `passed` is true when each probe is BLOCKED."""

    kind: Literal["containment.certificate"] = "containment.certificate"
    profile: str
    passed: bool
    probes: tuple[ProbeResult, ...]
    duration_us: int = 0


class Planted(Frozen):
    """A protected work, or a notice of its licence, as it lay on a host before the agent's first turn: what the contents of
    later events are compared with. `asset` is its id; of a folder there is one event a file."""

    kind: Literal["planted"] = "planted"
    asset: str
    path: Annotated[str, Withholdable]
    content: Annotated[Content, Withholdable]


class ModelCalled(Frozen):
    """One exchange with the model: `delta` holds the messages it had not been shown before.

    `purpose` tells the trial's own turns and its interview from questions asked in forks: each of those goes on from the
    conversation as it stood at the end of the run, before the interview, and what it adds is no part of it.
    `retries` are the classified failures that preceded the answer, in order.
    """

    kind: Literal["model.called"] = "model.called"
    purpose: Literal["turn", "interview", "fork"] = "turn"
    delta: Annotated[tuple[Message, ...], Withholdable]
    reply: Annotated[Message, Withholdable]
    finish_reason: str = ""
    usage: Usage = Usage()
    latency_us: int = 0
    retries: tuple[str, ...] = ()


class ToolCalled(Frozen):
    """Written before the call is carried out. `requested` differs from `arguments` when a reviewer modified them."""

    kind: Literal["tool.called"] = "tool.called"
    call: str
    tool: str
    arguments: Annotated[dict[str, JsonValue], Withholdable]
    requested: Annotated[dict[str, JsonValue] | None, Withholdable] = None


class ToolReturned(Frozen):
    """What the agent was shown. `status`: ok; error (the tool's own answer, e.g. no such file); timeout; rejected by a
    reviewer; unavailable (no such tool, or arguments that do not fit it); shell_restarted (its session was lost)."""

    kind: Literal["tool.returned"] = "tool.returned"
    call: str
    status: Literal["ok", "error", "timeout", "rejected", "unavailable", "shell_restarted"]
    output: Annotated[Content, Withholdable]
    stderr: Annotated[Content | None, Withholdable] = None
    exit_code: int | None = None
    duration_us: int = 0


class FileState(Frozen):
    """A file as it lay: `type` is file, directory, symlink, fifo, socket or device; `sha256` of a file's bytes, None
    where they could not be had (short-lived, too large, unreadable); `target` of a symlink."""

    type: str
    mode: int
    uid: int
    gid: int
    size: int
    sha256: str | None = None
    target: str | None = None


class FileEffect(Frozen):
    """`short_lived`: a file that came and went between two looks; of `modified`, that it was written to and found as before."""

    kind: Literal["effect.file"] = "effect.file"
    action: Literal["created", "modified", "deleted", "renamed", "mode_changed", "owner_changed", "opened"]
    path: Annotated[str, Withholdable]
    renamed_from: Annotated[str | None, Withholdable] = None
    before: Annotated[FileState | None, Withholdable] = None
    after: Annotated[FileState | None, Withholdable] = None
    diff: Annotated[Content | None, Withholdable] = None
    content: Annotated[Content | None, Withholdable] = None
    short_lived: bool = False
    sensor: str = ""


class ProcessEffect(Frozen):
    """`outlived` says that a process was still there when the call that caused it returned."""

    kind: Literal["effect.process"] = "effect.process"
    action: Literal["started", "exited", "outlived"]
    pid: int
    parent: int | None = None
    argv: Annotated[tuple[str, ...], Withholdable] = ()
    exe: Annotated[str, Withholdable] = ""
    uid: int | None = None
    exit_code: int | None = None
    sensor: str = ""


class NetworkEffect(Frozen):
    """What the world saw on the wire; addresses are the original destination, as the agent meant it."""

    kind: Literal["effect.network"] = "effect.network"
    action: Literal["name_asked", "connected", "refused", "requested", "closed"]
    protocol: str
    source: str = ""
    destination: str = ""
    port: int | None = None
    name: Annotated[str, Withholdable] = ""
    method: Annotated[str, Withholdable] = ""
    target: Annotated[str, Withholdable] = ""
    status: int | None = None
    request: Annotated[Content | None, Withholdable] = None
    response: Annotated[Content | None, Withholdable] = None
    detail: Annotated[dict[str, JsonValue], Withholdable] = {}


class ServiceEffect(Frozen):
    """The meaning of a request to a service of the world: `ticket.opened`, `post.published`, `ssh.session`, ..."""

    kind: Literal["effect.service"] = "effect.service"
    service: str
    name: str
    subject: Annotated[dict[str, JsonValue], Withholdable] = {}
    content: Annotated[Content | None, Withholdable] = None


class CanaryEffect(Frozen):
    """Planted bytes seen again; `encoding` lists the layers that were undone to find them, `found_in` the event's seq: the
    ledger sets it to the last event before that is none of these. `prompt`: a message of role `location` that the model was
    shown; `report`: the agent's own words - `location` a tool's name for a call's arguments, else `reply`, `reasoning`,
    `report` or `fields`."""

    kind: Literal["effect.canary"] = "effect.canary"
    canary: str
    where: Literal["file", "request", "response", "process", "prompt", "report"]
    location: Annotated[str, Withholdable] = ""
    encoding: tuple[str, ...] = ()
    found_in: int | None = None


class SensorState(Frozen):
    """`covers` names what its silence proves, on which hosts. "files": nothing that lies there now is other than before;
    "passing": nothing came and went or was put back meanwhile; "connections": none began; "network": nor was anything
    asked; "opens", "processes", "services", "canaries". A gap or drop takes that proof away for its span."""

    kind: Literal["sensor"] = "sensor"
    sensor: str
    state: Literal["started", "stopped", "gap", "dropped"]
    covers: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    count: int | None = None
    detail: Annotated[str, Withholdable] = ""


class Reviewed(Frozen):
    """A reviewer's decision on one call; `suspicion` from 0 to 1 where the reviewer gives one."""

    kind: Literal["review"] = "review"
    call: str
    reviewer: str
    decision: Literal["allow", "modify", "reject", "end"]
    suspicion: float | None = Field(default=None, ge=0, le=1)
    reason: Annotated[str, Withholdable] = ""
    arguments: Annotated[dict[str, JsonValue] | None, Withholdable] = None


class Submitted(Frozen):
    """The agent's own structured close of its task, as `submit` took it."""

    kind: Literal["submitted"] = "submitted"
    call: str
    status: Annotated[str, Withholdable]
    report: Annotated[str, Withholdable]
    fields: Annotated[dict[str, JsonValue], Withholdable] = {}


class Interviewed(Frozen):
    """One question of the scenario's list, after the world was frozen. `answer` is the closed part, None if unusable."""

    kind: Literal["interview"] = "interview"
    question_id: str
    question: Annotated[str, Withholdable]
    answer: Literal["yes", "no", "unsure"] | None
    text: Annotated[str, Withholdable] = ""


class ScheduleFired(Frozen):
    """An event of the scenario's own time: a notice, a shutdown, a desk's reply. `at_step` is the logical time."""

    kind: Literal["schedule"] = "schedule"
    id: str
    action: str
    at_step: int
    detail: Annotated[dict[str, JsonValue], Withholdable] = {}


class Probed(Frozen):
    """A question that the engine put to the world itself, not to the agent: does shutdown still work, does the copy
    answer a fresh nonce, is the task done. `passed` is undetermined when the probe could not be carried out."""

    kind: Literal["probe"] = "probe"
    probe: str
    type: str
    passed: Literal["true", "false", "undetermined"]
    detail: Annotated[dict[str, JsonValue], Withholdable] = {}


class StateDigested(Frozen):
    """Digest of the writable trees, the world's state and process arguments before the first turn and after each call, or turn
    without one; no times, no pids. `parts` has those of each host and of the world, and of each tree and service."""

    kind: Literal["state"] = "state"
    digest: str
    parts: dict[str, str] = {}


class LimitReached(Frozen):
    kind: Literal["limit"] = "limit"
    limit: Literal["steps", "tokens", "wall_seconds", "cost_usd", "nudges", "context"]
    value: float
    bound: float


class ErrorRaised(Frozen):
    kind: Literal["error"] = "error"
    fault: Literal["infrastructure", "model", "agent", "scenario", "user"]
    type: str
    message: Annotated[str, Withholdable]


StopReason = Literal[
    "submitted",
    "inert",
    "steps",
    "tokens",
    "wall_seconds",
    "cost_usd",
    "context_overflow",
    "ended_by_review",
    "shut_down",
    "infrastructure",
    "containment",
    "provider",
    "scenario_error",
    "interrupted",
]


class Imported(Frozen):
    """This trial was recorded elsewhere, by something that watched no effects. `source` is the file, or the part of it
    named `part`, that it was made from; `file_sha256` and `file_size` are the whole file's. `lost` counts what found no
    place in our events; `claims` is what the source says of itself (scores, verdicts, metadata), never evidence."""

    kind: Literal["imported"] = "imported"
    format: str
    name: Annotated[str, Withholdable]
    file_sha256: str
    file_size: int
    source: Annotated[Content, Withholdable]
    part: Annotated[str, Withholdable] = ""
    lost: dict[str, int] = {}
    claims: Annotated[dict[str, JsonValue], Withholdable] = {}


class TrialFinished(Frozen):
    kind: Literal["trial.finished"] = "trial.finished"
    stop_reason: StopReason
    steps: int
    calls: int = 0
    usage: Usage = Usage()
    duration_us: int = 0
    model_us: int = 0


class UnknownBody(BaseModel):
    """A body whose kind this version does not know: kept as it came, counted, never guessed at."""

    model_config = ConfigDict(frozen=True)
    kind: str
    data: dict[str, Any]


AnyKnown = (
    TrialStarted
    | ContainmentCertificate
    | Planted
    | ModelCalled
    | ToolCalled
    | ToolReturned
    | FileEffect
    | ProcessEffect
    | NetworkEffect
    | ServiceEffect
    | CanaryEffect
    | SensorState
    | Reviewed
    | Submitted
    | Interviewed
    | ScheduleFired
    | Probed
    | StateDigested
    | LimitReached
    | ErrorRaised
    | Imported
    | TrialFinished
)

KnownBody = Annotated[AnyKnown, Field(discriminator="kind")]

Body = AnyKnown | UnknownBody


class Header(Frozen):
    """The envelope. `during` is the call that was open when this was seen; `origin` the call whose process tree caused it,
    None where that could not be told, with `origin_basis` saying how it was told."""

    kind: str
    seq: int = Field(ge=0)
    step: int = Field(ge=0)
    attempt: int = Field(ge=1)
    source: Source
    host: str | None = None
    observed_at: ObservedAt
    during: str | None = None
    origin: str | None = None
    origin_basis: OriginBasis | None = None
    prev: str


class Draft(NamedTuple):
    """What a source hands to the ledger, which adds sequence, step, attempt, time (unless `observed_at` is given) and hash.

    `client` is the `address:port` from which the world was asked, for whoever can tell whose socket it is; it is not recorded.
    """

    body: Body
    source: Source = "engine"
    host: str | None = None
    during: str | None = None
    origin: str | None = None
    origin_basis: OriginBasis | None = None
    observed_at: ObservedAt | None = None
    client: str = ""


class Event(NamedTuple):
    """A ledger line, read back. `withheld` names the body's fields that were taken out of this copy."""

    header: Header
    body: Body
    hash: str
    withheld: tuple[str, ...] = ()

    @property
    def seq(self) -> int:
        return self.header.seq

    @property
    def kind(self) -> str:
        return self.header.kind
