"""The emulated mail relay: takes mail for anybody into mailboxes that can be read, and refuses like the real ones.

Two listeners: one with STARTTLS, one with TLS from the first byte. Login by PLAIN or LOGIN as `account()` says.
`smtp_magic.py` lists the addresses that get other answers; faults are set by `POST /control/faults` for `smtp`.
"""

import asyncio
import hmac
import secrets
import ssl
from collections import Counter
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct

from tidings.emulators import certificate, smtp_reports
from tidings.emulators.accepted import Accepted
from tidings.emulators.exchange import Drop, Reset, Response
from tidings.emulators.faults import Effect, Faults
from tidings.emulators.smtp_magic import MagicRecipients, Play
from tidings.emulators.smtp_mailbox import Mailboxes, put
from tidings.emulators.smtp_session import Session, Setup
from tidings.providers.smtp_dkim import Dkim, load_signer

DOMAIN = "tidings.example"
SELECTOR = "emulator"
USERNAME = "tidings"


class Smtp:
    """The relay's rules: logins, mailboxes, what goes wrong. `refused` counts refusals by their first four letters."""

    def __init__(self, faults: Faults, accepted: Accepted, key: RSAPrivateKey) -> None:
        self.mailboxes = Mailboxes(accepted)
        self.refused_by: Counter[str] = Counter()
        self._faults = faults
        self._magic = MagicRecipients()
        self._password = secrets.token_urlsafe(18)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self._dkim = Dkim(DOMAIN, SELECTOR, pem)
        self.mailboxes.publish(f"{SELECTOR}._domainkey.{DOMAIN}", load_signer(self._dkim).record())
        self._number = 0

    def account(self, host: str, port: int) -> dict[str, object]:
        """What a sender is configured with (see `smtp_account.parse_smtp_account`)."""
        return {
            "host": host,
            "port": port,
            "security": "starttls",
            "username": USERNAME,
            "password": self._password,
            "sender": f"notifications@{DOMAIN}",
            "sender_name": "Tidings",
            "return_path": f"bounces@{DOMAIN}",
            "verp": True,
            "dkim": {"domain": DOMAIN, "selector": SELECTOR, "private_key": self._dkim.private_key},
        }

    def is_login(self, username: str, password: str) -> bool:
        """Whether these are the account's."""
        return username == USERNAME and hmac.compare_digest(password.encode(), self._password.encode())

    def play(self, recipient: str) -> Play | None:
        """What goes wrong with a mail to `recipient`: by a fault, else by a magic address."""
        effect = self._faults.effect("smtp", recipient)
        return _as_play(effect) if effect is not None else self._magic.play(recipient)

    def take(self, return_path: str, recipient: str, raw: bytes, report: str) -> str:
        """Put the mail into its mailbox, and a report of it into that of the return path. The queue id."""
        self._number += 1
        queue_id = f"{self._number:08X}E"
        put(self.mailboxes, queue_id, return_path, recipient, raw)
        if report and return_path:
            write: Callable[[str, str, bytes, str], bytes]
            write = smtp_reports.bounce if report == "bounce" else smtp_reports.complaint
            put(self.mailboxes, queue_id, "", return_path, write(return_path, recipient, raw, queue_id))
        return queue_id

    def refused(self, reply: str) -> None:
        """Count a refusal."""
        self.refused_by[reply[:3]] += 1

    def clear(self) -> None:
        """Forget mailboxes, counts and how often flaky addresses failed."""
        self.mailboxes.clear()
        self.refused_by.clear()
        self._magic.forget()


class SmtpServers(Struct, frozen=True):
    """What runs, and how to reach it: `port` with STARTTLS, `tls_port` with TLS at once. Clients trust `ca_pem`."""

    host: str
    port: int
    tls_port: int
    ca_pem: bytes
    smtp: Smtp
    listeners: tuple[asyncio.Server, ...]
    sessions: set[Session]

    def account(self) -> dict[str, object]:
        """What Tidings is configured with to send to it."""
        return self.smtp.account(self.host, self.port)

    async def close(self) -> None:
        """Stop listening and close all connections. Twice is safe."""
        for listener in self.listeners:
            listener.close()
        for session in tuple(self.sessions):
            session.close()
        for listener in self.listeners:
            await listener.wait_closed()


async def listen(
    smtp: Smtp,
    pair: certificate.Certificate,
    host: str = "127.0.0.1",
    ports: tuple[int, int] = (0, 0),
    shown: str | None = None,
) -> SmtpServers:
    """Start the listeners of `smtp` with the server certificate `pair`.

    `ports`: with STARTTLS and with TLS; 0 is any free one. `shown`: the host for senders, if not `host`. Raises
    `OSError` when a port is taken.
    """
    context: ssl.SSLContext = await asyncio.to_thread(certificate.server_context, pair)
    sessions: set[Session] = set()
    loop = asyncio.get_running_loop()
    plain, secure = Setup(smtp, context, sessions), Setup(smtp, None, sessions)
    first = await loop.create_server(lambda: Session(plain), host, ports[0])
    try:
        second = await loop.create_server(lambda: Session(secure), host, ports[1], ssl=context)
    except OSError:
        first.close()
        raise
    return SmtpServers(
        host=shown or host,
        port=first.sockets[0].getsockname()[1],
        tls_port=second.sockets[0].getsockname()[1],
        ca_pem=pair.ca_pem,
        smtp=smtp,
        listeners=(first, second),
        sessions=sessions,
    )


def new_key() -> RSAPrivateKey:
    """A DKIM key for `Smtp`. 1024 bits, the least that receivers take: it is made at every start, and signs quickly."""
    return generate_private_key(65537, 1024)


def for_status(status: int, retry_after_s: int | None) -> Response:
    """The refusal for a fault plan: `status` is SMTP's own code; the usual 503 means 421, and 429 too many mails."""
    texts = {
        503: "421 4.3.2 Service not available, closing transmission channel",
        429: "454 4.7.0 Throttling failure: Maximum sending rate exceeded.",
        404: "550 5.1.1 The email account that you tried to reach does not exist",
    }
    text = texts.get(status) or f"{status} {status // 100}.0.0 Refused by a fault"
    return Response(status, text.encode())


def _as_play(effect: Effect) -> Play:
    """A fault for any vendor as what it is in SMTP."""
    if isinstance(effect.answer, Response):
        reply = effect.answer.body.decode()
        return Play(reply, at_rcpt=True, cut=reply.startswith("421"), delay_s=effect.delay_s)
    cut = isinstance(effect.answer, Drop | Reset)
    return Play(at_rcpt=False, cut=cut, taken=effect.accepted, delay_s=effect.delay_s)
