"""Hostile text made harmless to look at: control, bidirectional and invisible characters are shown by their code point."""

from __future__ import annotations


def visible(text: object, *, lines: bool = False) -> str:
    """`text` with every character that would act, hide or reorder written as `⟨U+001B⟩`; `lines` keeps line feeds and tabs."""
    shown = str(text)
    if shown.isprintable():
        return shown
    kept = "\n\t" if lines else ""
    return "".join(c if c in kept or c.isprintable() else f"⟨U+{ord(c):04X}⟩" for c in shown)
