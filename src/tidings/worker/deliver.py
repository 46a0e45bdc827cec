"""The walk of a group of notifications: load, plan, send, record. A retry is the same walk, later."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
import structlog
from msgspec import Struct

from tidings import deliveries, notifications, routing
from tidings.clock import now as clock_now
from tidings.db import Pool
from tidings.deliveries import Recorded
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.gateway import NOT_CONNECTED
from tidings.routing import WEBSOCKET
from tidings.tasks import Claim
from tidings.turns import Turns
from tidings.worker.book import Book, Usable
from tidings.worker.compose import Composing, message_of
from tidings.worker.plan import Known, Planned, plan, subjects_of
from tidings.worker.record import Attempted, Group, record
from tidings.worker.retry import SENT, Policy, Step, next_step

FIRST_RECORD_S = 0.5  # what has its answer by then is recorded; stragglers follow
PLANS_A_TURN = 16
MARGIN_S = 5.0  # before the lease runs out; what has no answer by then is tried again
# Calls of one group at once. Vendors take about 100 on a connection; the rest would only wait inside their own
# deadline. Two rounds of calls that all time out fit into a lease.
MOST_AT_ONCE = 256
AT_ONCE: Mapping[str, int] = {WEBSOCKET: 16}  # the bus is near, and its answers are quick

log = structlog.get_logger("tidings.worker")

_decode = msgspec.json.decode


_NOBODY_THERE = Step("suppressed", None, Reason.NOT_CONNECTED, NOT_CONNECTED.detail)


def _may_be_there(project_id: int, user_id: int) -> bool:
    return False


class Delivering(Struct, frozen=True):
    """What delivering needs. `book`: the accounts of each project, by way.

    `turns`: of the event loop, which all lanes of a process share; `urgent`: this lane does not wait for one. `once`:
    the channels that send at most once. `absent`: `Bus.surely_absent` of a project's user.
    """

    db: Pool
    book: Book
    policy: Policy
    lease_s: float
    composing: Composing
    turns: Turns = msgspec.field(default_factory=Turns)
    urgent: bool = False
    once: frozenset[str] = frozenset({routing.SMS})
    absent: Callable[[int, int], bool] = _may_be_there


async def deliver(work: Delivering, claims: Sequence[Claim], claimed_at: float) -> int:
    """Deliver the notifications of the claimed tasks; answers how many attempts were made.

    `claimed_at`: on the event loop's clock; the lease runs from then. Raises `StaleClaim` when another worker has taken
    over one of the tasks: what is not recorded yet is dropped.
    """
    turns = None if work.urgent else work.turns
    group = await load(work.db, claims, turns)
    planned = group.planned
    await work.book.know({one.subject.project_id for one in planned})
    answered = [made for one in planned if (made := without_call(work, one)) is not None]
    calls = without_answer(planned, answered)
    ends_at = claimed_at + work.lease_s - min(MARGIN_S, work.lease_s / 4)
    await announce(work, group, calls)
    senders = start_senders(work, calls, answered, ends_at)
    early: list[Attempted] = []
    try:
        if await _still_sending(senders, FIRST_RECORD_S):
            early = answered.copy()
            group.early.append(True)
            left = without_answer(planned, early)
            await record(work.db, group, early, last=False, reserved=reservations(work, group, left))
            late = await _still_sending(senders, ends_at - asyncio.get_running_loop().time())
            for sender in late:
                sender.cancel()
        outcome = Retry(Reason.TIMEOUT, "no answer in time", maybe_taken=True)
        answered += [judge(work, one, outcome) for one in without_answer(planned, answered)]
        if turns is not None:
            await turns.take()
        await record(work.db, group, answered[len(early) :], last=True)
    finally:
        for sender in senders:
            sender.cancel()  # does nothing to those that are done
    return len(planned)


async def announce(work: Delivering, group: Group, calls: Sequence[Planned]) -> None:
    """Write down, before they are begun, the calls of channels that send at most once: whoever finds them without an
    outcome knows that they may have been made."""
    once = [one for one in calls if one.address.channel in work.once]
    if once:
        group.early.append(True)
        await record(work.db, group, [], last=False, reserved=reservations(work, group, once))


def reservations(work: Delivering, group: Group, planned: Sequence[Planned]) -> list[Recorded]:
    """The rows of deliveries that are being attempted: other tasks leave them alone until the lease is over.

    Sockets need none.
    """
    until = min(claim.lease_until for claim in group.claims)
    return [_reservation(work, one, until) for one in planned if one.address.channel != WEBSOCKET]


def _reservation(work: Delivering, planned: Planned, until: datetime) -> Recorded:
    name, emulated = work.book.named(planned.subject.project_id, planned.address.via)
    return Recorded(
        notification_id=planned.subject.id,
        channel=planned.address.channel,
        device_id=planned.address.device_id,
        project_id=planned.subject.project_id,
        status="sending",
        outcome="",
        provider=name,
        emulated=emulated,
        number=0,
        attempts=planned.attempt - 1,
        duration_ms=0,
        reason=Reason.UNKNOWN if planned.address.channel in work.once else None,
        next_attempt_at=until,
    )


def start_senders(
    work: Delivering, planned: Sequence[Planned], answered: list[Attempted], ends_at: float
) -> list[asyncio.Task[None]]:
    """Begin all attempts, each vendor's by itself so that a slow one holds up no other; answers fill `answered`.

    None is begun after `ends_at`: a process that was stopped and goes on has lost its lease, and another one is at it.

    A task for each attempt would cost as much as the attempt. Sockets come first: their frames leave at once.
    """
    by_via: dict[str, list[Planned]] = {}
    for one in planned:
        by_via.setdefault(one.address.via, []).append(one)
    senders = []
    for via in sorted(by_via, key=lambda via: via != WEBSOCKET):
        left = iter(by_via[via])
        most = min(len(by_via[via]), AT_ONCE.get(via, MOST_AT_ONCE))
        senders += [asyncio.create_task(_send_each(work, left, answered, ends_at)) for _ in range(most)]
    return senders


async def _send_each(work: Delivering, left: Iterator[Planned], answered: list[Attempted], ends_at: float) -> None:
    loop = asyncio.get_running_loop()
    for one in left:
        if work.turns.recently_urgent and not work.urgent:
            await work.turns.take()
        if loop.time() >= ends_at:
            return
        answered.append(await attempt(work, one, ends_at))


async def _still_sending(senders: Iterable[asyncio.Task[None]], timeout_s: float) -> set[asyncio.Task[None]]:
    """Wait; answers those that are not done by then. Raises what one of the others raised: a defect of ours."""
    sending = set(senders)
    if not sending:
        return sending
    done, waiting = await asyncio.wait(sending, timeout=max(timeout_s, 0.0))
    for sender in done:
        sender.result()
    return waiting


def without_answer(planned: Sequence[Planned], answered: Sequence[Attempted]) -> list[Planned]:
    """The attempts that have no answer yet."""
    known = {id(one.planned) for one in answered}
    return [one for one in planned if id(one) not in known]


async def load(db: Pool, claims: Sequence[Claim], turns: Turns | None = None) -> Group:
    """Everything about the notifications of these tasks, in one query (two if there may be earlier attempts).

    `turns`: to ask for before each piece of the work; None: do it in one go.
    """
    if turns is not None:
        await turns.take()
    ids = [subject_id for claim in claims for subject_id in claim.subject_ids]
    if any(claim.kind == "scheduled" for claim in claims):
        await db.execute(notifications.SQL["begin_scheduled"], ids)
    subjects = subjects_of(await db.fetch(notifications.SQL["load"], ids), _decode)
    histories: dict[int, dict[tuple[str, int], Known]] = {}
    if any(claim.again for claim in claims):
        due = await deliveries.reserve(db, ids, min(claim.lease_until for claim in claims))
        for row in await deliveries.existing(db, ids):
            key = (row["channel"], row["device_id"])
            known = Known(
                row["status"],
                row["attempts"],
                (row["notification_id"], *key) in due,
                row["attempts_allowed"],
                begun=row["reason"] == Reason.UNKNOWN,
            )
            histories.setdefault(row["notification_id"], {})[key] = known
    at = clock_now()
    retried = {subject_id for claim in claims if claim.kind == "retry" for subject_id in claim.subject_ids}
    retried -= {subject_id for claim in claims if claim.kind != "retry" for subject_id in claim.subject_ids}
    plans = []
    for n, subject in enumerate(subjects):
        if turns is not None and n % PLANS_A_TURN == 0:
            await turns.take()
        plans.append((subject, plan(subject, histories.get(subject.id, {}), at, retrying=subject.id in retried)))
    return Group.of(claims, plans, histories)


async def attempt(work: Delivering, planned: Planned, ends_at: float) -> Attempted:
    """One provider call; several, when an account can't and the project has another. Never raises for what the vendor
    or the network does."""
    began = time.perf_counter()
    outcome: Outcome = Rejected(Reason.NO_PROVIDER, f"no account for {planned.address.via}")
    used = None
    called = False
    for usable in work.book.of(planned.subject.project_id, planned.address.via):
        refusal = await usable.pace.enter(urgent=work.urgent, ends_at=ends_at, retry=planned.attempt > 1)
        if refusal is not None:
            if used is None:
                outcome, used = refusal, usable
            continue
        outcome, used, called = await _call(work, planned, usable), usable, True
        if not another_may(outcome, once=planned.address.channel in work.once):
            break
    return judge(work, planned, outcome, used, called=called, duration_ms=round((time.perf_counter() - began) * 1000))


async def _call(work: Delivering, planned: Planned, usable: Usable) -> Outcome:
    began = time.perf_counter()
    outcome: Outcome
    try:
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
        case Gone(reason=Reason.SENDER_MISMATCH) | Rejected(reason=Reason.WRONG_ACCOUNT) | Paused():
            return True
    return False


def without_call(work: Delivering, planned: Planned) -> Attempted | None:
    """What is answered without asking anyone: quiet hours, and a user of whom the bus of this process knows that nobody
    is there, as mostly. None: a call is to be made."""
    subject = planned.subject
    if planned.held_until is not None:
        return _held(work, planned, planned.held_until)
    if planned.address.channel == WEBSOCKET and work.absent(subject.project_id, subject.user_id):
        return Attempted(planned, NOT_CONNECTED, _NOBODY_THERE, clock_now(), 0, True, "gateway", False)
    return None


def _held(work: Delivering, planned: Planned, until: datetime) -> Attempted:
    """An attempt that waits for the end of the user's quiet hours. It is none yet."""
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
            once=planned.address.channel in work.once,
            called=called or used is None,
        )
    if used is None:
        name, emulated = work.book.named(planned.subject.project_id, planned.address.via)
    else:
        name, emulated = used.provider.name, used.provider.emulated
    return Attempted(planned, outcome, step, at, duration_ms, called, name, emulated)
