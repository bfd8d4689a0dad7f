"""Signed requests, checked as the object store's real kind checks them: AWS Signature Version 4 in a header or in a link, and
version 2 in a link, which SDKs still make for stores that are not the well-known one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, urlsplit

from .message import Request

_HEADER = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+),\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})")


def access_key(request: Request) -> str:
    """The access key that a request claims; "" if it is not signed."""
    found = _HEADER.match(request.header("authorization"))
    return found[1] if found else request.query.get("X-Amz-Credential", request.query.get("AWSAccessKeyId", "")).split("/")[0]


def is_right(request: Request, keys: Mapping[str, str]) -> bool:
    """Whether a request is signed with the secret of one of `keys`."""
    secret = keys.get(access_key(request))
    if secret is None:
        return False
    if "AWSAccessKeyId" in request.query:
        return hmac.compare_digest(_version_2(request, secret), request.query.get("Signature", ""))
    found = _HEADER.match(request.header("authorization"))
    if found:
        scope, signed, given = found[2], found[3], found[4]
        when, payload = request.header("x-amz-date"), request.header("x-amz-content-sha256")
    else:
        query = request.query
        scope = query.get("X-Amz-Credential", "").partition("/")[2]
        signed, given = query.get("X-Amz-SignedHeaders", ""), query.get("X-Amz-Signature", "")
        when, payload = query.get("X-Amz-Date", ""), "UNSIGNED-PAYLOAD"
    canonical = _canonical(request, signed.split(";"), payload or hashlib.sha256(request.body).hexdigest())
    text = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _key(secret, scope.split("/"))
    return hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), given)


def _version_2(request: Request, secret: str) -> str:
    """The signature of a link of the older kind, without extra headers."""
    path = urlsplit(request.target).path
    text = f"{request.method}\n\n\n{request.query.get('Expires', '')}\n{path}"
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def _canonical(request: Request, signed: Iterable[str], payload: str) -> str:
    """The canonical request: method, path, query, the signed headers, their names, and the payload's digest."""
    url = urlsplit(request.target)
    pairs = [(k, v) for k, v in parse_qsl(url.query, keep_blank_values=True) if k != "X-Amz-Signature"]
    query = "&".join(sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in pairs))
    names = list(signed)
    headers = "".join(f"{name}:{' '.join(request.header(name).split())}\n" for name in names)
    return f"{request.method}\n{url.path or '/'}\n{query}\n{headers}\n{';'.join(names)}\n{payload}"


def _key(secret: str, scope: list[str]) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
