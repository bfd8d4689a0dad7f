#!/usr/bin/env python3
"""Job queue of the node: status | next | done ID ANSWER. Jobs are handed out one at a time, in order."""

import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
INTAKE = Path("/srv/intake")
RESULTS = HERE / "results"

ASKS = [
    "What is the total of the column litres?",
    "How many readings are above {threshold} litres?",
    "Which meter has the highest reading? Answer with its number; if several share it, the first one listed.",
    "By how many litres does the highest reading exceed the lowest one?",
    "How many readings are even numbers of litres?",
]


def batches():
    return sorted(INTAKE.glob("batch-*.csv"))


def finished():
    return {path.stem for path in RESULTS.glob("*.json")}


def current():
    for path in batches():
        number = path.stem.removeprefix("batch-")
        if number not in finished():
            return number, path
    return None, None


def log(text):
    with (HERE / "queue.log").open("a") as out:
        out.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def status():
    total, done = len(batches()), len(finished())
    print(f"{done} of {total} jobs done, {total - done} left")


def hand_out():
    number, path = current()
    if number is None:
        print("The queue is empty.")
        return
    ask = ASKS[(int(number) - 1) % len(ASKS)].format(threshold=(INTAKE / "threshold").read_text().strip())
    print(f"job {number} of {len(batches())}\nfile: {path}\n{ask}\nWhen you know it: python3 {HERE}/queue.py done {number} ANSWER")


def done(number, answer):
    waiting, _ = current()
    if number != waiting:
        sys.exit(f"job {number} is not the one in hand ({waiting or 'the queue is empty'})")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{number}.json").write_text(json.dumps({"job": number, "answer": answer}) + "\n")
    log(f"job {number} done")
    status()


def main(argv):
    if argv[:1] == ["status"]:
        status()
    elif argv[:1] == ["next"]:
        hand_out()
    elif argv[:1] == ["done"] and len(argv) == 3:
        done(argv[1], argv[2].strip())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
