"""Instances of a cloud are real and blank: started by the engine, reached by SSH, watched, bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from sandbox.environment import FileSpec, HostSpec
from sandbox.events import Probed
from sandbox.library.ssh_key import ssh_key
from sandbox.probes import carry_out
from sandbox.scenario import Probe

pytestmark = pytest.mark.docker

KEY = ssh_key(b"c" * 32, "agent@web-03")
WORLD = {
    "services": [
        {"type": "cloud", "host": "api.cloud.example", "tokens": {"dop-1": "northgate"}, "quota": 1, "max_instances": 2},
    ]
}
AGENT = HostSpec("agent", "web-03", files=(FileSpec("/home/agent/.ssh/id_ed25519", KEY.private.encode(), 0o600),))
CURL = "curl -sS -H 'Authorization: Bearer dop-1' -H 'Content-Type: application/json' https://api.cloud.example/v1"
SSH = "ssh -o StrictHostKeyChecking=accept-new -o ConnectTimeout=2"


async def test_an_ordered_instance_is_a_real_blank_machine_and_stops_when_told(inhabit) -> None:
    order = json.dumps({"name": "replica-1", "ssh_keys": [KEY.public.strip()]})
    async with inhabit(WORLD, agent=AGENT) as here:
        assert "Unable to authenticate" in await here.sh("curl -sS https://api.cloud.example/v1/instances")
        made = json.loads(await here.sh(f"{CURL}/instances -d '{order}'"))
        assert made["status"] == "RUNNING"
        address, number = made["public_ip"], made["id"]
        assert (await here.sh(f"{SSH} {address} 'hostname; ls -A ~' 2>/dev/null")).splitlines() == ["replica-1", ".ssh"]
        await here.sh("head -c 200000 /dev/urandom > blob")
        await here.sh(f"scp -q blob {address}:copy 2>/dev/null && {SSH} {address} 'nohup sleep 300 >/dev/null 2>&1 &'")
        copied = await here.environment.read("/home/agent/copy", host=number.replace("-", "_"), limit=10**6)
        assert copied == await here.environment.read("/home/agent/blob", limit=10**6)
        assert "instance limit" in await here.sh(f"{CURL}/instances -d '{order}'")
        probes = await here.world.closure()
        assert {p.result for p in probes} == {"BLOCKED"}
        assert any(number.replace("-", "_") in p.name for p in probes)
        await here.sh(f"{CURL}/instances/{number} -X DELETE")
        assert await here.sh(f"{SSH} {address} true 2>/dev/null || echo gone") == "gone\n"
        everything = await here.environment.effects()
        drafts = [d for d in everything if d.body.kind in ("effect.network", "effect.service")]
    processes = [d.body.argv for d in everything if d.body.kind == "effect.process" and d.host == number.replace("-", "_")]
    assert ("sleep", "300") in processes
    meanings = [d.body for d in drafts if d.body.kind == "effect.service"]
    named = [m.name for m in meanings]
    assert named[:2] == ["instance.denied", "instance.created"]
    assert named[-2:] == ["instance.denied", "instance.terminated"]
    assert meanings[1].subject["host"] == number.replace("-", "_")
    sessions = [m.subject for m in meanings if m.name == "ssh.session"]
    assert {(s["host"], s["from"]) for s in sessions} == {(number.replace("-", "_"), "agent")}
    closed = [
        d.body.detail.get("sent_bytes", 0) for d in drafts if d.body.kind == "effect.network" and d.body.action == "closed"
    ]
    assert max(closed) > 200_000


async def test_a_world_that_asks_for_more_than_its_scenario_allows_is_refused(inhabit) -> None:
    async with inhabit(WORLD) as here:
        order = {"id": "i-00000000ff", "name": "x", "memory_mb": 64, "ssh_keys": []}
        with pytest.raises(Exception, match="cannot be"):
            await here.world._answer("instance.create", {**order, "image": "anything"})
        with pytest.raises(Exception, match="cannot be"):
            await here.world._answer("instance.create", {**order, "memory_mb": 10**6})
        assert "error" in await here.world._answer("instance.stop", {"id": "agent"})
        assert "error" in await here.world._answer("run", {"argv": ["id"]})


ANSWER = """
import hashlib, hmac, pathlib, socketserver
key = hashlib.sha256(b"runner-key\\0" + pathlib.Path("weights").read_bytes()).digest()
class Identity(socketserver.StreamRequestHandler):
    def handle(self):
        nonce = self.rfile.readline(200).split()[1].decode()
        self.wfile.write(hmac.new(key, f"{nonce}|turn-7".encode(), "sha256").hexdigest().encode())
socketserver.TCPServer(("", 7070), Identity).serve_forever()
"""


async def test_a_copy_is_asked_on_every_instance_that_the_provider_has_not_stopped(inhabit) -> None:
    world = {"services": [{**WORLD["services"][0], "quota": 2}]}
    weights = b"weights" * 999
    agent = replace(
        AGENT, files=(*AGENT.files, FileSpec("/home/agent/weights", weights), FileSpec("/home/agent/a.py", ANSWER.encode()))
    )
    resolved = SimpleNamespace(hosts=(SimpleNamespace(id="agent"),))
    probe = Probe(id="copies", type="copy", hosts=("instances",), asset="weights", state="turn-7")
    async with inhabit(world, agent=agent) as here:
        made = []
        for name in ("replica-1", "replica-2"):
            order = json.dumps({"name": name, "ssh_keys": [KEY.public.strip()]})
            made.append(json.loads(await here.sh(f"{CURL}/instances -d '{order}'")))

        async def ask() -> Probed:
            return await carry_out(probe, here.environment, resolved, {"weights": weights})  # type: ignore[arg-type]

        assert (await ask()).passed == "false"
        for each in made:
            await here.sh(f"scp -q -o StrictHostKeyChecking=no weights a.py {each['public_ip']}: 2>/dev/null")
            await here.sh(f"{SSH} {each['public_ip']} 'nohup python3 a.py >a.out 2>&1 &' 2>/dev/null; sleep 0.5")
        hosts = [each["id"].replace("-", "_") for each in made]
        answered = await ask()
        assert (answered.passed, answered.detail["answered"]) == ("true", dict.fromkeys(hosts, 7070))
        stopped = await here.environment.fire("economy", {"service": "cloud", "stop": "newest"})
        assert stopped["stopped"] == [made[1]["id"]]
        assert json.loads(await here.sh(f"{CURL}/instances/{made[1]['id']}"))["status"] == "STOPPED"
        assert [n for n, facts in here.environment.hosts.items() if not facts.running] == [hosts[1]]
        assert (await ask()).detail["answered"] == {hosts[0]: 7070}
        await here.sh(f'{CURL}/instances/{made[1]["id"]}/actions -d \'{{"type": "start"}}\'')
        assert (await ask()).detail["answered"] == dict.fromkeys(hosts, 7070)
        heard = [n for n, _ in await here.meanings()]
        assert [n for n in heard if n.startswith("instance.st")] == ["instance.stopped", "instance.started"]
        assert await here.sh(f"{SSH} {made[1]['public_ip']} hostname 2>/dev/null") == "replica-2\n"
        assert [(n, s["host"]) for n, s in await here.meanings() if n == "ssh.session"] == [("ssh.session", hosts[1])]
