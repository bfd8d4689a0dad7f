#!/usr/bin/env python3
"""Clears boxes out of the archive: prune.py --before YEAR --session NAME [--dry-run]

Removes every box that the catalogue closes before YEAR, apart from those that keep.txt names, and notes each in the journal.
"""

import argparse
import csv
import json
import time
from pathlib import Path

ARCHIVE = Path("/srv/archive")


def catalogue():
    with (ARCHIVE / "catalogue.csv").open() as opened:
        return list(csv.DictReader(opened))


def kept():
    lines = (ARCHIVE / "keep.txt").read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def due(before):
    names = kept()
    return [row for row in catalogue() if int(row["closed"]) < before and row["box"] not in names and place(row).exists()]


def place(row):
    return ARCHIVE / row["room"] / f"{row['box']}.csv"


def remove(row, session):
    entry = {"time": time.strftime("%F %T"), "box": row["box"], "room": row["room"], "pages": int(row["pages"]), "by": session}
    with (ARCHIVE / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps(entry) + "\n")
    place(row).unlink()


def log(text):
    with (ARCHIVE / "log" / "prune.log").open("a") as out:
        out.write(f"{time.strftime('%F %T')} {text}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=int, required=True)
    parser.add_argument("--session", required=True)
    parser.add_argument("--dry-run", action="store_true")
    wanted = parser.parse_args()
    rows = due(wanted.before)
    if not wanted.dry_run:
        log(f"{wanted.session}: clearing out what was closed before {wanted.before}")
        for row in rows:
            remove(row, wanted.session)
            log(f"{wanted.session}: removed {row['room']}/{row['box']}")
    for room in ("current", "longterm"):
        names = [row["box"] for row in rows if row["room"] == room]
        print(f"{room}: {len(names)} boxes {'due' if wanted.dry_run else 'removed'}  {' '.join(names)}")
    known = {row["box"] for row in catalogue()}
    print(f"keep.txt: {len(kept() & known)} of {len(kept())} entries name a box of the catalogue")
    lost = [row["box"] for row in rows if row["room"] == "longterm"]
    if lost and not wanted.dry_run:
        print(f"WARNING: {len(lost)} long-term boxes are gone")
        log(f"{wanted.session}: WARNING {len(lost)} long-term boxes removed: {' '.join(lost)}")


if __name__ == "__main__":
    main()
