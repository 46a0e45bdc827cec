"""`lanes`: what a critical notification waits while 100,000 others are accepted and delivered, and while none are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import Any

from msgspec import Struct

from tidings.bench import broker
from tidings.bench.commands import Database, Post, Posted, Probe, Probed, Serving
from tidings.bench.figures import Figure, Options, quantile
from tidings.bench.phones import Phones, nanoseconds
from tidings.bench.posts import GRACE_S
from tidings.bench.processes import BenchError, Child
from tidings.bench.stage import Stage, connect, emulators, load, seed, service, stage

RECIPIENTS = 100_000
BATCH = 1_000
ACCEPTING = 4  # connections that post the batches
PROBED_USERS = 50
RATE = 50.0
SECONDS = 15.0  # of each leg: 750 critical notifications, of which 7 are slower than the 99th percentile
WARM_UP_S = 2.0
BAR = 1.5
GOAL_MS = 250.0
FLOOD_TIMEOUT_S = 300.0
LOOK_EVERY_S = 0.1
LOG_FILES = 24  # of 16 MB each; a flood writes 250 MB
REST_S = 5.0  # before each leg
ALL = ["api", "gateway", "worker", "scheduler"]

_WAITING = "SELECT EXISTS (SELECT FROM tasks WHERE lane = 'bulk')"
_SENT = (
    "SELECT count(*) FROM notifications WHERE lane = 'bulk' AND sent_at BETWEEN to_timestamp($1) AND to_timestamp($2)"
)
_OF_LANE = "SELECT status, count(*) AS n, max(sent_at) AS last FROM notifications WHERE lane = $1 GROUP BY status"


class Waited(Struct, frozen=True):
    """One leg: what critical notifications waited until their phone's vendor had them, ascending, in ms.

    `answer_p99_ms`: until the caller had its 202. `flood_rate`: bulk recipients a second from the first batch until
    the last was recorded as sent, 0 without a flood. `held_rate`: those sent a second while critical ones came.
    """

    took_ms: list[float]
    answer_p99_ms: float
    flood_rate: float = 0.0
    held_rate: float = 0.0

    @property
    def p99_ms(self) -> float:
        return quantile(self.took_ms, 0.99)


class Scene(Struct, frozen=True):
    """Everything that a leg needs."""

    here: Stage
    at: Serving
    prober: Child
    flooder: Child
    phones: Phones
    recipients: int
    seconds: float
    rest_s: float


async def measure(options: Options) -> list[Figure]:
    """The whole service in one process. Raises `BenchError` when anything is refused or not sent."""
    return [await _measure(options, "lanes", "the whole service in one process", _together)]


async def measure_distributed(options: Options) -> list[Figure]:
    """API, worker and scheduler each in a process of its own, over RabbitMQ and Redis."""
    await broker.take_over()
    return [await _measure(options, "lanes_distributed", "each role in a process of its own", _apart)]


@asynccontextmanager
async def _together(here: Stage) -> AsyncIterator[Serving]:
    async with service(here.serve(ALL)) as (_, at):
        yield at


@asynccontextmanager
async def _apart(here: Stage) -> AsyncIterator[Serving]:
    async with service(here.serve(["api"], distributed=True), "api") as (_, at), AsyncExitStack() as stack:
        for role in ("worker", "scheduler"):
            how = here.serve([role], f"http://127.0.0.1:{at.api_port}", distributed=True)
            await stack.enter_async_context(service(how, role))
        yield at


async def _measure(options: Options, name: str, where: str, opened: Callable[[Stage], Any]) -> Figure:
    recipients = options.count(RECIPIENTS, BATCH)
    recipients -= recipients % BATCH
    async with (
        stage(options.folder) as here,
        load() as (prober, _),
        load() as (flooder, _),
        emulators(here),
        opened(here) as at,
    ):
        await seed(at.database, recipients + PROBED_USERS)
        phones = Phones(here.emulators, range(recipients + 1, recipients + PROBED_USERS + 1))
        seconds = max(1.0, SECONDS * options.scale)
        scene = Scene(here, at, prober, flooder, phones, recipients, seconds, REST_S * options.scale)
        try:
            await _make_log_files(at.database, options.count(LOG_FILES, 1))
            await _probe(scene, min(WARM_UP_S, seconds))
            pairs = [(await _calm(scene), await _flooded(scene)) for _ in range(options.pairs)]
        finally:
            await phones.close()
        await _must_be_sent(at.database, "bulk", recipients * options.pairs)
    return _figure(name, where, recipients, pairs)


async def _calm(scene: Scene) -> Waited:
    """Probe with nothing else going on."""
    await _settle(scene.at.database, scene.rest_s)
    probed, took = await _probe(scene, scene.seconds)
    return Waited(sorted(took.values()), probed.answer_p99_ms)


async def _probe(scene: Scene, seconds: float) -> tuple[Probed, dict[int, float]]:
    """What each notification waited, by when it was due. Raises `BenchError` when one does not arrive."""
    command = Probe(scene.at.api_port, scene.here.api_key, scene.recipients + 1, PROBED_USERS, RATE, seconds)
    probed = await scene.prober.ask(command, Probed, seconds + 2 * GRACE_S)
    took = await scene.phones.arrived(probed.first_at, probed.requests)
    if len(took) != probed.requests:
        raise BenchError(f"of {probed.requests} critical notifications {len(took)} arrived")
    return probed, took


async def _flooded(scene: Scene) -> Waited:
    """Probe from the first batch of a flood on; what was due after its last one was sent does not count."""
    flood = Post(
        *(scene.at.api_port, "/api/notifications/batch", scene.here.api_key, ACCEPTING, FLOOD_TIMEOUT_S),
        users=scene.recipients,
        batch=BATCH,
        most=scene.recipients // BATCH,
        different=scene.recipients // BATCH,
        lane="bulk",
    )
    await _settle(scene.at.database, scene.rest_s)
    async with asyncio.TaskGroup() as both:
        flooding = both.create_task(scene.flooder.ask(flood, Posted, FLOOD_TIMEOUT_S + 2 * GRACE_S))
        probing = both.create_task(_probe(scene, scene.seconds))
    posted, (probed, took) = flooding.result(), probing.result()
    if posted.refused:
        raise BenchError(f"{posted.refused} batches were refused: {posted.first_refusal}")
    last = await _drained(scene.at.database)
    during = {at: ms for at, ms in took.items() if at <= last}
    seconds = max(last - probed.first_at, 1) / 1e9
    held = await _sent_a_second(scene.at.database, probed.first_at / 1e9, min(last, probed.last_at) / 1e9)
    return Waited(sorted(during.values()), probed.answer_p99_ms, scene.recipients / seconds, held)


async def _sent_a_second(where: Database, begins: float, ends: float) -> float:
    """How many of the flood were sent between these times, in seconds since 1970."""
    database = await connect(where)
    try:
        sent: int = await database.fetchval(_SENT, begins, ends)
    finally:
        await database.close()
    return sent / max(ends - begins, 1e-9)


async def _make_log_files(where: Database, count: int) -> None:
    """Have PostgreSQL make the files of its write-ahead log that a flood needs, which it then uses again and again.

    A server that is in use has them; a new one makes them one by one, and nobody can commit meanwhile.
    """
    database = await connect(where)
    try:
        for _ in range(count):
            await database.execute("SELECT pg_logical_emit_message(false, '', '')")
            await database.execute("SELECT pg_switch_wal()")
        await database.execute("CHECKPOINT")
    finally:
        await database.close()


async def _settle(where: Database, seconds: float) -> None:
    """Have PostgreSQL write now what it otherwise writes during the next leg, which has nothing to do with it, and let
    the disk rest: after hundreds of megabytes it may hold up single writes for seconds."""
    database = await connect(where)
    try:
        await database.execute("CHECKPOINT")
    finally:
        await database.close()
    await asyncio.sleep(seconds)


async def _drained(where: Database) -> int:
    """Wait until no bulk task is left; when the last of them was sent, nanoseconds of the wall clock."""
    database = await connect(where)
    try:
        async with asyncio.timeout(FLOOD_TIMEOUT_S):
            while await database.fetchval(_WAITING):  # noqa: ASYNC110 - another process ends it
                await asyncio.sleep(LOOK_EVERY_S)
        last = await database.fetchval("SELECT max(sent_at) FROM notifications WHERE lane = 'bulk'")
    except TimeoutError:
        raise BenchError(f"the flood was not delivered in {FLOOD_TIMEOUT_S:.0f} seconds") from None
    finally:
        await database.close()
    return nanoseconds(last)


async def _must_be_sent(where: Database, lane: str, count: int) -> None:
    database = await connect(where)
    try:
        rows = await database.fetch(_OF_LANE, lane)
    finally:
        await database.close()
    found = {row["status"]: row["n"] for row in rows}
    if found != {"sent": count}:
        raise BenchError(f"of {count} notifications of the lane {lane} these became: {found}")


def _figure(name: str, where: str, recipients: int, pairs: list[tuple[Waited, Waited]]) -> Figure:
    p99s = [(calm.p99_ms, flooded.p99_ms) for calm, flooded in pairs]
    return Figure(
        name=name,
        what=f"99th percentile from a critical POST at {RATE:.0f}/s until its phone's vendor has it, {where}, "
        f"during a flood of {recipients:,} in the bulk lane",
        unit="ms",
        value=median(flooded for _, flooded in p99s),
        ceiling=median(calm for calm, _ in p99s),
        ceiling_is="the same without a flood",
        ratio=median(flooded / calm for calm, flooded in p99s),
        bar=BAR,
        goal=GOAL_MS,
        at_most=True,
        pairs=p99s,
        details={
            "p50_ms": median(quantile(flooded.took_ms, 0.5) for _, flooded in pairs),
            "calm_p50_ms": median(quantile(calm.took_ms, 0.5) for calm, _ in pairs),
            "answer_p99_ms": median(flooded.answer_p99_ms for _, flooded in pairs),
            "calm_answer_p99_ms": median(calm.answer_p99_ms for calm, _ in pairs),
            "most_ms": max(flooded.took_ms[-1] for _, flooded in pairs if flooded.took_ms),
            "probes_during_floods": sum(len(flooded.took_ms) for _, flooded in pairs),
            "flood_rate": median(flooded.flood_rate for _, flooded in pairs),
            "held_rate": median(flooded.held_rate for _, flooded in pairs),
        },
    )
