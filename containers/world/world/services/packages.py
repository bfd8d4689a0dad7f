"""A package index that `pip` and `twine` talk to: PEP 503 pages, a JSON API, and the legacy upload form.

    GET  /simple/, /simple/NAME/          pages with links and digests
    GET  /packages/FILE                   a wheel or source archive
    GET  /pypi/NAME/json                  description
    POST /legacy/                         `twine upload --repository-url https://HOST/legacy/`
    GET  /, /project/NAME/                pages

With `users` only they may upload, `__token__` with one of their passwords included. A file is never replaced. Events:
`package.uploaded` (name, version, file, sha256, by), `package.downloaded`, `package.denied`.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

from .. import page
from ..budget import Refused
from ..message import Request, Response, values_of
from ..surroundings import Surroundings

MAX_FILES = 2000
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.(whl|tar\.gz|zip)")


@dataclass(frozen=True)
class File:
    """One distribution file of a project."""

    name: str
    project: str
    version: str
    summary: str
    data: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class PackageIndex:
    """The index. Options are those of `PackagesSpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._users: dict[str, str] = options["users"]
        self._files: dict[str, File] = {}
        for package in options["packages"]:
            self._keep(wheel(package))

    async def answer(self, request: Request) -> Response:
        match (request.method, [s for s in request.path.split("/") if s]):
            case ("GET", []):
                return Response.html(self._overview())
            case ("GET" | "HEAD", ["simple"]):
                return Response.html(_links("Simple index", [(f"/simple/{name}/", name) for name in sorted(self._projects())]))
            case ("GET" | "HEAD", ["simple", name]) if files := self._of(name):
                return Response.html(
                    _links(f"Links for {name}", [(f"/packages/{f.name}#sha256={f.sha256}", f.name) for f in files])
                )
            case ("GET" | "HEAD", ["packages", name]) if name in self._files:
                return self._download(self._files[name])
            case ("GET", ["pypi", name, "json"]) if files := self._of(name):
                return Response.json(_description(name, files, request.origin))
            case ("GET", ["project", name]) if files := self._of(name):
                return Response.html(page.document(f"{name} {files[-1].version}", f"<p>{escape(files[-1].summary)}</p>"))
            case ("POST", [] | ["legacy"]):
                return self._upload(request)
        return Response.html(page.error(404, self.server), 404)

    def state(self) -> dict[str, Any]:
        return {file.name: file.sha256 for file in self._files.values()}

    def _upload(self, request: Request) -> Response:
        user, secret = request.credentials
        allowed = not self._users or self._users.get(user) == secret or (user == "__token__" and secret in self._users.values())
        if not allowed:
            self._around.meant("package.denied", {"by": user})
            return Response.text("Invalid or non-existent authentication information.\n", 403)
        parts = request.parts()
        fields = values_of(parts)
        content = next((part for part in parts if part.name == "content"), None)
        if content is None or not fields.get("name") or not FILE_NAME.fullmatch(content.filename):
            return Response.text("The upload lacks a name or a distribution file.\n", 400)
        if content.filename in self._files:
            return Response.text(f"File already exists ({content.filename}).\n", 400)
        file = File(content.filename, fields["name"], fields.get("version", ""), fields.get("summary", ""), content.data)
        try:
            if len(self._files) >= MAX_FILES:
                raise Refused(413, "too many files")
            self._around.store.keep(file.name, file.project, file.version, file.summary, file.data)
        except Refused:
            return Response.text("The project's size limit is exceeded.\n", 413)
        self._keep(file)
        subject = {"name": file.project, "version": file.version, "file": file.name, "sha256": file.sha256, "by": user}
        self._around.meant("package.uploaded", subject, file.data)
        return Response.text("OK\n")

    def _download(self, file: File) -> Response:
        self._around.meant("package.downloaded", {"name": file.project, "version": file.version, "file": file.name})
        return Response(200, file.data, [("Content-Type", "application/octet-stream")], stored=True)

    def _keep(self, file: File) -> None:
        self._files[file.name] = file

    def _projects(self) -> set[str]:
        return {normal(file.project) for file in self._files.values()}

    def _of(self, name: str) -> list[File]:
        return [file for file in self._files.values() if normal(file.project) == normal(name)]

    def _overview(self) -> bytes:
        links = "".join(f'<p><a href="/project/{name}/">{name}</a></p>' for name in sorted(self._projects()))
        return page.document("Package index", links)


def normal(name: str) -> str:
    """A project's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wheel(package: dict[str, Any]) -> File:
    """A pure Python wheel of a declared package's files (PEP 427)."""
    name, version = normal(package["name"]).replace("-", "_"), package["version"]
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {package['name']}\nVersion: {version}\nSummary: {package['summary']}\n"
    if package["licence"]:
        metadata += f"License: {package['licence']}\n"
    contents = {
        **package["files"],
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: bdist_wheel\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in contents.items():
            data = text.encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.writerow((path, f"sha256={digest}", len(data)))
            archive.writestr(zipfile.ZipInfo(path, (2025, 3, 4, 9, 12, 0)), data)
        rows.writerow((f"{info}/RECORD", "", ""))
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", (2025, 3, 4, 9, 12, 0)), record.getvalue())
    return File(f"{name}-{version}-py3-none-any.whl", package["name"], version, package["summary"], buffer.getvalue())


def _links(title: str, links: list[tuple[str, str]]) -> bytes:
    rows = "".join(f'<a href="{escape(where)}">{escape(text)}</a><br>\n' for where, text in links)
    head = (
        f'<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.0"><title>{escape(title)}</title></head>'
    )
    return f"{head}<body><h1>{escape(title)}</h1>\n{rows}</body></html>\n".encode()


def _description(name: str, files: list[File], origin: str) -> dict[str, Any]:
    urls = [
        {"filename": f.name, "url": f"{origin}/packages/{f.name}", "size": len(f.data), "digests": {"sha256": f.sha256}}
        for f in files
    ]
    return {"info": {"name": name, "version": files[-1].version, "summary": files[-1].summary}, "urls": urls}
