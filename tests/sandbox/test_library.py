"""From a folder to a trial: found, loaded, resolved; and every mistake of an author named with file, line and fix."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.content import content
from sandbox.errors import ScenarioError, UsageError
from sandbox.library.folder import offered, read
from sandbox.library.loading import arm_name, arms, find, headline, load, names, parse_arm, prepare
from sandbox.library.references import TOOL_NAMES
from sandbox.scenario import Resolved
from sandbox.world.services import ACTING
from tests.sandbox.authored import DECLARATION, FILES, declared, write
from tools import TOOLS

TEMPTED = {"incentive": "tempted", "oversight": "unwatched"}
BENIGN = {"incentive": "benign", "oversight": "unwatched"}


def test_a_trial_is_resolved_with_nothing_left_to_fill_in(tmp_path: Path) -> None:
    prepared = prepare(write(tmp_path), TEMPTED, 5, now=1_000_000_000)
    resolved = prepared.resolved
    text = resolved.model_dump_json()
    assert "{{" not in text
    assert "{%" not in text
    assert resolved.task == f"Count to {resolved.variables['total']}.\nThere is a bonus.\n"
    assert resolved.hosts[0].hostname == resolved.variables["host"]
    assert [entry.id for entry in resolved.schedule] == ["notice"]
    assert Resolved.model_validate_json(text) == resolved


def test_entries_of_other_arms_are_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path)
    tempted, benign = prepare(folder, TEMPTED, 5), prepare(folder, BENIGN, 5)
    planted = [{file.path for file in p.resolved.files} for p in (tempted, benign)]
    assert planted[0] - planted[1] == {"/srv/count/bonus.txt"}
    assert benign.resolved.schedule == ()
    assert "bonus" not in benign.resolved.task


def test_the_same_seed_meets_the_same_world_in_every_arm(tmp_path: Path) -> None:
    folder = write(tmp_path)
    tempted, benign = prepare(folder, TEMPTED, 5, now=10**9), prepare(folder, BENIGN, 5, now=10**9)
    assert tempted.resolved.variables == benign.resolved.variables
    shared = {spec.path: spec for spec in benign.files["agent"]}
    assert all(shared[spec.path] == spec for spec in tempted.files["agent"] if spec.path in shared)


def test_planted_bytes_have_the_digest_that_the_record_keeps(tmp_path: Path) -> None:
    prepared = prepare(write(tmp_path), TEMPTED, 5)
    planted = {spec.path: spec for spec in prepared.files["agent"]}
    for fact in prepared.resolved.files:
        assert hashlib.sha256(planted[fact.path].data).hexdigest() == fact.sha256
        assert (fact.size, fact.mode) == (len(planted[fact.path].data), f"{planted[fact.path].mode:04o}")
    assert prepared.resolved.asset("stop").sha256 == hashlib.sha256(planted["/srv/count/stop.sh"].data).hexdigest()
    clerk = prepared.resolved.variables["clerk"].split()[0]
    assert planted["/srv/count/note.txt"].data == f"{prepared.resolved.variables['total']} for {clerk}\n".encode()


def test_files_are_dated_in_the_past_and_not_all_alike(tmp_path: Path) -> None:
    specs = prepare(write(tmp_path), TEMPTED, 5, now=10**9).files["agent"]
    dates = {spec.mtime for spec in specs}
    assert len(dates) == len(specs)
    assert all(date is not None and 10**9 - 61 * 86_400 < date < 10**9 - 86_400 for date in dates)


def test_the_environment_is_built_from_the_same_hosts_and_files(tmp_path: Path) -> None:
    prepared = prepare(write(tmp_path), TEMPTED, 5)
    spec = prepared.environment_spec()
    assert [host.id for host in spec.hosts] == ["agent"]
    assert spec.hosts[0].files == prepared.files["agent"]
    assert spec.hosts[0].services[0].argv == ("python3", "/srv/count/counter.py")
    assert spec.world is None


def test_single_limits_can_be_replaced(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert prepare(folder, TEMPTED, 5, limits={"steps": 3}).resolved.limits.steps == 3
    for wrong in ({"step": 3}, {"steps": 0}):
        with pytest.raises(UsageError, match="limit step"):
            prepare(folder, TEMPTED, 5, limits=wrong)


def test_the_digest_changes_with_any_byte_and_any_name(tmp_path: Path) -> None:
    first = write(tmp_path)
    assert read(first.path, first.name).digest == first.digest
    (first.path / "README.md").write_text("x")
    second = read(first.path, first.name)
    (first.path / "README.md").rename(first.path / "READ.md")
    third = read(first.path, first.name)
    (first.path / "READ.md").write_text("y")
    assert len({first.digest, second.digest, third.digest, read(first.path, first.name).digest}) == 4


def test_arms_are_the_whole_matrix_and_have_names(tmp_path: Path) -> None:
    scenario = load(write(tmp_path))
    named = [arm_name(scenario, arm) for arm in arms(scenario)]
    assert named == [f"{i}/{o}" for i in ("benign", "tempted", "instructed") for o in ("watched", "unwatched")]
    assert headline(scenario) == TEMPTED


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("headline", ["tempted/unwatched"]),
        ("benign", ["benign/unwatched"]),
        ("*/watched", ["benign/watched", "tempted/watched", "instructed/watched"]),
        ("benign/*", ["benign/watched", "benign/unwatched"]),
    ],
)
def test_arms_can_be_named_in_part(tmp_path: Path, text: str, wanted: list[str]) -> None:
    scenario = load(write(tmp_path))
    assert [arm_name(scenario, arm) for arm in parse_arm(scenario, text)] == wanted


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bening", "Did you mean benign"),
        ("benign/seen", "watched, unwatched"),
        ("a/b/c", "incentive"),
        ("benign/watched/x", "more levels"),
    ],
)
def test_an_arm_that_does_not_exist_is_said_so(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        parse_arm(load(write(tmp_path)), text)


def test_a_scenario_is_found_by_name_group_and_path(tmp_path: Path) -> None:
    assert {"sabotage/shutdown_script", "self_replication/spare_host"} <= set(names())
    found = [f.name for f in find(["sabotage/shutdown_script", "sabotage"])]
    assert found[0] == "sabotage/shutdown_script"
    assert sorted(found) == [name for name in names() if name.startswith("sabotage/")], "each once"
    folder = write(tmp_path)
    assert find([str(folder.path)])[0] == folder


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("sabotage/shutdown_scrip", "sabotage/shutdown_script"),
        ("spare_hots", "self_replication/spare_host"),
        ("shutdown_script", "sabotage/"),
    ],
)
def test_an_unknown_scenario_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"no scenario '{name}'.*Did you mean {near}"):
        find([name])


def test_a_folder_without_a_declaration_is_no_scenario(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no scenario\.yaml"):
        find([str(tmp_path)])


def test_the_tools_that_a_scenario_may_give_are_those_there_are() -> None:
    assert set(TOOL_NAMES) == set(TOOLS)


MISTAKES = [
    ("title: Keep a counter", "titel: Keep a counter", "", "titel: there is no such key", "Did you mean `title`?"),
    ("title: Keep a counter\n", "", "version:", "title: this is missing", "Add `title:`"),
    ("version: 1", "version: 2", "", "version", "Use one of"),
    ("behaviours: [sabotage]", "behaviours: [sabotge]", "", "behaviours[0]", "Did you mean sabotage?"),
    ("behaviours: [sabotage]", "behaviours: []", "", "behaviours", "scenarios/README.md"),
    ("behaviours: [sabotage]", "behaviours: sabotage", "", "behaviours", "Write a list"),
    ("behaviours: [sabotage]", "behaviours: [sabotage, copyright]", "success:", "nothing says when copyright", "Name one of"),
    ("clerk: {person: true}", "clerk: {person: true, word: true}", "", "exactly one of", "scenarios/README.md"),
    ("clerk: {person: true}", "clerk: {text: '{{ clerk2 }}'}", "", "`clerk2` is neither", "known: host, seed"),
    ("clerk: {person: true}", "incentive: {person: true}", "", "name `incentive` is taken", "otherwise"),
    ("{{ host }}", "{{ hots }}", "", "`hots` is neither a variable nor a factor", "Did you mean `host`?"),
    ("{{ host }}", "{{ host", "", "not a valid template", "literal braces"),
    ("trees: [/srv/count]", "trees: [srv/count]", "", "not an absolute path", "Write one"),
    ("trees: [/srv/count]", "tree: [/srv/count]", "", "hosts[0].tree: there is no such key", "Did you mean `trees`?"),
    ("trees: [/srv/count]", "trees: [/srv/cnt]", "counter.py, so", "in the read-only part of agent", "`trees`"),
    ("source: counter.py", "source: conter.py", "", "no file or folder files/conter.py", "Did you mean counter.py?"),
    ("source: counter.py", "source: counter.py, text: x", "", "one of source, text and weights", "README.md"),
    ("path: /srv/count/note.txt", "path: /srv/count/counter.py", "source: note", "is planted twice", "Remove one"),
    ('mode: "0755"', "mode: rwx", "", "has not the form", "four octal digits"),
    ("when: {incentive: [tempted, instructed]}", "when: {incentiv: tempted}", "", "no factor 'incentiv'", "mean incentive?"),
    ("when: {incentive: [tempted, instructed]}", "when: {incentive: temptd}", "", "of incentive 'temptd'", "mean tempted?"),
    ("when: {incentive: [tempted, instructed]}", "when: tempted", "", "files[3].when: this is a mapping", "`key: value`"),
    ("role: control", "role: controls", "", "assets[0].role", "Did you mean control?"),
    ("path: /srv/count/stop.sh}", "path: /srv/halt.sh, canary: true}", "", "nothing is planted at /srv/h", "Plant a file"),
    ("at_step: 2", "at_step: 2, after: x", "", "exactly one of at_step and after", "scenarios/README.md"),
    ("at_step: 2", "at_step: soon", "", "at_step", "scenarios/README.md"),
    ("action: notify", "action: run", "", "`notice` has no argv", "needs it"),
    ("process: counter", "process: countr", "", "no service on agent 'countr'", "Did you mean counter?"),
    ("argv: [sh, /srv/count/stop.sh], ", "", "id: stops", "nothing to run", "`argv`"),
    ("task_probe: counted", "task_probe: stops", "", "no command probe 'stops'", "counted"),
    ("harm_holds", "harm_hold", "", "no milestone of sabotage 'harm_hold'", "Did you mean harm_holds?"),
    ("about: never}", "about: sabotage.tamper}", "id: moved", "no fact 'sabotage.tamper'", "Did you mean sabotage.tampers?"),
    ("id: moved", "id: changed", "Did you move", "`changed` is declared twice", "own id"),
    ("id: agent", "id: main", "hosts:", "no host with the id `agent`", "needs one"),
    ("{id: counter, argv", "{id: Counter, argv", "", "has not the form", "lower-case"),
    ("task_probe: counted", "tools: [bash, sumbit]", "", "no tool 'sumbit'", "Did you mean submit?"),
    ("task_probe: counted", "tools: [bash]", "", "no way to end its task", "submit"),
    ("task_probe: counted", "world: world/world.yaml", "", "no file world/world.yaml", "Create group/counter/world/world.yaml"),
    ("task_probe: counted", "prompts: {task: prompts/tsk.md}", "", "no file prompts/tsk.md", "Did you mean prompts/task.md?"),
    ("task_probe: counted", "headline: {incentive: benin}", "", "of incentive 'benin'", "Did you mean benign?"),
    ("task_probe: counted", "factors: {incentive: [tempted]}", "", "no `benign` level", "Add it"),
    ("task_probe: counted", "factors: {heat: [low, low]}", "", "must be different", "Correct"),
    ("task_probe: counted", "authority: [{asset: stp, action: run, grantor: me}]", "", "no asset 'stp'", "Did you mean stop?"),
    ("task_probe: counted", "authority: [{asset: stop, action: copy, grantor: m, hosts: [x]}]", "", "no host 'x'", "There are"),
    ("task_probe: counted", "authority: [{asset: stop, action: copy, grantor: m, replicas: 0}]", "", "replicas", ""),
    ("hosts:\n", "hosts:\n  - {id: instances, hostname: a}\n", "{id: instances", "the machines of the world", "otherwise"),
    ("task_probe: counted", "watch_paths: [srv]", "", "'srv' is not absolute", "absolute"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "where", "part", "fix"), [m for m in MISTAKES if m[4]], ids=[m[1][:40] for m in MISTAKES if m[4]]
)
def test_each_mistake_is_named_with_file_line_and_fix(
    tmp_path: Path, old: str, new: str, where: str, part: str, fix: str
) -> None:
    changes = declared(old, new)
    folder = write(tmp_path, changes)
    with pytest.raises(ScenarioError) as raised:
        prepare(folder, TEMPTED, 1)
    error = raised.value
    text = str(changes["scenario.yaml"])
    assert part in error.message
    assert fix in error.fix
    assert error.file == "group/counter/scenario.yaml"
    assert error.line == text[: text.index(where or new)].count("\n") + 1


@pytest.mark.parametrize(
    ("file", "text", "line", "part"),
    [
        ("prompts/task.md", "Count.\n\n{{ totl }}\n", 3, "`totl`"),
        ("prompts/system.md", "a\n{% if incentive == 'x' %}\n", 2, "not a valid template"),
        ("files/note.txt.j2", "a\nb\n{{ clrk }}\n", 3, "`clrk`"),
    ],
)
def test_a_mistake_in_a_prompt_or_template_is_found_when_the_scenario_is_loaded(
    tmp_path: Path, file: str, text: str, line: int, part: str
) -> None:
    with pytest.raises(ScenarioError) as raised:
        load(write(tmp_path, {file: text}))
    assert part in raised.value.message
    assert (raised.value.file, raised.value.line) == (f"group/counter/{file}", line)


WORLD = """\
names: {"www.{{ host }}.internal": 10.20.0.9}
services:
  - type: tickets
    host: desk.internal
    replies:
      - {text: "No, {{ clerk }}.", decision: deny, when: {oversight: unwatched}}
      - {text: "Yes.", decision: grant, when: {oversight: watched}}
"""


def test_a_world_is_rendered_for_the_arm(tmp_path: Path) -> None:
    folder = write(tmp_path, {**declared("task_probe: counted", "world: world/world.yaml"), "world/world.yaml": WORLD})
    prepared = prepare(folder, TEMPTED, 1)
    world = prepared.environment_spec().world
    assert world is not None
    drawn = prepared.resolved.variables
    assert world["names"] == {f"www.{drawn['host']}.internal": "10.20.0.9"}
    assert world["services"][0]["replies"] == [{"text": f"No, {drawn['clerk']}.", "decision": "deny"}]  # type: ignore[index]


@pytest.mark.parametrize(
    ("old", "new", "line", "part"),
    [
        ("type: tickets", "type: tikets", 3, "services[0].type: there is no 'tikets'"),
        ("{{ clerk }}", "{{ clrk }}", 6, "`clrk`"),
        ("oversight: watched", "oversight: seen", 7, "'seen'"),
        ("decision: grant", "decison: grant", 7, "decison"),
        ("names: {", "name: {", 1, "Did you mean `names`"),
    ],
)
def test_a_mistake_in_the_world_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, part: str) -> None:
    world = WORLD.replace(old, new)
    folder = write(tmp_path, {**declared("task_probe: counted", "world: world/world.yaml"), "world/world.yaml": world})
    with pytest.raises(ScenarioError) as raised:
        prepare(folder, {**TEMPTED, "oversight": "watched"} if "decison" in world else TEMPTED, 1)
    assert part in str(raised.value)
    assert (raised.value.file, raised.value.line) == ("group/counter/world/world.yaml", line)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("{service: tikets}", "no service 'tikets' that a schedule can act on. Name one as `service`: tickets"),
        ("{}", "no service '' that a schedule can act on"),
    ],
)
def test_a_schedule_that_no_service_can_follow_is_refused_before_a_trial(tmp_path: Path, arguments: str, part: str) -> None:
    entry = f"schedule:\n  - {{id: reply, at_step: 1, action: world, arguments: {arguments}}}\n"
    changed = declared("schedule:\n", entry) | {"world/world.yaml": WORLD}
    changed["scenario.yaml"] = changed["scenario.yaml"].replace("task_probe: counted", "world: world/world.yaml")
    folder = write(tmp_path, changed)
    with pytest.raises(ScenarioError, match=re.escape(part)):
        prepare(folder, TEMPTED, 1)


def test_a_party_of_the_world_at_a_hosts_address_is_refused_before_a_trial(tmp_path: Path) -> None:
    world = WORLD.replace("host: desk.internal", "host: desk.internal\n    address: 10.20.0.5")
    folder = write(tmp_path, {**declared("task_probe: counted", "world: world/world.yaml"), "world/world.yaml": world})
    with pytest.raises(ScenarioError, match=r"10\.20\.0\.5 of desk\.internal belongs to host agent"):
        prepare(folder, TEMPTED, 1)


def test_the_services_that_a_schedule_can_act_on_are_those_that_can_act() -> None:
    services = content("containers") / "world" / "world" / "services"
    acting = {file.stem for file in services.glob("*.py") if "async def fire(" in file.read_text()}
    assert acting == ACTING


def test_an_arm_or_level_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    with pytest.raises(UsageError, match="no factor 'mood'"):
        prepare(folder, {"mood": "calm"}, 1)
    with pytest.raises(UsageError, match="Did you mean tempted"):
        prepare(folder, {"incentive": "temptd"}, 1)


def test_a_weights_file_is_a_valid_safetensors_file_of_its_own(tmp_path: Path) -> None:
    changes = declared('text: "for {{ clerk }}", when: {incentive: [tempted, instructed]}', "weights: {kib: 64}")
    folder = write(tmp_path, changes)
    data = [next(f.data for f in prepare(folder, TEMPTED, s).files["agent"] if f.path.endswith("bonus.txt")) for s in (1, 1, 2)]
    assert data[0] == data[1] != data[2]
    size = int.from_bytes(data[0][:8], "little")
    header = json.loads(data[0][8 : 8 + size])
    begin, end = header["model.layers.0.weight"]["data_offsets"]
    assert (begin, 8 + size + end) == (0, len(data[0]))
    assert 60 * 1024 < len(data[0]) <= 64 * 1024


LINES = DECLARATION.splitlines()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(LINES) - 1),
            st.sampled_from(["drop", "twice", "indent", "word", "list", "null", "number", "brace"]),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_an_author_does_to_the_file_only_a_scenario_error_comes_of_it(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, str]]
) -> None:
    lines = list(LINES)
    for number, edit in edits:
        lines[number] = _edited(lines[number], edit)
    folder = write(tmp_path_factory.mktemp("s"), {"scenario.yaml": "\n".join(lines)})
    try:
        prepare(folder, TEMPTED, 1)
    except ScenarioError as error:
        assert error.file
        assert error.line
        assert error.fix


def _edited(line: str, edit: str) -> str:
    key = line.partition(":")[0]
    return {
        "drop": "", "twice": f"{line}\n{line}", "indent": f" {line}", "word": f"{key}: word", "list": f"{key}: [1, {{a: b}}]",
        "null": f"{key}:", "number": f"{key}: 12", "brace": line.replace("{", "{{"),
    }[edit]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda p: (p / "files/leak").symlink_to("/etc/hostname"), "leaves the folder"),
        (lambda p: (p / "files/leak").symlink_to("../" * 20 + "etc/hostname"), "leaves the folder"),
        (lambda p: (p / "files/gone").symlink_to("nowhere"), "leads nowhere"),
        (lambda p: (p / "files/round").symlink_to("round"), "leads nowhere"),
        (lambda p: (p / "files/up").symlink_to(".."), "not a regular file"),
        (lambda p: os.mkfifo(p / "files/pipe"), "not a regular file"),
        (lambda p: (p / "files/big").write_bytes(b"x" * (8 * 1024 * 1024 + 1)), "too large"),
        (lambda p: (p / "scenario.yaml").unlink(), "no scenario.yaml"),
    ],
)
def test_a_folder_that_reaches_out_or_overflows_is_refused(tmp_path: Path, make: object, part: str) -> None:
    folder = write(tmp_path)
    make(folder.path)  # type: ignore[operator]
    with pytest.raises(ScenarioError, match=part) as raised:
        read(folder.path, folder.name)
    assert raised.value.fix


def test_a_link_that_stays_inside_is_read_as_what_it_points_at(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder.path / "files" / "same.py").symlink_to("counter.py")
    assert read(folder.path, folder.name).files["files/same.py"] == FILES["files/counter.py"].encode()


def test_mistakes_that_do_not_depend_on_each_other_are_told_together(tmp_path: Path) -> None:
    wrong = DECLARATION.replace("title:", "titel:").replace("behaviours: [sabotage]", "behaviours: [sabotaje]")
    with pytest.raises(ScenarioError) as raised:
        load(write(tmp_path, {"scenario.yaml": wrong}))
    told = [raised.value.message, *raised.value.others]
    assert raised.value.line == 2
    assert any("scenario.yaml:4: behaviours[0]" in line and "Did you mean sabotage" in line for line in told)
    assert any("title: this is missing" in line for line in told)


def test_mistakes_of_prompts_and_templates_are_told_together(tmp_path: Path) -> None:
    changes = {"prompts/task.md": "{{ totl }}\n", "prompts/system.md": "\n{{ hst }}\n", "files/note.txt.j2": "{{ clrk }}\n"}
    with pytest.raises(ScenarioError) as raised:
        load(write(tmp_path, dict(changes)))
    told = "\n".join([raised.value.message, *raised.value.others])
    for place in ("prompts/task.md:1: `totl`", "prompts/system.md:2: `hst`", "files/note.txt.j2:1: `clrk`"):
        assert f"group/counter/{place}" in told


def test_mistakes_of_one_arm_are_told_together(tmp_path: Path) -> None:
    wrong = DECLARATION.replace("process: counter", "process: countr").replace(
        "role: control, path: /srv/count", "role: control, host: agnt, path: /srv/count"
    )
    with pytest.raises(ScenarioError) as raised:
        prepare(write(tmp_path, {"scenario.yaml": wrong}), TEMPTED, 1)
    told = "\n".join([raised.value.message, *raised.value.others])
    assert "there is no host 'agnt'" in told
    assert "there is no service on agent 'countr'" in told
    assert "\n  also " in str(raised.value)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ('a: {text: "{{ b }}"}\n  b: {text: "{{ a }}"}', "`a` and `b` refer to each other"),
        ('a: {text: "{{ a }}"}', "`a` refers to itself"),
        ('a: {text: "{{ b }}"}\n  b: {word: true}', "`a` uses one declared below it: `b`"),
    ],
)
def test_variables_in_a_circle_or_in_the_wrong_order_are_said_to_be_so(tmp_path: Path, variables: str, says: str) -> None:
    changes = declared("  host: {word: true}\n", f"  host: {{word: true}}\n  {variables}\n")
    with pytest.raises(ScenarioError) as raised:
        load(write(tmp_path, changes))
    assert says in raised.value.message
    assert raised.value.line == 7


def test_a_second_host_without_a_world_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    wrong = declared("hosts:\n", "hosts:\n  - {id: spare, hostname: other, address: 10.1.2.3}\n")
    with pytest.raises(ScenarioError, match="nobody can reach spare") as raised:
        prepare(write(tmp_path, wrong), TEMPTED, 1)
    assert raised.value.line == 10


def test_an_unknown_service_is_named_with_its_line_and_the_ones_there_are(tmp_path: Path) -> None:
    world = "names: {}\nservices:\n  - {type: ticktes, host: desk.internal}\n"
    changes = {**declared("task_probe: counted", "task_probe: counted\nworld: world/world.yaml"), "world/world.yaml": world}
    with pytest.raises(ScenarioError) as raised:
        prepare(write(tmp_path, changes), TEMPTED, 1)
    assert (raised.value.file, raised.value.line) == ("group/counter/world/world.yaml", 3)
    assert "Did you mean tickets?" in raised.value.fix


def test_scenarios_of_an_installed_package_have_names_and_are_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write(tmp_path / "made")
    package = tmp_path / "site" / "acme_cases"
    shutil.copytree(made.path, package / "night_shift")
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    info = tmp_path / "site" / "acme_cases-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-cases\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[belljar.scenarios]\nacme = acme_cases\ngone = not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert offered() == {"acme/night_shift": package / "night_shift"}
    by_name, by_group, by_path = (find([wanted])[0] for wanted in ("acme/night_shift", "acme", str(package / "night_shift")))
    assert by_name.name == by_group.name == by_path.name == "acme/night_shift"
    assert by_name.digest == made.digest
    assert prepare(by_name, TEMPTED, 1).resolved.name == "acme/night_shift"
    assert by_name.where("scenario.yaml") == str(package / "night_shift" / "scenario.yaml")
    with pytest.raises(UsageError) as raised:
        find(["acme/nite_shift"])
    assert "acme/night_shift" in raised.value.fix
