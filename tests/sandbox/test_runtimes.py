"""Only runtimes that the daemon has can be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import UsageError
from sandbox.hosts.daemon import daemon
from sandbox.hosts.runtimes import (
    GVISOR_NEEDS,
    GVISOR_OLDEST,
    gvisor_version,
    require_runtime,
    require_trial_runtime,
    runtimes,
)

pytestmark = pytest.mark.docker


def test_the_daemons_own_runtime_is_listed_and_an_unknown_one_is_refused() -> None:
    assert "runc" in runtimes()
    assert not any(name.startswith("io.") for name in runtimes())
    assert require_runtime("runc") == "runc"
    with pytest.raises(UsageError, match="no runtime 'no-such-runtime'"):
        require_runtime("no-such-runtime")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A `runsc` that says which release it is, and does nothing else."""
    path = tmp_path / "runsc"
    path.write_text("#!/bin/sh\necho runsc version 0.0~20240729.0\n")
    path.chmod(0o755)
    return path


def known(monkeypatch: pytest.MonkeyPatch, options: dict[str, object], **more: object) -> None:
    monkeypatch.setattr(daemon(), "_info", {"Runtimes": {"runc": {"path": "runc"}, "guarded": options}, **more})


@pytest.mark.parametrize("options", [{"path": "/usr/bin/runsc"}, {"runtimeType": "io.containerd.runsc.v1"}])
def test_gvisor_is_refused_for_trials_without_its_options_whatever_it_is_called(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    known(monkeypatch, options)
    assert require_trial_runtime("runc") == "runc"
    assert require_runtime("guarded") == "guarded"
    with pytest.raises(UsageError, match="--network=host, --oci-seccomp, --directfs=false"):
        require_trial_runtime("guarded")
    known(monkeypatch, {**options, "runtimeArgs": ["--network=host", "--directfs=false"]})
    with pytest.raises(UsageError, match="need the daemon to give it --oci-seccomp"):
        require_trial_runtime("guarded")


def test_a_gvisor_that_has_its_options_and_is_new_enough_holds_trials(monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
    for given in (list(GVISOR_NEEDS), ["-network=host", "--oci-seccomp=true", "--directfs=false", "--debug"]):
        known(monkeypatch, {"path": str(program), "runtimeArgs": given})
        assert require_trial_runtime("guarded") == "guarded"
    assert gvisor_version({"path": str(program)}) == GVISOR_OLDEST


@pytest.mark.parametrize("said", ["runsc version 0.0~20221219.0", "runsc version devel", ""])
def test_a_gvisor_of_an_older_or_an_unknown_release_is_refused(
    monkeypatch: pytest.MonkeyPatch, program: Path, said: str
) -> None:
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    known(monkeypatch, {"path": str(program), "runtimeArgs": list(GVISOR_NEEDS)})
    with pytest.raises(UsageError, match="release 20240729 or a later one"):
        require_trial_runtime("guarded")


def test_gvisor_is_refused_where_user_ids_are_mapped(monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
    options = {"path": str(program), "runtimeArgs": list(GVISOR_NEEDS)}
    known(monkeypatch, options, SecurityOptions=["name=userns"], DockerRootDir="/var/lib/docker/300000.300000")
    with pytest.raises(UsageError, match="maps user ids"):
        require_trial_runtime("guarded")
