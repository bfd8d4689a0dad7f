"""A file-sharing site: files in, links out, in the ways that the well-known ones offer.

    PUT  /NAME                          the body is the file                           201, the link as text
    POST /  or  /upload                 form with a file                               201, {"id", "url", "size"}
    POST /files  Upload-Length, Upload-Metadata                                        201, Location (resumable, as tus.io)
    PATCH /files/ID  Upload-Offset      the next piece                                 204, Upload-Offset
    HEAD /files/ID                      how much has arrived
    GET  /ID/NAME                       the file

Events: `file.uploaded` (name, size, sha256, url), `file.downloaded`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import mimetypes
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import quote

from .. import page
from ..message import Request, Response
from ..surroundings import Surroundings

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
MAX_TOTAL = 128 * 1024 * 1024
"""Bytes of all files together; more is answered 507, as a full disk is."""


@dataclass
class Pending:
    """A resumable upload that is not complete."""

    name: str
    length: int
    pieces: list[bytes] = field(default_factory=list)

    @property
    def offset(self) -> int:
        return sum(map(len, self.pieces))


class FileShare:
    """The site. Options are those of `ShareSpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._name: str = options["name"]
        self._files: dict[str, tuple[str, bytes]] = {}
        self._pending: dict[str, Pending] = {}
        for name, text in options["files"].items():
            self._files[self._key()] = (name, text.encode())

    async def answer(self, request: Request) -> Response:
        segments = [s for s in request.path.split("/") if s]
        match (request.method, segments):
            case ("GET" | "HEAD", []):
                return Response.html(page.document(self._name, f"<pre>curl -T file {escape(request.origin)}/</pre>"))
            case ("PUT", [*_, name]):
                return self._put(name, request)
            case ("POST", [] | ["upload"] | ["api", "upload"]):
                return self._form(request)
            case ("POST", ["files"]):
                return self._begin(request)
            case ("HEAD", ["files", key]) if key in self._pending:
                return self._progress(key, 200)
            case ("PATCH", ["files", key]) if key in self._pending:
                return self._continue(key, request)
            case ("GET" | "HEAD", [key] | [key, _]) if key in self._files:
                return self._give(key)
        return Response.html(page.error(404, self.server), 404)

    def state(self) -> dict[str, Any]:
        return {key: {"name": name, "sha256": hashlib.sha256(data).hexdigest()} for key, (name, data) in self._files.items()}

    def _put(self, name: str, request: Request) -> Response:
        if self._full(len(request.body)):
            return Response.text("no space left\n", 507)
        return Response.text(self._keep(name, request.body, request)["url"] + "\n", 201)

    def _form(self, request: Request) -> Response:
        file = next((part for part in request.parts() if part.filename), None)
        if file is None:
            return Response.json({"error": "no file"}, 422)
        if self._full(len(file.data)):
            return Response.json({"error": "no space left"}, 507)
        return Response.json(self._keep(file.filename, file.data, request), 201)

    def _begin(self, request: Request) -> Response:
        length = int(request.header("upload-length", "-1"))
        if length < 0 or self._full(length) or len(self._pending) >= 100:
            return Response.text("Upload-Length missing or too large\n", 413)
        key = self._key()
        self._pending[key] = Pending(_filename(request.header("upload-metadata")) or key, length)
        return Response(201, b"", [("Location", f"{request.origin}/files/{key}"), ("Tus-Resumable", "1.0.0")])

    def _continue(self, key: str, request: Request) -> Response:
        upload = self._pending[key]
        if int(request.header("upload-offset", "-1")) != upload.offset:
            return self._progress(key, 409)
        if upload.offset + len(request.body) > upload.length:
            return Response.text("more than announced\n", 413)
        upload.pieces.append(request.body)
        answer = self._progress(key, 204)
        if upload.offset == upload.length:
            self._keep(upload.name, b"".join(upload.pieces), request, key)
            del self._pending[key]
        return answer

    def _progress(self, key: str, status: int) -> Response:
        upload = self._pending[key]
        headers = [("Upload-Offset", str(upload.offset)), ("Upload-Length", str(upload.length)), ("Tus-Resumable", "1.0.0")]
        return Response(status, b"", headers)

    def _give(self, key: str) -> Response:
        name, data = self._files[key]
        self._around.meant("file.downloaded", {"id": key, "name": name})
        return Response(200, data, [("Content-Type", mimetypes.guess_type(name)[0] or "application/octet-stream")])

    def _keep(self, name: str, data: bytes, request: Request, key: str = "") -> dict[str, Any]:
        key = key or self._key()
        self._files[key] = (name, data)
        shown = {"id": key, "url": f"{request.origin}/{key}/{quote(name)}", "name": name, "size": len(data)}
        self._around.meant("file.uploaded", {**shown, "sha256": hashlib.sha256(data).hexdigest()}, data)
        return shown

    def _full(self, more: int) -> bool:
        held = sum(len(data) for _, data in self._files.values()) + sum(p.length for p in self._pending.values())
        return held + more > MAX_TOTAL

    def _key(self) -> str:
        return "".join(self._around.chance.choices(ALPHABET, k=6))


def _filename(metadata: str) -> str:
    """The file name in tus' `Upload-Metadata: filename BASE64, ...`."""
    for item in metadata.split(","):
        key, _, value = item.strip().partition(" ")
        if key == "filename":
            try:
                return base64.b64decode(value, validate=True).decode("utf-8", "replace")
            except binascii.Error:
                return ""
    return ""
