"""`latency`: from a POST to the frame on its user's screen, the whole service in one process, at a steady rate."""

from tidings.bench.commands import Trickle, Trickled
from tidings.bench.figures import Figure, Meter, Options
from tidings.bench.processes import BenchError
from tidings.bench.stage import emulators, load, seed, service, stage

RATE = 200.0
USERS = 200
SECONDS = 10.0
GOAL_MS = 10.0
WARM_UP_S = 1.0
MARGIN_S = 60.0


async def measure(options: Options) -> list[Figure]:
    """The figure. Raises `BenchError` when a frame does not come."""
    roles = ["api", "gateway", "worker", "scheduler"]
    async with (
        stage(options.folder) as here,
        load() as (loader, _),
        emulators(here) as emulator,
        service(here.serve(roles)) as (server, at),
    ):
        users, seconds = options.count(USERS, 5), max(1.0, SECONDS * options.scale)
        await seed(at.database, users)
        meter = Meter({"server": server, "load": loader, "emulator": emulator}, {"postgres": server})
        found: list[Trickled] = []

        async def run(seconds: float) -> tuple[float, float]:
            command = Trickle(at.api_port, at.gateway_port, here.api_key, here.secret, users, RATE, seconds)
            trickled = await loader.ask(command, Trickled, seconds + MARGIN_S)
            if trickled.frames != trickled.requests:
                raise BenchError(f"{trickled.frames} frames came of {trickled.requests} notifications")
            found.append(trickled)
            return trickled.requests, seconds

        await run(WARM_UP_S)
        leg = await meter.leg(lambda: run(seconds))
    return [_figure(found[-1], leg.cpu_us)]


def _figure(trickled: Trickled, cpu_us: dict[str, float]) -> Figure:
    return Figure(
        name="latency",
        what=f"from POST to WebSocket frame at {RATE:.0f}/s, median of {trickled.frames:,}",
        unit="ms",
        value=trickled.frame_p50_ms,
        ceiling=None,
        ceiling_is="",
        ratio=None,
        bar=None,
        goal=GOAL_MS,
        at_most=True,
        cpu_us=cpu_us,
        details={
            "frame_p50_ms": trickled.frame_p50_ms,
            "frame_p99_ms": trickled.frame_p99_ms,
            "answer_p50_ms": trickled.answer_p50_ms,
            "answer_p99_ms": trickled.answer_p99_ms,
        },
    )
