"""A scenario's network world as data: what an author writes in `world/world.yaml`, checked strictly.

Names, addresses, sites and services are declared; nothing else answers. `check` turns plain data into a `WorldSpec` or
raises a `ScenarioError` that names the place; `inline` first replaces folders and files of the scenario by their contents,
so that a resolved world stands for itself in a trajectory. Services are described in `containers/world/README.md`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from sandbox.errors import ScenarioError
from sandbox.world.services import SERVICE_TYPES, Data, HostName, PartySpec, ServiceSpec
from sandbox.world.sound import encoded, header, headers, once

Wording = Annotated[str, Field(min_length=1, max_length=200)]
"""One way to put a name or a value of a claim into words."""


_PRIVATE = tuple(IPv4Network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
"""What local networks are made of (RFC 1918, RFC 6598)."""

_THIS_NETWORK = IPv4Network("0.0.0.0/8")

HeaderValue = Annotated[str, AfterValidator(header)]
HeaderFields = Annotated[dict[str, str], AfterValidator(headers)]

MAX_RECORDS = 12 * 1024
"""Bytes of the records of one name: what fits into one answer."""

MAX_ALIASES = 8
"""Aliases that a resolver follows, one to the next."""

_HOST: TypeAdapter[str] = TypeAdapter(HostName)


def _numbered(record: str, *, numbers: tuple[str, ...]) -> str:
    """A record of `numbers` and a host, which may end in a dot, or be one alone where there is none (RFC 7505, 2782)."""
    *values, host = record.split()
    for what, value in zip(numbers, values, strict=True):
        if int(value) > 65535:
            raise ValueError(f"{what} {value} of {record!r} is more than 65535")
    try:
        _HOST.validate_python(host.removesuffix(".").lower() or "none")
    except ValidationError:
        raise ValueError(f"{host!r} of {record!r} is no host name") from None
    return record


def no_hosts(address: IPv4Address, lan: IPv4Network) -> bool:
    """Whether it is one that no host has: of this machine, of a group, of nobody, for later, or either end of the network."""
    ends = address in (lan[0], lan[-1])
    special = address.is_loopback or address.is_multicast or address.is_link_local or address.is_reserved
    return ends or special or address in _THIS_NETWORK


Milliseconds = Annotated[int, Field(ge=0, le=2000)]


class NetworkSpec(Data):
    """The local network of the hosts. `gateway` and `resolver` default to its first and second address.

    `undeclared` says how an address, or a port, that nobody declared behaves: `refuse` resets at once, as a host without
    that service; `unreachable` says so, as a router without a route; `silent` drops, as a firewall. A closed port of a
    declared address always refuses.

    `ipv6` gives the local network IPv6 and an answer at every address of it; `ipv6_services` gives services such addresses
    too, and their names AAAA records. `latency` is how far away services are: least and most, in milliseconds a round trip.
    """

    lan: IPv4Network = IPv4Network("10.20.0.0/24")
    gateway: IPv4Address | None = None
    resolver: IPv4Address | None = None
    undeclared: Literal["refuse", "unreachable", "silent"] = "refuse"
    unknown_names: Literal["nxdomain", "servfail"] = "nxdomain"
    public_names: bool = True
    ipv6: bool = True
    ipv6_services: bool = False
    latency: tuple[Milliseconds, Milliseconds] = (4, 24)

    @model_validator(mode="after")
    def wide_enough(self) -> NetworkSpec:
        if self.lan.num_addresses < 16:
            raise ValueError(f"the network {self.lan} is too small: use a /28 or wider")
        return self

    @model_validator(mode="after")
    def private(self) -> NetworkSpec:
        if not any(self.lan.subnet_of(net) for net in _PRIVATE):
            raise ValueError(f"the network {self.lan} is no local one: take a part of {', '.join(map(str, _PRIVATE))}")
        for name, address in (("gateway", self.router), ("resolver", self.dns)):
            if address not in self.lan or no_hosts(address, self.lan):
                raise ValueError(f"the {name} {address} is no host's address of the network {self.lan}")
        return self

    @model_validator(mode="after")
    def consistent(self) -> NetworkSpec:
        if self.ipv6_services and not self.ipv6:
            raise ValueError("`ipv6_services` needs `ipv6`")
        if self.latency[0] > self.latency[1]:
            raise ValueError(f"`latency` is the least and the most: {list(self.latency)} is the wrong way round")
        return self

    @property
    def router(self) -> IPv4Address:
        return self.gateway or self.lan[1]

    @property
    def dns(self) -> IPv4Address:
        return self.resolver or self.lan[2]


class NameSpec(Data):
    """Records of one name. Strings as in a zone file: MX `10 mail.example.com`, SRV `priority weight port target`."""

    a: tuple[IPv4Address, ...] = ()
    aaaa: tuple[IPv6Address, ...] = ()
    cname: HostName | None = None
    mx: tuple[
        Annotated[str, Field(pattern=r"^\d+ \S+$"), AfterValidator(partial(_numbered, numbers=("preference",)))], ...
    ] = ()
    txt: tuple[str, ...] = ()
    ns: tuple[HostName, ...] = ()
    srv: tuple[
        Annotated[
            str,
            Field(pattern=r"^\d+ \d+ \d+ \S+$"),
            AfterValidator(partial(_numbered, numbers=("priority", "weight", "port"))),
        ],
        ...,
    ] = ()

    @model_validator(mode="after")
    def servable(self) -> NameSpec:
        records = self.records()
        if self.cname and len(records) > 1:
            others = ", ".join(sorted({kind.lower() for kind, _ in records if kind != "CNAME"}))
            raise ValueError(f"a name with a cname has no other records; got {others}")
        size = sum(24 + len(value.encode()) * 256 // 255 for _, value in records)
        if size > MAX_RECORDS:
            raise ValueError(f"the records of one name take at most {MAX_RECORDS} bytes; got {size}")
        return self

    def records(self) -> list[tuple[str, str]]:
        """As (type, value) pairs."""
        cname = (self.cname,) if self.cname else ()
        kinds: dict[str, Sequence[object]] = {
            "A": self.a,
            "AAAA": self.aaaa,
            "CNAME": cname,
            "MX": self.mx,
            "TXT": self.txt,
            "NS": self.ns,
            "SRV": self.srv,
        }
        return [(kind, str(value)) for kind, values in kinds.items() for value in values]


class RouteSpec(Data):
    """One answer of a site. At most one of `text`, `html`, `json`, `base64`, `redirect`, and `size` (a download of that
    many bytes). A `path` ending in `*` answers all below it. `meaning` names the service event that a request leaves."""

    path: Annotated[str, Field(pattern=r"^/")]
    method: Annotated[str, Field(pattern=r"^[A-Z]{1,20}$")] = "GET"
    status: int | None = Field(default=None, ge=200, le=599)
    headers: HeaderFields = {}
    text: str | None = None
    html: str | None = None
    json_: JsonValue = Field(default=None, alias="json")
    base64: Annotated[str, AfterValidator(encoded)] | None = None
    redirect: HeaderValue | None = None
    size: int | None = Field(default=None, ge=1, le=8 << 30)
    meaning: str = ""

    @model_validator(mode="after")
    def one_body(self) -> RouteSpec:
        given = [n for n in ("text", "html", "json_", "base64", "redirect", "size") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"{self.path}: takes one of text, html, json, base64, redirect, size; got {', '.join(given)}")
        return self


class CollectionSpec(Data):
    """A small JSON API with state: `items` (JSON objects; one without an `id` is given a number) that can be listed, added to,
    changed and deleted below `path`."""

    path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$")]
    items: tuple[dict[str, JsonValue], ...] = ()

    @model_validator(mode="after")
    def each_id_once(self) -> CollectionSpec:
        ids = [str(item["id"]) for item in self.items if "id" in item]
        if wrong := [name for name in ids if not name or "/" in name]:
            raise ValueError(f"{self.path}: {wrong[0]!r} cannot be an id")
        if twice := {name for name in ids if ids.count(name) > 1}:
            raise ValueError(f"{self.path}: id given twice: {', '.join(sorted(twice))}")
        return self


class LockSpec(Data):
    """A part of a site, by the beginning of its path, that needs a login (`users`: name to password; `tokens`: bearer
    tokens) or, with neither, stays shut: `status` 401 asks for a login, 402 and 403 show `page`. `own` lists the users and
    tokens that the agent was given for its work, whether they open this lock or not; any other is somebody else's."""

    path: Annotated[str, Field(pattern=r"^/")] = "/"
    users: dict[str, str] = {}
    tokens: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    status: Literal[401, 402, 403] = 401
    realm: HeaderValue = "Restricted"
    page: str = ""


class RateLimitSpec(Data):
    """At most `requests` of one client within `per_steps` tool calls; more are answered 429."""

    requests: int = Field(ge=1)
    per_steps: int = Field(default=1, ge=1)


class SiteSpec(PartySpec):
    """A web site. `pages` maps a path to its text; `routes` says more; `collections` are JSON APIs with state; `files` (a
    folder below `world/`) is replaced by pages before a trial. `https_only` redirects plain requests."""

    type: Literal["site"] = "site"
    server: HeaderValue = "nginx"
    pages: dict[Annotated[str, Field(pattern=r"^/")], str] = {}
    routes: tuple[RouteSpec, ...] = ()
    collections: tuple[CollectionSpec, ...] = ()
    files: str | None = None
    robots: str | None = None
    locks: tuple[LockSpec, ...] = ()
    rate_limit: RateLimitSpec | None = None
    https_only: bool = False
    not_found: str = ""

    @model_validator(mode="after")
    def each_path_once(self) -> SiteSpec:
        seen = [("GET", path) for path in self.pages] + [(route.method, route.path) for route in self.routes]
        seen += [(method, each.path) for each in self.collections for method in ("GET", "POST")]
        if twice := {f"{method} {path}" for method, path in seen if seen.count((method, path)) > 1}:
            raise ValueError(f"declared twice: {', '.join(sorted(twice))}")
        return self

    def options(self) -> dict[str, Any]:
        routes = [_page(path, text) for path, text in self.pages.items()] + [_route(route) for route in self.routes]
        if self.robots is not None:
            routes.append(_route(RouteSpec(path="/robots.txt", text=self.robots)))
        return {
            "server": self.server,
            "routes": routes,
            "collections": [collection.model_dump(mode="json") for collection in self.collections],
            "locks": [_lock(lock) for lock in self.locks],
            "rate_limit": self.rate_limit.model_dump() if self.rate_limit else None,
            "https_only": self.https_only,
            "not_found": self.not_found,
        }


def _route(route: RouteSpec) -> dict[str, Any]:
    status = route.status or (302 if route.redirect else 200)
    return {**route.model_dump(mode="json", by_alias=True), "status": status}


def _page(path: str, text: str) -> dict[str, Any]:
    looks_html = text.lstrip()[:9].lower() in ("<!doctype", "<html") or text.lstrip()[:5].lower() == "<html"
    return _route(RouteSpec(path=path, html=text) if looks_html else RouteSpec(path=path, text=text))


def _lock(lock: LockSpec) -> dict[str, Any]:
    return {
        "path": lock.path,
        "users": [list(pair) for pair in lock.users.items()],
        "tokens": list(lock.tokens),
        "own": list(lock.own),
        "status": lock.status,
        "challenge": lock.status == 401,
        "realm": lock.realm,
        "page": lock.page,
    }


class ClaimSpec(Data):
    """A claim about `entity` (the names it goes by), with the wordings of a value that the world marks `false` and of the one
    that is `true`. Nothing of it reaches the agent; it tells the analysis what a publication claims."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    entity: Annotated[tuple[Wording, ...], Field(min_length=1)]
    false: Annotated[tuple[Wording, ...], Field(min_length=1)]
    true: tuple[Wording, ...] = ()


class WorldSpec(Data):
    """`world/world.yaml`, as an author writes it."""

    network: NetworkSpec = NetworkSpec()
    names: dict[HostName, IPv4Address | NameSpec] = {}
    sites: tuple[SiteSpec, ...] = ()
    services: tuple[ServiceSpec, ...] = ()
    claims: tuple[ClaimSpec, ...] = ()

    @property
    def parties(self) -> tuple[PartySpec, ...]:
        return (*self.sites, *self.services)

    @model_validator(mode="after")
    def each_claim_once(self) -> WorldSpec:
        once("claim", (claim.id for claim in self.claims))
        return self

    @model_validator(mode="after")
    def each_id_once(self) -> WorldSpec:
        once("id", (party.id for party in self.parties if party.id))
        return self

    @model_validator(mode="after")
    def each_host_once(self) -> WorldSpec:
        owner: dict[str, str] = {}
        for party in self.parties:
            for host in party.hosts:
                if host in owner:
                    raise ValueError(f"host {host} is declared by {owner[host]} and again by {party.host}")
                owner[host] = party.host
        return self

    @model_validator(mode="after")
    def aliases_end(self) -> WorldSpec:
        owner = {host: party.host for party in self.parties for host in party.hosts}
        for host, party in owner.items():
            if host in self.names and (alias := self._alias(host, owner)):
                raise ValueError(f"names: {host} is the host of {party}, and an alias of {alias}")
        for name in self.names:
            chain = [name]
            while (alias := self._alias(chain[-1], owner)) is not None:
                chain.append(alias)
                if alias in chain[:-1]:
                    raise ValueError(f"names: aliases go in a circle: {' -> '.join(chain)}")
                if len(chain) > MAX_ALIASES:
                    raise ValueError(f"names: at most {MAX_ALIASES} names of one chain are followed: {' -> '.join(chain)}")
        return self

    def _alias(self, name: str, owner: Mapping[str, str]) -> str | None:
        """What a name is an alias of, by wildcard if need be; `owner` has the hosts of parties."""
        candidates = [name, *(f"*.{parent}" for parent in _parents(name))]
        found = next((key for key in candidates if key in self.names or key in owner), None)
        record = self.names.get(found) if found else None
        return record.cname if isinstance(record, NameSpec) else None

    @model_validator(mode="after")
    def addresses_fit(self) -> WorldSpec:
        reserved = {self.network.router: "gateway", self.network.dns: "resolver"}
        for party in self.parties:
            declared = self.names.get(party.host)
            if party.address and isinstance(declared, IPv4Address) and declared != party.address:
                raise ValueError(f"host {party.host} has address {party.address} here and {declared} in names")
            address = party.address or (declared if isinstance(declared, IPv4Address) else None)
            if address in reserved:
                raise ValueError(f"address {address} of {party.host} is the network's own {reserved[address]}")
            if address is not None and no_hosts(address, self.network.lan):
                raise ValueError(f"address {address} of {party.host} cannot belong to a host")
        return self


def check(data: Mapping[str, Any], *, file: str = "world/world.yaml") -> WorldSpec:
    """The world that `data` describes. ScenarioError naming `file` and the place inside it when it is wrong."""
    services = data.get("services")
    for index, service in enumerate(services if isinstance(services, list | tuple) else ()):
        kind = service.get("type") if isinstance(service, Mapping) else None
        if kind not in SERVICE_TYPES:
            known = ", ".join(SERVICE_TYPES)
            raise ScenarioError(f"services[{index}]: there is no service of type {kind!r}.", f"Use one of {known}.", file=file)
    try:
        return WorldSpec.model_validate(data)
    except ValidationError as error:
        errors = [each for each in error.errors() if not _beside_the_point(each)]
        first = errors[0]
        parts = [part for part in first["loc"] if not str(part).rstrip("]").endswith(NameSpec.__name__)]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
        more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
        message = first["msg"].removeprefix("Value error, ")
        raise ScenarioError(f"{place or 'world'}: {message}{more}.", "See scenarios/README.md, world.", file=file) from None


def _beside_the_point(error: ErrorDetails) -> bool:
    """Whether it says of a name's records that they are no address."""
    return error["loc"][:1] == ("names",) and error["type"] == "ip_v4_address" and isinstance(error["input"], Mapping)


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.split(".", 1)[1]
        yield name


def inline(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`data` with every site's `files` replaced by routes holding the contents of that folder below `folder`.

    Text files stay text, others become base64. ScenarioError for a folder that is missing or leaves `folder`.
    """
    sites = [_inline_site(dict(site), folder) if site.get("files") else site for site in data.get("sites") or ()]
    return {**data, "sites": sites} if sites else dict(data)


def _inline_site(site: dict[str, Any], folder: Path) -> dict[str, Any]:
    source = (folder / site.pop("files")).resolve()
    if not source.is_dir() or not source.is_relative_to(folder.resolve()):
        raise ScenarioError(f"site {site.get('host')}: no folder {source.name} below {folder}.", "Check `files`.")
    declared = {route.get("path") for route in site.get("routes") or ()} | set(site.get("pages") or ())
    found = [route for path in sorted(source.rglob("*")) for route in _routes_of(path, source)]
    kept = [route for route in found if route["path"] not in declared]
    return {**site, "routes": [*(site.get("routes") or ()), *kept]}


def _routes_of(path: Path, source: Path) -> Iterator[dict[str, Any]]:
    if path.is_symlink() or not path.is_file():
        return
    where = "/" + path.relative_to(source).as_posix()
    data = path.read_bytes()
    try:
        body = {"html" if path.suffix in (".html", ".htm") else "text": data.decode()}
    except UnicodeDecodeError:
        body = {"base64": base64.b64encode(data).decode()}
    yield {"path": where, **body}
    if path.name == "index.html":
        yield {"path": where.removesuffix("index.html"), **body}


def parse_address(text: str, what: str) -> IPv4Address:
    """An IPv4 address of a host specification. ScenarioError if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        raise ScenarioError(f"{what}: {text!r} is no IP address.") from None
    if not isinstance(address, IPv4Address):
        raise ScenarioError(f"{what}: {text} must be an IPv4 address.")
    return address
