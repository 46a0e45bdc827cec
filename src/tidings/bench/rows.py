"""The ceiling of `bulk`: the same rows, into a table like that of the notifications, and nothing else."""

import asyncio
import time

import asyncpg
import msgspec

from tidings.bench import bodies
from tidings.bench.commands import PROJECT_ID, Insert, Inserted

TIMEOUT_S = 30.0

# The same columns, constraints and indexes: what is compared is what Tidings does beside storing rows.
_TABLE = "CREATE TABLE IF NOT EXISTS bench_rows (LIKE notifications INCLUDING ALL)"
_INSERT = """
INSERT INTO bench_rows (project_id, user_id, title, body, data, status, lane, ttl_s)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::text[], $7::text[],
    $8::integer[])
"""


async def insert(command: Insert) -> Inserted:
    """See `commands.Insert`."""
    where = command.database
    pool = await asyncpg.create_pool(
        host=where.host,
        port=where.port,
        database=where.database,
        user=where.user,
        min_size=command.connections,
        max_size=command.connections,
        command_timeout=TIMEOUT_S,
        server_settings={"jit": "off"},
    )
    try:
        await pool.execute(_TABLE)
        users = [n % command.users + 1 for n in range(command.batch)]
        columns = [
            [PROJECT_ID] * command.batch,
            users,
            [bodies.TITLE] * command.batch,
            [bodies.BODY] * command.batch,
            [msgspec.json.encode(bodies.notification(user)["data"]).decode() for user in users],
            ["pending"] * command.batch,
            ["normal"] * command.batch,
            [bodies.TTL_S] * command.batch,
        ]
        began = time.monotonic()

        async def writer() -> int:
            count = 0
            async with pool.acquire() as connection:
                statement = await connection.prepare(_INSERT)
                while time.monotonic() - began < command.seconds:
                    await statement.fetch(*columns)
                    count += command.batch
            return count

        written = await asyncio.gather(*(writer() for _ in range(command.connections)))
        return Inserted(sum(written), time.monotonic() - began)
    finally:
        await asyncio.wait_for(pool.close(), TIMEOUT_S)
