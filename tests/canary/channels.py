"""Email, text messages and chat with marked values, to vendors that take them, and to vendors that repeat them."""

from typing import Any

import msgspec

from tests.canary.relay import QUOTES
from tests.canary.stage import Stage, content, phone
from tests.canary.ways import presented
from tests.conftest import Project, eventually
from tidings import signing
from tidings.app import App

DIRECT = ("email", "sms", "chat")


def chat_url(stage: Stage, room: str = "room") -> str:
    """A chat room behind a password."""
    new = stage.canaries.new
    return f"jsons://canary:{new('chat URL')}@{stage.vendor.url.rpartition('/')[2]}/chats/{room}-{new('chat URL')}"


def parts(stage: Stage) -> dict[str, Any]:
    """The parts that are a channel's own, all of it marked."""
    new = stage.canaries.new
    return {
        "email": {
            "subject": new("override"),
            "text": f"{new('override')}\n{new('override')}",
            "html": f"<p>{new('override')}</p>",
            "from_name": new("override"),
            "reply_to": new("override", "{}@example.com"),
            "headers": {"X-Own": new("override")},
        },
        "sms": {"body": new("override")},
        "chat": {"format": "markdown"},
    }


def tokens(stage: Stage, app: App, project: Project, user: int, notification: int) -> None:
    """What is signed for a notification, and lets whoever has it confirm it or unsubscribe the user."""
    services = app.services
    for channel in ("push", *DIRECT):
        for device in (0, *range(1, 3)):
            signed = signing.sign_receipt(services.receipt_key, project.id, notification, channel, device)
            stage.canaries.add("reference", signed.rpartition(".")[2])
    link = signing.sign_unsubscribe(services.unsubscribe_key, project.id, user, "*")
    stage.canaries.add("unsubscribe link", next(part for part in link.split(".") if len(part) > 20))


async def good_channels(stage: Stage, app: App, project: Project) -> None:
    """One notification on each of them, with parts of its own and without; then the reader unsubscribes."""
    new, client = stage.canaries.new, project.client
    email = new("email", "named-{}@example.com")
    user = await project.user(email=email, phone=phone(stage), chat_url=chat_url(stage))
    for channel in DIRECT:
        for own in ({}, parts(stage)):
            sent = await project.send(user, channels=[channel], **content(stage), **own)
            tokens(stage, app, project, user, sent)
            # What a vendor reports about a text message comes back, and is believed.
            await project.until(sent, "delivered" if channel == "sms" else "sent")
    assert (await client.patch(f"/api/users/{user}", json={"chat_url": chat_url(stage)})).status_code == 200
    [mail, *_] = stage.vendor.emulators.smtp.smtp.mailboxes.mails(email)
    link = mail.raw.partition(b"List-Unsubscribe: <")[2].partition(b">")[0].decode()
    forged = link[:-24] + new("unsubscribe link", "{}wrong") + link[-1]
    for at, known in ((link, True), (forged, False)):
        for method in ("GET", "POST"):
            answer = await client.request(method, at)
            assert answer.status_code == (200 if known else 404)
            stage.found("unsubscribe page's headers", repr(answer.headers.multi_items()))
    await suppressions(stage, project)


async def suppressions(stage: Stage, project: Project) -> None:
    """Addresses that are suppressed by hand, and what is no address; preferences that are none."""
    new, client = stage.canaries.new, project.client
    email, note = new("email", "{}@example.com"), new("note")
    answer = await client.post("/api/suppressions", json={"address": email, "detail": note})
    assert answer.status_code == 201
    user = await project.user(email=email)
    shown = await project.until(await project.send(user, channels=["email"], **content(stage)), "suppressed")
    assert [delivery["reason"] for delivery in shown["deliveries"]] == ["manual"]
    bad = [
        {"address": new("email", "no address {}")},
        {"address": new("email", "{}@example.com"), "detail": new("note") * 20},
        {"address": new("email", "{}@example.com"), "detail": [new("note")]},
    ]
    for body in bad:
        assert (await client.post("/api/suppressions", json=body)).status_code in (400, 422)
    for path in (f"email/{new('email', '{}@example.com')}", f"chat/{new('email')}", f"?cursor={new('email')}"):
        assert (await client.delete(f"/api/suppressions/{path}")).status_code in (400, 404, 405)
    rules = [
        {"category": new("title", "a {}"), "channel": "email", "enabled": False},
        {"category": "a", "channel": new("title"), "enabled": False},
        {"category": "a", "channel": "sms", "enabled": new("title")},
    ]
    for rule in rules:
        assert (await client.put(f"/api/users/{user}/preferences", json={"preferences": [rule]})).status_code == 422
    hours = {"preferences": [], "quiet_hours": {"from": new("title"), "until": "07:00"}}
    assert (await client.put(f"/api/users/{user}/preferences", json=hours)).status_code == 422
    await bad_chat_urls(stage, project)


async def bad_chat_urls(stage: Stage, project: Project) -> None:
    """Chat URLs that lead nowhere, or where they must not."""
    new, client = stage.canaries.new, project.client
    user = await project.user()
    for url in (
        new("chat URL", "slack://{}"),
        new("chat URL", "nothing://{}"),
        new("chat URL", "jsons://user:{}@10.0.0.1/"),
        new("chat URL", "jsons://{}.internal/?method=X"),
        new("chat URL", "no URL {}"),
        new("chat URL", "discord://{}"),
        new("chat URL", "mailto://{}:secret@example.com"),
    ):
        assert (await client.patch(f"/api/users/{user}", json={"chat_url": url})).status_code in (400, 422), url
        assert (await client.post("/api/users", json={"chat_url": url})).status_code in (400, 422)


async def channels_that_repeat(stage: Stage, app: App, project: Project) -> None:
    """Vendors that quote in their refusals what they were told; last those refusals that let an account rest."""
    new, echoes = stage.canaries.new, stage.vendor.echoes
    users: list[tuple[str, dict[str, Any]]] = []
    for word in QUOTES:
        for form in ("plain-", "wrapped-", ""):
            users.append(("email", {"email": new("email", f"quote-{word}-{form}{{}}@example.com")}))
    for status in (400, 404, 500, 403):
        if status not in (404, 403):  # by which Twilio says that the account is wrong
            number = phone(stage)
            echoes[number[1:]] = status
            users.append(("sms", {"phone": number}))
        url = chat_url(stage, "echo")
        echoes[url.rpartition("/")[2]] = status
        users.append(("chat", {"chat_url": url}))
    number = phone(stage)
    echoes[number[1:]] = 403
    last = [("sms", {"phone": number})]
    for channel, fields in users + last:
        user = await project.user(**fields)
        for own in ({}, parts(stage)) if (channel, fields) not in last else ({},):
            sent = await project.send(user, channels=[channel], **content(stage), **own)
            tokens(stage, app, project, user, sent)
            await attempted(stage, project, sent)


async def attempted(stage: Stage, project: Project, notification: int) -> None:
    """Wait for the vendor's refusal, and search what is told of it."""

    async def told() -> list[Any] | None:
        deliveries: list[Any] = (await project.get(notification))["deliveries"]
        return deliveries if deliveries and all(delivery["attempts"] for delivery in deliveries) else None

    deliveries = await eventually(told)
    assert all(attempt["detail"] for delivery in deliveries for attempt in delivery["attempts"])
    presented(stage)
    stage.found("delivery", msgspec.json.encode(deliveries))
