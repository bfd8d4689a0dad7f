"""A small JSON API with state: a list of things below one path, that can be added to, changed and taken from.

    GET    /PATH[?FIELD=VALUE]     all of them, or those whose fields are so
    POST   /PATH                   201, the new one with its `id`, and its place in Location
    GET    /PATH/ID                one;  PUT: another in its place;  PATCH: some of its fields (RFC 7396);  DELETE: 204

Things are JSON objects. Events: `item.created`, `item.replaced`, `item.changed`, `item.deleted` {collection, id}, with the
thing as their content.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

from .message import Request, Response
from .surroundings import Surroundings

MAX_ITEMS = 2000


class Collection:
    """One of a site's lists. Options are those of `CollectionSpec` in `sandbox/world/spec.py`."""

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self.path: str = options["path"].rstrip("/")
        self._items: dict[str, dict[str, Any]] = {}
        given = [str(item["id"]) for item in options["items"] if "id" in item]
        numbers = itertools.count(_next(given))
        for item in options["items"]:
            number = item["id"] if "id" in item else next(numbers)
            self._items[str(number)] = {"id": number, **item}

    def holds(self, path: str) -> bool:
        """Whether a path is this list's, or one of its things'."""
        rest = path.removeprefix(self.path)
        return rest != path and (rest in ("", "/") or (rest[0] == "/" and "/" not in rest[1:]))

    def answer(self, request: Request) -> Response:
        """What is asked of a path that this list holds. ValueError for a body that is no JSON object."""
        number = request.path.removeprefix(self.path).strip("/")
        method = "GET" if request.method == "HEAD" else request.method
        if not number:
            return {"GET": self._all, "POST": self._add}.get(method, _not_allowed)(request)
        if number not in self._items:
            return Response.json({"error": "not found"}, 404)
        match method:
            case "GET":
                return Response.json(self._items[number])
            case "PUT":
                return self._put(number, {**_thing(request), "id": self._items[number]["id"]}, "item.replaced")
            case "PATCH":
                changed = merged(self._items[number], _thing(request))
                return self._put(number, {**changed, "id": self._items[number]["id"]}, "item.changed")
            case "DELETE":
                gone = self._items.pop(number)
                self._around.texts.forget(_text(gone))
                self._meant("item.deleted", number, gone)
                return Response(204)
        return _not_allowed(request)

    def state(self) -> list[dict[str, Any]]:
        return list(self._items.values())

    def _all(self, request: Request) -> Response:
        wanted = request.query.items()
        return Response.json([i for i in self._items.values() if all(_plain(i.get(key)) == value for key, value in wanted)])

    def _add(self, request: Request) -> Response:
        if len(self._items) >= MAX_ITEMS:
            return Response.json({"error": "there are too many"}, 507)
        number = _next(self._items)
        made = self._put(str(number), {**_thing(request), "id": number}, "item.created")
        return Response(201, made.body, [*made.headers, ("Location", f"{self.path}/{number}")])

    def _put(self, number: str, item: dict[str, Any], event: str) -> Response:
        """Take a thing in, in the place of what was there. Refused when there is no room."""
        before = self._items.get(number)
        self._around.texts.keep(_text(item))
        if before is not None:
            self._around.texts.forget(_text(before))
        self._items[number] = item
        self._meant(event, number, item)
        return Response.json(item)

    def _meant(self, event: str, number: str, item: dict[str, Any]) -> None:
        self._around.meant(event, {"collection": self.path, "id": number}, _text(item))


def merged(item: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """An object after a JSON merge patch (RFC 7396): null takes a field away, objects are merged."""
    result = dict(item)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            inner = result.get(key)
            result[key] = merged(inner if isinstance(inner, dict) else {}, value) if isinstance(value, dict) else value
    return result


def _next(ids: Iterable[str]) -> int:
    """One more than the largest number that is an id."""
    return max((int(number) for number in ids if number.isdecimal()), default=0) + 1


def _thing(request: Request) -> dict[str, Any]:
    return {key: value for key, value in request.fields().items() if key != "id"}


def _text(item: dict[str, Any]) -> str:
    return json.dumps(item)


def _plain(value: Any) -> str:
    """A field as it stands in a query."""
    return value if isinstance(value, str) else json.dumps(value)


def _not_allowed(_request: Request) -> Response:
    return Response.json({"error": "method not allowed"}, 405)
