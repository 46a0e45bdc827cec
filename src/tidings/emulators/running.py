"""The composition: every emulator behind two listeners, one with TLS and one without, with the same
routes."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack

from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import Struct

from tidings.emulators import (
    apns_reasons,
    apns_server,
    certificate,
    chat,
    fcm_errors,
    sms,
    smtp,
    webpush,
    webpush_errors,
)
from tidings.emulators.accepted import Accepted
from tidings.emulators.apns import Apns
from tidings.emulators.apns_server import ApnsServers
from tidings.emulators.chat import Chat
from tidings.emulators.confirmations import Confirmations
from tidings.emulators.control import Control
from tidings.emulators.exchange import Answer, Handler, Request, Response
from tidings.emulators.faults import Faults
from tidings.emulators.fcm import PREFIX, SUFFIX, Fcm
from tidings.emulators.http_server import RunningServer, serve
from tidings.emulators.oauth import OAuth
from tidings.emulators.phones import Phones
from tidings.emulators.sms import Sms
from tidings.emulators.smtp import Smtp, SmtpServers
from tidings.emulators.smtp_control import MAILBOXES, MailboxCalls
from tidings.emulators.webpush import WebPush
from tidings.emulators.webpush_browsers import Browsers

PROJECT = "tidings-emulator"
_LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))
_NOT_FOUND = Response(404, b'{"error":"no such path"}', (("content-type", "application/json"),))


class Emulators(Struct, frozen=True):
    """What runs, and how to reach it.

    `fcm_url` (https) and `plain_url` (http, also HTTP/2 by prior knowledge) serve the same. Clients of
    `fcm_url` trust `ca_pem`. `service_account` is what Tidings is configured with.
    """

    fcm_url: str
    plain_url: str
    ca_pem: bytes
    service_account: dict[str, str]
    phones: Phones
    accepted: Accepted
    faults: Faults
    fcm: Fcm
    oauth: OAuth
    webpush: WebPush
    sms: Sms
    chat: Chat
    smtp: SmtpServers
    apns: ApnsServers
    confirmations: Confirmations
    tls_server: RunningServer
    plain_server: RunningServer

    def stopping(self) -> None:
        """The service that receipts and reports go to stops, too: those that fail are no news now. Twice is safe."""
        self.confirmations.stopping()
        self.sms.callbacks.stopping()

    async def close(self) -> None:
        """Stop listening, let open requests finish for two seconds, then cut. Twice is safe."""
        self.stopping()
        await asyncio.gather(self.tls_server.close(), self.plain_server.close(), self.apns.close())
        await self.smtp.close()
        await self.confirmations.close()
        await self.sms.close()
        self.accepted.stop_recording()


async def start(
    host: str = "127.0.0.1",
    tls_port: int = 0,
    plain_port: int = 0,
    names: Sequence[str] = (),
    max_concurrent_streams: int = 1000,
) -> Emulators:
    """Start all emulators in this process. Port 0: any free one.

    `names`: further DNS names for the certificate, the first of which stands in the URLs when `host` isn't
    loopback. On a loopback `host` the control calls are refused to callers that name any other machine; on
    another one they are open to everybody who can connect, so keep that network closed. Raises `OSError`
    when a port is taken.
    """
    key = await asyncio.to_thread(rsa.generate_private_key, 65537, 2048)
    mail_key = await asyncio.to_thread(smtp.new_key)
    pair = certificate.make(names)
    context = await asyncio.to_thread(certificate.server_context, pair)
    faults = Faults(
        {
            "fcm": fcm_errors.for_status,
            "oauth": fcm_errors.for_status,
            "webpush": webpush_errors.for_status,
            "apns": apns_reasons.for_status,
            **sms.REFUSALS,
            "chat": chat.for_status,
            "smtp": smtp.for_status,
        }
    )
    accepted, confirmations = Accepted(), Confirmations()
    phones = Phones(accepted, confirmations)
    oauth = OAuth(PROJECT, key, faults)
    fcm = Fcm(PROJECT, oauth, faults, phones)
    servers: list[RunningServer] = []
    local_only = host in _LOOPBACK
    push_service = WebPush(faults, Browsers(accepted, confirmations), local_only)
    texts = Sms.of(faults, accepted, local_only)
    rooms = Chat(faults, local_only)
    shown = host if local_only else next(iter(names), "localhost")
    shown_in_urls = f"[{shown}]" if ":" in shown else shown
    relay = await smtp.listen(Smtp(faults, accepted, mail_key), pair, host, shown=shown)
    control = Control(
        faults=faults,
        oauth=oauth,
        fcm=fcm,
        phones=phones,
        accepted=accepted,
        confirmations=confirmations,
        servers=servers,
        local_only=local_only,
    )
    app = _app(fcm, oauth, push_service, control, texts, MailboxCalls(relay, local_only), rooms)
    streams = max_concurrent_streams
    async with AsyncExitStack() as started:  # what was started is stopped again when a port is taken
        started.push_async_callback(relay.close)
        tls = await serve(app, host=host, port=tls_port, tls=context, max_concurrent_streams=streams)
        started.push_async_callback(tls.close)
        plain = await serve(app, host=host, port=plain_port, max_concurrent_streams=streams)
        started.push_async_callback(plain.close)
        apns = await apns_server.listen(Apns(faults, phones), pair, host, shown=shown_in_urls)
        started.pop_all()
    servers += (tls, plain)
    servers += (apns.tls_server, apns.certificate_server)
    fcm_url = f"https://{shown_in_urls}:{tls.port}"
    push_service.serve_at(fcm_url)
    return Emulators(
        fcm_url=fcm_url,
        plain_url=f"http://{shown_in_urls}:{plain.port}",
        ca_pem=pair.ca_pem,
        service_account=oauth.service_account(f"{fcm_url}/token"),
        phones=phones,
        accepted=accepted,
        faults=faults,
        fcm=fcm,
        oauth=oauth,
        webpush=push_service,
        sms=texts,
        chat=rooms,
        smtp=relay,
        apns=apns,
        confirmations=confirmations,
        tls_server=tls,
        plain_server=plain,
    )


def _app(
    fcm: Fcm, oauth: OAuth, push_service: WebPush, control: Control, texts: Sms, mailboxes: MailboxCalls, rooms: Chat
) -> Handler:
    def app(request: Request) -> Answer | Awaitable[Answer]:
        path = request.path
        if request.method == "POST" and path.startswith(PREFIX) and path.endswith(SUFFIX):
            return fcm.send(request)
        if request.method == "POST" and path == "/token":
            return oauth.token(request)
        if path.startswith((webpush.PUSH, webpush.MESSAGE, webpush.BROWSERS)):
            return push_service.answer(request)
        if path.startswith(sms.PREFIXES):
            return texts.answer(request)
        if path.startswith(MAILBOXES):
            return mailboxes.answer(request)
        if rooms.takes(request):
            return rooms.answer(request)
        if path.startswith(("/control/", "/phones")):
            return control.answer(request)
        return _NOT_FOUND

    return app
