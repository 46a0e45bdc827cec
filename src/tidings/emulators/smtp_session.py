"""One connection to the emulated relay: the server's side of SMTP.

It offers PIPELINING, SIZE, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES, STARTTLS and, once there is TLS, AUTH. Sources:
RFC 5321, 2920, 3207, 4954, 1870, 6531, 2034.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from typing import Any, Protocol, cast

from msgspec import Struct

from tidings.emulators.smtp_login import Login, Turn
from tidings.emulators.smtp_magic import Play

MAX_LINE = 4096
MAX_MAIL = 10 * 1024 * 1024
IDLE_S = 300.0
MOST_ERRORS = 20

_MAIL = re.compile(r"MAIL FROM: ?<([^<>\r\n]*)>((?: [A-Za-z0-9-]+(?:=[!-<>-~]+)?)*)", re.IGNORECASE)
_RCPT = re.compile(r"RCPT TO: ?<([^<>\r\n]+@[^<>@\r\n]+)>((?: [A-Za-z0-9-]+(?:=[!-<>-~]+)?)*)", re.IGNORECASE)

log = logging.getLogger(__name__)


class Rules(Protocol):
    """What decides about logins and mails."""

    def is_login(self, username: str, password: str) -> bool: ...

    def play(self, recipient: str) -> Play | None:
        """What goes wrong with a mail to this address, None for nothing. Asked once for each RCPT."""
        ...

    def take(self, return_path: str, recipient: str, raw: bytes, report: str) -> str:
        """Take the mail for good; its queue id."""
        ...

    def refused(self, reply: str) -> None:
        """Count a refusal."""
        ...


class Setup(Struct, frozen=True):
    """What all connections of one listener share. `tls`: offered by STARTTLS, None: there is TLS already."""

    rules: Rules
    tls: ssl.SSLContext | None
    sessions: set["Session"]
    hostname: str = "relay.tidings.example"


class Session(asyncio.Protocol):
    """The connection. `busy`: an answer is held back, so that no further line is read."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._rules = setup.rules
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._secure = setup.tls is None
        self._greeted = self._logged_in = self._busy = self._in_body = False
        self._login: Login | None = None
        self._return_path: str | None = None
        self._recipients: list[tuple[str, Play | None]] = []
        self._errors = 0
        self._searched = 0
        self._later: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._upgrade: asyncio.Task[None] | None = None

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._setup.sessions.add(self)
        self._wait()
        self._say(f"220 {self._setup.hostname} ESMTP Tidings emulator")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._wait()
        if len(self._buffer) > MAX_MAIL + MAX_LINE:
            self._say("552 5.3.4 Message size exceeds fixed maximum message size")
            self.drop()
            return
        self._read()

    def connection_lost(self, error: Exception | None) -> None:
        self._setup.sessions.discard(self)
        self._transport = None
        for timer in (self._later, self._idle):
            if timer is not None:
                timer.cancel()

    def drop(self) -> None:
        """Cut the connection. Twice is safe."""
        if self._transport is not None:
            self._transport.abort()

    def close(self, reply: str = "421 4.3.2 Service shutting down") -> None:
        """Say why and close. Twice is safe."""
        if self._transport is not None and not self._transport.is_closing():
            self._say(reply)
            self._transport.close()

    # --- lines

    def _read(self) -> None:
        while self._transport is not None and not self._transport.is_closing() and not self._busy:
            if self._in_body:
                if not self._read_body():
                    return
                continue
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > MAX_LINE:
                    self._error("500 5.5.6 Line too long")
                    self._buffer.clear()
                return
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            self._command(line.decode(errors="surrogateescape"))

    def _command(self, line: str) -> None:
        if self._login is not None:
            self._turn(self._login.go_on(line))
            return
        verb = line.partition(" ")[0].upper()
        handlers = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
        }
        if verb in handlers:
            handlers[verb](line)
        elif verb == "NOOP":
            self._say("250 2.0.0 Ok")
        elif verb == "QUIT":
            self.close("221 2.0.0 Bye")
        elif verb == "VRFY":
            self._say("252 2.5.0 Cannot VRFY user, but will take message")
        else:
            self._error("500 5.5.2 Command unrecognized")

    def _ehlo(self, line: str) -> None:
        self._greeted = True
        self._reset()
        offers = ["PIPELINING", f"SIZE {MAX_MAIL}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        offers.append("AUTH PLAIN LOGIN" if self._secure else "STARTTLS")
        self._say(f"250-{self._setup.hostname}", *(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}")

    def _helo(self, line: str) -> None:
        self._greeted = True
        self._reset()
        self._say(f"250 {self._setup.hostname}")

    def _starttls(self, line: str) -> None:
        if self._secure or self._transport is None:
            self._error("503 5.5.1 TLS is active")
            return
        self._busy = True
        self._buffer.clear()  # what was sent along without TLS is nobody's (RFC 3207 §4.2)
        self._transport.pause_reading()
        self._say("220 2.0.0 Ready to start TLS")
        self._upgrade = asyncio.get_running_loop().create_task(self._start_tls(self._transport))

    async def _start_tls(self, transport: asyncio.Transport) -> None:
        assert self._setup.tls is not None
        loop = asyncio.get_running_loop()
        try:
            self._transport = await loop.start_tls(transport, self, self._setup.tls, server_side=True)
        except (OSError, ssl.SSLError) as error:
            log.debug("a client broke off the TLS handshake: %s", error)
            transport.abort()
            return
        self._secure, self._greeted, self._busy = True, False, False
        self._read()

    def _auth(self, line: str) -> None:
        if not self._secure:
            self._error("538 5.7.11 Encryption required for requested authentication mechanism")
        elif self._logged_in or self._return_path is not None:
            self._error("503 5.5.1 Not now")
        else:
            self._login = Login(self._rules.is_login)
            self._turn(self._login.begin(line.split(" ")[1:]))

    def _turn(self, turn: Turn) -> None:
        if turn.done is None:
            self._say(turn.reply)
            return
        self._login, self._logged_in = None, turn.done
        if turn.done:
            self._say(turn.reply)
        else:
            self._refuse(turn.reply)

    def _mail(self, line: str) -> None:
        found = _MAIL.fullmatch(line)
        if not self._secure:
            self._error("530 5.7.0 Must issue a STARTTLS command first")
        elif not self._greeted or self._return_path is not None:
            self._error("503 5.5.1 Bad sequence of commands")
        elif not self._logged_in:
            self._refuse("530 5.7.0 Authentication required")
        elif found is None or (found[1] and "@" not in found[1]):
            self._error("501 5.1.7 Bad sender address syntax")
        elif (size := re.search(r" SIZE=(\d{1,12})", found[2], re.IGNORECASE)) and int(size[1]) > MAX_MAIL:
            self._refuse("552 5.3.4 Message size exceeds fixed maximum message size")
        else:
            self._return_path = found[1]
            self._say("250 2.1.0 Ok")

    def _rcpt(self, line: str) -> None:
        found = _RCPT.fullmatch(line)
        if self._return_path is None:
            self._error("503 5.5.1 Need MAIL command")
        elif found is None:
            self._error("501 5.1.3 Bad recipient address syntax")
        elif len(self._recipients) >= 100:
            self._refuse("452 4.5.3 Too many recipients")
        else:
            play = self._rules.play(found[1])
            if play is not None and play.at_rcpt and (play.reply or play.cut):
                self._hold(play.delay_s, self._misbehave, play)
                return
            self._recipients.append((found[1], play))
            self._say("250 2.1.5 Ok")

    def _data(self, line: str) -> None:
        if not self._recipients:
            self._error("554 5.5.1 No valid recipients" if self._return_path is not None else "503 5.5.1 Need RCPT")
            return
        self._in_body, self._searched = True, 0
        self._say("354 End data with <CR><LF>.<CR><LF>")

    def _rset(self, line: str) -> None:
        self._reset()
        self._say("250 2.0.0 Ok")

    # --- the body

    def _read_body(self) -> bool:
        buffer = self._buffer
        if buffer.startswith(b".\r\n"):
            end, size = 0, 3
        else:
            end, size = buffer.find(b"\r\n.\r\n", max(self._searched - 4, 0)), 5
        self._searched = len(buffer)
        if end < 0:
            return False
        raw = bytes(buffer[: end + size - 3]).replace(b"\r\n..", b"\r\n.")
        del buffer[: end + size]
        self._in_body = False
        plays = [play for _, play in self._recipients if play is not None]
        worst = next((play for play in plays if play.reply or play.cut), plays[0] if plays else Play(at_rcpt=False))
        self._hold(worst.delay_s, self._finish, worst, raw)
        return True

    def _finish(self, play: Play, raw: bytes) -> None:
        queue_id = ""
        if play.taken or not (play.reply or play.cut):
            for recipient, own in self._recipients:
                report = own.report if own is not None else ""
                queue_id = self._rules.take(self._return_path or "", recipient, raw, report)
        self._reset()
        if play.reply or play.cut:
            self._misbehave(play)
        else:
            self._say(f"250 2.0.0 Ok: queued as {queue_id}")

    def _misbehave(self, play: Play) -> None:
        self._rules.refused(play.reply or "cut")
        if play.reply and play.cut:
            self.close(play.reply)
        elif play.cut:
            self.drop()
        else:
            self._say(play.reply)

    # --- what the rest needs

    def _hold(self, delay_s: float, call: Callable[..., None], *given: Any) -> None:
        """Do something, at once or later; until then no further line is read."""
        if not delay_s:
            call(*given)
            return
        self._busy = True

        def go_on() -> None:
            self._busy = False
            call(*given)
            self._read()

        self._later = asyncio.get_running_loop().call_later(delay_s, go_on)

    def _reset(self) -> None:
        self._return_path = None
        self._recipients = []

    def _say(self, *lines: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write("".join(f"{line}\r\n" for line in lines).encode())

    def _refuse(self, reply: str) -> None:
        self._rules.refused(reply)
        self._error(reply)

    def _error(self, reply: str) -> None:
        self._errors += 1
        if self._errors > MOST_ERRORS:
            self.close("421 4.7.0 Too many errors")
        else:
            self._say(reply)

    def _wait(self) -> None:
        """Start the time anew after which a silent connection is closed."""
        if self._idle is not None:
            self._idle.cancel()
        closing = "421 4.4.2 Idle for too long"
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close, closing)
