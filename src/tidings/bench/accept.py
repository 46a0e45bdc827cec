"""`accept`: single POSTs a second, each answered after its commit, against the same server doing nothing."""

from tidings.bench.commands import Post, Posted
from tidings.bench.figures import Figure, Leg, Meter, Options, compared, in_turn
from tidings.bench.posts import GRACE_S
from tidings.bench.processes import BenchError
from tidings.bench.server import NO_WORK_PATH
from tidings.bench.stage import load, seed, service, stage

CONNECTIONS = 64
USERS = 10_000
BAR = 0.70
GOAL = 7_000.0
WARM_UP_S = 1.0
PATH = "/api/notifications"


async def measure(options: Options) -> list[Figure]:
    """The figure. Raises `BenchError` when a request is refused."""
    async with stage(options.folder) as here, load() as (loader, _), service(here.serve(["api"])) as (server, at):
        users = options.count(USERS, CONNECTIONS)
        await seed(at.database, users)
        meter = Meter({"server": server, "load": loader}, {"postgres": server})
        slowest: list[Posted] = []

        async def posts(path: str, seconds: float) -> Posted:
            command = Post(at.api_port, path, here.api_key, CONNECTIONS, seconds, users)
            posted = await loader.ask(command, Posted, seconds + 2 * GRACE_S)
            if posted.refused:
                raise BenchError(f"{posted.refused} requests to {path} were refused: {posted.first_refusal}")
            return posted

        async def work(path: str) -> tuple[float, float]:
            posted = await posts(path, options.seconds)
            if path == PATH:
                slowest.append(posted)
            return posted.requests, posted.seconds

        async def leg(path: str) -> Leg:
            return await meter.leg(lambda: work(path))

        for path in (NO_WORK_PATH, PATH):
            await posts(path, min(WARM_UP_S, options.seconds))
        legs = await in_turn(options.pairs, lambda: leg(NO_WORK_PATH), lambda: leg(PATH))
    return [
        compared(
            "accept",
            legs,
            what=f"single POSTs a second, {CONNECTIONS} connections, durable, worker idle",
            unit="/s",
            ceiling_is="the same server, answering the same body with no work",
            bar=BAR,
            goal=GOAL,
            details={
                "p50_ms": sorted(one.p50_ms for one in slowest)[len(slowest) // 2],
                "p99_ms": max(one.p99_ms for one in slowest),
            },
        )
    ]
