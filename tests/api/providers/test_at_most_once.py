"""A project's own account may send at most once, or not, whatever the installation does over its channel."""

from typing import Any

from tests.api.providers.calls import PATH, add, emulated, webpush
from tests.conftest import Project, eventually
from tidings.app import App
from tidings.emulators import Emulators

LOST_NUMBER = "+15005561002"  # taken, then the connection is cut


async def test_it_is_shown_kept_and_taken_back(project: Project) -> None:
    made = await add(project, webpush())
    one = f"{PATH}/{made['id']}"
    assert made["at_most_once"] is None
    steps: list[tuple[dict[str, Any], bool | None]] = [
        ({"at_most_once": True}, True),
        ({"priority": 3}, True),
        ({"limits": {"most_at_once": 3}}, True),
        ({"at_most_once": False}, False),
        ({"at_most_once": None}, None),
    ]
    for body, shown in steps:
        answer = await project.client.patch(one, json=body)
        assert (answer.status_code, answer.json()["at_most_once"]) == (200, shown), body
        assert (await project.client.get(one)).json()["at_most_once"] is shown
    assert answer.json()["limits"]["most_at_once"] == 3
    assert (await add(project, webpush("another", at_most_once=False)))["at_most_once"] is False
    bad = await project.client.patch(one, json={"at_most_once": "yes"})
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/at_most_once")


async def first_attempt(project: Project, user: int, channel: str) -> dict[str, Any]:
    """The first attempt of a notification over this channel, once it is recorded."""
    notification = await project.send(user, channels=[channel])

    async def recorded() -> dict[str, Any] | None:
        [delivery] = (await project.get(notification))["deliveries"] or [{"attempts": []}]
        return next(iter(delivery["attempts"]), None)

    return await eventually(recorded)


async def test_text_messages_are_not_repeated_unless_the_account_says_so(project: Project, vendors: Emulators) -> None:
    user = await project.user(phone=LOST_NUMBER)
    made = await add(project, emulated("twilio", vendors.sms.twilio.account()))
    for said, once in ((None, True), (False, False), (True, True)):
        answer = await project.client.patch(f"{PATH}/{made['id']}", json={"at_most_once": said})
        assert answer.status_code == 200
        found = await first_attempt(project, user, "sms")
        assert (found["outcome"], found["reason"]) == ("retry", "unknown" if once else "connection"), said


async def test_pushes_are_repeated_unless_the_account_says_no(project: Project, vendors: Emulators) -> None:
    user = await project.user()
    await project.device(user, f"lost-{project.id}")
    made = await add(project, emulated("fcm", vendors.service_account))
    assert (await first_attempt(project, user, "push"))["reason"] == "connection"
    await project.client.patch(f"{PATH}/{made['id']}", json={"at_most_once": True})
    shown = await project.until(await project.send(user, channels=["push"]), "failed")
    [push] = shown["deliveries"]
    assert (push["reason"], [one["reason"] for one in push["attempts"]]) == ("unknown", ["unknown"])


async def test_an_attempt_is_written_down_before_it_is_made(app: App, project: Project, vendors: Emulators) -> None:
    """So that whoever takes over from a worker that died does not make it again."""
    user = await project.user()
    await project.device(user, f"latency-4000-{project.id}")
    await add(project, {**emulated("fcm", vendors.service_account), "at_most_once": True})
    notification = await project.send(user, channels=["push"])

    async def begun() -> bool | None:
        row = await app.db.fetchrow("SELECT status, reason FROM deliveries WHERE notification_id = $1", notification)
        return True if row and tuple(row) == ("sending", "unknown") else None

    await eventually(begun)
    await project.until(notification, "sent")
