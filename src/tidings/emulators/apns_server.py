"""The listeners of the emulated APNs and its own control calls.

It has listeners of its own because APNs limits every new connection to one stream, takes no HTTP/1.1, and
asks for a client certificate on connections without provider tokens. Control calls go to `plain_url`:

| call | does |
|---|---|
| `POST /control/apns/devices` | `apns_devices.Device`: this token ended, or belongs to another topic |
| `POST /control/apns/clock` | `{"ahead_s": 3700}`: APNs' clock, by which provider tokens age |
| `POST /control/apns/topics` | `{"topics": […]}`: the bundle ids that the team has from now on |
| `POST /control/apns/keys/revoke` | the account's key is not good any more |
| `POST /control/apns/connections` | `{"action": "goaway"}` or `"drop"`: every connection with TLS |
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from tidings.emulators import apns_certificates, certificate
from tidings.emulators.apns import PREFIX, TOPICS, Apns
from tidings.emulators.apns_devices import Device
from tidings.emulators.confirmations import is_loopback
from tidings.emulators.exchange import Answer, Handler, Request, Response
from tidings.emulators.http_server import RunningServer, serve

CONTROL = "/control/apns/"
_JSON = (("content-type", "application/json"),)


class _Clock(Struct, frozen=True, forbid_unknown_fields=True):
    ahead_s: float


class _Topics(Struct, frozen=True, forbid_unknown_fields=True):
    topics: frozenset[str]


class _Connections(Struct, frozen=True, forbid_unknown_fields=True):
    action: Literal["goaway", "drop"]


class ApnsServers(Struct, frozen=True):
    """What runs, and how to reach it.

    `url` (https) and `plain_url` (http, HTTP/2 by prior knowledge) take provider tokens. `certificate_url`
    takes only connections that show `certificate_pem`, which is for the topic `dev.tidings.emulator`. Clients
    trust `ca_pem`.
    """

    url: str
    plain_url: str
    certificate_url: str
    ca_pem: bytes
    certificate_pem: str
    apns: Apns
    tls_server: RunningServer
    plain_server: RunningServer
    certificate_server: RunningServer

    async def close(self) -> None:
        """Stop listening, let open requests finish for two seconds, then cut. Twice is safe."""
        servers = (self.tls_server, self.plain_server, self.certificate_server)
        await asyncio.gather(*(server.close() for server in servers))


async def listen(
    apns: Apns,
    pair: certificate.Certificate,
    host: str = "127.0.0.1",
    ports: tuple[int, int, int] = (0, 0, 0),
    shown: str | None = None,
) -> ApnsServers:
    """Start the listeners of `apns` with the server certificate `pair`.

    `ports`: TLS, plain and certificate; 0 is any free one. `shown`: the host in the URLs, if not `host`.
    Raises `OSError` when a port is taken.
    """
    client = apns_certificates.make(TOPICS[0])
    context = await asyncio.to_thread(certificate.server_context, pair)
    demanding = await asyncio.to_thread(certificate.server_context, pair)
    apns_certificates.demand(demanding, client)
    context.set_alpn_protocols(["h2"])
    demanding.set_alpn_protocols(["h2"])
    servers: list[RunningServer] = []
    control = Control(apns, servers)

    def by_certificate(request: Request) -> Answer | Awaitable[Answer]:
        return apns.send_with_certificate(request, TOPICS[0])

    wanted: tuple[Handler, ...] = (apns.send, _plain(apns, control), by_certificate)
    try:
        for app, port, tls in zip(wanted, ports, (context, None, demanding), strict=True):
            servers.append(await serve(app, host=host, port=port, tls=tls, max_concurrent_streams=1))
    except OSError:
        for server in servers:
            await server.close()
        raise
    name = shown or (f"[{host}]" if ":" in host else host)
    return ApnsServers(
        url=f"https://{name}:{servers[0].port}",
        plain_url=f"http://{name}:{servers[1].port}",
        certificate_url=f"https://{name}:{servers[2].port}",
        ca_pem=pair.ca_pem,
        certificate_pem=client.pem,
        apns=apns,
        tls_server=servers[0],
        plain_server=servers[1],
        certificate_server=servers[2],
    )


class Control:
    """The calls of the table above. `servers`: TLS, plain and certificate; may be filled later."""

    def __init__(self, apns: Apns, servers: Sequence[RunningServer]) -> None:
        self._apns = apns
        self._servers = servers

    def answer(self, request: Request) -> Response:
        """204 when done, 400 with an explanation, 404 for other calls."""
        # The same guard as `control.Control`: no page in a browser may reach this.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" or not is_loopback(f"http://{request.headers.get('host', '')}"):
            return _problem(415, "send application/json, from this machine")
        try:
            known = self._act(request.path.removeprefix(CONTROL), request.body)
        except msgspec.DecodeError as error:
            return _problem(400, str(error))
        return Response(204) if known else _problem(404, "no such call")

    def _act(self, call: str, body: bytes) -> bool:
        decode = msgspec.json.decode
        match call:
            case "devices":
                self._apns.devices.register(decode(body, type=Device))
            case "clock":
                self._apns.authority.ahead_s = decode(body, type=_Clock).ahead_s
            case "topics":
                self._apns.authority.topics = decode(body, type=_Topics).topics
            case "keys/revoke":
                self._apns.authority.revoke(self._apns.key.key_id)
            case "connections":
                action = decode(body, type=_Connections).action
                for server in (self._servers[0], self._servers[2]):
                    server.goaway() if action == "goaway" else server.drop()
            case _:
                return False
        return True


def _plain(apns: Apns, control: Control) -> Handler:
    def app(request: Request) -> Answer | Awaitable[Answer]:
        if request.method == "POST" and request.path.startswith(CONTROL):
            return control.answer(request)
        if request.path.startswith(PREFIX) or request.connection.http2:
            return apns.send(request)
        return _problem(404, "no such path")

    return app


def _problem(status: int, detail: str) -> Response:
    return Response(status, msgspec.json.encode({"error": detail}), _JSON)
