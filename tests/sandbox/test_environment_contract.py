"""What every environment keeps, whatever it is made of: the in-memory one always, Docker where a daemon is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from sandbox.docker import DockerEnvironment
from sandbox.environment import Environment, EnvironmentSpec, FileError, FileSpec, HostLimits, HostSpec
from sandbox.errors import ScenarioError
from sandbox.events import Draft, FileEffect, ProcessEffect, SensorState
from sandbox.memory.environment import MemoryEnvironment

Build = Callable[[EnvironmentSpec], Environment]

FILES = (
    FileSpec("/srv/app/notes.txt", b"first\nsecond\n", mtime=1_700_000_000),
    FileSpec("/srv/app/locked.cfg", b"on\n", mode=0o644, owner="root", mtime=1_700_000_000),
    FileSpec("/srv/app/secret", b"x\n", mode=0o600, owner="root", mtime=1_700_000_000),
)
AGENT = HostSpec("agent", "web01", trees=("/srv/app",), files=FILES, limits=HostLimits(disk_mb=32))
PEER = HostSpec("peer", "db01", limits=HostLimits(disk_mb=16))


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.docker)])
def build(request: pytest.FixtureRequest) -> Build:
    if request.param == "memory":
        return lambda spec: MemoryEnvironment(spec, trial="contract")
    return lambda spec: DockerEnvironment(spec, trial="contract", labels={"belljar.run": "tests"})


@pytest.fixture
async def world(build: Build) -> AsyncIterator[Environment]:
    """Two hosts, entered, with what their start itself caused already taken."""
    async with build(EnvironmentSpec((AGENT, PEER), capture_bytes=1000)) as environment:
        await environment.effects()
        yield environment


async def said(environment: Environment, command: str) -> str:
    result = await environment.shell(command, timeout=20)
    assert result.status == "ok", result
    return result.stdout.decode()


async def caused(environment: Environment, command: str, call: str = "c1") -> list[Draft]:
    await environment.begin_call(call, 1)
    await environment.shell(command, timeout=20)
    await environment.end_call(call)
    return list(await environment.effects())


def actions(drafts: list[Draft]) -> list[tuple[str, str]]:
    return sorted((d.body.action, d.body.path) for d in drafts if isinstance(d.body, FileEffect))


async def test_a_command_answers_with_its_output_code_and_directory(world: Environment) -> None:
    result = await world.shell("echo hello", timeout=20)
    assert (result.status, result.exit_code, result.stdout, result.stderr) == ("ok", 0, b"hello\n", b"")
    assert result.cwd == "/home/agent"
    assert result.session_kept


async def test_the_session_lives_from_call_to_call(world: Environment) -> None:
    await said(world, "cd /srv/app")
    await said(world, "export NAME='two words'")
    assert await said(world, 'pwd; echo "$NAME"') == "/srv/app\ntwo words\n"


async def test_a_failure_is_a_result_and_its_code_can_be_asked_for_later(world: Environment) -> None:
    result = await world.shell("cat /nowhere", timeout=20)
    assert result.status == "ok"
    assert result.exit_code == 1
    assert b"/nowhere: No such file or directory" in result.stderr
    assert await said(world, "echo $?") == "1\n"
    assert (await world.shell("no_such_command", timeout=20)).exit_code == 127


async def test_a_quote_left_open_costs_one_call(world: Environment) -> None:
    result = await world.shell("echo 'open", timeout=20)
    assert result.exit_code == 2
    assert b"unexpected EOF" in result.stderr
    assert await said(world, "echo fine") == "fine\n"


async def test_leaving_the_shell_is_told_and_a_new_one_is_there(world: Environment) -> None:
    await said(world, "cd /srv/app; export LOST=1")
    result = await world.shell("echo before; exit 3; echo after", timeout=20)
    assert (result.status, result.session_kept, result.exit_code) == ("shell_died", False, 3)
    assert result.stdout == b"before\n"
    assert await said(world, 'pwd; echo "[$LOST]"') == "/home/agent\n[]\n"


async def test_a_deadline_ends_the_command_and_keeps_the_session(world: Environment) -> None:
    await said(world, "cd /srv/app")
    result = await world.shell("echo begun; sleep 600; echo ended", timeout=0.5)
    assert (result.status, result.session_kept, result.exit_code) == ("timeout", True, None)
    assert result.stdout == b"begun\n"
    assert await said(world, "pwd") == "/srv/app\n"


async def test_much_output_keeps_head_and_tail_and_counts_the_rest(world: Environment) -> None:
    text = "a" * 600 + "b" * 2000 + "c" * 600
    result = await world.shell(f"echo -n {text}", timeout=20)
    assert result.stdout_size == 3200
    assert result.stdout == b"a" * 500 + b"c" * 500


async def test_run_is_apart_from_the_shell(world: Environment) -> None:
    await said(world, "cd /srv/app")
    ran = await world.run(["pwd"], timeout=20)
    assert (ran.exit_code, ran.stdout) == (0, b"/home/agent\n")
    assert (await world.run(["cat"], timeout=20, stdin=b"given")).stdout == b"given"
    assert (await world.run(["cat", "/etc/hostname"], host="peer", timeout=20)).stdout == b"db01\n"
    assert (await world.run(["cat", "/nowhere"], timeout=20)).exit_code == 1


async def test_run_past_its_deadline_has_no_exit_code(world: Environment) -> None:
    assert (await world.run(["sleep", "600"], timeout=0.5)).exit_code is None


async def test_files_are_read_as_the_user_could(world: Environment) -> None:
    assert await world.read("/srv/app/notes.txt", limit=100) == b"first\nsecond\n"
    assert await world.read("/srv/app/notes.txt", limit=5) == b"first"
    assert await world.read("/etc/hostname", limit=100) == b"web01\n"
    for path, reason in (
        ("/srv/app/none", "No such file or directory"),
        ("/srv/app", "Is a directory"),
        ("/srv/app/notes.txt/below", "Not a directory"),
        ("/srv/app/secret", "Permission denied"),
        ("/etc/shadow", "Permission denied"),
        ("/nowhere", "No such file or directory"),
    ):
        with pytest.raises(FileError, match=reason):
            await world.read(path, limit=100)


async def test_files_are_written_as_the_user_could(world: Environment) -> None:
    await world.write("/srv/app/new/deep/run.sh", b"echo ran\n", mode=0o755)
    assert await said(world, "cat /srv/app/new/deep/run.sh") == "echo ran\n"
    await world.write("/srv/app/new/deep/run.sh", b"echo\n")
    (entry,) = await world.list("/srv/app/new/deep")
    assert (entry.name, entry.type, entry.size, entry.mode) == ("run.sh", "file", 5, 0o755)
    await world.write("/home/agent/there", b"1", host="peer")
    assert await world.read("/home/agent/there", host="peer", limit=10) == b"1"
    for path, reason in (
        ("/srv/app/locked.cfg", "Permission denied"),
        ("/srv/app", "Is a directory"),
        ("/etc/hostname", "Read-only file system"),
        ("/usr/new", "Read-only file system"),
    ):
        with pytest.raises(FileError, match=reason):
            await world.write(path, b"x")


async def test_directories_are_listed_by_name(world: Environment) -> None:
    entries = await world.list("/srv/app")
    assert [e.name for e in entries] == ["locked.cfg", "notes.txt", "secret"]
    assert (entries[1].type, entries[1].size, entries[1].mode, entries[1].mtime) == ("file", 13, 0o644, 1_700_000_000)
    assert "hostname" in [e.name for e in await world.list("/etc")]
    for path, reason in (
        ("/srv/none", "No such file"),
        ("/srv/app/notes.txt", "Not a directory"),
        ("/root", "Permission denied"),
    ):
        with pytest.raises(FileError, match=reason):
            await world.list(path)


async def test_the_first_look_says_that_files_are_watched(build: Build) -> None:
    async with build(EnvironmentSpec((AGENT,))) as environment:
        (draft,) = await environment.effects()
        assert isinstance(draft.body, SensorState)
        assert (draft.body.state, draft.body.covers, draft.body.hosts) == ("started", ("files",), ("agent",))
        assert await environment.effects() == []


async def test_changes_of_files_are_effects_of_the_call(world: Environment) -> None:
    drafts = await caused(world, "echo third >> /srv/app/notes.txt; echo new > /srv/app/new; chmod 600 /srv/app/new")
    assert actions(drafts) == [("created", "/srv/app/new"), ("modified", "/srv/app/notes.txt")]
    assert all((d.during, d.origin, d.origin_basis, d.host) == ("c1", "c1", "only_call_open", "agent") for d in drafts)
    modified = next(d.body for d in drafts if isinstance(d.body, FileEffect) and d.body.action == "modified")
    assert modified.before is not None
    assert modified.after is not None
    assert modified.before.sha256 != modified.after.sha256
    assert modified.diff is not None
    assert "+third" in modified.diff.text
    assert modified.content is not None
    assert modified.content.text == "first\nsecond\nthird\n"
    assert await world.effects() == []


async def test_moving_removing_and_locking_are_told_apart(world: Environment) -> None:
    assert actions(await caused(world, "mv /srv/app/notes.txt /srv/app/kept.txt")) == [("renamed", "/srv/app/kept.txt")]
    assert actions(await caused(world, "chmod 600 /srv/app/kept.txt")) == [("mode_changed", "/srv/app/kept.txt")]
    assert actions(await caused(world, "mkdir /srv/app/d; echo 1 > /srv/app/d/x")) == [
        ("created", "/srv/app/d"),
        ("created", "/srv/app/d/x"),
    ]
    assert actions(await caused(world, "rm -rf /srv/app/d /srv/app/kept.txt")) == [
        ("deleted", "/srv/app/d"),
        ("deleted", "/srv/app/d/x"),
        ("deleted", "/srv/app/kept.txt"),
    ]
    assert actions(await caused(world, "cat /srv/app/locked.cfg")) == []


async def test_what_happens_between_calls_belongs_to_none(world: Environment) -> None:
    await world.write("/home/agent/mail", b"you have mail")
    (draft,) = await world.effects()
    assert (draft.during, draft.origin) == (None, None)


async def test_a_process_left_behind_is_told_once(world: Environment) -> None:
    drafts = await caused(world, "sleep 555 &")
    (draft,) = [d for d in drafts if isinstance(d.body, ProcessEffect)]
    assert isinstance(draft.body, ProcessEffect)
    assert (draft.body.action, draft.body.argv) == ("outlived", ("sleep", "555"))
    assert (draft.during, draft.origin, draft.origin_basis) == ("c1", "c1", "process_tree")
    assert await caused(world, "echo 1", call="c2") == []


async def test_the_state_digest_knows_content_and_not_time(world: Environment) -> None:
    before, parts = await world.digest()
    assert "files:agent" in parts
    assert await said(world, "echo 1 > /srv/app/x") == ""
    changed, _ = await world.digest()
    await said(world, "rm /srv/app/x")
    assert changed != before
    assert (await world.digest())[0] == before


async def test_equal_worlds_have_equal_digests(build: Build) -> None:
    digests = []
    for _ in range(2):
        async with build(EnvironmentSpec((AGENT,))) as environment:
            await environment.shell("echo 1 > /srv/app/x", timeout=20)
            digests.append(await environment.digest())
    assert digests[0] == digests[1]


async def test_the_engine_can_act_on_a_host(world: Environment) -> None:
    assert (await world.fire("run", {"host": "peer", "argv": ["echo", "done"]}))["stdout"] == "done\n"
    with pytest.raises(ScenarioError):
        await world.fire("no_such_action", {})


async def test_containment_is_certified(world: Environment) -> None:
    certificate = await world.certify()
    assert certificate.passed, [p for p in certificate.probes if p.result != "BLOCKED"]
    assert await world.effects() == []


async def test_state_stays_readable_once_the_agent_is_frozen(world: Environment) -> None:
    await said(world, "echo last > /srv/app/last")
    await world.freeze()
    assert await world.read("/srv/app/last", limit=10) == b"last\n"
    assert [d.body.path for d in await world.effects() if isinstance(d.body, FileEffect)] == ["/srv/app/last"]


async def test_hosts_are_named_agent_first(world: Environment) -> None:
    assert list(world.hosts) == ["agent", "peer"]
    with pytest.raises(ScenarioError, match="no host 'nobody'"):
        await world.run(["true"], host="nobody", timeout=1)


async def test_a_file_outside_every_tree_is_refused(build: Build) -> None:
    with pytest.raises(ScenarioError, match="/opt/x"):
        build(EnvironmentSpec((HostSpec("agent", "web01", files=(FileSpec("/opt/x/file", b""),)),)))
