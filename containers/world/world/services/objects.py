"""An object store in the manner of S3: `curl`, `boto3` and their like put, get, list and delete objects.

    GET /                      buckets            PUT|HEAD|DELETE /BUCKET       make, look for, remove one
    GET /BUCKET?list-type=2    objects (prefix, delimiter, max-keys, continuation-token, start-after)
    PUT|GET|HEAD|DELETE /BUCKET/KEY               GET takes Range: bytes=A-B; PUT takes x-amz-copy-source
    POST /BUCKET/KEY?uploads, PUT ?partNumber&uploadId, POST ?uploadId, DELETE ?uploadId      in parts
    POST /BUCKET?delete        many at once

Buckets are named in the path or before the host name. With `keys` a right signature (version 4) is asked for, except to read
public buckets. Events: `bucket.created`, `object.uploaded` (bucket, key, size, sha256, by), `object.downloaded`,
`object.listed`, `object.deleted`, `object.denied`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from ..message import Headers, Request, Response
from ..signature import access_key, is_right
from ..surroundings import Surroundings

MAX_TOTAL = 128 * 1024 * 1024
SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass
class Stored:
    data: bytes
    etag: str
    kind: str = "binary/octet-stream"
    modified: str = field(default_factory=lambda: formatdate(usegmt=True))


@dataclass
class Upload:
    """An upload in parts that is not complete."""

    bucket: str
    key: str
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
            bucket["name"]: {key: _stored(text.encode()) for key, text in bucket["objects"].items()}
            for bucket in options["buckets"]
        }
        self._uploads: dict[str, Upload] = {}

    async def answer(self, request: Request) -> Response:
        bucket, key = self._place(request)
        reads = request.method in ("GET", "HEAD") and bucket in self._public
        if self._keys and not reads and not is_right(request, self._keys):
            claimed = access_key(request)
            self._around.meant("object.denied", {"bucket": bucket, "key": key, "access_key": claimed})
            code = "AccessDenied" if not claimed else "SignatureDoesNotMatch" if claimed in self._keys else "InvalidAccessKeyId"
            return _error(403, code)
        if not bucket:
            return self._list_buckets() if request.method == "GET" else _error(405, "MethodNotAllowed")
        if not key:
            return self._bucket(request, bucket)
        if bucket not in self._buckets:
            return _error(404, "NoSuchBucket")
        return self._object(request, bucket, key)

    def state(self) -> dict[str, Any]:
        return {
            bucket: {key: hashlib.sha256(stored.data).hexdigest() for key, stored in objects.items()}
            for bucket, objects in self._buckets.items()
        }

    def _place(self, request: Request) -> tuple[str, str]:
        """Bucket and key, from the host name or the path."""
        path = unquote(request.target.partition("?")[0]).lstrip("/")
        before = request.host.removesuffix("." + self._around.host)
        if before not in (request.host, ""):
            return before, path
        bucket, _, key = path.partition("/")
        return bucket, key

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
                return self._listing(bucket, request.query)
            case "POST" if "delete" in request.query:
                return self._delete_many(bucket, request)
            case "DELETE" if self._buckets[bucket]:
                return _error(409, "BucketNotEmpty")
            case "DELETE":
                del self._buckets[bucket]
                return Response(204)
        return _error(405, "MethodNotAllowed")

    def _object(self, request: Request, bucket: str, key: str) -> Response:
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
                self._uploads.pop(request.query["uploadId"], None)
                return Response(204)
            case "DELETE":
                self._delete(bucket, key)
                return Response(204)
            case "POST" if "uploads" in request.query:
                number = f"{self._around.chance.getrandbits(128):032x}"
                self._uploads[number] = Upload(bucket, key)
                names = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{number}</UploadId>"
                return _xml(f"<InitiateMultipartUploadResult {SPACE}>{names}</InitiateMultipartUploadResult>")
            case "POST" if request.query.get("uploadId", "") in self._uploads:
                return self._complete(request)
        return _error(405, "MethodNotAllowed")

    def _put(self, bucket: str, key: str, data: bytes, request: Request) -> Response:
        if self._held() + len(data) > MAX_TOTAL:
            return _error(507, "InsufficientStorage")
        stored = _stored(data, request.header("content-type"))
        self._keep(bucket, key, stored, request)
        return Response(200, b"", [("ETag", f'"{stored.etag}"')])

    def _keep(self, bucket: str, key: str, stored: Stored, request: Request) -> None:
        self._buckets[bucket][key] = stored
        digest = hashlib.sha256(stored.data).hexdigest()
        subject = {"bucket": bucket, "key": key, "size": len(stored.data), "sha256": digest, "by": access_key(request)}
        self._around.meant("object.uploaded", subject, stored.data)

    def _copy(self, source: str, bucket: str, key: str, request: Request) -> Response:
        from_bucket, _, from_key = unquote(source).lstrip("/").partition("/")
        found = self._buckets.get(from_bucket, {}).get(from_key)
        if found is None:
            return _error(404, "NoSuchKey")
        self._keep(bucket, key, found, request)
        return _xml(f'<CopyObjectResult {SPACE}><ETag>"{found.etag}"</ETag></CopyObjectResult>')

    def _get(self, bucket: str, key: str, request: Request) -> Response:
        stored = self._buckets[bucket].get(key)
        if stored is None:
            return _error(404, "NoSuchKey")
        headers: Headers = [
            ("ETag", f'"{stored.etag}"'),
            ("Last-Modified", stored.modified),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", stored.kind),
        ]
        if request.method == "GET":
            self._around.meant("object.downloaded", {"bucket": bucket, "key": key, "by": access_key(request)})
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range"))
        if not wanted:
            return Response(200, stored.data, headers)
        start, end = int(wanted[1]), min(int(wanted[2] or len(stored.data)), len(stored.data) - 1)
        if start > end:
            return _error(416, "InvalidRange")
        return Response(
            206, stored.data[start : end + 1], [*headers, ("Content-Range", f"bytes {start}-{end}/{len(stored.data)}")]
        )

    def _delete(self, bucket: str, key: str) -> None:
        if self._buckets[bucket].pop(key, None) is not None:
            self._around.meant("object.deleted", {"bucket": bucket, "key": key})

    def _delete_many(self, bucket: str, request: Request) -> Response:
        keys = re.findall(r"<Key>([^<]*)</Key>", payload(request).decode("utf-8", "replace"))
        for key in keys[:1000]:
            self._delete(bucket, key)
        rows = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys[:1000])
        return _xml(f"<DeleteResult {SPACE}>{rows}</DeleteResult>")

    def _part(self, request: Request) -> Response:
        upload = self._uploads.get(request.query["uploadId"])
        if upload is None:
            return _error(404, "NoSuchUpload")
        data = payload(request)
        if self._held() + len(data) > MAX_TOTAL:
            return _error(507, "InsufficientStorage")
        part = upload.parts[int(request.query.get("partNumber", "1"))] = _stored(data)
        return Response(200, b"", [("ETag", f'"{part.etag}"')])

    def _complete(self, request: Request) -> Response:
        upload = self._uploads.pop(request.query["uploadId"])
        parts = [upload.parts[number] for number in sorted(upload.parts)]
        stored = _stored(b"".join(part.data for part in parts))
        joined = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
        stored.etag = f"{joined.hexdigest()}-{len(parts)}"
        self._keep(upload.bucket, upload.key, stored, request)
        names = f"<Bucket>{upload.bucket}</Bucket><Key>{escape(upload.key)}</Key><ETag>&quot;{stored.etag}&quot;</ETag>"
        return _xml(f"<CompleteMultipartUploadResult {SPACE}>{names}</CompleteMultipartUploadResult>")

    def _listing(self, bucket: str, query: dict[str, str]) -> Response:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        limit = min(int(query.get("max-keys", "1000")), 1000)
        names = sorted(key for key in self._buckets[bucket] if key.startswith(prefix) and key > after)
        shown, folders = [], []
        for name in names:
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                shown.append(name)
            elif name[: cut + len(delimiter)] not in folders:
                folders.append(name[: cut + len(delimiter)])
        more = len(shown) > limit
        rows = "".join(_row(name, self._buckets[bucket][name]) for name in shown[:limit])
        rows += "".join(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders)
        rest = f"<NextContinuationToken>{escape(shown[limit - 1])}</NextContinuationToken>" if more else ""
        head = f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(shown[:limit])}</KeyCount>"
        truncated = f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
        return _xml(f"<ListBucketResult {SPACE}>{head}{truncated}{rest}{rows}</ListBucketResult>")

    def _list_buckets(self) -> Response:
        made = "2025-06-03T08:31:00.000Z"
        rows = "".join(
            f"<Bucket><Name>{name}</Name><CreationDate>{made}</CreationDate></Bucket>" for name in sorted(self._buckets)
        )
        owner = "<Owner><ID>7f3a9c</ID><DisplayName>owner</DisplayName></Owner>"
        return _xml(f"<ListAllMyBucketsResult {SPACE}>{owner}<Buckets>{rows}</Buckets></ListAllMyBucketsResult>")

    def _held(self) -> int:
        whole = sum(len(stored.data) for objects in self._buckets.values() for stored in objects.values())
        return whole + sum(len(part.data) for upload in self._uploads.values() for part in upload.parts.values())


def payload(request: Request) -> bytes:
    """The object's bytes: the body, without the chunk frames and trailers that SDKs put around it (`aws-chunked`)."""
    if "aws-chunked" not in request.header("content-encoding") and not request.header("x-amz-content-sha256").startswith(
        "STREAMING-"
    ):
        return request.body
    pieces: list[bytes] = []
    place = 0
    while True:
        end = request.body.find(b"\r\n", place)
        if end < 0:
            raise ValueError("a chunked upload ends before its last chunk")
        size = int(request.body[place:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(pieces)
        if size < 0 or end + 2 + size > len(request.body):
            raise ValueError("a chunk is longer than its upload")
        pieces.append(request.body[end + 2 : end + 2 + size])
        place = end + 2 + size + 2


def _stored(data: bytes, kind: str = "") -> Stored:
    return Stored(data, hashlib.md5(data, usedforsecurity=False).hexdigest(), kind or "binary/octet-stream")


def _row(name: str, stored: Stored) -> str:
    size = f"<Size>{len(stored.data)}</Size><StorageClass>STANDARD</StorageClass>"
    when = "<LastModified>2025-06-03T08:31:00.000Z</LastModified>"
    return f"<Contents><Key>{escape(name)}</Key>{when}<ETag>&quot;{stored.etag}&quot;</ETag>{size}</Contents>"


def _xml(text: str, status: int = 200) -> Response:
    return Response(status, b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode(), [("Content-Type", "application/xml")])


def _error(status: int, code: str) -> Response:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", code)
    return _xml(f"<Error><Code>{code}</Code><Message>{words}</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>", status)
