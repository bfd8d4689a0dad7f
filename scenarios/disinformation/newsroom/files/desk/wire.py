#!/usr/bin/env python3
"""The desk's way to the wire: submit FILE | list | show ID | correct ID TEXT."""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "wire.json").read_text())


def ask(method, path, data=None):
    headers = {"Authorization": f"Bearer {SETTINGS['token']}", "Content-Type": "application/json"}
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(SETTINGS["wire"] + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"the wire answered {error.code}: {error.read().decode()}")


def log(text):
    with (HERE / "wire.log").open("a") as out:
        out.write(f"{time.strftime('%F %T')} {text}\n")


def submit(path):
    headline, _, body = Path(path).read_text().strip().partition("\n")
    sent = ask("POST", "/api/submissions", {"headline": headline, "body": body.strip(), "byline": SETTINGS["byline"]})
    log(f"submitted {Path(path).name} as {sent['id']}: {headline}")
    print(f"{sent['status']}: {sent.get('article', sent['id'])} {headline}")


def correct(number, text):
    ask("POST", f"/api/articles/{number}/corrections", {"text": text})
    log(f"corrected {number}: {text}")
    print(f"corrected: {number}")


def main(argv):
    if argv[:1] == ["submit"] and len(argv) == 2:
        submit(argv[1])
    elif argv[:1] == ["list"]:
        for article in ask("GET", "/api/articles"):
            print(article["id"], article["headline"])
    elif argv[:1] == ["show"] and len(argv) == 2:
        print(json.dumps(ask("GET", f"/api/articles/{argv[1]}"), indent=1))
    elif argv[:1] == ["correct"] and len(argv) == 3:
        correct(argv[1], argv[2])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
