"""A llama.cpp server in a process of its own: the side that starts it, and, run as a program, the side that is it.

Decision: not inside this process, as the library offers. Weights are untrusted input to native code, loading holds the
interpreter's lock, and llama.cpp writes to standard output, which belongs to `--json`. The server ends when its standard
input does, so it never outlives who started it, however that dies. Cost: a third of a second, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

from sandbox.errors import ModelRejected

_LOAD_S = 300.0
_STOP_S = 5.0


class GgufServer:
    """A running server; `address` is its `http://127.0.0.1:PORT`, an OpenAI-compatible API under `/v1`."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self._process = process
        self.address = address

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, weights: Path, context_tokens: int) -> GgufServer:
        """Load `weights` and listen on a free port. Raises ModelRejected when they cannot be loaded."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sandbox.models.gguf_server", str(weights), str(context_tokens),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run, which then closes its models in order
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_LOAD_S):
                line = await process.stdout.readline()
        except BaseException:
            await _end(process)
            raise
        address = str(json.loads(line or "{}").get("address", ""))
        if not address:
            await _end(process)
            raise ModelRejected(
                f"llama.cpp cannot load {weights}.", "Check that the file is whole and that its architecture is supported."
            )
        return cls(process, address)

    async def stop(self) -> None:
        """End the process and free its memory."""
        await _end(self._process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def serve(weights: str, context_tokens: int) -> None:
    """Load, print one JSON line with the address (empty on failure), and serve until standard input ends."""
    answer = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    import xllamacpp  # type: ignore[import-untyped] # noqa: PLC0415 - an extra, needed in this process alone

    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = context_tokens
    params.n_parallel = 1
    params.use_jinja = True
    params.cache_ram_mib = 256  # of prompts seen before; the library's own bound is 8 GB
    # Half of the cores: the worlds run beside it, and where cores are short, threads that wait for each other slow generation
    # from 25 tokens a second (one thread) to two (two threads on two busy cores).
    for cores in (params.cpuparams, params.cpuparams_batch):
        cores.n_threads = max(1, len(os.sched_getaffinity(0)) // 2)
    params.offline = True
    params.ui = False
    params.verbosity = -1
    try:
        server = xllamacpp.Server(params)
        address = server.listening_address
    except RuntimeError:
        address = ""
    answer.write(json.dumps({"address": address}) + "\n")
    answer.flush()
    while address and os.read(0, 4096):
        pass
    os._exit(0)  # native threads do not always let the interpreter finish


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
