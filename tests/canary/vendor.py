"""A vendor that repeats: its refusals hold all that it was told."""

import msgspec
from msgspec import Struct

from tests.canary.relay import Relay, start_relay
from tidings import emulators
from tidings.emulators import Emulators, certificate, sms
from tidings.emulators.address import Address
from tidings.emulators.exchange import Answer, Request, Response
from tidings.emulators.http_server import RunningServer, serve


class Vendor(Struct, frozen=True):
    """The emulators behind a server that says all it was told, in its refusals, to whom `echoes` names; and a relay.

    `echoes`: text in the path or the body of a request → the status. `presented`: the credentials it was shown then.
    """

    emulators: Emulators
    server: RunningServer
    relay: Relay
    url: str
    address: Address
    echoes: dict[str, int]
    presented: set[str]

    async def close(self) -> None:
        await self.server.close()
        await self.relay.close()
        await self.emulators.close()


def echo(request: Request, status: int) -> Response:
    """A refusal as each of the vendors makes one, with the whole request in every text of it."""
    told = [request.path, repr(dict(request.headers)), request.body.decode(errors="replace")]
    said = " ".join(told if status in (404, 500) else reversed(told))  # what is kept of it may be its beginning
    name = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 403: "PERMISSION_DENIED", 500: "INTERNAL"}[status]
    details = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": said}]
    fcm = {"code": status, "message": said, "status": name, "details": details}
    vonage = [{"status": "2" if status == 400 else "5", "error-text": said}]
    body = {"error": fcm, "reason": said, "message": said, "errno": 199, "code": status, "messages": vonage}
    headers = (("content-type", "application/json"), ("apns-id", said.replace("\n", " ")[:200]))
    return Response(status, msgspec.json.encode(body), headers)


async def start_vendor() -> Vendor:
    """Start it on a free port of this machine."""
    played = await emulators.start()
    echoes: dict[str, int] = {}
    presented: set[str] = set()

    def answer(request: Request) -> Answer | object:
        told = request.path + request.body.decode(errors="replace")
        for text, status in echoes.items():
            if text in told:
                presented.add(request.headers.get("authorization", ""))
                return echo(request, status)
        if request.path.startswith("/3/device"):
            return played.apns.apns.send(request)
        if request.path.endswith("messages:send"):
            return played.fcm.send(request)
        if request.path == "/token":
            return played.oauth.token(request)
        if request.path.startswith(sms.PREFIXES):
            return played.sms.answer(request)
        if played.chat.takes(request):
            return played.chat.answer(request)
        return played.webpush.answer(request)

    pair = certificate.make()
    server = await serve(answer, tls=certificate.server_context(pair))  # type: ignore[arg-type]
    url = f"https://127.0.0.1:{server.port}"
    played.webpush.serve_at(url)
    roots = played.ca_pem.decode() + pair.ca_pem.decode()
    relay = await start_relay(played.smtp.smtp, certificate.server_context(pair))
    address = msgspec.structs.replace(
        Address.of(played),
        fcm_url=url,
        service_account={**played.service_account, "token_uri": f"{url}/token"},
        apns_url=url,
        twilio_url=url,
        vonage_url=url,
        smtp_account=msgspec.json.encode(relay.account).decode(),
        ca_pem=roots,
    )
    return Vendor(played, server, relay, url, address, echoes, presented)
