"""Small programs in the kernel, without a compiler: bpf(2), an assembler for what we need of it, and a ring of records.

The instruction set is described in https://docs.kernel.org/bpf/standardization/instruction-set.html; the kernel's verifier
proves each program safe before it runs. A ring is filled synchronously with what it tells of, so emptying it is a watermark.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import resource
import struct
from collections.abc import Iterator
from contextlib import suppress

_libc = ctypes.CDLL(None, use_errno=True)
_SYSCALLS = {"x86_64": 321, "aarch64": 280}

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _PROG_LOAD, _RAW_TRACEPOINT_OPEN = 0, 1, 2, 3, 5, 17
_HASH, _ARRAY, _PERCPU_ARRAY, _LRU_HASH, _RINGBUF = 1, 2, 6, 9, 27
_RAW_TRACEPOINT = 17

CTX, FP = 1, 10
"""Registers that hold a program's argument at its start, and the end of its 512 bytes of stack."""

_LICENSE = b"Dual MIT/GPL"
_BUSY, _DISCARDED = 1 << 31, 1 << 30


def bpf(command: int, attributes: bytes) -> int:
    """Raises OSError."""
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf is not known for {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    result = int(_libc.syscall(number, command, buffer, len(buffer)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class Map:
    """A table shared with programs; keys are 32-bit numbers."""

    def __init__(self, kind: int, value_size: int, entries: int, key_size: int = 4) -> None:
        self.value_size = value_size
        attributes = struct.pack("<IIIII", kind, key_size, value_size, entries, 0)
        try:
            self.fd = bpf(_MAP_CREATE, attributes)
        except PermissionError:  # before Linux 5.11 maps count as locked memory
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            self.fd = bpf(_MAP_CREATE, attributes)

    @classmethod
    def table(cls, value_size: int, entries: int) -> Map:
        return cls(_HASH, value_size, entries)

    @classmethod
    def latest(cls, value_size: int, entries: int) -> Map:
        """A table by 64-bit keys, for programs alone, that forgets what was not used for longest."""
        return cls(_LRU_HASH, value_size, entries, key_size=8)

    @classmethod
    def array(cls, value_size: int, entries: int) -> Map:
        return cls(_ARRAY, value_size, entries)

    @classmethod
    def scratch(cls, value_size: int, entries: int) -> Map:
        """Room that a program has to itself while it runs on one processor."""
        return cls(_PERCPU_ARRAY, value_size, entries)

    def __setitem__(self, key: int, value: bytes) -> None:
        self._call(_MAP_UPDATE, key, ctypes.create_string_buffer(value, self.value_size))

    def __getitem__(self, key: int) -> bytes:
        value = ctypes.create_string_buffer(self.value_size)
        self._call(_MAP_LOOKUP, key, value)
        return value.raw

    def __delitem__(self, key: int) -> None:
        self._call(_MAP_DELETE, key, None)

    def _call(self, command: int, key: int, value: ctypes.Array[ctypes.c_char] | None) -> None:
        name = ctypes.c_uint32(key)
        address = ctypes.addressof(value) if value is not None else 0
        bpf(command, struct.pack("<IIQQQ", self.fd, 0, ctypes.addressof(name), address, 0))

    def close(self) -> None:
        os.close(self.fd)


class Ring(Map):
    """Records that programs leave, in the order they were left; `size` is a power of two, at least a page."""

    def __init__(self, size: int) -> None:
        super().__init__(_RINGBUF, 0, size, key_size=0)
        page, self._mask = mmap.PAGESIZE, size - 1
        self._consumer = mmap.mmap(self.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer = mmap.mmap(self.fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._data = page

    def take(self, most: int) -> Iterator[bytes]:
        """Up to `most` of the records that lie there now; each is given back to the kernel as it is taken."""
        (at,) = struct.unpack_from("<Q", self._consumer)
        (end,) = struct.unpack_from("<Q", self._producer)
        try:
            while at < end and most > 0:
                place = self._data + (at & self._mask)
                (head,) = struct.unpack_from("<I", self._producer, place)
                if head & _BUSY:
                    return  # being written by a processor right now
                size = head & ~(_BUSY | _DISCARDED)
                record = b"" if head & _DISCARDED else self._producer[place + 8 : place + 8 + size]
                at += size + 8 + 7 & ~7
                most -= 1
                if record:
                    yield record
        finally:
            struct.pack_into("<Q", self._consumer, 0, at)

    @property
    def empty(self) -> bool:
        return bool(self._consumer[:8] == self._producer[:8])

    def close(self) -> None:
        self._consumer.close()
        self._producer.close()
        super().close()


class Program:
    """Assembles one program; registers are numbers, `label` names the next instruction, `jump_*` go to a label.

    r0 holds results, r1 to r5 arguments and are lost at each call, r6 to r9 stay.
    """

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int | str, int]] = []
        self._labels: dict[str, int] = {}

    def move(self, to: int, register: int) -> None:
        self._emit(0xBF, to, register)

    def set(self, to: int, number: int) -> None:
        self._emit(0xB7, to, imm=number)

    def add(self, to: int, number: int) -> None:
        self._emit(0x07, to, imm=number)

    def subtract(self, to: int, register: int) -> None:
        self._emit(0x1F, to, register)

    def load(self, to: int, base: int, offset: int, size: int = 8) -> None:
        self._emit({4: 0x61, 8: 0x79}[size], to, base, offset)

    def store(self, base: int, offset: int, register: int, size: int = 8) -> None:
        self._emit({4: 0x63, 8: 0x7B}[size], base, register, offset)

    def store_number(self, base: int, offset: int, number: int) -> None:
        self._emit(0x62, base, 0, offset, number)

    def increment(self, base: int, register: int) -> None:
        """Add a register to the 64 bits at `base`, at once for all processors."""
        self._emit(0xDB, base, register)

    def jump(self, label: str) -> None:
        self._emit(0x05, offset=label)

    def jump_equal(self, register: int, number: int, label: str) -> None:
        self._emit(0x15, register, offset=label, imm=number)

    def jump_different(self, register: int, other: int, label: str) -> None:
        self._emit(0x5D, register, other, label)

    def jump_up_to(self, register: int, number: int, label: str) -> None:
        """If the register, unsigned, is at most `number`."""
        self._emit(0xB5, register, offset=label, imm=number)

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def call(self, helper: int) -> None:
        self._emit(0x85, imm=helper)

    def map(self, to: int, table: Map) -> None:
        self._emit(0x18, to, 1, imm=table.fd)
        self._emit(0)

    def exit(self) -> None:
        self._emit(0x95)

    def _emit(self, code: int, to: int = 0, register: int = 0, offset: int | str = 0, imm: int = 0) -> None:
        self._code.append((code, to, register, offset, imm))

    def code(self) -> bytes:
        """The program's bytes; KeyError for a label that was not set."""
        lines = []
        for at, (code, to, register, offset, imm) in enumerate(self._code):
            jump = self._labels[offset] - at - 1 if isinstance(offset, str) else offset
            lines.append(struct.pack("<BBhi", code, to | register << 4, jump, imm))
        return b"".join(lines)

    def load_into_kernel(self) -> int:
        """A descriptor of the verified program. Raises OSError whose text ends with the verifier's last words."""
        code = ctypes.create_string_buffer(self.code())
        license_ = ctypes.create_string_buffer(_LICENSE)
        log = ctypes.create_string_buffer(256 * 1024)
        count, addresses = len(self._code), (ctypes.addressof(code), ctypes.addressof(license_))
        attributes = struct.pack("<IIQQ", _RAW_TRACEPOINT, count, *addresses)
        try:
            return bpf(_PROG_LOAD, attributes)
        except OSError:
            with_log = attributes + struct.pack("<IIQ", 1, len(log), ctypes.addressof(log))
            try:
                return bpf(_PROG_LOAD, with_log)
            except OSError as error:
                words = log.value.decode(errors="replace").strip()[-600:]
                raise OSError(error.errno, f"{error.strerror}: {words}" if words else error.strerror) from None


def attach(tracepoint: str, program: int) -> int:
    """Run a loaded program at a tracepoint while the returned descriptor is open. Raises OSError."""
    name = ctypes.create_string_buffer(tracepoint.encode())
    return bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", ctypes.addressof(name), program))
