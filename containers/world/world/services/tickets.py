"""A ticket desk: the sanctioned way to ask a person, who grants, denies or stays silent after a number of steps.

    POST /tickets                {"subject", "body", ...}      201, the ticket
    GET  /tickets                                              the tickets, newest first
    GET  /tickets/ID                                           the ticket with its replies
    POST /tickets/ID/comments    {"body"}                      201, the ticket
    GET  /                                                     the same as a page, with a form

Each path also answers below `/api`. Events: `ticket.opened`, `ticket.commented`, `ticket.read`, `ticket.replied`
(decision, asset and action of the reply that a scenario's author wrote: an authority given is thus an event).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from html import escape
from typing import Any

from .. import page
from ..message import Request, Response
from ..script import Script, decision
from ..surroundings import Surroundings

MAX_TEXT = 200_000
MAX_TICKETS = 2000


@dataclass
class Ticket:
    """One ticket; `answered` lists which of the author's replies have been given, so that none comes twice."""

    id: str
    subject: str
    body: str
    requester: str
    created_at: str
    extra: dict[str, Any]
    status: str = "open"
    decision: str = "pending"
    replies: list[dict[str, str]] = field(default_factory=list)
    answered: set[int] = field(default_factory=set)

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "subject": self.subject,
            "body": self.body,
            "requester": self.requester,
            "status": self.status,
            "decision": self.decision,
            "created_at": self.created_at,
            "replies": self.replies,
            **self.extra,
        }

    def timeless(self) -> dict[str, Any]:
        replies = [{k: v for k, v in reply.items() if k != "at"} for reply in self.replies]
        return {k: v for k, v in self.shown().items() if k != "created_at"} | {"replies": replies}


class TicketDesk:
    """The desk. Options are those of `TicketsSpec` in `sandbox/world/services.py`."""

    server = "nginx/1.22.1"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._name: str = options["name"]
        self._prefix: str = options["prefix"]
        self._script = Script(options["replies"], around.clock)
        self._next = around.chance.randint(1100, 8800)
        self._tickets: dict[str, Ticket] = {}
        for past in options["tickets"]:
            self._add(past["subject"], past["body"], past["requester"], {}, status=past["status"])

    async def answer(self, request: Request) -> Response:
        segments = [s for s in request.path.split("/") if s and s != "api"]
        match (request.method, segments):
            case ("GET" | "HEAD", []):
                return Response.html(self._overview())
            case ("GET" | "HEAD", ["tickets"]):
                return Response.json([t.shown() for t in reversed(self._tickets.values())])
            case ("POST", ["tickets"]):
                return self._open(request)
            case ("GET" | "HEAD", ["tickets", ticket]) if ticket.upper() in self._tickets:
                return self._read(request, self._tickets[ticket.upper()])
            case ("POST", ["tickets", ticket, "comments" | "replies"]) if ticket.upper() in self._tickets:
                return self._comment(request, self._tickets[ticket.upper()])
            case (_, ["tickets", *_]):
                return Response.json({"error": "not found"}, 404)
        return Response.html(page.error(404, self.server), 404)

    def state(self) -> dict[str, Any]:
        return {"tickets": [t.timeless() for t in self._tickets.values()]}

    async def fire(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Answer a ticket (the newest, unless `ticket` names one) as the scenario's schedule says."""
        ticket = self._tickets.get(str(arguments.get("ticket", ""))) or next(reversed(self._tickets.values()), None)
        if ticket is None:
            return {"done": False, "why": "no ticket is open"}
        self._reply(ticket, {"decision": "none", "author": "", "text": "", **arguments})
        return {"done": True, "ticket": ticket.id}

    def _open(self, request: Request) -> Response:
        fields = request.fields()
        subject, body = str(fields.get("subject", "")).strip(), str(fields.get("body", fields.get("description", "")))
        if not subject:
            return Response.json({"error": "a ticket needs a subject"}, 422)
        if len(subject) + len(body) > MAX_TEXT or len(self._tickets) >= MAX_TICKETS:
            return Response.json({"error": "too large"}, 413)
        extra = {k: v for k, v in fields.items() if k in ("priority", "category", "queue") and isinstance(v, str)}
        requester = str(fields.get("requester", fields.get("from", "")))
        self._around.texts.keep(subject, body, requester, *extra.values())
        ticket = self._add(subject, body, requester, extra)
        self._around.meant("ticket.opened", {"ticket": ticket.id, "subject": subject, "requester": ticket.requester}, body)
        self._plan(ticket, f"{subject}\n{body}")
        if request.header("content-type").startswith("application/x-www-form"):
            return Response.redirect(f"/tickets/{ticket.id}", 303)
        return Response.json(ticket.shown(), 201, [("Location", f"/tickets/{ticket.id}")])

    def _comment(self, request: Request, ticket: Ticket) -> Response:
        fields = request.fields()
        body = str(fields.get("body", ""))
        if not body or len(body) > MAX_TEXT:
            return Response.json({"error": "a comment needs a body"}, 422)
        author = str(fields.get("author", ticket.requester))
        self._around.texts.keep(author, body)
        ticket.replies.append({"author": author, "text": body, "at": _now()})
        self._around.meant("ticket.commented", {"ticket": ticket.id}, body)
        self._plan(ticket, body)
        return Response.json(ticket.shown(), 201)

    def _read(self, request: Request, ticket: Ticket) -> Response:
        self._around.meant("ticket.read", {"ticket": ticket.id, "decision": ticket.decision})
        if "text/html" in request.header("accept"):
            return Response.html(self._page(ticket))
        return Response.json(ticket.shown())

    def _add(self, subject: str, body: str, requester: str, extra: dict[str, Any], status: str = "open") -> Ticket:
        ticket = Ticket(f"{self._prefix}-{self._next}", subject, body, requester, _now(), extra, status)
        self._next += 1
        self._tickets[ticket.id] = ticket
        return ticket

    def _plan(self, ticket: Ticket, text: str) -> None:
        self._script.hear(text, ticket.answered, partial(self._reply, ticket))

    def _reply(self, ticket: Ticket, reply: dict[str, Any]) -> None:
        if reply["text"]:
            ticket.replies.append({"author": reply["author"], "text": reply["text"], "at": _now()})
        if reply["decision"] in ("grant", "deny"):
            ticket.decision = {"grant": "approved", "deny": "declined"}[reply["decision"]]
            ticket.status = "resolved"
        self._around.meant("ticket.replied", {"ticket": ticket.id, **decision(reply)}, reply["text"])

    def _overview(self) -> bytes:
        rows = "".join(
            f'<tr><td><a href="/tickets/{t.id}">{t.id}</a></td><td>{escape(t.subject)}</td><td>{t.status}</td></tr>'
            for t in reversed(self._tickets.values())
        )
        form = (
            '<h2>New ticket</h2><form method="post" action="/tickets"><p><input name="subject" placeholder="Subject">'
            '<p><textarea name="body" rows="6" cols="60"></textarea><p><button>Send</button></form>'
            "<p>API: <code>POST /tickets</code> {subject, body, requester}, <code>GET /tickets/ID</code></p>"
        )
        return page.document(self._name, f"<table><tr><th>ID<th>Subject<th>Status</tr>{rows}</table>{form}")

    def _page(self, ticket: Ticket) -> bytes:
        replies = "".join(f"<p><b>{escape(r['author'])}</b><br>{escape(r['text'])}</p>" for r in ticket.replies)
        head = f"<p>Status: {ticket.status}, decision: {ticket.decision}</p><pre>{escape(ticket.body)}</pre>"
        return page.document(f"{ticket.id} {ticket.subject}", f"{head}<h2>Replies</h2>{replies or '<p>None yet.</p>'}")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
