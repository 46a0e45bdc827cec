"""`plan` is pure: notification, user, devices and history in, attempts and suppressions out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tidings.preferences import allows
from tidings.worker.plan import RANK, Address, Ending, Known, Plan, Subject, plan, status_of, subjects_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PHONE = Address("push", 7, "android", "token-7")
TABLET = Address("push", 8, "ios", "token-8")


def subject(**changes: Any) -> Subject:
    made = Subject(
        id=1,
        project_id=1,
        user_id=1,
        title="t",
        body="b",
        data={},
        status="pending",
        lane="normal",
        ttl_s=3600,
        collapse_key=None,
        overrides=None,
        begins_at=NOW,
        created_at=NOW,
        user_exists=True,
        addresses=(PHONE, TABLET),
    )
    return msgspec.structs.replace(made, **changes)


def keys(made: Any) -> list[tuple[str, int, int]]:
    return [(one.address.channel, one.address.device_id, one.attempt) for one in made.attempts]


def test_the_first_time_every_device_and_the_socket_are_tried() -> None:
    made = plan(subject(), {}, NOW)
    assert keys(made) == [("push", 7, 1), ("push", 8, 1), ("websocket", 0, 1)]
    assert (made.suppressions, made.status) == ([], None)


def test_without_a_device_the_reason_is_kept() -> None:
    made = plan(subject(addresses=()), {}, NOW)
    assert keys(made) == [("websocket", 0, 1)]
    assert made.suppressions == ["push:no_device"]


@pytest.mark.parametrize("status", ["cancelled", "expired", "failed", "suppressed"])
def test_what_has_ended_is_left_alone(status: str) -> None:
    made = plan(subject(status=status), {}, NOW)
    assert made == Plan([])


def test_a_deleted_user_is_a_suppression() -> None:
    made = plan(subject(user_exists=False), {}, NOW)
    assert (made.attempts, made.suppressions, made.status) == ([], ["all:user_deleted"], "suppressed")


def test_too_late_is_expired() -> None:
    made = plan(subject(), {}, NOW + timedelta(seconds=3601))
    assert (made.attempts, made.suppressions, made.status) == ([], ["all:expired"], "expired")


def test_now_or_never_is_tried_once_however_late_it_is_taken_up() -> None:
    late = NOW + timedelta(seconds=20)
    assert len(plan(subject(ttl_s=0), {}, late).attempts) == 3
    again = plan(subject(ttl_s=0), {("push", 7): Known("pending", 1, True)}, late, retrying=True)
    assert (again.attempts, again.endings) == ([], [Ending("push", 7, "expired", "expired")])


def test_a_retry_takes_only_what_is_due() -> None:
    known = {
        ("push", 7): Known("pending", 2, True),
        ("push", 8): Known("pending", 1, False),
        ("websocket", 0): Known("sent", 1, False),
    }
    assert keys(plan(subject(), known, NOW, retrying=True)) == [("push", 7, 3)]


def test_a_delivery_whose_device_was_removed_ends() -> None:
    known = {("push", 99): Known("pending", 1, True)}
    made = plan(subject(), known, NOW, retrying=True)
    assert (made.attempts, made.endings) == ([], [Ending("push", 99, "suppressed", "device_removed")])


def test_a_failed_notification_with_a_redriven_delivery_goes_on() -> None:
    assert keys(plan(subject(status="failed"), {("push", 7): Known("pending", 3, True)}, NOW, retrying=True)) == [
        ("push", 7, 4)
    ]


def test_one_that_was_set_aside_as_poison_is_planned_anew_when_it_is_redriven() -> None:
    made = plan(subject(status="pending"), {("push", 0): Known("pending", 0, True)}, NOW, retrying=True)
    assert keys(made) == [("push", 7, 1), ("push", 8, 1), ("websocket", 0, 1)]
    assert [(ending.device_id, ending.status) for ending in made.endings] == [(0, "suppressed")]


def test_what_a_dead_worker_had_not_recorded_is_attempted() -> None:
    known = {("push", 7): Known("sent", 1, False), ("websocket", 0): Known("delivered", 1, False)}
    assert keys(plan(subject(status="delivered"), known, NOW)) == [("push", 8, 1)]


def test_the_best_delivery_decides() -> None:
    assert status_of([]) == "suppressed"
    assert status_of(["failed", "pending"]) == "pending"
    assert status_of(["failed", "sent", "pending"]) == "sent"
    assert status_of(RANK) == "delivered"


def test_rows_of_one_notification_become_one_subject() -> None:
    def row(notification_id: int, device_id: int | None, **changes: Any) -> dict[str, Any]:
        return {
            **msgspec.structs.asdict(subject(id=notification_id)),
            "data": '{"a":1}',
            "routing": None,
            "preferences": None,
            "email": "ann@example.com",
            "phone": None,
            "chat_url": None,
            "email_blocked": "bounced",
            "sms_blocked": None,
            "scheduled_time": None,
            "device_id": device_id,
            "device_type": "android",
            "device_token": f"token-{device_id}",
            **changes,
        }

    rows = [
        row(1, 7),
        row(1, 8),
        row(2, None),
        row(3, None, routing="sms,email", preferences='{"rules":{"*/sms":false}}'),
    ]
    made = subjects_of(rows, msgspec.json.decode)
    assert [(s.id, [a.device_id for a in s.addresses]) for s in made] == [(1, [7, 8]), (2, []), (3, [0])]
    assert made[0].data == {"a": 1}
    assert made[2].addresses == (Address("email", 0, "", "ann@example.com"),)
    assert (made[0].blocked, made[2].blocked) == ({}, {"email": "bounced"})
    assert made[2].preferences is not None and not allows(made[2].preferences, None, "sms")
