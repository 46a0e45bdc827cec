"""Dead letters: listed with their reason, and sent again without repeating what succeeded."""

from tests.conftest import Project, eventually
from tidings.app import App


async def failed(project: Project, token: str) -> tuple[int, int]:
    """A notification that failed, and the device that refused it."""
    user = await project.user()
    device = await project.device(user, token)
    notification = await project.send(user)
    await project.until(notification, "failed")
    return notification, device


async def test_listed_with_reason_and_attempts_newest_first(project: Project, other: Project) -> None:
    first, _ = await failed(project, f"unregistered-{project.id}-dead")
    second, _ = await failed(project, f"sender-id-mismatch-{project.id}")
    listed = (await project.client.get("/api/dead-letters")).json()
    assert [letter["notification_id"] for letter in listed] == [second, first]
    assert (listed[0]["reason"], listed[0]["attempts"], listed[0]["channel"]) == (
        "sender_mismatch",
        1,
        "push",
    )
    only = (await project.client.get("/api/dead-letters", params={"reason": "sender_mismatch"})).json()
    assert [letter["notification_id"] for letter in only] == [second]
    page = await project.client.get("/api/dead-letters", params={"limit": 1})
    after = await project.client.get(page.links["next"]["url"])
    assert [letter["notification_id"] for letter in after.json()] == [first]
    assert (await other.client.get("/api/dead-letters")).json() == []


async def test_redriven_it_is_attempted_again_and_the_count_goes_on(app: App, project: Project) -> None:
    user = await project.user()
    device = await project.device(user, f"sender-id-mismatch-{project.id}")
    good = await project.device(user, f"good-{project.id}")
    notification = await project.send(user)
    shown = await project.until(notification, "sent")
    assert {d["device_id"]: d["status"] for d in shown["deliveries"] if d["device_id"]} == {
        device: "failed",
        good: "sent",
    }
    await project.device(user, f"sender-id-mismatch-{project.id}")  # the phone registers again, so it is enabled
    answer = await project.client.post("/api/dead-letters/redrive", json={"notification_ids": [notification]})
    assert (answer.status_code, answer.json()) == (202, {"deliveries": 1, "notifications": 1})

    async def failed_twice() -> bool | None:
        (delivery,) = [d for d in (await project.get(notification))["deliveries"] if d["device_id"] == device]
        return (len(delivery["attempts"]) == 2 and delivery["status"] == "failed") or None

    await eventually(failed_twice)
    found = await project.get(notification)
    by_device = {d["device_id"]: d for d in found["deliveries"]}
    assert [a["number"] for a in by_device[device]["attempts"]] == [1, 2]
    assert len(by_device[good]["attempts"]) == 1, "what was sent is never repeated"
    assert found["status"] == "sent"
    assert app.emulators is not None
    assert len(app.emulators.phones.messages(f"good-{project.id}")) == 1


async def redriven(app: App, notification: int) -> set[tuple[str, int]]:
    """Channel and device of its deliveries that were ever redriven."""
    query = "SELECT channel, device_id FROM deliveries WHERE notification_id = $1 AND attempts_allowed IS NOT NULL"
    return {(row["channel"], row["device_id"]) for row in await app.db.fetch(query, notification)}


async def test_a_redrive_of_one_channel_or_one_device_leaves_the_others_as_they_are(app: App, project: Project) -> None:
    user = await project.user(email=f"spam-{project.id}@example.org")
    phones = [await project.device(user, f"sender-id-mismatch-{project.id}-{n}") for n in range(2)]
    notification = await project.send(user, channels=["push", "email"])
    await project.until(notification, "failed")
    for wanted, expected in (
        ({"channel": "sms"}, set()),
        ({"channel": "email"}, {("email", 0)}),
        ({"device_id": phones[1]}, {("email", 0), ("push", phones[1])}),
        ({"channel": "email", "device_id": phones[0]}, {("email", 0), ("push", phones[1])}),
        ({"channel": "push", "device_id": phones[0]}, {("email", 0), ("push", phones[1]), ("push", phones[0])}),
    ):
        before = await redriven(app, notification)
        answer = await project.client.post("/api/dead-letters/redrive", json=wanted)
        new = len(expected - before)
        assert (answer.status_code, answer.json()) == (202, {"deliveries": new, "notifications": min(new, 1)}), wanted
        assert await redriven(app, notification) == expected


async def test_a_redrive_of_what_failed_since_a_time_leaves_what_failed_before(app: App, project: Project) -> None:
    earlier, _ = await failed(project, f"sender-id-mismatch-{project.id}-earlier")
    since = (await app.db.fetchval("SELECT clock_timestamp()")).isoformat()
    later, phone = await failed(project, f"sender-id-mismatch-{project.id}-later")
    answer = await project.client.post("/api/dead-letters/redrive", json={"since": since})
    assert answer.json() == {"deliveries": 1, "notifications": 1}
    assert (await redriven(app, earlier), await redriven(app, later)) == (set(), {("push", phone)})


async def test_a_redrive_must_say_what(project: Project) -> None:
    answer = await project.client.post("/api/dead-letters/redrive", json={})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_body")
    assert (await project.client.post("/api/dead-letters/redrive", json={"all": True})).json() == {
        "deliveries": 0,
        "notifications": 0,
    }
