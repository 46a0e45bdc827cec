"""Each kind of token goes its own way: FCM, APNs or Web Push, through the real worker to the emulators."""

from typing import Any

import msgspec

from tests.conftest import Project
from tidings.app import App
from tidings.worker.plan import Address


def test_the_form_of_a_token_tells_whose_it_is() -> None:
    ways = {
        ("android", "fcm-token"): "fcm",
        ("ios", "ab" * 32): "apns",
        ("ios", "dXNlci1pbnN0YW5jZQ:APA91b"): "fcm",
        ("web", '{"endpoint": "https://…"}'): "webpush",
        ("web", "dXNlci1pbnN0YW5jZQ:APA91b"): "fcm",
    }
    assert {pair: Address("push", 1, *pair).via for pair in ways} == ways
    assert Address("websocket", 0).via == "websocket"


async def sent(project: Project, token: str, kind: str) -> dict[str, Any]:
    user = await project.user()
    device = await project.device(user, token, kind)
    shown = await project.until(await project.send(user, data={"n": 1}), "sent", "delivered", "failed")
    (found,) = [d for d in shown["deliveries"] if d["device_id"] == device]
    assert isinstance(found, dict)
    return found


async def test_an_iphone_gets_it_by_apns(app: App, project: Project) -> None:
    token = f"{project.id:064x}"
    delivery = await sent(project, token, "ios")
    assert (delivery["provider"], delivery["status"], delivery["emulated"]) == ("apns", "sent", True)
    assert app.emulators is not None
    (message,) = app.emulators.phones.shown(token)
    assert message["request"]["aps"]["alert"]["title"] == "Hello"


async def test_a_browser_gets_it_by_web_push(app: App, project: Project) -> None:
    public_key = (await project.client.get("/client/vapid-public-key")).json()["public_key"]
    assert app.emulators is not None
    subscription = app.emulators.webpush.subscribe(f"browser-{project.id}", public_key)
    delivery = await sent(project, msgspec.json.encode(subscription).decode(), "web")
    assert (delivery["provider"], delivery["status"], delivery["emulated"]) == ("webpush", "sent", True)
    browser = app.emulators.webpush.browsers.get(f"browser-{project.id}")
    assert browser is not None
    (received,) = browser.received
    assert b"Hello" in msgspec.json.encode(received)


async def test_a_subscription_that_leads_inside_is_refused(project: Project) -> None:
    user = await project.user()
    token = '{"endpoint": "https://10.0.0.1/push/1", "keys": {"p256dh": "x", "auth": "y"}}'  # noqa: S105
    answer = await project.client.post(f"/api/users/{user}/devices", json={"device_token": token, "device_type": "web"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/device_token")


async def test_one_browser_is_one_device_however_its_json_is_spelled(app: App, project: Project) -> None:
    assert app.emulators is not None
    subscription = app.emulators.webpush.subscribe(f"spelled-{project.id}")
    user = await project.user()
    first = await project.device(user, msgspec.json.encode(subscription).decode(), "web")
    spelled = msgspec.json.format(msgspec.json.encode(dict(reversed(subscription.items()))), indent=4).decode()
    assert await project.device(user, spelled, "web") == first
