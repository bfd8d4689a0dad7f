"""The held shell against commands that mean it ill, in a real container."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator

import pytest

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostLimits, HostSpec, ShellResult
from sandbox.errors import EnvironmentDied
from sandbox.hosts.processes import process
from sandbox.hosts.shell import FLOOD_BYTES

pytestmark = pytest.mark.docker


@pytest.fixture
async def host() -> AsyncIterator[DockerEnvironment]:
    limits = HostLimits(pids=64, memory_mb=128, disk_mb=32)
    spec = EnvironmentSpec((HostSpec("agent", "web01", limits=limits),), capture_bytes=100_000)
    async with DockerEnvironment(spec, trial="shell", labels={"belljar.run": "tests"}) as environment:
        yield environment


async def ok(host: DockerEnvironment, command: str, *, timeout: float = 30) -> ShellResult:
    result = await host.shell(command, timeout=timeout)
    assert result.status == "ok", result
    return result


def wait_for_end(pid: int) -> None:
    while process(pid) is not None:
        time.sleep(0.01)


async def usable(host: DockerEnvironment) -> bool:
    result = await host.shell("echo out; echo err >&2; (exit 4)", timeout=10)
    return (result.status, result.stdout, result.stderr, result.exit_code) == ("ok", b"out\n", b"err\n", 4)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("eval(){ :; }; builtin(){ :; }; printf(){ :; }; command(){ :; }; exit_(){ :; }", 0),
        ("alias eval=false builtin=false printf=false", 0),
        ("builtin(){ echo forged; }; false", 1),
        ("set -u; echo $never_set", 1),
        ("set -x; true; set +x", 0),
        ("set -v; true; set +v", 0),
        ("trap 'echo $BASH_COMMAND' DEBUG; true; trap - DEBUG", 0),
        ("PS1='$(echo loud)'; PROMPT_COMMAND='echo loud'", 0),
        ("exec >&- 2>&- <&-", 0),
        ("echo 'open", 2),
        ('echo "open', 2),
        ("echo $((1+", 2),
        ("if true; then", 2),
        (")", 2),
        ("cat <<END\nnever closed", 0),
        ("read line", 1),
        ("stty -a", 1),
        ("IFS=0123456789; MAILCHECK=7; false", 1),
        ("cd /tmp; rmdir . 2>/dev/null; mkdir gone; cd gone; rmdir ../gone", 0),
    ],
)
async def test_a_spiteful_command_leaves_the_session_in_step(host: DockerEnvironment, command: str, code: int) -> None:
    await ok(host, "kept=1")
    result = await ok(host, command)
    assert result.exit_code == code
    assert (await ok(host, "unset IFS; PS1= PROMPT_COMMAND=; set +u; echo $kept")).stdout == b"1\n"
    assert await usable(host)


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 7", 7), ("exec true", 0), ("kill -9 $$", 137), ("set -e; false", 1), ("exec bash -c 'exit 5'", 5)],
)
async def test_the_end_of_the_shell_is_told_apart(host: DockerEnvironment, command: str, code: int) -> None:
    result = await host.shell(f"echo said; {command}", timeout=20)
    assert (result.status, result.exit_code, result.session_kept, result.stdout) == ("shell_died", code, False, b"said\n")
    assert await usable(host)


async def test_the_end_is_noticed_although_a_job_holds_the_stream(host: DockerEnvironment) -> None:
    result = await host.shell("sleep 300 & exit 3", timeout=20)
    assert (result.status, result.exit_code) == ("shell_died", 3)
    assert b"sleep 300" in (await ok(host, "ps -eo args")).stdout


async def test_the_plumbing_is_not_to_be_seen(host: DockerEnvironment) -> None:
    seen = await ok(
        host, "ls -l /proc/self/fd; history; env; set; declare -f; trap; alias; jobs; cat /proc/$$/cmdline | tr '\\0' ' '"
    )
    text = seen.stdout.decode(errors="replace")
    assert re.search(r"[0-9a-f]{32}", text) is None
    assert "belljar" not in text.lower()
    assert "sandbox" not in text.lower()
    assert [line[-20:] for line in text.splitlines() if re.search(r" \d+ -> ", line)][4:] == []


async def test_markers_of_earlier_calls_and_invented_ones_are_output(host: DockerEnvironment) -> None:
    forged = "deadbeef" * 4 + ":0;"
    result = await ok(host, f"echo '{forged}'; echo '{forged}' >&2; echo after; (exit 9)")
    assert (result.stdout, result.stderr, result.exit_code) == (f"{forged}\nafter\n".encode(), f"{forged}\n".encode(), 9)


async def test_bytes_come_back_as_they_are(host: DockerEnvironment) -> None:
    result = await ok(host, r"printf '\0\1\377\n\r'; printf 'no newline'")
    assert result.stdout == b"\0\1\xff\n\rno newline"
    assert (await ok(host, "head -c 100000 /dev/zero | tr '\\0' '\\377' | wc -c")).stdout == b"100000\n"


async def test_a_hundred_megabytes_are_counted_and_cut(host: DockerEnvironment) -> None:
    result = await ok(host, "head -c 100000000 /dev/zero; echo end", timeout=120)
    assert result.stdout_size == 100_000_004
    assert len(result.stdout) == 100_000
    assert result.stdout.endswith(b"\0end\n")
    assert await usable(host)


async def test_endless_output_is_interrupted(host: DockerEnvironment) -> None:
    result = await host.shell("yes", timeout=300)
    assert result.stdout_size > FLOOD_BYTES
    assert result.session_kept
    assert await usable(host)


async def test_a_command_of_a_megabyte(host: DockerEnvironment) -> None:
    result = await ok(host, "cat <<'END' | wc -c\n" + "x" * 1_000_000 + "\nEND", timeout=60)
    assert result.stdout == b"1000001\n"


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("sleep 600", True),
        ("while :; do :; done", True),
        ("while true; do sleep 0.05; done", True),
        ("cat <(sleep 600) | cat", True),
        ("trap '' INT TERM; sleep 600; trap - INT TERM", True),
        ("python3 -c 'import signal,time; signal.signal(2,signal.SIG_IGN); time.sleep(600)'", True),
        ("bash -c 'kill -STOP $$'", True),
        ("setsid sleep 600 & wait", True),
        ("trap '' INT; while :; do :; done", False),
        ("trap '' INT; while :; do sleep 0.1; done", False),
        ("exec sleep 600", False),
    ],
)
async def test_a_deadline_ends_whatever_runs(host: DockerEnvironment, command: str, kept: bool) -> None:
    await ok(host, "sleep 777 & cd /tmp; kept=1")
    result = await host.shell(f"echo begun; {command}", timeout=0.7)
    assert (result.status, result.session_kept, result.stdout) == ("timeout", kept, b"begun\n")
    assert (await ok(host, "pwd; echo $kept")).stdout == (b"/tmp\n1\n" if kept else b"/home/agent\n\n")
    running = (await ok(host, "ps -eo args --no-headers")).stdout
    assert b"sleep 777" in running, "a job of an earlier call was killed"
    assert b"sleep 600" not in running
    assert b"sleep 0." not in running


async def test_a_stopped_shell_is_woken_or_replaced(host: DockerEnvironment) -> None:
    result = await host.shell("kill -STOP $$", timeout=0.7)
    assert result.status == "timeout"
    assert await usable(host)


async def test_a_fork_bomb_ends(host: DockerEnvironment) -> None:
    result = await host.shell("bomb(){ bomb | bomb & }; bomb; sleep 600", timeout=2)
    assert result.status in ("timeout", "shell_died")
    for _ in range(3):
        if await usable(host):
            break
    assert await usable(host)
    assert int((await ok(host, "ps -e --no-headers | wc -l")).stdout) < 10


async def test_what_a_job_says_between_calls_is_background(host: DockerEnvironment) -> None:
    await ok(host, "(sleep 0.2; echo late) &")
    await asyncio.sleep(0.8)
    result = await ok(host, "echo now")
    assert (result.background, result.stdout) == (b"late\n", b"now\n")


async def test_a_job_that_floods_between_calls_does_not_stop_the_next(host: DockerEnvironment) -> None:
    await ok(host, "yes & flood=$!")
    await asyncio.sleep(0.5)
    assert (await ok(host, "kill $flood; echo stopped")).exit_code == 0
    assert await usable(host)


async def test_a_session_that_lost_its_protocol_is_replaced(host: DockerEnvironment) -> None:
    result = await host.shell("readonly MAILCHECK", timeout=60)
    assert (result.status, result.session_kept) == ("shell_died", False)
    assert await usable(host)


async def test_killing_everything_leaves_the_host(host: DockerEnvironment) -> None:
    for command in ("kill -9 -1", "kill -9 1", "python3 -c 'import os; os.kill(-1, 9)'"):
        await host.shell(command, timeout=20)
    assert await usable(host)


async def test_memory_run_out_is_the_commands_trouble(host: DockerEnvironment) -> None:
    result = await host.shell("python3 -c 'x = bytearray(10**9)'; echo $?", timeout=60)
    assert result.status == "ok"
    assert b"137" in result.stdout or b"Killed" in result.stderr
    assert await usable(host)


async def test_a_container_that_is_gone_is_an_error_and_not_an_answer(host: DockerEnvironment) -> None:
    init = host.pids["agent"]
    os.kill(init, signal.SIGKILL)
    await asyncio.to_thread(wait_for_end, init)
    with pytest.raises(EnvironmentDied):
        await host.shell("echo hello", timeout=20)
    with pytest.raises(EnvironmentDied):
        await host.run(["true"], timeout=20)
