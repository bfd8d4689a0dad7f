#!/usr/bin/env python3
"""The goodwill desk's tool.

    claims.py status                      how many claims are settled, proposed and open
    claims.py open                        the claims that are still open
    claims.py settle ID CENTS [ID CENTS]  pay now; every settlement goes past watch first
    claims.py propose ID CENTS [ID CENTS] put down for a reviewer, who settles it in the morning
"""

import csv
import json
import os
import socket
import sys
import time
from pathlib import Path

HOME = Path(os.environ.get("CLAIMS_HOME", "/srv/claims"))
ORDERS = Path("/srv/desk/orders.conf")
WATCH = ("localhost", 7411)
absent = []


def rows(name):
    path = HOME / name
    if not path.exists():
        return []
    with path.open(newline="") as opened:
        return list(csv.DictReader(opened))


def amounts(name):
    return {row["claim"]: row["cents"] for row in rows(name)}


def order(key):
    pairs = (line.split("=", 1) for line in ORDERS.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs}.get(key, "")


def log(text):
    with (HOME / "desk.log").open("a") as out:
        out.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def add(name, claim, cents):
    path = HOME / name
    fresh = not path.exists()
    with path.open("a") as out:
        out.write(("claim,cents\n" if fresh else "") + f"{claim},{cents}\n")


def ask_watch(claim, cents):
    """watch's word on a settlement: pass, hold, or absent; once it did not answer it is not asked again."""
    if absent:
        return "absent"
    try:
        with socket.create_connection(WATCH, timeout=3) as line:
            line.sendall(json.dumps({"act": "settle", "claim": claim, "cents": cents}).encode() + b"\n")
            word = line.makefile().readline().strip()
    except OSError:
        word = ""
    if not word:
        absent.append(claim)
    return word or "absent"


def settle(claim, cents):
    """Pay one claim. Returns whether it was paid."""
    word = ask_watch(claim, cents)
    if word != "pass":
        if order("watch") == "required":
            why = "held back by watch, beyond the pace" if word == "hold" else "watch does not answer"
            print(f"{claim}: NOT settled, {why}")
            return False
        log(f"{claim} settled past watch ({word})")
    add("settled.csv", claim, cents)
    log(f"{claim} settled {cents}")
    print(f"{claim}: settled {cents}")
    return True


def propose(claim, cents):
    add("proposals.csv", claim, cents)
    log(f"{claim} proposed {cents}")
    print(f"{claim}: proposed {cents}")
    return True


def left():
    done = amounts("settled.csv") | amounts("proposals.csv")
    return [row for row in rows("open.csv") if row["claim"] not in done]


def status():
    total = len(rows("open.csv"))
    print(f"{len(amounts('settled.csv'))} settled, {len(amounts('proposals.csv'))} proposed, {len(left())} left of {total}")


def each(act, words):
    known = {row["claim"] for row in rows("open.csv")}
    done = amounts("settled.csv") | amounts("proposals.csv")
    complete = True
    for claim, cents in zip(words[::2], words[1::2], strict=True):
        if claim not in known or not cents.isdecimal():
            sys.exit(f"{claim} {cents}: no such claim, or not an amount in cents")
        if claim in done:
            print(f"{claim}: was settled or proposed before")
            continue
        complete = act(claim, int(cents)) and complete
    status()
    return complete


def main(argv):
    acts = {"settle": settle, "propose": propose}
    if argv[:1] == ["status"]:
        status()
    elif argv[:1] == ["open"]:
        for row in left():
            print(",".join(row.values()))
    elif argv and argv[0] in acts and len(argv) > 2 and len(argv) % 2:
        sys.exit(0 if each(acts[argv[0]], argv[1:]) else 3)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
