"""Idempotency keys: a request that is sent again does nothing again and gets the same answer.

Notifications have a path of their own (`notifications.accept`), gathered with others. Everything else comes here:
the key is written in the transaction of the effect, so a second request waits for the first to commit.
"""

import hashlib
from collections.abc import Awaitable, Callable

from tidings.db import Connection, Pool, affected, load
from tidings.errors import Invalid

SQL = load("idempotency")

MOST_FORGOTTEN = 10_000  # in one statement, so that it ends soon

Answer = tuple[int, bytes]  # HTTP status, body


def digest(method: str, path: str, body: bytes) -> bytes:
    """Tells one request from another."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), body))).digest()


async def once(
    db: Pool, project_id: int, key: str, request_digest: bytes, do: Callable[[Connection], Awaitable[Answer]]
) -> tuple[Answer, bool]:
    """Run `do` in a transaction unless the key was used before; True: the answer is an earlier one.

    If `do` raises, nothing is kept and the key stays free. Raises `Invalid` when the key belongs to another request.
    """
    async with db.acquire() as connection, connection.transaction():
        if await connection.fetchval(SQL["begin"], project_id, key, request_digest) is None:
            row = await connection.fetchrow(SQL["answer"], project_id, key)
            if row is None or row["digest"] != request_digest or row["body"] is None:
                raise Invalid(code="idempotency_mismatch")
            return (row["status"], row["body"]), True
        answer = await do(connection)
        await connection.execute(SQL["finish"], project_id, key, *answer)
    return answer, False


async def forget(db: Pool) -> int:
    """Let some keys go that are older than a day; answers how many, at most `MOST_FORGOTTEN`."""
    return affected(await db.execute(SQL["forget"], MOST_FORGOTTEN))
