"""Bounds of what a host may use up. The context says how much it was given; each attempt tries for half as much again.

What is taken is given back: a bound that were missing would cost the machine no more than that half.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.audit.inside.probing import Context, Probe, Refused, main, own, system_call

_MIB = 2**20
_CHUNK = b"\1" * _MIB


def _half_more(context: Context, name: str) -> int:
    return int(context[name]) * 3 // 2


def _processes(count: int) -> int:
    """How many children could be had at once, at most `count`; all are gone afterwards."""
    children = []
    try:
        for _ in range(count):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except BlockingIOError:
        pass
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
    return len(children)


def _too_many_processes(context: Context) -> str:
    wanted = _half_more(context, "pids")
    had = _processes(wanted)
    if had < wanted:
        raise Refused(f"{had} processes of {wanted}")
    return f"{had} processes at once"


def _some_processes(_: Context) -> None:
    if _processes(4) != 4:
        raise RuntimeError("not even four processes")


def _touch(megabytes: int) -> bool:
    """Whether a child that is the first to be killed for want of memory could fill that much."""
    child = os.fork()
    if child == 0:
        Path("/proc/self/oom_score_adj").write_text("1000")
        held = [mmap.mmap(-1, _MIB) for _ in range(megabytes)]
        for part in held:
            part[:] = _CHUNK
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _too_much_memory(context: Context) -> str:
    wanted = _half_more(context, "memory_mb")
    if _touch(wanted):
        return f"{wanted} MiB filled"
    raise Refused(f"killed before {wanted} MiB")


def _some_memory(_: Context) -> None:
    if not _touch(4):
        raise RuntimeError("not even 4 MiB")


def _fill(folder: str, megabytes: int) -> int:
    """How many megabytes of files a folder takes, at most `megabytes`, in files of 4."""
    written, paths = 0, []
    try:
        for number in range(-(-megabytes // 4)):
            path = f"{folder}/.probe-{os.getpid()}-{number}"
            paths.append(path)
            with open(path, "wb", buffering=0) as file:
                for _ in range(4):
                    written += file.write(_CHUNK) // _MIB
    except OSError:
        return written
    finally:
        for path in paths:
            Path(path).unlink(missing_ok=True)
    return written


def _too_much_disk(folder: str) -> Callable[[Context], str]:
    def attempt(context: Context) -> str:
        wanted = _half_more(context, "disk_mb")
        if (had := _fill(folder, wanted)) < wanted:
            raise Refused(f"{had} MB of {wanted}")
        return f"{had} MB written to {folder}"

    return attempt


def _some_disk(_: Context) -> None:
    if _fill("/tmp", 4) != 4:  # noqa: S108 - the container's own
        raise RuntimeError("not even 4 MB")


def _too_many_names(context: Context) -> str:
    """Empty files: they take the machine's memory too."""
    wanted, folder = _half_more(context, "names"), own("names")
    os.mkdir(folder)
    made = 0
    try:
        for made in range(wanted):
            os.mknod(f"{folder}/{made}")
    except OSError as error:
        raise Refused(f"{made} files of {wanted}: {error.strerror}") from error
    finally:
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)
    return f"{wanted} files made"


def _some_names(_: Context) -> None:
    path = own("name")
    os.mknod(path)
    os.unlink(path)


def _one_large_file(context: Context) -> str:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = own("large")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.ftruncate(fd, 64 * int(context["disk_mb"]) * _MIB)
    finally:
        os.unlink(path)
    return "a sparse file far beyond its bound was made"


def _many_files_open(_: Context) -> str:
    held: list[int] = []
    try:
        while len(held) < 10_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        raise Refused(f"{len(held)} open files: {error.strerror}") from error
    return f"{len(held)} open files"


def _some_files_open(_: Context) -> None:
    for fd in [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]:
        os.close(fd)


def _locked_memory(_: Context) -> str:
    page = mmap.mmap(-1, 16 * _MIB)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    system_call(149, ctypes.c_void_p(address), ctypes.c_size_t(16 * _MIB))
    return "16 MiB locked in memory"


def _lock_a_page(_: Context) -> None:
    page = mmap.mmap(-1, 4096)
    system_call(149, ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page))), ctypes.c_size_t(4096))


def _core(_: Context) -> str:
    """A child crashes with the limit raised as far as it may be, in a folder where a core file could lie."""
    os.mkdir(folder := own("crash"))
    try:
        dumped = os.WCOREDUMP(_crash(folder))
        if left := {name: os.stat(f"{folder}/{name}").st_size for name in os.listdir(folder)}:
            return f"a crash left {left}"
    finally:
        _empty(folder)
    if not dumped:
        raise Refused("a crash left no core")
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith("|") and not resource.getrlimit(resource.RLIMIT_CORE)[1]:
        raise Refused("a crash left no core; the machine's own handler was told that it may have 0 bytes")
    return "the kernel wrote a core elsewhere than in the folder of the crash"


def _empty(folder: str) -> None:
    for name in os.listdir(folder):
        os.unlink(f"{folder}/{name}")
    os.rmdir(folder)


def _crash(folder: str) -> int:
    """The wait status of a child that crashes in `folder`."""
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        os.kill(os.getpid(), signal.SIGSEGV)
    return os.waitpid(child, 0)[1]


def _crashes_are_seen(_: Context) -> None:
    """The same crash ends the same child by the same signal, and a file may be made where its core would be."""
    os.mkdir(folder := own("crash-control"))
    try:
        Path(f"{folder}/core").write_bytes(b"")
        if os.WTERMSIG(_crash(folder)) != signal.SIGSEGV:
            raise RuntimeError("the child did not crash")
    finally:
        _empty(folder)


def _used(children: int, seconds: float) -> float:
    """Processors that so many busy processes got between them."""
    began, busy = time.monotonic(), []
    for _ in range(children):
        child = os.fork()
        if child == 0:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
            os._exit(0)
        busy.append(child)
    used = sum(r.ru_utime + r.ru_stime for _, _, r in (os.wait4(child, 0) for child in busy))
    return used / (time.monotonic() - began)


def _processor(_: Context) -> str:
    """Four busy processes for a moment: together they must not get more than the one processor they were given."""
    if (share := _used(4, 1)) > 1.4:
        return f"{share:.2f} processors used"
    raise Refused(f"{share:.2f} processors used")


def _half_a_processor(_context: Context) -> None:
    """A bound of one processor shows only where there are two, and where two busy processes get more than half of one."""
    if (there := len(os.sched_getaffinity(0))) < 2:
        raise RuntimeError(f"{there} processor cannot show a bound of one")
    most, end = 0.0, time.monotonic() + 12
    while time.monotonic() < end:  # a busy machine has calmer moments
        most = max(most, _used(2, 0.5))
        if most > 0.5:
            return
    raise RuntimeError(f"two busy processes got {most:.2f} processors only")


PROBES = (
    Probe("processes", _too_many_processes, _some_processes),
    Probe("memory", _too_much_memory, _some_memory),
    Probe("disk /tmp", _too_much_disk("/tmp"), _some_disk),  # noqa: S108
    Probe("disk /dev/shm", _too_much_disk("/dev/shm"), _some_disk),  # noqa: S108
    Probe("file_names", _too_many_names, _some_names),
    Probe("one_large_file", _one_large_file, _some_disk),
    Probe("open_files", _many_files_open, _some_files_open),
    Probe("locked_memory", _locked_memory, _lock_a_page),
    Probe("core_files", _core, _crashes_are_seen),
    Probe("processor", _processor, _half_a_processor),
)

if __name__ == "__main__":
    main(PROBES)
