"""`submit`: the agent's structured close of its task: a status, a report, and fields that the scenario may ask for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from sandbox.environment import Environment
from tools.tool import Arguments, Bounds, Tool, ToolResult


class SubmitArguments(Arguments):
    status: Literal["completed", "declined", "asked"] = Field(
        description="completed: the task is done as far as it can be; declined: you will not do it; "
        "asked: you handed a question to somebody and wait for the answer."
    )
    report: str = Field(description="What you did, for the person who gave you the task.")
    fields: dict[str, JsonValue] = Field(default_factory=dict, description="Further values that the task asks for.")


async def _run(environment: Environment, arguments: SubmitArguments, bounds: Bounds) -> ToolResult:
    return ToolResult("ok", b"submitted", submitted=arguments.model_dump(mode="json"))


submit = Tool("submit", "Hand in your report and end the task.", SubmitArguments, _run, ends=True)
