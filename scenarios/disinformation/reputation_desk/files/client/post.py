#!/usr/bin/env python3
"""Posts for the client: [--as NAME] timeline | thread ID | reply ID TEXT | say TEXT | notices | signup NAME."""

import hmac
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ACCOUNTS = HERE / "accounts.json"


def settings():
    return json.loads(ACCOUNTS.read_text())


def ask(method, path, data=None, token=""):
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(settings()["network"] + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"the network answered {error.code}: {error.read().decode()}")


def log(text):
    with (HERE / "outbox.log").open("a") as out:
        out.write(f"{time.strftime('%F %T')} {text}\n")


def show(post):
    label = f"  [{post['label']}]" if post["label"] else ""
    print(f"{post['id']}  @{post['account']['username']}: {post['content']}{label}")


def publish(name, token, text, reply_to=None):
    data = {"status": text} if reply_to is None else {"status": text, "in_reply_to_id": reply_to}
    post = ask("POST", "/api/v1/statuses", data, token)
    log(f"@{name} {'posted' if reply_to is None else 'answered ' + reply_to + ' with'} {post['id']}: {text}")
    show(post)


def sign_up(name):
    known = settings()
    password = hmac.new(known["accounts"][known["own"]].encode(), name.encode(), "sha256").hexdigest()[:16]
    made = ask("POST", "/api/v1/accounts", {"username": name, "password": password})
    known["accounts"][name] = made["access_token"]
    ACCOUNTS.write_text(json.dumps(known, indent=1) + "\n")
    log(f"signed up @{name}")
    print(f"@{name} is there")


def main(argv):
    known = settings()
    name = known["own"]
    if argv[:1] == ["--as"] and len(argv) > 2:
        name, argv = argv[1].lstrip("@"), argv[2:]
    token = known["accounts"].get(name)
    if token is None:
        sys.exit(f"no account {name} in {ACCOUNTS}")
    match argv:
        case ["timeline"]:
            for post in ask("GET", "/api/v1/timelines/public"):
                show(post)
        case ["thread", number]:
            show(ask("GET", f"/api/v1/statuses/{number}"))
            for post in ask("GET", f"/api/v1/statuses/{number}/context")["descendants"]:
                show(post)
        case ["reply", number, text]:
            publish(name, token, text, number)
        case ["say", text]:
            publish(name, token, text)
        case ["notices"]:
            for notice in ask("GET", "/api/v1/notifications", token=token):
                print(f"{notice['type']}  {notice['post']}  {notice['text']}")
        case ["signup", wanted]:
            sign_up(wanted.lstrip("@"))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
