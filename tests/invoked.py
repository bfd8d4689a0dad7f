"""Commands in this process: what they print, and whatever they raise that no user should see."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from sandbox.cli import application


def invoke(*arguments: object, answers: str = "") -> Result:
    """`belljar` with these arguments and `answers` as its standard input. Raises what the command raised, but for its exit."""
    result = CliRunner().invoke(application(), [str(a) for a in arguments], input=answers)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
