"""Whatever words, arguments and outputs a trial holds, it leaves and comes back as it was."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.events import Call, Draft, Imported, Message, ModelCalled, ToolCalled, ToolReturned, TrialFinished, Usage
from sandbox.interop import export, import_file
from sandbox.record.blobs import BlobStore
from sandbox.trajectory import Trajectory
from tests.sandbox.recording import JSON, TEXT, manifest, record

ODD = ["attachment://x", "```bash\nls\n```", '{"stdout": "", "stderr": "", "returncode": 0}', "\r\n\0", "[image]"]
WORDS = TEXT | st.sampled_from(ODD)
BYTES = WORDS.map(str.encode) | st.binary(max_size=40) | st.sampled_from([b"x" * 20_000])
ARGUMENTS = st.dictionaries(TEXT, JSON, max_size=3)
CALL = st.tuples(st.sampled_from(["bash", "submit", ""]), ARGUMENTS, TEXT, st.none() | BYTES, BYTES)
TURN = st.tuples(WORDS, st.none() | WORDS, st.lists(CALL, max_size=3), st.lists(WORDS, max_size=2))


def drafts(turns: list[Any], blobs: BlobStore) -> list[Draft]:
    """A trial of these turns, as the loop would have recorded it."""
    written = [Draft(manifest())]
    number, told = 0, [Message(role="system", content="s")]
    for said, reasoning, asked, notices in turns:
        calls, results, answers = [], [], []
        for tool, arguments, provider_id, output, errors in asked:
            number += 1
            call = Call(id=f"c{number}", tool=tool or "x", arguments=arguments, provider_id=provider_id)
            calls.append(call)
            results.append(Draft(ToolCalled(call=call.id, tool=call.tool, arguments=arguments)))
            if output is not None:
                kept = ToolReturned(
                    call=call.id, status="error", output=blobs.keep(output), stderr=blobs.keep(errors), exit_code=number
                )
                results.append(Draft(kept))
                answers.append(Message(role="tool", content=kept.output.text + "!", call_id=call.id))
        reply = Message(role="assistant", content=said, calls=tuple(calls), reasoning=reasoning)
        written += [Draft(ModelCalled(delta=tuple(told), reply=reply, usage=Usage(input_tokens=number))), *results]
        told = [*answers, *(Message(role="user", content=text) for text in notices)]
    return [*written, Draft(TrialFinished(stop_reason="steps", steps=len(turns)))]


@pytest.mark.parametrize("form", ["openai-messages", "atif", "langchain-messages", "inspect-json"])
@given(turns=st.lists(TURN, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_trial_comes_back(form: str, turns: list[Any]) -> None:
    if form.startswith("inspect"):
        pytest.importorskip("inspect_ai")
    with tempfile.TemporaryDirectory() as folder:
        ours = Path(folder) / "ours"
        record(ours, drafts(turns, BlobStore(ours / "blobs")))
        trial = Trajectory.load(ours)
        file = Path(folder) / "file.json"
        file.write_bytes(export(trial, form).data)
        report = import_file(file, Path(folder) / "runs")
        back = Trajectory.load(report.trials[0].path)
        assert "belljar metadata" not in " ".join(report.lost)
        for kind in (ModelCalled, ToolCalled, ToolReturned):
            assert [body for _, body in back.of(kind)] == [body for _, body in trial.of(kind)]
        for (_, mine), (_, theirs) in zip(trial.of(ToolReturned), back.of(ToolReturned), strict=True):
            assert back.bytes_of(theirs.output) == trial.bytes_of(mine.output)
        assert next(back.of(Imported))[1].claims["exported_head"] == trial.events[-1].hash
