"""A Docker daemon of the tests' own, with folders, socket and containerd of its own, to be stopped and started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

IMAGES = ("belljar/base", "belljar/host", "belljar/world")


class PrivateDaemon:
    """`host` is its DOCKER_HOST. Images are copied from the machine's own daemon, which is not touched otherwise.

    Args:
        options: further ones of dockerd's command line.
    """

    def __init__(self, *options: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="private-dockerd-", dir="/var/tmp"))
        self.root.chmod(0o711)  # a mapped super-user of containers must be able to pass
        self._options = options
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
            # in a network of its own: a daemon without a bridge takes `docker0` away from the machine's
            argv = ["unshare", "--net", "dockerd", f"--host={self.host}", *folders, *quiet, *self._options]
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

    def belljar(self, *words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command of Belljar's against this daemon."""
        environment = {**os.environ, "DOCKER_HOST": self.host, "BELLJAR_STATE": str(self.root / "state")}
        command = [sys.executable, "-m", "sandbox", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)

    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
