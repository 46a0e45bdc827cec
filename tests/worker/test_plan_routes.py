"""What `plan` makes of routes, preferences, quiet hours and blocked addresses."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.worker.test_plan import NOW, PHONE, TABLET, keys, subject
from tidings import routing
from tidings.preferences import Preferences
from tidings.quiet_hours import QuietHours
from tidings.worker.plan import Address, Ending, Known, Subject, plan

EMAIL = Address("email", 0, "", "ann@example.com")
SMS = Address("sms", 0, "", "+41791234567")
NIGHT = datetime(2026, 1, 1, 23, 30, tzinfo=UTC)
FAILED = Known("failed", 1, False)


def routed(route: str | None, **changes: Any) -> Subject:
    given = {"addresses": (PHONE, TABLET, EMAIL, SMS), **changes}
    return subject(route=routing.read(route), **given)


def test_only_the_channels_of_the_route_are_taken() -> None:
    made = plan(routed("email,sms"), {}, NOW)
    assert (keys(made), made.suppressions) == ([("email", 0, 1), ("sms", 0, 1)], [])


def test_all_says_what_it_could_not_take() -> None:
    made = plan(routed("all"), {}, NOW)
    assert {key[0] for key in keys(made)} == {"push", "websocket", "email", "sms"}
    assert made.suppressions == ["chat:no_address"]


def test_nothing_to_take_is_suppressed() -> None:
    made = plan(routed("chat,sms", addresses=()), {}, NOW)
    assert (made.attempts, made.suppressions, made.status) == ([], ["chat:no_address", "sms:no_address"], "suppressed")


def test_a_fallback_begins_with_the_first_that_has_an_address() -> None:
    made = plan(routed("push>email>sms", addresses=(EMAIL, SMS)), {}, NOW)
    assert (keys(made), made.suppressions) == ([("email", 0, 1)], ["push:no_device"])


@pytest.mark.parametrize(
    ("known", "turn"),
    [
        ({}, ["push", "push"]),
        ({("push", 7): FAILED}, ["push"]),  # the tablet was not tried yet
        ({("push", 7): FAILED, ("push", 8): Known("suppressed", 1, False)}, ["email"]),
        ({("push", 7): FAILED, ("push", 8): Known("pending", 1, False)}, []),
        ({("push", 7): FAILED, ("push", 8): FAILED, ("email", 0): FAILED}, ["sms"]),
        ({("push", 7): FAILED, ("push", 8): Known("sent", 1, False)}, []),
    ],
)
def test_the_next_channel_comes_when_all_of_one_has_failed(
    known: dict[tuple[str, int], Known], turn: list[str]
) -> None:
    assert [key[0] for key in keys(plan(routed("push>email>sms"), known, NOW))] == turn


def test_nobody_at_the_socket_is_remembered_by_a_fallback() -> None:
    made = plan(routed("websocket>email", suppressions=("websocket:not_connected",)), {}, NOW)
    assert keys(made) == [("email", 0, 1)]


def test_the_end_of_a_fallback() -> None:
    made = plan(routed("push>chat", addresses=(PHONE,)), {("push", 7): FAILED}, NOW)
    assert (made.attempts, made.suppressions, made.status) == ([], ["chat:no_address"], None)


def test_a_retry_stays_with_what_is_known() -> None:
    made = plan(routed("push>sms"), {("push", 7): Known("sending", 2, True)}, NOW, retrying=True)
    assert keys(made) == [("push", 7, 3)]


RULES = Preferences({"*/push": False, "security/push": True, "marketing/email": False})


@pytest.mark.parametrize(
    ("category", "taken"),
    [
        (None, ["websocket", "email"]),
        ("security", ["push", "push", "websocket", "email"]),
        ("marketing", ["websocket"]),
    ],
)
def test_preferences(category: str | None, taken: list[str]) -> None:
    made = plan(routed("push,websocket,email", category=category, preferences=RULES), {}, NOW)
    assert [key[0] for key in keys(made)] == taken
    assert made.suppressions == [f"{c}:preference" for c in ("push", "email") if c not in taken]


def test_what_was_forbidden_meanwhile_ends() -> None:
    made = plan(routed("push", preferences=RULES), {("push", 7): Known("sending", 1, True)}, NOW, retrying=True)
    assert (made.attempts, made.endings) == ([], [Ending("push", 7, "suppressed", "preference")])


def test_an_address_that_bounced_is_not_written_to() -> None:
    made = plan(routed("email>sms", blocked={"email": "bounced"}), {}, NOW)
    assert (keys(made), made.suppressions) == ([("sms", 0, 1)], ["email:bounced"])


def quiet(**changes: Any) -> Preferences:
    hours = QuietHours(begins="22:00", ends="07:00", timezone="Europe/Zurich")
    return Preferences({}, msgspec.structs.replace(hours, **changes))


def test_quiet_hours_hold_all_but_the_socket() -> None:
    made = plan(routed("push,websocket", preferences=quiet(), ttl_s=200_000), {}, NIGHT)
    until = datetime(2026, 1, 2, 6, 0, tzinfo=UTC)
    assert [(one.address.channel, one.held_until) for one in made.attempts] == [
        ("push", until),
        ("push", until),
        ("websocket", None),
    ]
    late = plan(routed("push", preferences=quiet(), ttl_s=200_000), {}, until)
    assert [one.held_until for one in late.attempts] == [None, None]


def test_quiet_hours_may_drop() -> None:
    made = plan(routed("push", preferences=quiet(action="drop"), ttl_s=86_400), {}, NIGHT)
    assert (made.attempts, made.suppressions, made.status) == ([], ["push:quiet_hours"], "suppressed")


def test_critical_ones_pass_quiet_hours() -> None:
    made = plan(routed("push", preferences=quiet(), ttl_s=86_400, lane="critical"), {}, NIGHT)
    assert [one.held_until for one in made.attempts] == [None, None]


def test_a_retry_waits_for_the_end_of_quiet_hours_too() -> None:
    known = {("sms", 0): Known("sending", 1, True)}
    made = plan(routed("sms", preferences=quiet(), ttl_s=86_400), known, NIGHT, retrying=True)
    assert [(one.attempt, one.held_until is None) for one in made.attempts] == [(2, False)]


def test_a_call_that_may_have_been_made_is_not_made_again() -> None:
    known = {("sms", 0): Known("sending", 0, True, begun=True)}
    made = plan(routed("sms"), known, NOW + timedelta(minutes=2))
    assert (made.attempts, made.endings) == ([], [Ending("sms", 0, "failed", "unknown")])
