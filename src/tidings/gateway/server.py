"""Start and stop the gateway: the listening socket, the handshake, the drain."""

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from picows import (
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from tidings.bus import Bus
from tidings.gateway import upgrade
from tidings.gateway.confirmations import Record
from tidings.gateway.hub import Count, GatewayConfig, Hub
from tidings.gateway.sockets import Socket

HANDSHAKE_TIMEOUT_S = 5.0
# picows makes it 2 KiB at least; a larger message makes the buffer of that one socket grow.
READ_BUFFER_BYTES = 512


def count_nothing(name: str, label: str, n: int) -> None:
    """For gateways whose numbers nobody wants."""


class WireLog(logging.LoggerAdapter[logging.Logger]):
    """picows's log, turned down: what a peer does wrong is no error of ours, and each connection no news.

    As an adapter it also keeps picows from making a logger for every connection (a kilobyte each). Levels
    below debug are off for good: they print handshakes, and handshakes hold tokens.
    """

    def isEnabledFor(self, level: int) -> bool:
        return level >= logging.DEBUG and super().isEnabledFor(level)

    def info(self, msg: object, *args: object, **more: Any) -> None:
        self.log(logging.DEBUG, msg, *args, **more)

    def error(self, msg: object, *args: object, **more: Any) -> None:
        self.log(logging.INFO, msg, *args, **more)


class Gateway:
    """A gateway that listens. Made by `start_gateway`."""

    def __init__(self, hub: Hub, server: asyncio.Server, handshake: "Handshake") -> None:
        self._hub = hub
        self._server = server
        self._handshake = handshake
        self.port: int = server.sockets[0].getsockname()[1]

    def connections(self) -> int:
        """How many sockets are open now."""
        return len(self._hub.sockets)

    async def drain(self, grace_s: float) -> None:
        """Take no new sockets, tell the open ones to come back elsewhere, spread over `grace_s` seconds.

        Health checks are still answered, new sockets get a 503. Twice is safe.
        """
        self._handshake.draining = True
        await self._hub.drain(grace_s)

    async def close(self) -> None:
        """Stop listening, close every socket, record what was confirmed. Twice is safe."""
        self._handshake.draining = True
        self._server.close()
        await self._hub.close()


class Handshake:
    """Answers the HTTP request of each new connection; picows calls it."""

    def __init__(self, hub: Hub, origins: upgrade.Origins) -> None:
        self._hub = hub
        self._origins = origins
        self.draining = False

    def __call__(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        names = {name.lower() for name in request.headers}
        headers = {name: request.headers.getall(name) for name in names}
        full = len(self._hub.sockets) >= self._hub.config.max_connections
        target = request.path.decode("latin-1")
        decision = upgrade.decide(target, headers, self._origins, full, self.draining)
        if isinstance(decision, upgrade.Answer):
            self._hub.count("upgrades", decision.name, 1)
            return WSUpgradeResponseWithListener(_http_response(decision), None)
        self._hub.count("upgrades", "accepted", 1)
        # Firefox sends "keep-alive, Upgrade", a list as RFC 9110
        # §7.6.1 has it; picows compares the whole value.
        options = ",".join(headers.get("connection", ())).lower().split(",")
        if "upgrade" in (option.strip() for option in options):
            request.headers["Connection"] = "upgrade"
        chosen = {"Sec-WebSocket-Protocol": decision.subprotocol} if decision.subprotocol else None
        response = WSUpgradeResponse.create_101_response(chosen)
        return WSUpgradeResponseWithListener(response, Socket(self._hub, decision))


def _http_response(answer: upgrade.Answer) -> WSUpgradeResponse:
    if answer.status == HTTPStatus.OK:
        response: WSUpgradeResponse = WSUpgradeResponse.create_ok_response(answer.body, answer.headers)
    else:
        response = WSUpgradeResponse.create_error_response(answer.status, answer.body, answer.headers)
    return response


async def start_gateway(
    config: GatewayConfig,
    bus: Bus,
    *,
    token_key: bytes,
    acknowledge: Record,
    mark_read: Record,
    on_count: Count = count_nothing,
) -> Gateway:
    """Listen, and answer the gateway once it does. `gateway.close()` ends it; the bus stays the caller's.

    token_key: `signing.derive(secret, signing.USER_TOKENS)`. acknowledge, mark_read: called with project,
    user and ids, in bounded batches, many at once; twice with the same ids must be safe. on_count: must not
    raise or wait. Raises OSError when the port is taken, ValueError for an origin that is none.
    """
    origins = upgrade.read_origins(config.allowed_origins)
    hub = Hub(config, bus, token_key=token_key, acknowledge=acknowledge, mark_read=mark_read, count=on_count)
    handshake = Handshake(hub, origins)
    try:
        server = await ws_create_server(
            handshake,
            config.host,
            config.port,
            websocket_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            logger_name=WireLog(logging.getLogger("tidings.gateway.wire"), {}),
            enable_auto_ping=False,
            # it would answer without a bound on what a client that never reads can pile up
            enable_auto_pong=False,
            max_frame_size=config.max_message_bytes,
            read_buffer_init_size=READ_BUFFER_BYTES,
            backlog=config.backlog,
            reuse_port=config.reuse_port,
        )
    except OSError:
        await hub.close()
        raise
    return Gateway(hub, server, handshake)
