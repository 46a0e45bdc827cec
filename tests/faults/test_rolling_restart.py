"""F26: every process is replaced under load: a new one starts, then the old one gets SIGTERM. No call fails."""

import asyncio
import contextlib
import itertools

import httpx

from tests.conftest import eventually
from tests.faults import balance
from tests.faults.caller import Caller
from tests.faults.listener import Listener, holes
from tests.faults.plant import Part, Plant
from tests.faults.service import free_port
from tidings.gateway.protocol import CloseCode

MOST = 5000
USERS = 20
LOOK_S = 0.1


class Balancer:
    """Shares requests among the processes that are ready, as a load balancer does: it asks `/readyz` now and then."""

    def __init__(self, scheme: str, path: str = "") -> None:
        self._scheme, self._path = scheme, path
        self._behind: list[tuple[Part, int]] = []
        self._ready: list[int] = []
        self._turns = itertools.count()

    def add(self, part: Part, port: int) -> None:
        """One more, at once."""
        self._behind.append((part, port))
        self._ready.append(port)

    def url(self) -> str:
        """Where the next request goes."""
        return f"{self._scheme}://127.0.0.1:{self._ready[next(self._turns) % len(self._ready)]}{self._path}"

    async def watch(self) -> None:
        """Runs until cancelled."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            while True:
                ready = [port for part, port in self._behind if await is_ready(client, part)]
                self._ready = ready or self._ready
                await asyncio.sleep(LOOK_S)


async def is_ready(client: httpx.AsyncClient, part: Part) -> bool:
    """What a probe of `/readyz` says."""
    with contextlib.suppress(httpx.TransportError):
        return (await client.get(f"http://127.0.0.1:{part.operations_port}/readyz")).status_code == 200
    return False


async def replace(made: Plant, old: Part, balancer: Balancer | None = None, setting: str = "") -> None:
    """Start a new process of the role, then end the old one in order."""
    port = free_port()
    new = await made.add(old.role, **({setting: str(port)} if setting else {}))
    if balancer is not None:
        balancer.add(new, port)
    assert await old.stop() == 0, old.log


async def keep_sending(caller: Caller, enough: asyncio.Event) -> None:
    """Send more and more notifications until it is enough."""
    while not enough.is_set():
        assert caller.count < MOST, "the replacement takes too long for this test's bound"
        caller.waiting += range(caller.count, caller.count + 20)
        caller.count += 20
        await caller.insist(4, pause_s=0.1)


async def caught_up(listeners: list[Listener], caller: Caller) -> None:
    """Wait until every client has every notification of its user."""
    for number, listener in enumerate(listeners):
        wanted = {i for n, i in caller.ids.items() if n % USERS == number}

        async def complete(listener: Listener = listener, wanted: set[int] = wanted) -> bool | None:
            return None if holes(listener, wanted) else True

        await eventually(complete, 60)


async def test_every_role_is_replaced_under_load(made: Plant) -> None:
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    apis, gateways = Balancer("http"), Balancer("ws")
    apis.add(made.of("api")[0], made.api_port)
    gateways.add(made.of("gateway")[0], made.gateway_port)
    watching = [asyncio.create_task(balancer.watch()) for balancer in (apis, gateways)]
    caller = Caller(apis.url, 0, users=USERS, name="rolling")
    await caller.prepare()
    async with made.client() as client:
        tokens = [(await client.post(f"/api/users/{user}/token")).json()["token"] for user in caller.users]
    listeners = [Listener(gateways.url, user, token) for user, token in zip(caller.users, tokens, strict=True)]
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(listener.connected.wait() for listener in listeners))
        enough = asyncio.Event()
        sending = asyncio.create_task(keep_sending(caller, enough))
        await replace(made, made.of("api")[0], apis, "PORT")
        await replace(made, made.of("gateway")[0], gateways, "GATEWAY_PORT")
        for worker in made.of("worker"):
            await replace(made, worker)
        await replace(made, made.of("scheduler")[0])
        enough.set()
        await sending
        async with asyncio.timeout(60):
            await asyncio.gather(*(listener.connected.wait() for listener in listeners))
        assert (caller.broken, set(caller.answers)) == ([], {202}), "a call failed"
        assert await balance.check(pool, since, caller, made.vendor, in_flight=set()) == 0
        await caught_up(listeners, caller)
    finally:
        for ended in watching:
            ended.cancel()
        for listener in listeners:
            await listener.stop()
        for part in (*made.of("api"), *made.of("gateway")):  # they have ports of their own: the next test gets new ones
            await part.stop()
    for listener in listeners:
        assert listener.codes[CloseCode.SHUTTING_DOWN] == 1, f"closed with {listener.codes}"
        assert listener.recoveries == [None, True], "the socket was not recovered"
