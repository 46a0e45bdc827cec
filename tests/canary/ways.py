"""What is done with marked values: good things, bad ones, and things that vendors refuse."""

from typing import Any

import httpx
import msgspec

from tests.canary.stage import FINAL, Stage, content, phone, subscription
from tests.conftest import Project, eventually
from tidings import projects
from tidings.app import App


async def good_ways(stage: Stage, project: Project) -> None:
    """A user with every address; a notification on every channel, one later, one to all."""
    new, client = stage.canaries.new, project.client
    user = await project.user(
        name=new("name"),
        external_id=new("external id"),
        email=new("email", "{}@example.com"),
        phone=phone(stage),
        timezone="Europe/Zurich",
    )
    await project.device(user, new("device token", "good-{}"))
    await project.device(user, new("APNs token", "0123456789abcdef" * 3 + "{}"), "ios")
    await project.device(user, subscription(stage, "browser"), "web")
    key = {"Idempotency-Key": new("idempotency key")}
    more = {"collapse_key": new("collapse key"), "fcm": {"android": {"notification": {"tag": new("override")}}}}
    for _ in range(2):
        await client.post("/api/notifications", json={"user_id": user, "title": "twice"}, headers=key)
        stage.canaries.new("idempotency key")
    for _ in range(2):
        answer = await client.post(
            "/api/users", json={"email": new("email", "{}@example.com")}, headers={"Idempotency-Key": "users"}
        )
        stage.found("idempotent answer", repr(answer.headers))
    for fields in ({}, {"lane": "critical"}, {"channels": "all"}, more):
        sent = await project.send(user, **content(stage), **fields)
        await project.until(sent, *FINAL)
    later = {"user_id": user, **content(stage), "scheduled_time": "2036-04-29T09:00:00Z"}
    assert (await client.post("/api/notifications/schedule", json=later)).status_code == 202
    assert (await client.post("/api/broadcasts", json=content(stage))).status_code == 202
    for path in (f"/api/users/{user}", f"/api/users/{user}/devices", f"/api/notifications/user/{user}"):
        assert (await client.get(path)).status_code == 200
    rules = {"preferences": [{"category": "a", "channel": "email", "enabled": False}]}
    assert (await client.put(f"/api/users/{user}/preferences", json=rules)).status_code == 200


async def bad_bodies(stage: Stage, project: Project) -> None:
    """Good values in bad places, and bad values in good ones: what is refused is not repeated."""
    new, client = stage.canaries.new, project.client
    user = await project.user()
    device = {"device_token": new("device token"), "device_type": "android"}
    note = {"user_id": user, **content(stage)}
    bad_users = [
        {"email": new("email", "no address {}")},
        {"email": new("email", "{}@example.com"), "phone": new("phone", "call {}")},
        {"email": [new("email", "{}@example.com")]},
        {"email": new("email", "{}@example.com"), "timezone": new("name", "{} zone")},
        {"name": new("name") * 20},
        {"email": new("email", "{}\u0000@example.com")},
        {"locale": new("name", "{} locale"), "external_id": new("external id") * 20},
    ]
    bad_devices = [
        {**device, "device_type": new("device token", "phone-{}")},
        {**device, "device_token": new("device token") * 200},
        {**device, "device_token": {"endpoint": new("endpoint", "https://push.example/{}")}},
        *(
            {"device_type": "web", "device_token": msgspec.json.encode(broken).decode()}
            for broken in bad_subscriptions(stage)
        ),
    ]
    bad_notes = [
        {**note, "title": new("title") * 20},
        {**note, "data": new("data")},
        {**note, "data": {new("data"): 10**400}},
        {**note, "scheduled_time": new("title")},
        {**note, "lane": new("title")},
        {**note, "ttl_s": new("title")},
        {**note, "fcm": {"android": {"notification": {"tag": 7, "icon": new("override")}}}},
        {**note, "fcm": {"token": new("device token")}},
        {**note, "fcm": new("override")},
        {**note, "fcm": {"webpush": {"notification": {"dir": new("override")}}}},
        {**note, "apns": {"payload": new("override")}},
        {**note, "webpush": {"topic": new("override", "a {}")}},
        {**note, "channels": new("title")},
        {**note, "category": new("title", "a {}")},
    ]
    for path, bodies in (
        ("/api/users", bad_users),
        (f"/api/users/{user}/devices", bad_devices),
        ("/api/notifications", bad_notes),
    ):
        for body in bodies:
            answer = await client.post(path, json=body)
            assert answer.status_code in (400, 422), (path, answer.text)
            cut = msgspec.json.encode(body)[:-1]
            for bad in (cut, cut + b"\xff", b"[" + cut, cut[1:]):
                assert (await client.post(path, content=bad)).status_code in (400, 422)
    batch = {"notifications": bad_notes}
    stage.found("batch", (await client.post("/api/notifications/batch", json=batch)).content)
    provider = {"provider": "fcm", "name": "mine", "credentials": {"private_key": new("account key")}}
    assert (await client.post("/api/providers", json=provider)).status_code >= 400
    await bad_addresses(stage, project, user)


def bad_subscriptions(stage: Stage) -> list[dict[str, Any]]:
    """Subscriptions with one thing wrong."""
    made: dict[str, Any] = msgspec.json.decode(subscription(stage, "bad"))
    new = stage.canaries.new
    return [
        {**made, "endpoint": new("endpoint", "http://push.example/{}")},
        {**made, "endpoint": new("endpoint", "https://{}.internal/push")},
        {**made, "endpoint": new("endpoint", "https://user:{}@push.example/")},
        {**made, "endpoint": new("endpoint", "not an address {}")},
        {**made, "keys": {**made["keys"], "auth": new("auth", "{}")}},
        {**made, "keys": {**made["keys"], "p256dh": new("p256dh", "{}")}},
        {**made, "keys": {"auth": made["keys"]["auth"]}},
    ]


async def bad_addresses(stage: Stage, project: Project, user: int) -> None:
    """Marked values where only ids, cursors and keys belong, and keys that were used before."""
    new, client = stage.canaries.new, project.client
    for path in (
        f"/api/users/{new('email', '{}@example.com')}",
        f"/api/receipts/{new('receipt')}",
        f"/api/users?cursor={new('email')}",
        f"/api/users?limit={new('email')}",
        f"/api/notifications/{new('title')}",
        f"/{new('email', '{}@example.com')}",
    ):
        for method in ("GET", "POST"):
            assert (await client.request(method, path)).status_code in (400, 404, 405)
    taken = {"external_id": new("external id")}
    assert [(await client.post("/api/users", json=taken)).status_code for _ in range(2)] == [201, 409]
    bad_key = {"Idempotency-Key": new("idempotency key", "{} and a space")}
    assert (await client.post("/api/users", json={}, headers=bad_key)).status_code == 400
    reused = {"Idempotency-Key": new("idempotency key")}
    for body in ({"user_id": user, "title": "a"}, {"user_id": user, **content(stage)}):
        answer = await client.post("/api/notifications", json=body, headers=reused)
    assert answer.status_code == 422
    await stage.heard(await client.patch(f"/api/users/{user}", json={"external_id": taken["external_id"]}))


async def bad_keys(stage: Stage, app: App) -> None:
    """Keys that are unknown, and one without the scope."""
    weak, _ = await projects.create_key(app.db, projects.DEFAULT_PROJECT_ID, "weak", [projects.Scope.SEND])
    stage.canaries.add("weak key", weak[8:])
    for key in (stage.canaries.new("API key", "tk_{}"), stage.environ["TIDINGS_API_KEY"] + "x", weak, "\xe4" + weak):
        headers = {b"X-API-Key": key.encode("latin-1")}
        async with httpx.AsyncClient(base_url=app.api_url, trust_env=False) as client:
            answer = await client.post("/api/users", headers=headers, json={"email": stage.canaries.new("email")})
            assert answer.status_code in (401, 403)
            await stage.heard(answer)


async def vendors_that_repeat(stage: Stage, project: Project) -> None:
    """Vendors that refuse, break, or put all they were told into their refusals: address, keys and content.

    One after the other, and last those refusals that let an account rest.
    """
    new = stage.canaries.new
    words = ("unregistered", "invalid-token", "sender-id-mismatch", "html-502", "garbage", "drop", "reset")
    refused = [(new("device token", f"{word}-{{}}"), "android") for word in words]
    for status in (400, 404, 500, 403):
        token = new("device token", "echo-{}")
        apns = new("APNs token", "ec40" * 12 + "{}")
        web = subscription(stage, "echo")
        endpoint = msgspec.json.decode(web)["endpoint"].rsplit("/", 1)[-1]
        stage.vendor.echoes.update({token: status, apns: status, endpoint: status})
        if status != 404:  # by which FCM says that the account is wrong
            refused.append((token, "android"))
        refused += [(apns, "ios"), (web, "web")]
    for token, kind in refused:
        user = await project.user(email=new("email", "{}@example.com"), phone=phone(stage))
        await project.device(user, token, kind)
        sent = await project.send(user, **content(stage))

        async def attempted(notification: int = sent) -> list[Any] | None:
            pushed = [d for d in (await project.get(notification))["deliveries"] if d["channel"] == "push"]
            return pushed if pushed and all(delivery["attempts"] for delivery in pushed) else None

        deliveries = await eventually(attempted)
        presented(stage)
        stage.found("delivery", msgspec.json.encode(deliveries))


def presented(stage: Stage) -> None:
    """What the vendor was shown is looked for, too: such as `bearer …`, `vapid t=…, k=…`."""
    for shown in stage.vendor.presented:
        if shown:
            stage.canaries.add("access token", shown.split(",")[0][-40:])
