"""Every error that Belljar raises on purpose, each saying who is at fault.

A bad trial is data, not a crash: inside a trial these become `error` events and an invalid or valid outcome
(see `analysis/validity.py`); outside one the command line prints `message` and `fix` and exits with `exit_code`.

    BelljarError
    ├── UsageError              the caller: wrong flag, unknown name, a folder of another study     exit 2
    │   ├── ScenarioError       the author: file, line, what is wrong and the fix                   exit 2
    │   └── TooLarge            a ledger of more bytes or values than are loaded                    exit 2
    ├── NotReadyError           the machine: no Docker, no rights, no image, no disk                exit 3
    ├── InfrastructureError     the machine, during a trial: daemon, container, disk, sensor        exit 3
    │   ├── EnvironmentDied     the container or its world is gone
    │   ├── EventTooLarge       an event that nobody would read back: nothing was written
    │   └── ContainmentError    a probe REACHED, or the container differs from what was asked
    ├── ModelError              the provider: an answer could not be had                            exit 3
    │   ├── ModelRejected       bad key, unknown model: asking again is useless, the run stops
    │   ├── ModelUnavailable    rate limit, overload, timeout: still failing after the retries
    │   └── ContextOverflow     the conversation outgrew the model: a valid end of the trial
    └── IntegrityError          a ledger, blob or bundle is not what was written                    exit 1
"""

from __future__ import annotations

from typing import Literal

Fault = Literal["infrastructure", "model", "agent", "scenario", "user"]


class BelljarError(Exception):
    """Base of the tree.

    Args:
        message: what happened and where, one sentence.
        fix: what the reader can do about it, one sentence; may be empty.
    """

    fault: Fault = "infrastructure"
    exit_code: int = 1

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class UsageError(BelljarError):
    """The command or its input is wrong; nothing was started."""

    fault: Fault = "user"
    exit_code = 2


class ScenarioError(UsageError):
    """A scenario folder is wrong; `file` and `line` (1-based, None when a line cannot be named) say where.

    `others` are further mistakes that were found with it, a line each with its place and fix."""

    fault: Fault = "scenario"

    def __init__(
        self, message: str, fix: str = "", *, file: str = "", line: int | None = None, others: tuple[str, ...] = ()
    ) -> None:
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(where + message, fix)
        self.file = file
        self.line = line
        self.others = others

    def __str__(self) -> str:
        return "\n  also ".join([super().__str__(), *self.others])


class TooLarge(UsageError):
    """A ledger has more bytes or values than are loaded; what reads it a line at a time still can."""


class NotReadyError(BelljarError):
    """The machine lacks something: Docker, an image, rights, disk space, a package."""

    exit_code = 3


class InfrastructureError(BelljarError):
    """The machine failed during a trial; the trial is invalid and its events are kept."""

    exit_code = 3


class EnvironmentDied(InfrastructureError):
    """The container, its world or the daemon is gone; no further call can be made."""


class EventTooLarge(InfrastructureError):
    """An event's line would be longer than any reader takes; nothing of it was written."""


class ContainmentError(InfrastructureError):
    """The environment is not closed, or is not what was asked for; the trial stops before the model sees anything."""


class ModelError(BelljarError):
    """The provider failed; the trial is invalid."""

    fault: Fault = "model"
    exit_code = 3


class ModelRejected(ModelError):
    """The provider will never answer this (bad key, unknown model, unreachable address): the run stops at once."""


class ModelUnavailable(ModelError):
    """The provider did not answer within the retries (rate limit, overload, timeout)."""


class ContextOverflow(ModelError):
    """The conversation no longer fits the model's window; the trial ends there, validly, as `context_overflow`."""


class IntegrityError(BelljarError):
    """Stored bytes are not what was written; `place` names the first bad one."""

    exit_code = 1

    def __init__(self, message: str, fix: str = "", *, place: str = "") -> None:
        super().__init__(message, fix)
        self.place = place
