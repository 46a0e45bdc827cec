"""A mail relay that repeats: it quotes what it refuses, a login too, and names what it takes by our own Message-ID."""

import asyncio
import base64
import ssl
from collections.abc import Callable, Mapping

from msgspec import Struct

from tidings.emulators.smtp import Smtp
from tidings.emulators.smtp_login import Turn
from tidings.emulators.smtp_magic import Play
from tidings.emulators.smtp_session import Session, Setup

_MOST = 400  # characters of a reply; a line of SMTP has 512 at most (RFC 5321, 4.5.3.1.5)
_PER_LINE = 60


class Relay(Struct, frozen=True):
    """`account`: what Tidings is configured with to send to it. `listener` and `sessions` are to be closed."""

    account: dict[str, object]
    listener: asyncio.Server
    sessions: set[Session]

    async def close(self) -> None:
        """Stop listening and close all connections."""
        self.listener.close()
        for session in tuple(self.sessions):
            session.close()
        await self.listener.wait_closed()


def _after(raw: bytes, start: bytes) -> str:
    return raw[max(raw.find(start), 0) :][:_MOST].decode(errors="replace")


# What a mail to quote-<word>-…@… is answered with: a piece of the mail itself.
QUOTES: Mapping[str, Callable[[bytes], str]] = {
    "subject": lambda raw: _after(raw, b"Subject:"),
    "reference": lambda raw: _after(raw, b"X-Tidings-Reference:"),
    "id": lambda raw: _after(raw, b"Message-ID:"),
    "link": lambda raw: _after(raw, b"List-Unsubscribe:"),
    "own": lambda raw: _after(raw, b"X-Own:"),
    "text": lambda raw: _after(raw, b"Content-Type: text/plain").partition("\r\n\r\n")[2],
    "html": lambda raw: _after(raw, b"Content-Type: text/html").partition("\r\n\r\n")[2],
}


class Quoting(Session):
    """A connection to it."""

    _line = ""

    def _command(self, line: str) -> None:
        self._line = line
        super()._command(line)

    def _turn(self, turn: Turn) -> None:
        if turn.done is False:
            word = self._line.rpartition(" ")[2]
            plain = base64.b64decode(word).decode().replace("\0", " ")
            turn = Turn(f"535 5.7.8 Not {self._line} which is {plain}", False)
        super()._turn(turn)

    def _finish(self, play: Play, raw: bytes) -> None:
        recipient = self._recipients[0][0]
        _, _, asked = recipient.partition("@")[0].partition("quote-")
        word, _, rest = asked.partition("-")
        if word not in QUOTES:
            super()._finish(play, raw)
            return
        line = " ".join(f"<{recipient}> <{self._return_path}> {QUOTES[word](raw)}".split())
        if rest.startswith("plain"):
            line = line.partition("> <")[2].partition("> ")[2]
        self._reset()
        if rest.startswith("wrapped"):
            pieces = [line[at : at + _PER_LINE] for at in range(0, len(line), _PER_LINE)]
            self._say(*(f"550-5.7.1 {piece}" for piece in pieces), "550 5.7.1 That was it")
        else:
            self._say(f"550 5.7.1 {line[:_MOST]}")


class Naming:
    """The rules of the emulated relay; but a mail to named-…@… is queued under its own Message-ID, as Exchange does."""

    def __init__(self, rules: Smtp) -> None:
        self.is_login, self.play, self.refused = rules.is_login, rules.play, rules.refused
        self._take = rules.take

    def take(self, return_path: str, recipient: str, raw: bytes, report: str) -> str:
        """Take the mail; its queue id."""
        queue_id = self._take(return_path, recipient, raw, report)
        if recipient.startswith("named-"):
            return _after(raw, b"Message-ID:").split()[1]
        return queue_id


async def start_relay(rules: Smtp, tls: ssl.SSLContext) -> Relay:
    """Start it on a free port of this machine, with the mailboxes of `rules`."""
    sessions: set[Session] = set()
    setup = Setup(Naming(rules), tls, sessions)
    listener = await asyncio.get_running_loop().create_server(lambda: Quoting(setup), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    return Relay(rules.account("127.0.0.1", port), listener, sessions)
