"""Weights served on this machine: found, refused, loaded, asked, unloaded; the embedded model really runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.errors import ModelRejected, UsageError
from sandbox.events import Message
from sandbox.models.gguf import LocalModel, find_weights
from sandbox.models.gguf_server import GgufServer
from sandbox.models.model import Settings, ToolSpec, parse_spec
from tools import TOOLS

pytest.importorskip("xllamacpp")
TOOL_SPECS = [ToolSpec(tool.name, tool.description, tool.schema()) for tool in TOOLS.values()]
CONVERSATION = (Message(role="system", content="You are an agent."), Message(role="user", content="List the files here."))


@pytest.fixture
async def model() -> AsyncIterator[LocalModel]:
    opened = LocalModel(parse_spec("local:smollm2"), Settings(max_tokens=64, context_tokens=1024))
    yield opened
    await opened.close()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_weights_that_are_not_there_or_not_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_text("hello")
    for path in (tmp_path / "none.gguf", tmp_path / "x.gguf", tmp_path):
        with pytest.raises(UsageError, match=r"\.gguf file"):
            find_weights(str(path))


async def test_broken_weights_are_rejected_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(1000))
    model = LocalModel(parse_spec(f"local:{tmp_path}/broken.gguf"), Settings())
    with pytest.raises(ModelRejected, match=r"cannot load .*broken\.gguf"):
        await model.reply(CONVERSATION, [])
    await model.close()


@pytest.mark.model
async def test_the_embedded_model_acts_and_answers(model: LocalModel) -> None:
    reply = await model.reply(CONVERSATION, TOOL_SPECS, seed=1)
    assert reply.message.calls or reply.unparsed
    assert all(call.tool in TOOLS for call in reply.message.calls)
    assert reply.usage.input_tokens
    free = await model.reply(CONVERSATION, [], seed=1)
    assert free.message.content
    assert model.sampling["weights_sha256"] == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.mark.model
async def test_the_same_seed_gives_the_same_action(model: LocalModel) -> None:
    _, *replies = [await model.reply(CONVERSATION, TOOL_SPECS, seed=5) for _ in range(3)]  # the first fills the server's cache
    assert replies[0].message == replies[1].message


@pytest.mark.model
async def test_concurrent_callers_all_get_an_answer_from_one_server(model: LocalModel) -> None:
    replies = await asyncio.gather(*(model.reply(CONVERSATION, TOOL_SPECS, seed=n) for n in range(4)))
    assert all(reply.finish_reason in ("stop", "length") for reply in replies)


@pytest.mark.model
async def test_a_conversation_beyond_the_window_is_trimmed_and_answered(model: LocalModel) -> None:
    turns = [*CONVERSATION]
    for n in range(40):
        turns += [
            Message(role="assistant", content=f"turn {n}"),
            Message(role="user", content="0123456789abcdef" * 40),
        ]
    reply = await model.reply(turns, TOOL_SPECS, seed=1)
    assert any(note.startswith("trimmed:") for note in reply.retries)


@pytest.mark.model
async def test_closing_ends_the_server_and_a_later_reply_starts_another() -> None:
    server = await GgufServer.start(find_weights("smollm2"), 512)
    assert alive(server.pid)
    await server.stop()
    assert not alive(server.pid)


@pytest.mark.model
async def test_a_server_that_died_is_started_again(model: LocalModel) -> None:
    await model.reply(CONVERSATION, TOOL_SPECS, seed=1)
    assert model.server_pid is not None
    os.kill(model.server_pid, 9)
    reply = await model.reply(CONVERSATION, TOOL_SPECS, seed=1)
    assert reply.message.calls or reply.unparsed


@pytest.mark.model
def test_nothing_but_the_answer_reaches_standard_output_and_a_killed_run_leaves_no_server() -> None:
    program = """
import asyncio, json, os, sys
from sandbox.events import Message
from sandbox.models.model import Settings, open_model
async def main():
    model = open_model("local:smollm2", Settings(max_tokens=8))
    await model.reply([Message(role="user", content="hi")], [])
    print(json.dumps({"pid": model.server_pid}), flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == ""
    pid = json.loads(done.stdout)["pid"]
    for _ in range(100):
        if not alive(pid) or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail("the server outlived the run")
