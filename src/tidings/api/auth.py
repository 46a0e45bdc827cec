"""Who calls: `X-API-Key` → project and scopes. Each route says which scope it needs."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from tidings import logs
from tidings.api.limits import Limits
from tidings.errors import Forbidden, Unauthenticated
from tidings.projects import KeyRing, Principal, Scope

OPEN = {"open": True}  # as a route's `opt`: no key needed
SEND = {"scope": Scope.SEND}
READ = {"scope": Scope.READ}
ADMIN = {"scope": Scope.ADMIN}


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let the call through, with the principal as `request.user`, or raise 401 or 403."""
    scope: Scope | None = handler.opt.get("scope")
    if scope is None:
        return  # the API's own documents, and routes marked OPEN; a test lists them
    principal = await identify(connection)
    if not principal.may(scope):
        raise Forbidden(f"This call needs the scope {scope}; the key has {', '.join(sorted(principal.scopes))}.")
    connection.scope["user"] = principal
    logs.also(project_id=principal.project_id)
    await counted(connection, principal)


async def identify(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal:
    """Who presents the key, whatever it may do. Raises `Unauthenticated`."""
    key = connection.headers.get("x-api-key")
    if not key:
        raise Unauthenticated(code="key_missing")
    keys: KeyRing = connection.app.state["services"].keys
    return keys.cached(key) or await keys.identify(key)


async def counted(connection: ASGIConnection[Any, Any, Any, Any], principal: Principal) -> None:
    """Count the call against the limits of the key and its project. Raises `TooMany`."""
    limits: Limits = connection.app.state["services"].limits
    if limits.on:
        await limits.check(connection.scope, principal)
