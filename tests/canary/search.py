"""Where the service leaves something, and what may be in there."""

import io
from pathlib import Path

import httpx
from redis.asyncio import Redis

from tests.canary.stage import ADDRESSES, CONTENT, Stage
from tidings.app import App

# What the tables are there to keep. Tables that are not named here keep no canary at all.
KEPT = {
    "users": {"email", "phone", "name", "external id", "chat URL"},
    "devices": ADDRESSES,
    "notifications": CONTENT | {"collapse key", "override"},
    "broadcasts": CONTENT,
    "suppressed_addresses": {"email", "phone", "note"},  # to be known again; the note is the operator's own
    # The answer to a repeated request is what the first one was answered, for a day. The key is the caller's own.
    "idempotency_keys": {"idempotency key", "email", "phone", "name", "external id"},
}
# What the gateway has to repeat to a client that comes back: frames, and those in the stream of the project.
IN_REDIS = CONTENT | {"collapse key"}


async def search_database(stage: Stage, app: App) -> None:
    """Every row of every table, and what the server says of its sessions."""
    found = await app.db.fetch(
        "SELECT c.relname, coalesce(p.relname, c.relname) AS kept FROM pg_class c "
        "LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent "
        "WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
    )
    seen = 0
    for table in found:
        rows = await app.db.fetch(f"SELECT t::text FROM {table['relname']} t")  # noqa: S608
        seen += len(rows)
        text = "\n".join(row[0] for row in rows)
        stage.found(f"table {table['kept']}", text, KEPT.get(table["kept"], frozenset()))
    assert seen > 100
    sessions = await app.db.fetch("SELECT a::text FROM pg_stat_activity a")
    stage.found("pg_stat_activity", "\n".join(row[0] for row in sessions))


async def search_redis(stage: Stage) -> None:
    """Every key and its value, clients and the slow log."""
    async with Redis.from_url(stage.redis_url) as redis:
        keys = [key async for key in redis.scan_iter()]
        assert keys
        for key in keys:
            stage.found("Redis key", key)
            stage.found(f"Redis {key[:20]!r}", await redis.dump(key) or b"", IN_REDIS)
            if await redis.type(key) == b"stream":  # whose dump may be packed
                stage.found(f"Redis {key[:20]!r}", repr(await redis.xrange(key)), IN_REDIS)
        stage.found("Redis clients", repr(await redis.client_list()))


async def search_metrics(stage: Stage, app: App) -> None:
    """What Prometheus gets, and what health checks say."""
    async with httpx.AsyncClient(base_url=app.api_url, trust_env=False) as client:
        for path in ("/metrics", "/livez", "/api/healthcheck", "/docs", "/docs/openapi.json"):
            answer = await client.get(path)
            assert answer.status_code == 200
            stage.found(path, answer.content)
            assert path != "/metrics" or "tidings_attempts_total" in answer.text


def search_processes(stage: Stage) -> None:
    """The titles and arguments of all processes of this machine that can be seen."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            stage.found("title of a process", path.read_bytes())
        except OSError:
            continue  # it has ended


def search_logs(stage: Stage, written: io.StringIO) -> None:
    """Everything that was logged, line by line, so that a leak names its line."""
    lines = written.getvalue().splitlines()
    assert len(lines) > 20
    for line in lines:
        for name in stage.canaries.within(line):
            stage.leaks.append(f"log: {name}: {line[:300]}")
