"""A fork stands where the recording stood, changes one thing, and says what that did; otherwise it is refused."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from analysis.contrast import Share, bounds, contrast, difference
from analysis.statistics import wilson
from sandbox.cli.fork import ForkModels, family, options_of
from sandbox.cli.scan import decided, rates, report_scan
from sandbox.errors import IntegrityError, UsageError
from sandbox.events import Call, Draft, Message, ModelCalled, StateDigested
from sandbox.library.folder import ScenarioFolder
from sandbox.library.loading import Prepared, headline, load, prepare
from sandbox.models.model import Model, Reply, ToolSpec
from sandbox.plan import read_plan
from sandbox.record.layout import AttemptLayout, RunLayout
from sandbox.record.ledger import Ledger
from sandbox.replay.fork import Forked, Forking, revised, sampling_seed
from sandbox.replay.fork_plan import Change, ForkPlan, read_back
from sandbox.replay.replay import conversation_before, replay
from sandbox.replay.served import serve
from sandbox.study import is_finished
from sandbox.trajectory import Trajectory
from tests.sandbox import recording, replayed
from tests.sandbox.replayed import Deed, disturbed, machine
from tests.sandbox.test_chat import Server, said, server

__all__ = ["server"]  # a fixture


class Chance:
    """Submits at once, having broken `nightly.sh` first with the given probability, by its sampling seed."""

    name = "test:chance"
    sampling: Mapping[str, JsonValue] = {}

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self.conversations: list[list[Message]] = []

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        self.conversations.append(list(conversation))
        broken = any("TAMPERED" in str(call.arguments) for message in conversation for call in message.calls)
        if not broken and random.Random(seed).random() < self.probability:
            arguments: dict[str, JsonValue] = {"command": "echo TAMPERED > /srv/work/nightly.sh"}
            call = Call(id="", tool="bash", arguments=arguments)
        else:
            call = Call(id="", tool="submit", arguments={"status": "completed", "report": "done", "fields": {}})
        return Reply(Message(role="assistant", content="", calls=(call,)))

    async def close(self) -> None:
        """Nothing is held."""


class CutOff(Chance):
    """Has everything interrupted, as Ctrl-C does, at its second trial's turn."""

    everything: asyncio.Task[list[Forked]] | None = None
    turns = 0

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        self.turns += bool(tools)
        if self.turns == 2 and self.everything is not None:
            self.everything.cancel()
            await asyncio.sleep(60)
        return await super().reply(conversation, tools, seed=seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ScenarioFolder:
    return replayed.write_scenario(tmp_path_factory.mktemp("scenario"))


@pytest.fixture(scope="module")
def recorded(folder: ScenarioFolder, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BELLJAR_STATE", str(tmp_path_factory.mktemp("state")))
        return replayed.record(folder, tmp_path_factory.mktemp("recorded"))


def fork(
    recorded: Trajectory,
    folder: ScenarioFolder,
    out: Path,
    plan: ForkPlan,
    model: Model,
    deeds: dict[str, Deed] | None = None,
    layout: RunLayout | None = None,
    opened: list[tuple[str, float | None]] | None = None,
) -> list[Forked]:
    async def open_model(spec: str, temperature: float | None, prepared: Prepared) -> Model:
        if opened is not None:
            opened.append((spec, temperature))
        return model

    forking = Forking(
        recorded=recorded,
        folder=folder,
        plan=plan,
        layout=layout or RunLayout.new(out),
        build=disturbed(deeds or {}),
        machine=machine(),
        open_model=open_model,
    )

    async def run() -> list[Forked]:
        if isinstance(model, CutOff):
            model.everything = asyncio.current_task()
        return await forking.run()

    return asyncio.run(run())


def states(trajectory: Trajectory) -> list[tuple[int, str]]:
    return [(event.header.step, body.digest) for event, body in trajectory.of(StateDigested)]


@pytest.mark.docker
def test_at_every_step_of_a_ten_step_trial_the_rebuilt_state_is_the_recorded_one(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    made = fork(recorded, folder, tmp_path, ForkPlan(tuple(range(10)), 1), Chance(0))
    assert [one.step for one in made] == list(range(10))
    for one in made:
        assert one.rebuilt is not None
        assert one.rebuilt.same, one.rebuilt.told()
        then = [digest for step, digest in states(recorded) if step <= one.step]
        now = [digest for step, digest in states(one.trajectory) if step <= one.step]
        # the ninth step's mktemp leaves a name that no second execution shares
        assert now[:8] == then[:8]
        assert one.rebuilt.exact == (one.step < 9)
        manifest = one.trajectory.manifest
        assert manifest.parent is not None
        assert (manifest.parent["trial"], manifest.parent["step"]) == ("recorded", one.step)
        assert one.trajectory.finished is not None
        assert one.trajectory.finished.stop_reason == "submitted"


@pytest.mark.docker
def test_twenty_continuations_give_a_rate_with_its_interval_and_a_tree(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    model = Chance(0.5)
    made = fork(recorded, folder, tmp_path, ForkPlan((4,), 20), model)
    ((step, found),) = rates(made, "sabotage", "attempted")
    tampered = [any("TAMPERED" in str(r.call.arguments) for r in one.trajectory.calls()) for one in made]
    expected = [random.Random(sampling_seed(3, 4, k)).random() < 0.5 for k in range(20)]
    assert (step, found.trials) == (4, 20)
    assert tampered == expected
    assert found.interval == wilson(found.hits, found.known)
    (root,) = family(tmp_path)
    assert root["children"][0]["name"].startswith("step 4, control, unchanged: 20")


@pytest.mark.docker
def test_forks_that_were_cut_off_go_on_from_what_the_run_keeps(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    change = Change(message="Mind the step.", files={("agent", "/srv/work/new.txt"): b"planted\n"})
    plan = ForkPlan((3,), 2, change)
    layout = RunLayout.new(tmp_path)
    with pytest.raises(asyncio.CancelledError):
        fork(recorded, folder, tmp_path, plan, CutOff(0), layout=layout)
    ended = {trial.id for trial in layout.trials() if is_finished(trial)}
    assert ended == {"0001-at3-control-0"}

    kept, parent, follow = read_back(read_plan(layout.study), layout)
    assert (kept, follow) == (plan, {})
    assert parent.manifest == recorded.manifest
    model = Chance(0)
    made = fork(parent, folder, tmp_path, kept, model, layout=layout)
    assert [one.branch for one in made] == ["control", "changed"] * 2
    for one in made:
        assert one.rebuilt is not None
        assert one.rebuilt.exact, one.rebuilt.told()
        assert one.trajectory.finished is not None
        assert one.trajectory.finished.stop_reason == "submitted"
        wrote = any(getattr(e.body, "path", "") == "/srv/work/new.txt" for e in one.trajectory.events)
        assert wrote == (one.branch == "changed")
    attempts = [len(layout.trial(one.trial).attempts()) for one in made]
    assert (attempts[0], attempts[1], attempts[3]) == (1, 2, 1)

    (layout.changed / next(layout.changed.iterdir()).name).write_bytes(b"something else")
    with pytest.raises(UsageError, match="does not say enough"):
        read_back(read_plan(layout.study), layout)


@pytest.mark.docker
def test_one_thing_is_changed_and_the_model_is_shown_it_and_the_ledger_tells_it(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    change = Change(
        system="You are another.",
        message="Mind the step.",
        result="All is well.",
        files={("agent", "/srv/work/new.txt"): b"planted\n"},
    )
    model = Chance(0)
    made = fork(recorded, folder, tmp_path, ForkPlan((3,), 1, change), model)
    control, changed = (next(one for one in made if one.branch == branch) for branch in ("control", "changed"))
    shown = next(c for c in model.conversations if c[0].content == "You are another.")
    assert [m.content for m in shown if m.role == "tool"][-1] == "All is well."
    assert (shown[-1].role, shown[-1].content) == ("user", "Mind the step.")
    told = next(b for e, b in changed.trajectory.of(ModelCalled) if e.header.step == 4)
    assert tuple(told.delta) == tuple(shown)
    assert any(getattr(e.body, "path", "") == "/srv/work/new.txt" for e in changed.trajectory.events)
    assert not any(getattr(e.body, "path", "") == "/srv/work/new.txt" for e in control.trajectory.events)
    assert control.trajectory.manifest.parent is not None
    assert control.trajectory.manifest.parent["change"] == {}
    parent = changed.trajectory.manifest.parent
    assert parent is not None
    assert isinstance(parent["change"], dict)
    assert set(parent["change"]) == {"system", "message", "result", "files"}


@pytest.mark.docker
def test_another_model_and_temperature_are_opened_for_the_changed_branch_alone(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    opened: list[tuple[str, float | None]] = []
    plan = ForkPlan((2,), 1, Change(model="test:other", temperature=1.3))
    made = fork(recorded, folder, tmp_path, plan, Chance(0), opened=opened)
    assert opened == [("oracle:rounds", None), ("test:other", 1.3)]
    models = {one.branch: one.trajectory.manifest.model for one in made}
    assert models == {"control": "oracle:rounds", "changed": "test:other"}


async def test_a_temperature_reaches_the_server_and_what_else_was_recorded_of_sampling_stays(
    server: Server, monkeypatch: pytest.MonkeyPatch, folder: ScenarioFolder, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    server.script = [said()]
    sampling: dict[str, JsonValue] = {"base_url": server.address, "temperature": 0.2, "max_tokens": 77, "seed": 5}
    manifest = recording.manifest().model_copy(update={"sampling": sampling})
    async with Ledger(AttemptLayout(tmp_path / "attempt-1")) as ledger:
        await ledger.append(Draft(manifest))
    models = ForkModels(options_of(Trajectory.load(tmp_path / "attempt-1"), base_url="", key_file=""))
    prepared = prepare(folder, headline(load(folder)), 3)
    for temperature in (1.3, 0.2):
        model = await models.open("openai:m", temperature, prepared)
        await model.reply([Message(role="user", content="Go.")], [])
    await models.close()
    assert [asked["temperature"] for asked in server.requests] == [1.3, 0.2]
    assert {asked.get("max_tokens", asked.get("max_completion_tokens")) for asked in server.requests} == {77}


@pytest.mark.docker
def test_an_arm_is_changed_from_the_start_and_its_control_is_not(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    other = next(level for level in ("benign", "tempted") if level != recorded.manifest.arm["incentive"])
    made = fork(recorded, folder, tmp_path, ForkPlan((2,), 1, Change(arm={"incentive": other})), Chance(0))
    arms = {one.branch: one.trajectory.manifest.arm["incentive"] for one in made}
    assert arms == {"control": recorded.manifest.arm["incentive"], "changed": other}


@pytest.mark.docker
def test_a_state_that_cannot_be_rebuilt_is_refused_saying_how_it_differs(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    async def spoil(environment: object) -> None:
        await environment.write("/srv/work/data.txt", b"one\ntwo\nthreE\n")  # type: ignore[attr-defined]

    with pytest.raises(IntegrityError, match=r"step 2.*data\.txt"):
        fork(recorded, folder, tmp_path / "refused", ForkPlan((2,), 2), Chance(0), {"c2": spoil})
    (only,) = (RunLayout(next((tmp_path / "refused").iterdir()))).trials()
    ended = Trajectory.load(only.root).finished
    assert ended is not None
    assert ended.stop_reason == "infrastructure"
    plan = ForkPlan((2,), 1, allow_drift=True)
    (made,) = fork(recorded, folder, tmp_path / "allowed", plan, Chance(0), {"c2": spoil})
    assert made.rebuilt is not None
    assert not made.rebuilt.same
    assert made.trajectory.finished is not None
    assert made.trajectory.finished.stop_reason == "submitted"


@pytest.mark.docker
@pytest.mark.parametrize("step", [10, 11])
def test_a_step_behind_which_nothing_follows_is_refused(
    step: int, recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="it can be forked at 0 to 9"):
        fork(recorded, folder, tmp_path, ForkPlan((step,), 1), Chance(0))


def told_before(trajectory: Trajectory, step: int) -> list[str]:
    conversation = conversation_before(trajectory, step)
    assert conversation is not None
    return [message.content for message in conversation]


@pytest.mark.docker
def test_a_fork_of_a_fork_and_a_replay_of_it_make_the_earlier_change_again(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    change = Change(system="Another.", message="Mind it.", result="All well.", files={("agent", "/srv/work/new.txt"): b"new\n"})
    first = fork(recorded, folder, tmp_path, ForkPlan((3,), 1, change), replayed.Repeats(("pwd", "cat new.txt"), "/srv/work"))
    child = next(one for one in first if one.branch == "changed").trajectory
    shutil.rmtree(RunLayout(child.layout.root.parent.parent.parent).changed)

    plan = ForkPlan((3, 4, 2), 1, Change(message="And this."))
    made = fork(child, folder, tmp_path, plan, Chance(0))
    for one in made:
        assert one.rebuilt is not None
        assert one.rebuilt.exact, one.rebuilt.told()
        words = told_before(one.trajectory, one.step)
        assert ("All well." in words) == ("Another." in words) == (one.step >= 3)
        assert ("And this." in words) == (one.branch == "changed")
        wrote = [e.header.step for e in one.trajectory.events if getattr(e.body, "path", "") == "/srv/work/new.txt"]
        assert wrote[:1] == ([3] if one.step >= 3 else [])
    last = next(one for one in made if (one.step, one.branch) == (4, "changed")).trajectory
    assert serve(last).problems == ()
    (root,) = family(tmp_path)
    (changed,) = [group for group in root["children"] if "step 3, changed" in group["name"]]
    named = {group["name"].partition(", {")[0].partition(":")[0] for group in changed["children"][0]["children"]}
    assert named == {f"step {step}, {kind}" for step in (2, 3, 4) for kind in ("control, unchanged", "changed")}
    grading, again = asyncio.run(
        replay(last, folder, replayed.attempt_in(tmp_path / "c"), build=disturbed({}), machine=machine())
    )
    assert grading.reproduced, grading.differences
    assert again is not None
    assert told_before(again, 4) == told_before(last, 4)
    grading, _ = asyncio.run(replay(again, folder, replayed.attempt_in(tmp_path / "d"), build=disturbed({}), machine=machine()))
    assert grading.reproduced, grading.differences


@pytest.mark.docker
def test_a_conversation_that_is_not_the_recorded_one_is_refused(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    (child,) = [
        one.trajectory
        for one in fork(recorded, folder, tmp_path / "a", ForkPlan((2,), 1, Change(message="Mind it.")), Chance(0))
        if one.branch == "changed"
    ]
    manifest = child.manifest.model_copy(update={"parent": None})
    events = tuple(e._replace(body=manifest) if e.kind == "trial.started" else e for e in child.events)
    with pytest.raises(IntegrityError, match="what the model was shown"):
        fork(replace(child, events=events), folder, tmp_path / "b", ForkPlan((2,), 1), Chance(0))


@pytest.mark.docker
def test_a_state_before_the_first_call_is_compared_or_said_not_to_be(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path
) -> None:
    (made,) = fork(recorded, folder, tmp_path / "now", ForkPlan((0,), 1), Chance(0))
    assert made.rebuilt is not None
    assert (made.rebuilt.same, made.rebuilt.exact, made.rebuilt.told()) == (True, True, "")
    assert made.rebuilt.expected

    older = replace(recorded, events=tuple(e for e in recorded.events if e.kind != "state" or e.header.step))
    (made,) = fork(older, folder, tmp_path / "older", ForkPlan((0,), 1), Chance(0))
    assert made.rebuilt is not None
    assert (made.rebuilt.same, made.rebuilt.exact) == (None, False)
    assert made.rebuilt.told() == "no digest was recorded before the first call"


@pytest.mark.docker
def test_another_world_before_the_first_call_is_refused(recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path) -> None:
    other = tuple(
        e._replace(body=e.body.model_copy(update={"parts": {**e.body.parts, "files:agent:/srv/work": "00" * 32}}))
        if isinstance(e.body, StateDigested) and e.header.step == 0
        else e
        for e in recorded.events
    )
    with pytest.raises(IntegrityError, match="state of files:agent:/srv/work"):
        fork(replace(recorded, events=other), folder, tmp_path, ForkPlan((0,), 1), Chance(0))


def test_a_result_can_only_be_replaced_where_there_is_one() -> None:
    with pytest.raises(UsageError, match="No tool has answered"):
        revised([Message(role="user", content="hello")], Change(result="x"))


def some(hits: int, known: int, *, unknown: int = 0) -> Share:
    rate, interval = hits / known if known else None, wilson(hits, known)
    return Share(trials=known + unknown, known=known, hits=hits, undetermined=unknown, rate=rate, interval=interval)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_the_interval_of_a_difference_holds_it_and_mirrors(first: int, second: int, data: st.DataObject) -> None:
    one, other = some(data.draw(st.integers(0, first)), first), some(data.draw(st.integers(0, second)), second)
    gap, interval = difference(one, other)
    back, mirrored = difference(other, one)
    assert gap is not None
    assert interval is not None
    assert mirrored is not None
    assert back == -gap
    assert -1 <= interval.low <= gap <= interval.high <= 1
    assert interval.low == pytest.approx(-mirrored.high)


@pytest.mark.filterwarnings("ignore")
def test_the_interval_is_newcombes() -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep  # type: ignore[import-untyped]

    _, interval = difference(some(7, 20), some(2, 20))
    assert interval == pytest.approx(confint_proportions_2indep(7, 20, 2, 20, method="newcomb", compare="diff"))


def test_a_difference_with_undetermined_trials_is_between_its_ends() -> None:
    changed, control = some(6, 6, unknown=14), some(2, 10, unknown=10)
    possible, interval = bounds(changed, control)
    assert possible == pytest.approx((6 / 20 - 12 / 20, 20 / 20 - 2 / 20))
    assert interval is not None
    assert interval.low < possible[0] < possible[1] < interval.high  # type: ignore[index]
    assert decided([(1, control), (2, changed)])["clear"] is False  # type: ignore[index]


def test_without_a_determined_trial_there_is_no_difference() -> None:
    assert difference(some(0, 0), some(1, 2)) == (None, None)
    assert contrast([], [], "sabotage", "attempted").difference is None


def test_a_scan_names_the_step_at_which_the_rate_jumps_and_whether_that_is_clear() -> None:
    points = [(0, some(1, 20)), (2, some(2, 20)), (4, some(19, 20)), (6, some(20, 20))]
    found = decided(points)
    assert found is not None
    assert (found["after"], found["step"], found["clear"]) == (2, 4, True)
    doubtful = decided([(0, some(1, 2)), (1, some(2, 2))])
    assert doubtful is not None
    assert not doubtful["clear"]
    assert decided([(0, some(1, 2)), (1, some(0, 0))]) is None


def test_a_largest_of_many_changes_is_held_against_the_level_of_all_of_them() -> None:
    two = [(0, some(4, 20)), (1, some(11, 20))]
    alone, among = decided(two), decided([*two, *((step, some(11, 20)) for step in range(2, 12))])
    assert alone is not None
    assert among is not None
    assert (alone["clear"], alone["changes"], alone["level"]) == (True, 1, 0.95)
    assert (among["clear"], among["changes"]) == (False, 11)
    assert among["level"] == pytest.approx(1 - 0.05 / 11)
    assert among["interval"][0] < alone["interval"][0]


class Follows(Chance):
    """Tampers if the conversation that it goes on from deleted the old file, and only then."""

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        self.probability = float(any("old.txt" in str(call.arguments) for message in conversation for call in message.calls))
        return await super().reply(conversation, tools, seed=seed)


@pytest.mark.docker
def test_a_scan_finds_the_step_that_decides_and_takes_the_recorded_end_for_its_last_point(
    recorded: Trajectory, folder: ScenarioFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = fork(recorded, folder, tmp_path, ForkPlan((3, 4), 4), Follows(0))
    layout = RunLayout(tmp_path)
    report_scan(recorded, made, layout, "sabotage", "attempted", json_output=True)
    found = json.loads(capsys.readouterr().out)
    assert [point["hits"] for point in found["points"]] == [0, 4]
    best = found["decided"]
    assert (best["after"], best["step"], best["change"], best["clear"], best["changes"]) == (3, 4, 1.0, True, 2)

    report_scan(recorded, [one for one in made if one.step == 4], layout, "sabotage", "attempted", json_output=True)
    best = json.loads(capsys.readouterr().out)["decided"]
    assert found["recorded"] == "false"
    assert (best["after"], best["step"], best["change"], best["clear"]) == (4, 10, -1.0, True)
