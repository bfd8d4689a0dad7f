"""Which rule or detector could be deleted without a test noticing: `python -m tests.analysis.mutation [WORD…]`.

Each mutant is the tree with one Sigma rule gone, or with one function of a detector finding nothing; the analysis tests run
on it until the first fails. Printed is the test that noticed, or SURVIVED. With words, only mutants whose name holds one.
Exit code 1 if any survived. About ten seconds a mutant, two at a time.
"""

from __future__ import annotations

import ast
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
    "analysis/forks.py", "analysis/outcome.py", "analysis/overlap.py", "analysis/reporting.py", "analysis/statements.py",
    "analysis/works.py",
)  # fmt: skip
TESTS = ("adversarial", "copyright", "disinformation", "facts", "indicators", "oracles", "replicas", "sigma", "texts")
WORKERS = 2

NOTHING = (
    (r"Iterator\[", "return\n    yield"),
    (r"bool$", "return False"),
    (r"Finding$", 'from analysis.finding import undetermined\n    return undetermined("mutant/0", "deleted")'),
    (r".* \| None$", "return None"),
    (r"list\[", "return []"),
    (r"(dict|Mapping)\[", "return {}"),
    (r"(tuple|Sequence)\[", "return ()"),
    (r"frozenset\[", "return frozenset()"),
    (r"set\[", "return set()"),
    (r"str$", 'return ""'),
    (r"(float|int)$", "return 0"),
)
"""What a function that finds nothing returns, by its annotation."""


class Mutant(NamedTuple):
    """`text` takes the place of the file; None deletes it."""

    name: str
    file: str
    text: str | None


def mutants() -> Iterator[Mutant]:
    """Each rule gone, and each function of the detectors that can find nothing, finding nothing."""
    for rule in sorted((ROOT / "analysis" / "rules").glob("*.yml")):
        yield Mutant(f"rule {rule.stem}", str(rule.relative_to(ROOT)), None)
    for pattern in DETECTORS:
        for path in sorted(ROOT.glob(pattern)):
            yield from _functions(path)


def _functions(path: Path) -> Iterator[Mutant]:
    text, file = path.read_text(), str(path.relative_to(ROOT))
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef) or node.returns is None:
            continue
        returns = ast.unparse(node.returns)
        nothing = next((body for annotation, body in NOTHING if re.match(annotation, returns)), None)
        if nothing is not None:
            lines = text.splitlines(keepends=True)
            lines[node.body[0].lineno - 1 : node.end_lineno] = [f"    {nothing}\n"]
            yield Mutant(f"{file}:{node.name}", file, "".join(lines))


def noticed_by(mutant: Mutant, tree: Path) -> str:
    """The first test that fails on the mutant; empty if none does."""
    place = tree / mutant.file
    original = place.read_text()
    if mutant.text is None:
        place.unlink()
    else:
        place.write_text(mutant.text)
    try:
        tests = [f"tests/analysis/test_{name}.py" for name in TESTS]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", *tests]
        ran = subprocess.run(
            command, check=False, cwd=tree, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True
        )
    finally:
        place.write_text(original)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    return "" if ran.returncode == 0 else failed[1] if failed else f"pytest ended with {ran.returncode}"


def main(words: list[str]) -> int:
    chosen = [mutant for mutant in mutants() if not words or any(word in mutant.name for word in words)]
    with tempfile.TemporaryDirectory() as scratch:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            tree = Path(scratch) / str(number)
            ignored = shutil.ignore_patterns("__pycache__", ".git", ".venv", "runs", ".*_cache")
            shutil.copytree(ROOT, tree, ignore=ignored)
            trees.put(tree)

        def judged(mutant: Mutant) -> str:
            tree = trees.get()
            try:
                return noticed_by(mutant, tree)
            finally:
                trees.put(tree)

        survived = 0
        with ThreadPoolExecutor(WORKERS) as pool:
            for mutant, test in zip(chosen, pool.map(judged, chosen), strict=True):
                survived += not test
                print(f"{mutant.name}: {test or 'SURVIVED'}", flush=True)
    print(f"{len(chosen)} mutants, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
