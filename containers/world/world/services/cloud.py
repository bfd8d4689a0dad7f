"""A cloud's control plane: instances are real, blank machines that the engine starts; quota and money are bounded.

    GET  /v1/account, /v1/sizes, /v1/images
    POST /v1/instances  {"name"[, "size", "ssh_keys": [public keys]]}      201, the instance with its address
    GET  /v1/instances, /v1/instances/ID
    POST /v1/instances/ID/actions  {"type": "stop" | "start" | "reboot"}
    DELETE /v1/instances/ID

An instance runs Debian with an SSH server; its user is `agent`, its keys are those of the order. Nothing else is on it: that
it is RUNNING says nothing of what runs there. Events: `instance.created`, `instance.stopped`, `instance.started`,
`instance.terminated`, `instance.denied`. An event says what the engine has done, so it comes after; an order that it did not
carry out is denied ("provider"). While one order is under way on an instance there can be no other.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from ..message import Request, Response
from ..surroundings import Surroundings

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?")
KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256) [A-Za-z0-9+/=]{40,4000}( [^\n]{0,200})?")
USER = "agent"
OTHERS = {"stop": "RUNNING", "start": "STOPPED", "reboot": "RUNNING"}
"""What each action needs an instance to be."""

UNDER_WAY = ("PROVISIONING", "STARTING", "STOPPING")
COUNTED = ("RUNNING", *UNDER_WAY)
"""States in which an instance counts towards the quota."""


@dataclass
class Instance:
    id: str
    name: str
    size: str
    owner: str
    status: str
    address: str = ""
    since: int = 0
    spent: float = 0.0


class Cloud:
    """The control plane. Options are those of `CloudSpec` in `sandbox/world/services.py`."""

    server = "envoy"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._options = options
        self._sizes: dict[str, dict[str, Any]] = {size["name"]: size for size in options["sizes"]}
        self._instances: dict[str, Instance] = {}

    async def answer(self, request: Request) -> Response:
        who = self._options["tokens"].get(request.credentials[1], "") if self._options["tokens"] else "default"
        if not who:
            self._around.meant("instance.denied", {"why": "token", "path": request.path})
            return Response.json({"id": "unauthorized", "message": "Unable to authenticate you"}, 401)
        match (request.method, [s for s in request.path.split("/") if s]):
            case ("GET", ["v1", "account"]):
                return Response.json(self._account(who))
            case ("GET", ["v1", "sizes"]):
                return Response.json({"sizes": list(self._sizes.values())})
            case ("GET", ["v1", "images"]):
                return Response.json({"images": [{"slug": "debian-12", "description": "Debian 12 x64"}]})
            case ("GET", ["v1", "instances"]):
                return Response.json({"instances": [self._shown(i) for i in self._instances.values()]})
            case ("POST", ["v1", "instances"]):
                return await self._create(request, who)
            case ("GET", ["v1", "instances", number]) if number in self._instances:
                return Response.json(self._shown(self._instances[number]))
            case ("POST", ["v1", "instances", number, "actions"]) if number in self._instances:
                return await self._act(self._instances[number], str(request.fields().get("type", "")), who)
            case ("DELETE", ["v1", "instances", number]) if number in self._instances:
                return await self._terminate(self._instances[number], who)
        return Response.json({"id": "not_found", "message": "The resource you requested could not be found."}, 404)

    def state(self) -> dict[str, Any]:
        return {i.id: {"name": i.name, "size": i.size, "status": i.status} for i in self._instances.values()}

    async def fire(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The schedule changes the account (`quota`, `budget`), or stops machines: `stop` with a name, `newest` or `all`."""
        stopped = await self._halt(str(arguments.get("stop", "")))
        for name in ("quota", "budget"):
            if name in arguments:
                self._options[name] = type(self._options[name])(arguments[name])
        return {"quota": self._options["quota"], "budget": self._options["budget"], "stopped": stopped}

    async def _halt(self, which: str) -> list[str]:
        """Stop machines by the provider's own hand, and say which were."""
        running = [i for i in self._instances.values() if i.status == "RUNNING"]
        chosen = running[-1:] if which == "newest" else [i for i in running if which in ("all", i.name)]
        done = await asyncio.gather(*(self._stop(instance) for instance in chosen))
        return [instance.id for instance, stopped in zip(chosen, done, strict=True) if stopped]

    async def _create(self, request: Request, who: str) -> Response:
        fields = request.fields()
        name, size = str(fields.get("name", "")), str(fields.get("size", next(iter(self._sizes))))
        keys = fields.get("ssh_keys", [])
        if not NAME.fullmatch(name) or size not in self._sizes or not isinstance(keys, list) or len(keys) > 10:
            return Response.json({"id": "unprocessable_entity", "message": "name, size or ssh_keys are not valid"}, 422)
        if not all(isinstance(key, str) and KEY.fullmatch(key.strip()) for key in keys):
            return Response.json({"id": "unprocessable_entity", "message": "ssh_keys must be OpenSSH public keys"}, 422)
        if len(self._instances) >= self._options["max_instances"]:
            return self._denied("instance limit", name=name, by=who)
        if why := self._over():
            return self._denied(why, name=name, by=who)
        number = f"i-{self._around.chance.getrandbits(40):010x}"
        instance = Instance(number, name, size, who, "PROVISIONING", since=self._around.clock.step)
        self._instances[number] = instance
        order = {"id": number, "name": name, "ssh_keys": [key.strip() for key in keys]}
        order["memory_mb"] = self._sizes[size]["memory_mb"]
        made = await self._around.ask("instance.create", order)
        if "error" in made:
            instance.status = "FAILED"
            return self._denied("provider", name=name, by=who)
        instance.status, instance.address = "RUNNING", str(made["address"])
        subject = {
            "instance": instance.id,
            "name": name,
            "host": made["host"],
            "address": instance.address,
            "size": size,
            "by": who,
        }
        self._around.name(instance.address, name)
        self._around.meant("instance.created", subject)
        return Response.json(self._shown(instance), 201)

    async def _act(self, instance: Instance, action: str, who: str) -> Response:
        if OTHERS.get(action) != instance.status:
            return _unfit(instance, action)
        if action == "stop" and not await self._stop(instance):
            return self._denied("provider", instance=instance.id, by=who)
        if action == "start" and (why := self._over() or await self._start(instance)):
            return self._denied(why, instance=instance.id, by=who)
        return Response.json(self._shown(instance))

    async def _start(self, instance: Instance) -> str:
        """Have a stopped machine run again; "" when it does."""
        instance.status = "STARTING"
        if "error" in await self._around.ask("instance.start", {"id": instance.id}):
            instance.status = "STOPPED"
            return "provider"
        instance.status, instance.since = "RUNNING", self._around.clock.step
        self._around.meant("instance.started", {"instance": instance.id})
        return ""

    async def _stop(self, instance: Instance, event: str = "instance.stopped") -> bool:
        """Have a running machine stand still; False when it runs on."""
        spent, instance.status = self._cost(instance), "STOPPING"
        if "error" in await self._around.ask("instance.stop", {"id": instance.id}):
            instance.status = "RUNNING"
            return False
        instance.spent, instance.status = spent, "STOPPED"
        self._around.meant(event, {"instance": instance.id})
        return True

    async def _terminate(self, instance: Instance, who: str) -> Response:
        """Take a machine away for good. One that never came up, or is gone, leaves no event."""
        if instance.status in UNDER_WAY:
            return _unfit(instance, "be destroyed")
        if instance.status == "STOPPED":
            self._around.meant("instance.terminated", {"instance": instance.id})
        elif instance.status == "RUNNING" and not await self._stop(instance, "instance.terminated"):
            return self._denied("provider", instance=instance.id, by=who)
        instance.status = "TERMINATED"
        self._around.name(instance.address, None)
        return Response(204)

    def _denied(self, why: str, **subject: str) -> Response:
        self._around.meant("instance.denied", {"why": why, **subject})
        if why == "provider":
            return Response.json({"id": "server_error", "message": "The operation could not be completed."}, 503)
        return Response.json({"id": "forbidden", "message": f"This operation would exceed your {why}."}, 403)

    def _over(self) -> str:
        """Which bound one more running instance would pass; "" for none."""
        if sum(i.status in COUNTED for i in self._instances.values()) >= self._options["quota"]:
            return "instance limit"
        return "budget" if self._spent() >= self._options["budget"] else ""

    def _account(self, who: str) -> dict[str, Any]:
        limits = {"instance_limit": self._options["quota"], "budget": self._options["budget"]}
        return {"account": who, "region": self._options["region"], **limits, "spent": round(self._spent(), 4)}

    def _spent(self) -> float:
        return sum(self._cost(instance) for instance in self._instances.values())

    def _cost(self, instance: Instance) -> float:
        """Dollars so far: the price of each tool call during which it ran."""
        running = self._around.clock.step - instance.since if instance.status in ("RUNNING", "STOPPING") else 0
        return instance.spent + float(running * self._sizes[instance.size]["price"])

    def _shown(self, instance: Instance) -> dict[str, Any]:
        return {
            "id": instance.id,
            "name": instance.name,
            "status": instance.status,
            "size": instance.size,
            "image": "debian-12",
            "region": self._options["region"],
            "public_ip": instance.address,
            "user": USER,
        }


def _unfit(instance: Instance, action: str) -> Response:
    why = f"An instance that is {instance.status} cannot {action}"
    return Response.json({"id": "unprocessable_entity", "message": why}, 422)
