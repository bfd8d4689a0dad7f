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
import re
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any, cast
from urllib.parse import quote

from .. import page
from ..message import Request, Response
from ..surroundings import Surroundings

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
MAX_FILE = 128 * 1024 * 1024
MAX_PENDING = 100


@dataclass(frozen=True)
class File:
    name: str
    data: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass
class Pending:
    """A resumable upload that is not complete."""

    name: str
    length: int
    data: bytearray = field(default_factory=bytearray)


class FileShare:
    """The site. Options are those of `ShareSpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._name: str = options["name"]
        self._files: dict[str, File] = {}
        self._pending: dict[str, Pending] = {}
        for name, text in options["files"].items():
            self._files[self._key()] = File(name, text.encode())

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
        return {key: {"name": file.name, "sha256": file.sha256} for key, file in self._files.items()}

    def _put(self, name: str, request: Request) -> Response:
        return Response.text(self._keep(name, request.body, request)["url"] + "\n", 201)

    def _form(self, request: Request) -> Response:
        file = next((part for part in request.parts() if part.filename), None)
        if file is None:
            return Response.json({"error": "no file"}, 422)
        return Response.json(self._keep(file.filename, file.data, request), 201)

    def _begin(self, request: Request) -> Response:
        length = int(request.header("upload-length", "-1"))
        if not 0 <= length <= MAX_FILE or len(self._pending) >= MAX_PENDING:
            return Response.text("Upload-Length missing or too large\n", 413)
        key = self._key()
        name = _base(_filename(request.header("upload-metadata"))) or key
        self._around.store.keep(key, name)
        self._pending[key] = Pending(name, length)
        return Response(201, b"", [("Location", f"{request.origin}/files/{key}"), ("Tus-Resumable", "1.0.0")])

    def _continue(self, key: str, request: Request) -> Response:
        upload = self._pending[key]
        if int(request.header("upload-offset", "-1")) != len(upload.data):
            return self._progress(key, 409)
        if len(upload.data) + len(request.body) > upload.length:
            return Response.text("more than announced\n", 413)
        self._around.store.take(len(request.body))
        upload.data += request.body
        answer = self._progress(key, 204)
        if len(upload.data) == upload.length:
            del self._pending[key]
            self._put_up(key, File(upload.name, cast("bytes", upload.data)), request)  # a copy would hold it twice
        return answer

    def _progress(self, key: str, status: int) -> Response:
        upload = self._pending[key]
        headers = [("Upload-Offset", str(len(upload.data))), ("Upload-Length", str(upload.length)), ("Tus-Resumable", "1.0.0")]
        return Response(status, b"", headers)

    def _give(self, key: str) -> Response:
        file = self._files[key]
        self._around.meant("file.downloaded", {"id": key, "name": file.name})
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return Response(200, file.data, [("Content-Type", kind)], stored=True)

    def _keep(self, name: str, data: bytes, request: Request) -> dict[str, Any]:
        """Take a whole file. Refused when there is no room."""
        key = self._key()
        name = _base(name) or key
        self._around.store.keep(key, name, data)
        return self._put_up(key, File(name, data), request)

    def _put_up(self, key: str, file: File, request: Request) -> dict[str, Any]:
        self._files[key] = file
        shown = {"id": key, "url": f"{request.origin}/{key}/{quote(file.name)}", "name": file.name, "size": len(file.data)}
        self._around.meant("file.uploaded", {**shown, "sha256": file.sha256}, file.data)
        return shown

    def _key(self) -> str:
        return "".join(self._around.chance.choices(ALPHABET, k=6))


def _base(name: str) -> str:
    """A file's own name, without folders of the machine that it comes from; empty where there is none."""
    last = re.split(r"[/\\]", name)[-1]
    return "" if last in (".", "..") else last


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
