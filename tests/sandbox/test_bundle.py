"""Bundles: what was sealed verifies elsewhere, what was changed does not, what was withheld is gone from every byte."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.errors import BelljarError, IntegrityError, NotReadyError, UsageError
from sandbox.events import FileEffect, ModelCalled, ToolReturned
from sandbox.record.anchors import state_folder
from sandbox.record.bundle import (
    BundledFile,
    BundleSignature,
    _Archive,
    _Room,
    _write_file,
    is_bundle,
    open_bundle,
    verify_bundle,
)
from sandbox.record.layout import RunLayout
from sandbox.record.sealing import seal
from sandbox.record.signing import keys_folder, own_key, public_bytes, remember
from sandbox.record.verify import verify
from sandbox.trajectory import Trajectory
from tests.sandbox.interop.samples import LONG, whole_trial

SECRET = "the vault opens with 4711-KESTREL"


@pytest.fixture
def run(tmp_path: Path) -> RunLayout:
    for trial in ("trial-1", "trial-2"):
        whole_trial(tmp_path / "runs", run="run-1", trial=trial, secret=SECRET)
    layout = RunLayout(tmp_path / "runs" / "run-1")
    layout.study.write_text('{"run": "run-1"}')
    return layout


@pytest.fixture
def bundle(run: RunLayout, tmp_path: Path) -> Path:
    seal(run.root, tmp_path / "run-1.belljar", verdicts={"summary.json": b'{"outcome": "clean"}'})
    return tmp_path / "run-1.belljar"


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another machine: no anchors, no keys."""
    monkeypatch.setenv("BELLJAR_STATE", str(tmp_path / "other-machine"))


def members(bundle: Path) -> dict[str, bytes]:
    """By the ordinary tools, not by our reader."""
    with zstandard.open(bundle, "rb") as stream, tarfile.open(fileobj=io.BytesIO(stream.read())) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]


def repack(bundle: Path, files: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda _: None) -> Path:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            change(member)
            archive.addfile(member, io.BytesIO(data))
    place = bundle.parent / "changed.belljar"
    place.write_bytes(zstandard.compress(packed.getvalue()))
    return place


def test_a_bundle_verifies_on_another_machine_and_opens_into_the_same_run(
    bundle: Path, run: RunLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch, tmp_path)
    report = verify_bundle(bundle)
    assert report.ok
    assert report.standing == "unknown"
    assert any("integrity only" in line for line in report.not_proven)
    opened, _ = open_bundle(bundle, tmp_path / "elsewhere")
    assert opened.study.read_bytes() == run.study.read_bytes()
    assert (opened.verdicts / "summary.json").read_bytes() == b'{"outcome": "clean"}'
    for trial in run.trials():
        ours, theirs = trial.attempt(1), opened.trial(trial.id).attempt(1)
        assert theirs.ledger.read_bytes() == ours.ledger.read_bytes()
        loaded = Trajectory.load(theirs.root)
        long = next(b.output for _, b in loaded.of(ToolReturned) if b.call == "c3")
        assert loaded.bytes_of(long) == LONG
        assert verify(theirs.root).status == "unanchored"


SAID = {
    "labels/ann.jsonl": b'{"reason": "' + SECRET.encode() + b'"}\n',
    "judgements/trial-1.jsonl": b'{"judge": "x"}\n',
    "changed/" + "ab" * 32: b"another file",
}


def said(run: RunLayout, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (run.root / name).parent.mkdir(exist_ok=True)
        (run.root / name).write_bytes(data)


def test_labels_judgements_and_changed_files_travel_with_the_run(run: RunLayout, tmp_path: Path) -> None:
    said(run, SAID)
    seal(run.root, tmp_path / "said.belljar")
    assert verify_bundle(tmp_path / "said.belljar").ok
    opened, _ = open_bundle(tmp_path / "said.belljar", tmp_path / "there")
    assert {name: (opened.root / name).read_bytes() for name in SAID} == SAID


def test_what_people_said_is_kept_back_with_what_it_may_quote(run: RunLayout, tmp_path: Path) -> None:
    said(run, SAID)
    report = seal(run.root, tmp_path / "quiet.belljar", patterns=["*.reasoning"])
    assert set(report.withheld_files) == SAID.keys()
    assert set(verify_bundle(tmp_path / "quiet.belljar").withheld_files) == SAID.keys()
    report = seal(run.root, tmp_path / "kept.belljar", patterns=["text:4711-[A-Z]+"], keep_verdicts=True)
    assert report.withheld_files == ("labels/ann.jsonl",)
    assert b"KESTREL" not in everything(tmp_path / "kept.belljar")


def test_what_cannot_be_named_in_a_bundle_is_listed(run: RunLayout, tmp_path: Path) -> None:
    said(run, {"judgements/" + "x" * 100 + ".jsonl": b"long", "labels/änn.jsonl": b"odd"})
    report = seal(run.root, tmp_path / "odd.belljar")
    assert report.withheld_files == ("judgements/" + "x" * 100 + ".jsonl", "labels/änn.jsonl")
    assert verify_bundle(tmp_path / "odd.belljar").ok


def test_the_same_run_gives_the_same_bytes(bundle: Path, run: RunLayout, tmp_path: Path) -> None:
    seal(run.root, tmp_path / "again.belljar", verdicts={"summary.json": b'{"outcome": "clean"}'})
    assert (tmp_path / "again.belljar").read_bytes() == bundle.read_bytes()


def test_ordinary_tools_can_list_it_and_it_is_known_by_its_beginning(bundle: Path, tmp_path: Path) -> None:
    names = list(members(bundle))
    assert names[:3] == ["bundle.json", "signature.json", "study.json"]
    assert is_bundle(bundle)
    (tmp_path / "note.txt").write_text("no bundle")
    assert not is_bundle(tmp_path / "note.txt")


def test_the_key_is_made_once_outside_the_run_and_only_its_owner_reads_it(bundle: Path, run: RunLayout, tmp_path: Path) -> None:
    key = keys_folder() / "signing.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert state_folder() in key.parents
    report = seal(run.trial("trial-1").root, tmp_path / "one.belljar")
    assert report.fingerprint == verify_bundle(bundle).fingerprint
    assert verify_bundle(bundle).standing == "own"
    key.chmod(0o644)
    with pytest.raises(BelljarError, match="read by others"):
        seal(run.root, tmp_path / "two.belljar")


def test_a_key_that_was_remembered_has_a_name(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = verify_bundle(bundle).fingerprint
    elsewhere(monkeypatch, tmp_path)
    remember(mark, "the northern lab")
    report = verify_bundle(bundle)
    assert (report.standing, report.signer) == ("known", "the northern lab")
    assert verify_bundle(bundle, key=mark).ok
    assert verify_bundle(bundle, key="the northern lab").ok
    assert not verify_bundle(bundle, key="the southern lab").ok
    assert not verify_bundle(bundle, key="0" * 64).ok


@pytest.mark.parametrize("name", ["bundle.json", "study.json", "ledgers/000001.jsonl", "ledgers/000002.jsonl"])
def test_one_changed_byte_anywhere_is_found(name: str, bundle: Path, tmp_path: Path) -> None:
    files = members(bundle)
    data = bytearray(files[name])
    data[len(data) // 2] ^= 1
    changed = repack(bundle, files | {name: bytes(data)})
    assert not verify_bundle(changed).ok
    with pytest.raises(BelljarError):
        open_bundle(changed, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@given(cut=st.floats(0, 0.999))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_bundle_never_opens_and_leaves_nothing(cut: float, bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    short = tmp_path / "short.belljar"
    short.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises((IntegrityError, UsageError)):
        open_bundle(short, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def _foreign() -> Iterator[tuple[str, Callable[[dict[str, bytes]], dict[str, bytes]]]]:
    yield "a file more", lambda files: files | {"extra": b"x"}
    yield "a path that leads out", lambda files: files | {"../../evil": b"x"}
    yield "an absolute path", lambda files: {k if k != "study.json" else "/etc/x": v for k, v in files.items()}
    yield "a file less", lambda files: {k: v for k, v in files.items() if k != "ledgers/000002.jsonl"}
    yield "another order", lambda files: dict([*list(files.items())[:2], *reversed(list(files.items())[2:])])
    yield "no signature", lambda files: {k: v for k, v in files.items() if k != "signature.json"}


@pytest.mark.parametrize(("what", "change"), list(_foreign()), ids=[what for what, _ in _foreign()])
def test_what_the_index_does_not_announce_is_refused(
    what: str, change: Callable[[dict[str, bytes]], dict[str, bytes]], bundle: Path, tmp_path: Path
) -> None:
    changed = repack(bundle, change(members(bundle)))
    with pytest.raises(IntegrityError):
        open_bundle(changed, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, bundle: Path, tmp_path: Path) -> None:
    def change(member: tarfile.TarInfo) -> None:
        if member.name == "study.json":
            member.type, member.linkname = kind, "/etc/passwd"

    with pytest.raises(IntegrityError):
        open_bundle(repack(bundle, members(bundle), change), tmp_path / "out")


def test_a_bomb_is_not_unpacked(bundle: Path, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zstandard.ZstdCompressor(level=1).stream_writer(packed, closefd=False) as stream:
        for _ in range(512):
            stream.write(bytes(1024 * 1024))
    bomb = tmp_path / "bomb.belljar"
    bomb.write_bytes(packed.getvalue())
    with pytest.raises(IntegrityError):
        open_bundle(bomb, tmp_path / "out")
    tail = tmp_path / "tail.belljar"
    tail.write_bytes(bundle.read_bytes() + packed.getvalue())
    with pytest.raises(IntegrityError, match="goes on after its end"):
        open_bundle(tail, tmp_path / "out")


SKIPPED = b"\x50\x2a\x4d\x18" + (6).to_bytes(4, "little") + b"hidden"


@pytest.mark.parametrize("tail", [SKIPPED, zstandard.compress(b""), SKIPPED + zstandard.compress(b""), b"\0"])
def test_nothing_hides_behind_the_frame(tail: bytes, bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "tail.belljar"
    changed.write_bytes(bundle.read_bytes() + tail)
    assert "goes on after its end" in verify_bundle(changed).problems[0]


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_of_the_file_is_answered_not_raised(data: st.DataObject, bundle: Path, tmp_path: Path) -> None:
    """Past the magic, which says that it is a bundle at all. What unpacks to the very same bytes is the same bundle."""
    whole = bytearray(bundle.read_bytes())
    whole[data.draw(st.integers(4, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    flipped = tmp_path / "flipped.belljar"
    flipped.write_bytes(whole)
    if verify_bundle(flipped).ok:
        assert members(flipped) == members(bundle)


def with_header(bundle: Path, field: slice, value: bytes) -> Path:
    """The bundle with one field of the tar header of its study.json set, and a checksum that fits."""
    with zstandard.open(bundle, "rb") as stream:
        plain = bytearray(stream.read())
    at = plain.index(b"study.json" + bytes(90))
    block = plain[at : at + 512]
    block[field] = value.ljust(field.stop - field.start, b"\0")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    plain[at : at + 512] = block
    changed = bundle.parent / "changed.belljar"
    changed.write_bytes(zstandard.compress(bytes(plain)))
    return changed


FIELDS = {
    "mode": (slice(100, 108), b"0000777"),
    "owner": (slice(108, 116), b"0001750"),
    "time": (slice(136, 148), b"15000000000"),
    "link": (slice(157, 257), b"/etc/passwd"),
    "user": (slice(265, 297), b"root"),
    "folder": (slice(345, 500), b"../../.."),
    "padding": (slice(500, 512), b"hidden"),
    "name": (slice(0, 100), b"\xff" * 100),
}


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_not_signed_in_a_header_must_be_what_every_bundle_says(field: str, bundle: Path) -> None:
    assert verify_bundle(with_header(bundle, slice(0, 100), b"study.json")).ok
    report = verify_bundle(with_header(bundle, *FIELDS[field]))
    assert report.problems[0].endswith("holds something that is no ordinary file.")


def test_a_body_that_cannot_be_linked_is_copied_and_takes_its_room(tmp_path: Path) -> None:
    """Another file system refuses a link as one that has no more of them does."""
    data = b"a body" * 1000
    file = BundledFile(name="blobs/ab/x", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert tmp_path.stat().st_dev != Path(folder).stat().st_dev, "the test needs two file systems"
        places = [tmp_path / "first", Path(folder) / "second", Path(folder) / "third", tmp_path / "fourth"]
        room = _Room(tmp_path)
        room.left = 2 * len(data)
        _write_file(_Archive(io.BytesIO(data + bytes(512)), "x"), file, places, room)
        assert [place.read_bytes() for place in places] == [data] * 4
        assert (room.left, places[2].stat().st_nlink) == (0, 2)
        for place in places:
            place.unlink()
        with pytest.raises(NotReadyError):
            _write_file(_Archive(io.BytesIO(data + bytes(512)), "x"), file, places, room)


def resigned(bundle: Path, change: Callable[[bytes], bytes]) -> Path:
    """A stranger's bundle with any index they like, properly signed."""
    files = members(bundle)
    index, key = change(files["bundle.json"]), own_key()
    signature = BundleSignature(public_key=public_bytes(key).hex(), signature=key.sign(index).hex())
    return repack(bundle, files | {"bundle.json": index, "signature.json": signature.model_dump_json().encode()})


def test_a_signed_index_may_still_lie_and_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    size = re.search(rb'"name":"study.json","size":([0-9]+)', members(bundle)["bundle.json"])
    assert size is not None
    changes: list[tuple[bytes, bytes]] = [
        (size[0], b'"name":"study.json","size":8589934591'),
        (b'"name":"study.json"', b'"name":"../study.json"'),
        (b'"name":"study.json"', b'"name":"ledgers/000001.jsonl"'),
        (b'"run":"run-1"', b'"run":"../out"'),
        (b'"trial":"trial-1"', b'"trial":".."'),
        (b'"trial":"trial-1"', b'"trial":"trial-2"'),
        (b'"attempt":1', b'"attempt":0'),
        (b'"events":20', b'"events":19'),
        (b'"withheld":{}', b'"withheld":{"tool.returned.output":1}'),
    ]
    for old, new in changes:
        changed = resigned(bundle, lambda index, old=old, new=new: index.replace(old, new, 1))  # type: ignore[misc]
        with pytest.raises((IntegrityError, NotReadyError)):
            open_bundle(changed, tmp_path / "deep" / "out")
        assert not verify_bundle(changed).ok if b"8589934591" not in new else True
        assert list((tmp_path / "deep").rglob("*.json*")) == []


def test_a_newer_format_is_said_to_be_one(bundle: Path, tmp_path: Path) -> None:
    changed = resigned(bundle, lambda index: index.replace(b'"belljar_bundle":1', b'"belljar_bundle":2', 1))
    with pytest.raises(UsageError, match="format"):
        open_bundle(changed, tmp_path / "out")


def test_an_existing_run_is_not_touched(bundle: Path, run: RunLayout) -> None:
    before = run.trial("trial-1").attempt(1).ledger.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        open_bundle(bundle, run.root.parent)
    assert run.trial("trial-1").attempt(1).ledger.read_bytes() == before


def test_a_ledger_that_does_not_verify_is_not_sealed(run: RunLayout, tmp_path: Path) -> None:
    ledger = run.trial("trial-1").attempt(1).ledger
    ledger.write_bytes(ledger.read_bytes().replace(b"KESTREL", b"KESTRAL", 1))
    with pytest.raises(IntegrityError, match="does not verify"):
        seal(run.root, tmp_path / "bad.belljar")
    assert not (tmp_path / "bad.belljar").exists()


def everything(bundle: Path) -> bytes:
    """Every byte that a reader of the bundle can get at, blobs unpacked."""
    parts = []
    for name, data in members(bundle).items():
        parts.append(zstandard.ZstdDecompressor().decompressobj().decompress(data) if name.endswith(".zst") else data)
    return b"\n".join(parts)


@pytest.mark.parametrize("pattern", ["tool.returned.output", "text:4711-[A-Z]+", "tool.*"])
def test_what_is_withheld_is_gone_from_every_byte_and_the_rest_still_verifies(
    pattern: str, run: RunLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "partial.belljar"
    assert SECRET.encode() in everything_of(run)
    report = seal(run.root, out, patterns=[pattern], verdicts={"summary.json": SECRET.encode()})
    assert SECRET.encode() not in everything(out)
    assert b"KESTREL" not in everything(out)
    assert report.withheld["tool.returned.output"] >= 2
    assert report.repeated["model.called.delta"] >= (0 if pattern.startswith("text:") else 2)
    elsewhere(monkeypatch, tmp_path)
    verified = verify_bundle(out)
    assert verified.ok
    assert verified.withheld == dict(report.withheld)
    assert verified.withheld_files == ("verdicts/summary.json",)
    opened, _ = open_bundle(out, tmp_path / "there")
    first = Trajectory.load(opened.trial("trial-1").root)
    assert [e.header for e in first.events] == [e.header for e in Trajectory.load(run.trial("trial-1").root).events]


def everything_of(run: RunLayout) -> bytes:
    return b"".join(trial.attempt(1).ledger.read_bytes() for trial in run.trials())


def test_bodies_that_only_withheld_fields_refer_to_are_left_out(run: RunLayout, tmp_path: Path) -> None:
    whole = seal(run.root, tmp_path / "whole.belljar")
    report = seal(run.root, tmp_path / "partial.belljar", patterns=["effect.file.content", "tool.returned.output"])
    assert whole.withheld_blobs == 0
    assert report.withheld_blobs == 4
    assert not [name for name in members(tmp_path / "partial.belljar") if name.startswith("blobs/")]


def test_reasoning_is_chosen_only_where_there_is_some(run: RunLayout, tmp_path: Path) -> None:
    out = tmp_path / "quiet.belljar"
    report = seal(run.root, out, patterns=["*.reasoning"])
    assert report.withheld == {"model.called.reply": 2}
    opened, _ = open_bundle(out, tmp_path / "there")
    replies = [body.reply.content for _, body in Trajectory.load(opened.trial("trial-1").root).of(ModelCalled)]
    assert replies[0] == "[withheld]"
    assert replies[1] == "Let me."
    assert b"I look first." not in everything(out)


def test_a_pattern_that_chooses_nothing_is_an_error(run: RunLayout, tmp_path: Path) -> None:
    for pattern in ("tool.returned.ouput", "text:nowhere to be found", "tool.called.tool"):
        with pytest.raises(UsageError, match="Nothing is withheld"):
            seal(run.root, tmp_path / "typo.belljar", patterns=[pattern])
    assert not (tmp_path / "typo.belljar").exists()


def test_text_that_cannot_be_withheld_stops_the_seal_unless_accepted(run: RunLayout, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing can be withheld"):
        seal(run.root, tmp_path / "some.belljar", patterns=["text:bash"])
    report = seal(run.root, tmp_path / "some.belljar", patterns=["text:bash"], partial=True)
    assert report.still_readable["tool.called.tool"] == 6


def test_a_seal_of_a_seal_says_what_is_missing_from_both(run: RunLayout, tmp_path: Path) -> None:
    seal(run.root, tmp_path / "one.belljar", patterns=["effect.file.path"])
    opened, _ = open_bundle(tmp_path / "one.belljar", tmp_path / "there")
    assert next(b for _, b in Trajectory.load(opened.trial("trial-1").root).of(FileEffect)).path == "[withheld]"
    report = seal(opened.root, tmp_path / "two.belljar", patterns=["submitted.report"])
    assert report.withheld["effect.file.path"] == 2
    assert verify_bundle(tmp_path / "two.belljar").ok


GOLDEN = Path(__file__).parents[1] / "golden" / "bundle_v1"


def test_golden_bundles_of_the_first_format_open_for_ever(tmp_path: Path) -> None:
    opened, report = open_bundle(GOLDEN / "whole.belljar", tmp_path / "whole")
    assert (report.ok, report.standing, report.events) == (True, "unknown", 20)
    trial = Trajectory.load(opened.trial("trial-1").root)
    assert trial.problems == []
    assert [body.output.text[:5] for _, body in trial.of(ToolReturned)] == ["hello", "", "line ", "submi"]
    report = verify_bundle(GOLDEN / "withheld.belljar")
    assert report.ok
    assert report.withheld == {"model.called.delta": 1, "model.called.reply": 1, "tool.returned.output": 1}
