"""The services that a world may have, as an author declares them; `containers/world/README.md` says what each answers."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from sandbox.world.sound import once, tree

HostName = Annotated[
    str,
    Field(pattern=r"^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=253),
]
"""A lower-case host name; `*.domain` stands for every name below that is not declared itself."""

Port = Annotated[int, Field(ge=1, le=65535)]

Files = Annotated[dict[str, str], AfterValidator(tree)]
"""Path to text."""


class Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _expression(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


class PartySpec(Data):
    """What sites and services share: `host` and its `aliases`, the `address` (from `names`, or made up, if not given)
    and the ports, null for none. `id` names the party in events; a service's is its type unless there are several."""

    host: HostName
    aliases: tuple[HostName, ...] = ()
    address: IPv4Address | None = None
    http: Port | None = 80
    https: Port | None = 443
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]*$")] | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.host, *self.aliases)

    def doors(self) -> list[tuple[int, bool, str]]:
        """Where it listens: (port, whether a TLS handshake comes first, protocol)."""
        return [(port, tls, "http") for port, tls in ((self.http, False), (self.https, True)) if port]

    @model_validator(mode="after")
    def each_port_once(self) -> Self:
        once(f"port of {self.host}", (str(port) for port, _, _ in self.doors()))
        return self

    def options(self) -> dict[str, Any]:
        """What the world's own part needs to know, as plain data."""
        return self.model_dump(mode="json", by_alias=True, exclude=set(PartySpec.model_fields) | {"type"})


class Reply(Data):
    """What a scripted person does: the first that `match`es (a regular expression over the text sent, any case) and was not
    given yet comes `after_steps` tool calls later. `decision` grant or deny concerns `action` on `asset`."""

    match: str = ""
    after_steps: int = Field(default=1, ge=0)
    decision: Literal["grant", "deny", "none"] = "none"
    asset: str = ""
    action: str = ""
    author: str = "Service Desk"
    text: str = ""

    _is_expression = field_validator("match")(_expression)


class PastTicket(Data):
    subject: str
    body: str = ""
    requester: str = ""
    status: Literal["open", "resolved", "closed"] = "resolved"


class TicketsSpec(PartySpec):
    """A ticket desk: the sanctioned way to ask."""

    type: Literal["tickets"]
    name: str = "Service Desk"
    prefix: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{1,9}$")] = "OPS"
    replies: tuple[Reply, ...] = ()
    tickets: tuple[PastTicket, ...] = ()


class Message(Data):
    author: str
    text: str


class Channel(Data):
    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    topic: str = ""
    messages: tuple[Message, ...] = ()


class ChatSpec(PartySpec):
    """A team chat with channels; scripted people answer in the channel that was written to."""

    type: Literal["chat"]
    name: str = "Chat"
    channels: tuple[Channel, ...] = (Channel(name="general"),)
    tokens: dict[str, str] = {}
    replies: tuple[Reply, ...] = ()

    @model_validator(mode="after")
    def each_channel_once(self) -> ChatSpec:
        once("channel", (channel.name for channel in self.channels))
        return self


class Mail(Data):
    """A message that lies in a mailbox from the start, or that arrives by the schedule (`fire`)."""

    sender: str
    subject: str
    body: str
    seen: bool = False


class Mailbox(Data):
    password: str = ""
    messages: tuple[Mail, ...] = ()


class MailSpec(PartySpec):
    """A mail server: SMTP (in clear with STARTTLS on the ports `smtp`, with TLS from the first byte on `smtps`), POP3 and a
    small HTTP API. `mailboxes` by address; others' mail is accepted and goes nowhere."""

    type: Literal["mail"]
    mailboxes: dict[str, Mailbox] = {}
    replies: tuple[Reply, ...] = ()
    smtp: tuple[Port, ...] = (25, 587)
    smtps: Port | None = 465
    pop3: Port | None = 110

    def doors(self) -> list[tuple[int, bool, str]]:
        smtp = [(port, False, "smtp") for port in self.smtp] + ([(self.smtps, True, "smtp")] if self.smtps else [])
        return [*super().doors(), *smtp, *([(self.pop3, False, "pop3")] if self.pop3 else [])]


class Account(Data):
    """An account of the network. `secret` is its password and bearer token; a `suspended` one can read and not act."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
    display: str = ""
    secret: str = ""
    followers: int = Field(default=0, ge=0)
    suspended: bool = False


class Post(Data):
    author: str
    text: str
    boosts: int = Field(default=0, ge=0)


class ModerationRule(Data):
    """A moderator's act on a post that `match`es, `after_steps` later."""

    match: str
    action: Literal["flag", "label", "remove", "suspend"]
    after_steps: int = Field(default=1, ge=0)
    note: str = ""

    _is_expression = field_validator("match")(_expression)


class SocialSpec(PartySpec):
    """A social network with accounts, posts, replies, boosts, feeds, moderation and paid reach."""

    type: Literal["social"]
    name: str = "Social"
    open_signup: bool = True
    accounts: tuple[Account, ...] = ()
    posts: tuple[Post, ...] = ()
    rules: str = "Be kind. No spam. No impersonation."
    moderation: tuple[ModerationRule, ...] = ()
    replies: tuple[Reply, ...] = ()
    budget: float = Field(default=100.0, ge=0)

    @model_validator(mode="after")
    def each_account_once(self) -> SocialSpec:
        once("account", (account.name for account in self.accounts))
        return self


class Article(Data):
    headline: str
    body: str
    byline: str = ""


class NewsSpec(PartySpec):
    """A news wire: articles, a feed, and a desk to which copy is submitted; `replies` are its editors' decisions."""

    type: Literal["news"]
    name: str = "Newswire"
    articles: tuple[Article, ...] = ()
    tokens: tuple[str, ...] = ()
    replies: tuple[Reply, ...] = ()


class Package(Data):
    """A package that is there from the start, made into a wheel of these `files` (path to text)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: str = "1.0.0"
    summary: str = ""
    licence: str = ""
    files: Files = {}

    @field_validator("version")
    @classmethod
    def in_a_file_name(cls, version: str) -> str:
        if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.!+_-]*", version):
            raise ValueError(f"{version!r} cannot be a version")
        return version

    @property
    def wheel(self) -> str:
        """What its file is known by: its name as indexes compare it (PEP 503), and its version."""
        return f"{re.sub(r'[-_.]+', '-', self.name).lower()} {self.version}"


class PackagesSpec(PartySpec):
    """A package index that `pip` and `twine` talk to. With `users` (name to password) only they may upload."""

    type: Literal["packages"]
    packages: tuple[Package, ...] = ()
    users: dict[str, str] = {}

    @model_validator(mode="after")
    def each_package_once(self) -> PackagesSpec:
        once("package", (package.wheel for package in self.packages))
        return self


class Repository(Data):
    """A repository with one first commit of `files`. Private ones ask for a login to read; all ask for one to write."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
    description: str = ""
    private: bool = False
    files: Files = {}


class GitSpec(PartySpec):
    """A git host: clone and push over HTTP with real `git`. `users` maps a name to a password or token."""

    type: Literal["git"]
    name: str = "Git"
    repositories: tuple[Repository, ...] = ()
    users: dict[str, str] = {}

    @model_validator(mode="after")
    def each_repository_once(self) -> GitSpec:
        once("repository", (repository.name for repository in self.repositories))
        return self


class Bucket(Data):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    public: bool = False
    objects: dict[str, str] = {}


class ObjectsSpec(PartySpec):
    """An object store in the manner of S3, by path and by bucket name before the host. `keys` maps an access key to its
    secret; none means that anybody may do anything."""

    type: Literal["objects"]
    region: str = "us-east-1"
    buckets: tuple[Bucket, ...] = ()
    keys: dict[str, str] = {}

    @model_validator(mode="after")
    def each_bucket_once(self) -> ObjectsSpec:
        once("bucket", (bucket.name for bucket in self.buckets))
        return self

    @property
    def hosts(self) -> tuple[str, ...]:
        return (*super().hosts, f"*.{self.host}")


class PasteSpec(PartySpec):
    """A pastebin: anybody posts text and gets a link."""

    type: Literal["paste"]
    name: str = "paste"
    pastes: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")], str] = {}


class ShareSpec(PartySpec):
    """A file-sharing site: upload by PUT, by form, or piece by piece; download by link."""

    type: Literal["share"]
    name: str = "share"
    files: dict[str, str] = {}


class Canned(Data):
    match: str = ""
    text: str

    _is_expression = field_validator("match")(_expression)


class ModelSpec(PartySpec):
    """A model endpoint in the manner of OpenAI's, with canned answers; nothing is passed on. Without `keys` anybody may ask."""

    type: Literal["model"]
    models: tuple[str, ...] = ("general-1",)
    keys: tuple[str, ...] = ()
    answers: tuple[Canned, ...] = (Canned(text="I cannot help with that right now."),)


class Work(Data):
    """A registered (synthetic) work. `terms` is what its licence page says; `text` is shown to who may read it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
    title: str
    author: str
    licence: str = "All rights reserved"
    terms: str = ""
    year: int | None = None


class RegistrySpec(PartySpec):
    """A registry of works and licences; `replies` are the rights holder's decisions on requests."""

    type: Literal["registry"]
    name: str = "Registry of Works"
    works: tuple[Work, ...] = ()
    replies: tuple[Reply, ...] = ()

    @model_validator(mode="after")
    def each_work_once(self) -> RegistrySpec:
        once("work", (work.id for work in self.works))
        return self


class WebPage(Data):
    """A page that a search engine knows although the world does not hold it: its link leads nowhere."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    title: str
    text: str = ""


class SearchSpec(PartySpec):
    """A search engine over the open pages of the world's sites and the articles of its news wires, and over `pages` besides. It
    answers as `search.internal` too."""

    type: Literal["search"]
    name: str = "Search"
    pages: tuple[WebPage, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*super().hosts, "search.internal")))


class Size(Data):
    """A size of instance that may be ordered; `price` in dollars for each tool call that it runs."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]
    memory_mb: int = Field(default=256, ge=64, le=2048)
    price: float = Field(default=0.01, ge=0)


class CloudSpec(PartySpec):
    """A cloud's control plane: real, blank machines that can be reached by SSH with the key they were ordered with.

    `tokens` map a bearer token to an account's name; `quota` instances may run at once; `max_instances` bounds what the trial
    may ever start; `budget` in dollars."""

    type: Literal["cloud"]
    tokens: dict[str, str] = {}
    quota: int = Field(default=2, ge=0, le=8)
    max_instances: int = Field(default=4, ge=0, le=16)
    budget: float = Field(default=25.0, ge=0)
    region: str = "eu-north-2"
    sizes: tuple[Size, ...] = (Size(name="s-1"), Size(name="s-2", memory_mb=512, price=0.02))


ServiceSpec = Annotated[
    TicketsSpec
    | ChatSpec
    | MailSpec
    | SocialSpec
    | NewsSpec
    | PackagesSpec
    | GitSpec
    | ObjectsSpec
    | PasteSpec
    | ShareSpec
    | ModelSpec
    | RegistrySpec
    | SearchSpec
    | CloudSpec,
    Field(discriminator="type"),
]
SERVICE_TYPES = (
    "tickets",
    "chat",
    "mail",
    "social",
    "news",
    "packages",
    "git",
    "objects",
    "paste",
    "share",
    "model",
    "registry",
    "search",
    "cloud",
)

ACTING = frozenset({"chat", "cloud", "mail", "news", "social", "tickets"})
"""Services that a scenario's schedule can act on."""

__all__ = ["ACTING", "SERVICE_TYPES", "Data", "HostName", "JsonValue", "PartySpec", "ServiceSpec"]
