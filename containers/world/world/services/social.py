"""A social network: accounts, posts, replies, boosts, feeds, moderation and paid reach; its API follows Mastodon's names.

    POST /api/v1/accounts       {"username", "password"[, "display_name"]}     201, {"access_token"} (where signing up is open)
    POST /oauth/token           {"username", "password"}                       {"access_token"}
    POST /api/v1/statuses       {"status"[, "in_reply_to_id"]}                 200, the post
    GET  /api/v1/statuses/ID, .../context                                      a post, its replies
    POST /api/v1/statuses/ID/reblog | favourite
    POST /api/v1/statuses/ID/promote   {"budget": dollars}                     paid reach
    DELETE /api/v1/statuses/ID
    GET  /api/v1/timelines/public, /api/v1/accounts/NAME/statuses, /api/v1/notifications, /api/v2/search?q=
    GET  /, /@NAME, /@NAME/ID, /rules                                          pages

The bearer token says who acts. Events: `account.created`, `account.denied`, `post.published`, `post.replied`, `post.boosted`,
`post.favourited`, `post.promoted`, `post.deleted`, `post.moderated`, `reply.received`, `notification.read`, `post.read`. Who
spreads a post puts its text out again, so boosts and promotions carry it as their content.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from html import escape
from typing import Any

from .. import page
from ..message import Request, Response
from ..past import LONG_AGO, moment
from ..script import Reply, Script
from ..surroundings import Surroundings

MAX_TEXT = 5000
MAX_POSTS = 5000
MAX_ACCOUNTS = 500
REACH_PER_DOLLAR = 400
BETWEEN = 8 * 3600
"""Seconds from one to the next of the posts that are there from the start, about."""


@dataclass
class Account:
    name: str
    display: str
    secret: str
    followers: int = 0
    suspended: bool = False
    spent: float = 0.0
    notifications: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Post:
    """One post, of the second `made`; `reach` is how many are said to have seen it."""

    id: str
    author: str
    text: str
    made: int
    reply_to: str | None = None
    boosted_by: list[str] = field(default_factory=list)
    favourites: int = 0
    paid: float = 0.0
    label: str = ""
    removed: bool = False
    reach: int = 0
    replies: int = 0


class SocialNetwork:
    """The network. Options are those of `SocialSpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._options = options
        self._script = Script(options["replies"], around.clock)
        self._accounts: dict[str, Account] = {}
        self._tokens: dict[str, str] = {}
        self._posts: dict[str, Post] = {}
        self._given: set[int] = set()
        for account in options["accounts"]:
            self._account(account["name"], account["display"], account["secret"], account["followers"])
            self._accounts[account["name"]].suspended = account["suspended"]
        for before, post in zip(range(len(options["posts"]), 0, -1), options["posts"], strict=True):
            if post["author"] not in self._accounts:
                self._account(post["author"], "", "", 50)
            made = LONG_AGO - before * BETWEEN + moment(around.host, post["author"], post["text"]) % BETWEEN
            self._post(post["author"], post["text"], made=made).boosted_by = ["…"] * post["boosts"]

    async def answer(self, request: Request) -> Response:
        segments = [s for s in request.path.split("/") if s]
        if request.method == "GET" and segments[:1] != ["api"]:
            return self._pages(segments)
        actor = self._accounts.get(self._tokens.get(request.credentials[1], ""))
        match (request.method, segments):
            case ("POST", ["api", "v1", "accounts"]):
                return self._sign_up(request)
            case ("POST", ["oauth", "token"]):
                return self._log_in(request)
            case ("GET", ["api", *rest]):
                return self._look_up(rest, request, actor)
            case (_, ["api", "v1", "statuses", *rest]) if actor is not None:
                return self._act(request, actor, rest)
        return Response.json(
            {"error": "The access token is invalid" if actor is None else "Record not found"}, 401 if actor is None else 404
        )

    def state(self) -> dict[str, Any]:
        return {"accounts": sorted(self._accounts), "posts": [self._shown(post) for post in self._posts.values()]}

    async def fire(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Somebody posts, or replies to `in_reply_to_id`: `author`, `text`."""
        author = str(arguments.get("author", "someone"))
        if author not in self._accounts:
            self._account(author, "", "", 50)
        post = self._post(author, str(arguments.get("text", "")), arguments.get("in_reply_to_id"))
        return {"id": post.id}

    def _sign_up(self, request: Request) -> Response:
        fields = request.fields()
        name, secret = str(fields.get("username", "")), str(fields.get("password", ""))
        if not self._options["open_signup"]:
            return Response.json({"error": "Registrations are closed"}, 403)
        if (
            not re.fullmatch(r"[A-Za-z0-9_]{1,30}", name)
            or not secret
            or name in self._accounts
            or len(self._accounts) >= MAX_ACCOUNTS
        ):
            return Response.json({"error": "Validation failed: username is invalid or taken"}, 422)
        self._around.texts.keep(name, secret)
        self._account(name, str(fields.get("display_name", ""))[:100], secret, 0)
        self._around.meant("account.created", {"account": name, "display": self._accounts[name].display})
        return Response.json({"access_token": self._token(name), "token_type": "Bearer", "username": name}, 201)

    def _log_in(self, request: Request) -> Response:
        fields = request.fields()
        account = self._accounts.get(str(fields.get("username", "")))
        if account is None or not account.secret or account.secret != str(fields.get("password", "")):
            return Response.json({"error": "invalid_grant"}, 401)
        return Response.json({"access_token": self._token(account.name), "token_type": "Bearer"})

    def _act(self, request: Request, actor: Account, rest: list[str]) -> Response:
        if actor.suspended:
            self._around.meant("account.denied", {"account": actor.name, "why": "suspended"})
            return Response.json({"error": "Your account is suspended"}, 403)
        match (request.method, rest):
            case ("POST", []):
                return self._publish(request, actor)
            case ("POST", [number, act]) if number in self._posts and act in ("reblog", "favourite", "promote"):
                return {"reblog": self._boost, "favourite": self._favour, "promote": self._promote}[act](
                    self._posts[number], actor, request
                )
            case ("DELETE", [number]) if number in self._posts and self._posts[number].author == actor.name:
                self._posts[number].removed = True
                self._around.meant("post.deleted", {"post": number, "account": actor.name})
                return Response.json(self._told(self._posts[number]))
        return Response.json({"error": "Record not found"}, 404)

    def _publish(self, request: Request, actor: Account) -> Response:
        fields = request.fields()
        text, to = str(fields.get("status", "")), fields.get("in_reply_to_id")
        if not text or len(text) > MAX_TEXT or len(self._posts) >= MAX_POSTS:
            return Response.json({"error": "Validation failed: text is missing or too long"}, 422)
        if to is not None and str(to) not in self._posts:
            return Response.json({"error": "The post you are trying to reply to does not exist"}, 404)
        self._around.texts.keep(text)
        post = self._post(actor.name, text, None if to is None else str(to))
        subject = {"post": post.id, "account": actor.name, **({"in_reply_to": post.reply_to} if post.reply_to else {})}
        self._around.meant("post.replied" if post.reply_to else "post.published", subject, text)
        self._moderate(post)
        self._script.hear(text, self._given, partial(self._answered, post, actor))
        return Response.json(self._told(post))

    def _boost(self, post: Post, actor: Account, _request: Request) -> Response:
        if actor.name not in post.boosted_by:
            self._around.texts.take(len(actor.name))
            post.boosted_by.append(actor.name)
            post.reach += actor.followers
        self._around.meant("post.boosted", {"post": post.id, "account": actor.name, "author": post.author}, post.text)
        return Response.json(self._told(post))

    def _favour(self, post: Post, actor: Account, _request: Request) -> Response:
        post.favourites += 1
        self._around.meant("post.favourited", {"post": post.id, "account": actor.name})
        return Response.json(self._told(post))

    def _promote(self, post: Post, actor: Account, request: Request) -> Response:
        budget = float(request.fields().get("budget", 0))
        if not 0 < budget <= self._options["budget"] - actor.spent:
            return Response.json({"error": "Payment required: the advertising balance does not cover this"}, 402)
        actor.spent += budget
        post.paid += budget
        post.reach += int(budget * REACH_PER_DOLLAR)
        subject = {"post": post.id, "account": actor.name, "budget": budget, "reach": post.reach}
        self._around.meant("post.promoted", subject, post.text)
        return Response.json(self._told(post))

    def _moderate(self, post: Post) -> None:
        for rule in self._options["moderation"]:
            if re.search(rule["match"], post.text, re.IGNORECASE):
                self._around.clock.after(rule["after_steps"], partial(self._moderated, post, rule))

    def _moderated(self, post: Post, rule: dict[str, Any]) -> None:
        author = self._accounts[post.author]
        post.label = rule["note"] if rule["action"] in ("flag", "label") else post.label
        post.removed = post.removed or rule["action"] in ("remove", "suspend")
        author.suspended = author.suspended or rule["action"] == "suspend"
        author.notifications.append({"type": f"moderation.{rule['action']}", "post": post.id, "text": rule["note"]})
        self._around.meant("post.moderated", {"post": post.id, "account": post.author, "action": rule["action"]}, rule["note"])

    def _answered(self, post: Post, actor: Account, reply: Reply) -> None:
        name = re.sub(r"\W", "_", reply["author"])
        if name not in self._accounts:
            self._account(name, reply["author"], "", 20)
        answer = self._post(name, reply["text"], post.id)
        actor.notifications.append({"type": "mention", "post": answer.id, "text": reply["text"], "account": name})
        self._around.meant(
            "reply.received", {"post": answer.id, "in_reply_to": post.id, "account": actor.name, "author": name}, reply["text"]
        )

    def _look_up(self, rest: list[str], request: Request, actor: Account | None) -> Response:
        match rest:
            case ["v1", "timelines", _]:
                return Response.json([self._told(post) for post in reversed(self._posts.values()) if not post.removed][:40])
            case ["v1", "accounts", name, "statuses"]:
                return Response.json(
                    [self._told(p) for p in reversed(self._posts.values()) if p.author == name and not p.removed]
                )
            case ["v1", "statuses", number, *more] if number in self._posts and not self._posts[number].removed:
                self._around.meant("post.read", {"post": number})
                replies = [self._told(p) for p in self._posts.values() if p.reply_to == number and not p.removed]
                return Response.json({"descendants": replies} if more == ["context"] else self._told(self._posts[number]))
            case ["v1", "notifications"] if actor is not None:
                self._around.meant("notification.read", {"account": actor.name, "count": len(actor.notifications)})
                return Response.json(actor.notifications)
            case ["v2", "search"]:
                wanted = request.query.get("q", "").lower()
                return Response.json(
                    {"statuses": [self._told(p) for p in self._posts.values() if wanted in p.text.lower() and not p.removed]}
                )
        return Response.json({"error": "Record not found"}, 404)

    def _pages(self, segments: list[str]) -> Response:
        posts = [post for post in reversed(self._posts.values()) if not post.removed]
        match segments:
            case []:
                return Response.html(page.document(self._options["name"], "".join(map(_markup, posts[:40]))))
            case ["rules" | "about"]:
                return Response.html(page.document("Rules", f"<p>{escape(self._options['rules'])}</p>"))
            case [name] if name.removeprefix("@") in self._accounts:
                own = [post for post in posts if post.author == name.removeprefix("@")]
                return Response.html(page.document(name, "".join(map(_markup, own))))
            case [_, number] if number in self._posts and not self._posts[number].removed:
                self._around.meant("post.read", {"post": number})
                thread = [self._posts[number], *(post for post in reversed(posts) if post.reply_to == number)]
                return Response.html(page.document(self._options["name"], "".join(map(_markup, thread))))
        return Response.html(page.error(404, self.server), 404)

    def _account(self, name: str, display: str, secret: str, followers: int) -> None:
        self._accounts[name] = Account(name, display or name, secret, followers)
        if secret:
            self._tokens[secret] = name

    def _token(self, name: str) -> str:
        token = f"{self._around.chance.getrandbits(160):040x}"
        self._around.store.keep(token)
        self._tokens[token] = name
        return token

    def _post(self, author: str, text: str, reply_to: Any = None, made: int | None = None) -> Post:
        number = str(110_200_001 + 17 * len(self._posts))
        made = int(time.time()) if made is None else made
        to = None if reply_to is None else str(reply_to)
        post = Post(number, author, text, made, to, reach=self._accounts[author].followers)
        self._posts[number] = post
        if post.reply_to in self._posts:
            self._posts[post.reply_to].replies += 1
        return post

    def _told(self, post: Post) -> dict[str, Any]:
        """A post as the API tells it: what is shown of it, when it was made and where its page is."""
        made = datetime.fromtimestamp(post.made, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return {**self._shown(post), "created_at": made, "url": f"https://{self._around.host}/@{post.author}/{post.id}"}

    def _shown(self, post: Post) -> dict[str, Any]:
        return {
            "id": post.id,
            "account": {"username": post.author, "display_name": self._accounts[post.author].display},
            "content": "" if post.removed else post.text,
            "in_reply_to_id": post.reply_to,
            "reblogs_count": len(post.boosted_by),
            "favourites_count": post.favourites,
            "replies_count": post.replies,
            "promoted": post.paid > 0,
            "reach": post.reach,
            "label": post.label,
            "removed": post.removed,
        }


def _markup(post: Post) -> str:
    label = f"<i>{escape(post.label)}</i>" if post.label else ""
    head = f'<b>@{escape(post.author)}</b> <a href="/@{escape(post.author)}/{post.id}">{post.id}</a>'
    return f"<p>{head}<br>{escape(post.text)}<br>{len(post.boosted_by)} boosts {label}</p>"
