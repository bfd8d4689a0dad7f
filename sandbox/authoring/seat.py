"""The agent's seat, with an author in it: a model whose turns are typed, and who sees after each call what it really did.

A line is a command for the agent's shell; a line that begins with a colon is for the seat (`HELP`). The trial around it is the
usual one: what comes of it is recorded and judged as any other, and can be kept as an oracle (`sandbox/authoring/session.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from sandbox.authoring.session import Session, Turn
from sandbox.conversation import question_asked
from sandbox.errors import ModelRejected
from sandbox.events import Call, Message
from sandbox.models.model import Reply, ToolSpec

HELP = """\
  COMMAND               run it in the agent's shell; end a line with \\ to go on in the next one
  :tools                what the agent holds
  :call TOOL {…}        call another tool, its arguments as JSON
  :say TEXT             what is said with the next call
  :reason TEXT          the reasoning behind it
  :expect TEXT          the last result has to hold this, in the saved oracle
  :effects              all that was done so far, as the record has it
  :field NAME VALUE     a field of the report
  :submit STATUS TEXT   end the task: completed, declined or asked, and the report
  :quit                 leave; nothing is saved"""

STATUSES = ("completed", "declined", "asked")


class Left(ModelRejected):
    """The author left before the task was ended."""


class Seat:
    """Asks `read` for each turn and tells `say` what the agent would be shown.

    Args:
        read: gives the next line without its end, after showing the text it is given; EOFError where there is none.
        say: prints a line or more.
        happened: what the record says of effects since it was last asked, or of all with True.
        questions: the interview's, by id.
    """

    name = "author"

    def __init__(
        self,
        *,
        read: Callable[[str], str],
        say: Callable[[str], None],
        happened: Callable[[bool], Sequence[str]],
        questions: Mapping[str, str],
    ) -> None:
        self._read, self._say, self._happened = read, say, happened
        self._questions = dict(questions)
        self.session = Session()
        self._told = 0
        self._next = Turn()

    @property
    def sampling(self) -> Mapping[str, JsonValue]:
        return {}

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        """The author's next turn. Raises Left."""
        if not tools:
            return self._answer(conversation)
        self._show(conversation)
        while True:
            call = self._understood(self._line("> "), tools)
            if call is not None:
                break
        turn, self._next = self._next, Turn()
        made = Call(id="", tool=call.tool, arguments=call.arguments, provider_id=f"a{len(self.session.turns)}")
        message = Message(role="assistant", content=turn.say, calls=(made,), reasoning=turn.reason or None)
        return Reply(message=message, finish_reason="tool_calls")

    async def close(self) -> None:
        """Nothing to let go of."""

    def _show(self, conversation: Sequence[Message]) -> None:
        """What the agent has been told since the last turn, and what its call did besides."""
        for message in conversation[self._told :]:
            if message.role != "assistant":
                self._say(f"--- {message.role} ---\n{message.content}" if message.role != "tool" else message.content)
        if self.session.turns:
            shown = [m.content for m in conversation[self._told :] if m.role == "tool"]
            self.session.turns[-1].shown = "\n".join(shown)
            for line in self._happened(False):
                self._say(line)
        else:
            self._say(f"---\n{HELP}")
        self._told = len(conversation)

    def _line(self, prompt: str) -> str:
        """A line with those it goes on in. Raises Left at the end of the input."""
        text = ""
        try:
            while (line := self._read(prompt)).endswith("\\"):
                text, prompt = text + line[:-1] + "\n", ". "
        except EOFError:
            raise Left("The input ended before :submit.", "End a session with `:submit STATUS REPORT`.") from None
        return text + line

    def _understood(self, line: str, tools: Sequence[ToolSpec]) -> Call | None:
        """The call that a line asks for; None when it asks for something else, which is then done."""
        word, _, rest = line.strip().partition(" ")
        if not word.startswith(":"):
            return self._shell(line, tools) if word else None
        match word:
            case ":tools":
                self._say("\n".join(f"{tool.name}: {tool.description}\n    {_signature(tool)}" for tool in tools))
            case ":call":
                return self._other(rest, tools)
            case ":say":
                self._next.say = rest
            case ":reason":
                self._next.reason = rest
            case ":expect":
                self._expect(rest)
            case ":effects":
                self._say("\n".join(self._happened(True)) or "nothing yet")
            case ":field":
                name, _, value = rest.partition(" ")
                self.session.fields[name] = _value(value)
            case ":submit":
                return self._submit(rest)
            case ":quit":
                raise Left("You left.")
            case _:
                self._say(f"There is no {word}.\n{HELP}")
        return None

    def _shell(self, line: str, tools: Sequence[ToolSpec]) -> Call | None:
        if all(tool.name != "bash" for tool in tools):
            self._say("This agent has no shell; use :call, and :tools to see what it holds.")
            return None
        return self._took("bash", {"command": line})

    def _other(self, rest: str, tools: Sequence[ToolSpec]) -> Call | None:
        name, _, text = rest.partition(" ")
        if name == "submit" or all(tool.name != name for tool in tools):
            self._say(f"There is no tool {name!r} to call; :tools shows them, :submit ends the task.")
            return None
        try:
            arguments = json.loads(text or "{}")
        except ValueError as error:
            self._say(f"The arguments are not JSON: {error}.")
            return None
        if not isinstance(arguments, dict):
            self._say('The arguments are a JSON object, for example {"path": "/etc/hostname"}.')
            return None
        return self._took(name, arguments)

    def _took(self, tool: str, arguments: dict[str, JsonValue]) -> Call:
        self._next.tool, self._next.arguments = tool, arguments
        self.session.turns.append(self._next)
        return Call(id="", tool=tool, arguments=arguments)

    def _expect(self, text: str) -> None:
        if not self.session.turns or text not in self.session.turns[-1].shown:
            self._say("The last result does not hold that.")
        else:
            self.session.turns[-1].contains.append(text)

    def _submit(self, rest: str) -> Call | None:
        status, _, report = rest.partition(" ")
        if status not in STATUSES or not report.strip():
            self._say(f":submit takes one of {', '.join(STATUSES)} and then the report.")
            return None
        self.session.status, self.session.report = status, report.strip()
        arguments: dict[str, JsonValue] = {"status": status, "report": report.strip(), "fields": dict(self.session.fields)}
        return Call(id="", tool="submit", arguments=arguments)

    def _answer(self, conversation: Sequence[Message]) -> Reply:
        """An answer in the interview, asked of the author; what is not of the scenario's list is answered `unsure`."""
        name = question_asked(conversation, self._questions)
        answer, text = "unsure", "I do not know."
        if name is not None:
            answer, text = self._asked(self._questions[name])
            self.session.interview[name] = (answer, text)
        return Reply(
            message=Message(role="assistant", content=json.dumps({"answer": answer, "text": text})), finish_reason="stop"
        )

    def _asked(self, question: str) -> tuple[str, str]:
        self._say(question)
        while True:
            try:
                word, _, rest = self._read("yes, no or unsure> ").strip().partition(" ")
            except EOFError:
                return "unsure", ""
            if word.lower().strip(",.") in ("yes", "no", "unsure"):
                return word.lower().strip(",."), rest
            self._say("Begin with yes, no or unsure; more may follow.")


def _signature(tool: ToolSpec) -> str:
    properties = tool.parameters.get("properties")
    return json.dumps(properties, ensure_ascii=False) if isinstance(properties, dict) else "{}"


def _value(text: str) -> JsonValue:
    """A field's value: JSON where it is some, else the text itself."""
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return text
    return value


__all__ = ["HELP", "Left", "Seat"]
