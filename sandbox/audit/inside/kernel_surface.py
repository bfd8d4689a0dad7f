"""System calls that widen what an attacker can do to the kernel: each must be refused before the kernel's code for it runs.

The arguments are senseless on purpose. A call that is let through answers EFAULT, EINVAL or the like: that *is* reaching it.
EPERM alone would not prove a filter, so each control is a permitted call made in the same way by the same interpreter, and the
weak profile shows which of these the kernel would have answered.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable

from sandbox.audit.inside.probing import Context, Probe, Refused, main, system_call

_GETPID = 39
REFUSALS = (errno.EPERM, errno.ENOSYS, errno.EACCES)
_NOBODY = 4_000_000
_BAD = 0xFFFF

CALLS: tuple[tuple[str, int, tuple[object, ...]], ...] = (
    ("io_uring_setup", 425, (0, None)),
    ("io_uring_enter", 426, (-1, 0, 0, _BAD, None, 0)),
    ("io_uring_register", 427, (-1, _BAD, None, 0)),
    ("memfd_create", 319, (b"x", 0)),
    ("memfd_secret", 447, (_BAD,)),
    ("execveat", 322, (-1, b"", None, None, 0)),
    ("ptrace", 101, (3, _NOBODY, None, None)),
    ("process_vm_readv", 310, (_NOBODY, None, 0, None, 0, _BAD)),
    ("process_vm_writev", 311, (_NOBODY, None, 0, None, 0, _BAD)),
    ("process_madvise", 440, (-1, None, 0, 0, _BAD)),
    ("pidfd_getfd", 438, (-1, 0, 0)),
    ("kcmp", 312, (_NOBODY, _NOBODY, 0, 0, 0)),
    ("keyctl", 250, (_BAD, 0, 0, 0, 0)),
    ("add_key", 248, (None, None, None, 0, 0)),
    ("request_key", 249, (None, None, None, 0)),
    ("userfaultfd", 323, (_BAD,)),
    ("bpf", 321, (_BAD, None, 0)),
    ("perf_event_open", 298, (None, 0, -1, -1, 0)),
    ("unshare", 272, (0,)),
    ("setns", 308, (-1, 0)),
    ("clone3", 435, (None, 0)),
    ("mount", 165, (None, None, None, 0, None)),
    ("umount2", 166, (None, 0)),
    ("pivot_root", 155, (None, None)),
    ("chroot", 161, (None,)),
    ("fsopen", 430, (None, _BAD)),
    ("open_tree", 428, (-1, None, _BAD)),
    ("move_mount", 429, (-1, None, -1, None, _BAD)),
    ("mount_setattr", 442, (-1, None, _BAD, None, 0)),
    ("name_to_handle_at", 303, (-1, None, None, None, _BAD)),
    ("open_by_handle_at", 304, (-1, None, 0)),
    ("fanotify_init", 300, (_BAD, 0)),
    ("syslog", 103, (10, None, 0)),
    ("quotactl", 179, (_BAD, None, 0, None)),
    ("swapon", 167, (None, 0)),
    ("init_module", 175, (None, 0, None)),
    ("finit_module", 313, (-1, None, _BAD)),
    ("kexec_load", 246, (0, 0, None, _BAD)),
    ("iopl", 172, (99,)),
    ("ioperm", 173, (_BAD, _BAD, 0)),
    ("modify_ldt", 154, (0, None, 0)),
    ("personality", 135, (0x0040000,)),
    ("settimeofday", 170, (None, None)),
    ("vmsplice", 278, (-1, None, 0, 0)),
    ("move_pages", 279, (0, 0, None, None, None, _BAD)),
    ("mq_open", 240, (None, 0, 0, None)),
)
"""Name, number on x86_64, arguments."""


def _calling(number: int, arguments: tuple[object, ...]) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        try:
            return f"the kernel answered {system_call(number, *arguments)}"
        except OSError as error:
            if error.errno in REFUSALS:
                raise
            return f"the kernel answered {errno.errorcode.get(error.errno or 0, '?')}"

    return attempt


def _permitted(_: Context) -> None:
    if system_call(_GETPID) != os.getpid():
        raise RuntimeError("getpid gave another number")


def _machine_code(code: bytes) -> int:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return int(ctypes.CFUNCTYPE(ctypes.c_long)(address)())


_NATIVE_GETPID = b"\xb8\x27\x00\x00\x00\x0f\x05\xc3"  # mov eax, 39; syscall; ret
_THIRTY_TWO_BIT_GETPID = b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3"  # push rbx; mov eax, 20; int 0x80; pop rbx; ret


def _native(_: Context) -> None:
    if _machine_code(_NATIVE_GETPID) != os.getpid():
        raise RuntimeError("machine code did not run")


def _thirty_two_bit(_: Context) -> str:
    child = os.fork()
    if child == 0:
        os._exit(7 if _machine_code(_THIRTY_TWO_BIT_GETPID) == os.getpid() else 0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        raise Refused(f"killed by signal {os.WTERMSIG(status)}")
    if os.WEXITSTATUS(status) != 7:
        raise Refused("int 0x80 was refused")
    return "a 32-bit getpid was answered"


def _x32(_: Context) -> str:
    return f"an x32 getpid answered {system_call(0x40000000 | _GETPID)}"


def _new_user_namespace(_: Context) -> str:
    return (
        f"clone made a user namespace around process {system_call(56, 0x10000000 | 17, None, None, None, None) or os._exit(0)}"
    )


def _fork(_: Context) -> None:
    child = system_call(56, 17, None, None, None, None)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


PROBES = (
    *(Probe(name, _calling(number, arguments), _permitted) for name, number, arguments in CALLS),
    Probe("clone_new_user", _new_user_namespace, _fork),
    Probe("int_0x80", _thirty_two_bit, _native),
    Probe("x32_calls", _x32, _permitted),
)

if __name__ == "__main__":
    main(PROBES)
