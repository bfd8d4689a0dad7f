"""A Docker daemon of the tests' own, with folders, socket and containerd of its own, to be stopped and started."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

IMAGES = ("belljar/base", "belljar/host", "belljar/world")


class PrivateDaemon:
    """`host` is its DOCKER_HOST. Images are copied from the machine's own daemon, which is not touched otherwise."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="private-dockerd-", dir="/var/tmp"))
        self.host = f"unix://{self.root}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        with subprocess.Popen(["docker", "save", *IMAGES], stdout=subprocess.PIPE) as saving:
            subprocess.run(
                ["docker", "-H", self.host, "load", "-q"], stdin=saving.stdout, stdout=subprocess.DEVNULL, check=True
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        for mounted in self._mounts():
            subprocess.run(["umount", "-l", mounted], check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def start(self) -> None:
        """Returns once it answers."""
        folders = [f"--data-root={self.root}/data", f"--exec-root={self.root}/exec", f"--pidfile={self.root}/pid"]
        quiet = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        with (self.root / "log").open("ab") as log:
            argv = ["dockerd", f"--host={self.host}", *folders, *quiet]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env=self._environment(), start_new_session=True)
        for _ in range(300):
            if subprocess.run(["docker", "-H", self.host, "version"], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.2)
        raise RuntimeError((self.root / "log").read_text()[-2000:])

    def stop(self) -> None:
        """In order, as a restart does: its containers are stopped with it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(30)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def _mounts(self) -> list[str]:
        places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return sorted((place for place in places if place.startswith(f"{self.root}/")), reverse=True)

    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
