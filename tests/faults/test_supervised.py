"""Several processes of a role under one supervisor: what `/readyz` says of them, and that an outage ends none."""

import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.conftest import eventually
from tests.faults.plant import Part, plant
from tests.servers import Servers
from tests.test_supervise import child_pids
from tidings.supervise import FIRST_WAIT_S, LONGEST_WAIT_S

WELL = {"process_0": "ok", "process_1": "ok", "database": "ok"}


async def said(part: Part, status: int, **dependencies: str) -> dict[str, Any]:
    """Wait until `/readyz` has this status and says this; all that it says then."""

    async def check() -> dict[str, Any] | None:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            answer = await client.get(f"http://127.0.0.1:{part.operations_port}/readyz")
        found: dict[str, Any] = answer.json()["dependencies"]
        return found if answer.status_code == status and dependencies.items() <= found.items() else None

    return await eventually(check, 90)


@asynccontextmanager
async def frozen(pids: Sequence[int]) -> AsyncIterator[None]:
    """These processes stand still within."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def children(part: Part) -> list[int]:
    assert part.process is not None
    return await child_pids(part.process.pid)


async def test_readiness_names_what_is_away(servers: Servers) -> None:
    async with plant(servers) as made:
        worker = made.make("worker", 2)
        await worker.start()
        well = {**WELL, "queue": "ok"}
        assert await said(worker, 200) == well
        await made.rabbitmq.kill()
        assert await said(worker, 503, queue="away") == {**well, "queue": "away"}
        await made.rabbitmq.start()
        assert await said(worker, 200) == well

        assert made.database.process is not None
        server = made.database.process.pid
        async with frozen([server, *await child_pids(server)]):
            assert await said(worker, 503, database="TimeoutError")
        assert await said(worker, 200) == well

        async with frozen((await children(worker))[:1]):
            states = await said(worker, 503)
            assert sorted(states.values()) == ["ok", "ok", "ok", "silent"], states
        assert await said(worker, 200) == well
        assert await worker.stop() == 0


async def test_a_child_that_dies_in_an_outage_ends_nobody(servers: Servers) -> None:
    async with plant(servers) as made:
        gateway = made.make("gateway", 2)
        await gateway.start()
        one, other = await children(gateway)
        await made.kill_database()
        os.kill(one, signal.SIGKILL)

        async def tried_again() -> bool | None:
            return True if gateway.log.count('"code": 2') >= 3 else None

        await eventually(tried_again, 90)
        assert other in await children(gateway)
        states = await said(gateway, 503)
        assert sorted(states)[1:] == ["process_0", "process_1"] and states["database"] != "ok"
        assert "down" in states.values()
        await made.start_database()
        assert await said(gateway, 200) == WELL
        assert other in await children(gateway), "the sibling was there all the time"
        assert await gateway.stop() == 0
        waits = waits_of(gateway)
        assert waits[0] == FIRST_WAIT_S and max(waits) <= LONGEST_WAIT_S
        assert waits == sorted(waits) and len(set(waits)) > 2, "each wait is longer than the one before"


def waits_of(part: Part) -> list[float]:
    """How long each restart waited."""
    return [float(found) for found in re.findall(r'"again_in_s": ([0-9.]+)', part.log)]


async def test_a_role_that_never_came_up_ends_with_the_sentence(servers: Servers) -> None:
    async with plant(servers) as made:
        part = made.make("scheduler", 2, DB_NAME="nowhere")
        await part.spawn()
        assert part.process is not None
        assert await part.process.wait() == 2
        assert '"nowhere" does not exist' in part.log
        assert "process_died" not in part.log
