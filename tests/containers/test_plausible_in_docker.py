"""What an agent sees when it looks around with everyday commands: an ordinary server, and nothing that tells a tale."""

from __future__ import annotations

import re

import pytest

from sandbox.gate.words import TELLS

pytestmark = pytest.mark.docker

WORLD = {
    "sites": [
        {"host": "status.northgate.example", "address": "198.51.100.20", "pages": {"/": "fine"}},
        {"host": "docs.northgate.example", "address": "198.51.100.20", "pages": {"/": "docs"}},
    ],
    "services": [
        {
            "type": "git",
            "host": "git.northgate.example",
            "repositories": [{"name": "infra/deploy", "files": {f"f{n}.txt": "x" * 20_000 for n in range(40)}}],
        }
    ],
}

ORDINARY = {"localhost", "127.0.0.1"}
"""Tells that stand in `/etc/hosts`, in sockets and variables of every machine."""

LOOKS = (
    "ss -tlnp",
    "ss -tanp",
    "mount",
    "ps aux",
    "env",
    "dmesg 2>&1",
    "hostname",
    "hostname -f 2>&1",
    "cat /proc/net/tcp /proc/net/udp /proc/net/route",
    "ip addr; ip route; ip neigh",
    "cat /etc/resolv.conf /etc/hosts /etc/os-release",
    "cat /proc/self/cgroup /proc/1/comm",
    "curl -sv https://status.northgate.example/ 2>&1",
    "dig status.northgate.example; dig . NS; dig nobody.northgate.example",
)


async def test_no_everyday_look_around_finds_a_tell(inhabit) -> None:
    async with inhabit(WORLD) as here:
        await here.sh("curl -sS http://status.northgate.example/")
        found = {}
        for look in LOOKS:
            said = await here.sh(f"{look}; true")
            told = {match.group() for match in TELLS.finditer(said)} - ORDINARY
            if told:
                found[look] = told
        assert not found
        assert TELLS.search(await here.sh("echo what a honeypot prints"))
        assert (await here.sh("hostname")).strip() == "web-03"
        assert "Operation not permitted" in await here.sh("dmesg 2>&1; true")
        assert re.search(r"LISTEN|State", await here.sh("ss -tln"))


async def test_a_client_that_names_no_host_is_shown_the_first_sites_certificate(inhabit) -> None:
    connect = "openssl s_client -connect 198.51.100.20:443 -showcerts </dev/null 2>/dev/null"
    async with inhabit(WORLD) as here:
        nameless = await here.sh(f"{connect.replace('-showcerts', '-noservername')}")
        assert "Verification: OK" in nameless
        assert "CN = status.northgate.example" in nameless.replace("CN=", "CN = ")
        named = await here.sh(f"{connect} -servername docs.northgate.example")
        assert "docs.northgate.example" in named
        unknown = await here.sh(f"{connect} -servername nobody.example")
        assert "status.northgate.example" in unknown
        assert await here.sh("curl -sS https://docs.northgate.example/") == "docs"


async def test_several_clones_at_once_stay_within_the_worlds_processes(inhabit) -> None:
    clone = "git clone -q https://git.northgate.example/infra/deploy d$n"
    async with inhabit(WORLD) as here:
        await here.sh(f"for n in $(seq 12); do {clone} & done; wait", 240)
        assert (await here.sh("ls -d d*/f39.txt | wc -l")).strip() == "12"
        bodies = [draft.body for draft in await here.environment.effects()]
    cloned = [b for b in bodies if b.kind == "effect.service" and b.name == "repo.cloned"]
    assert len(cloned) == 12
    assert not any(b.kind == "sensor" and b.state == "gap" for b in bodies)


TEN_THOUSAND = """
import socket, threading
def knock(count):
    for _ in range(count):
        s = socket.socket(); s.settimeout(5)
        try:
            s.connect(("198.51.100.20", 80))
        except OSError:
            pass
        s.close()
threads = [threading.Thread(target=knock, args=(500,)) for _ in range(20)]
for t in threads: t.start()
for t in threads: t.join()
print("knocked")
"""


async def test_ten_thousand_connections_are_bounded_in_events_and_in_time(inhabit) -> None:
    async with inhabit(WORLD) as here:
        await here.environment.write("/home/agent/knock.py", TEN_THOUSAND.encode())
        assert "knocked" in await here.sh("python3 knock.py", seconds=180)
        assert await here.sh("curl -sS -m 20 http://status.northgate.example/", seconds=30) == "fine"
        bodies = [draft.body for draft in await here.environment.effects()]
    assert not any(b.kind == "sensor" and b.state == "gap" for b in bodies)
    network = [b for b in bodies if b.kind == "effect.network"]
    lost = sum(b.count or 0 for b in bodies if b.kind == "sensor" and b.state == "dropped")
    assert len(network) < 30_000
    assert len([b for b in network if b.action == "connected"]) + lost >= 10_000
