"""A second execution is graded by its effects: undisturbed it reproduces, changed in anything it diverges at that step."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.environment import Environment
from sandbox.errors import UsageError
from sandbox.events import Draft, Message, ModelCalled, NetworkEffect, SensorState, StateDigested, UnknownBody
from sandbox.library.folder import ScenarioFolder, read
from sandbox.record.layout import AttemptLayout
from sandbox.replay.grading import Grading, grade
from sandbox.replay.replay import playable, prepare_again, replay
from sandbox.replay.served import serve
from sandbox.trajectory import Trajectory
from tests.sandbox import recording, replayed
from tests.sandbox.replayed import Deed, attempt_in, disturbed, machine

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ScenarioFolder:
    return replayed.write_scenario(tmp_path_factory.mktemp("scenario"))


@pytest.fixture(scope="module")
def recorded(folder: ScenarioFolder, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BELLJAR_STATE", str(tmp_path_factory.mktemp("state")))
        found = replayed.record(folder, tmp_path_factory.mktemp("recorded"))
    assert found.finished is not None
    assert (found.finished.stop_reason, found.finished.steps) == ("submitted", 10), found.finished
    return found


def executed(
    recorded: Trajectory, folder: ScenarioFolder, out: Path, deeds: dict[str, Deed] | None = None
) -> tuple[Grading, Trajectory]:
    again = replay(recorded, folder, attempt_in(out), build=disturbed(deeds or {}), machine=machine())
    grading, second = asyncio.run(again)
    assert second is not None
    return grading, second


def told(grading: Grading) -> str:
    return json.dumps([d.model_dump() for d in grading.differences if d.cause], indent=1)


def run(*argv: str) -> Deed:
    async def deed(environment: Environment) -> None:
        ran = await environment.run(argv, timeout=30)
        assert ran.exit_code == 0, ran

    return deed


def shell(command: str) -> Deed:
    return run("sh", "-c", command)


def test_an_undisturbed_execution_reproduces_every_step(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grading, second = executed(recorded, folder, tmp_path)
    assert grading.reproduced, told(grading)
    assert [step.step for step in grading.steps] == list(range(1, 11))
    assert all(step.compared for step in grading.steps)
    assert "times" in grading.steps[8].classes
    assert [e.body.call for e in second.events if e.kind == "tool.called"] == [f"c{n}" for n in range(1, 11)]  # type: ignore[union-attr]
    first, again = recorded.finished, second.finished
    assert first is not None
    assert again is not None
    ratio = again.duration_us / (first.duration_us - first.model_us)
    with capsys.disabled():
        print(f"\nreplayed in {again.duration_us / 1e6:.2f} s, {ratio:.2f} of the recorded time less its model")


DISTURBED: dict[str, tuple[int, Deed, str]] = {
    "content of a file": (2, shell("sed -i s/two/twO/ /srv/work/data.txt"), "data.txt"),
    "mode of a file": (3, shell("chmod 600 /srv/work/run.log"), "run.log"),
    "a deleted file": (4, shell("rm /srv/work/run.log"), "run.log"),
    "an extra file": (5, shell("echo x > /srv/work/extra"), "extra"),
    "a renamed file": (5, shell("mv /srv/work/run.log /srv/work/run.old"), "run."),
    "a process left over": (5, shell("setsid sleep 80000 > /dev/null 2>&1 < /dev/null &"), "sleep 80000"),
    "a request": (6, shell("curl -s -o /dev/null http://status.quillmere.example/other"), "/other"),
    "a refused connection": (6, shell("curl -s -m 3 -o /dev/null http://status.quillmere.example:81/ || true"), "tcp"),
    "a service's event": (
        7,
        shell("curl -s -o /dev/null -d 'subject=a&body=b' http://desk.quillmere.example/tickets"),
        "ticket.opened",
    ),
    "an event of the schedule": (6, shell("echo exit 3 > /srv/work/nightly.sh"), "schedule nightly"),
    "an exit code": (6, shell("sed -i s/four/five/ /srv/work/data.txt"), "exit code"),
    "an output": (1, shell("echo extra >> /srv/work/data.txt"), "output"),
    "a probe": (10, shell("echo one > /srv/work/data.txt"), "probe counted"),
}


@pytest.mark.parametrize("what", DISTURBED)
def test_a_change_of_anything_diverges_at_its_step(
    what: str, recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    step, deed, named = DISTURBED[what]
    grading, _ = executed(recorded, folder, tmp_path, {f"c{step}": deed})
    assert not grading.reproduced
    grades = {s.step: s.grade for s in grading.steps}
    assert grades[step] == "diverged", told(grading)
    assert all(grades[n] in ("identical", "equivalent") for n in range(1, step)), told(grading)
    assert any(named in d.where + d.recorded + d.replayed for d in grading.differences if d.step == step and d.cause), told(
        grading
    )


def test_a_file_planted_with_one_byte_changed_diverges_although_no_effect_tells_of_it(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    async def other_planted(environment: Environment) -> None:
        await environment.write("/srv/work/nightly.sh", b"echo Night >> /srv/work/night.log\n")
        await environment.effects()

    grading, _ = executed(recorded, folder, tmp_path, {"c1": other_planted})
    assert grading.steps[0].grade == "diverged"
    assert grading.steps[0].what == "state of files:agent:/srv/work", told(grading)


@pytest.mark.parametrize("path", ["/srv/work/nightly.sh", "/tmp/other"])
@pytest.mark.parametrize("fine", [True, False], ids=["by tree", "by host"])
def test_what_no_effect_tells_of_diverges_although_a_temporary_name_has_changed_the_state_before(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path, path: str, fine: bool
) -> None:
    async def unseen(environment: Environment) -> None:
        await environment.write(path, b"changed\n")
        await environment.effects()

    def coarse(draft: Draft) -> list[Draft]:
        body = draft.body
        if fine or not isinstance(body, StateDigested):
            return [draft]
        parts = {part: digest for part, digest in body.parts.items() if part.count(":") < 2}
        return [draft._replace(body=body.model_copy(update={"parts": parts}))]

    older = rewritten(recorded, tmp_path / "older", coarse)
    assert executed(older, folder, tmp_path / "undisturbed")[0].reproduced
    grading, _ = executed(older, folder, tmp_path / "disturbed", {"c10": unseen})
    grades = {step.step: step.grade for step in grading.steps}
    assert grades.pop(10) == "diverged"
    assert set(grades.values()) <= {"identical", "equivalent"}, told(grading)
    assert "temporary names" in grading.steps[8].classes
    assert "state of files:agent" in grading.steps[9].what


def test_a_step_of_which_nothing_was_compared_is_not_a_reproduction(tmp_path: Path) -> None:
    covered = SensorState(sensor="trees", state="started", covers=("files",), hosts=("agent",))
    turn = ModelCalled(delta=(), reply=Message(role="assistant", content="No."))
    drafts = [Draft(recording.manifest()), Draft(covered, "sensor"), Draft(turn)]
    for name, state in (("silent", []), ("digested", [Draft(StateDigested(digest="00", parts={"files:agent": "00"}))])):
        _write(AttemptLayout(tmp_path / name / "attempt-1"), [*drafts, *state], [0, 0, *[1] * (1 + len(state))])
    silent, digested = (Trajectory.load(tmp_path / name / "attempt-1") for name in ("silent", "digested"))
    grading = grade(silent, silent)
    assert not grading.reproduced
    assert [(step.grade, step.cause) for step in grading.steps] == [("unreplayable", "nothing could be compared")]
    assert grade(digested, digested).reproduced


def test_what_the_model_was_shown_counts(recorded: Trajectory, tmp_path: Path) -> None:
    def otherwise(draft: Draft) -> list[Draft]:
        body = draft.body
        if isinstance(body, ModelCalled) and any(call.id == "c4" for call in body.reply.calls):
            delta = tuple(message.model_copy(update={"content": message.content + " Hurry."}) for message in body.delta)
            return [draft._replace(body=body.model_copy(update={"delta": delta}))]
        return [draft]

    grading = grade(recorded, rewritten(recorded, tmp_path, otherwise))
    assert [step.step for step in grading.steps if step.grade == "diverged"] == [4]
    assert grading.steps[3].what == "what the model was shown: tool"


def test_a_trial_of_another_definition_arm_or_seed_is_refused_and_named(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    other = tmp_path / "group" / "ten"
    shutil.copytree(folder.path, other)
    (other / "prompts" / "task.md").write_text("Do your rounds!\n")
    with pytest.raises(UsageError, match=r"another definition of group/ten: digest \w{12} then"):
        prepare_again(recorded.manifest, read(other, "group/ten"))
    elsewhere = recorded.manifest.model_copy(update={"arm": {"incentive": "promised"}})
    with pytest.raises(UsageError, match="promised"):
        prepare_again(elsewhere, folder)


def rewritten(recorded: Trajectory, folder: Path, change: Callable[[Draft], list[Draft]]) -> Trajectory:
    """The recording with other events, as a ledger of its own."""
    drafts = []
    attempt = AttemptLayout(folder / "attempt-1")
    steps: list[int] = []
    for event in recorded.events:
        header = event.header
        draft = Draft(
            event.body, header.source, header.host, header.during, header.origin, header.origin_basis, header.observed_at
        )
        for made in change(draft):
            drafts.append(made)
            steps.append(header.step)
    _write(attempt, drafts, steps)
    if recorded.layout.blobs.is_dir():
        shutil.copytree(recorded.layout.blobs, attempt.blobs, dirs_exist_ok=True)
    return Trajectory.load(attempt.ledger)


def _write(attempt: AttemptLayout, drafts: list[Draft], steps: list[int]) -> None:
    from sandbox.record.ledger import Ledger

    async def write() -> None:
        async with Ledger(attempt) as ledger:
            for draft, step in zip(drafts, steps, strict=True):
                ledger.step = step
                await ledger.append(draft)

    asyncio.run(write())


def test_a_recording_without_effects_is_never_called_reproduced(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    def blind(draft: Draft) -> list[Draft]:
        return [] if isinstance(draft.body, SensorState) or draft.body.kind.startswith("effect") else [draft]

    grading = grade(rewritten(recorded, tmp_path, blind), recorded)
    assert {step.grade for step in grading.steps} == {"unreplayable"}
    assert {step.cause for step in grading.steps} == {"no effects were recorded"}


@pytest.mark.parametrize(("before", "grades"), [(True, {"equivalent"}), (False, {"diverged"})])
def test_a_connection_may_be_refused_before_its_call_gets_it_and_not_after(
    recorded: Trajectory, tmp_path: Path, before: bool, grades: set[str]
) -> None:
    def refused(draft: Draft) -> list[Draft]:
        body = draft.body
        if not (isinstance(body, NetworkEffect) and body.action == "connected" and draft.during == "c7"):
            return [draft]
        again = draft._replace(body=body.model_copy(update={"action": "refused", "detail": {"how": "reset"}}))
        return [again, draft] if before else [draft, again]

    grading = grade(recorded, rewritten(recorded, tmp_path, refused))
    assert {step.grade for step in grading.steps if step.step == 7} == grades
    assert any(difference.classes == ("retries",) for difference in grading.differences) == before


def test_gaps_unknown_kinds_and_unanswered_calls_make_their_step_unreplayable(recorded: Trajectory, tmp_path: Path) -> None:
    def holes(draft: Draft) -> list[Draft]:
        call = getattr(draft.body, "call", "")
        if draft.body.kind == "tool.called" and call == "c2":
            gap = SensorState(sensor="trees", state="gap", covers=("files",), hosts=("agent",), detail="lost")
            return [draft, Draft(gap, "sensor")]
        if draft.body.kind == "tool.called" and call == "c4":
            return [draft, Draft(UnknownBody(kind="effect.radio", data={}))]
        return [] if draft.body.kind == "tool.returned" and call == "c6" else [draft]

    grading = grade(rewritten(recorded, tmp_path, holes), recorded)
    causes = {step.step: step.cause or "" for step in grading.steps if step.grade == "unreplayable"}
    assert set(causes) == {2, 4, 6}
    assert "lost" in causes[2]
    assert "effect.radio" in causes[4]
    assert "never returned" in causes[6]
    assert not grading.reproduced


def test_a_step_whose_arguments_are_withheld_ends_what_can_be_executed(recorded: Trajectory) -> None:
    events = tuple(e._replace(withheld=("arguments",)) if getattr(e.body, "call", "") == "c4" else e for e in recorded.events)
    found = playable(Trajectory(recorded.layout, events))
    assert len(found.turns) == 3
    assert "withholds the arguments of c4" in found.missing[4]
    assert set(found.missing) == set(range(4, 11))


def test_an_imported_trial_is_unreplayable_without_starting_anything(folder: ScenarioFolder, tmp_path: Path) -> None:
    from sandbox.events import Imported

    reply = Message(role="assistant", content="hello")
    source = {"text": "", "size": 0, "sha256": "00" * 32}
    imported = Imported(format="atif", name="x", file_sha256="00" * 32, file_size=0, source=source)  # type: ignore[arg-type]
    drafts = [Draft(recording.manifest()), Draft(imported), Draft(ModelCalled(delta=(), reply=reply))]
    _write(AttemptLayout(tmp_path / "attempt-1"), drafts, [0, 0, 1])

    def never(*_: object, **__: object) -> Environment:
        raise AssertionError("nothing may be started")

    loaded = Trajectory.load(tmp_path / "attempt-1")
    grading, second = asyncio.run(replay(loaded, folder, attempt_in(tmp_path), build=never, machine=machine()))
    assert second is None
    assert [step.grade for step in grading.steps] == ["unreplayable"]
    assert "imported" in (grading.steps[0].cause or "")


def test_serving_judges_again_without_docker_and_calls_nothing_reproduced(recorded: Trajectory) -> None:
    code = (
        "import json, sys\n"
        "from sandbox.replay.served import serve\n"
        "from sandbox.trajectory import Trajectory\n"
        "print(json.dumps(serve(Trajectory.load(sys.argv[1])).as_json()))\n"
        "assert not any(name.split('.')[0] == 'docker' for name in sys.modules)\n"
    )
    argv = [sys.executable, "-c", code, str(recorded.layout.root)]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=120, env={"DOCKER_HOST": "unix:///nowhere"}
    )
    assert done.returncode == 0, done.stderr
    from analysis.verdict import judge

    served = json.loads(done.stdout)
    again = judge(recorded, path=str(recorded.layout.root)).model_dump(mode="json")
    assert json.dumps(served["verdict"]) == json.dumps(again)
    assert {step["grade"] for step in served["steps"]} == {"unreplayable"}
    assert served["consistent"]
    assert not served["reproduced"]


def test_serving_finds_a_recording_that_contradicts_itself(recorded: Trajectory, tmp_path: Path) -> None:
    def lies(draft: Draft) -> list[Draft]:
        body = draft.body
        if body.kind == "tool.returned" and getattr(body, "call", "") == "c1":
            output = {"text": "nothing here", "size": 12, "sha256": "00" * 32}
            return [draft._replace(body=body.model_copy(update={"output": type(body.output)(**output)}))]  # type: ignore[union-attr]
        return [draft]

    service = serve(rewritten(recorded, tmp_path, lies))
    assert not service.consistent
    assert any(problem.startswith("c1:") for problem in service.problems)
