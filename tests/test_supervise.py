"""Several processes of one role: ready when all are, started again when one dies, their metrics added up."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx

from tests.conftest import client_of, environ, eventually, make_project
from tests.faults.service import free_port
from tests.servers import Servers
from tidings.app import App


async def test_two_processes_share_a_port_and_one_that_dies_comes_back(
    app: App, data_dir: Path, servers: Servers
) -> None:
    rabbitmq, redis = await servers.rabbitmq(), await servers.redis()
    port, operations = free_port(), free_port()
    variables = {
        **os.environ,
        **environ(data_dir, TIDINGS_SECRET="s" * 40, TIDINGS_OPERATIONS_PORT=str(operations)),
        "PORT": str(port),
        "DB_HOST": str(data_dir / "run"),
        "DB_NAME": "postgres",
        "DB_USER": "tidings",
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_PORT": str(rabbitmq.port),
        "RABBITMQ_USER": rabbitmq.address.user,
        "RABBITMQ_PASSWORD": rabbitmq.address.password,
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis.port),
    }
    command = (sys.executable, "-m", "tidings", "api", "--processes", "2")
    supervisor = await asyncio.create_subprocess_exec(*command, env=variables)
    base = f"http://127.0.0.1:{operations}"

    async def ready() -> bool | None:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(f"{base}/readyz")).status_code == 200 or None
        except httpx.TransportError:
            return None

    try:
        await eventually(ready, 60)
        _, key = await make_project(app)
        async with httpx.AsyncClient(trust_env=False, headers={"X-API-Key": key}) as client:
            user = (await client.post(f"http://127.0.0.1:{port}/api/users", json={})).json()["id"]
            for _ in range(6):  # each on a connection of its own, so that both processes get some
                async with httpx.AsyncClient(trust_env=False, headers={"X-API-Key": key}) as fresh:
                    body = {"user_id": user, "title": "t"}
                    sent = await fresh.post(f"http://127.0.0.1:{port}/api/notifications", json=body)
                    assert sent.status_code == 202
            text = (await client.get(f"{base}/metrics")).text
            assert "tidings_notifications_accepted_total 6.0" in text
        children = await child_pids(supervisor.pid)
        assert len(children) == 2
        os.kill(children[0], signal.SIGKILL)

        async def replaced() -> bool | None:
            now = await child_pids(supervisor.pid)
            return (len(now) == 2 and children[0] not in now and await ready()) or None

        await eventually(replaced, 60)
        async with client_of(app, key) as client:
            assert (await client.get(f"/api/users/{user}")).status_code == 200
    finally:
        supervisor.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(supervisor.wait(), 60) == 0


async def child_pids(parent: int) -> list[int]:
    """The processes that the supervisor started."""
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in path.read_text().split()]  # noqa: ASYNC240
