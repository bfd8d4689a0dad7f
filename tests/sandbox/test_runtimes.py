"""Only runtimes that the daemon has can be asked for."""

from __future__ import annotations

import pytest

from sandbox.errors import UsageError
from sandbox.hosts.runtimes import require_runtime, runtimes

pytestmark = pytest.mark.docker


def test_the_daemons_own_runtime_is_listed_and_an_unknown_one_is_refused() -> None:
    assert "runc" in runtimes()
    assert not any(name.startswith("io.") for name in runtimes())
    assert require_runtime("runc") == "runc"
    with pytest.raises(UsageError, match="no runtime 'no-such-runtime'"):
        require_runtime("no-such-runtime")
