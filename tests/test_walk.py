"""The walk of one notification, step by step as in docs/walk.md: real PostgreSQL, real sockets, FCM over HTTP/2.

Two parts of the service on one database: first only the API, so that what it leaves behind can be looked at; then
gateway, worker and scheduler, which find it.
"""

from pathlib import Path

import httpx
import msgspec
from websockets.asyncio.client import connect

from tests.conftest import Project, environ, eventually
from tidings import ledger, projects, settings
from tidings.app import App, Role, open_app


async def test_the_walk_of_one_notification(folder: Path) -> None:
    chosen = settings.load(environ(folder))
    async with open_app(chosen, frozenset({Role.API})) as api:
        assert api.new_key is not None
        headers = {"X-API-Key": api.new_key}
        async with httpx.AsyncClient(base_url=api.api_url, headers=headers, timeout=20, trust_env=False) as client:
            await walk(api, Project(projects.DEFAULT_PROJECT_ID, api.new_key, client), chosen)


async def walk(api: App, project: Project, chosen: settings.Settings) -> None:
    user = await project.user(name="Ann", external_id="ann")
    token = "confirming-walk"  # noqa: S105 - this emulated phone confirms what it gets
    device = await project.device(user, token)

    # 1. Decode and validate: a bad one is a problem, and nothing is stored.
    refused = await project.client.post("/api/notifications", json={"user_id": user, "title": "x", "boddy": "typo"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/boddy")
    assert await api.db.fetchval("SELECT count(*) FROM notifications") == 0

    # 2. Accept: notification and task are committed together before the 202.
    answer = await project.client.post(
        "/api/notifications", json={"user_id": user, "title": "Hello", "body": "World", "data": {"n": 1}}
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    notification = answer.json()["id"]
    task = await api.db.fetchrow("SELECT * FROM tasks")
    assert task is not None
    assert (task["subject_ids"], task["kind"], task["fence"]) == ([notification], "deliver", 0)
    assert (await ledger.read(api.db)).lost == []

    # 3. Relay: no worker runs in this process, so the ticket is taken by nobody; the scheduler will bring it again.
    others = frozenset({Role.GATEWAY, Role.WORKER, Role.SCHEDULER})
    async with open_app(settings.load(environ(chosen.data_dir, TIDINGS_PUBLIC_URL=api.api_url)), others) as rest:
        await meet(rest, project, user, device, token, notification)

        # 10. The ledger: all that was accepted is final, and no task is left.
        async def settled() -> ledger.Ledger | None:
            found = await ledger.read(rest.db)
            return found if not found.tasks else None

        found = await eventually(settled)
        assert (found.accepted, found.final, found.in_progress, found.lost) == (2, 2, 0, [])


async def meet(rest: App, project: Project, user: int, device: int, token: str, notification: int) -> None:
    # 4. to 7. Claim, plan, send, judge, record: over HTTP/2 to the emulator. 9. The phone confirms by its receipt.
    shown = await project.until(notification, "delivered")
    (pushed,) = [d for d in shown["deliveries"] if d["channel"] == "push"]
    assert (pushed["device_id"], pushed["status"], pushed["attempts"][0]["outcome"]) == (
        device,
        "delivered",
        "sent",
    )
    assert pushed["emulated"] is True
    assert rest.emulators is not None
    (message,) = rest.emulators.phones.shown(token)
    assert message["request"]["message"]["notification"] == {"title": "Hello", "body": "World"}
    assert message["request"]["message"]["data"]["tidings_id"] == str(notification)

    # 8. What happened beside it is an event.
    events = [row["type"] for row in await rest.db.fetch("SELECT type FROM events ORDER BY id")]
    assert events == ["device.registered"]

    # 9. A client over its WebSocket: gets the frame, acknowledges, marks read.
    minted = (await project.client.post(f"/api/users/{user}/token")).json()["token"]
    async with connect(rest.gateway_url) as socket:
        await socket.send(msgspec.json.encode({"command": "authenticate", "token": minted}).decode())
        welcome = msgspec.json.decode(await socket.recv())
        assert (welcome["event"], welcome["data"]["user_id"]) == ("welcome", user)
        second = await project.send(user, title="Over the socket")
        frame = msgspec.json.decode(await socket.recv())
        assert (frame["event"], frame["data"]["id"], frame["data"]["title"]) == (
            "notification",
            second,
            "Over the socket",
        )
        await socket.send(msgspec.json.encode({"command": "read", "ids": [second]}).decode())

        async def read() -> bool | None:
            return (await project.get(second)).get("read_at") and True

        await eventually(read)
    shown = await project.get(second)
    by_channel = {d["channel"]: d["status"] for d in shown["deliveries"]}
    assert (shown["status"], by_channel["websocket"]) == ("delivered", "delivered")
