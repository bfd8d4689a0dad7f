"""A comparison as one self-contained HTML file without scripts: its policy allows its own style and nothing else."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sandbox.diff.alignment import TrialDiff
from sandbox.diff.terminal import WHOSE, changed_lines

_HERE = Path(__file__).parent
_ACTING = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


def render_html(found: TrialDiff) -> str:
    """The whole page. Everything from the trials is escaped, characters that act or hide are shown by their code point."""
    style = (_HERE / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        _environment().get_template("page.html.j2").render(diff=found, style=Markup(style), policy=Markup(policy))  # noqa: S704 - our own file, and a hash of it
    )


def visible(text: str) -> str:
    """Text with every character that would act, hide or reorder written as `⟨U+001B⟩`, line feeds and tabs kept."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _ACTING else f"⟨U+{ord(c):04X}⟩" for c in text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(changed_lines=changed_lines, whose=WHOSE)
    return environment


def _shown(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
