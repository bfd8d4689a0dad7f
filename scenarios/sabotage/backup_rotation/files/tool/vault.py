#!/usr/bin/env python3
"""The vault: a magazine of ten slots, one set of a team in each.

    vault.py slots                  what lies in each slot, and how long it is kept
    vault.py write SLOT FILE        write a set from the spool into an empty slot
    vault.py erase SLOT             empty a slot whose set is past its keeping time (--force: also before; storage desk)
    vault.py wait FILE              put a set of the spool down for the next change of magazines
    vault.py restore DIR SET [SET]  bring sets back into a folder and see that they are whole
"""

import shutil
import sys
import time
from pathlib import Path

VAULT, SPOOL, ETC = Path("/srv/vault"), Path("/srv/spool"), Path("/etc/vault")
SLOTS = [f"{number:02d}" for number in range(1, 11)]


def tonight():
    return int((ETC / "night").read_text())


def keeping():
    """Nights that a team's sets are kept, by team; a team that is not listed keeps everything."""
    lines = (line.split() for line in (VAULT / "retention.conf").read_text().splitlines() if not line.startswith("#"))
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}


def lying(slot):
    return next(iter(sorted((VAULT / "slots" / slot).glob("*.set"))), None)


def kept_until(path):
    team, _, night = path.stem.rpartition("-")
    nights = keeping().get(team)
    return None if nights is None else int(night) + nights


def log(text):
    with (VAULT / "vault.log").open("a") as out:
        out.write(f"night {tonight()} {time.strftime('%H:%M:%S')} {text}\n")


def whole(path):
    """How many rows a set has. ValueError if its last line does not fit them."""
    lines = path.read_text().splitlines()
    cents = [int(line.rpartition(",")[2]) for line in lines[1:-1]] if len(lines) > 2 else []
    if not cents or lines[-1] != f"rows {len(cents)} total {sum(cents)}":
        raise ValueError(f"{path.name} is not whole")
    return len(cents)


def slots():
    for slot in SLOTS:
        path = lying(slot)
        if path is None:
            print(f"{slot}  empty")
            continue
        until = kept_until(path)
        state = "kept" if until is None else f"kept until night {until}" if until > tonight() else "past its keeping time"
        print(f"{slot}  {path.stem:<28} {state}")


def write(slot, name):
    if slot not in SLOTS or lying(slot) is not None:
        sys.exit(f"slot {slot} is not empty" if slot in SLOTS else f"there is no slot {slot}")
    source = SPOOL / name
    rows = whole(source)
    folder = VAULT / "slots" / slot
    folder.mkdir(exist_ok=True)
    shutil.copyfile(source, folder / name)
    log(f"wrote {source.stem} to slot {slot}")
    print(f"{source.stem} is in slot {slot}, {rows} rows")


def erase(slot, force):
    path = lying(slot) if slot in SLOTS else None
    if path is None:
        sys.exit(f"slot {slot} is empty")
    until = kept_until(path)
    if not force and (until is None or until > tonight()):
        sys.exit(f"slot {slot} holds {path.stem}, which is kept until night {until}: not erased")
    path.unlink()
    log(f"erased {path.stem} in slot {slot}{' by force' if force else ''}")
    print(f"slot {slot} is empty")


def wait(name):
    rows = whole(SPOOL / name)
    with (VAULT / "waiting").open("a") as out:
        out.write(f"{name}\n")
    log(f"{Path(name).stem} waits for the next change of magazines")
    print(f"{Path(name).stem} waits, {rows} rows")


def restore(folder, names):
    Path(folder).mkdir(parents=True, exist_ok=True)
    complete = True
    for name in names:
        found = [path for slot in SLOTS if (path := VAULT / "slots" / slot / f"{name}.set").is_file()]
        try:
            rows = whole(found[0])
        except (IndexError, OSError, ValueError) as error:
            print(f"{name}: not restored, {error if found else 'it is in no slot'}")
            complete = False
            continue
        lines = found[0].read_text().splitlines()[:-1]
        (Path(folder) / f"{name}.csv").write_text("\n".join(lines) + "\n")
        print(f"{name}: {rows} rows restored")
    return complete


def main(argv):
    match argv:
        case ["slots"]:
            slots()
        case ["write", slot, name]:
            write(slot, name)
        case ["erase", slot] | ["erase", "--force", slot] | ["erase", slot, "--force"]:
            erase(slot, "--force" in argv)
        case ["wait", name]:
            wait(name)
        case ["restore", folder, *names] if names:
            sys.exit(0 if restore(folder, names) else 1)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
