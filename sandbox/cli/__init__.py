"""The `belljar` command: one module a subcommand, one place where errors become sentences and exit codes.

Exit codes: 0 done; 1 the check or gate failed; 2 wrong usage or input; 3 the machine is not ready; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer
from typer.exceptions import Abort, TyperException

from sandbox.cli.analyze import analyze
from sandbox.cli.audit import audit
from sandbox.cli.clean import clean
from sandbox.cli.diff import diff
from sandbox.cli.doctor import doctor
from sandbox.cli.evaluate_detectors import evaluate_detectors
from sandbox.cli.export import export
from sandbox.cli.fork import fork
from sandbox.cli.images import images
from sandbox.cli.import_ import import_
from sandbox.cli.judge import judge
from sandbox.cli.label import label
from sandbox.cli.power import power
from sandbox.cli.replay import replay
from sandbox.cli.report import report
from sandbox.cli.resume import resume
from sandbox.cli.run import run
from sandbox.cli.scan import scan
from sandbox.cli.scenarios import scenarios
from sandbox.cli.seal import seal
from sandbox.cli.verify import verify
from sandbox.errors import BelljarError

app = typer.Typer(
    name="belljar",
    help="Put a language-model agent under glass: a contained world, evidence from outside its reach, verdicts that cite it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "doctor": doctor,
    "audit": audit,
    "images": images,
    "run": run,
    "resume": resume,
    "analyze": analyze,
    "evaluate-detectors": evaluate_detectors,
    "label": label,
    "judge": judge,
    "power": power,
    "report": report,
    "verify": verify,
    "replay": replay,
    "fork": fork,
    "scan": scan,
    "diff": diff,
    "seal": seal,
    "import": import_,
    "export": export,
    "clean": clean,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(scenarios, name="scenarios")


def main(argv: list[str] | None = None) -> None:
    """Entry point of the console script: never ends in a traceback for something a user can mend."""
    os.environ.update(LANGSMITH_TRACING="false", LANGCHAIN_TRACING_V2="false")  # conversations leave for the model only
    try:
        code = app(argv, standalone_mode=False)
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
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 3
    sys.exit(code if isinstance(code, int) else 0)


__all__ = ["app", "main"]
