"""What deploy/compose.yaml describes, run as plain processes: it comes up healthy, delivers, and stops cleanly."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct

from tests.conftest import eventually
from tests.deploy.checkout import Checkout, checkout
from tests.deploy.containers import Broker, Containers, Store, prepare_database
from tests.processes import free_port
from tests.servers import Servers
from tidings import embedded

__all__ = ["checkout"]

TOKEN = "compose-phone"  # noqa: S105 - of a device


class Running(Struct, frozen=True):
    """Everything is up. `phones_url`: the emulators."""

    containers: Containers
    services: dict[str, Any]
    api_url: str
    phones_url: str
    key: str


@pytest.fixture(scope="module")
async def running(checkout: Checkout, servers: Servers) -> AsyncIterator[Running]:
    """All services of the file, with the .env that `make env` writes; the worker in two processes."""
    api, gateway, plain, tls = (str(free_port()) for _ in range(4))
    services = checkout.config(PORT=api, GATEWAY_PORT=gateway, API_PROCESSES="2")["services"]
    folder = Path(tempfile.mkdtemp(prefix="tidings-compose-"))
    folder.chmod(0o711)  # noqa: ASYNC240 - once
    database = embedded.start(folder / "database")
    broker = Broker(Path((await servers.rabbitmq()).command()[0]).parent, services["rabbitmq"])
    store = Store(Path((await servers.redis()).command()[0]), services["redis"])
    rename = {
        "--host 0.0.0.0 --name emulators": "--host 127.0.0.1",
        "0.0.0.0": "127.0.0.1",
        "rabbitmq": "127.0.0.1",
        "redis-cli": f"redis-cli -p {store.port}",
        "redis": "127.0.0.1",
        "postgres": str(database.socket_dir),
        "5672": str(broker.port),
        "6379": str(store.port),
        "3002": plain,
        "3443": tls,
    }
    containers = Containers(services, folder, rename)
    try:
        await prepare_database(database, services["postgres"])
        await broker.start()
        await store.start()
        await containers.up()
        key = checkout.env()["TIDINGS_API_KEY"]
        yield Running(containers, services, f"http://127.0.0.1:{api}", f"http://127.0.0.1:{plain}", key)
    finally:
        await containers.down()
        await store.remove()
        await broker.remove()
        await database.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", ["api", "gateway", "worker", "scheduler", "emulators", "rabbitmq", "redis"])
async def test_the_health_check_passes(running: Running, name: str) -> None:
    status, said = await running.containers.check(name)
    assert status == 0, said


async def test_a_notification_reaches_an_emulated_phone(running: Running) -> None:
    async with (
        httpx.AsyncClient(base_url=running.api_url, headers={"X-API-Key": running.key}, trust_env=False) as api,
        httpx.AsyncClient(base_url=running.phones_url, trust_env=False) as phones,
    ):
        user = (await api.post("/api/users", json={"name": "Ann"})).json()["id"]
        device = {"device_token": TOKEN, "device_type": "android"}
        assert (await api.post(f"/api/users/{user}/devices", json=device)).status_code == 201
        sent = await api.post("/api/notifications", json={"user_id": user, "title": "Hello"})
        assert sent.status_code == 202, sent.text

        async def received() -> list[Any] | None:
            found: list[Any] = (await phones.get(f"/phones/{TOKEN}/messages")).json()["messages"]
            return found or None

        async def recorded() -> bool | None:
            shown = (await api.get(f"/api/notifications/{sent.json()['id']}")).json()
            return shown["status"] == "sent" or None

        (message,) = await eventually(received)
        assert message["request"]["message"]["notification"]["title"] == "Hello"
        assert await eventually(recorded)


async def test_stopped_everything_ends_by_itself(running: Running) -> None:
    """The last test of this file: nothing runs after it. Status 0, so nothing had to be killed."""
    codes = await running.containers.down()
    assert set(codes) == {"api", "gateway", "worker", "scheduler", "emulators"}
    assert {name: code for name, code in codes.items() if code != 0} == {}
    status, said = await running.containers.check("api")
    assert status == 1
    assert "no answer" in said
