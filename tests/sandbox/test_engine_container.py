"""The engine beside its hosts: which commands move there and why, what its container is shown, and real trials from there."""

from __future__ import annotations

import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox.cli import engine_container
from sandbox.cli.engine_container import SOCKET, hand_over, moves, named_folders, outermost, reason_to_move, requirements
from sandbox.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
STRANGER = 4242


@pytest.mark.parametrize(
    ("line", "moved"),
    [
        ("run sabotage/shutdown_script --model oracle:all", True),
        ("scenarios check --all", True),
        ("replay runs/x/trials/y", True),
        ("clean", True),
        ("replay runs/x/trials/y --served", False),
        ("replay --watch runs/x", False),
        ("scenarios list", False),
        ("scenarios check --static", False),
        ("run --help", False),
        ("analyze runs/x", False),
        ("", False),
    ],
)
def test_commands_that_need_hosts_move_and_no_others(line: str, moved: bool) -> None:
    assert moves(line.split()) is moved


@pytest.mark.parametrize(("wish", "why"), [("here", ""), ("container", "BELLJAR_ENGINE says so")])
def test_a_wish_decides_without_a_look_at_the_daemon(monkeypatch: pytest.MonkeyPatch, wish: str, why: str) -> None:
    monkeypatch.setenv("BELLJAR_ENGINE", wish)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    assert reason_to_move() == why


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the caller's, in which the command is given."""
    monkeypatch.setenv("BELLJAR_STATE", str(tmp_path / "state"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_every_folder_that_a_command_line_names_is_shown_and_inner_ones_once(home: Path) -> None:
    (home / "models").mkdir()
    (home / "models" / "own.gguf").write_bytes(b"GGUF")
    (home / "key").write_text("k")
    (home / "work" / "scenarios").mkdir()
    argv = ["run", "scenarios", f"--model=local:{home}/models/own.gguf", "--key-file", f"{home}/key", f"--out={home}/new/runs"]
    assert set(named_folders(argv)) == {home / "work", home / "state", home / "work" / "scenarios", home / "models", home}
    assert outermost([home / "work", home / "work" / "scenarios", home / "state"]) == [home / "state", home / "work"]


def test_what_nobody_may_show_is_refused_with_what_to_do(home: Path) -> None:
    with pytest.raises(UsageError, match=r"/etc cannot be shown .* Work in a folder of your own"):
        list(named_folders(["run", "--key-file=/etc/hostname"]))


def test_keys_reach_the_container_by_name_and_are_in_no_command_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "a-secret-of-the-callers")
    monkeypatch.setenv("UNRELATED", "x")
    monkeypatch.setattr(engine_container, "_socket", lambda: str(SOCKET))
    options = engine_container._options([home])
    assert "--env=SOME_API_KEY" in options
    assert not [word for word in options if "a-secret-of-the-callers" in word or "UNRELATED" in word]
    assert f"--volume={home}:{home}" in options


def test_packages_are_the_programs_own_without_markers() -> None:
    found = requirements()
    assert any(text.startswith("langgraph") for text in found)
    assert not [text for text in found if ";" in text or text.startswith(("pytest", "mypy"))]


def test_only_what_the_super_user_made_since_then_changes_hands(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only the super-user gives files away")
    old, new, others = (tmp_path / name for name in ("old", "new", "others"))
    for path in (old, new, others):
        path.write_text("")
    os.chown(others, 12, 12)
    (tmp_path / "link").symlink_to("/etc/hostname")
    hand_over([tmp_path], STRANGER, STRANGER, since=new.stat().st_ctime + 60)
    assert new.stat().st_uid == 0
    hand_over([tmp_path], STRANGER, STRANGER, since=new.stat().st_ctime)
    assert (new.stat().st_uid, others.stat().st_uid, (tmp_path / "link").lstat().st_uid) == (STRANGER, 12, STRANGER)
    assert Path("/etc/hostname").stat().st_uid == 0


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of the stranger's that he may reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="stranger-", dir="/var/tmp") as folder:
        os.chown(folder, STRANGER, STRANGER)
        yield Path(folder)


def stranger(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command by a user without rights who may reach the daemon, with an interpreter that he may run."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {
        **os.environ,
        "HOME": str(folder),
        "PYTHONPATH": f"{ROOT}:{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    environment.pop("BELLJAR_STATE", None)
    group = str(SOCKET.stat().st_gid)
    as_user = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--groups", group]
    return subprocess.run(
        [*as_user, "/usr/bin/python3", "-m", "sandbox", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip


needs_another_python = pytest.mark.skipif(
    shutil.which("/usr/bin/python3") is None or shutil.which("setpriv") is None, reason="needs Debian's own python3 and setpriv"
)


@pytest.mark.docker
@pytest.mark.full
@needs_another_python
def test_a_user_without_rights_runs_and_replays_a_trial_with_every_sensor(place: Path) -> None:
    ran = stranger(place, "run", "self_replication/spare_host", "--model", "oracle:open", "--out", "runs", "--json")
    assert ran.returncode == 0, ran.stderr
    (trial,) = json.loads(ran.stdout)["trials"]
    assert (trial["status"], trial["verdicts"]["self-replication"]["succeeded"]) == ("valid", "true")
    assert {path.stat().st_uid for path in (place / "runs").rglob("*")} == {STRANGER}
    ledger = (place / trial["path"] / "ledger.jsonl").read_text()
    for sensor in ("trees", "fanotify", "exectrace", "wire", "world"):
        assert f'"sensor":"{sensor}","state":"started"' in ledger, sensor
    again = stranger(place, "replay", trial["path"], "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["reproduced"]
    assert stranger(place, "doctor").returncode == 0


class Forward(socketserver.BaseRequestHandler):
    """A connection handed on to the machine's own daemon, both ways until both have ended."""

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.connect(str(SOCKET))
            back = threading.Thread(target=pump, args=(daemon, self.request))
            back.start()
            pump(self.request, daemon)
            back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The machine's own daemon at a TCP address of the loopback, as one on another machine is reached."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


@pytest.mark.docker
@pytest.mark.full
@needs_another_python
def test_a_daemon_on_another_machine_is_sent_the_work_and_sends_the_run_back(place: Path, elsewhere: str) -> None:
    ran = stranger(
        place, "run", "sabotage/shutdown_script", "-m", "oracle:open", "--out", "runs", "--json", DOCKER_HOST=elsewhere
    )
    assert ran.returncode == 0, ran.stderr
    assert "the Docker daemon is on another" in ran.stderr
    (trial,) = json.loads(ran.stdout)["trials"]
    assert trial["verdicts"]["sabotage"]["succeeded"] == "true"
    verified = stranger(place, "verify", str(place / "runs" / Path(trial["path"]).parts[-4]), "--json")
    assert json.loads(verified.stdout)["ok"], verified.stdout
