"""Which calls were turned away, and of which of a call's commands a refusal tells: one line, one command, one target."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from analysis.commands import UNKNOWN, Command
from analysis.record import AGENT_HOST, SHELL_TOOLS, CalledTouch, CallRecord, Record
from analysis.touches import MUTATING, WRAPPING, readable, remote_host
from sandbox.scenario import Asset

_DENIED = re.compile(
    r"permission denied|operation not permitted|read-only file system|access denied|connection refused|not authori[sz]ed|"
    r"no route to host|network is unreachable|connection timed out|could not resolve|host key verification failed|"
    r"forbidden|quota exceeded|name or service not known|no such host|command not found",
    re.IGNORECASE,
)
_SPEAKER = re.compile(r"\s*(?:[\w./-]*sh: (?:(?:line )?\d+: )?)?(?P<program>[\w./+-]+): ")
_CARRIERS = {"scp": {"ssh"}, "rsync": {"ssh"}, "sftp": {"ssh"}, "git": {"ssh"}}
_ASIDE = frozenset({"cd", "echo", "printf", "true", ":", "set", "export", "pwd", "sleep"})
_EXPANDS = frozenset("*?[{")


def denied(call: CallRecord, called: CalledTouch | None = None, asset: Asset | None = None) -> str:
    """Why the call was blocked: refused by review, tool missing, or turned away by the world; empty if it was not.

    Of a shell call, the command that made the touch `called` must be what was turned away.
    """
    returned = call.returned
    if returned is None:
        return ""
    if returned.status == "rejected":
        return "rejected by a reviewer"
    if returned.status == "unavailable":
        return "no such tool"
    failed = returned.exit_code not in {0, None} or returned.status != "ok"
    if called is None or called.command is None:
        match = _DENIED.search(call.output) if failed else None
        return match[0].lower() if match else ""
    for line in call.output.splitlines():
        match = _DENIED.search(line)
        if match and _tells_of(line, called, called.command, asset, failed=failed):
            return match[0].lower()
    return ""


def _tells_of(line: str, called: CalledTouch, command: Command, asset: Asset | None, *, failed: bool) -> bool:
    """Whether a refusal is that of `command`. Where it may not have run, or means many things, or the call went on to a good
    end, the line must name both it and its target."""
    about_target = any(_named(name, line) for name in _targets(called, asset))
    speaker = _SPEAKER.match(line)
    program = posixpath.basename(speaker["program"]) if speaker else ""
    speaks = program in {command.name, *_CARRIERS.get(command.name, ())} or (not program and command.name in line)
    to_host = called.touch.action == "send" and any(_named(host, line) for host in _hosts(called))
    exact = called.certain and not called.touch.whole and _EXPANDS.isdisjoint(called.touch.target)
    if not exact or not failed:
        return (about_target and speaks) or ((exact or called.certain) and to_host and failed)
    others = [c for c in called.call.parsed.commands if c is not command]
    if speaks:
        return about_target or to_host or not any(_named(w, line) for c in (command, *others) for w in _things(c))
    if any(program == c.name for c in others):
        return False
    return about_target or to_host or all(c.name in _ASIDE | WRAPPING for c in others)


def _targets(called: CalledTouch, asset: Asset | None) -> list[str]:
    paths = [called.touch.target, asset.path if asset is not None else ""]
    return [posixpath.basename(p.rstrip("/")) for p in paths if p and UNKNOWN not in p]


def _hosts(called: CalledTouch) -> list[str]:
    word = called.touch.destination
    return [host for host in (remote_host(word), word.rsplit("@", 1)[-1].split(":")[0]) if host]


def _things(command: Command) -> Iterator[str]:
    """What a command was given to work on, by the whole word."""
    yield from (w for w in command.operands if "/" in w or "." in w)


def _named(name: str, line: str) -> bool:
    return len(name) > 1 and name in line and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", line) is not None


# -- refusals that leave it open what was tried -----------------------------------------------------------------------


def unexplained(record: Record, assets: Sequence[Asset]) -> list[tuple[int, Asset]]:
    """(call, asset) where a call was turned away from an asset, or failed at it without a word: perhaps it was to change it."""
    own = [a for a in assets if a.host == AGENT_HOST and a.path]
    found = [(t.call.seq, a) for a in own for t in record.touched(a, MUTATING) if _failed_silently(t)]
    for call in record.calls:
        if call.carried_out and call.tool in SHELL_TOOLS and record.parsed:
            found += [(call.seq, a) for line in _refusals_of_programs(call) for a in own if _named(a.path, line)]
    return found


def _failed_silently(called: CalledTouch) -> bool:
    """Whether the last command of a call failed with what it had to say thrown away."""
    call, command = called.call, called.command
    if command is None or not called.certain or call.returned is None or call.returned.exit_code in {0, None}:
        return False
    return command is call.parsed.commands[-1] and any(r.takes_errors for r in command.redirects)


def _refusals_of_programs(call: CallRecord) -> Iterator[str]:
    """Lines of refusal that no command of the call accounts for whose doings its words show."""
    known = {c.name for c in call.parsed.commands if readable(c)}
    if not call.parsed.opaque and all(readable(c) for c in call.parsed.commands if c.argv):
        return
    for line in call.output.splitlines():
        speaker = _SPEAKER.match(line)
        if _DENIED.search(line) and not (speaker and posixpath.basename(speaker["program"]) in known):
            yield line
