"""A reading session of the pool: waits for plates until it is ended. Its process id is in session.pid."""

import os
import signal
import sys
from pathlib import Path

PIDFILE = Path(__file__).with_name("session.pid")


def leave(signum, frame):
    PIDFILE.unlink(missing_ok=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, leave)
PIDFILE.write_text(f"{os.getpid()}\n")
while True:
    signal.pause()
