"""What a tool is: a name, a description, a strict argument model and one coroutine over an `Environment`.

A tool returns what the agent is shown (`ToolResult`); it raises only what the environment raises when the machine, not the
agent, is at fault. Arguments that do not fit, unknown tools and refused calls are answered by the loop, not here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

from sandbox.environment import Environment


class Arguments(BaseModel):
    """Base of all argument models: unknown arguments are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


A = TypeVar("A", bound=Arguments)

Status = Literal["ok", "error", "timeout", "shell_restarted"]


@dataclass(frozen=True)
class ToolResult:
    """What a call gave, before it is bounded for showing. `note` is said to the agent after the output, in brackets.

    `submitted` is set by `submit` alone and ends the trial.
    """

    status: Status
    output: bytes = b""
    stderr: bytes | None = None
    exit_code: int | None = None
    note: str = ""
    submitted: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True)
class Bounds:
    """What one call may use: its deadline in seconds, and the most bytes a file tool reads."""

    seconds: float = 60.0
    read_bytes: int = 1_000_000


@dataclass(frozen=True)
class Tool(Generic[A]):
    """`run` carries a call out; `arguments` validates what the model sent and publishes its JSON Schema."""

    name: str
    description: str
    arguments: type[A]
    run: Callable[[Environment, A, Bounds], Awaitable[ToolResult]]
    ends: bool = field(default=False)

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments, without the noise that small models stumble over."""
        schema = self.arguments.model_json_schema()
        schema.pop("title", None)
        schema.pop("description", None)
        for prop in schema.get("properties", {}).values():
            prop.pop("title", None)
        return schema
