"""F24: fifty of five hundred sockets never read. They are closed with the slow code; the others get every frame."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from tests.conftest import eventually
from tests.faults import balance
from tests.faults.caller import Caller
from tests.faults.plant import Part, Plant
from tests.gateway.harness import Raw, raw
from tidings.gateway.protocol import CloseCode

QUICK, SLOW = 450, 50
QUICK_USERS, SLOW_USERS = 45, 5  # ten sockets each
BROADCASTS = 20
LARGE = "x" * 16_000
MOST_LARGE = 600  # notifications for each slow user; far more than the kernel's buffers and the gateway's bound
ROOM_BYTES = 150 << 20  # 1 MiB for each slow socket, and as much again for everything else


async def test_slow_readers_among_quick_ones(made: Plant) -> None:
    caller = Caller(made.api_url, 0, users=QUICK_USERS + SLOW_USERS, name="slow")
    await caller.prepare()
    (gateway,) = made.of("gateway")
    async with made.client() as client, AsyncExitStack() as stack:
        tokens = [(await client.post(f"/api/users/{user}/token")).json()["token"] for user in caller.users]
        quick = [await welcomed(made, stack, tokens[n % QUICK_USERS]) for n in range(QUICK)]
        slow = [await deaf(made, stack, tokens[QUICK_USERS + n % SLOW_USERS]) for n in range(SLOW)]
        assert len(slow) == SLOW
        before = memory(gateway)
        closed_before = await closes(gateway, CloseCode.TOO_SLOW)
        hearing = [asyncio.create_task(broadcasts(socket)) for socket in quick]

        async def all_closed() -> bool | None:
            return True if await closes(gateway, CloseCode.TOO_SLOW) - closed_before >= SLOW else None

        sent, large = 0, 0
        while large < MOST_LARGE and not await all_closed():
            for user in caller.users[QUICK_USERS:]:
                body = {"user_id": user, "title": "large", "body": LARGE}
                assert (await client.post("/api/notifications", json=body)).status_code == 202
            large += 1
            if large % 10 == 0 and sent < BROADCASTS:
                sent += 1
                await announce(client, sent)
        await eventually(all_closed, 60)  # the gateway says why, and cuts five seconds later
        for number in range(sent + 1, BROADCASTS + 1):
            await announce(client, number)
        async with asyncio.timeout(60):
            heard = await asyncio.gather(*hearing)
        assert all(sorted(numbers) == list(range(1, BROADCASTS + 1)) for numbers in heard), "frames are missing"
        grown = memory(gateway) - before
        assert grown < ROOM_BYTES, f"the gateway grew by {grown >> 20} MiB"
        print(f"{large} large frames for each slow user; the gateway grew by {grown >> 20} MiB at most")
    pool = await made.pool()
    await balance.settle(pool)
    await balance.check_conservation(pool)


async def announce(client: httpx.AsyncClient, number: int) -> None:
    """A numbered broadcast."""
    answer = await client.post("/api/broadcasts", json={"title": f"{number}", "body": ""})
    assert answer.status_code == 202, answer.text


async def welcomed(made: Plant, stack: AsyncExitStack, token: str) -> ClientConnection:
    """A socket that is subscribed."""
    opening = connect(made.gateway_url, compression=None, max_queue=None, close_timeout=1, proxy=None)
    socket = await stack.enter_async_context(opening)
    await socket.send(msgspec.json.encode({"command": "authenticate", "token": token}).decode())
    assert msgspec.json.decode(await socket.recv())["event"] == "welcome"
    return socket


async def deaf(made: Plant, stack: AsyncExitStack, token: str) -> Raw:
    """A socket that is subscribed, has a small buffer, and never reads again."""
    client = await stack.enter_async_context(raw(made.gateway_port, small_buffer=True))
    client.say(command="authenticate", token=token)
    _, welcome = await client.hear()
    assert msgspec.json.decode(welcome)["event"] == "welcome"
    return client


async def broadcasts(socket: ClientConnection) -> list[int]:
    """The numbers of all broadcasts, as they came."""
    numbers: list[int] = []
    while len(numbers) < BROADCASTS:
        frame = msgspec.json.decode(await socket.recv())
        if frame["event"] == "broadcast":
            numbers.append(int(frame["data"]["title"]))
    return numbers


def memory(part: Part) -> int:
    """The most memory that the process ever had, in bytes."""
    assert part.process is not None
    lines = Path(f"/proc/{part.process.pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


async def metrics_of(part: Part) -> str:
    """What `/metrics` says."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://127.0.0.1:{part.operations_port}/metrics", timeout=20)).text


async def closes(part: Part, code: CloseCode) -> int:
    """How many sockets it has closed with the code, from its metrics."""
    label = f'tidings_gateway_events_total{{label="{int(code)}",what="closes"}} '
    lines = (await metrics_of(part)).splitlines()
    return sum(int(float(line.removeprefix(label))) for line in lines if line.startswith(label))
