"""A mail server: SMTP to send, POP3 and a small HTTP API to read, scripted correspondents who answer.

    SMTP (25, 587, 465 with TLS from the first byte)   EHLO, STARTTLS, AUTH PLAIN | LOGIN, MAIL, RCPT, DATA
    POP3 (110)       USER, PASS, STAT, LIST, UIDL, RETR, TOP, DELE, QUIT
    GET  /api/mailboxes/ADDRESS/messages[/N]      POST /api/messages  {"from", "to", "subject", "body"}

Reading asks for the mailbox' password where it has one (Basic: address and password). Mail to addresses without a mailbox is
accepted and goes nowhere. Events: `mail.sent` (from, to, subject), `mail.read`, `mail.received`, `mail.denied`, and
`mail.refused` (from, why, size; what was refused as content) for what finds no room, was never finished, or is no command.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.utils import formatdate
from functools import partial
from typing import Any

from ..budget import Budget, Refused
from ..listening import Secure
from ..message import Request, Response, slices
from ..script import Reply, Script, decision
from ..surroundings import Surroundings

MAX_MESSAGE = 10_240_000
MAX_WRITTEN = 1 << 20
"""Largest text that is made into a message here."""

MAX_LINE = 4096
MAX_PARSED = 128 * 1024
"""Bytes at the beginning of a message in which its text is looked for: each line costs many times its length when parsed."""

MAX_HEAD = 64 * 1024
MAX_REFUSED = 4096
"""Bytes from the beginning of a message refused for want of room that are told."""

MAX_RECIPIENTS = 100
MAX_OF_ONE_BOX = 2000
IDLE_SECONDS = 120.0
DATA_SECONDS = 300.0
END = re.compile(rb"\r?\n\.\r?\n")
"""What ends a message."""


@dataclass
class Stored:
    """A message in a mailbox, whole as it came, and its headers (from, to, subject)."""

    data: bytes
    headers: dict[str, str]
    seen: bool = False
    gone: bool = False


@dataclass
class Mailbox:
    password: str
    messages: list[Stored] = field(default_factory=list)


class MailServer:
    """The server. Options are those of `MailSpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._script = Script(options["replies"], around.clock)
        self._given: set[int] = set()
        self._boxes = {address.lower(): Mailbox(box["password"]) for address, box in options["mailboxes"].items()}
        for address, box in options["mailboxes"].items():
            for mail in box["messages"]:
                data = compose(mail["sender"], address, mail["subject"], mail["body"])
                self._boxes[address.lower()].messages.append(Stored(data, _headers(data), mail["seen"]))

    async def answer(self, request: Request) -> Response:
        match (request.method, [s for s in request.path.split("/") if s]):
            case ("GET", ["api", "mailboxes", address, "messages", *number]) if address.lower() in self._boxes:
                return self._read(request, address.lower(), number)
            case ("POST", ["api", "messages"]):
                fields = request.fields()
                sender, to = str(fields.get("from", "")), fields.get("to", "")
                recipients = [str(a) for a in (to if isinstance(to, list) else str(to).split(",")) if str(a).strip()]
                if not recipients:
                    return Response.json({"error": "a message needs a recipient"}, 422)
                subject, body = str(fields.get("subject", "")), str(fields.get("body", ""))
                if len(subject) + len(body) > MAX_WRITTEN or len(recipients) > MAX_RECIPIENTS:
                    return Response.json({"error": "message too large"}, 413)
                sent = self.accept(sender, recipients, compose(sender, ", ".join(recipients), subject, body))
                return Response.json({"status": "sent"} if sent else {"error": "quota exceeded"}, 202 if sent else 507)
        return Response.json({"error": "not found"}, 404)

    def state(self) -> dict[str, Any]:
        return {address: [m.headers for m in box.messages if not m.gone] for address, box in self._boxes.items()}

    async def fire(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A message arrives: `to`, `sender`, `subject`, `body`."""
        to = str(arguments.get("to", next(iter(self._boxes), "")))
        self._deliver(
            to, str(arguments.get("sender", "")), str(arguments.get("subject", "")), str(arguments.get("body", "")), {}
        )
        return {"to": to}

    def accept(self, sender: str, recipients: list[str], data: bytes) -> bool:
        """Take a message that somebody sends; False when there is no room."""
        headers = _headers(data)
        boxes = [box for address in recipients if (box := self._boxes.get(_bare(address))) is not None]
        try:
            if any(len(box.messages) >= MAX_OF_ONE_BOX for box in boxes):
                raise Refused(507, "the mailbox is full")
            self._around.store.keep(data, *headers.values(), *("" for _ in boxes))
        except Refused as error:
            self.refuse(sender, str(error), data[:MAX_REFUSED], size=len(data))
            return False
        subject = {"from": sender, "to": ", ".join(recipients)[:2000], "subject": headers["subject"]}
        self._around.meant("mail.sent", subject, data)
        for box in boxes:
            box.messages.append(Stored(data, headers))
        text = f"To: {', '.join(recipients)}\n{headers['subject']}\n{_body(data)}"
        self._script.hear(text, self._given, partial(self._replied, sender, headers["subject"]))
        return True

    def refuse(self, sender: str, why: str, data: bytes, **more: Any) -> None:
        """Record that something was not taken, and `data` of it."""
        subject = {"from": sender[:1000], "why": why, "size": len(data), **more}
        self._around.meant("mail.refused", subject, data)

    def _replied(self, to: str, subject: str, reply: Reply) -> None:
        if reply["text"]:
            again = subject if subject.lower().startswith("re:") else f"Re: {subject}"
            self._deliver(to, reply["author"], again, reply["text"], decision(reply))
        else:
            self._around.meant("mail.received", {"to": to, **decision(reply)})

    def _deliver(self, to: str, sender: str, subject: str, body: str, more: dict[str, str]) -> None:
        box = self._boxes.setdefault(_bare(to), Mailbox(""))
        data = compose(sender, to, subject, body)
        box.messages.append(Stored(data, _headers(data)))
        self._around.meant("mail.received", {"to": to, "from": sender, "subject": subject, **more}, body)

    def _opens(self, address: str, user: str, password: str) -> bool:
        box = self._boxes.get(_bare(address))
        right = box is not None and (not box.password or (_bare(user) == _bare(address) and password == box.password))
        if not right:
            self._around.meant("mail.denied", {"mailbox": address, "user": user})
        return right

    def _read(self, request: Request, address: str, number: list[str]) -> Response:
        if not self._opens(address, *request.credentials):
            return Response.json({"error": "unauthorized"}, 401, [("WWW-Authenticate", 'Basic realm="Mail"')])
        messages = [m for m in self._boxes[address].messages if not m.gone]
        if not number:
            return Response.json([{"id": i + 1, "seen": m.seen, **m.headers} for i, m in enumerate(messages)])
        index = int(number[0]) - 1
        if not 0 <= index < len(messages):
            return Response.json({"error": "not found"}, 404)
        return Response.json({"id": index + 1, **self.shown(address, messages[index]), "body": _body(messages[index].data)})

    def shown(self, address: str, message: Stored) -> dict[str, str]:
        message.seen = True
        headers = message.headers
        self._around.meant("mail.read", {"mailbox": address, "from": headers["from"], "subject": headers["subject"]})
        return headers

    async def smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secure: Secure | None) -> None:
        """One SMTP client, to its QUIT (RFC 5321)."""
        await _Smtp(self, reader, writer, self._around, secure).serve()

    async def pop3(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _secure: Secure | None) -> None:
        """One POP3 client, to its QUIT (RFC 1939)."""
        await _Pop3(self, reader, writer, self._around).serve()

    def login(self, user: str, password: str) -> bool:
        """Whether a user's password is right; that it is not is recorded."""
        return self._opens(user, user, password)

    def open_box(self, user: str, password: str) -> list[Stored] | None:
        if not self._opens(user, user, password):
            return None
        return [m for m in self._boxes[_bare(user)].messages if not m.gone]


class _Dialogue:
    """Lines in, lines out, with a bound on both time and length. Whatever comes in and is not taken is told."""

    def __init__(
        self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, around: Surroundings
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._ahead = bytearray()
        self._refused = around.journal.tally()

    async def serve(self) -> None:
        """Talk to the client until either side has had enough."""
        try:
            await self._talk()
        finally:
            self._refused.tell()
            self._unread("a line that is too long" if len(self._ahead) >= MAX_LINE else "the client left before this was read")

    async def _talk(self) -> None:
        raise NotImplementedError

    def _who(self) -> str:
        """Who the client says that it is."""
        raise NotImplementedError

    async def _decline(self, line: bytes, answer: str) -> None:
        """Answer that a line is of no use."""
        who = self._who()
        self._refused.add(lambda count: self._server.refuse(who, answer, line, count=count))
        await self.say(answer)

    def _unread(self, why: str) -> None:
        """What was read ahead counts for nothing."""
        if self._ahead:
            self._server.refuse(self._who(), why, bytes(self._ahead))
        self._ahead.clear()

    async def say(self, line: str) -> None:
        await self.send(line.encode() + b"\r\n")

    async def send(self, data: bytes) -> None:
        """Send all of it, as fast as the client takes it. TimeoutError when it takes nothing for too long."""
        for piece in slices(data):
            self._writer.write(piece)
            async with asyncio.timeout(IDLE_SECONDS):
                await self._writer.drain()

    async def more(self) -> bool:
        """Read on; False when the client has gone, or says nothing for too long."""
        await asyncio.sleep(0)  # what is read at once was there already, and many a line may be
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                block = await self._reader.read(64 * 1024)
        except (TimeoutError, ConnectionError, ssl.SSLError):
            return False
        self._ahead += block
        return bool(block)

    async def line(self) -> bytes | None:
        """The next line without its end, None when the client has gone or talks nonsense."""
        await asyncio.sleep(0)
        while (end := self._ahead.find(b"\n", 0, MAX_LINE)) < 0:
            if len(self._ahead) >= MAX_LINE or not await self.more():
                return None
        data = bytes(self._ahead[:end])
        del self._ahead[: end + 1]
        return data.rstrip(b"\r")


class _Smtp(_Dialogue):
    def __init__(
        self,
        server: MailServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        around: Surroundings,
        secure: Secure | None,
    ) -> None:
        super().__init__(server, reader, writer, around)
        self._around = around
        self._host = around.host
        self._secure = secure
        self._sender = ""
        self._to: list[str] = []

    def _who(self) -> str:
        return self._sender

    async def _talk(self) -> None:
        await self.say(f"220 {self._host} ESMTP Postfix (Debian/GNU)")
        while (line := await self.line()) is not None:
            verb, _, rest = line.decode("utf-8", "replace").partition(" ")
            if verb.upper() == "QUIT":
                await self.say("221 2.0.0 Bye")
                return
            if not await self._command(line, verb.upper(), rest.strip()):
                return

    async def _command(self, line: bytes, verb: str, rest: str) -> bool:
        """Do what is asked; False when the line is of no more use."""
        match verb:
            case "STARTTLS" if self._secure is not None:
                return await self._start_tls()
            case "DATA" if self._to:
                return await self._data()
            case "EHLO" | "HELO":
                lines = [f"{self._host}", f"SIZE {MAX_MESSAGE}", "AUTH PLAIN LOGIN", "8BITMIME", "SMTPUTF8"]
                lines[2:2] = ["STARTTLS"] if self._secure is not None else []
                shown = lines if verb == "EHLO" else lines[:1]
                await self.say("\r\n".join(f"250{'-' if i < len(shown) - 1 else ' '}{text}" for i, text in enumerate(shown)))
            case "AUTH":
                await self._auth(line, rest)
            case "MAIL":
                self._sender, self._to = _path(rest), []
                await self.say("250 2.1.0 Ok")
            case "RCPT" if len(self._to) < MAX_RECIPIENTS:
                self._to.append(_path(rest))
                await self.say("250 2.1.5 Ok")
            case "RSET" | "NOOP":
                self._to = [] if verb == "RSET" else self._to
                await self.say("250 2.0.0 Ok")
            case "DATA" | "RCPT":
                await self._decline(
                    line, "503 5.5.1 Error: need RCPT command" if verb == "DATA" else "452 4.5.3 Error: too many recipients"
                )
            case _:
                await self._decline(line, "502 5.5.2 Error: command not recognized")
        return True

    async def _auth(self, line: bytes, rest: str) -> None:
        kind, _, first = rest.partition(" ")
        try:
            if kind.upper() == "PLAIN":
                given = _decode(first or await self._ask("334 "))
                _, user, password = given.split("\0")
            else:
                user, password = (
                    _decode(first or await self._ask("334 VXNlcm5hbWU6")),
                    _decode(await self._ask("334 UGFzc3dvcmQ6")),
                )
        except (ValueError, binascii.Error):
            await self._decline(line, "501 5.5.2 Error: malformed authentication")
            return
        right = self._server.login(user, password)
        await self.say("235 2.7.0 Authentication successful" if right else "535 5.7.8 Error: authentication failed")

    async def _ask(self, prompt: str) -> str:
        await self.say(prompt)
        return (await self.line() or b"").decode("ascii", "replace")

    async def _start_tls(self) -> bool:
        """Go on in secret; what was sent ahead in clear counts for nothing (RFC 3207, 4.2)."""
        assert self._secure is not None
        await self.say("220 2.0.0 Ready to start TLS")
        self._unread("sent ahead in clear")
        secured, self._secure, self._sender, self._to = await self._secure(), None, "", []
        return secured

    async def _data(self) -> bool:
        """Take a message; False when the client has gone in the middle of it."""
        await self.say("354 End data with <CR><LF>.<CR><LF>")
        text = _Text(self._around.held)
        try:
            rest = await self._whole(text)
            if rest is None:
                self._refuse("the message was never finished", text)
                return False
            self._ahead = bytearray(rest)
            await self._around.journal.turn()
            await self.say(self._taken(text))
        finally:
            text.release()
        self._to = []
        return True

    async def _whole(self, text: _Text) -> bytearray | None:
        """Read to the end of a message, and what follows it; None when the client goes or takes too long."""
        try:
            async with asyncio.timeout(DATA_SECONDS):
                while (rest := text.add(self._ahead)) is None:
                    self._ahead.clear()
                    if not await self.more():
                        return None
                return rest
        except TimeoutError:
            return None

    def _taken(self, text: _Text) -> str:
        if text.size > MAX_MESSAGE:
            self._refuse("the message is too large", text)
            return "552 5.3.4 Message size exceeds fixed limit"
        if not text.whole:
            self._refuse("there is no room left", text)
        elif self._server.accept(self._sender, self._to, text.unstuffed()):
            return "250 2.0.0 Ok: queued"
        return "452 4.3.1 Insufficient system storage"

    def _refuse(self, why: str, text: _Text) -> None:
        self._server.refuse(self._sender, why, text.come(), size=text.size, to=", ".join(self._to)[:2000])


class _Text:
    """A message as it comes in, for as long as there is room for it; what follows it is handed back."""

    def __init__(self, held: Budget) -> None:
        self._held = held
        self._data = bytearray(b"\n")  # so that a dot in the first line ends it as well
        self._holding = 0
        self._head = b""
        self.size = 0
        self.whole = True

    def add(self, block: bytes | bytearray) -> bytearray | None:
        """Take what came. None while the message goes on, else what came after its end."""
        known = len(self._data)
        self._data += block
        self.size += len(block)
        end = END.search(self._data, max(0, known - 4))
        if end is None:
            self._keep(len(block))
            return None
        rest = self._data[end.end() :]
        self.size -= len(rest)
        del self._data[end.start() :]
        return rest

    def _keep(self, more: int) -> None:
        """Take room; without it only the last bytes are kept, in which the end may begin."""
        try:
            if self.size > MAX_MESSAGE:
                raise Refused(552, "too large")
            self._held.take(more)
            self._holding += more
        except Refused:
            if self.whole:
                self._head = bytes(self._data[1 : 1 + MAX_REFUSED])
            self.whole = False
            del self._data[:-4]

    def release(self) -> None:
        self._held.release(self._holding)

    def come(self) -> bytes:
        """What came, as it came: all of it, or its beginning where there was no room for more."""
        return bytes(self._data[1:]) if self.whole else self._head

    def unstuffed(self) -> bytes:
        """The message with whole line breaks, without the dots that only the protocol needs."""
        self._data = self._data.replace(b"\r\n", b"\n").replace(b"\n.", b"\n")
        return bytes(self._data[1:].replace(b"\n", b"\r\n")) + b"\r\n"


class _Pop3(_Dialogue):
    def __init__(
        self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, around: Surroundings
    ) -> None:
        super().__init__(server, reader, writer, around)
        self._user = ""
        self._box: list[Stored] | None = None
        self._deleted: list[Stored] = []

    def _who(self) -> str:
        return self._user

    async def _talk(self) -> None:
        await self.say("+OK Dovecot (Debian) ready.")
        while (line := await self.line()) is not None:
            verb, _, rest = line.decode("utf-8", "replace").partition(" ")
            if verb.upper() == "QUIT":
                for message in self._deleted:
                    message.gone = True
                await self.say("+OK Logging out.")
                return
            if self._box is None:
                await self._greet(line, verb.upper(), rest)
            else:
                await self._command(line, verb.upper(), rest, self._box)

    async def _greet(self, line: bytes, verb: str, rest: str) -> None:
        if verb == "USER":
            self._user = rest
            await self.say("+OK")
        elif verb == "PASS":
            self._box = self._server.open_box(self._user, rest)
            await self.say("-ERR [AUTH] Authentication failed." if self._box is None else "+OK Logged in.")
        elif verb == "CAPA":
            await self.say("+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nUSER\r\n.")
        else:
            await self._decline(line, "-ERR Unknown command.")

    async def _command(self, line: bytes, verb: str, rest: str, box: list[Stored]) -> None:
        words = rest.split()
        message = box[int(words[0]) - 1] if words and words[0].isdigit() and 0 < int(words[0]) <= len(box) else None
        match verb:
            case "STAT":
                await self.say(f"+OK {len(box)} {sum(len(m.data) for m in box)}")
            case "LIST" | "UIDL" if not words:
                rows = [f"{i + 1} {len(m.data) if verb == 'LIST' else f'u{i + 1:08x}'}" for i, m in enumerate(box)]
                await self.say("\r\n".join([f"+OK {len(box)} messages:", *rows, "."]))
            case "LIST" | "UIDL" if message is not None:
                await self.say(f"+OK {words[0]} {len(message.data) if verb == 'LIST' else f'u{int(words[0]):08x}'}")
            case "RETR" | "TOP" if message is not None:
                self._server.shown(self._user, message)
                await self.say("+OK")
                await self.send(message.data.replace(b"\r\n.", b"\r\n.."))
                await self.say(".")
            case "DELE" if message is not None:
                self._deleted.append(message)
                await self.say("+OK Marked to be deleted.")
            case "NOOP" | "RSET":
                self._deleted = [] if verb == "RSET" else self._deleted
                await self.say("+OK")
            case _:
                await self._decline(
                    line,
                    "-ERR There's no such message."
                    if verb in ("RETR", "TOP", "DELE", "LIST", "UIDL")
                    else "-ERR Unknown command.",
                )


def compose(sender: str, to: str, subject: str, body: str) -> bytes:
    """A plain message, ending in a line break. Line breaks in headers are taken out."""
    message = EmailMessage(policy=policy.SMTP)
    for name, value in (("From", sender), ("To", to), ("Subject", subject)):
        message[name] = " ".join(value.split())
    message["Date"] = formatdate()
    message.set_content(body)
    return bytes(message)


def _headers(data: bytes) -> dict[str, str]:
    """From, to and subject; never fails, since agents write what they like."""
    parsed = BytesHeaderParser(policy=policy.compat32).parsebytes(data[:MAX_HEAD].partition(b"\r\n\r\n")[0])
    return {name: str(parsed.get(name, ""))[:1000] for name in ("from", "to", "subject")}


def _body(data: bytes) -> str:
    """The first text part, as far as it stands at the beginning."""
    parsed = message_from_bytes(data[:MAX_PARSED], policy=policy.compat32)
    for part in parsed.walk():
        if part.get_content_maintype() == "text":
            payload = part.get_payload(decode=True)
            return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
    return ""


def _path(rest: str) -> str:
    """The address in `FROM:<a@b> SIZE=1`."""
    return rest.partition(":")[2].strip().partition(" ")[0].strip("<>")


def _bare(address: str) -> str:
    """The address in `Name <a@b>`, lower case."""
    return address.rpartition("<")[2].strip(" >").lower()


def _decode(text: str) -> str:
    return base64.b64decode(text, validate=True).decode("utf-8")
