"""How a process comes into a gVisor sandbox: behind the filter, which is tried here on this machine's own kernel."""

from __future__ import annotations

import os
import subprocess

import pytest

from sandbox.hosts import surface
from sandbox.hosts.entering import MARK, compiled, entering

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


USER = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=1000", "--regid=1000", "--clear-groups", "--no-new-privs")


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((*USER, *argv), capture_output=True, text=True, check=False, cwd="/")


def entered(*argv: str) -> subprocess.CompletedProcess[str]:
    return run(*entering(argv, "token"))


def test_each_call_of_the_certificate_is_refused_behind_it_and_not_without_it() -> None:
    behind = surface.judged(entered("bash", "-c", surface.command()).stdout.encode().splitlines())
    assert {result.result for result in behind} == {"BLOCKED"}
    free = surface.judged(run("bash", "-c", surface.command()).stdout.encode().splitlines())
    assert sum(result.result == "REACHED" for result in free) > 15


def test_a_program_becomes_itself_with_its_words_and_its_end() -> None:
    ran = entered("bash", "-c", 'echo "$0 $1" $$; grep Seccomp: /proc/self/status; exit 7', "a b", "ü")
    assert ran.stdout.startswith("a b ü ")
    assert "Seccomp:\t2" in ran.stdout
    assert ran.returncode == 7
    assert entered("no-such-program").returncode == 127


def test_it_says_which_process_it_is_and_stays_where_it_was() -> None:
    assert entering(("true",), "abc")[4] == f"{MARK}abc"
    assert entered("pwd").stdout == "/\n"


def test_the_filter_is_of_whole_instructions_and_small_enough_for_the_kernel() -> None:
    assert len(bytes.fromhex(compiled())) % 8 == 0
    assert 100 < len(bytes.fromhex(compiled())) // 8 < 4096
