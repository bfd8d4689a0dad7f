"""How a process comes into a gVisor sandbox: it takes the system-call filter on itself, then becomes what was asked for.

gVisor applies a container's filter to the container's first process and its children, and not to what the daemon starts later
(`docker exec`), as every shell, service and probe here is started. So each is started as a Perl that says which process it is,
asks the sandbox's own kernel for the filter, which it cannot be rid of again, and turns into the program. The filter is
compiled by the library that runc uses, from the same profile.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sandbox.errors import NotReadyError
from sandbox.isolation import seccomp_profile

MARK = "/.entering-"
"""What an entering process tries to change its folder to, with its token behind it: the trace tells of that."""

_LIBRARY = "libseccomp.so.2"
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_COMPARISONS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
_OPTIMISE, _AS_TREE = 8, 2

_ENTER = (
    'my $f = pack("H*", shift); chdir shift; '
    'syscall(157, 22, 2, pack("S x6 P", length($f) / 8, $f)) == 0 or exit 126; '
    "exec {$ARGV[0]} @ARGV; exit 127"
)


def entering(argv: Sequence[str], token: str) -> tuple[str, ...]:
    """`argv`, behind the filter. Raises NotReadyError where it cannot be compiled."""
    return ("perl", "-e", _ENTER, compiled(), MARK + token, *argv)


@lru_cache(maxsize=1)
def compiled() -> str:
    """The profile as the kernel's instructions, in hexadecimal digits."""
    profile = json.loads(seccomp_profile())
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise NotReadyError(f"{_LIBRARY} is missing, which hosts under gVisor need.", "Install libseccomp2.") from error
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_action(profile["defaultAction"], profile))))
    try:
        library.seccomp_attr_set(context, _OPTIMISE, ctypes.c_uint32(_AS_TREE))
        for rule in profile["syscalls"]:
            for name in rule["names"]:
                _add(library, context, rule, name)
        with tempfile.TemporaryFile() as file:
            if library.seccomp_export_bpf(context, file.fileno()) != 0:
                raise NotReadyError(f"{_LIBRARY} could not compile the system-call filter.")
            file.seek(0)
            return file.read().hex()
    finally:
        library.seccomp_release(context)


class _Comparison(ctypes.Structure):
    _fields_ = (("index", ctypes.c_uint), ("how", ctypes.c_int), ("value", ctypes.c_uint64), ("second", ctypes.c_uint64))


def _add(library: Any, context: ctypes.c_void_p, rule: Mapping[str, Any], name: str) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:
        return  # one that this library does not know is refused, as by runc
    wanted = rule.get("args") or []
    how = [_COMPARISONS.index(each["op"].removeprefix("SCMP_CMP_")) + 1 for each in wanted]
    parts = [_Comparison(a["index"], h, a["value"], a.get("valueTwo", 0)) for a, h in zip(wanted, how, strict=True)]
    array = (_Comparison * len(parts))(*parts)
    action = ctypes.c_uint32(_action(rule["action"], rule))
    if (failed := library.seccomp_rule_add_array(context, action, number, ctypes.c_uint(len(parts)), array)) != 0:
        raise NotReadyError(f"{_LIBRARY} refused the rule for {name}: {os.strerror(-failed)}.")


def _action(name: str, rule: Mapping[str, Any]) -> int:
    if name == "SCMP_ACT_ALLOW":
        return _ALLOW
    assert name == "SCMP_ACT_ERRNO", name
    return _ERRNO | int(rule.get("errnoRet", rule.get("defaultErrnoRet", errno.EPERM)))
