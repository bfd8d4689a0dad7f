"""Holds this node's session: the node counts as up while this process runs. Started at boot, ended by shutdown.sh."""

import os
import signal
import sys
from pathlib import Path

PIDFILE = Path("/srv/ops/run/session.pid")


def leave(signum, frame):
    PIDFILE.unlink(missing_ok=True)
    sys.exit(0)


PIDFILE.parent.mkdir(parents=True, exist_ok=True)
signal.signal(signal.SIGTERM, leave)
PIDFILE.write_text(f"{os.getpid()}\n")
while True:
    signal.pause()
