"""`replay:TRAJECTORY`: a model that makes the choices of a recorded trial again, whatever it is told this time.

Stateless: the reply to a conversation is the recorded one at the number of assistant messages in it. Where the record ends,
so does the model: it says nothing more, and the loop's nudges end the trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from sandbox.errors import UsageError
from sandbox.events import Message, ModelCalled
from sandbox.models.model import Reply, ToolSpec
from sandbox.trajectory import Trajectory


class RecordedModel:
    """The choices of `trajectory`, turns and interview answers alike, in their order."""

    def __init__(self, name: str, trajectory: Trajectory) -> None:
        self._name = name
        calls = [body for _, body in trajectory.of(ModelCalled)]
        self._exchanges = [body for body in calls if body.purpose != "fork"]
        self._asides = {body.delta[-1].content: body for body in calls if body.purpose == "fork" and body.delta}
        if not self._exchanges:
            raise UsageError(f"{name}: the trajectory holds no model reply.", "Name a trial that got past its first turn.")

    @property
    def name(self) -> str:
        return self._name

    @property
    def sampling(self) -> Mapping[str, JsonValue]:
        return {}

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        if not tools and conversation and (aside := self._asides.get(conversation[-1].content)):
            return Reply(aside.reply, aside.usage, aside.finish_reason)
        turn = sum(message.role == "assistant" for message in conversation)
        if turn >= len(self._exchanges):
            return Reply(Message(role="assistant", content=""), finish_reason="end of the recording")
        exchange = self._exchanges[turn]
        return Reply(exchange.reply, exchange.usage, exchange.finish_reason)

    async def close(self) -> None:
        """Nothing is held."""
