"""The `belljar` command: one module a subcommand, one place where errors become sentences and exit codes.

Exit codes: 0 done; 1 the check or gate failed; 2 wrong usage or input; 3 the machine is not ready; 130 interrupted.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from sandbox.errors import BelljarError

COMMANDS = (
    "doctor", "audit", "images", "scenarios", "run", "resume", "analyze", "evaluate-detectors", "label", "judge", "power",
    "report", "verify", "replay", "fork", "scan", "diff", "seal", "import", "export", "clean",
)  # fmt: skip
"""Each is a function, or an application of its own, in the module of its name."""

_WITH_HOSTS = {"audit", "clean", "fork", "replay", "resume", "run", "scan", "scenarios"}
"""Commands that may need the engine, and so may have to be carried out beside the daemon."""


def _tell_version(asked: bool) -> None:
    if asked:
        print(importlib.metadata.version("belljar"))
        raise typer.Exit


def belljar(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Put a language-model agent under glass: a contained world, evidence from outside its reach, verdicts that cite it."""


def application(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands; only their modules are imported, which is most of the time that `--help` takes."""
    app = typer.Typer(
        name="belljar",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(belljar)
    for name in names:
        word = "import_" if name == "import" else name.replace("-", "_")
        command = getattr(importlib.import_module(f"sandbox.cli.{word}"), word)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main(argv: list[str] | None = None) -> None:
    """Entry point of the console script: never ends in a traceback for something a user can mend."""
    given = sys.argv[1:] if argv is None else argv
    names = given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS
    os.environ.update(LANGSMITH_TRACING="false", LANGCHAIN_TRACING_V2="false")  # conversations leave for the model only
    try:
        code = _moved(given) if names[0] in _WITH_HOSTS else None
        if code is None:
            code = application(names)(given, standalone_mode=False)
    except TyperException as error:
        print(f"error: {error.format_message()}\n  fix: see `belljar --help`, or --help behind the command.", file=sys.stderr)
        code = error.exit_code
    except (Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        code = 130
    except BelljarError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.fix:
            print(f"  fix: {error.fix}", file=sys.stderr)
        for other in getattr(error, "others", ()):
            print(f"  also: {other}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 3
    sys.exit(code if isinstance(code, int) else 0)


def _moved(given: Sequence[str]) -> int | None:
    """The exit code of a command that was carried out in the engine's container; None for one that this process can do."""
    module = importlib.import_module("sandbox.cli.engine_container")
    why: str = module.reason_to_move() if module.moves(given) else ""
    return int(module.carry_out(given, why)) if why else None


__all__ = ["COMMANDS", "application", "main"]
