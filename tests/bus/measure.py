"""`python -m tests.bus.measure`: what the Redis bus costs on this machine, with a private Redis beside it.

Prints one figure a line. Nothing here is a test: the figures in `docs/bus.md` come from it.
"""

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable

import uvloop

from tests.bus.ear import until
from tests.bus.gateways import admin
from tests.servers import Servers
from tidings.bus import Rate
from tidings.bus.redis import RedisBounds, RedisBus, open_redis_bus
from tidings.bus.wire import Wire

USERS = 10_000
CALLS = 40_000
CALLERS = 500
DATA = b'{"id":1,"title":"Your order is on its way","body":"' + b"x" * 150 + b'"}'


async def cpu_of_redis(redis: Wire) -> float:
    """Seconds of CPU that Redis has used."""
    about = dict(line.split(":") for line in (await redis.ask("INFO", "cpu")).decode().splitlines() if ":" in line)
    return float(about["used_cpu_user"]) + float(about["used_cpu_sys"])


async def memory_of(redis: Wire) -> int:
    lines = (await redis.ask("INFO", "memory")).decode().splitlines()
    return int(next(line for line in lines if line.startswith("used_memory:")).split(":")[1])


async def measure(name: str, redis: Wire, calls: int, work: Callable[[], Awaitable[object]]) -> None:
    """Time and CPU of so many calls."""
    started, cpu, theirs = time.perf_counter(), time.process_time(), await cpu_of_redis(redis)
    await work()
    wall = time.perf_counter() - started
    mine = (time.process_time() - cpu) / calls * 1e6
    redis_us = (await cpu_of_redis(redis) - theirs) / calls * 1e6
    print(f"{name}: {calls / wall:,.0f}/s, {wall * 1000:,.0f} ms, {mine:.1f} µs CPU, {redis_us:.1f} in Redis")


async def many(call: Callable[[int], Awaitable[object]], calls: int) -> None:
    """So many calls by `CALLERS` at once."""
    numbers = iter(range(calls))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def main() -> None:
    servers = Servers()
    server = await servers.redis()
    try:
        async with admin(server.address) as redis:
            url = server.address.redis_url
            gateway = await open_redis_bus(url, RedisBounds())
            publisher = await open_redis_bus(url, RedisBounds())
            await figures(redis, gateway, publisher)
            await gateway.close()
            await publisher.close()
    finally:
        await servers.remove()


async def figures(redis: Wire, gateway: RedisBus, publisher: RedisBus) -> None:
    before, mine = await memory_of(redis), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def join(user: int) -> None:
        await gateway.join(1, user, lambda _frame: True, None, None)

    await measure(f"join, {USERS:,} users", redis, USERS, lambda: many(join, USERS))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - mine
    print(f"  Redis: {(await memory_of(redis) - before) / USERS:,.0f} bytes a user")
    print(f"  here: {grown * 1024 / USERS:,.0f} bytes a user")
    names = tuple(gateway._local)
    await measure("refresh, one user", redis, USERS, lambda: gateway._refresh(names))

    async def nobody(n: int) -> None:
        await publisher.publish(1, USERS + n, n, DATA)

    async def online(n: int) -> None:
        await publisher.publish(1, n % USERS, n, DATA)

    async def online_again(n: int) -> None:
        await online(n + USERS)

    async def absent(first: int) -> None:
        for start in range(first, first + CALLS, CALLERS):
            await publisher.absent((1, user) for user in range(start, start + CALLERS))

    await measure("publish, nobody there", redis, CALLS, lambda: many(nobody, CALLS))
    await measure("absent, a user of 500 who are not there", redis, CALLS, lambda: absent(USERS))
    await measure("absent, a user of 500, some there", redis, CALLS, lambda: absent(0))
    before = await memory_of(redis)
    await measure("publish to online users, received here too", redis, USERS, lambda: many(online, USERS))
    print(f"  Redis: {(await memory_of(redis) - before) / USERS:,.0f} bytes for the first frame of a user")
    await measure("publish, the next ones", redis, CALLS, lambda: many(online_again, CALLS))
    frames = USERS + CALLS
    print(f"  Redis: {(await memory_of(redis) - before) / frames:,.0f} bytes a frame ({len(DATA)} of data)")
    await measure("broadcast", redis, 100, lambda: many(lambda n: publisher.broadcast(1, n, DATA), 100))
    rate = Rate(100.0, 1000)
    await measure("allow", redis, CALLS, lambda: many(lambda n: publisher.allow(f"k{n % 100}", rate), CALLS))
    latencies = []
    for n in range(500):
        started = time.perf_counter()
        await publisher.publish(1, 1, 10**6 + n, DATA)
        latencies.append(time.perf_counter() - started)
    print(f"publish, one at a time: median {sorted(latencies)[250] * 1e6:.0f} µs")
    await until(lambda: gateway.healthy)


if __name__ == "__main__":
    uvloop.run(main())
