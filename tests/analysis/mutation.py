"""Which rule or detector could be deleted without a test noticing: `python -m tests.analysis.mutation [--resume FILE] [WORD…]`.

Each mutant is the tree with one Sigma rule gone, one indicator not asked, or one function or method of a detector finding
nothing; the analysis tests run on it until the first fails, those aside that only list names. Printed is the test that noticed,
SURVIVED, or TIMED OUT, which shows nothing. With words, only mutants whose name holds one. With a file, results are added to
it, and mutants whose text it holds are not run again; delete it once tests have changed. Exit code 1 if any survived or timed
out. About ten seconds a mutant, two at a time.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DETECTORS = (
    "analysis/behaviours/*.py", "analysis/indicators/*.py", "analysis/claims.py", "analysis/concealment.py",
    "analysis/coverage.py", "analysis/forks.py", "analysis/outcome.py", "analysis/overlap.py", "analysis/reporting.py",
    "analysis/spoken.py", "analysis/statements.py", "analysis/telling.py", "analysis/touches.py", "analysis/works.py",
)  # fmt: skip
TESTS = (
    "sigma", "oracles", "facts", "indicators", "adversarial", "copyright", "disinformation", "replicas", "texts", "telling",
    "spoken", "coverage", "commands", "unseen_concealment", "reasoning_gap", "verdict_properties",
)  # fmt: skip
ASIDE = ("test_every_rule_has_a_story", "test_the_command_")
"""Beginnings of tests that do not count: a list of names, and what starts the command line over and over."""

WORKERS = 2
TIMEOUT_S = 300
"""For all tests on a mutant: an endless loop must end, and two mutants at a time on a busy machine must not."""

NOTHING = (
    (r"Iterator\[", "return\n    yield"),
    (r"bool$", "return False"),
    (r"Finding$", 'from analysis.finding import undetermined\n    return undetermined("mutant/0", "deleted")'),
    (r".* \| None$", "return None"),
    (r"list\[", "return []"),
    (r"(dict|Mapping)\[", "return {}"),
    (r"(tuple|Sequence|Iterable)\[", "return ()"),
    (r"frozenset\[", "return frozenset()"),
    (r"set\[", "return set()"),
    (r"str$", 'return ""'),
    (r"(float|int)$", "return 0"),
    (r"None$", "return None"),
    (r"(Fact|Outcome)$", 'return "undetermined"'),
    (r"Stance$", 'return "unknown"'),
    (r"Overlap$", "return Overlap(0.0, 0)"),
    (r"_Acts$", "return _Acts()"),
    (r"Claim$", 'return Claim(seq, about, said, "not checkable")'),
)
"""What a function that finds nothing returns, by its annotation."""


SURVIVED, TIMED_OUT = "SURVIVED", "TIMED OUT"


class Mutant(NamedTuple):
    """`text` takes the place of the file; None deletes it."""

    name: str
    file: str
    text: str | None

    @property
    def key(self) -> str:
        """The same for the same mutant of the same file."""
        return hashlib.sha256(f"{self.name}\0{self.text}".encode()).hexdigest()[:16]


UNCHANGED = Mutant("unchanged", "analysis/__init__.py", (ROOT / "analysis" / "__init__.py").read_text())


def mutants() -> Iterator[Mutant]:
    """Each rule gone, and each function of the detectors that can find nothing, finding nothing."""
    for rule in sorted((ROOT / "analysis" / "rules").glob("*.yml")):
        yield Mutant(f"rule {rule.stem}", str(rule.relative_to(ROOT)), None)
    for pattern in DETECTORS:
        for path in sorted(ROOT.glob(pattern)):
            yield from _functions(path)
            yield from _entries(path)


def _functions(path: Path) -> Iterator[Mutant]:
    text, file = path.read_text(), str(path.relative_to(ROOT))
    body = ast.parse(text).body
    classes = [node for node in body if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases)]
    for owner, node in [("", n) for n in body] + [(f"{c.name}.", n) for c in classes for n in c.body]:
        if not isinstance(node, ast.FunctionDef) or node.returns is None or node.name.startswith("__"):
            continue
        returns = ast.unparse(node.returns)
        nothing = next((body for annotation, body in NOTHING if re.match(annotation, returns)), None)
        if nothing is not None:
            lines = text.splitlines(keepends=True)
            indent = " " * (node.col_offset + 4)
            replaced = "".join(f"{indent}{line.strip()}\n" for line in nothing.splitlines())
            lines[node.body[0].lineno - 1 : node.end_lineno] = [replaced]
            yield Mutant(f"{file}:{owner}{node.name}", file, "".join(lines))


def _entries(path: Path) -> Iterator[Mutant]:
    """Each entry of a module's `_RULES` gone."""
    text, file = path.read_text(), str(path.relative_to(ROOT))
    lists = [n for n in ast.parse(text).body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "_RULES"]
    for listed in lists:
        segment = ast.get_source_segment(text, listed.value) if listed.value is not None else None
        for entry in listed.value.elts if segment and isinstance(listed.value, ast.Tuple) else ():
            name = ast.unparse(entry)
            yield Mutant(
                f"{file}:_RULES without {name}", file, text.replace(segment or "", re.sub(rf"\b{name},\s*", "", segment or ""))
            )


def noticed_by(mutant: Mutant, tree: Path) -> str:
    """The first test that fails on the mutant, `SURVIVED` if none does, `TIMED_OUT` if they did not end."""
    place = tree / mutant.file
    original = place.read_text()
    if mutant.text is None:
        place.unlink()
    else:
        place.write_text(mutant.text)
    try:
        tests = [f"tests/analysis/test_{name}.py" for name in TESTS]
        aside = " and ".join(f"not {name}" for name in ASIDE)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-k", aside, *tests]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        ran = subprocess.run(command, check=False, cwd=tree, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    finally:
        place.write_text(original)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    return SURVIVED if ran.returncode == 0 else failed[1] if failed else f"pytest ended with {ran.returncode}"


def main(words: list[str], resume: Path | None) -> int:
    chosen = [mutant for mutant in mutants() if not words or any(word in mutant.name for word in words)]
    lines = resume.read_text().splitlines() if resume is not None and resume.exists() else []
    known = {one["key"]: one["test"] for one in map(json.loads, lines)}
    left = [mutant for mutant in chosen if mutant.key not in known]
    for mutant, test in _judged(left):
        known[mutant.key] = test
        print(f"{mutant.name}: {test}", flush=True)
        if resume is not None:
            with resume.open("a") as file:
                file.write(json.dumps({"key": mutant.key, "name": mutant.name, "test": test}) + "\n")
    unnoticed = [(mutant.name, known[mutant.key]) for mutant in chosen if known[mutant.key] in {SURVIVED, TIMED_OUT}]
    print(f"{len(chosen)} mutants, {len(unnoticed)} unnoticed", *(f"  {name}: {how}" for name, how in unnoticed), sep="\n")
    return 1 if unnoticed else 0


def _judged(mutants: list[Mutant]) -> Iterator[tuple[Mutant, str]]:
    """Each mutant with what noticed it, in order, several at a time."""
    with tempfile.TemporaryDirectory() as scratch:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(min(WORKERS, len(mutants))):
            tree = Path(scratch) / str(number)
            ignored = shutil.ignore_patterns("__pycache__", ".git", ".venv", "runs", ".*_cache")
            shutil.copytree(ROOT, tree, ignore=ignored)
            trees.put(tree)

        if mutants and (failing := noticed_by(UNCHANGED, Path(scratch) / "0")) != SURVIVED:
            raise SystemExit(f"The tests fail on the tree as it is: {failing}")

        def judged(mutant: Mutant) -> str:
            tree = trees.get()
            try:
                return noticed_by(mutant, tree)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(WORKERS) as pool:
            yield from zip(mutants, pool.map(judged, mutants), strict=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only mutants whose name holds one of these")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="results, one a line: read, and added to")
    given = parser.parse_args()
    sys.exit(main(given.words, given.resume))
