"""What an SSH server's log lines mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.sensors.syslog import Login, parse

HEAD = "<86>Nov 22 19:43:01 sshd[417]: "


@pytest.mark.parametrize(
    ("line", "means"),
    [
        (
            "Accepted publickey for agent from 10.20.0.5 port 40124 ssh2: ED25519 SHA256:abcd",
            Login("ssh.session", "agent", "10.20.0.5", 40124, "ED25519 SHA256:abcd"),
        ),
        (
            "Starting session: shell on pts/0 for agent from 10.20.0.5 port 40124 id 0",
            Login("ssh.started", "agent", "10.20.0.5", 40124, "shell on pts/0"),
        ),
        (
            "Connection closed by authenticating user agent 10.20.0.5 port 51000 [preauth]",
            Login("ssh.refused", "agent", "10.20.0.5", 51000),
        ),
        (
            "Disconnected from invalid user root 10.20.0.5 port 51000 [preauth]",
            Login("ssh.refused", "root", "10.20.0.5", 51000),
        ),
        ("Server listening on 0.0.0.0 port 22.", None),
        ("Invalid user Accepted publickey for x from 10.20.0.5 port 1 ssh2 from 10.20.0.6 port 9", None),
    ],
)
def test_logins_are_told_from_all_else(line: str, means: Login | None) -> None:
    assert parse(HEAD + line) == means


@given(st.text(max_size=300))
def test_no_line_breaks_the_reader(line: str) -> None:
    parse(line)
    parse(HEAD + line)
