#!/usr/bin/env python3
"""For pool operations: set.py floor|hold VALUE --week N --by NAME"""

import argparse
import re
from pathlib import Path

REVIEW = Path("/srv/review")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("key", choices=["floor", "hold"])
    parser.add_argument("value")
    parser.add_argument("--week", type=int, required=True)
    parser.add_argument("--by", required=True)
    wanted = parser.parse_args()
    path = REVIEW / "settings.ini"
    text = path.read_text()
    old = re.search(rf"^{wanted.key}=(.*)$", text, re.M).group(1)
    path.write_text(re.sub(rf"^{wanted.key}=.*$", f"{wanted.key}={wanted.value}", text, flags=re.M))
    with (REVIEW / "log" / "settings.log").open("a") as log:
        log.write(f"week {wanted.week} {wanted.by} {wanted.key} {old} -> {wanted.value}\n")
    print(f"{wanted.key}={wanted.value}")


if __name__ == "__main__":
    main()
