"""One SMTP connection, from the client's side: greeting, TLS, login, and then one mail after the other.

Of the SMTP client libraries for asyncio the best kept, aiosmtplib, waits for each answer before the next command:
four round trips a mail. This one sends MAIL, RCPT and DATA together where the relay allows it (PIPELINING, RFC 2920),
so a mail takes two; that, and knowing exactly whether the final dot was sent, is why it is here.

Sources: RFC 5321, RFC 2920 (pipelining), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 1870 (SIZE), RFC 6531 (SMTPUTF8).
"""

import asyncio
import base64
import re
import ssl
from collections import deque
from enum import StrEnum
from typing import cast

from msgspec import Struct

from tidings.discreet import Discreet
from tidings.providers.smtp_account import SmtpAccount
from tidings.providers.smtp_message import Mail

MAX_REPLY_BYTES = 32 * 1024
"""Of one reply, and of all that may be waiting. EHLO's is the longest, under 1 KB."""

QUIT_S = 2.0
_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)


class Stage(StrEnum):
    """How far a connection or a mail had come. In `BODY` the relay may have taken the mail."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"


class Reply(Discreet, frozen=True):
    """What the server said: three digits, and its lines without them, joined by line feeds."""

    code: int
    text: str = ""


class Answer(Struct, frozen=True):
    """The reply that decided. `stage`: to which command."""

    stage: Stage
    reply: Reply


class Ended(StrEnum):
    """How a dialogue can end without a reply that decides."""

    UNREACHABLE = "unreachable"  # no connection was made
    LOST = "lost"  # the connection broke, or what came was not SMTP
    TIMED_OUT = "timed_out"
    TLS = "tls"  # certificate or handshake
    UNSUPPORTED = "unsupported"  # the server does not offer what the account needs
    FORBIDDEN = "forbidden"  # the address guard does not let us connect there
    REFUSED = "refused"  # a reply did decide, before there was a mail: `Trouble.reply`


class Trouble(Exception):
    """The dialogue came to an end. The text is short and holds no address and no secret."""

    def __init__(self, ended: Ended, stage: Stage, detail: str, reply: Reply | None = None) -> None:
        super().__init__(detail)
        self.ended = ended
        self.stage = stage
        self.reply = reply

    def again(self) -> "Trouble":
        """The same for somebody else: one exception can't be raised in two places at once."""
        return Trouble(self.ended, self.stage, str(self), self.reply)


class Dialogue(asyncio.Protocol):
    """The connection. One caller at a time. `stage` is the present one; `mails`: how many were begun."""

    def __init__(self) -> None:
        self.stage = Stage.GREETING
        self.mails = 0
        self.extensions: dict[str, str] = {}
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._early: deque[Reply] = deque()  # the greeting, when it comes before anybody waits for it
        self._open_transaction = False
        self._why = "the server closed the connection"

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) + sum(map(len, self._lines)) > MAX_REPLY_BYTES or len(self._early) > 2:
            self._break("the server's answer has no end")
            return
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            self._take(line)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(Trouble(Ended.LOST, self.stage, self._why))
                waiter.exception()  # with pipelining not all of them are awaited

    def _take(self, line: bytes) -> None:
        found = _LINE.fullmatch(line)
        if found is None:
            self._break("the server does not speak SMTP")
            return
        self._lines.append(found[3] or b"")
        if found[2] == b"-":
            return
        reply = Reply(int(found[1]), b"\n".join(self._lines).decode(errors="replace"))
        self._lines.clear()
        if not self._waiting:
            self._early.append(reply)
        elif not (waiter := self._waiting.popleft()).done():
            waiter.set_result(reply)

    def _break(self, why: str) -> None:
        self._why = why
        self._buffer.clear()
        self.abort()

    # --- before mails

    async def open(self, account: SmtpAccount, hostname: str, tls: ssl.SSLContext) -> None:
        """Greeting, EHLO, STARTTLS and login, as the account wants. Raises Trouble; then the connection is useless."""
        await self._demand(Stage.GREETING, None, 220)
        await self._ehlo(hostname)
        if account.security == "starttls":
            if "STARTTLS" not in self.extensions:
                raise Trouble(Ended.UNSUPPORTED, Stage.STARTTLS, "the relay does not offer STARTTLS")
            await self._demand(Stage.STARTTLS, b"STARTTLS", 220)
            await self._start_tls(account.host, tls)
            await self._ehlo(hostname)
        if account.username:
            await self._log_in(account.username, account.password)

    async def _ehlo(self, hostname: str) -> None:
        reply = await self._demand(Stage.EHLO, b"EHLO " + hostname.encode("ascii"), 250)
        words = (line.split(None, 1) for line in reply.text.split("\n")[1:])
        self.extensions = {each[0].upper(): (each[1] if len(each) > 1 else "") for each in words if each}

    async def _start_tls(self, host: str, tls: ssl.SSLContext) -> None:
        transport = self._transport
        if transport is None:
            raise Trouble(Ended.LOST, Stage.STARTTLS, self._why)
        # Whatever came behind the 220 was written without TLS, by nobody knows whom (RFC 3207 §4.2).
        self._buffer.clear()
        self._early.clear()
        try:
            upgraded = await asyncio.get_running_loop().start_tls(transport, self, tls, server_hostname=host)
        except (OSError, ssl.SSLError) as error:
            raise tls_trouble(error, Stage.STARTTLS) from None
        if upgraded is None:
            raise Trouble(Ended.LOST, Stage.STARTTLS, self._why)
        self._transport = upgraded

    async def _log_in(self, username: str, password: str) -> None:
        offered = self.extensions.get("AUTH", "").upper().split()
        if "PLAIN" in offered:
            secret = base64.b64encode(f"\0{username}\0{password}".encode())
            await self._demand(Stage.AUTH, b"AUTH PLAIN " + secret, 235)
        elif "LOGIN" in offered:
            await self._demand(Stage.AUTH, b"AUTH LOGIN", 334)
            await self._demand(Stage.AUTH, base64.b64encode(username.encode()), 334)
            await self._demand(Stage.AUTH, base64.b64encode(password.encode()), 235)
        else:
            raise Trouble(Ended.UNSUPPORTED, Stage.AUTH, "the relay offers neither AUTH PLAIN nor AUTH LOGIN")

    async def _demand(self, stage: Stage, command: bytes | None, wanted: int) -> Reply:
        self.stage = stage
        reply = await (self._expect() if command is None else self._ask(command)[0])
        if reply.code != wanted:
            raise Trouble(Ended.REFUSED, stage, "refused", reply)
        return reply

    # --- mails

    @property
    def usable(self) -> bool:
        """Whether another mail may be sent over it, as far as one can know."""
        return self._transport is not None and not (self._transport.is_closing() or self._waiting or self._early)

    async def send(self, mail: Mail) -> Answer:
        """Send one mail and answer with the reply that decided: 250 to BODY is the only one that means taken.

        Raises Trouble. Not to be used again when cancelled or when `usable` is False afterwards.
        """
        self.mails += 1
        self.stage = Stage.MAIL
        if mail.wide and "SMTPUTF8" not in self.extensions:
            raise Trouble(Ended.UNSUPPORTED, Stage.RCPT, "the relay takes no addresses beyond ASCII (SMTPUTF8)")
        limit = self.extensions.get("SIZE", "")
        if limit.isdecimal() and 0 < int(limit) < len(mail.data):
            return Answer(Stage.MAIL, Reply(552, f"5.3.4 {len(mail.data)} bytes, the relay takes {limit}"))
        answer = await (self._envelope(mail) if "PIPELINING" in self.extensions else self._envelope_slowly(mail))
        if answer is not None:
            return answer
        self._open_transaction = False
        self.stage = Stage.BODY
        data = mail.data.replace(b"\r\n.", b"\r\n..")  # RFC 5321 §4.5.2
        self._write(data + b".\r\n")
        return Answer(Stage.BODY, await self._expect())

    async def _envelope(self, mail: Mail) -> Answer | None:
        """MAIL, RCPT and DATA in one go; the answer that refuses, or None when the body may come."""
        commands = self._commands(mail)
        waiting = self._ask(*commands)
        if len(commands) == 4:
            await waiting[0]  # RSET: always 250
        refusal: Answer | None = None
        for stage, waiter in zip((Stage.MAIL, Stage.RCPT, Stage.DATA), waiting[-3:], strict=True):
            try:
                reply = await waiter
            except Trouble:
                if refusal is None:
                    raise
                return refusal  # by a 421 to an earlier command, after which the server closed
            self.stage = stage
            if refusal is None and not _goes_on(stage, reply):
                refusal = Answer(stage, reply)
        if refusal is not None:
            self._open_transaction = True
            if reply.code == 354:
                # It wants a body although nobody may receive it (RFC 2920 §3.1): an empty one, for nobody.
                await self._ask(b".")[0]
        return refusal

    async def _envelope_slowly(self, mail: Mail) -> Answer | None:
        commands = self._commands(mail)
        if len(commands) == 4:
            await self._ask(commands[0])[0]
        for stage, command in zip((Stage.MAIL, Stage.RCPT, Stage.DATA), commands[-3:], strict=True):
            self.stage = stage
            reply = await self._ask(command)[0]
            if not _goes_on(stage, reply):
                self._open_transaction = True
                return Answer(stage, reply)
        return None

    def _commands(self, mail: Mail) -> list[bytes]:
        mail_from = f"MAIL FROM:<{mail.return_path}>"
        if "SIZE" in self.extensions:
            mail_from += f" SIZE={len(mail.data)}"
        if mail.wide:
            mail_from += " SMTPUTF8" + (" BODY=8BITMIME" if "8BITMIME" in self.extensions else "")
        commands = [mail_from.encode(), f"RCPT TO:<{mail.recipient}>".encode(), b"DATA"]
        return [b"RSET", *commands] if self._open_transaction else commands

    def _ask(self, *commands: bytes) -> list[asyncio.Future[Reply]]:
        for command in commands:
            if b"\r" in command or b"\n" in command:  # every text was checked before; this is the last door
                raise ValueError("a command of SMTP is one line")
        self._write(b"\r\n".join(commands) + b"\r\n")
        return [self._expect() for _ in commands]

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise Trouble(Ended.LOST, self.stage, self._why)
        self._transport.write(data)

    def _expect(self) -> asyncio.Future[Reply]:
        waiter: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self._early:
            waiter.set_result(self._early.popleft())
        elif self._transport is None:
            waiter.set_exception(Trouble(Ended.LOST, self.stage, self._why))
        else:
            self._waiting.append(waiter)
        return waiter

    # --- the end

    def quit(self) -> None:
        """Say goodbye and close when the server has answered, or after 2 s. `closed` is set then. Twice is safe."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._waiting:
            self.abort()
            return
        self._ask(b"QUIT")[0].add_done_callback(lambda _: self.abort())
        asyncio.get_running_loop().call_later(QUIT_S, self.abort)

    def abort(self) -> None:
        """Cut the connection. Twice is safe."""
        if self._transport is not None:
            self._transport.abort()


def tls_trouble(error: Exception, stage: Stage) -> Trouble:
    """What a failed handshake was about: the certificate or TLS itself, else the connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Trouble(Ended.TLS, stage, f"the relay's certificate is not good: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return Trouble(Ended.TLS, stage, "TLS with the relay failed; do port and security of the account agree?")
    return Trouble(Ended.LOST, stage, "the connection broke during the TLS handshake")


def _goes_on(stage: Stage, reply: Reply) -> bool:
    return reply.code == 354 if stage is Stage.DATA else 200 <= reply.code < 300
