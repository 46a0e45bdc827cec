"""One attempt: which account to ask, the call, and what its outcome means."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

import msgspec
import structlog
from msgspec import Struct

from tidings import logs, routing
from tidings.clock import now as clock_now
from tidings.db import Pool
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.turns import Turns
from tidings.worker.book import Book, Usable
from tidings.worker.compose import Composing, message_of
from tidings.worker.plan import Planned
from tidings.worker.record import Attempted
from tidings.worker.retry import SENT, Policy, Step, next_step

log = structlog.get_logger("tidings.worker")

Absent = Callable[[Iterable[tuple[int, int]]], Awaitable[set[tuple[int, int]]]]


async def may_be_there(users: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Where nothing is known of the users."""
    return set()


class NotBegun(Exception):
    """The worker stops, and this call was not begun: nothing is known of it, and the next worker makes it."""


class Delivering(Struct, frozen=True):
    """What delivering needs. `book`: the accounts of each project, by way.

    `turns`: of the event loop, which all lanes of a process share; `urgent`: this lane does not wait for one. `once`:
    the channels that send at most once, where no account says otherwise (`sends_once`). `absent`: `Bus.absent`.
    `stopping`: set when no more calls are to be begun.
    """

    db: Pool
    book: Book
    policy: Policy
    lease_s: float
    composing: Composing
    turns: Turns = msgspec.field(default_factory=Turns)
    urgent: bool = False
    once: frozenset[str] = frozenset({routing.SMS})
    absent: Absent = may_be_there
    stopping: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    def sends_once(self, planned: Planned) -> bool:
        """Whether an attempt of unknown outcome is not repeated."""
        usual = planned.address.channel in self.once
        return self.book.sends_once(planned.subject.project_id, planned.address.via, usual)


async def attempt(work: Delivering, planned: Planned, ends_at: float) -> Attempted:
    """One provider call; several, when an account can't and the project has another. Never raises for what the vendor
    or the network does. Raises `NotBegun` instead of beginning the first when the worker stops, unless it is written
    down already that this one may have been made."""
    began = time.perf_counter()
    outcome: Outcome | None = None
    used = None
    refused: tuple[Outcome, Usable] | None = None
    called = False
    for usable in work.book.of(planned.subject.project_id, planned.address.via):
        refusal = await usable.pace.enter(urgent=work.urgent, ends_at=ends_at, retry=planned.attempt > 1)
        if refusal is not None:
            refused = refused or (refusal, usable)
            continue
        if work.stopping.is_set() and not work.sends_once(planned):
            usable.pace.give_up()
            if outcome is None:
                raise NotBegun
            break
        outcome, used, called = await _call(work, planned, usable), usable, True
        if type(outcome) is Sent or not another_may(outcome, once=work.sends_once(planned)):
            break
    if refused is not None and (outcome is None or _another_may_know(outcome)):
        (outcome, used), called = refused, False  # one that can't be asked now may have the right answer
    if outcome is None:
        outcome = Rejected(Reason.NO_PROVIDER, f"no account for {planned.address.via}")
    return judge(work, planned, outcome, used, called=called, duration_ms=round((time.perf_counter() - began) * 1000))


async def _call(work: Delivering, planned: Planned, usable: Usable) -> Outcome:
    began = time.perf_counter()
    outcome: Outcome
    try:
        with logs.About(notification_id=planned.subject.id):
            outcome = await usable.provider.send(message_of(work.composing, planned, usable))
    except asyncio.CancelledError:
        usable.pace.give_up()
        raise
    except Exception:  # a defect of ours must not take the neighbours along; it counts as a try
        log.exception("attempt_failed", notification_id=planned.subject.id, channel=planned.address.channel)
        outcome = Retry(Reason.INTERNAL, "a defect of ours; the log has it", maybe_taken=True)
    learned: Outcome = usable.pace.leave(outcome, time.perf_counter() - began, retry=planned.attempt > 1)
    return learned


def another_may(outcome: Outcome, *, once: bool) -> bool:
    """Whether another account could do better at once: this one is at fault, or its vendor is away.

    A token belongs to one sender, so what one account calls a stranger may be known to another.
    """
    match outcome:
        case Retry(maybe_taken=maybe_taken):
            return not (once and maybe_taken)
        case Paused():
            return True
    return _another_may_know(outcome)


def _another_may_know(outcome: Outcome) -> bool:
    match outcome:
        case Gone(reason=Reason.SENDER_MISMATCH) | Rejected(reason=Reason.WRONG_ACCOUNT):
            return True
    return False


def held(work: Delivering, planned: Planned, until: datetime) -> Attempted:
    """An attempt that waits for the end of the user's quiet hours, `until` then. It is none yet."""
    step = Step("pending", until, Reason.QUIET_HOURS, None, counts=False)
    if until > planned.subject.expires_at:
        step = Step("expired", None, Reason.QUIET_HOURS, "they end after it expires", counts=False)
    name, emulated = work.book.named(planned.subject.project_id, planned.address.via)
    return Attempted(planned, Paused(Reason.QUIET_HOURS), step, clock_now(), 0, False, name, emulated)


def judge(
    work: Delivering,
    planned: Planned,
    outcome: Outcome,
    used: Usable | None = None,
    *,
    called: bool = False,
    duration_ms: int = 0,
) -> Attempted:
    """What the outcome means for the delivery. `used`: the account, None: nobody was asked, or nobody answered."""
    at = clock_now()
    if type(outcome) is Sent:
        step = SENT
    else:
        step = next_step(
            outcome,
            planned.attempt,
            work.policy if planned.allowed is None else Policy(planned.allowed, work.policy.base_s),
            at,
            planned.subject.expires_at,
            random.random(),
            once=work.sends_once(planned),
            called=called or used is None,
        )
    if used is None:
        name, emulated = work.book.named(planned.subject.project_id, planned.address.via)
    else:
        name, emulated = used.provider.name, used.provider.emulated
    return Attempted(planned, outcome, step, at, duration_ms, called, name, emulated)
