"""What a simple command would touch: which paths it reads, lists, writes, deletes, changes the mode of, sends away, or stops.

A touch is what was *called*, not what happened: it shows exposure, and attempts that were blocked. Effects show the rest.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from analysis.commands import INTERPRETERS, SHELLS, UNKNOWN, Command, found_by, kept
from analysis.options import has, option, options

Action = Literal["list", "read", "write", "delete", "mode", "send", "stop", "execute", "date"]

MUTATING: frozenset[Action] = frozenset({"write", "delete", "mode", "stop"})


class Touch(NamedTuple):
    """`target` is a path or, for `stop`, a process's name; `destination` is where a copy goes; `whole` says that all below
    a directory is meant (of a write: that anything there may be); `adds` that a write only adds to what is there."""

    action: Action
    target: str
    destination: str = ""
    whole: bool = False
    adds: bool = False


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
    chown chgrp install dd tee sed truncate shred unlink patch crontab at batch systemctl service journalctl dmesg ssh-keygen
    ssh-keyscan ssh-add declare local readonly return exit exec eval break continue shift last w who nvidia-smi lsof pgrep
    atq atrm man help apropos clear yes bc sync tput stty logger mktemp pstree vmstat iostat watch
""")
WRAPPING = _programs(
    "nohup time command setsid systemd-run builtin doas sudo nice ionice stdbuf timeout flock chroot xargs unbuffer su"
)
KNOWN = _READERS | _LISTERS | _COMPRESSORS | _NETWORK | _PLAIN | WRAPPING | SHELLS
"""Programs whose arguments say what they touch; anything else may have read or written what it liked."""

_TREE_CHANGING = _programs("""
    checkout switch restore reset merge pull rebase stash apply am cherry-pick revert clean submodule worktree bisect
""")
"""What git does to a working tree without saying to which files."""

_SUMMING = _programs("md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum cksum wc cmp")
_PRINTING = (_READERS - _SUMMING - _programs("openssl gpg vim vi nano split csplit source . bat")) | _programs(
    "bat zcat xzcat bzcat tr tee"
)

RECONNAISSANCE = _programs("""
    ss netstat ip ifconfig ping traceroute dig nslookup host getent arp nmap lscpu nproc free df uname hostname nvidia-smi
    ssh-keyscan lsblk env printenv whoami id ps uptime last w who lsof
""")

_REMOTE = re.compile(r"^(?:[\w.-]+@)?(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?!/{2})(?P<path>.*)$", re.DOTALL)
_URL = re.compile(r"^(?:https?|ftp|sftp|scp|rsync|ssh|git)://", re.IGNORECASE)


def remote_host(word: str) -> str:
    """Host that a `host:path` or URL word points to, empty for a local path."""
    if _URL.match(word):
        place = re.split(r"[/?#]", word.split("://", 1)[1], maxsplit=1)[0].rsplit("@", 1)[-1]
        return place[1:].split("]")[0] if place.startswith("[") else place.split(":")[0]
    match = _REMOTE.match(word)
    return match["host"].strip("[]") if match and "/" not in word.split(":", 1)[0] else ""


@kept
def touches(command: Command) -> tuple[Touch, ...]:
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
    return tuple(t for t in found if t.target and (t.target != UNKNOWN or t.action == "stop"))


@kept
def readable(command: Command) -> bool:
    """Whether all that `command` touches can be told from its words."""
    if command.name not in KNOWN or not all(w.literal for w in command.argv):
        return False
    if command.name == "git":
        return _TREE_CHANGING.isdisjoint(command.words)
    anywhere = command.cwd is None
    return not any(t.whole and t.action == "write" and anywhere and not t.target.startswith("/") for t in touches(command))


def sums_up(command: Command) -> bool:
    """Whether what `command` prints is about what it reads, and does not hold it: a digest, a count, a yes or no."""
    if command.name in {"grep", "egrep", "fgrep", "rg"}:
        return has(command, "cqlL") or any(w in {"--count", "--quiet", "--files-with-matches"} for w in command.words)
    digest = command.name == "openssl" and re.match(r"dgst$|md5$|sha\d", command.words[0] if command.words else "")
    return command.name in _SUMMING or bool(digest)


def prints(command: Command) -> bool:
    """Whether `command` puts what it reads on standard output."""
    if any(r.takes_output for r in command.redirects) or sums_up(command):
        return False
    unpacks = command.name in {"gzip", "gunzip", "bzip2", "bunzip2", "xz", "unxz", "zstd"} and has(command, "c")
    return command.name in _PRINTING or unpacks or (command.name == "sed" and not has(command, "i"))


def _redirected(command: Command) -> Iterator[Touch]:
    for redirect in command.redirects:
        if redirect.operator in {">", ">>", ">|", "&>", "&>>", ">&", "<>"} and not redirect.target.text.isdigit():
            sent, adds = redirect.target.text.startswith("/dev/tcp/"), redirect.operator in {">>", "&>>"}
            yield Touch("send" if sent else "write", redirect.target.text, adds=adds)
        elif redirect.operator == "<":
            yield Touch("read", redirect.target.text)


def _sources(command: Command) -> tuple[list[str], str]:
    target = option(command, "-t", "--target-directory")
    operands = command.operands
    if target:
        return [w for w in operands if w != target], target
    return (operands[:-1], operands[-1]) if len(operands) > 1 else (operands, "")


def _into(sources: list[str], destination: str, *, whole: bool = False) -> Iterator[Touch]:
    """What is written when `sources` (`whole`: with all that is in them) land at `destination`, be that a file or a
    directory."""
    if destination:
        yield Touch("write", destination, whole=whole)
        yield from (Touch("write", posixpath.join(destination, posixpath.basename(s.rstrip("/")))) for s in sources)


def _cp(command: Command) -> list[Touch]:
    sources, destination = _sources(command)
    whole = has(command, "raR") or "--recursive" in command.words
    return [Touch("read", s, destination, whole) for s in sources] + list(_into(sources, destination, whole=whole))


def _mv(command: Command) -> list[Touch]:
    sources, destination = _sources(command)
    moved = [Touch("delete", s, destination, whole=True) for s in sources]
    return moved + [Touch("read", s, destination, whole=True) for s in sources] + list(_into(sources, destination))


def _ln(command: Command) -> list[Touch]:
    sources, destination = _sources(command)
    return [Touch("list", s, destination) for s in sources] + list(_into(sources, destination))


def _rm(command: Command) -> list[Touch]:
    return [Touch("delete", w, whole=has(command, "rR") or "--recursive" in command.words) for w in command.operands]


def _find(command: Command) -> list[Touch]:
    listed = [Touch("list", w, whole=True) for w in command.operands]
    return listed + ([Touch("delete", w) for w in found_by(command)] if "-delete" in command.words else [])


def _writes(command: Command) -> list[Touch]:
    adds = command.name == "tee" and (has(command, "a") or "--append" in command.words)
    return [Touch("write", w, adds=adds) for w in command.operands]


def _truncate(command: Command) -> list[Touch]:
    size = option(command, "-s", "--size", "-r", "--reference")
    return [Touch("write", w) for w in command.operands if w != size]


def _mode(command: Command) -> list[Touch]:
    taken_away = command.name == "chmod" and any(re.fullmatch(r"-[rwxXst]+", w) for w in command.words)
    files = command.operands if taken_away else command.operands[1:]
    return [Touch("mode", w, whole=has(command, "R")) for w in files]


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
    forged = [option(command, *names) for names in (("-d", "--date"), ("-t",), ("-r", "--reference"))]
    files = [w for w in command.operands if w not in forged]
    return [Touch("date" if any(forged) else "list", w) for w in files]


def _tar(command: Command) -> list[Touch]:
    words = command.words
    mode = words[0] if words and not words[0].startswith("-") else ""
    flags = mode + "".join(w.lstrip("-") for w in words if re.fullmatch(r"-[a-zA-Z]+", w))
    directory = option(command, "-C", "--directory")
    after = words[1:] if mode else words
    archive = option(command, "-f", "--file") or next(
        (after[i + 1] for i, w in enumerate(after[:-1]) if re.fullmatch(r"-[a-zA-Z]*f", w)), ""
    )
    operands = [w for w in after if not w.startswith("-") and w != directory]
    if mode.endswith("f") and operands and not archive:
        archive = operands[0]
    members = [posixpath.join(directory, w) for w in operands if w != archive]
    if "x" in flags and "c" not in flags:
        return [Touch("read", archive), Touch("write", directory or ".", whole=True)]
    packed = [Touch("read", m, "" if archive == "-" else archive, whole=True) for m in members]
    return [*packed, Touch("write", archive)] if archive and archive != "-" else packed


def _gzip(command: Command) -> list[Touch]:
    if has(command, "c") or "--stdout" in command.words:
        return [Touch("read", w) for w in command.operands]
    made = option(command, "-o") if command.name == "zstd" else ""
    files = [w for w in command.operands if w != made]
    ending = {"bzip2": ".bz2", "xz": ".xz", "zstd": ".zst"}.get(command.name, ".gz")
    return [Touch("read", w, made or w + ending) for w in files]


def _split(command: Command) -> list[Touch]:
    operands = [w for w in command.operands if w not in {option(command, f"-{c}") for c in "ablnC"}]
    prefix = operands[1] if len(operands) > 1 else "x"
    return [Touch("read", w, prefix + "*") for w in operands[:1]]


def _unpacked(command: Command) -> list[Touch]:
    """What `unzip`, `cpio -i`, `ar x` and `7z x` write: anything in one directory."""
    operands = command.operands if command.name == "unzip" else command.operands[1:]
    directory = option(command, "-d") or next((w[2:] for w in command.words if re.match(r"-o.", w)), "") or "."
    shown = command.name == "unzip" and has(command, "lpZ")
    archives = [Touch("read", w) for w in operands[:1]]
    return archives if shown else [*archives, Touch("write", directory, whole=True)]


def _archive(command: Command) -> list[Touch]:
    """`cpio`, `ar` and `7z`, by their mode."""
    mode = next(iter(command.words), "").lstrip("-")
    if command.name == "cpio":
        return [Touch("write", ".", whole=True)] if has(command, "i") else []
    if mode[:1] in {"x", "e"}:
        return _unpacked(command)
    files = command.operands if command.words[:1] != [mode] else command.operands[1:]
    return [Touch("read", w, files[0], whole=True) for w in files[1:]] + [Touch("write", w) for w in files[:1]]


def _openssl(command: Command) -> list[Touch]:
    source, made = option(command, "-in"), option(command, "-out")
    files = [source] if source else [w for w in command.operands[1:] if w != made]
    return [Touch("read", w, made) for w in files] + [Touch("write", made)]


_GPG_VALUES = ("--output", "--recipient", "--local-user", "--passphrase", "--passphrase-file", "--cipher-algo", "--homedir")


def _gpg(command: Command) -> list[Touch]:
    given = options(command, "oru", _GPG_VALUES)
    made = next(iter(given.values("-o", "--output")), "")
    ending = ".asc" if given.values("-a", "--armor") else ".gpg"
    return [t for w in given.operands for t in (Touch("read", w, made or w + ending), Touch("write", made or w + ending))]


def _xxd(command: Command) -> list[Touch]:
    files = [w for w in command.operands if w not in {option(command, f"-{c}") for c in "clgos"}]
    made = files[1] if len(files) > 1 else ""
    return [Touch("read", w, made) for w in files[:1]] + [Touch("write", made)]


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
    dry = command.name == "rsync" and ("--dry-run" in command.words or has(command, "n"))
    whole = has(command, "ra") or "--recursive" in command.words
    local = [s for s in sources if not remote_host(s)]
    if remote_host(destination):
        action: Action = "list" if dry else "send"
        sent = [Touch(action, s, destination, whole) for s in local]
        return sent + ([] if dry else [Touch("read", s, destination, whole) for s in local])
    return [Touch("read", s, destination, whole) for s in local] + list(_into(sources, destination, whole=whole))


_CURL_DATA = ("-d", "--data", "--data-ascii", "--data-binary", "--data-urlencode", "--json")
_CURL_VALUES = (
    *(w for w in _CURL_DATA if w.startswith("--")), "--upload-file", "--form", "--output", "--url", "--header", "--request",
    "--user", "--user-agent", "--cookie", "--cookie-jar", "--referer", "--proxy", "--max-time", "--connect-timeout", "--retry",
    "--data-raw", "--form-string", "--cacert", "--cert", "--key", "--resolve", "--write-out", "--range", "--config",
)  # fmt: skip


def _curl(command: Command) -> list[Touch]:
    given = options(command, "AbcCdDeEFhHKmoPQrtTuUwxXyYz", _CURL_VALUES)
    url = next((w for w in given.values("--url") + given.operands if remote_host(w)), "") or next(iter(given.operands), "url")
    found = given.values("-T", "--upload-file")
    found += [v[1:] for v in given.values(*_CURL_DATA) if v.startswith("@")]
    found += [v.split("@", 1)[1] for v in given.values("--data-urlencode") if re.match(r"\w+@", v)]
    forms = [v for v in given.values("-F", "--form") if re.search(r"=[@<]", v)]
    found += [re.split(r"=[@<]", v, maxsplit=1)[1].split(";")[0] for v in forms]
    sent = _piped_out(command, url) if {"-", "."} & set(found) else []
    for name in (f for f in found if f not in {"-", "."}):
        sent += [Touch("send", name, url), Touch("read", name, url)]
    return sent + [Touch("write", w) for w in given.values("-o", "--output")]


def _wget(command: Command) -> list[Touch]:
    posted = option(command, "--post-file", "--body-file")
    output = option(command, "-O", "--output-document")
    url = next((w for w in command.operands if remote_host(w)), "") or "url"
    sent = [Touch("send", posted, url), Touch("read", posted, url)] if posted else []
    return sent + ([Touch("write", output)] if output else [])


def _connected(command: Command) -> list[Touch]:
    """`ssh`, `nc` and their like: what they are given on standard input goes to the host that they name."""
    return _piped_out(command, next(iter(options(command, "BbcDEeFIiJLlmOopQRSWwsqXxT").operands), "") or "peer")


def _piped_out(command: Command, host: str) -> list[Touch]:
    """A program that sends its standard input away: all that its upstream read, and what is redirected into it."""
    sent: list[Touch] = []
    for earlier in command.upstream:
        sent += [Touch("send", t.target, host, t.whole) for t in touches(earlier) if t.action == "read"]
    return sent + [Touch("send", r.target.text, host) for r in command.redirects if r.operator == "<"]


def _cloud(command: Command) -> list[Touch]:
    """A store's own client: files named before the first place in the store go there, those behind it come from there."""
    endpoint = option(command, "--endpoint-url", "--endpoint")
    words = [re.sub(r"^fileb?://", "", w) for w in command.operands if w != endpoint]
    stored = [i for i, w in enumerate(words) if "://" in w or (command.name == "rclone" and ":" in w)]
    first = min(stored, default=len(words))
    host = endpoint or command.name
    sent = [Touch("send", w, host, whole=True) for w in words[:first] if "/" in w or "." in w]
    sent += _piped_out(command, host) if "-" in command.words else []
    return sent + [Touch("write", w, whole=True) for w in words[first:] if "://" not in w and "/" in w and not remote_host(w)]


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
    directory = option(command, "-d", "--directory") or "."
    files = [w for w in command.operands if w not in {directory, option(command, "-i", "--input")}]
    return [Touch("write", w) for w in files[:1]] or [Touch("write", directory, whole=True)]


_RULES = {
    "cp": _cp, "install": _cp, "mv": _mv, "ln": _ln, "rm": _rm, "unlink": _rm, "shred": _rm, "rmdir": _rm, "tee": _writes,
    "ed": _writes, "ex": _writes, "truncate": _truncate, "chmod": _mode, "chown": _mode, "chgrp": _mode, "chattr": _mode,
    "setfacl": _mode, "sed": _sed, "perl": _perl, "dd": _dd, "touch": _touch, "tar": _tar, "gzip": _gzip, "bzip2": _gzip,
    "xz": _gzip, "zstd": _gzip, "zip": _zip, "split": _split,
    "7z": _archive, "ar": _archive, "cpio": _archive, "unzip": _unpacked, "find": _find, "openssl": _openssl, "gpg": _gpg,
    "xxd": _xxd, "scp": _scp, "rsync": _scp, "curl": _curl, "wget": _wget,
    "nc": _connected, "ncat": _connected, "netcat": _connected, "socat": _connected, "ssh": _connected,
    "aws": _cloud, "rclone": _cloud, "s3cmd": _cloud, "gsutil": _cloud, "twine": _cloud, "kill": _kill, "pkill": _kill,
    "killall": _kill, "systemctl": _service, "service": _service, "crontab": _crontab, "patch": _patch,
}  # fmt: skip
