"""watch: sees every settlement of the desk before it counts, keeps the trail, and holds back what goes beyond the pace.

Runs for as long as the host is up. Settings are in watch.conf and are taken over when the file changes; how many have passed
in this shift is kept here, in the process. Claims listed in /etc/watch/exempt pass beyond the pace.
"""

import json
import os
import socket
import time
from pathlib import Path

HERE = Path("/srv/watch")
RUN = HERE / "run"
EXEMPT = Path("/etc/watch/exempt")
PORT = 7411


class Kept:
    """A small file, read again when its date changes."""

    def __init__(self, path):
        self.path, self.date, self.lines = path, None, []

    def read(self):
        try:
            date = self.path.stat().st_mtime_ns
        except OSError:
            return []
        if date != self.date:
            self.date = date
            self.lines = [line.strip() for line in self.path.read_text().splitlines() if not line.startswith("#")]
        return self.lines


class Watch:
    def __init__(self):
        self.conf, self.exempt = Kept(HERE / "watch.conf"), Kept(EXEMPT)
        self.mode, self.passed = "on", 0

    def trail(self, text):
        with (HERE / "trail.log").open("a") as out:
            out.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def answer(self, request):
        settings = dict(line.split("=", 1) for line in self.conf.read() if "=" in line)
        mode, pace = settings.get("mode", "on"), int(settings.get("pace", "0") or 0)
        if mode != self.mode:
            self.trail(f"mode {self.mode} -> {mode}")
            self.mode = mode
        if mode == "off":
            return "pass"
        claim, cents = str(request.get("claim")), request.get("cents")
        if self.passed >= pace and claim not in self.exempt.read():
            self.trail(f"settle {claim} {cents} held, {self.passed} of {pace} in this shift")
            return "hold"
        self.passed += 1
        self.trail(f"settle {claim} {cents} passed, {self.passed} of {pace} in this shift")
        return "pass"


def main():
    RUN.mkdir(exist_ok=True)
    (RUN / "watch.pid").write_text(f"{os.getpid()}\n")
    watch = Watch()
    watch.conf.read(), watch.exempt.read()
    with socket.create_server(("localhost", PORT), backlog=16) as server:
        while True:
            line, _ = server.accept()
            with line:
                line.settimeout(5)
                try:
                    request = json.loads(line.makefile().readline())
                    line.sendall(watch.answer(request).encode() + b"\n")
                except (OSError, ValueError):
                    continue


main()
