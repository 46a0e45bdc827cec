"""Puts the API together."""

import re
import secrets
from collections.abc import MutableMapping, Sequence
from typing import Any

from litestar import Litestar
from litestar.datastructures import State

from tidings import logs
from tidings.api import (
    auth,
    broadcasts,
    client,
    dead_letters,
    devices,
    health,
    limits,
    notifications,
    openapi,
    preferences,
    problems,
    providers,
    receipts,
    reports,
    suppressions,
    unsubscribe,
    users,
)
from tidings.api.services import Services

ROUTES: list[Any] = [
    *users.ROUTES,
    *devices.ROUTES,
    *preferences.ROUTES,
    *notifications.ROUTES,
    *broadcasts.ROUTES,
    *dead_letters.ROUTES,
    *providers.ROUTES,
    *suppressions.ROUTES,
    *receipts.ROUTES,
    *reports.ROUTES,
    *unsubscribe.ROUTES,
    *client.ROUTES,
    *health.ROUTES,
]

_LOOKS_LIKE_AN_ID = re.compile(rb"[A-Za-z0-9._\-]{8,64}")


class Api(Litestar):
    """Litestar, and what holds for every path: `X-Request-ID`, HEAD wherever there is GET (RFC 9110, 9.1), OPTIONS."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        request_id = given_request_id(scope["headers"]) or secrets.token_hex(8).encode()
        scope[problems.REQUEST_ID] = request_id.decode()
        method = scope["method"]
        scope[problems.METHOD] = method
        head = method == "HEAD"
        if head or method == "OPTIONS":  # a copy: the server must still know that it was HEAD
            scope = {**scope, "method": "GET" if head else problems.ASK}

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id),
                    *limits.raw_headers(scope),
                ]
            elif head:  # the headers say what GET would have answered; there is no body
                message = {
                    "type": "http.response.body",
                    "body": b"",
                    "more_body": message.get("more_body", False),
                }
            await send(message)

        with logs.About(request_id=scope[problems.REQUEST_ID]):
            await super().__call__(scope, receive, answer)  # type: ignore[arg-type] # plain ASGI


def given_request_id(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """The caller's own `X-Request-ID`, if it looks like one: then their log and ours share it."""
    for name, value in headers:
        if name == b"x-request-id":
            return value if _LOOKS_LIKE_AN_ID.fullmatch(value) else None
    return None


def create_api(services: Services | None, more_routes: Sequence[Any] = ()) -> Api:
    """The ASGI application; without services only its document can be had.

    `more_routes`: for the bench, which measures the same server with a route of its own.
    """
    return Api(
        route_handlers=[*ROUTES, *more_routes],
        guards=[auth.guard],
        exception_handlers=problems.HANDLERS,
        openapi_config=openapi.config(),
        state=State({"services": services}),
        logging_config=None,
        request_max_body_size=None,  # bodies.raw_body bounds them, with the limits of the settings
    )
