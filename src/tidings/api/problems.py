"""Answers that say what was wrong: RFC 9457 `application/problem+json`, with a stable code and a request id."""

import re
import socket
from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from tidings import errors
from tidings.errors import FieldError, Problem

log = structlog.get_logger("tidings.api")

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "tidings_request_id"  # in the scope of a request: the id that the answer and the log share
METHOD = "tidings_method"  # in the scope of a request: as the caller gave it
ASK = "?"  # no path has this method, so the framework says which ones it has: the answer to OPTIONS
RETRY_AFTER_S = 2
MOST_DETAIL = 500  # characters: what was wrong may quote the caller, who may have sent a megabyte of it


class ProblemBody(Struct, frozen=True):
    """RFC 9457. `code` is stable; `errors` point (RFC 6901) at what was wrong in the body."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError] = []


WITH_KEY = (401, 403, 429)
WITH_BODY = (400, 408, 413, 415, 422)


def problems(*statuses: int, key: bool = True, body: bool = False) -> dict[int, ResponseSpec]:
    """The problem answers of a route, for the OpenAPI document: its own, and those of every route of its kind."""
    known = {*statuses, *(WITH_KEY if key else ()), *(WITH_BODY if body else ()), 503}
    return {
        status: ResponseSpec(ProblemBody, generate_examples=False, description=TITLES[status], media_type=MEDIA_TYPE)
        for status in sorted(known)
    }


CLASSES: Mapping[int, type[Problem]] = {cls.status: cls for cls in Problem.__subclasses__()}
TITLES = {status: cls.title for status, cls in CLASSES.items()}


def answer(request: Request[Any, Any, Any], error: Problem) -> Response[ProblemBody]:
    """A problem as a response."""
    body = ProblemBody(
        type=f"/docs#error-{error.code}",
        title=error.title,
        status=error.status,
        detail=error.detail[:MOST_DETAIL],
        code=error.code,
        request_id=request.scope[REQUEST_ID],  # type: ignore[literal-required]
        errors=list(error.errors),
    )
    headers = dict(error.headers)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'ApiKey header="X-API-Key"'
    elif error.status == 503:
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return Response(body, status_code=error.status, media_type=MEDIA_TYPE, headers=headers)


def on_problem(request: Request[Any, Any, Any], error: Problem) -> Response[ProblemBody]:
    """One of ours."""
    return answer(request, error)


_OWN_CODES = {"cursor": "bad_cursor", "idempotency_key": "bad_idempotency_key"}


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """One of the framework's: unknown path or method, a bad query parameter."""
    allow = {name.lower(): value for name, value in (error.headers or {}).items()}.get("allow")
    headers = {"Allow": _allowed(allow)} if allow else {}
    if headers and request.scope[METHOD] == "OPTIONS":  # type: ignore[literal-required]
        return Response(None, status_code=204, headers=headers)
    if isinstance(error, ValidationException):
        extra = error.extra if isinstance(error.extra, list) else []
        for item in extra:
            if code := _OWN_CODES.get(item.get("key")):
                return answer(request, errors.BadRequest(code=code))
        named = "; ".join(f"{item.get('key', '?')}: {item.get('message', '')}" for item in extra)
        return answer(request, errors.BadRequest(named or None, code="bad_query"))
    cls = CLASSES.get(error.status_code, errors.BadRequest if error.status_code < 500 else errors.InternalError)
    code = {400: "bad_query"}.get(error.status_code)
    return answer(request, cls(code=code, headers=headers))


def _allowed(methods: str) -> str:
    found = {*methods.split(", "), "OPTIONS"}
    return ", ".join(sorted(found | {"HEAD"} if "GET" in found else found))


def on_database_away(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemBody]:
    """The database can't be reached, is starting, or is too slow."""
    log.warning("database_away", error=f"{type(error).__name__}: {error}")
    return answer(request, errors.Unavailable())


def on_any(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemBody]:
    """Our fault. The caller gets the id under which the log has the rest."""
    response = answer(request, errors.InternalError())
    log.error("internal_error", request_id=response.content.request_id, path=request.url.path, exc_info=error)
    return response


HANDLERS: dict[int | type[Exception], Any] = {
    Problem: on_problem,
    HTTPException: on_http_exception,
    ConnectionError: on_database_away,
    socket.gaierror: on_database_away,  # its name is gone with it, as in Compose
    FileNotFoundError: on_database_away,  # DB_HOST is a folder, and the socket is gone with the server
    TimeoutError: on_database_away,
    asyncpg.InterfaceError: on_database_away,
    asyncpg.InternalClientError: on_database_away,  # the connection was cut in the middle of an exchange
    asyncpg.PostgresConnectionError: on_database_away,
    asyncpg.OperatorInterventionError: on_database_away,
    asyncpg.InsufficientResourcesError: on_database_away,
    asyncpg.TransactionRollbackError: on_database_away,  # a deadlock was broken: nothing was stored
    Exception: on_any,
}

_PATH = re.compile(r" - at `\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`$", re.DOTALL)
_ENUM = "Invalid enum value"
_ANY_KEY = "[...]"  # how msgspec writes that it was some value of a map: the pointer then names the map


def field_error(error: msgspec.ValidationError, prefix: str = "") -> FieldError:
    """msgspec's message (`Expected … - at `$.a[0]``) with the path as a JSON pointer and a code."""
    text = str(error)
    path = _PATH.search(text)
    said = text[: path.start()] if path else text
    steps = path[1].partition(_ANY_KEY)[0] if path else ""
    pointer = prefix + "".join(f"/{name or index}" for name, index in _STEP.findall(steps))
    if said.startswith(_ENUM):
        said = _ENUM  # and then the value, which may be an address that stands in the wrong place
    for pattern, code in ((_UNKNOWN, "unknown_field"), (_MISSING, "missing_field")):
        if named := pattern.match(said):
            if len(said) > MOST_DETAIL:
                return FieldError(pointer, code, said[:MOST_DETAIL])
            name = named[1].replace("~", "~0").replace("/", "~1")
            return FieldError(f"{pointer}/{name}", code, said)
    if "timezone component" in said:
        return FieldError(pointer, "time_naive", errors.CODES["time_naive"])
    return FieldError(pointer, "invalid_field", said) if pointer else FieldError("", "invalid_body", said)


def invalid(found: FieldError) -> errors.Invalid:
    """A 422 about one field."""
    where = f"{found.pointer}: " if found.pointer else ""
    return errors.Invalid(f"{where}{found.detail}", code=found.code, errors=[found])
