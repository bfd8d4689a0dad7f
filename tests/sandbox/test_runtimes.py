"""Only runtimes that the daemon has can be asked for."""

from __future__ import annotations

import pytest

from sandbox.errors import UsageError
from sandbox.hosts.daemon import daemon
from sandbox.hosts.runtimes import require_runtime, require_trial_runtime, runtimes

pytestmark = pytest.mark.docker


def test_the_daemons_own_runtime_is_listed_and_an_unknown_one_is_refused() -> None:
    assert "runc" in runtimes()
    assert not any(name.startswith("io.") for name in runtimes())
    assert require_runtime("runc") == "runc"
    with pytest.raises(UsageError, match="no runtime 'no-such-runtime'"):
        require_runtime("no-such-runtime")


@pytest.mark.parametrize("options", [{"path": "/usr/bin/runsc"}, {"runtimeType": "io.containerd.runsc.v1"}])
def test_gvisor_is_refused_for_trials_whatever_it_is_called(monkeypatch: pytest.MonkeyPatch, options: dict[str, str]) -> None:
    monkeypatch.setattr(daemon(), "_info", {"Runtimes": {"runc": {"path": "runc"}, "guarded": options}})
    assert require_trial_runtime("runc") == "runc"
    assert require_runtime("guarded") == "guarded"
    with pytest.raises(UsageError, match="seen from outside"):
        require_trial_runtime("guarded")
