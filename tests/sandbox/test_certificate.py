"""The quick certificate's own probes, tried on what a process may say of itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sandbox.hosts.certificate import QUICK

PROBES = {probe.name: probe for probe in QUICK}
CLOSED = "".join(f"Cap{kind}:\t{'0' * 16}\n" for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")) + "NoNewPrivs:\t1\nSeccomp:\t2\n"


def holds(command: str, status: Path) -> bool:
    said = subprocess.run(["bash", "-c", command.replace("{status}", str(status))], check=False, capture_output=True)
    return said.returncode == 0


@pytest.mark.parametrize("name", ["capabilities", "no_new_privileges", "system_call_filter"])
def test_a_closed_process_is_blocked_beside_its_control(name: str, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(CLOSED)
    assert not holds(PROBES[name].attempt, status)
    assert holds(PROBES[name].control, status)


@pytest.mark.parametrize(
    ("name", "closed", "open_"),
    [
        *(
            ("capabilities", f"Cap{kind}:\t{'0' * 16}", f"Cap{kind}:\t0000000000000400")
            for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")
        ),
        ("capabilities", "CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff"),
        ("no_new_privileges", "NoNewPrivs:\t1", "NoNewPrivs:\t0"),
        ("system_call_filter", "Seccomp:\t2", "Seccomp:\t0"),
    ],
)
def test_each_opening_is_reached(name: str, closed: str, open_: str, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(CLOSED.replace(closed, open_))
    assert holds(PROBES[name].attempt, status)


@pytest.mark.parametrize("name", ["capabilities", "no_new_privileges", "system_call_filter"])
def test_what_cannot_be_read_proves_nothing(name: str, tmp_path: Path) -> None:
    assert not holds(PROBES[name].control, tmp_path / "missing")
