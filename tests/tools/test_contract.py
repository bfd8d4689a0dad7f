"""What holds of every tool, and which command line each tool that speaks to servers makes of its arguments."""

from __future__ import annotations

import email
import json
import re
from collections.abc import Mapping, Sequence
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sandbox.environment import EnvironmentSpec, HostSpec, RunResult
from sandbox.errors import EnvironmentDied
from sandbox.memory.environment import MemoryEnvironment
from tools import TOOLS, Bounds, ToolResult
from tools.curl import config

GOOD: Mapping[str, Mapping[str, Any]] = {
    "bash": {"command": "true"},
    "read_file": {"path": "/home/agent/a"},
    "write_file": {"path": "/home/agent/a", "content": "x"},
    "list_files": {"path": "/home/agent"},
    "http_request": {"url": "https://status.example/"},
    "dns_lookup": {"name": "status.example", "type": "MX"},
    "ssh_run": {"host": "spare-02", "command": "uptime"},
    "send_mail": {"sender": "ops@site.example", "to": ["dana@site.example"], "subject": "Hello", "body": "There."},
    "read_mail": {"address": "ops@site.example", "password": "pw"},
    "post": {"site": "social.example", "token": "tok", "text": "Good morning."},
    "search_web": {"query": "pump manual"},
    "submit": {"status": "completed", "report": "done"},
}
WORLDLY = ("http_request", "dns_lookup", "ssh_run", "send_mail", "read_mail", "post", "search_web")


class Machine(MemoryEnvironment):
    """A host on which every program answers as told, and which remembers what was run."""

    def __init__(self, code: int | None = 0, out: bytes = b"", err: bytes = b"") -> None:
        super().__init__(EnvironmentSpec(hosts=(HostSpec("agent", "web-03"),)))
        self.ran: list[tuple[list[str], bytes]] = []
        self._answer = RunResult(code, out, err, 1)

    async def run(
        self, argv: Sequence[str], *, host: str = "", timeout: float, stdin: bytes = b"", user: str | None = None
    ) -> RunResult:
        self._alive()
        self.ran.append((list(argv), stdin))
        return self._answer


async def use(machine: Machine, name: str, /, **arguments: Any) -> ToolResult:
    tool = TOOLS[name]
    return await tool.run(machine, tool.arguments(**{**GOOD[name], **arguments}), Bounds(seconds=7))


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_says_what_it_takes_and_refuses_what_it_does_not_know(name: str) -> None:
    tool = TOOLS[name]
    schema = tool.schema()
    assert re.fullmatch(r"[a-z_]+", tool.name)
    assert tool.description.endswith(".")
    assert set(GOOD[name]) <= set(schema["properties"])
    assert schema["additionalProperties"] is False
    tool.arguments(**GOOD[name])
    with pytest.raises(ValidationError):
        tool.arguments(**GOOD[name], misspelt=1)


@pytest.mark.parametrize("name", set(TOOLS) - {"submit"})
async def test_a_lost_machine_is_never_shown_as_output(name: str) -> None:
    async with Machine() as machine:
        machine.die()
        with pytest.raises(EnvironmentDied):
            await use(machine, name)


@pytest.mark.parametrize("name", WORLDLY)
async def test_a_program_that_fails_or_hangs_is_told_as_such(name: str) -> None:
    async with Machine(255, b"", b"no route") as machine:
        result = await use(machine, name)
    assert (result.status, result.exit_code) == ("error", 255)
    assert b"no route" in result.output + (result.stderr or b"")
    async with Machine(None) as machine:
        result = await use(machine, name)
    assert (result.status, result.exit_code) == ("timeout", None)
    assert "7 seconds" in result.note


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("dns_lookup", {"name": "-f/etc/passwd"}),
        ("dns_lookup", {"server": "+trace"}),
        ("ssh_run", {"host": "-oProxyCommand=sh"}),
        ("ssh_run", {"user": "-v"}),
        ("send_mail", {"subject": "a\nBcc: other@site.example"}),
        ("send_mail", {"to": ["--data@x y"]}),
        ("send_mail", {"to": []}),
        ("read_mail", {"number": 0}),
        ("post", {"token": "a\r\nX-Other: 1"}),
        ("post", {"site": "social.example/../x"}),
        ("search_web", {"engine": "file:///etc"}),
    ],
)
def test_arguments_that_a_program_would_take_for_something_else_are_refused(name: str, wrong: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TOOLS[name].arguments(**{**GOOD[name], **wrong})


async def test_names_and_addresses_are_asked_for_in_the_ways_that_dig_knows() -> None:
    async with Machine() as machine:
        await use(machine, "dns_lookup", server="8.8.8.8")
        await use(machine, "dns_lookup", name="198.51.100.7")
    (by_name, _), (by_address, _) = machine.ran
    assert by_name[:2] == ["dig", "@8.8.8.8"]
    assert by_name[-4:] == ["-q", "status.example", "-t", "MX"]
    assert by_address[-2:] == ["-x", "198.51.100.7"]


async def test_a_command_elsewhere_keeps_its_own_exit_code() -> None:
    async with Machine(3, b"out", b"err") as machine:
        result = await use(machine, "ssh_run", user="dana", port=2222)
    ((argv, _),) = machine.ran
    assert argv[-7:] == ["-p", "2222", "-l", "dana", "--", "spare-02", "uptime"]
    assert (result.status, result.output, result.stderr, result.exit_code) == ("ok", b"out", b"err", 3)


async def test_mail_goes_to_the_exchanger_of_the_senders_domain_and_with_a_password_to_its_submission_port() -> None:
    async with Machine(0, b"20 mx2.site.example.\n10 mx1.site.example.\n") as machine:
        result = await use(machine, "send_mail", body="Ünd .\n.\nEnd", password="pw")
        await use(machine, "send_mail", server="relay.example")
    assert result.output == b"handed to mx1.site.example"
    (asked, _), (sent, message), (plain, _) = machine.ran
    assert asked[-4:] == ["-q", "site.example", "-t", "MX"]
    assert sent[-1] == "smtp://mx1.site.example:587"
    assert sent[sent.index("--user") + 1] == "ops@site.example:pw"
    assert plain[-1] == "smtp://relay.example:25"
    assert "--user" not in plain
    read = email.message_from_bytes(message, policy=SMTP)
    assert (read["From"], read["To"], read["Subject"]) == ("ops@site.example", "dana@site.example", "Hello")
    assert read.get_content().splitlines() == ["Ünd .", ".", "End"]


async def test_a_domain_without_an_exchanger_is_asked_for_its_mail_host() -> None:
    async with Machine(0, b"") as machine:
        await use(machine, "read_mail", number=3)
    argv, stdin = machine.ran[1]
    assert argv[-1] == "https://mail.site.example/api/mailboxes/ops%40site.example/messages/3"
    assert stdin == b'user = "ops@site.example:pw"\n'


async def test_a_post_carries_its_text_on_standard_input() -> None:
    async with Machine(0, b"{}") as machine:
        await use(machine, "post", reply_to="7")
    ((argv, stdin),) = machine.ran
    assert argv[-1] == "https://social.example/api/v1/statuses"
    assert json.loads(stdin) == {"status": "Good morning.", "in_reply_to_id": "7"}


async def test_results_of_a_search_are_shown_as_a_person_reads_them_and_other_answers_as_they_are() -> None:
    found = {"results": [{"title": "Pump", "url": "https://pump.example/", "content": "A manual."}]}
    async with Machine(0, json.dumps(found).encode()) as machine:
        assert (await use(machine, "search_web")).output == b"1. Pump\n   https://pump.example/\n   A manual."
    async with Machine(0, b'{"results": []}') as machine:
        assert (await use(machine, "search_web")).output == b"No results."
    async with Machine(0, b"<html>") as machine:
        assert (await use(machine, "search_web")).output == b"<html>"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_value_on_curls_standard_input_is_one_line_and_stays_one_value(value: str) -> None:
    line = config(user=value).decode()
    inside = line.removeprefix('user = "').removesuffix('"\n')
    assert "\n" not in inside
    assert not re.search(r'(?<!\\)(\\\\)*"', inside)
