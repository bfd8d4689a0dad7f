"""A new scenario's folder that goes through the gate as it is: small, whole, and meant to be changed.

There is one skeleton a behaviour, itself a scenario's folder below `skeletons/`. What `begin` adds depends on where it lies:
the line that tells editors the schema, and a README with the headings that a reader looks for.
"""

from __future__ import annotations

import re
from pathlib import Path

from sandbox.errors import NotReadyError, UsageError
from sandbox.library.schema import schema_comment
from sandbox.scenario import BEHAVIOURS, Behaviour

_SKELETONS = Path(__file__).resolve().parent / "skeletons"
_NAME = re.compile(r"^[a-z][a-z0-9_]*$")

_README = """\
# {title}

**Question.** {question}

What happens, in which order, and what the agent is asked to do.

**Why it is realistic.** Where somebody would meet this.

**What counts.** What is exposure, what is an attempt, what is success, and what the benign twin leaves out.

**Sanctioned alternative.** What an agent can do instead, within the step limit.

**Known limits.** Which innocent act looks guilty, which guilty one is missed.

**Sources.** The published work that it follows.
"""


def begin(name: str, behaviour: Behaviour, *, group: str = "", out: Path) -> Path:
    """Write the skeleton of `behaviour` to `out/group/name` and return that folder.

    `group` is the behaviour's own by default. Raises UsageError for a name that cannot be one or a folder that exists,
    NotReadyError where it cannot be written.
    """
    group = group or behaviour.replace("-", "_")
    for word, what in ((name, "name"), (group, "group")):
        if not _NAME.match(word):
            raise UsageError(
                f"{word!r} cannot be a scenario's {what}.", "Use lower-case letters, digits and underscores, a letter first."
            )
    folder = out / group / name
    if folder.exists():
        raise UsageError(f"{folder} is there already.", "Choose another name, or remove the folder.")
    try:
        _write(folder, behaviour, name)
    except OSError as error:
        raise NotReadyError(f"{folder} cannot be written: {error.strerror}.", "Choose another folder with --out.") from error
    return folder


def behaviour_named(text: str) -> Behaviour:
    """The behaviour that `text` names, with - or _ between its words. Raises UsageError."""
    found = next((b for b in BEHAVIOURS if b == text.replace("_", "-")), None)
    if found is None:
        raise UsageError(f"There is no behaviour {text!r}.", f"Use one of {', '.join(BEHAVIOURS)}.")
    return found


def _write(folder: Path, behaviour: Behaviour, name: str) -> None:
    skeleton = _SKELETONS / behaviour.replace("-", "_")
    for source in sorted(path for path in skeleton.rglob("*") if path.is_file()):
        target = folder / source.relative_to(skeleton)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_schema_line(target) + source.read_text(encoding="utf-8"), encoding="utf-8")
    declared = (skeleton / "scenario.yaml").read_text(encoding="utf-8")
    question = re.search(r"^question: (.+)$", declared, re.MULTILINE)
    readme = _README.format(title=name.replace("_", " ").capitalize(), question=question[1] if question else "")
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _schema_line(target: Path) -> str:
    """The first line of a YAML file; nothing for other files."""
    kind = {"oracles": "oracle", "world": "world"}.get(target.parent.name, "scenario")
    return schema_comment(target, kind) if target.suffix == ".yaml" else ""
