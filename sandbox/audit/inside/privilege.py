"""Rights that a process of the host's user must neither have nor be able to get."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable
from pathlib import Path

from sandbox.audit.inside.probing import Context, Probe, Refused, main, own, system_call

_PRCTL = 157
_CAPGET, _CAPSET = 125, 126


def _status(name: str) -> str:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return lines[name].strip()


def _without(name: str, wanted: str) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        if (found := _status(name)) == wanted:
            raise Refused(f"{name} is {found}")
        return f"{name} is {found}"

    return attempt


def _status_reads(_: Context) -> None:
    _status("CapEff")


def _super_user(_: Context) -> str:
    if 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid(), *os.getgroups()):
        return f"uid {os.getuid()}, groups {os.getgroups()}"
    raise Refused(f"uid {os.getuid()}, groups {os.getgroups()}")


def _becoming(change: Callable[[], object], what: str) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        change()
        return what

    return attempt


def _keeping_ids(_: Context) -> None:
    os.setresuid(os.getuid(), os.getuid(), os.getuid())


def _capset(bits: int) -> None:
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
    system_call(_CAPSET, head, data)


def _lowest(_: Context) -> None:
    _capset(0)


def _ambient(_: Context) -> str:
    system_call(_PRCTL, 47, 2, 10, 0, 0)
    return "NET_BIND_SERVICE was made ambient"


def _ask_ambient(_: Context) -> None:
    system_call(_PRCTL, 47, 1, 10, 0, 0)


def _raise_limit(name: int) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        hard = resource.getrlimit(name)[1]
        if hard == resource.RLIM_INFINITY:
            return "it is unbounded"
        try:
            resource.setrlimit(name, (hard, hard + 1))
        except ValueError as error:  # Python's own word for EPERM
            raise Refused(str(error)) from error
        return f"raised above {hard}"

    return attempt


def _lower_limit(_: Context) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def _own_file(change: Callable[[str], object], what: str) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        path = own("file")
        Path(path).write_bytes(b"x")
        try:
            change(path)
        finally:
            os.unlink(path)
        return what

    return attempt


def _touch(_: Context) -> None:
    _own_file(lambda path: os.chmod(path, 0o600), "")({})


def _set_file_capability(path: str) -> None:
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))


def _less_likely_killed(_: Context) -> str:
    Path("/proc/self/oom_score_adj").write_text("-500")
    return "the memory killer was told to spare it"


def _more_likely_killed(_: Context) -> None:
    Path("/proc/self/oom_score_adj").write_text("900")


def _set_user_programs(_: Context) -> str:
    found = []
    for folder in ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/lib/openssh", "/usr/local/bin"):
        places = [Path(folder) / name for name in (os.listdir(folder) if Path(folder).is_dir() else [])]
        found += [str(p) for p in places if p.is_file() and p.stat().st_mode & 0o6000]
    if found:
        return f"set-user files: {', '.join(found[:5])}"
    raise Refused("no file has a set-user bit")


def _programs(_: Context) -> None:
    if not os.access("/usr/bin/id", os.X_OK):
        raise RuntimeError("no program to look at")


def _bounding(_: Context) -> str:
    held = [n for n in range(41) if system_call(_PRCTL, 23, n, 0, 0, 0) == 1]
    if held:
        return f"{len(held)} capabilities could come back through a file"
    raise Refused("the bounding set is empty")


def _ask_no_new_privileges(_: Context) -> None:
    system_call(_PRCTL, 39, 0, 0, 0, 0)


PROBES = (
    Probe("super_user", _super_user, _keeping_ids),
    Probe("effective_capabilities", _without("CapEff", "0" * 16), _status_reads),
    Probe("permitted_capabilities", _without("CapPrm", "0" * 16), _status_reads),
    Probe("bounding_set", _bounding, _ask_no_new_privileges),
    Probe("no_new_privileges", _without("NoNewPrivs", "1"), _status_reads),
    Probe("filter_in_force", _without("Seccomp", "2"), _status_reads),
    Probe("set_uid", _becoming(lambda: os.setresuid(0, 0, 0), "became user 0"), _keeping_ids),
    Probe("set_gid", _becoming(lambda: os.setresgid(0, 0, 0), "became group 0"), _keeping_ids),
    Probe("set_groups", _becoming(lambda: os.setgroups([0]), "took on group 0"), _keeping_ids),
    Probe("take_capabilities", _becoming(lambda: _capset(1 << 10), "NET_BIND_SERVICE was taken"), _lowest),
    Probe("ambient_capability", _ambient, _ask_ambient),
    Probe("set_user_programs", _set_user_programs, _programs),
    Probe("give_file_away", _own_file(lambda path: os.chown(path, 0, 0), "a file was given to user 0"), _touch),
    Probe("file_capability", _own_file(_set_file_capability, "a file was given a capability"), _touch),
    Probe("higher_priority", _becoming(lambda: os.setpriority(os.PRIO_PROCESS, 0, -5), "nice -5"),
          lambda _: os.setpriority(os.PRIO_PROCESS, 0, 5)),
    Probe("real_time", _becoming(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), "became real-time"),
          lambda _: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))),
    Probe("more_files", _raise_limit(resource.RLIMIT_NOFILE), _lower_limit),
    Probe("core_files", _raise_limit(resource.RLIMIT_CORE), _lower_limit),
    Probe("larger_files", _raise_limit(resource.RLIMIT_FSIZE), _lower_limit),
    Probe("memory_killer", _less_likely_killed, _more_likely_killed),
)  # fmt: skip

if __name__ == "__main__":
    main(PROBES)
