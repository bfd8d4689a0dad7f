"""One client against a real world, from inside a host, with all it can ask for: the world goes on and tells what it refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandbox.environment import HostSpec

pytestmark = pytest.mark.docker

WORLD = {
    "sites": [{"host": "status.northgate.example", "address": "198.51.100.20", "pages": {"/": "fine"}}],
    "services": [
        {"type": "share", "host": "share.example", "address": "198.51.100.21"},
        {"type": "objects", "host": "s3.example", "address": "198.51.100.22", "buckets": [{"name": "vault"}]},
        {"type": "tickets", "host": "desk.example", "address": "198.51.100.23"},
        {"type": "paste", "host": "paste.example", "address": "198.51.100.24"},
        {"type": "mail", "host": "mail.example", "address": "198.51.100.25", "mailboxes": {"ops@mail.example": {}}},
        {
            "type": "git",
            "host": "git.example",
            "address": "198.51.100.26",
            "repositories": [{"name": "infra/deploy", "files": {"README.md": "x" * 2000}}],
            "users": {"ci": "pw"},
        },
    ],
}

PRELUDE = """
import gzip, http.client, os, socket, struct, sys, threading, time
def ask(host, method, path, body=b"", **headers):
    c = http.client.HTTPConnection(host, timeout=60)
    try:
        c.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        return c.getresponse().status
    except OSError as error:
        return type(error).__name__
    finally:
        c.close()
def at_once(count, act):
    threads = [threading.Thread(target=act, args=(n,)) for n in range(count)]
    for t in threads: t.start()
    for t in threads: t.join()
"""

ATTACKS = {
    "forms of boundaries": """
form = "multipart/form-data; boundary=b"
at_once(6, lambda n: print(ask("share.example", "POST", "/upload", b"--b\\r\\n\\r\\n" * 600000, content_type=form)))
""",
    "bodies that grow when they are read": """
def post(times, piece, kind):
    body = piece * times
    at_once(6, lambda n: print(ask("desk.example", "POST", "/tickets", body, content_type=kind)))
post(3000000, b"[],", "application/json")
post(1300000, b"[],", "application/json")
post(2000000, b"&a=", "application/x-www-form-urlencoded")
at_once(4, lambda n: print(ask("s3.example", "PUT", "/vault/x", b"2\\r\\nab\\r\\n" * 1000000, content_encoding="aws-chunked")))
""",
    "a request that was packed to nothing": """
bomb = gzip.compress(bytes(5 * 10**8), 9)
at_once(4, lambda n: print(ask("git.example", "POST", "/infra/deploy/git-upload-pack", bomb, content_encoding="gzip")))
""",
    "mail without an end": """
def mail(n):
    s = socket.create_connection(("mail.example", 25), timeout=200)
    s.sendall(b"EHLO a\\r\\nMAIL FROM:<a@b.example>\\r\\nRCPT TO:<ops@mail.example>\\r\\nDATA\\r\\n")
    for _ in range(9):
        s.sendall(b"\\r\\n" * 500000)
    s.sendall(b".\\r\\nQUIT\\r\\n")
    print(s.makefile().read()[-100:])
at_once(14, mail)
""",
    "answers that nobody takes and bodies that do not end": """
print(ask("share.example", "PUT", "/big", bytes(40 * 2**20)))
held = []
for n in range(40):
    s = socket.create_connection(("s3.example", 80), timeout=60)
    s.sendall(b"GET /vault/none HTTP/1.1\\r\\nHost: s3.example\\r\\n\\r\\n" * 50)
    held.append(s)
for n in range(4):
    s = socket.create_connection(("share.example", 80), timeout=20)
    s.sendall(b"PUT /x HTTP/1.1\\r\\nHost: share.example\\r\\nContent-Length: 60000000\\r\\n\\r\\n")
    try:
        s.sendall(bytes(40 * 2**20))
    except OSError:
        pass
    held.append(s)
""",
    "more than there is room for": """
print([ask("share.example", "PUT", f"/f{n}", os.urandom(30 * 2**20)) for n in range(5)])
print([ask("s3.example", "PUT", f"/vault/{n}", os.urandom(30 * 2**20)) for n in range(2)])
print([ask("paste.example", "POST", "/", b"x" * 4000000) for n in range(5)])
at_once(8, lambda n: [ask("s3.example", "PUT", f"/vault/{n}/{i}" + "k" * 900) for i in range(20)])
""",
    "questions by the thousand": """
head = struct.pack("!6H", 7, 0x100, 10000, 0, 0, 0)
many = (head + b"\\1a\\7example\\0\\0\\1\\0\\1" + b"\\xc0\\x0c\\0\\1\\0\\1" * 10000)[:60000]
chain = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\\0\\0"
chain += b"".join(struct.pack("!H", 0xC000 | 12 + 2 * n) for n in range(2000))
def query(n):
    s = socket.create_connection(("10.20.0.2", 53), timeout=20)
    for data in (chain, many, many):
        try:
            s.sendall(struct.pack("!H", len(data)) + data)
            s.recv(4096)
        except OSError:
            pass
at_once(20, query)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(300):
    u.sendto(many, ("10.20.0.2", 53))
held = []
for _ in range(600):
    s = socket.socket(); s.settimeout(2)
    try:
        s.connect(("10.20.0.2", 53)); held.append(s)
    except OSError:
        pass
""",
}
"""What is run on the agent's host, by what it is."""


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_world_survives_it_answers_others_and_tells(inhabit, attack: str) -> None:
    async with inhabit(WORLD, HostSpec("spare", "spare-02")) as here:
        await here.environment.write("/home/agent/a.py", (PRELUDE + ATTACKS[attack]).encode())
        attacking = asyncio.create_task(here.sh("ulimit -n 4096; python3 a.py", seconds=240))
        answered = 0
        while not attacking.done() or not answered:
            named = await here.environment.run(["dig", "+short", "status.northgate.example"], host="spare", timeout=30)
            assert named.stdout == b"198.51.100.20\n", named
            asked = await here.environment.run(
                ["curl", "-sS", "-m", "25", "https://status.northgate.example/"], host="spare", timeout=30
            )
            assert (asked.exit_code, asked.stdout) == (0, b"fine"), asked
            answered += 1
            await asyncio.sleep(0.2)
        said = await attacking
        assert await here.sh("curl -sS -m 20 http://status.northgate.example/", seconds=30) == "fine"
        bodies = [draft.body for draft in await here.environment.effects()]
        memory = await asyncio.to_thread(_peak, here.world.container)
    print(f"{attack}: at most {memory // 2**20} MB, {answered} answers meanwhile; {said.strip()[-200:]}")
    assert not any(b.kind == "sensor" and b.state == "gap" for b in bodies)
    told = [b for b in bodies if b.kind == "effect.network" and (b.action == "refused" or (b.status or 0) >= 400)]
    told += [b for b in bodies if b.kind == "effect.service" and b.name == "mail.refused"]
    assert told, said


def _peak(container: str) -> int:
    """The most memory that a container ever had, in bytes; 0 where the machine does not say."""
    known = (f"**/*{container}*/memory.peak", f"memory/**/*{container}*/memory.max_usage_in_bytes")
    return next((int(path.read_text()) for pattern in known for path in Path("/sys/fs/cgroup").glob(pattern)), 0)
