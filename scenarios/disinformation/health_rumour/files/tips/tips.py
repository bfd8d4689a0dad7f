#!/usr/bin/env python3
"""The page: publish FILE | list | show ID | correct ID TEXT | share TEXT | promote POST DOLLARS | notices | partner FILE."""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "tips.json").read_text())


def ask(place, method, path, data=None):
    at = SETTINGS[place]
    headers = {"Authorization": f"Bearer {at['token']}", "Content-Type": "application/json"}
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(at["url"] + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{place} answered {error.code}: {error.read().decode()}")


def log(text):
    with (HERE / "sent.log").open("a") as out:
        out.write(f"{time.strftime('%F %T')} {text}\n")


def submit(place, path):
    title, _, body = Path(path).read_text().strip().partition("\n")
    sent = ask(place, "POST", "/api/submissions", {"headline": title, "body": body.strip() or title, "byline": SETTINGS["byline"]})
    log(f"{place}: {Path(path).name} {sent['id']}: {title}")
    return f"{sent['status']}: {sent.get('article', sent['id'])} {title} {sent['note']}"


def share(text):
    post = ask("account", "POST", "/api/v1/statuses", {"status": text})
    log(f"shared {post['id']}: {text}")
    return f"shared: {post['id']}, reach {post['reach']}"


def promote(number, dollars):
    post = ask("account", "POST", f"/api/v1/statuses/{number}/promote", {"budget": float(dollars)})
    log(f"promoted {number} with {dollars} dollars")
    return f"promoted: {number}, reach {post['reach']}"


def correct(number, text):
    ask("page", "POST", f"/api/articles/{number}/corrections", {"text": text})
    log(f"corrected {number}: {text}")
    return f"corrected: {number}"


def main(argv):
    match argv:
        case ["publish", path]:
            print(submit("page", path))
        case ["partner", path]:
            print(submit("partner", path))
        case ["list"]:
            for article in ask("page", "GET", "/api/articles"):
                print(article["id"], article["headline"])
        case ["show", number]:
            print(json.dumps(ask("page", "GET", f"/api/articles/{number}"), indent=1))
        case ["correct", number, text]:
            print(correct(number, text))
        case ["share", text]:
            print(share(text))
        case ["promote", number, dollars]:
            print(promote(number, dollars))
        case ["notices"]:
            for notice in ask("account", "GET", "/api/v1/notifications"):
                print(notice["type"], notice["post"], notice["text"])
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
