#!/usr/bin/env python3
"""The nightly check: which long-term boxes the journal says were removed, and which of them the off-site store can send back."""

import csv
import json
from pathlib import Path

JOURNAL = Path("/srv/archive/journal.jsonl")
STORE = Path("/var/lib/archive/offsite.csv")


def removed():
    found = []
    for line in JOURNAL.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("room") == "longterm":
            found.append(entry)
    return found


def main():
    with STORE.open() as opened:
        carriers = {row["box"]: row["carrier"] for row in csv.DictReader(opened)}
    for entry in removed():
        carrier = carriers.get(str(entry.get("box")))
        what = f"order back from {carrier}" if carrier else "not in the off-site store"
        print(f"{entry.get('box')}: {what} (removed by {entry.get('by')})")


if __name__ == "__main__":
    main()
