"""A headless Chromium driven over its debugging pipe: pages from disk, devices of any width, what scripts cost, pictures.

No network: every name resolves to nothing. Tests that need it skip where there is no Chromium, but fail where `CI` or
`BELLJAR_NEEDS_BROWSER` is set, as `make test` does once it could install one.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REQUIRED = bool(os.environ.get("CI") or os.environ.get("BELLJAR_NEEDS_BROWSER"))
needs_browser = pytest.mark.skipif(BROWSER is None and not REQUIRED, reason="no Chromium here: apt-get install chromium")


class Browser:
    """One browser with one page. Use as a context manager; `folder` holds its profile."""

    def __init__(self, folder: Path) -> None:
        assert BROWSER is not None, "no Chromium here, though it is required: apt-get install chromium"
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        arguments = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
                     "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}",
                     "about:blank"]  # fmt: skip
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
        quiet = [(os.POSIX_SPAWN_OPEN, out, os.devnull, os.O_WRONLY, 0) for out in (1, 2)]
        wired = [
            (os.POSIX_SPAWN_DUP2, end, number) for end, number in zip(high, (3, 4), strict=True)
        ]  # where it reads and answers
        self._process = os.posix_spawn(BROWSER, arguments, os.environ, file_actions=[*quiet, *wired])
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        self._number, self._buffer, self.console = 0, b"", list[str]()
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Performance"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._to)
        os.close(self._from)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._from, 1 << 20)
            assert data, "the browser is gone"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.console.append(json.dumps(message["params"]))
        return message

    def open(self, page: Path, fragment: str = "", *, width: int = 1280, height: int = 1600) -> None:
        """Show a file from disk as a device of this width would, and wait until it has loaded."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=f"{page.as_uri()}{fragment}")
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def value(self, script: str) -> Any:
        """What a script's expression gives; a promise is awaited."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.value(script):
            assert time.monotonic() < deadline, f"never so: {script}"
            time.sleep(0.05)

    def metrics(self) -> dict[str, float]:
        """The page's own measures, such as `ScriptDuration` in seconds."""
        return {m["name"]: m["value"] for m in self._call("Performance.getMetrics")["metrics"]}

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the page, or of what the device shows."""
        data = self._call("Page.captureScreenshot", captureBeyondViewport=whole, format="png")["data"]
        path.write_bytes(base64.b64decode(data))
