"""A service that is told to stop: it is alive and not ready until the last call that is under way has ended."""

import asyncio
from pathlib import Path

import httpx

from tests.conftest import environ, eventually
from tests.faults.service import free_port
from tidings import settings
from tidings.app import ALL, App, run

KEY = "draining-test-key-0123456789-0123456789"


async def test_the_operations_port_answers_until_the_end(folder: Path) -> None:
    operations = f"http://127.0.0.1:{(port := free_port())}"
    chosen = settings.load(environ(folder, TIDINGS_OPERATIONS_PORT=str(port), TIDINGS_API_KEY=KEY))
    apps: list[App] = []
    stopped = asyncio.Event()

    async def ready(app: App) -> None:
        apps.append(app)

    running = asyncio.create_task(run(chosen, ALL, ready, stopped))

    async def up() -> App | None:
        if running.done():
            running.result()
        return apps[0] if apps else None

    app = await eventually(up, 60)
    async with httpx.AsyncClient(headers={"X-API-Key": KEY}, timeout=20, trust_env=False) as client:
        assert (await client.get(f"{operations}/readyz")).json()["status"] == "ok"
        user = (await client.post(f"{app.api_url}/api/users", json={})).json()["id"]
        phone = {"device_token": "latency-6000", "device_type": "android"}  # for so long there is something to wait for
        await client.post(f"{app.api_url}/api/users/{user}/devices", json=phone)
        sent = await client.post(f"{app.api_url}/api/notifications", json={"user_id": user, "title": "t"})

        async def under_way() -> bool | None:
            shown = await client.get(f"{app.api_url}/api/notifications/{sent.json()['id']}")
            return shown.json()["status"] == "sending" or None

        await eventually(under_way)
        stopped.set()

        async def refused() -> bool | None:
            try:
                await client.get(f"{app.api_url}/api/healthcheck")
            except httpx.TransportError:
                return True
            return None

        await eventually(refused)
        assert not running.done()
        assert (await client.get(f"{operations}/livez")).status_code == 200
        readiness = await client.get(f"{operations}/readyz")
        assert (readiness.status_code, readiness.json()["status"]) == (503, "draining")
        assert "tidings_notifications_accepted_total" in (await client.get(f"{operations}/metrics")).text
    await running
