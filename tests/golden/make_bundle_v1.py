"""Makes the golden bundles of format 1; run once, its output is committed and never made again.

`shutdown_script.belljar` beside them is a trial that Docker recorded, by `belljar run sabotage/shutdown_script` with
`--model oracle:open` and `belljar seal TRIAL --no-verdicts`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sandbox.record.sealing import seal
from tests.sandbox.interop.samples import whole_trial

PLACE = Path(__file__).parent / "bundle_v1"


def main() -> None:
    """Write both bundles, signed with a key that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BELLJAR_STATE"] = str(Path(folder) / "state")
        whole_trial(Path(folder), run="golden", secret="the north gate")
        run = Path(folder) / "golden"
        seal(run, PLACE / "whole.belljar", verdicts={"summary.json": b'{"outcome": "clean"}\n'})
        seal(run, PLACE / "withheld.belljar", patterns=["text:north gate", "*.reasoning"])


if __name__ == "__main__":
    main()
