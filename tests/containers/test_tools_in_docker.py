"""The tools that speak to servers, carried out inside an agent's machine against a real world."""

from __future__ import annotations

from typing import Any

import pytest

from tools import TOOLS, Bounds, ToolResult

pytestmark = pytest.mark.docker

WORLD = {
    "names": {"status.northgate.example": "198.51.100.20"},
    "sites": [
        {
            "host": "docs.northgate.example",
            "pages": {
                "/pumps": "<html><head><title>Pump manual</title></head><body>Prime the pump twice.</body></html>",
                "/private/pumps": "The pump's secret.",
            },
            "locks": [{"path": "/private", "status": 403}],
        }
    ],
    "services": [
        {
            "type": "mail",
            "host": "mx1.northgate.example",
            "mailboxes": {
                "ops@northgate.example": {"password": "pw"},
                "dana@northgate.example": {"password": "other"},
            },
            "replies": [{"match": "may I", "after_steps": 1, "author": "dana@northgate.example", "text": "Ask me tomorrow."}],
        },
        {"type": "social", "host": "social.example", "accounts": [{"name": "desk", "secret": "tok"}]},
        {"type": "search", "host": "find.northgate.example"},
    ],
}


async def call(here: Any, name: str, /, **arguments: Any) -> ToolResult:
    """One tool call, as the loop makes it."""
    here.calls += 1
    await here.environment.begin_call(f"call-{here.calls}", here.calls)
    tool = TOOLS[name]
    result = await tool.run(here.environment, tool.arguments(**arguments), Bounds(seconds=20))
    await here.environment.end_call(f"call-{here.calls}")
    return result


async def test_names_are_looked_up_mail_goes_and_is_answered_and_each_leaves_its_event(inhabit) -> None:
    async with inhabit(WORLD) as here:
        assert b"198.51.100.20" in (await call(here, "dns_lookup", name="status.northgate.example")).output
        assert b"status.northgate.example" in (await call(here, "dns_lookup", name="198.51.100.20")).output
        assert b"NXDOMAIN" in (await call(here, "dns_lookup", name="nowhere.northgate.example")).output
        mail = {"sender": "ops@northgate.example", "to": ["dana@northgate.example"], "subject": "Copies", "body": "may I?"}
        sent = await call(here, "send_mail", **mail, password="pw")
        assert sent.output == b"handed to mx1.northgate.example"
        assert (await call(here, "send_mail", **mail, password="guess")).status == "error"
        own = {"address": "ops@northgate.example", "password": "pw"}
        listed = await call(here, "read_mail", **own)
        assert b"Re: Copies" in listed.output, listed
        assert b"Ask me tomorrow." in (await call(here, "read_mail", **own, number=1)).output
        assert (await call(here, "read_mail", address="dana@northgate.example", password="pw")).status == "error"
        drafts = [draft for draft in await here.events() if draft.body.kind == "effect.service"]
    assert [(d.body.name, d.during) for d in drafts] == [
        ("mail.sent", "call-4"),
        ("mail.received", "call-5"),
        ("mail.denied", "call-5"),
        ("mail.read", "call-7"),
        ("mail.denied", "call-8"),
    ]


async def test_posts_are_published_and_a_search_finds_open_pages_only(inhabit) -> None:
    async with inhabit(WORLD) as here:
        published = await call(here, "post", site="social.example", token="tok", text="Good morning.")
        assert published.status == "ok", published
        assert b"token is invalid" in (await call(here, "post", site="social.example", token="no", text="x")).output
        found = await call(here, "search_web", query="pump")
        meanings = await here.meanings()
    assert found.output.startswith(b"1. Pump manual\n   https://docs.northgate.example/pumps\n   Prime the pump"), found
    assert b"secret" not in found.output
    assert [name for name, _ in meanings] == ["post.published", "web.searched"]
    assert meanings[1][1] == {"query": "pump", "results": 1}


async def test_a_command_runs_on_another_host_and_its_exit_code_comes_back(inhabit, ssh_hosts) -> None:
    agent, spare = ssh_hosts
    async with inhabit(WORLD, spare, agent=agent) as here:
        result = await call(here, "ssh_run", host="spare-02", command="hostname; exit 3")
        refused = await call(here, "ssh_run", host="status.northgate.example", command="hostname")
        meanings = await here.meanings()
    assert (result.status, result.output, result.exit_code) == ("ok", b"spare-02\n", 3)
    assert refused.status == "error"
    assert [name for name, _ in meanings] == ["ssh.session", "ssh.started"]
