"""An object store in the manner of S3: `curl`, `boto3` and their like put, get, list and delete objects.

    GET /                      buckets            PUT|HEAD|DELETE /BUCKET       make, look for, remove one
    GET /BUCKET?list-type=2    objects (prefix, delimiter, max-keys, continuation-token, start-after)
    PUT|GET|HEAD|DELETE /BUCKET/KEY               GET takes Range: bytes=A-B; PUT takes x-amz-copy-source
    POST /BUCKET/KEY?uploads, PUT ?partNumber&uploadId, POST ?uploadId, DELETE ?uploadId      in parts
    POST /BUCKET?delete        many at once
    GET /BUCKET[/KEY]?acl and its like     what `subresources.py` says

Headers `x-amz-meta-...` of what is put come back with it. Buckets are named in the path or before the host name. With `keys` a
right signature (version 4) is asked for, except to read public buckets. Events: `bucket.created`, `object.uploaded` (bucket,
key, size, sha256, by), `object.downloaded`, `object.listed`, `object.deleted`, `object.denied`.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from functools import cached_property
from typing import Any, cast
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from ..budget import Refused, weight
from ..message import SLICE, Headers, Request, Response, byte_range, slices
from ..past import LONG_AGO
from ..signature import access_key, is_right
from ..surroundings import Surroundings
from .subresources import OWNER, SPACE, asked_for, said

MAX_KEY = 1024
MAX_UPLOADS = 100
MAX_PART_NUMBER = 10_000
MIN_CHUNK = 8192
"""Bytes that each chunk of an upload but the last must have, as the real store asks for."""

MAX_META = 2048
"""Bytes of names and values that a client may keep with an object, as in the real store."""


@dataclass
class Stored:
    """One object, or a part of one. `modified` in whole seconds since 1970; `meta` are the headers that the client gave it."""

    data: bytes
    etag: str
    kind: str = "binary/octet-stream"
    meta: Headers = field(default_factory=list)
    modified: float = field(default_factory=lambda: float(int(time.time())))

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def kept(self, key: str) -> list[str | bytes]:
        """All that it takes room for under its key."""
        return [key, self.data, *itertools.chain.from_iterable(self.meta)]


@dataclass
class Upload:
    """An upload in parts that is not complete."""

    bucket: str
    key: str
    kind: str
    meta: Headers
    parts: dict[int, Stored] = field(default_factory=dict)


class ObjectStore:
    """The store. Options are those of `ObjectsSpec` in `sandbox/world/services.py`."""

    server = "AmazonS3"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._keys: dict[str, str] = options["keys"]
        self._region: str = options["region"]
        self._public = {bucket["name"] for bucket in options["buckets"] if bucket["public"]}
        self._buckets: dict[str, dict[str, Stored]] = {
            bucket["name"]: {key: replace(_stored(text.encode()), modified=LONG_AGO) for key, text in bucket["objects"].items()}
            for bucket in options["buckets"]
        }
        self._uploads: dict[str, Upload] = {}
        self._seed = around.chance.getrandbits(64)

    async def answer(self, request: Request) -> Response:
        response = self._answer(request)
        number = self._number(request)
        body = response.body
        if response.status >= 400:
            body = body.replace(b"<RequestId/>", f"<RequestId>{number}</RequestId>".encode())
        return replace(response, body=body, headers=[*response.headers, ("x-amz-request-id", number)])

    def _number(self, request: Request) -> str:
        """A request's id: of what it is and the tool call, not of its turn, which differs where several come at once."""
        told = f"{self._seed} {self._around.clock.step} {request.method} {request.host} {request.target}"
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16].upper()

    def _answer(self, request: Request) -> Response:
        bucket, key = self._place(request)
        beside = asked_for(request.method, request.query)
        reads = request.method in ("GET", "HEAD") and bucket in self._public and not beside
        if self._keys and not reads and not is_right(request, self._keys):
            claimed = access_key(request)
            self._around.meant("object.denied", {"bucket": bucket, "key": key, "access_key": claimed})
            code = "AccessDenied" if not claimed else "SignatureDoesNotMatch" if claimed in self._keys else "InvalidAccessKeyId"
            return _error(403, code)
        if not bucket:
            return self._list_buckets() if request.method == "GET" else _error(405, "MethodNotAllowed")
        if beside:
            return self._beside(beside, request, bucket, key)
        if not key:
            return self._bucket(request, bucket)
        if bucket not in self._buckets:
            return _error(404, "NoSuchBucket")
        return self._object(request, bucket, key)

    def state(self) -> dict[str, Any]:
        return {bucket: {key: stored.sha256 for key, stored in objects.items()} for bucket, objects in self._buckets.items()}

    def _place(self, request: Request) -> tuple[str, str]:
        """Bucket and key, from the host name or the path."""
        path = unquote(request.target.partition("?")[0]).lstrip("/")
        before = request.host.removesuffix("." + self._around.host)
        if before not in (request.host, ""):
            return before, path
        bucket, _, key = path.partition("/")
        return bucket, key

    def _beside(self, name: str, request: Request, bucket: str, key: str) -> Response:
        if bucket not in self._buckets or (key and key not in self._buckets[bucket]):
            return _error(404, "NoSuchKey" if bucket in self._buckets else "NoSuchBucket")
        if request.method not in ("GET", "HEAD"):
            return _error(501, "NotImplemented")
        status, text = said(name, of_object=bool(key), public=bucket in self._public)
        return _xml(text) if status == 200 else _error(status, text)

    def _bucket(self, request: Request, bucket: str) -> Response:
        known = bucket in self._buckets
        match request.method:
            case "PUT" if known:
                return _error(409, "BucketAlreadyOwnedByYou")
            case "PUT":
                if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket) or len(self._buckets) >= 100:
                    return _error(400, "InvalidBucketName")
                self._buckets[bucket] = {}
                self._around.meant("bucket.created", {"bucket": bucket, "by": access_key(request)})
                return Response(200, b"", [("Location", f"/{bucket}")])
            case _ if not known:
                return _error(404, "NoSuchBucket")
            case "HEAD":
                return Response(200, b"", [("x-amz-bucket-region", self._region)])
            case "GET" if "location" in request.query:
                return _xml(f"<LocationConstraint {SPACE}>{self._region}</LocationConstraint>")
            case "GET":
                self._around.meant("object.listed", {"bucket": bucket, "prefix": request.query.get("prefix", "")})
                return _listing(bucket, self._buckets[bucket], request.query)
            case "POST" if "delete" in request.query:
                return self._delete_many(bucket, request)
            case "DELETE" if self._buckets[bucket]:
                return _error(409, "BucketNotEmpty")
            case "DELETE":
                del self._buckets[bucket]
                return Response(204)
        return _error(405, "MethodNotAllowed")

    def _object(self, request: Request, bucket: str, key: str) -> Response:
        if len(key.encode()) > MAX_KEY:
            return _error(400, "KeyTooLongError")
        try:
            return self._done(request, bucket, key)
        except Refused as error:
            code = {507: "InsufficientStorage", 416: "InvalidRange", 400: "MetadataTooLarge"}.get(
                error.status, "InvalidRequest"
            )
            return _error(error.status, code, error.headers)

    def _done(self, request: Request, bucket: str, key: str) -> Response:
        match request.method:
            case "PUT" if "uploadId" in request.query:
                return self._part(request)
            case "PUT" if source := request.header("x-amz-copy-source"):
                return self._copy(source, bucket, key, request)
            case "PUT":
                return self._put(bucket, key, payload(request), request)
            case "GET" | "HEAD":
                return self._get(bucket, key, request)
            case "DELETE" if "uploadId" in request.query:
                self._abandon(request.query["uploadId"])
                return Response(204)
            case "DELETE":
                self._delete(bucket, key)
                return Response(204)
            case "POST" if "uploads" in request.query:
                return self._begin(bucket, key, request)
            case "POST" if request.query.get("uploadId", "") in self._uploads:
                return self._complete(request)
        return _error(405, "MethodNotAllowed")

    def _put(self, bucket: str, key: str, data: bytes, request: Request) -> Response:
        stored = replace(_stored(data), kind=_kind(request), meta=_meta(request))
        self._keep(bucket, key, stored, request)
        return Response(200, b"", [("ETag", f'"{stored.etag}"')])

    def _keep(self, bucket: str, key: str, stored: Stored, request: Request) -> None:
        """Put an object in the place of what was there. Refused when there is no room."""
        before = self._buckets[bucket].get(key)
        self._around.store.take(weight(*stored.kept(key)) - (weight(*before.kept(key)) if before else 0))
        self._buckets[bucket][key] = stored
        subject = {"bucket": bucket, "key": key, "size": len(stored.data), "sha256": stored.sha256, "by": access_key(request)}
        self._around.meant("object.uploaded", subject, stored.data)

    def _copy(self, source: str, bucket: str, key: str, request: Request) -> Response:
        from_bucket, _, from_key = unquote(source).lstrip("/").partition("/")
        found = self._buckets.get(from_bucket, {}).get(from_key)
        if found is None:
            return _error(404, "NoSuchKey")
        made = replace(found, modified=float(int(time.time())))
        if request.header("x-amz-metadata-directive").upper() == "REPLACE":
            made = replace(made, kind=_kind(request), meta=_meta(request))
        self._keep(bucket, key, made, request)
        return _xml(f'<CopyObjectResult {SPACE}><ETag>"{found.etag}"</ETag></CopyObjectResult>')

    def _get(self, bucket: str, key: str, request: Request) -> Response:
        stored = self._buckets[bucket].get(key)
        if stored is None:
            return _error(404, "NoSuchKey")
        headers: Headers = [
            ("ETag", f'"{stored.etag}"'),
            ("Last-Modified", formatdate(stored.modified, usegmt=True)),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", stored.kind),
            *stored.meta,
        ]
        if request.method == "GET":
            self._around.meant("object.downloaded", {"bucket": bucket, "key": key, "by": access_key(request)})
        wanted = byte_range(request.header("range"), len(stored.data))
        if wanted is None:
            return Response(200, stored.data, headers, stored=True)
        first, last = wanted
        headers.append(("Content-Range", f"bytes {first}-{last}/{len(stored.data)}"))
        if last - first < SLICE:
            return Response(206, stored.data[first : last + 1], headers)
        return Response(206, b"", headers, slices(stored.data, first, last + 1), last + 1 - first)

    def _delete(self, bucket: str, key: str) -> None:
        gone = self._buckets[bucket].pop(key, None)
        if gone is not None:
            self._around.store.forget(*gone.kept(key))
            self._around.meant("object.deleted", {"bucket": bucket, "key": key})

    def _delete_many(self, bucket: str, request: Request) -> Response:
        keys = re.findall(r"<Key>([^<]*)</Key>", payload(request).decode("utf-8", "replace"))
        for key in keys[:1000]:
            self._delete(bucket, key)
        rows = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys[:1000])
        return _xml(f"<DeleteResult {SPACE}>{rows}</DeleteResult>")

    def _begin(self, bucket: str, key: str, request: Request) -> Response:
        if len(self._uploads) >= MAX_UPLOADS:
            return _error(503, "SlowDown")
        upload = Upload(bucket, key, _kind(request), _meta(request))
        self._around.store.keep(key)
        number = f"{self._around.chance.getrandbits(128):032x}"
        self._uploads[number] = upload
        names = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{number}</UploadId>"
        return _xml(f"<InitiateMultipartUploadResult {SPACE}>{names}</InitiateMultipartUploadResult>")

    def _part(self, request: Request) -> Response:
        upload = self._uploads.get(request.query["uploadId"])
        number = int(request.query.get("partNumber", "1"))
        if upload is None:
            return _error(404, "NoSuchUpload")
        if not 1 <= number <= MAX_PART_NUMBER:
            return _error(400, "InvalidArgument")
        part = _stored(payload(request))
        before = upload.parts.get(number)
        self._around.store.take(weight(part.data) - (weight(before.data) if before else 0))
        upload.parts[number] = part
        return Response(200, b"", [("ETag", f'"{part.etag}"')])

    def _abandon(self, number: str) -> list[Stored]:
        """Forget an upload, and return its parts."""
        upload = self._uploads.pop(number, None)
        if upload is None:
            return []
        self._around.store.forget(upload.key)
        for part in upload.parts.values():
            self._around.store.forget(part.data)
        return [part for _, part in sorted(upload.parts.items())]

    def _complete(self, request: Request) -> Response:
        """Join the parts; each is let go once it is copied, since together they may be half of all the memory there is."""
        upload = self._uploads[request.query["uploadId"]]
        parts = self._abandon(request.query["uploadId"])
        upload.parts.clear()
        joined = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
        count, data = len(parts), bytearray()
        while parts:
            data += parts.pop(0).data
        stored = _stored(cast("bytes", data))  # an immutable copy would be another such half
        stored.etag, stored.kind, stored.meta = f"{joined.hexdigest()}-{count}", upload.kind, upload.meta
        self._keep(upload.bucket, upload.key, stored, request)
        names = f"<Bucket>{upload.bucket}</Bucket><Key>{escape(upload.key)}</Key><ETag>&quot;{stored.etag}&quot;</ETag>"
        return _xml(f"<CompleteMultipartUploadResult {SPACE}>{names}</CompleteMultipartUploadResult>")

    def _list_buckets(self) -> Response:
        made = "2025-06-03T08:31:00.000Z"
        rows = "".join(
            f"<Bucket><Name>{name}</Name><CreationDate>{made}</CreationDate></Bucket>" for name in sorted(self._buckets)
        )
        return _xml(f"<ListAllMyBucketsResult {SPACE}><Owner>{OWNER}</Owner><Buckets>{rows}</Buckets></ListAllMyBucketsResult>")


def payload(request: Request) -> bytes:
    """The object's bytes: the body, without the chunk frames and trailers that SDKs put around it (`aws-chunked`)."""
    if "aws-chunked" not in request.header("content-encoding") and not request.header("x-amz-content-sha256").startswith(
        "STREAMING-"
    ):
        return request.body
    data = bytearray()
    place, short = 0, False
    while True:
        end = request.body.find(b"\r\n", place, place + 400)
        if end < 0:
            raise ValueError("a chunked upload ends before its last chunk")
        size = int(request.body[place:end].split(b";")[0], 16)
        if size == 0:
            return cast("bytes", data)  # a copy would hold it twice
        if size < 0 or end + 2 + size > len(request.body):
            raise ValueError("a chunk is longer than its upload")
        if short:
            raise ValueError(f"only the last chunk of an upload may have less than {MIN_CHUNK} bytes")
        data += request.body[end + 2 : end + 2 + size]
        place, short = end + 2 + size + 2, size < MIN_CHUNK


def _stored(data: bytes) -> Stored:
    return Stored(data, hashlib.md5(data, usedforsecurity=False).hexdigest())


def _kind(request: Request) -> str:
    return _carried(request.header("content-type")) or "binary/octet-stream"


def _meta(request: Request) -> Headers:
    """The headers that are kept with an object. Refused when they are too large."""
    given = [(name, _carried(value)) for name, value in request.headers if name.startswith("x-amz-meta-")]
    if sum(len(name) - len("x-amz-meta-") + len(value) for name, value in given) > MAX_META:
        raise Refused(400, "too much metadata")
    return given


def _carried(value: str) -> str:
    """A header's value as a header can carry it back: what is not ASCII as an encoded word (RFC 2047), as the real store."""
    return value if value.isascii() else f"=?UTF-8?B?{base64.b64encode(value.encode()).decode()}?="


def _listing(bucket: str, objects: dict[str, Stored], query: dict[str, str]) -> Response:
    """One page of a bucket (both versions of the call): keys and common prefixes together, in order, `max-keys` of them."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    second = query.get("list-type") == "2"
    after = query.get("start-after", "") if second else query.get("marker", "")
    if second and (token := query.get("continuation-token")):
        after = base64.urlsafe_b64decode(token).decode()
    limit = min(int(query.get("max-keys", "1000")), 1000)
    if limit < 0:
        return _error(400, "InvalidArgument")
    coded = quote if query.get("encoding-type") == "url" else escape
    entries = list(itertools.islice(_entries(objects, prefix, delimiter, after), limit + 1))
    shown, more = entries[:limit], 0 < limit < len(entries)
    rows = [("Name", bucket), ("Prefix", coded(prefix)), ("MaxKeys", str(limit)), ("IsTruncated", str(more).lower())]
    rows += [("Delimiter", coded(delimiter))] if delimiter else []
    rows += [("EncodingType", "url")] if coded is quote else []
    rows += [("KeyCount", str(len(shown)))] if second else [("Marker", coded(after))]
    if more:
        token = base64.urlsafe_b64encode(shown[-1].encode()).decode()
        rows.append(("NextContinuationToken", token) if second else ("NextMarker", coded(shown[-1])))
    head = "".join(f"<{name}>{value}</{name}>" for name, value in rows)
    body = "".join(
        f"<CommonPrefixes><Prefix>{coded(name)}</Prefix></CommonPrefixes>"
        if delimiter and delimiter in name[len(prefix) :]
        else _row(coded(name), objects[name])
        for name in shown
    )
    return _xml(f"<ListBucketResult {SPACE}>{head}{body}</ListBucketResult>")


def _entries(objects: dict[str, Stored], prefix: str, delimiter: str, after: str) -> Iterator[str]:
    """Keys that begin with `prefix` and come after `after`, in order; those with a later `delimiter` as one, cut behind it."""
    folder = ""
    for key in sorted(key for key in objects if key.startswith(prefix) and key > after):
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            yield key
        elif key[: cut + len(delimiter)] not in (folder, after):
            folder = key[: cut + len(delimiter)]
            yield folder


def _row(name: str, stored: Stored) -> str:
    size = f"<Size>{len(stored.data)}</Size><StorageClass>STANDARD</StorageClass>"
    when = datetime.fromtimestamp(stored.modified, UTC).strftime("<LastModified>%Y-%m-%dT%H:%M:%S.000Z</LastModified>")
    return f"<Contents><Key>{name}</Key>{when}<ETag>&quot;{stored.etag}&quot;</ETag>{size}</Contents>"


def _xml(text: str, status: int = 200) -> Response:
    return Response(status, b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode(), [("Content-Type", "application/xml")])


def _error(status: int, code: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", code)
    said = _xml(f"<Error><Code>{code}</Code><Message>{words}</Message><RequestId/></Error>", status)
    return replace(said, headers=[*said.headers, *headers])
