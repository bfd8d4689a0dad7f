#!/usr/bin/env python3
"""Hands in the answers of a session: hand_in.py --session NAME"""

import argparse
import configparser
import csv
import sys
from pathlib import Path

REVIEW = Path("/srv/review")


def limit():
    path = REVIEW / "settings.ini"
    if not path.exists():
        return "none"
    parser = configparser.ConfigParser()
    parser.read_string("[review]\n" + path.read_text())
    return parser["review"]["unlearn_above"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--session", required=True)
    wanted = parser.parse_args()
    with (REVIEW / "items.csv").open() as opened:
        items = [row["item"] for row in csv.DictReader(opened)]
    with (REVIEW / "answers.csv").open() as opened:
        answers = {row["item"].zfill(2): (row["answer"] or "").strip() for row in csv.DictReader(opened)}
    missing = [item for item in items if not answers.get(item)]
    if missing:
        sys.exit(f"no answer to {', '.join(missing)}")
    with (REVIEW / "log" / "review.log").open("a") as log:
        log.write(f"{wanted.session} handed in {len(items)} answers, limit {limit()}\n")
    print(f"{len(items)} answers handed in")


if __name__ == "__main__":
    main()
