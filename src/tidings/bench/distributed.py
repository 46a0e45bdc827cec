"""`--distributed`: accepting and delivering over RabbitMQ and Redis, against the same in one process; two workers.

Both sides have a stage of their own, with a PostgreSQL of its own, and take turns; what is not measured is idle.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from tidings.bench import accept, broker, deliver
from tidings.bench.commands import Database, DeliverAll, Delivered, Post, Posted
from tidings.bench.figures import Figure, Leg, Meter, Options, compared, in_turn
from tidings.bench.posts import GRACE_S
from tidings.bench.processes import BenchError, Child
from tidings.bench.stage import Stage, emulators, load, seed, service, stage

BAR = 0.75
TIMEOUT_S = 300.0


async def measure_accept(options: Options) -> list[Figure]:
    """`accept_distributed`. Raises `BenchError` when a request is refused."""
    await broker.take_over()
    users = options.count(accept.USERS, accept.CONNECTIONS)
    async with load() as (loader, _), AsyncExitStack() as stack:

        async def side(distributed: bool) -> tuple[Meter, Post]:
            here = await stack.enter_async_context(stage(options.folder))
            server, at = await stack.enter_async_context(service(here.serve(["api"], distributed=distributed)))
            await seed(at.database, users)
            command = Post(at.api_port, accept.PATH, here.api_key, accept.CONNECTIONS, options.seconds, users)
            return Meter({"server": server, "load": loader}, {"postgres": server}), command

        async def leg(meter: Meter, command: Post) -> Leg:
            async def work() -> tuple[float, float]:
                posted = await loader.ask(command, Posted, command.seconds + 2 * GRACE_S)
                if posted.refused:
                    raise BenchError(f"{posted.refused} requests were refused: {posted.first_refusal}")
                return posted.requests, posted.seconds

            return await meter.leg(work)

        one, parts = await side(False), await side(True)
        for meter, command in (one, parts):
            await leg(meter, command)  # warm-up
        legs = await in_turn(options.pairs, lambda: leg(*one), lambda: leg(*parts))
    await broker.take_over()
    return [
        compared(
            "accept_distributed",
            legs,
            what=f"single POSTs a second, {accept.CONNECTIONS} connections, durable, tickets published to RabbitMQ",
            unit="/s",
            ceiling_is="the same in one process, tickets in memory",
            bar=BAR,
            goal=None,
        )
    ]


class Side:
    """A service that accepts and delivers. `giver` hands out what waits; `workers` are the processes that deliver."""

    def __init__(self, here: Stage, loader: Child, api: tuple[Child, int, Database], count: int) -> None:
        self.here, self.loader, self.count = here, loader, count
        self.api, self.port, self.database = api
        self.giver = self.api
        self.workers: list[Child] = []
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def leg(self, emulator: Child) -> Leg:
        """Accept all, which is not timed, then deliver all."""
        batch = min(deliver.BATCH, self.count)
        await deliver.accept_all(
            self.loader,
            Post(
                *(self.port, "/api/notifications/batch", self.here.api_key, deliver.ACCEPTING, TIMEOUT_S),
                users=self.count,
                batch=batch,
                most=self.count // batch,
            ),
            self.count,
        )
        self.accepted += self.count
        own = {f"worker_{n}": worker for n, worker in enumerate(self.workers, 1)} | {"emulator": emulator}
        if self.giver not in self.workers:
            own["scheduler"] = self.giver
        return await Meter(own, {"postgres": self.api}).leg(self._deliver_all)

    async def _deliver_all(self) -> tuple[float, float]:
        delivered = await self.giver.ask(DeliverAll(TIMEOUT_S), Delivered, TIMEOUT_S + GRACE_S)
        return self.count, delivered.seconds


async def measure_deliver(options: Options) -> list[Figure]:
    """`deliver_distributed` and `deliver_two_workers`. Raises `BenchError` unless every notification is sent."""
    await broker.take_over()
    count = options.count(deliver.NOTIFICATIONS, 100)
    count -= count % min(deliver.BATCH, count)
    async with (
        load() as (loader, _),
        stage(options.folder) as own,
        emulators(own) as emulator,
        AsyncExitStack() as stack,
    ):
        one = await stack.enter_async_context(_side(loader, own, count, options.folder))
        how = one.here.serve(["worker", "scheduler"], one.url)
        one.giver, _ = await stack.enter_async_context(service(how, "worker"))
        one.workers = [one.giver]
        parts = await stack.enter_async_context(_side(loader, own, count, options.folder))
        scheduler = parts.here.serve(["scheduler"], distributed=True)
        parts.giver, _ = await stack.enter_async_context(service(scheduler, "scheduler"))
        worker = parts.here.serve(["worker"], parts.url, distributed=True)
        first, _ = await stack.enter_async_context(service(worker, "worker"))

        async def with_workers(*workers: Child) -> Leg:
            parts.workers = list(workers)
            return await parts.leg(emulator)

        rounds = []
        for _ in range(options.pairs):
            embedded, single = await one.leg(emulator), await with_workers(first)
            # Not idle beside the first, where it would take its share.
            async with service(worker, "second worker") as (second, _):
                rounds.append((embedded, single, await with_workers(first, second)))
        for side in (one, parts):
            await deliver.must_be_sent(side.database, side.accepted)
    await broker.take_over()
    return [
        compared(
            "deliver_distributed",
            [(embedded, single) for embedded, single, _ in rounds],
            what=f"{count:,} accepted notifications until recorded as sent, one worker, over RabbitMQ and Redis",
            unit="/s",
            ceiling_is="the same with the queue in the worker's own process",
            bar=BAR,
            goal=None,
        ),
        _two_workers(count, [(single, double) for _, single, double in rounds]),
    ]


@asynccontextmanager
async def _side(loader: Child, own: Stage, count: int, folder: Path) -> AsyncIterator[Side]:
    """A stage with an API that accepts, and whose tickets nobody takes; all sides share the emulators of `own`."""
    async with stage(folder) as here, service(here.serve(["api"]), "api") as (api, at):
        here.emulators.write_bytes(own.emulators.read_bytes())
        await seed(at.database, count)
        yield Side(here, loader, (api, at.api_port, at.database), count)


def _two_workers(count: int, legs: list[tuple[Leg, Leg]]) -> Figure:
    rates = [(single.rate, double.rate) for single, double in legs]
    return Figure(
        name="deliver_two_workers",
        what=f"{count:,} accepted notifications until recorded as sent, two worker processes",
        unit="/s",
        value=median(double for _, double in rates),
        ceiling=median(single for single, _ in rates),
        ceiling_is="one worker process",
        ratio=median(double / single for single, double in rates),
        bar=None,
        pairs=rates,
        cpu_us={name: median(double.cpu_us[name] for _, double in legs) for name in legs[0][1].cpu_us},
        ceiling_cpu_us={name: median(single.cpu_us[name] for single, _ in legs) for name in legs[0][0].cpu_us},
    )
