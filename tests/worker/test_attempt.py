"""Which account is asked, and whose answer counts."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.worker.test_plan import PHONE, subject
from tidings import clock
from tidings.providers.contract import Gone, Message, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.turns import Turns
from tidings.worker.attempt import Delivering, attempt
from tidings.worker.book import Usable
from tidings.worker.compose import Composing
from tidings.worker.limits import Limits
from tidings.worker.pace import Pace
from tidings.worker.plan import Planned
from tidings.worker.retry import Policy

STRANGER = Gone(Reason.SENDER_MISMATCH)
AWAY = Retry(Reason.UNAVAILABLE)
PAUSED = Paused(Reason.CREDENTIALS, after_s=60.0)


class Answering:
    """A provider that gives one answer."""

    emulated = False

    def __init__(self, name: str, outcome: Outcome) -> None:
        self.name = name
        self.asked = 0
        self._outcome = outcome

    async def send(self, message: Message) -> Outcome:
        self.asked += 1
        return self._outcome

    async def close(self) -> None: ...


class Page:
    """The accounts of one project."""

    def __init__(self, usables: Sequence[Usable]) -> None:
        self._usables = usables

    def of(self, project_id: int, via: str) -> Sequence[Usable]:
        return self._usables

    def named(self, project_id: int, via: str) -> tuple[str, bool]:
        return via, False

    def sends_once(self, project_id: int, via: str, usual: bool) -> bool:
        return usual


async def tried(outcomes: Sequence[Outcome], paused: Sequence[int] = (), **more: Any) -> tuple[str, str, list[int]]:
    """The status, the reason and how often each account was asked; those in `paused` may not be."""
    providers = [Answering(f"a{n}", outcome) for n, outcome in enumerate(outcomes)]
    paces = [Pace(Limits()) for _ in providers]
    ends_at = asyncio.get_running_loop().time() + 10
    for n in paused:
        assert await paces[n].enter(urgent=False, ends_at=ends_at) is None
        paces[n].leave(PAUSED, 0.01, retry=False)
    page: Any = Page([Usable(n, p, pace) for n, (p, pace) in enumerate(zip(providers, paces, strict=True))])
    db: Any = None
    work = Delivering(db, page, Policy(), 60.0, Composing(b"k" * 32, b"u" * 32), Turns(), **more)
    made = await attempt(work, Planned(subject(begins_at=clock.now()), PHONE, 1), ends_at)
    for pace in paces:
        pace.close()
    return made.step.status, str(made.step.reason or ""), [provider.asked for provider in providers]


@pytest.mark.parametrize(
    ("outcomes", "paused", "status", "reason", "asked"),
    [
        ([Sent(), Sent()], [], "sent", "", [1, 0]),
        ([AWAY, Sent()], [], "sent", "", [1, 1]),
        ([PAUSED, Sent()], [], "sent", "", [1, 1]),
        ([STRANGER, Sent()], [], "sent", "", [1, 1]),
        ([STRANGER, STRANGER], [], "failed", "sender_mismatch", [1, 1]),
        ([Rejected(Reason.INVALID_MESSAGE), Sent()], [], "failed", "invalid_message", [1, 0]),
        ([Gone(Reason.UNREGISTERED), Sent()], [], "failed", "unregistered", [1, 0]),
        ([AWAY, AWAY], [], "pending", "unavailable", [1, 1]),
        ([Sent(), Sent()], [0], "sent", "", [0, 1]),
        ([Sent(), Sent()], [0, 1], "pending", "credentials", [0, 0]),
        # A stranger to one may be known to the other, which can't be asked for now: its device is not lost.
        ([Sent(), STRANGER], [0], "pending", "credentials", [0, 1]),
        ([STRANGER, Sent()], [1], "pending", "credentials", [1, 0]),
        ([], [], "failed", "no_provider", []),
    ],
)
async def test_whose_answer_counts(
    outcomes: list[Outcome], paused: list[int], status: str, reason: str, asked: list[int]
) -> None:
    assert await tried(outcomes, paused) == (status, reason, asked)


async def test_what_may_have_been_taken_is_not_given_to_another_account() -> None:
    maybe = Retry(Reason.TIMEOUT, maybe_taken=True)
    assert await tried([maybe, Sent()], once=frozenset({"push"})) == ("failed", "unknown", [1, 0])
    assert await tried([maybe, Sent()]) == ("sent", "", [1, 1])
