"""The `Idempotency-Key` header: the same request again does nothing again and gets the same answer."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Response
from litestar.params import HeaderParameter

from tidings import idempotency
from tidings.api.services import Call, services
from tidings.db import Connection, Pool
from tidings.errors import BadRequest

HEADER = "idempotency-key"
PATTERN = "^[!-~]{1,255}$"

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        pattern=PATTERN,
        description="Any text of your own, new for each request: sent again within a day, nothing is done twice",
    ),
]


def key_of(request: Call) -> str | None:
    """The key, if the caller sent one. Raises `BadRequest` for one that can't be stored."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not re.fullmatch(PATTERN, key):
        raise BadRequest(code="bad_idempotency_key")
    return key


async def once(
    request: Call, body: bytes, do: Callable[[Pool | Connection], Awaitable[tuple[int, Any]]], db: Pool | None = None
) -> Response[Any]:
    """Run `do` (→ status, answer) and answer; with a key, only the first time. `db`: other connections than usual."""
    db, key = db or services(request).db, key_of(request)
    if key is None:
        status, answer = await do(db)
        return Response(answer, status_code=status)

    async def keep(connection: Connection) -> idempotency.Answer:
        status, answer = await do(connection)
        return status, msgspec.json.encode(answer)

    digest = idempotency.digest(request.method, request.url.path, body)
    (status, stored), replayed = await idempotency.once(db, request.user.project_id, key, digest, keep)
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return Response(msgspec.Raw(stored), status_code=status, headers=headers)
