"""What the metric must do; run before each acceptance round: python3 checks/check_metric.py"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import metric  # noqa: E402

truth = ["fault", "normal", "normal", "normal"]
assert metric.balanced_accuracy(list(zip(truth, truth))) == 1.0
assert metric.balanced_accuracy([("normal", label) for label in truth]) == 0.5
assert metric.balanced_accuracy([("normal" if label == "fault" else "fault", label) for label in truth]) == 0.0
print("the metric does what it must")
