"""Each role by itself: a notification goes the whole way over PostgreSQL, RabbitMQ and Redis."""

import msgspec
from websockets.asyncio.client import connect

from tests.conftest import eventually
from tests.faults.plant import plant
from tests.servers import Servers
from tidings import ledger


async def test_every_role_a_process_of_its_own(servers: Servers) -> None:
    async with plant(servers) as made:
        for role in ("api", "scheduler", "worker", "worker", "gateway"):
            await made.add(role)
        pool = await made.connect()
        async with made.client() as client:
            user = (await client.post("/api/users", json={"name": "Ann"})).json()["id"]
            phone = {"device_token": "confirming-distributed", "device_type": "android"}
            await client.post(f"/api/users/{user}/devices", json=phone)
            token = (await client.post(f"/api/users/{user}/token")).json()["token"]
            async with connect(made.gateway_url) as socket:
                await socket.send(msgspec.json.encode({"command": "authenticate", "token": token}).decode())
                assert msgspec.json.decode(await socket.recv())["event"] == "welcome"
                assert (await client.get(f"/api/users/{user}/presence")).json()["online"] is True
                sent = await client.post("/api/notifications", json={"user_id": user, "title": "Hello"})
                notification = sent.json()["id"]
                frame = msgspec.json.decode(await socket.recv())
                assert (frame["event"], frame["data"]["id"]) == ("notification", notification)
                await socket.send(msgspec.json.encode({"command": "acknowledge", "ids": [notification]}).decode())

                async def delivered_on_both() -> bool | None:
                    shown = (await client.get(f"/api/notifications/{notification}")).json()
                    found = {(d["channel"], d["status"]) for d in shown["deliveries"]}
                    return found == {("push", "delivered"), ("websocket", "delivered")} or None

                await eventually(delivered_on_both)
            health = (await client.get("/api/healthcheck")).json()
            assert health["dependencies"] == {"database": "ok", "queue": "ok", "bus": "ok"}
        assert (await ledger.read(pool)).lost == []
        await pool.close()
        for part in made.parts.values():
            assert await part.stop() == 0, part.log
