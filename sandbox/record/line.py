"""One line of a ledger: how an event is laid out in bytes, hashed, and read back.

A line is one JSON object and a line feed. Raw TABs, which JSON allows between values and never inside an encoded string,
part it into segments, so that hashing needs no JSON parser and no canonical form:

    {"header":{…},⇥                                                  segment 0
     "body":{…,"sealed":{"f":"<64 hex>","g":"<64 hex>"}},⇥           segment 1
     "open":{⇥                                                       always these eight bytes
       "f":["<32 hex>",value],⇥                                      an opening and the comma that joins it to the next
       "g":["<32 hex>",value]⇥                                       the last opening
     },⇥                                                             always these two bytes
     "hash":"<64 hex>"}                                              (the line breaks and indents here are not in the file)

- `hash`   = SHA-256("belljar-event-1" NUL, segment 0, NUL, SHA-256(segment 1)), over the bytes as stored, commas included.
  The header holds `prev`, the hash of the line before (64 zeros at the start), which makes the chain.
- `sealed` = for each field that may be withheld, SHA-256("belljar-field-1" NUL, opening), where the opening is the bytes
  `"f":["<salt>",value]` as stored, without the comma after it; the salt is 16 random bytes, so that a digest tells nothing
  of a short value. Removing an opening (and the comma that joined it) leaves a line that still verifies.
- Sealed are the fields marked `Withholdable` that are not None, and every field of a body of unknown kind, since nobody
  can say which of those are private. The body's `kind` stands in the header only, and no body has a field named `sealed`.

Text that UTF-8 cannot carry (lone surrogates) is written with U+FFFD in its place; NaN and infinities are written as the
strings "NaN", "Infinity", "-Infinity"; integers of more than 4,000 digits as hexadecimal text; what is nested deeper than
100 levels as a short remark. All of these occur only in what an agent or a service made up.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from types import NoneType
from typing import Any, BinaryIO, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from sandbox.events import Body, Content, Event, FileState, Header, KnownBody, Message, UnknownBody, Withholdable

START = "0" * 64
"""`prev` of the first line."""

MAX_LINE = 16 * 1024 * 1024
"""Bytes of the longest line, its line feed included: no more is written, and no more is held of what somebody else wrote."""

WITHHELD = "[withheld]"

_EVENT = b"belljar-event-1\0"
_FIELD = b"belljar-field-1\0"
_HASH = re.compile(rb'"hash":"([0-9a-f]{64})"}')
_MAX_DEPTH = 100
_MAX_INTEGER = 10**4000

MODELS: Mapping[str, type[BaseModel]] = {m.model_fields["kind"].default: m for m in get_args(get_args(KnownBody)[0])}
"""Every kind that this version knows."""

_read_header: Callable[[Any], Header] = Header.__pydantic_validator__.validate_python
_READ_BODY: Mapping[str, Callable[[Any], Any]] = {
    kind: model.__pydantic_validator__.validate_python for kind, model in MODELS.items()
}


class Line(NamedTuple):
    """A line taken apart: `body` holds the plain and the opened fields, `withheld` names those without an opening."""

    header: dict[str, Any]
    body: dict[str, Any]
    withheld: tuple[str, ...]
    hash: str


def encode(header: Header, body: Body, salt: Callable[[int], bytes] = os.urandom) -> tuple[bytes, str]:
    """The line, line feed included, and its hash. Whatever the body holds, the line can be read back."""
    try:
        return _encode(header, body, salt)
    except ValueError:  # surrogates, depth, huge integers: pydantic's serialisation and JSON errors are all of this kind
        cleaned = {_clean(name): _clean(value) for name, value in _fields(body).items()}
        header = Header.model_validate({name: _clean(value) for name, value in dict(header).items()})
        return _encode(header, _Cleaned(body, cleaned), salt)


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a ledger with their line feeds, one at a time; the last may lack it.

    One that is longer than `MAX_LINE` comes as its first `MAX_LINE + 1` bytes, and ends them.
    """
    while text := file.readline(MAX_LINE + 1):
        yield text
        if len(text) > MAX_LINE:
            return


def decode(line: bytes) -> Line:
    """Take a line apart without checking any digest; line feed optional. Raises ValueError where it is no ledger line."""
    value = from_json(line)
    try:
        header, body, opened, digest = value["header"], value["body"], value["open"], value["hash"]
        sealed = body.pop("sealed")
        for name, pair in opened.items():
            body[name] = pair[1]
        if not isinstance(header, dict) or not isinstance(digest, str):
            raise TypeError("header or hash of the wrong type")
        return Line(header, body, tuple([name for name in sealed if name not in opened]) if sealed else (), digest)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not laid out as a ledger line ({error})") from error


def read(line: Line) -> tuple[Event, str | None]:
    """The event in a line, and what is wrong with it if it could only be kept as an `UnknownBody`.

    Raises ValueError where even the header does not hold.
    """
    header: Header = _read_header(line.header)
    read_body = _READ_BODY.get(header.kind)
    if read_body is None:
        return Event(header, UnknownBody(kind=header.kind, data=line.body), line.hash, line.withheld), None
    data = line.body
    if line.withheld:
        model = MODELS[header.kind]
        data = data | {name: placeholder(model, name) for name in line.withheld if name in model.model_fields}
    try:
        body = read_body(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        problem = f"body of {header.kind} does not fit this version: {where}: {first['msg']}"
        return Event(header, UnknownBody(kind=header.kind, data=line.body), line.hash, line.withheld), problem
    return Event(header, body, line.hash, line.withheld), None


def check(line: bytes) -> Line:
    """Take a line (without its line feed) apart, proving that header and body are what was hashed and openings what was sealed.

    Raises ValueError that says what does not hold. The chain to the line before is the caller's to check.
    """
    parts = line.split(b"\t")
    if len(parts) < 5 or parts[2] != b'"open":{' or parts[-2] != b"},":
        raise ValueError("it is not laid out as a ledger line")
    stored = _HASH.fullmatch(parts[-1])
    if stored is None:
        raise ValueError("it has no hash")
    if _chained(parts[0], parts[1]) != stored[1].decode():
        raise ValueError("its header or body was altered: they do not give its hash")
    try:
        header, body = _only(b'{"header":', parts[0]), _only(b'"body":', parts[1])
        sealed = body.pop("sealed")
        opened = _check_openings(parts[3:-2], sealed)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not laid out as a ledger line ({error})") from error
    body.update(opened)
    return Line(header, body, tuple(name for name in sealed if name not in opened), stored[1].decode())


def withhold(line: bytes, fields: Collection[str]) -> bytes:
    """The line (line feed included) without the openings of `fields`; those it does not have are passed over.

    Raises ValueError where it is no ledger line.
    """
    parts = line.split(b"\t")
    if len(parts) < 5:
        raise ValueError("not laid out as a ledger line")
    openings = [text.removesuffix(b",") for text in parts[3:-2]]
    kept = [text for text in openings if _name(text) not in fields]
    return b"\t".join([*parts[:3], *(text + b"," for text in kept[:-1]), *kept[-1:], *parts[-2:]])


def placeholder(model: type[BaseModel], name: str) -> Any:
    """What a withheld field reads as: "[withheld]" for text, a value without content otherwise."""
    return _PLACEHOLDERS.get(_kind(model.model_fields[name].annotation))


def _kind(annotation: Any) -> Any:
    """The bare type of an annotation: `dict` for `dict[str, JsonValue] | None`."""
    options = [option for option in get_args(annotation) if option is not NoneType]
    bare = options[0] if NoneType in get_args(annotation) else annotation
    return get_origin(bare) or bare


_PLACEHOLDERS: Mapping[Any, Any] = {
    str: WITHHELD,
    dict: {},
    tuple: (),
    Content: Content(text=WITHHELD, size=0, sha256="", complete=False),
    Message: Message(role="assistant", content=WITHHELD),
    FileState: FileState(type=WITHHELD, mode=0, uid=0, gid=0, size=0),
}


@cache
def withholdable(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a body that may be withheld, in order."""
    return tuple(name for name, field in model.model_fields.items() if Withholdable in field.metadata)


@cache
def contents(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a body that are contents, whose bytes may lie in the blob store."""
    return frozenset(name for name, field in model.model_fields.items() if _kind(field.annotation) is Content)


class _Cleaned:
    """A body's fields after cleaning, with what the original says of sealing."""

    def __init__(self, body: Body, fields: dict[str, Any]) -> None:
        self.original = body
        self.fields = fields


def _encode(header: Header, body: Body | _Cleaned, salt: Callable[[int], bytes]) -> tuple[bytes, str]:
    plain, private = _parted(body)
    openings = [_opening(name, value, salt(16)) for name, value in private]
    seals = b",".join(
        to_json(name) + b':"' + _seal(text).encode() + b'"' for (name, _), text in zip(private, openings, strict=True)
    )
    first = b'{"header":' + header.__pydantic_serializer__.to_json(header) + b","
    second = b'"body":' + plain[:-1] + (b"," if len(plain) > 2 else b"") + b'"sealed":{' + seals + b"}},"
    digest = _chained(first, second)
    opened = b"".join(b"\t" + text + b"," for text in openings)[:-1]
    line = b'%b\t%b\t"open":{%b\t},\t"hash":"%b"}\n' % (first, second, opened, digest.encode())
    from_json(line)  # proves that this version's reader takes what is about to be written
    return line, digest


def _parted(body: Body | _Cleaned) -> tuple[bytes, list[tuple[str, Any]]]:
    """The plain fields as one JSON object, and the fields to be sealed with their values."""
    original = body.original if isinstance(body, _Cleaned) else body
    if isinstance(original, UnknownBody):
        return b"{}", list((body.fields if isinstance(body, _Cleaned) else original.data).items())
    values = body.fields if isinstance(body, _Cleaned) else original.__dict__
    private = [(name, values[name]) for name in withholdable(type(original)) if values[name] is not None]
    apart = {name for name, _ in private} | {"kind"}
    if isinstance(body, _Cleaned):
        return to_json({name: value for name, value in values.items() if name not in apart}), private
    return original.__pydantic_serializer__.to_json(original, exclude=apart), private


def _opening(name: str, value: Any, salt: bytes) -> bytes:
    return b'%b:["%b",%b]' % (to_json(name), salt.hex().encode(), to_json(value, inf_nan_mode="strings"))


def _seal(opening: bytes) -> str:
    return hashlib.sha256(_FIELD + opening).hexdigest()


def _chained(first: bytes, second: bytes) -> str:
    return hashlib.sha256(_EVENT + first + b"\0" + hashlib.sha256(second).digest()).hexdigest()


def _only(start: bytes, segment: bytes) -> dict[str, Any]:
    """The one object in a segment that begins so, and nothing beside it that a reader of the whole line would take."""
    if not segment.startswith(start + b"{") or not segment.endswith(b"},"):
        raise ValueError("it is not laid out as a ledger line")
    value: dict[str, Any] = from_json(segment[len(start) : -1])
    return value


def _check_openings(openings: list[bytes], sealed: Mapping[str, str]) -> dict[str, Any]:
    """Their values by name: each is followed by a comma except the last, seals exactly what it says, and they come in the
    order of the seals."""
    names = iter(sealed)
    opened = {}
    for position, stored in enumerate(openings, 1):
        last = position == len(openings)
        if stored.endswith(b",") == last:
            raise ValueError("its openings are not joined by commas")
        text = stored.removesuffix(b",")
        ((name, (_, value)),) = from_json(b"{" + text + b"}").items()
        if sealed.get(name) != _seal(text):
            raise ValueError(f"its field {name[:100]!r} was altered: the opening is not what was sealed")
        if name not in names:
            raise ValueError(f"its field {name[:100]!r} is opened twice or out of order")
        opened[name] = value
    return opened


def _name(opening: bytes) -> str:
    """Raises ValueError where it is not one field."""
    ((name, _),) = from_json(b"{" + opening + b"}").items()
    return str(name)


def _fields(body: Body) -> dict[str, Any]:
    return dict(body.data) if isinstance(body, UnknownBody) else dict(body.__dict__)


def _clean(value: Any, depth: int = 0) -> Any:  # noqa: PLR0911 - a table of types, one line each
    """The nearest thing to `value` that every JSON reader takes (see the module's text)."""
    if depth > _MAX_DEPTH:
        return f"[nested deeper than {_MAX_DEPTH} levels]"
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case bool() | None:
            return value
        case int():
            return value if abs(value) < _MAX_INTEGER else hex(value)
        case float():
            return value if math.isfinite(value) else str(to_json(value, inf_nan_mode="strings"), "ascii").strip('"')
        case BaseModel():
            return {name: _clean(part, depth + 1) for name, part in value.__dict__.items()}
        case Mapping():
            return {_clean(str(name)): _clean(part, depth + 1) for name, part in value.items()}
        case list() | tuple():
            return [_clean(part, depth + 1) for part in value]
        case _:
            return _clean(str(value))
