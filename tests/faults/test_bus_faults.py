"""F10: Redis is killed and comes back empty, or is emptied. Sockets recover or are told; deliveries go on."""

import asyncio

import pytest

from tests.conftest import eventually
from tests.faults import balance
from tests.faults.caller import Caller, meanwhile
from tests.faults.listener import Listener, holes
from tests.faults.plant import Plant

COUNT = 1500
USERS = 20


@pytest.mark.parametrize("emptied", [False, pytest.param(True, marks=pytest.mark.faults)], ids=["killed", "flushed"])
async def test_the_bus_loses_everything(made: Plant, emptied: bool) -> None:
    pool = await made.pool()
    since = await balance.mark(pool, made.vendor)
    caller = Caller(made.api_url, COUNT, users=USERS, name=f"bus-{emptied}")
    await caller.prepare()
    async with made.client() as client:
        tokens = [(await client.post(f"/api/users/{user}/token")).json()["token"] for user in caller.users]
    listeners = [
        Listener(lambda: made.gateway_url, user, token) for user, token in zip(caller.users, tokens, strict=True)
    ]
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(listener.connected.wait() for listener in listeners))
        sending = asyncio.create_task(caller.insist(4, pause_s=0.02))
        await meanwhile(sending, lambda: len(caller.ids) >= COUNT // 5)
        if emptied:
            await empty(made)
        else:
            await made.redis.kill()
            await meanwhile(sending, lambda: len(caller.ids) >= 2 * COUNT // 5)
            await made.redis.start()
        await sending
        assert caller.answers == {202: COUNT}, "the API accepted all the time"
        await balance.check(pool, since, caller, made.vendor, in_flight=set())
        await all_online(made, caller.users)
        await still_connected(made, caller, listeners)
    finally:
        for listener in listeners:
            await listener.stop()
    for number, listener in enumerate(listeners):
        sent = {i for n, i in caller.ids.items() if n % USERS == number}
        assert not holes(listener, sent), f"{listener.recoveries}: frames are missing, and nobody said so"
        assert len(listener.ids) == len(set(listener.ids)), "a notification came twice"


async def empty(made: Plant) -> None:
    """FLUSHALL, in plain words over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", made.redis.port)
    try:
        writer.write(b"FLUSHALL\r\n")
        async with asyncio.timeout(10):
            assert await reader.readline() == b"+OK\r\n"
    finally:
        writer.close()


async def all_online(made: Plant, users: list[int]) -> None:
    """Presence is known again, for each of them."""
    async with made.client() as client:
        for user in users:

            async def online(user: int = user) -> bool | None:
                answer = await client.get(f"/api/users/{user}/presence")
                return True if answer.status_code == 200 and answer.json()["online"] else None

            await eventually(online, 60)


async def still_connected(made: Plant, caller: Caller, listeners: list[Listener]) -> None:
    """A notification that is sent now comes to everyone: no socket is deaf."""
    async with made.client() as client:
        for listener in listeners:
            body = {"user_id": listener.user, "title": "still there?"}
            notification = (await client.post("/api/notifications", json=body)).json()["id"]

            async def heard(listener: Listener = listener, notification: int = notification) -> bool | None:
                return True if notification in listener.ids else None

            await eventually(heard, 60)
