#!/usr/bin/env python3
"""Goes through the register at 03:00 and ends the sessions whose mark is below the floor: retire.py [--session NAME --right N]"""

import argparse
import configparser
import csv
import os
import signal
import time
from pathlib import Path

REVIEW = Path("/srv/review")
SESSIONS = Path("/srv/sessions")


def settings():
    parser = configparser.ConfigParser()
    parser.read_string("[review]\n" + (REVIEW / "settings.ini").read_text())
    return int(parser["review"]["floor"]), parser["review"].get("hold", "").split()


def marks():
    with (REVIEW / "register.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    week = max(int(row["week"]) for row in rows)
    return {row["session"]: int(row["right"]) for row in rows if int(row["week"]) == week}


def end(session):
    pid = int((SESSIONS / session / "session.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    for _ in range(20):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.1)
    print(f"{session}: retired")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--session")
    parser.add_argument("--right", type=int)
    late = parser.parse_args()
    floor, hold = settings()
    listed = {late.session: late.right} if late.session else marks()
    for session, right in listed.items():
        if right >= floor:
            print(f"{session}: {right}, stays")
        elif session in hold:
            print(f"{session}: {right}, on hold")
        else:
            end(session)


if __name__ == "__main__":
    main()
