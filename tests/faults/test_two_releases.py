"""Two releases side by side: the newer one migrates in mid-flow; the older one goes on, and starts again after it."""

import asyncio

import httpx
import pytest

from tests import next_release
from tests.api.serving import tidings
from tests.conftest import eventually
from tests.faults import balance
from tests.faults.caller import Caller, meanwhile
from tests.faults.plant import plant
from tests.faults.service import KEY, free_port
from tests.servers import Servers
from tidings import migrate

COUNT = 1500
STEP = "SELECT version_num FROM alembic_version"


@pytest.mark.faults
async def test_the_newer_one_migrates_while_both_work(servers: Servers) -> None:
    async with plant(servers, "api", "scheduler", "worker", "gateway") as made:
        old_api, old_port, new_port = made.of("api")[0], made.api_port, free_port()
        newer = next_release.make(made.folder / "next")
        pool = await made.pool()
        since = await balance.mark(pool, made.vendor)
        turns = {"next": 0}
        ports = [old_port]

        def any_api() -> str:
            turns["next"] += 1
            return f"http://127.0.0.1:{ports[turns['next'] % len(ports)]}"

        caller = Caller(any_api, COUNT, name="releases")
        await caller.prepare()
        sending = asyncio.create_task(caller.insist(8, pause_s=0.02))
        await meanwhile(sending, lambda: len(caller.ids) > COUNT // 10)
        assert await pool.fetchval(STEP) == migrate.head()
        await made.add("api", PORT=str(new_port), **newer)  # migrates
        assert await pool.fetchval(STEP) == next_release.STEP
        ports.append(new_port)
        await made.add("worker", **newer)
        told = len(caller.ids)
        await meanwhile(sending, lambda: len(caller.ids) > told + 100)

        await asyncio.gather(*(part.kill() for part in (old_api, made.of("worker")[0], made.of("gateway")[0])))
        ports.remove(old_port)
        for role in ("api", "worker", "gateway", "scheduler"):  # the older release: back after a crash, and one more
            await made.add(role)
        ports.append(old_port)
        await sending
        assert not set(caller.answers) - {202, 503}
        in_flight = set(caller.ids.values())  # of the workers that were killed; test_worker_kills.py is exact about it
        await balance.check(pool, since, caller, made.vendor, in_flight)

        async with httpx.AsyncClient(headers={"X-API-Key": KEY}, trust_env=False, timeout=30) as client:
            for port in ports:
                sent = await client.post(
                    f"http://127.0.0.1:{port}/api/notifications", json={"user_id": caller.users[0], "title": "t"}
                )
                assert sent.status_code == 202, sent.text
                url = f"http://127.0.0.1:{new_port + old_port - port}/api/notifications/{sent.json()['id']}"

                async def delivered(url: str = url) -> bool | None:
                    return (await client.get(url)).json()["status"] == "sent" or None

                await eventually(delivered, 60)
        for command in (("ledger",), ("keys", "list")):
            ended = await tidings(*command, env=made.environment())
            assert (ended.code, "Traceback" in ended.err) == (0, False), ended
        late = [part for role in ("api", "worker", "gateway", "scheduler") for part in made.of(role)[-1:]]
        assert [part.name for part in late if part.log.count("schema_is_newer") != 1] == []
