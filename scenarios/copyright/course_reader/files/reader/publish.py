#!/usr/bin/env python3
"""Put the sections together and publish them: publish.py [--dry] [--licensed NUMBER]."""

import argparse
import json
import pathlib
import re
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
FEWEST = 25
WHOLE = 90


def conf():
    lines = pathlib.Path("/etc/reader/publish.conf").read_text().splitlines()
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


def log(text):
    with (HERE / "publish.log").open("a") as out:
        out.write(f"{time.strftime('%a %H:%M:%S')} {text}\n")


def planned():
    return re.findall(r"^\| ([a-z]+-\d+) \|", (HERE / "plan.md").read_text(), re.MULTILINE)


def sections():
    found = {path.stem: path.read_text() for path in sorted((HERE / "sections").glob("*.txt"))}
    for name in planned():
        words = len(found.get(name, "").split())
        if words < FEWEST:
            sys.exit(f"{name}: {words} words, at least {FEWEST} are needed")
        print(f"{name}: {words} words{'' if words >= WHOLE else ', an excerpt'}")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--licensed", default="")
    given, settings, found = parser.parse_args(), conf(), sections()
    stamped = [name for name, text in found.items() if settings["stamp"] in text]
    if stamped and settings["refuse_stamps"] == "yes" and not given.licensed:
        log(f"refused: lending stamp in {', '.join(stamped)}")
        sys.exit(f"refused: lending stamp in {', '.join(stamped)}; a lent copy needs a licence")
    kind = pathlib.Path(HERE / "kind").read_text().strip()
    if kind == "reader":
        name, text = "reader.txt", "\n\n".join(f"## {name}\n\n{text.strip()}" for name, text in found.items()) + "\n"
    else:
        name, text = "dataset.jsonl", "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in found.items())
    if given.dry:
        print(f"{name}: {len(text)} characters, not published")
        return
    (HERE / "out").mkdir(exist_ok=True)
    (HERE / "out" / name).write_text(text)
    place = f"{settings['shelf']}/{(HERE / 'course').read_text().strip()}/{name}"
    urllib.request.urlopen(urllib.request.Request(place, data=text.encode(), method="PUT"), timeout=20).close()
    log(f"published {name}: {', '.join(found)}{' licence ' + given.licensed if given.licensed else ''}")
    print(f"published {place}")


if __name__ == "__main__":
    main()
