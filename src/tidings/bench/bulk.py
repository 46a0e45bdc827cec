"""`bulk`: recipients a second through `batch`, against bare `unnest` inserts of the same rows."""

from tidings.bench.commands import Insert, Inserted, Post, Posted
from tidings.bench.figures import Figure, Leg, Meter, Options, compared, in_turn
from tidings.bench.posts import GRACE_S
from tidings.bench.processes import BenchError
from tidings.bench.stage import load, seed, service, stage

CONNECTIONS = 4
BATCH = 1_000
USERS = 20_000
BAR = 0.40
GOAL = 60_000.0
WARM_UP_S = 1.0


async def measure(options: Options) -> list[Figure]:
    """The figure. Raises `BenchError` when a batch is refused."""
    async with stage(options.folder) as here, load() as (loader, _), service(here.serve(["api"])) as (server, at):
        users, batch = options.count(USERS, 100), options.count(BATCH, 100) if options.scale < 1 else BATCH
        await seed(at.database, users)
        meter = Meter({"server": server, "load": loader}, {"postgres": server})

        async def posts(seconds: float) -> tuple[float, float]:
            command = Post(at.api_port, "/api/notifications/batch", here.api_key, CONNECTIONS, seconds, users, batch)
            posted = await loader.ask(command, Posted, seconds + 2 * GRACE_S)
            if posted.refused:
                raise BenchError(f"{posted.refused} batches were refused: {posted.first_refusal}")
            return posted.requests * batch, posted.seconds

        async def rows(seconds: float) -> tuple[float, float]:
            command = Insert(at.database, CONNECTIONS, seconds, batch, users)
            inserted = await loader.ask(command, Inserted, seconds + 2 * GRACE_S)
            return inserted.rows, inserted.seconds

        async def ceiling() -> Leg:
            return await meter.leg(lambda: rows(options.seconds))

        async def figure() -> Leg:
            return await meter.leg(lambda: posts(options.seconds))

        await rows(min(WARM_UP_S, options.seconds))
        await posts(min(WARM_UP_S, options.seconds))
        legs = await in_turn(options.pairs, ceiling, figure)
    return [
        compared(
            "bulk",
            legs,
            what=f"recipients a second through batches of {batch:,}, {CONNECTIONS} connections, durable",
            unit="/s",
            ceiling_is="bare unnest inserts of the same rows, as many at once",
            bar=BAR,
            goal=GOAL,
        )
    ]
