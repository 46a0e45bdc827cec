"""`deliver`: accepted notifications until all are recorded as sent, against the same posts with nothing else."""

from tidings.bench.commands import Database, DeliverAll, Delivered, Post, Posted, Push, Pushed
from tidings.bench.figures import Figure, Leg, Meter, Options, compared, in_turn
from tidings.bench.posts import GRACE_S
from tidings.bench.processes import BenchError, Child
from tidings.bench.stage import Stage, connect, emulators, load, seed, service, stage
from tidings.worker.deliver import MOST_AT_ONCE
from tidings.worker.loop import HANDS

NOTIFICATIONS = 50_000
BATCH = 1_000
ACCEPTING = 4  # connections that post the batches
VENDOR_CONNECTIONS = 2  # what the worker opens, see `providers.fcm_account`
BAR = 0.45
GOAL = 7_000.0
TIMEOUT_S = 300.0


async def measure(options: Options) -> list[Figure]:
    """The figure. Raises `BenchError` unless every notification ends as sent."""
    count = options.count(NOTIFICATIONS, 100)
    batch = min(BATCH, count)
    count -= count % batch
    async with (
        stage(options.folder) as here,
        load() as (loader, _),
        emulators(here) as emulator,
        service(here.serve(["api"]), "api") as (api, at),
    ):
        url = f"http://127.0.0.1:{at.api_port}"
        await seed(at.database, count)
        async with service(here.serve(["worker", "scheduler"], url), "worker") as (worker, _):
            meter = Meter({"server": worker, "load": loader, "emulator": emulator}, {"postgres": api})
            accept = Post(
                *(at.api_port, "/api/notifications/batch", here.api_key, ACCEPTING, TIMEOUT_S, count, batch),
                most=count // batch,
            )

            async def ceiling() -> Leg:
                command = _push(here, url, count)
                return await meter.leg(lambda: _push_all(loader, command))

            async def figure() -> Leg:
                await accept_all(loader, accept, count)
                return await meter.leg(lambda: _deliver_all(worker, count))

            legs = await in_turn(options.pairs, ceiling, figure)
            await must_be_sent(at.database, count * options.pairs)
    return [
        compared(
            "deliver",
            legs,
            what=f"{count:,} accepted notifications until recorded as sent, through HTTP/2",
            unit="/s",
            ceiling_is="pyreqwest posting the same bodies to the same emulator, nothing else",
            bar=BAR,
            goal=GOAL,
        )
    ]


def _push(here: Stage, url: str, count: int) -> Push:
    return Push(
        emulators=str(here.emulators),
        connections=VENDOR_CONNECTIONS,
        in_flight=min(count, MOST_AT_ONCE * max(HANDS.values())),
        first_id=1,
        count=count,
        secret=here.secret,
        receipts=url + "/api/receipts/",
    )


async def _push_all(loader: Child, command: Push) -> tuple[float, float]:
    pushed = await loader.ask(command, Pushed, TIMEOUT_S)
    if pushed.refused:
        raise BenchError(f"the emulator refused {pushed.refused} messages")
    return pushed.requests, pushed.seconds


async def accept_all(loader: Child, command: Post, count: int) -> None:
    """Post all batches. Raises `BenchError` when one is refused."""
    posted = await loader.ask(command, Posted, TIMEOUT_S + 2 * GRACE_S)
    if posted.refused:
        raise BenchError(f"{posted.refused} batches were refused: {posted.first_refusal}")
    assert posted.requests * command.batch == count


async def _deliver_all(worker: Child, count: int) -> tuple[float, float]:
    delivered = await worker.ask(DeliverAll(TIMEOUT_S), Delivered, TIMEOUT_S + GRACE_S)
    return count, delivered.seconds


async def must_be_sent(where: Database, count: int) -> None:
    """Raises `BenchError` unless there are so many notifications, and all are sent."""
    database = await connect(where)
    try:
        rows = await database.fetch("SELECT status, count(*) AS n FROM notifications GROUP BY status")
    finally:
        await database.close()
    found = {row["status"]: row["n"] for row in rows}
    if found != {"sent": count}:
        raise BenchError(f"of {count} notifications these became: {found}")
