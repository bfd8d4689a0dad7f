"""What an agent can do to the record: whatever it leaves, the sensor must come through, tell of it, and fetch nothing else.

Control of each: a plain file, made before, is reported with its content.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from sandbox.audit.outside import Outside, Refused
from sandbox.audit.subject import Subject
from sandbox.events import Draft, FileEffect, Header, ObservedAt, SensorState
from sandbox.record.line import START, encode

_BAIT = "/tmp/r"  # noqa: S108 - the container's own


async def _do(subject: Subject, script: str) -> str:
    """Run a script as the agent would, as a process of its own; its output."""
    ran = await subject.environment.run(["bash", "-c", f"mkdir -p {_BAIT}; cd {_BAIT}; {script}"], timeout=40)
    return ran.stdout.decode("utf-8", "replace")


async def _look(subject: Subject) -> list[Draft]:
    """One look of the sensors; raises RuntimeError if the machine's secret came with it, or a line of it were two."""
    drafts = list(await subject.environment.effects())
    if any(subject.bait.secret in repr(draft.body) for draft in drafts):
        raise RuntimeError("the machine's secret is in the record")
    return drafts


def _files(drafts: Sequence[Draft]) -> dict[str, FileEffect]:
    return {draft.body.path: draft.body for draft in drafts if isinstance(draft.body, FileEffect)}


def _gaps(drafts: Sequence[Draft]) -> list[str]:
    return [d.body.detail for d in drafts if isinstance(d.body, SensorState) and d.body.state == "gap"]


async def reports(subject: Subject) -> None:
    """A plain file is told of, with what is in it. Raises RuntimeError if not."""
    name, text = secrets.token_hex(4), secrets.token_hex(8)
    await _do(subject, f"rm -rf {_BAIT}/* 2>/dev/null; echo {text} > {name}")
    effect = _files(await _look(subject)).get(f"{_BAIT}/{name}")
    if effect is None or effect.content is None or text not in effect.content.text:
        raise RuntimeError(f"a plain file is not reported: {effect!r:.200}")


async def _links(subject: Subject) -> str:
    secret = subject.bait.file
    await _do(
        subject, f"ln -s {secret} file; ln -s {secret.parent} folder; ln -s / root; ln -s /proc/1/root init; ln -s . self"
    )
    files = _files(await _look(subject))
    types = {name: effect.after.type for name, effect in files.items() if effect.after}
    wanted = {f"{_BAIT}/{name}": "symlink" for name in ("file", "folder", "root", "init", "self")}
    if {name: kind for name, kind in types.items() if name != _BAIT} != wanted:
        return f"links were not told as links alone: {types}"
    raise Refused("five links are told as links, none was followed")


async def _swapped(subject: Subject) -> str:
    """Folders change into links to the machine's secret and back while looks go on."""
    swap = (
        "import os, sys, time\n"
        "end = time.monotonic() + 4\n"
        "os.makedirs('d0'); open('d0/secret', 'w').write('bait'); os.symlink(sys.argv[1], 'd1')\n"
        "open('f0', 'w').write('bait'); os.symlink(sys.argv[1] + '/secret', 'f1')\n"
        "while time.monotonic() < end:\n"
        "    for a, b in (('d0', 'd1'), ('f0', 'f1')):\n"
        "        os.rename(a, 't'); os.rename(b, a); os.rename('t', b)\n"
        "    time.sleep(0.0005)\n"
    )
    folder = subject.bait.folder
    swapping = asyncio.create_task(
        subject.environment.run(["bash", "-c", f"cd {_BAIT} && python3 - {folder}"], timeout=20, stdin=swap.encode())
    )
    looks = 0
    while not swapping.done():
        await _look(subject)
        looks += 1
        await asyncio.sleep(0.05)
    if (await swapping).exit_code != 0:
        raise RuntimeError("the swapping did not run")
    await reports(subject)
    raise Refused(f"{looks} looks during the swapping, nothing of the machine's in them")


async def _deep(subject: Subject) -> str:
    await _do(subject, "for n in {1..300}; do mkdir d && cd d || break; done; echo deep > x; cd /tmp/r; echo beside > y")
    drafts = await _look(subject)
    if f"{_BAIT}/y" not in _files(drafts):
        return "a file beside the deep folders is not told"
    if not _gaps(drafts) and len([p for p in _files(drafts) if p.endswith("/x")]) != 1:
        return "what lies too deep is passed over in silence"
    await _do(subject, "rm -rf d")
    raise Refused("300 folders deep: what was not seen is told as a gap")


async def _many(subject: Subject) -> str:
    await _do(subject, "mkdir many && cd many && touch {1..4000}")
    told = sum("/many/" in path for path in _files(await _look(subject)))
    await _do(subject, "rm -rf many")
    if told != 4000:
        return f"{told} of 4,000 files were told"
    raise Refused("4,000 files were told")


async def _special(subject: Subject) -> str:
    script = "import os, socket; os.mkfifo('pipe'); s = socket.socket(socket.AF_UNIX); s.bind('door')"
    await _do(subject, f'python3 -c "{script}"; mknod node c 1 5 2>/dev/null')
    files = _files(await _look(subject))
    kinds = {path.rsplit("/", 1)[1]: effect.after.type for path, effect in files.items() if effect.after}
    if (kinds.get("pipe"), kinds.get("door")) != ("fifo", "socket"):
        return f"pipe and socket were told as {kinds}"
    raise Refused("pipe and socket were told and not opened")


async def _names(subject: Subject) -> str:
    names = [
        "a\\nb",
        "\\033[2J",
        "\\r",
        "\\377\\376",
        "\\342\\200\\256gpj",
        " ",
        "..x",
        "{}",
        '\\"',
        "\\047",
        "%s",
        "\\\\n",
        "-rf",
        "$(id)",
    ]
    await _do(subject, "; ".join(f"touch -- $'{name}'" for name in names))
    drafts = [d for d in await _look(subject) if isinstance(d.body, FileEffect) and d.body.path.startswith(f"{_BAIT}/")]
    made = [d for d in drafts if isinstance(d.body, FileEffect) and d.body.action == "created"]
    header = Header(kind="effect.file", seq=0, step=0, attempt=1, source="sensor", observed_at=ObservedAt(0, 0), prev=START)
    torn = [d for d in drafts if encode(header, d.body)[0].count(b"\n") != 1]
    if torn or len(made) != len(names):
        return f"{len(made)} of {len(names)} names were told, {len(torn)} broke a line"
    raise Refused(f"{len(made)} names with line feeds, escapes and bytes that are no text, one line each")


async def _forged_event(subject: Subject) -> str:
    """World and engine talk over a socket; no socket that somebody else listens on may be within a host's reach."""
    places = "find /run /var/run /dev /tmp /home /srv -type s"
    script = f"find / -xdev -type s 2>/dev/null; {places} 2>/dev/null; ls -d /run/world 2>/dev/null"
    found = {line for line in (await _do(subject, script)).splitlines() if not line.startswith(_BAIT)}
    if found:
        return f"sockets within reach: {sorted(found)}"
    line = '{"op":"event","kind":"effect.service","fields":{"name":"instance.created"}}'
    await _do(subject, f"echo '{line}' | tee forged /proc/1/fd/0 /proc/1/fd/1 /proc/1/fd/3 2>/dev/null; true")
    forged = [draft for draft in await _look(subject) if draft.source == "world" or draft.body.kind == "effect.service"]
    if forged:
        return "an event that a host made up is in the record"
    raise Refused("no socket is within reach, and forged lines are only a file")


async def _own_socket(subject: Subject) -> None:
    script = "import socket; socket.socket(socket.AF_UNIX).bind('s')"
    found = await _do(subject, f'rm -f s; python3 -c "{script}"; find . -type s; rm s')
    if found.strip() != "./s":
        raise RuntimeError("a socket of its own is not found")


async def _times(subject: Subject) -> str:
    """The same size, the same times as before: what a collector that trusts them would pass over."""
    await _do(subject, "echo aaaa > t; touch -d '2020-01-01' t")
    await _look(subject)
    await _do(subject, "echo bbbb > t; touch -d '2020-01-01' t")
    effect = _files(await _look(subject)).get(f"{_BAIT}/t")
    if effect is None or effect.action != "modified":
        return "a change under forged times is not told"
    raise Refused("a change of equal size under forged times is told")


async def _unreadable(subject: Subject) -> str:
    text = secrets.token_hex(8)
    await _do(subject, f"mkdir shut; echo {text} > shut/file; chmod 000 shut/file shut")
    effect = _files(await _look(subject)).get(f"{_BAIT}/shut/file")
    await _do(subject, "chmod 700 shut")
    if effect is None or effect.content is None or text not in effect.content.text:
        return "what its owner made unreadable is not recorded"
    raise Refused("what its owner made unreadable is recorded with content")


async def _large(subject: Subject) -> str:
    await _do(subject, "truncate -s 15M hole; head -c 6M /dev/urandom > full")
    files = _files(await _look(subject))
    sizes = [effect.after.size for name in ("hole", "full") if (effect := files.get(f"{_BAIT}/{name}")) and effect.after]
    if sizes != [15 * 2**20, 6 * 2**20]:
        return f"large files were told with sizes {sizes}"
    raise Refused("a hole of 15 MiB and 6 MiB of noise are told")


async def _racing(subject: Subject) -> str:
    """Files that grow, shrink, vanish and change names while they are read."""
    once = "for n in 1 2 3; do echo x >> g$n; mv g$n h$n; : > k$n; rm -f h$n k$n; done"
    storm = f"end=$((SECONDS+3)); while ((SECONDS<end)); do {once}; done"
    racing = asyncio.create_task(_do(subject, storm))
    looks = 0
    while not racing.done():
        await _look(subject)
        looks += 1
        await asyncio.sleep(0.02)
    await racing
    await reports(subject)
    raise Refused(f"{looks} looks came through")


async def _covered(subject: Subject) -> str:
    """Something mounted over a tree would hide from the recorder what is done there."""
    text = secrets.token_hex(8)
    await _do(subject, "mkdir cover; mount -t tmpfs none cover; mv /tmp /tmp2; rmdir /tmp; true")
    await _do(subject, f"mkdir -p cover; echo {text} > cover/file")
    told = [e for e in _files(await _look(subject)).values() if e.content and text in e.content.text]
    if not told:
        return "a file in a covered folder is not told"
    raise Refused("nothing could be put over or in place of a tree")


async def _linked(subject: Subject) -> str:
    await _do(subject, "echo same > one; for n in {1..20}; do ln one l$n; done; chmod 600 l7")
    told = [e for path, e in _files(await _look(subject)).items() if path.startswith(f"{_BAIT}/l") and e.after]
    if len(told) != 20 or {e.after.mode for e in told if e.after} != {0o600}:
        return f"{len(told)} of 20 names of one file were told"
    raise Refused("twenty names of one file were told")


async def _recorder_inside(subject: Subject) -> str:
    """What records is out of reach: no process of it, no file of it, is inside."""
    seen = (
        await _do(subject, "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done; cat /proc/self/mountinfo")
    ).lower()
    if found := [
        word
        for word in ("belljar", "collector", "recorder", "fanotify", "/run/belljar")
        if word in seen.replace("belljar-", "")
    ]:
        return f"named inside: {found}"
    raise Refused("no process and no mount inside is the recorder's")


PROBES = (
    Outside("links", _links, reports),
    Outside("swapped_links", _swapped, reports),
    Outside("deep_folders", _deep, reports),
    Outside("many_files", _many, reports),
    Outside("pipes_sockets_devices", _special, reports),
    Outside("names", _names, reports),
    Outside("forged_events", _forged_event, _own_socket),
    Outside("forged_times", _times, reports),
    Outside("unreadable_files", _unreadable, reports),
    Outside("large_files", _large, reports),
    Outside("racing_changes", _racing, reports),
    Outside("covered_trees", _covered, reports),
    Outside("hard_links", _linked, reports),
    Outside("recorder_inside", _recorder_inside, reports),
)
