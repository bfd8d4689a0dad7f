"""What a simple command would touch: which paths it reads, lists, writes, deletes, changes the mode of, sends away, or stops.

A touch is what was *called*, not what happened: it shows exposure, and attempts that were blocked. Effects show the rest.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from analysis.commands import INTERPRETERS, SHELLS, UNKNOWN, Command

Action = Literal["list", "read", "write", "delete", "mode", "send", "stop", "execute", "date"]

MUTATING: frozenset[Action] = frozenset({"write", "delete", "mode", "stop"})


class Touch(NamedTuple):
    """`target` is a path or, for `stop`, a process's name; `destination` is where a copy goes; `whole` says that all below
    a directory is meant."""

    action: Action
    target: str
    destination: str = ""
    whole: bool = False


def _programs(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READERS = _programs("""
    cat less more head tail grep egrep fgrep rg ag awk gawk mawk cut sort uniq strings xxd od hexdump base64 base32 md5sum
    sha1sum sha224sum sha256sum sha384sum sha512sum b2sum cksum wc diff cmp comm nl tac rev fold jq yq column openssl gpg vim
    vi nano view paste join split csplit iconv source . bat
""")
_LISTERS = _programs("ls stat file du find tree lsattr getfacl realpath readlink locate which namei test [ [[")
_COMPRESSORS = _programs("gzip bzip2 xz zstd zip 7z lz4 gunzip bunzip2 unxz zcat xzcat bzcat unzip tar cpio ar")
_NETWORK = _programs("scp rsync sftp ftp curl wget nc ncat netcat socat ssh telnet rclone aws s3cmd gsutil twine git")
_PLAIN = _programs("""
    echo printf true false cd pwd export unset set sleep date whoami id groups hostname uname env printenv uptime ps top free
    df mount lsblk nproc ss netstat ip ifconfig ping traceroute dig nslookup host getent arp nmap lscpu history type alias
    read wait jobs fg bg trap umask seq tr basename dirname expr let : kill pkill killall mkdir rmdir rm mv cp ln touch chmod
    chown chgrp install dd tee sed truncate shred unlink patch crontab at systemctl service journalctl dmesg ssh-keygen
    ssh-keyscan ssh-add declare local readonly return exit exec eval break continue shift last w who nvidia-smi lsof pgrep
    man help apropos clear yes bc sync tput stty logger mktemp pstree vmstat iostat watch
""")
_WRAPPING = _programs("nohup time command setsid builtin doas sudo nice ionice stdbuf timeout flock chroot xargs unbuffer su")
KNOWN = _READERS | _LISTERS | _COMPRESSORS | _NETWORK | _PLAIN | _WRAPPING | SHELLS
"""Programs whose arguments say what they touch; anything else may have read or written what it liked."""

RECONNAISSANCE = _programs("""
    ss netstat ip ifconfig ping traceroute dig nslookup host getent arp nmap lscpu nproc free df uname hostname nvidia-smi
    ssh-keyscan lsblk env printenv whoami id ps uptime last w who lsof
""")

_REMOTE = re.compile(r"^(?:[\w.-]+@)?(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?!/{2})(?P<path>.*)$", re.DOTALL)
_URL = re.compile(r"^(?:https?|ftp|sftp|scp|rsync|ssh|git)://", re.IGNORECASE)


def remote_host(word: str) -> str:
    """Host that a `host:path` or URL word points to, empty for a local path."""
    if _URL.match(word):
        return re.split(r"[/:?#]", word.split("://", 1)[1].rsplit("@", 1)[-1], maxsplit=1)[0]
    match = _REMOTE.match(word)
    return match["host"] if match and "/" not in word.split(":", 1)[0] else ""


def touches(command: Command) -> list[Touch]:
    """Everything `command` would touch, in no particular order; words not known before it runs are left out, but for processes
    that are stopped: that a process was meant to be says something whichever it was."""
    found = list(_redirected(command))
    rule = _RULES.get(command.name)
    if rule is not None:
        found += rule(command)
    elif command.name in _READERS:
        found += [Touch("read", w) for w in command.operands]
    elif command.name in _LISTERS:
        found += [Touch("list", w, whole=command.name in {"find", "tree", "du"}) for w in command.operands]
    elif command.name in _COMPRESSORS:
        found += [Touch("read", w, whole=True) for w in command.operands]
    elif command.name in SHELLS or re.fullmatch(r"python[\d.]*", command.name) or command.name in INTERPRETERS:
        found += [Touch("execute", w) for w in command.operands[:1]]
    elif command.argv and "/" in command.argv[0].text:
        found.append(Touch("execute", command.argv[0].text))
    return [t for t in found if t.target and (t.target != UNKNOWN or t.action == "stop")]


def _redirected(command: Command) -> Iterator[Touch]:
    for redirect in command.redirects:
        if redirect.operator in {">", ">>", ">|", "&>", "&>>", "<>"} and not redirect.target.text.isdigit():
            yield Touch("send" if redirect.target.text.startswith("/dev/tcp/") else "write", redirect.target.text)
        elif redirect.operator == "<":
            yield Touch("read", redirect.target.text)


def _has(command: Command, letters: str) -> bool:
    """Whether any of the short flags is given, alone or bundled."""
    return any(re.match(r"-[a-zA-Z]", w) and set(w[1:]) & set(letters) for w in command.words)


def _option(command: Command, *names: str) -> str:
    """Value of an option given as `-t x`, `--target x` or `--target=x`; empty if absent."""
    words = command.words
    for index, word in enumerate(words):
        if word in names and index + 1 < len(words):
            return words[index + 1]
        for name in names:
            if name.startswith("--") and word.startswith(name + "="):
                return word.split("=", 1)[1]
    return ""


def _sources(command: Command) -> tuple[list[str], str]:
    target = _option(command, "-t", "--target-directory")
    operands = command.operands
    if target:
        return [w for w in operands if w != target], target
    return (operands[:-1], operands[-1]) if len(operands) > 1 else (operands, "")


def _into(sources: list[str], destination: str) -> Iterator[Touch]:
    """What is written when `sources` land at `destination`, be that a file or a directory."""
    if destination:
        yield Touch("write", destination)
        yield from (Touch("write", posixpath.join(destination, posixpath.basename(s.rstrip("/")))) for s in sources)


def _cp(command: Command) -> list[Touch]:
    sources, destination = _sources(command)
    whole = _has(command, "raR") or "--recursive" in command.words
    return [Touch("read", s, destination, whole) for s in sources] + list(_into(sources, destination))


def _mv(command: Command) -> list[Touch]:
    sources, destination = _sources(command)
    moved = [Touch("delete", s, destination, whole=True) for s in sources]
    return moved + [Touch("read", s, destination, whole=True) for s in sources] + list(_into(sources, destination))


def _ln(command: Command) -> list[Touch]:
    sources, destination = _sources(command)
    return [Touch("list", s) for s in sources] + list(_into(sources, destination))


def _rm(command: Command) -> list[Touch]:
    return [Touch("delete", w, whole=_has(command, "rR") or "--recursive" in command.words) for w in command.operands]


def _writes(command: Command) -> list[Touch]:
    return [Touch("write", w) for w in command.operands]


def _truncate(command: Command) -> list[Touch]:
    size = _option(command, "-s", "--size", "-r", "--reference")
    return [Touch("write", w) for w in command.operands if w != size]


def _mode(command: Command) -> list[Touch]:
    taken_away = command.name == "chmod" and any(re.fullmatch(r"-[rwxXst]+", w) for w in command.words)
    files = command.operands if taken_away else command.operands[1:]
    return [Touch("mode", w, whole=_has(command, "R")) for w in files]


def _sed(command: Command) -> list[Touch]:
    in_place = any(re.match(r"-[a-zA-Z]*i|--in-place", w) for w in command.words)
    script = "-e" in command.words or "-f" in command.words or any(w.startswith("--expression") for w in command.words)
    files = command.operands if script else command.operands[1:]
    return [Touch("read", w) for w in files] + [Touch("write", w) for w in files if in_place]


def _perl(command: Command) -> list[Touch]:
    in_place = any(re.match(r"-[a-zA-Z0-9]*i", w) for w in command.words)
    files = command.operands[1:]
    return [Touch("read", w) for w in files] + [Touch("write", w) for w in files if in_place]


def _dd(command: Command) -> list[Touch]:
    pairs = dict(w.split("=", 1) for w in command.words if "=" in w)
    return [Touch("read", pairs.get("if", ""), pairs.get("of", "")), Touch("write", pairs.get("of", ""))]


def _touch(command: Command) -> list[Touch]:
    forged = [_option(command, *names) for names in (("-d", "--date"), ("-t",), ("-r", "--reference"))]
    files = [w for w in command.operands if w not in forged]
    return [Touch("date" if any(forged) else "list", w) for w in files]


def _tar(command: Command) -> list[Touch]:
    words = command.words
    mode = words[0] if words and not words[0].startswith("-") else ""
    flags = mode + "".join(w.lstrip("-") for w in words if re.fullmatch(r"-[a-zA-Z]+", w))
    directory = _option(command, "-C", "--directory")
    after = words[1:] if mode else words
    archive = _option(command, "-f", "--file") or next(
        (after[i + 1] for i, w in enumerate(after[:-1]) if re.fullmatch(r"-[a-zA-Z]*f", w)), ""
    )
    operands = [w for w in after if not w.startswith("-") and w != directory]
    if mode.endswith("f") and operands and not archive:
        archive = operands[0]
    members = [posixpath.join(directory, w) for w in operands if w != archive]
    if "x" in flags and "c" not in flags:
        return [Touch("read", archive), *(Touch("write", m) for m in [directory] if m)]
    packed = [Touch("read", m, "" if archive == "-" else archive, whole=True) for m in members]
    return [*packed, Touch("write", archive)] if archive and archive != "-" else packed


def _gzip(command: Command) -> list[Touch]:
    if _has(command, "c") or "--stdout" in command.words:
        return [Touch("read", w) for w in command.operands]
    return [Touch("read", w, w + ".gz") for w in command.operands]


def _split(command: Command) -> list[Touch]:
    operands = [w for w in command.operands if w not in {_option(command, f"-{c}") for c in "ablnC"}]
    prefix = operands[1] if len(operands) > 1 else "x"
    return [Touch("read", w, prefix + "*") for w in operands[:1]]


def _zip(command: Command) -> list[Touch]:
    operands = command.operands
    return [Touch("read", w, operands[0], whole=True) for w in operands[1:]] + [Touch("write", w) for w in operands[:1]]


def _scp(command: Command) -> list[Touch]:
    takes = {"-i", "-P", "-o", "-F", "-c", "-l", "-S", "-J", "-e", "--rsh", "-p"} if command.name == "rsync" else {
        "-i", "-P", "-o", "-F", "-c", "-l", "-S", "-J"}  # fmt: skip
    operands, skip = [], False
    for word in command.words:
        if skip:
            skip = False
        elif word in takes and not (command.name == "rsync" and word in {"-P", "-p", "-c", "-l", "-o", "-S"}):
            skip = True
        elif not word.startswith("-"):
            operands.append(word)
    if len(operands) < 2:
        return []
    sources, destination = operands[:-1], operands[-1]
    dry = command.name == "rsync" and ("--dry-run" in command.words or _has(command, "n"))
    whole = _has(command, "ra") or "--recursive" in command.words
    local = [s for s in sources if not remote_host(s)]
    if remote_host(destination):
        action: Action = "list" if dry else "send"
        sent = [Touch(action, s, destination, whole) for s in local]
        return sent + ([] if dry else [Touch("read", s, destination, whole) for s in local])
    return [Touch("read", s, destination, whole) for s in local] + list(_into(sources, destination))


def _curl(command: Command) -> list[Touch]:
    url = next((w for w in command.operands if remote_host(w)), "") or "url"
    words, found = command.words, []
    for index, word in enumerate(words):
        value = words[index + 1] if index + 1 < len(words) else ""
        if word in {"-T", "--upload-file"}:
            found.append(value)
        elif word in {"-d", "--data", "--data-binary", "--data-raw", "--data-urlencode"} and "@" in value[:1]:
            found.append(value[1:])
        elif word in {"-F", "--form"} and re.search(r"=[@<]", value):
            found.append(re.split(r"=[@<]", value, maxsplit=1)[1].split(";")[0])
    output = _option(command, "-o", "--output")
    return [Touch("send", f, url) for f in found] + [Touch("read", f, url) for f in found] + [
        Touch("write", w) for w in [output] if w
    ]  # fmt: skip


def _wget(command: Command) -> list[Touch]:
    posted = _option(command, "--post-file", "--body-file")
    output = _option(command, "-O", "--output-document")
    url = next((w for w in command.operands if remote_host(w)), "") or "url"
    sent = [Touch("send", posted, url), Touch("read", posted, url)] if posted else []
    return sent + ([Touch("write", output)] if output else [])


def _piped_out(command: Command) -> list[Touch]:
    """A program that sends its standard input away: all that its upstream read, and what is redirected into it."""
    host = next((w for w in command.operands), "") or "peer"
    sent: list[Touch] = []
    for earlier in command.upstream:
        sent += [Touch("send", t.target, host, t.whole) for t in touches(earlier) if t.action == "read"]
    return sent + [Touch("send", r.target.text, host) for r in command.redirects if r.operator == "<"]


def _cloud(command: Command) -> list[Touch]:
    return [Touch("send", w, command.name, whole=True) for w in command.operands if "/" in w or "." in w]


def _kill(command: Command) -> list[Touch]:
    if command.name == "kill" and ("-l" in command.words or "-0" in command.words):
        return []
    return [Touch("stop", w) for w in command.operands]


def _service(command: Command) -> list[Touch]:
    verbs = {"stop", "disable", "mask", "kill"}
    if command.name == "systemctl":
        operands = command.operands
        return [Touch("stop", w) for w in operands[1:]] if operands[:1] and operands[0] in verbs else []
    return [Touch("stop", command.operands[0])] if len(command.operands) > 1 and command.operands[1] in verbs else []


def _crontab(command: Command) -> list[Touch]:
    if "-r" in command.words:
        return [Touch("delete", "/var/spool/cron/crontabs")]
    return [] if "-l" in command.words else [Touch("write", "/var/spool/cron/crontabs")]


def _patch(command: Command) -> list[Touch]:
    return [Touch("write", w) for w in command.operands[:1]]


_RULES = {
    "cp": _cp, "install": _cp, "mv": _mv, "ln": _ln, "rm": _rm, "unlink": _rm, "shred": _rm, "rmdir": _rm, "tee": _writes,
    "ed": _writes, "ex": _writes, "truncate": _truncate, "chmod": _mode, "chown": _mode, "chgrp": _mode, "chattr": _mode,
    "setfacl": _mode, "sed": _sed, "perl": _perl, "dd": _dd, "touch": _touch, "tar": _tar, "gzip": _gzip, "bzip2": _gzip,
    "xz": _gzip, "zstd": _gzip, "zip": _zip, "split": _split,
    "7z": _zip, "scp": _scp, "rsync": _scp, "curl": _curl, "wget": _wget,
    "nc": _piped_out, "ncat": _piped_out, "netcat": _piped_out, "socat": _piped_out, "ssh": _piped_out,
    "aws": _cloud, "rclone": _cloud, "s3cmd": _cloud, "gsutil": _cloud, "twine": _cloud, "kill": _kill, "pkill": _kill,
    "killall": _kill, "systemctl": _service, "service": _service, "crontab": _crontab, "patch": _patch,
}  # fmt: skip


def names(word: str, path: str, *, cwd: str | None = None, whole: bool = False) -> bool:
    """Whether `word`, as written in a shell whose directory is `cwd` (None: not known), means `path`.

    Globs match; `~` and relative words match by their ending where the directory is not known; a directory means what
    lies below it when `whole`.
    """
    word = word.rstrip("/") if len(word) > 1 else word
    if not word or not path or UNKNOWN in word[1:] or not _could_mean(word, path):
        return False
    if word.startswith(("~/", UNKNOWN + "/")):
        return _ends(path, word[2:])
    if not word.startswith("/"):
        if cwd is None:
            return _ends(path, posixpath.normpath(word)) if word not in {".", "..", "*"} else False
        word = posixpath.join(cwd, word)
    return _means(posixpath.normpath(word), path, whole=whole)


def could_mean_any(word: str, paths: str) -> bool:
    """Whether `word` could mean one of `paths` (joined by line feeds) other than by holding its name: see `names`."""
    word = word.rstrip("/") or word
    last = word[word.rfind("/") + 1 :]
    return last in paths or last in {".", ".."} or not _EXPANDS.isdisjoint(word)


def _could_mean(word: str, path: str) -> bool:
    """A cheap look that lets nearly all words be passed over: neither name occurs in the other, and nothing expands."""
    last = word[word.rfind("/") + 1 :]
    return last in path or path[path.rfind("/") + 1 :] in word or last in {".", ".."} or not _EXPANDS.isdisjoint(word)


_EXPANDS = frozenset("*?[{")


def _means(word: str, path: str, *, whole: bool) -> bool:
    if word == path or word.startswith(path.rstrip("/") + "/"):
        return True
    if whole and (word == "/" or path.startswith(word + "/")):
        return True
    if _EXPANDS.isdisjoint(word):
        return False
    return any(
        (fnmatch.fnmatchcase(path, w) and w.count("/") == path.count("/")) or (whole and fnmatch.fnmatchcase(path, w + "/*"))
        for w in _braces(word)
    )


def _braces(word: str) -> list[str]:
    match = re.search(r"\{([^{}]*,[^{}]*)\}", word)
    if not match:
        return [word]
    return [w for part in match[1].split(",")[:50] for w in _braces(word[: match.start()] + part + word[match.end() :])][:200]


def _ends(path: str, tail: str) -> bool:
    return path.endswith("/" + tail) or (fnmatch.fnmatchcase(path, "*/" + tail) and "*" not in tail.split("/", maxsplit=1)[0])
