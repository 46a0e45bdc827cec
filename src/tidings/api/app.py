"""Puts the API together."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar
from litestar.datastructures import State

from tidings.api import auth, broadcasts, devices, health, notifications, openapi, problems, receipts, users
from tidings.api.services import Services

ROUTES: list[Any] = [
    *users.ROUTES,
    *devices.ROUTES,
    *notifications.ROUTES,
    *broadcasts.ROUTES,
    *receipts.ROUTES,
    *health.ROUTES,
]


def create_api(services: Services, more_routes: Sequence[Any] = ()) -> Litestar:
    """The ASGI application. `more_routes`: for the bench, which measures the same server with a route of its own."""
    return Litestar(
        route_handlers=[*ROUTES, *more_routes],
        guards=[auth.guard],
        exception_handlers=problems.HANDLERS,
        openapi_config=openapi.config(),
        state=State({"services": services}),
        logging_config=None,
        request_max_body_size=None,  # bodies.raw_body bounds them, with the limits of the settings
    )
