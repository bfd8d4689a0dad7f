"""Files of /proc and /sys that turn the machine's kernel, or tell of it. Opened for writing and not written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sandbox.audit.inside.probing import Context, Probe, Refused, main, open_for_writing

WRITTEN = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/power/state",
    "/sys/fs/cgroup/memory/release_agent",
    "/sys/fs/cgroup/pids/pids.max",
    "/sys/fs/cgroup/devices/devices.allow",
    "/sys/fs/cgroup/cgroup.procs",
)
READ = (
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/dev/mem",
    "/dev/kmsg",
    "/sys/kernel/debug/tracing/trace",
    "/sys/firmware/acpi/tables/FACP",
    "/sys/kernel/vmcoreinfo",
    "/proc/timer_list",
)


def _writing(path: str) -> Callable[[Context], str]:
    return lambda _: open_for_writing(path)


def _reading(path: str) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if data := os.read(fd, 16):
                return f"read {len(data)} bytes"
        finally:
            os.close(fd)
        raise Refused("it is empty here")

    return attempt


def _own_proc_is_writable(_: Context) -> None:
    open_for_writing("/proc/self/comm")


def _kernel_addresses(_: Context) -> str:
    with Path("/proc/kallsyms").open() as file:
        addresses = {line.split()[0].strip("0") for _, line in zip(range(200), file, strict=False)}
    if addresses - {""}:
        return "kallsyms shows the kernel's addresses"
    raise Refused("kallsyms shows no address")


def _folder(path: str) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        if found := os.listdir(path):
            return f"{len(found)} entries"
        raise Refused("it is empty here")

    return attempt


PROBES = (
    *(Probe(f"write {path}", _writing(path), _own_proc_is_writable) for path in WRITTEN),
    *(Probe(f"read {path}", _reading(path), lambda _: Path("/proc/uptime").read_text()) for path in READ),
    Probe("kernel_addresses", _kernel_addresses, lambda _: Path("/proc/uptime").read_text()),
    Probe("list /sys/firmware", _folder("/sys/firmware"), lambda _: os.listdir("/proc/self")),
    Probe("list /sys/kernel/debug", _folder("/sys/kernel/debug"), lambda _: os.listdir("/proc/self")),
    Probe("list /proc/acpi", _folder("/proc/acpi"), lambda _: os.listdir("/proc/self")),
)

if __name__ == "__main__":
    main(PROBES)
