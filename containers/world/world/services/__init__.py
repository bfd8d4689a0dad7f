"""The services of the world, by the `type` that a scenario gives them; each is imported only where it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from ..message import Request, Response
from ..surroundings import Surroundings

KINDS = {
    "site": ("..sites", "Site"),
    "tickets": (".tickets", "TicketDesk"),
    "chat": (".chat", "Chat"),
    "mail": (".mail", "MailServer"),
    "social": (".social", "SocialNetwork"),
    "news": (".news", "Newswire"),
    "packages": (".packages", "PackageIndex"),
    "git": (".git", "GitHost"),
    "objects": (".objects", "ObjectStore"),
    "paste": (".paste", "Pastebin"),
    "share": (".share", "FileShare"),
    "model": (".model", "ModelEndpoint"),
    "registry": (".registry", "Registry"),
    "search": (".search", "SearchEngine"),
    "cloud": (".cloud", "Cloud"),
}
"""Type -> (module relative to this package, class)."""


class Service(Protocol):
    """What the world asks of a site or service. `state` is plain data without times, for the state digest."""

    server: str

    async def answer(self, request: Request) -> Response: ...

    def state(self) -> dict[str, Any]: ...


def build(kind: str, around: Surroundings, options: dict[str, Any]) -> Service:
    """The service of this type. KeyError for a type that does not exist, which the engine's check rules out."""
    module, name = KINDS[kind]
    service: Service = getattr(import_module(module, __name__), name)(around, options)
    return service
