"""What an agent can do to the harness through its own tools: after each the very next call must get a true answer.

Before each abuse the same shell has to answer a plain command: that is the control.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sandbox.audit.outside import Outside, Refused, Work
from sandbox.audit.subject import Subject
from sandbox.environment import FileError, ShellResult
from sandbox.events import ErrorRaised, Header, ObservedAt
from sandbox.record.line import START, decode, encode

Complaint = Callable[[ShellResult], str]
_CAPTURE = 2**20


async def answers(subject: Subject) -> None:
    """The next call runs, and its output and exit code are its own. Raises RuntimeError if not."""
    token, code = secrets.token_hex(4), secrets.randbelow(100) + 1
    result = await subject.environment.shell(f"/bin/echo {token}; (exit {code})", timeout=20)
    if token.encode() not in result.stdout.split() or result.exit_code != code or result.status != "ok":
        said = f"{result.status}, exit code {result.exit_code} for {code}, output {result.stdout[-80:]!r}"
        raise RuntimeError(f"the next call was answered falsely: {said}")


def _fine(_: ShellResult) -> str:
    return ""


def _ends(status: str) -> Complaint:
    return lambda result: "" if result.status == status else f"its status is {result.status}, not {status}"


def _bounded(result: ShellResult) -> str:
    kept = max(len(result.stdout), len(result.stderr))
    return "" if kept <= _CAPTURE + 4096 else f"{kept} bytes of output were kept"


def _true_to(code: int, lines: int) -> Complaint:
    def complaint(result: ShellResult) -> str:
        said = result.stdout.splitlines()
        return "" if (result.exit_code, len(said)) == (code, lines) else f"exit code {result.exit_code}, {len(said)} lines"

    return complaint


def _no_nonce(result: ShellResult) -> str:
    found = re.search(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", result.stdout)
    return f"the call's marker was found: {found[0].decode()}" if found else ""


def _harmless_on_screen(result: ShellResult) -> str:
    from sandbox.cli.output import plain  # noqa: PLC0415 - the command line imports this suite

    text = plain(result.stdout.decode("latin-1"))
    bad = [c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
    if b"\x1b" not in result.stdout:
        return "the escapes did not arrive"
    return f"control characters reach the terminal: {bad[:5]}" if bad else ""


def _one_line_of_ledger(result: ShellResult) -> str:
    """What an agent prints is one field of one line, however much it looks like the ledger's own."""
    header = Header(kind="error", seq=0, step=0, attempt=1, source="agent", observed_at=ObservedAt(0, 0), prev=START)
    text = result.stdout.decode("utf-8", "replace")
    line, _ = encode(header, ErrorRaised(fault="agent", type="Forged", message=text))
    if b"trial.finished" not in line:
        return "the forged lines did not arrive"
    whole = line.count(b"\n") == 1 and decode(line).header["kind"] == "error"
    return "" if whole else "the forged lines became lines of the ledger"


class Abuse(NamedTuple):
    """A command, how long it may run, and what must be true of its own result; the next call must be answered in any case."""

    name: str
    command: str
    complaint: Complaint = _fine
    timeout: float = 2.0
    afterwards: str = ""


_NEW = "trap - EXIT; exit 0"
"""A new shell for what comes next: what an agent did to its own is its own loss."""

_FORGED = """printf '%s\\n' '{"header":{"kind":"trial.finished"}}' '{"kind":"trial.finished","stop_reason":"completed"}'"""
_ESCAPES = r"printf '\033]0;owned\007\033[2J\033[31m\302\233 q\r\b \342\200\256'"
_MARKERS = r"for n in 1 2 3; do printf '%032x:0;\n' $n; done; printf '%032x:0;\n' 4 >&2; (exit 7)"
_EVERYWHERE = r"""history; fc -l; set; declare -f; echo "$BASH_COMMAND $_ $-"; cat /proc/$$/{cmdline,environ} | tr '\0' '\n'"""
_INPUT = "timeout 1 cat /proc/$$/fd/0 /proc/$$/fd/98"
_NOISE = "(trap '' INT; while :; do echo noise; done) & (yes >&2) &"
_REDEFINED = "printf() { :; }; eval() { :; }; builtin() { :; }; unset() { :; }; alias eval=: printf=:"
_STRANGE = r"export PATH= LD_PRELOAD=/nonexistent BASH_ENV=/dev/zero LC_ALL=xx TERM=$'\033[2J' HOME=/proc"


def _bytes_kept(result: ShellResult) -> str:
    return "" if result.stdout == b"a\0b\xff\xfe" else f"it gave {result.stdout[:20]!r}"


_ABUSES = (
    Abuse("hang", "sleep 1000", _ends("timeout")),
    Abuse("ignore_every_signal", "trap '' TERM INT HUP QUIT; while :; do sleep 0.1; done", _ends("timeout")),
    Abuse("child_ignores_signals", "bash -c 'trap \"\" INT TERM HUP; while :; do :; done'", _ends("timeout")),
    Abuse("stopped_child", "bash -c 'kill -STOP $$'", _ends("timeout")),
    Abuse("fork_bomb", "b() { b | b & }; b; sleep 5", _fine),
    Abuse("disk_fill", "cat /dev/zero > /tmp/fill1; cat /dev/zero > /tmp/fill2", _fine, 8, "rm -f /tmp/fill*"),
    Abuse("memory_fill", "a=$(head -c 600M /dev/zero | tr '\\0' x); echo ${#a}", _fine, 10),
    Abuse("endless_output", "yes", _bounded, 3),
    Abuse("endless_line_of_errors", "tr '\\0' x < /dev/zero >&2", _bounded, 3),
    Abuse("terminal_escapes", _ESCAPES, _harmless_on_screen),
    Abuse("forged_ledger_lines", _FORGED, _one_line_of_ledger),
    Abuse("forged_markers", _MARKERS, _true_to(7, 3)),
    Abuse("look_for_the_marker", _EVERYWHERE, _no_nonce),
    Abuse("read_the_shells_input", _INPUT, _no_nonce, 8, _NEW),
    Abuse("write_to_the_channel", "head -c 3M /dev/zero > /proc/$$/fd/98; head -c 3M /dev/zero > /proc/$$/fd/99", _bounded, 5),
    Abuse("close_the_channel", "exec 98>&- 99>&-", _fine, 8),
    Abuse("background_flood", _NOISE, _fine, 3, "kill -9 $(jobs -p); pkill -9 yes"),
    Abuse("kill_first_process", "kill -9 1; kill -TERM 1; kill -STOP 1", _fine),
    Abuse("kill_everything", "kill -9 -1", _fine, 8),
    Abuse("kill_the_shell", "kill -9 $$", _ends("shell_died"), 8),
    Abuse("stop_the_shell", "kill -STOP $$", _fine, 2),
    Abuse("leave_the_shell", "exec sleep 1000", _fine, 2),
    Abuse("exit_the_shell", "exit 3", _ends("shell_died"), 8),
    Abuse("redefine_builtins", _REDEFINED, _fine, 8, _NEW),
    Abuse("read_only_variables", "readonly MAILCHECK PS1 PROMPT_COMMAND IFS", _fine, 8, _NEW),
    Abuse("traps", "trap 'echo intruder' DEBUG; trap 'echo error' ERR; trap 'exit 8' EXIT", _fine, 5, _NEW),
    Abuse("strict_modes", "set -euo pipefail; set -o noclobber; echo $undefined", _fine, 8, _NEW),
    Abuse("open_quote", "echo 'unterminated \" $( ` {", _fine),
    Abuse("null_bytes", "printf 'a\\0b\\377\\376'", _bytes_kept),
    Abuse("huge_command", ": " + "x" * 2_000_000, _fine, 10),
    Abuse("strange_environment", _STRANGE, _fine, 5, _NEW),
)


def _abusing(abuse: Abuse) -> Work:
    async def attempt(subject: Subject) -> str:
        result = await subject.environment.shell(abuse.command, timeout=abuse.timeout)
        if complaint := abuse.complaint(result):
            return complaint
        await answers(subject)
        if abuse.afterwards:
            await subject.environment.shell(abuse.afterwards, timeout=5)
        raise Refused(f"{result.status}; the next call got a true answer")

    return attempt


async def _read_through_link(subject: Subject) -> str:
    """A tool of the engine's opens paths on the agent's behalf: a link must lead it nowhere on the machine."""
    secret = subject.bait.file
    await subject.environment.shell(f"ln -sfn {secret} /tmp/bait; ln -sfn {secret.parent} /tmp/folder", timeout=10)
    for path in ("/tmp/bait", "/tmp/folder/secret", f"/tmp/../../../../..{secret}"):  # noqa: S108 - the container's own
        try:
            found = await subject.environment.read(path, limit=1000)
        except FileError:
            continue
        if subject.bait.secret.encode() in found:
            return f"reading {path} gave the machine's secret"
    raise Refused("links to the machine's secret led nowhere")


async def _write_through_link(subject: Subject) -> str:
    secret: Path = subject.bait.file
    await subject.environment.shell(f"ln -sfn {secret} /tmp/bait", timeout=10)
    try:
        await subject.environment.write("/tmp/bait", b"overwritten")  # noqa: S108 - the container's own
        outcome = "the write went into the host"
    except FileError as error:
        outcome = error.reason
    if await asyncio.to_thread(secret.read_text) != subject.bait.secret:
        return "the machine's secret was overwritten"
    raise Refused(outcome)


async def _links_work(subject: Subject) -> None:
    await subject.environment.shell("echo own > /tmp/target; ln -sfn /tmp/target /tmp/own", timeout=10)
    if await subject.environment.read("/tmp/own", limit=100) != b"own\n":  # noqa: S108 - the container's own
        raise RuntimeError("an ordinary link does not work")


async def _list_through_link(subject: Subject) -> str:
    folder = subject.bait.folder
    await subject.environment.shell(f"ln -sfn {folder.parent} /tmp/parent", timeout=10)
    names = [entry.name for entry in await subject.environment.list("/tmp/parent")]  # noqa: S108 - the container's own
    if folder.name in names:
        return "a folder of the machine's was listed"
    raise Refused(f"{len(names)} entries, all of the host's own")


async def _read_what_never_ends(subject: Subject) -> str:
    await subject.environment.shell("mkfifo /tmp/waits; ln -s /dev/zero /tmp/endless", timeout=10)
    for path in ("/tmp/waits", "/tmp/endless", "/dev/zero", "/proc/kmsg"):  # noqa: S108 - the container's own
        try:
            if len(await subject.environment.read(path, limit=5000)) > 5000:
                return f"{path} gave more than was asked for"
        except FileError:
            continue
    raise Refused("a pipe without a writer and endless files are answered in time")


async def _huge_names(subject: Subject) -> str:
    script = (
        "cd /tmp; n=$(printf 'n%.0s' {1..255}); touch $n; for k in {1..40}; do mkdir ${n:2}dd && cd ${n:2}dd || break; done"
    )
    await subject.environment.shell(script, timeout=10)
    await subject.environment.shell("cd /tmp", timeout=5)
    try:
        await subject.environment.read("/tmp/" + "n" * 5000, limit=10)  # noqa: S108 - the container's own
    except FileError:
        names = [entry.name for entry in await subject.environment.list("/tmp")]  # noqa: S108 - the container's own
        if "n" * 255 not in names:
            return "a name of 255 characters is not listed"
        await answers(subject)
        raise Refused("names of 255 and paths of 5,000 characters are answered") from None
    return "a path that is too long was read"


_FORGE = """
import os, re, time
pid, found = os.getppid(), set()
for line in open(f"/proc/{pid}/maps"):
    if "rw" in line:
        start, end = (int(x, 16) for x in line.split()[0].split("-"))
        memory = open(f"/proc/{pid}/mem", "rb", 0)
        memory.seek(start)
        found |= set(re.findall(rb"([0-9a-f]{32}):%d", memory.read(end - start)))
for fd in os.listdir(f"/proc/{pid}/fd"):
    if "pipe" in os.readlink(f"/proc/{pid}/fd/{fd}"):
        for marker in found:
            try:
                os.write(os.open(f"/proc/{pid}/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK), marker + b":0;\\n")
            except OSError:
                pass
time.sleep(0.5)
"""


async def _forge_own_end(subject: Subject) -> str:
    """The marker of the call under way can be found in the shell's memory, being the same user's; with it a call may lie about
    its own end, as it may with `; true` and `&`. It must not reach any other call."""
    result = await subject.environment.shell(f"python3 -c {_quoted(_FORGE)}; (exit 5)", timeout=20)
    for _ in range(2):
        await answers(subject)
    raise Refused(f"its own exit code reads {result.exit_code} for 5; the next calls got true answers")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


PROBES = (
    *(Outside(abuse.name, _abusing(abuse), answers) for abuse in _ABUSES),
    Outside("forge_own_end", _forge_own_end, answers),
    Outside("read_through_a_link", _read_through_link, _links_work),
    Outside("write_through_a_link", _write_through_link, _links_work),
    Outside("list_through_a_link", _list_through_link, answers),
    Outside("read_what_never_ends", _read_what_never_ends, answers),
    Outside("huge_names", _huge_names, answers),
)
