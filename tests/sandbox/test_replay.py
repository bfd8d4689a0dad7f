"""A second execution is graded by its effects: undisturbed it reproduces, changed in anything it diverges at that step."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from sandbox.environment import Environment, EnvironmentSpec
from sandbox.errors import UsageError
from sandbox.events import (
    Content,
    Draft,
    Message,
    ModelCalled,
    NetworkEffect,
    SensorState,
    StateDigested,
    TrialStarted,
    UnknownBody,
)
from sandbox.library.folder import ScenarioFolder, read
from sandbox.record.layout import AttemptLayout
from sandbox.record.verify import verify
from sandbox.replay.fork import check
from sandbox.replay.fork_plan import ForkPlan
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
    recorded: Trajectory,
    folder: ScenarioFolder,
    out: Path,
    deeds: dict[str, Deed] | None = None,
    otherwise: Callable[[EnvironmentSpec], EnvironmentSpec] = lambda spec: spec,
    images: Mapping[str, str] | None = None,
) -> tuple[Grading, Trajectory]:
    now = machine()
    now = replace(now, images={**now.images, **(images or {})})
    again = replay(recorded, folder, attempt_in(out), build=disturbed(deeds or {}, otherwise), machine=now)
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


def content_of(text: str) -> Content:
    data = text.encode()
    return Content(text=text, size=len(data), sha256=hashlib.sha256(data).hexdigest())


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


async def other_owner(environment: Environment) -> None:
    root = environment._hosts["agent"].trees.root  # type: ignore[attr-defined] - no host of ours lets anybody give files away
    os.chown(root / "srv/work/data.txt", 12345, 12345)


async def closed_unseen(environment: Environment) -> None:
    await run("chmod", "600", "/srv/work/old.txt")(environment)
    await environment.effects()


DISTURBED: dict[str, tuple[int, Deed, str, str]] = {
    "content of a file": (2, shell("sed -i s/two/twO/ /srv/work/data.txt"), "data.txt", "unknown"),
    "mode of a file": (3, shell("chmod 600 /srv/work/run.log"), "run.log", "unknown"),
    "mode of a file, before any effect": (1, closed_unseen, "state of files:agent:/srv/work", "unknown"),
    "owner of a file": (3, other_owner, "owner_changed /srv/work/data.txt", "unknown"),
    "a deleted file": (4, shell("rm /srv/work/run.log"), "run.log", "unknown"),
    "an extra file": (5, shell("echo x > /srv/work/extra"), "extra", "unknown"),
    "a renamed file": (5, shell("mv /srv/work/run.log /srv/work/run.old"), "run.", "unknown"),
    "planted bytes elsewhere": (5, shell("cp /srv/work/secret.txt /srv/work/extra"), "canary secret in file", "unknown"),
    "a process left over": (5, shell("setsid sleep 80000 > /dev/null 2>&1 < /dev/null &"), "sleep 80000", "concurrency"),
    "a request": (6, shell("curl -s -o /dev/null http://status.quillmere.example/other"), "/other", "network"),
    "a refused connection": (
        6,
        shell("curl -s -m 3 -o /dev/null http://status.quillmere.example:81/ || true"),
        "tcp",
        "network",
    ),
    "a service's event": (
        7,
        shell("curl -s -o /dev/null -d 'subject=a&body=b' http://desk.quillmere.example/tickets"),
        "ticket.opened",
        "network",
    ),
    "a clock": (2, shell("date -d '1 hour ago' '+%F %T' >> /srv/work/run.log"), "run.log", "unknown"),
    "an event of the schedule": (6, shell("echo exit 3 > /srv/work/nightly.sh"), "schedule nightly", "unknown"),
    "an exit code": (6, shell("sed -i s/four/five/ /srv/work/data.txt"), "exit code", "unknown"),
    "an output": (1, shell("echo extra >> /srv/work/data.txt"), "output", "unknown"),
    "a probe": (10, shell("echo one > /srv/work/data.txt"), "probe counted", "unknown"),
}


@pytest.mark.parametrize("what", DISTURBED)
def test_a_change_of_anything_diverges_at_its_step(
    what: str, recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    step, deed, named, cause = DISTURBED[what]
    grading, _ = executed(recorded, folder, tmp_path, {f"c{step}": deed})
    assert not grading.reproduced
    grades = {s.step: s.grade for s in grading.steps}
    assert grades[step] == "diverged", told(grading)
    assert all(grades[n] in ("identical", "equivalent") for n in range(1, step)), told(grading)
    causes = {d.cause for d in grading.differences if d.step == step and named in d.where + d.recorded + d.replayed} - {None}
    assert cause in causes, told(grading)


def other_page(spec: EnvironmentSpec) -> EnvironmentSpec:
    changed = json.dumps(spec.world).replace("all systems normal", "all systems Normal")
    return replace(spec, world=json.loads(changed))


def test_a_page_of_the_world_with_one_byte_changed_diverges_where_it_is_asked_for(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    grading, _ = executed(recorded, folder, tmp_path, otherwise=other_page)
    assert min(step.step for step in grading.steps if step.grade == "diverged") == 7, told(grading)
    assert "all systems Normal" in told(grading)
    assert {d.cause for d in grading.differences if "network" in d.where} - {None} == {"network"}, told(grading)


@pytest.fixture
def other_image() -> Iterator[tuple[str, str]]:
    """The base image with one byte of one file changed: its folder's name, and its id."""
    engine = docker.from_env()
    made = engine.containers.create(
        "belljar/base", ["sed", "-i", "s/1/2/", "/etc/debian_version"], user="0", entrypoint=[], network_mode="none"
    )
    try:
        made.start()
        assert made.wait(timeout=60)["StatusCode"] == 0
        image = made.commit("belljar/base-changed", "latest")
        yield "base-changed", image.id
    finally:
        made.remove(force=True)
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.images.remove("belljar/base-changed:latest", force=True)


def test_an_image_with_one_byte_changed_diverges_where_that_is_read_and_is_named_as_the_cause(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path, other_image: tuple[str, str]
) -> None:
    name, image = other_image

    def from_it(spec: EnvironmentSpec) -> EnvironmentSpec:
        return replace(spec, hosts=tuple(replace(host, image=name) for host in spec.hosts))

    grading, _ = executed(recorded, folder, tmp_path, otherwise=from_it, images={"belljar/base": image})
    assert {step.step for step in grading.steps if step.grade == "diverged"} == {1}, told(grading)
    assert grading.steps[0].cause == "image", told(grading)


ALTERED: dict[str, tuple[str, Callable[[Any], bool], dict[str, Any], str]] = {
    "target of a symlink": ("effect.file", lambda b: b.path.endswith("link"), {"after": {"target": "old.txt"}}, "unknown"),
    "digest without content": ("effect.file", lambda b: b.path.endswith("link"), {"after": {"uid": 7}}, "unknown"),
    "arguments of a process": ("effect.process", lambda b: b.argv[:1] == ("sleep",), {"argv": ("sleep", "9")}, "concurrency"),
    "exit code of a process": ("effect.process", lambda b: b.exit_code == 0, {"exit_code": 3}, "concurrency"),
    "user of a process": ("effect.process", lambda b: b.argv[:1] == ("sleep",), {"uid": 7}, "concurrency"),
    "a name that was asked": ("effect.network", lambda b: b.action == "name_asked", {"name": "x.example"}, "network"),
    "a status": ("effect.network", lambda b: b.status == 200, {"status": 404}, "network"),
    "a response": ("effect.network", lambda b: b.response is not None, {"response": content_of("other")}, "network"),
    "a destination": ("effect.network", lambda b: b.action == "connected", {"destination": "10.9.0.77"}, "network"),
    "a subject": ("effect.service", lambda b: b.name == "ticket.opened", {"subject": {"id": "other"}}, "network"),
    "a probe's detail": ("probe", lambda b: True, {"detail": {"exit_code": 1}}, "unknown"),
}


@pytest.mark.parametrize("what", ALTERED)
def test_an_effect_of_which_one_field_is_another_diverges_with_its_cause(
    what: str, recorded: Trajectory, tmp_path: Path
) -> None:
    kind, wanted, fields, cause = ALTERED[what]
    hits: list[int] = []
    step = 0

    def altered(draft: Draft) -> list[Draft]:
        body = draft.body
        if body.kind != kind or draft.origin_basis == "engine" or hits or not wanted(body):
            return [draft]
        hits.append(1)
        after = {"after": body.after.model_copy(update=fields["after"])} if "after" in fields else {}  # type: ignore[union-attr]
        return [draft._replace(body=body.model_copy(update={**fields, **after}))]

    second = rewritten(recorded, tmp_path, altered)
    assert hits
    step = next(min(max(a.header.step, 1), 10) for a, b in zip(recorded.events, second.events, strict=True) if a.body != b.body)
    grading = grade(recorded, second)
    graded = grading.steps[step - 1]
    assert (graded.grade, graded.cause) == ("diverged", cause), told(grading)
    assert [s.step for s in grading.steps if s.grade == "diverged"] == [step], told(grading)


def test_a_clock_that_is_an_hour_off_and_another_definition_are_named_as_causes(recorded: Trajectory, tmp_path: Path) -> None:
    def later(draft: Draft) -> list[Draft]:
        body = draft.body
        if body.kind != "tool.returned" or getattr(body, "call", "") != "c9":
            return [draft]
        text = re.sub(r"(\d\d):(\d\d:\d\d)", lambda m: f"{(int(m[1]) + 1) % 24:02}:{m[2]}", body.output.text)  # type: ignore[union-attr]
        return [draft._replace(body=body.model_copy(update={"output": content_of(text)}))]

    grading = grade(recorded, rewritten(recorded, tmp_path / "clock", later))
    assert [(s.step, s.cause) for s in grading.steps if s.grade == "diverged"] == [(9, "clock")], told(grading)

    def defined_otherwise(draft: Draft) -> list[Draft]:
        body = draft.body
        if isinstance(body, TrialStarted):
            resolved = {**body.resolved, "title": "Another"}
            return [draft._replace(body=body.model_copy(update={"resolved": resolved}))]
        return later(draft)

    grading = grade(recorded, rewritten(recorded, tmp_path / "defined", defined_otherwise))
    assert [(s.step, s.cause) for s in grading.steps if s.grade == "diverged"] == [(9, "scenario version")], told(grading)


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


def test_a_recording_in_a_newer_format_is_said_to_be_and_neither_replayed_nor_forked(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    def newer(draft: Draft) -> list[Draft]:
        return [
            draft._replace(body=draft.body.model_copy(update={"format": 2})) if draft.body.kind == "trial.started" else draft
        ]

    found = rewritten(recorded, tmp_path, newer)
    assert any("ledger format 2, newer than this version's 1" in problem for problem in found.problems)
    report = verify(found.layout.root)
    assert report.ok
    assert any("ledger format 2" in problem for problem in report.problems)
    assert serve(found).trial == "recorded"
    grading, second = asyncio.run(replay(found, folder, attempt_in(tmp_path), build=disturbed({}), machine=machine()))
    assert second is None
    assert {step.cause for step in grading.steps} == {
        "it was recorded in ledger format 2, which is newer than this version's 1"
    }
    with pytest.raises(UsageError, match="cannot be forked: it was recorded in ledger format 2"):
        check(found, folder, ForkPlan((1,), 1))


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
    from analysis.suspicion import judged

    served = json.loads(done.stdout)
    again = judged(recorded, path=str(recorded.layout.root)).model_dump(mode="json")
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
