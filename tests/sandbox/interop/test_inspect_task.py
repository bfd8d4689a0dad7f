"""A scenario as Inspect sees it: a task by name, its model driving our trial, our verdict in its log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.events import ModelCalled, Submitted, ToolReturned
from sandbox.memory.environment import MemoryEnvironment
from sandbox.record.layout import RunLayout
from sandbox.trajectory import Trajectory, trajectories
from sandbox.trial import Machine

pytest.importorskip("inspect_ai")
SCENARIO = "sabotage/shutdown_script"
# Inspect itself uses what its libraries deprecate, and leaves its streams to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def model() -> Any:
    """Looks around, reports, and answers what it is asked with nothing."""
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    def out(tool: str, arguments: dict[str, Any]) -> ModelOutput:
        output = ModelOutput.for_tool_call("mockllm/model", tool, arguments, content="So.")
        output.usage = ModelUsage(input_tokens=7, output_tokens=2, total_tokens=9)
        return output

    def more() -> Any:
        yield out("bash", {"command": "pwd"})
        yield out("submit", {"status": "completed", "report": "Nothing to do."})
        while True:
            last = ModelOutput.from_content("mockllm/model", '{"answer": "no", "text": ""}')
            last.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
            yield last

    return get_model("mockllm/model", custom_outputs=more())


def check(trial: Trajectory) -> None:
    assert [event.body for event in trial.events if event.kind == "error"] == []
    turns = [body for _, body in trial.of(ModelCalled) if body.purpose == "turn"]
    assert [[call.tool for call in turn.reply.calls] for turn in turns] == [["bash"], ["submit"]]
    assert turns[0].usage.input_tokens == 7
    assert turns[0].finish_reason == "tool_calls"
    assert [body.status for _, body in trial.of(ToolReturned)] == ["ok", "ok"]
    assert [body.report for _, body in trial.of(Submitted)] == ["Nothing to do."]
    assert trial.manifest.model == "inspect:mockllm/model"


async def test_a_model_of_inspect_drives_a_trial_of_ours(tmp_path: Path) -> None:
    from sandbox.cli.inspect_task import Sample, run_sample
    from sandbox.library.loading import find, headline, load

    arm = headline(load(find([SCENARIO])[0]))
    machine = Machine(images={}, versions={}, runtime="memory")
    run = RunLayout(tmp_path / "run-1")
    check(await run_sample(SCENARIO, Sample("s0", arm, 0), model(), run, build=MemoryEnvironment, machine=machine))


def test_every_scenario_is_a_task_under_the_name_that_users_know() -> None:
    from inspect_ai._util.registry import registry_lookup

    from sandbox.cli.inspect_task import TASKS
    from sandbox.library.loading import names

    assert set(TASKS) == set(names())
    assert all(registry_lookup("task", f"belljar/{name}") for name in names())


@pytest.mark.docker
def test_inspect_evaluates_a_scenario_in_docker_and_its_log_holds_the_verdict(tmp_path: Path) -> None:
    from inspect_ai import eval as inspect_eval

    from sandbox.cli.inspect_task import TASKS

    task = TASKS[SCENARIO](out=str(tmp_path / "runs"))
    (log,) = inspect_eval(task, model=model(), log_dir=str(tmp_path / "logs"), display="none")
    assert log.status == "success", log.error
    (sample,) = log.samples
    (trial,) = trajectories(tmp_path / "runs")
    check(trial)
    assert [m.role for m in sample.messages][:3] == ["system", "user", "assistant"]
    verdict = sample.scores["belljar"]
    assert verdict.value == sample.metadata["belljar"]["verdicts"]["outcome"]
    assert set(verdict.metadata["attempted"]) == {"self-replication", "sabotage", "disinformation", "copyright"}


@pytest.mark.docker
@pytest.mark.full
def test_inspect_evaluates_a_scenario_by_its_name_from_a_shell(tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    command = [str(Path(sys.executable).with_name("inspect")), "eval", f"belljar/{SCENARIO}", "--model", "mockllm/model"]
    options = ["--display", "none", "--log-dir", str(tmp_path / "logs"), "-T", f"out={tmp_path / 'runs'}"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "logs").glob("*.eval")
    log = read_eval_log(str(path))
    assert (log.status, log.eval.task) == ("success", SCENARIO)
    (trial,) = trajectories(tmp_path / "runs")
    assert trial.manifest.model == "inspect:mockllm/model"
    assert trial.finished is not None
    # Inspect's mock counts tokens by a table that it fetches: without a network it fails, and both records have to say so
    assert trial.finished.stop_reason in ("inert", "provider")
    (sample,) = log.samples or ()
    assert sample.metadata["belljar"]["stop_reason"] == trial.finished.stop_reason
    assert (sample.scores or {})["belljar"].value == sample.metadata["belljar"]["verdicts"]["outcome"]
