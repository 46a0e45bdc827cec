"""The walk of a group of notifications: load, plan, send, record. A retry is the same walk, later."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec

from tidings import deliveries, notifications
from tidings.clock import now as clock_now
from tidings.db import Pool
from tidings.deliveries import Recorded
from tidings.providers.contract import Reason, Retry
from tidings.routing import WEBSOCKET
from tidings.tasks import Claim
from tidings.turns import Turns
from tidings.worker.attempt import Absent, Delivering, NotBegun, attempt, held, judge, may_be_there
from tidings.worker.leaving import give_back, to_the_end, without_answer
from tidings.worker.plan import Known, Planned, plan, subjects_of
from tidings.worker.record import Attempted, Group, record

FIRST_RECORD_S = 0.5  # what has its answer by then is recorded; stragglers follow
PLANS_A_TURN = 16
FEW = 16  # notifications, for which the database needs no longer than for something critical
LEAVE_S = 5.0  # for writing down what is answered, when the worker must end
MARGIN_S = 5.0  # before the lease runs out; what has no answer by then is tried again
# Calls of one group at once. Vendors take about 100 on a connection; the rest would only wait inside their own
# deadline. Two rounds of calls that all time out fit into a lease.
MOST_AT_ONCE = 256
ONCE_AT_ONCE = 32  # over a channel that sends at most once: so many are of unknown fate when a worker dies
AT_ONCE: Mapping[str, int] = {WEBSOCKET: 16}  # the bus is near, and its answers are quick

_decode = msgspec.json.decode


async def deliver(work: Delivering, claims: Sequence[Claim], claimed_at: float) -> int:
    """Deliver the notifications of the claimed tasks; answers how many attempts were made.

    `claimed_at`: on the event loop's clock; the lease runs from then. Raises `StaleClaim` when another worker has taken
    over one of the tasks: what is not recorded yet is dropped. When the worker stops (`Delivering.stopping`) no more
    calls are begun, and when it is cancelled none is waited for: what has its answer is recorded, and the tasks go
    back.
    """
    turns = None if work.urgent else work.turns
    # What is critical does not wait for Redis before it is sent.
    group = await load(work.db, claims, turns, may_be_there if work.urgent else work.absent)
    planned = group.planned
    await work.book.know({one.subject.project_id for one in planned})
    answered = [held(work, one, one.held_until) for one in planned if one.held_until is not None]
    usual, once = in_ways(work, [one for one in planned if one.held_until is None])
    ends_at = claimed_at + work.lease_s - min(MARGIN_S, work.lease_s / 4)
    announced: set[int] = set()
    senders = start_senders(work, usual, answered, ends_at)
    senders += start_once_senders(work, group, [one for way in once for one in way], answered, announced, ends_at)
    recorded = 0
    try:
        if await _still_sending(senders, FIRST_RECORD_S):
            early = answered.copy()
            group.early.append(True)
            left = without_answer([one for way in usual for one in way], early)
            await record(work.db, group, early, last=False, reserved=reservations(work, group, left, once=False))
            recorded = len(early)
            late = await _still_sending(senders, ends_at - asyncio.get_running_loop().time())
            for sender in late:
                sender.cancel()
        if work.stopping.is_set() and without_answer(planned, answered):
            await give_back(work.db, group, answered, recorded, senders)
            return len(planned)
        answered += [
            judge(work, one, Retry(Reason.TIMEOUT, "no answer in time", maybe_taken=id(one) in announced))
            for one in without_answer(planned, answered)
        ]
        async with turn_for(turns, len(planned)):
            await record(work.db, group, answered[recorded:], last=True)
    except asyncio.CancelledError:
        for sender in senders:
            sender.cancel()
        await to_the_end(give_back(work.db, group, answered, recorded, senders), LEAVE_S)
        raise
    finally:
        for sender in senders:
            sender.cancel()  # does nothing to those that are done
    return len(planned)


def reservations(work: Delivering, group: Group, planned: Sequence[Planned], *, once: bool) -> list[Recorded]:
    """The rows of deliveries that are being attempted: other tasks leave them alone until the lease is over.

    `once`: whoever finds one without an outcome does not repeat it. Sockets need none.
    """
    until = min(claim.lease_until for claim in group.claims)
    return [_reservation(work, one, until, once) for one in planned if one.address.channel != WEBSOCKET]


def _reservation(work: Delivering, planned: Planned, until: datetime, once: bool) -> Recorded:
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
        reason=Reason.UNKNOWN if once else None,
        next_attempt_at=until,
    )


def in_ways(work: Delivering, planned: Iterable[Planned]) -> tuple[list[list[Planned]], list[list[Planned]]]:
    """The attempts of each project by each way: the usual ones, with sockets first since their frames leave at once;
    and those that are made at most once."""
    ways: dict[tuple[bool, int, str], list[Planned]] = {}
    for one in planned:
        via = one.address.via
        ways.setdefault((via != WEBSOCKET, one.subject.project_id, via), []).append(one)
    usual: list[list[Planned]] = []
    once: list[list[Planned]] = []
    for _, way in sorted(ways.items()):
        (once if work.sends_once(way[0]) else usual).append(way)
    return usual, once


def start_senders(
    work: Delivering, ways: Iterable[Sequence[Planned]], answered: list[Attempted], ends_at: float
) -> list[asyncio.Task[None]]:
    """Begin these attempts, each way by itself so that a slow one holds up no other; answers fill `answered`.

    None is begun after `ends_at`: a process that was stopped and goes on has lost its lease, and another one is at it.

    A task for each attempt would cost as much as the attempt.
    """
    senders = []
    for way in ways:
        left = iter(way)
        most = min(len(way), AT_ONCE.get(way[0].address.channel, MOST_AT_ONCE))
        senders += [asyncio.create_task(_send_each(work, left, answered, ends_at)) for _ in range(most)]
    return senders


def start_once_senders(
    work: Delivering,
    group: Group,
    once: Sequence[Planned],
    answered: list[Attempted],
    announced: set[int],
    ends_at: float,
) -> list[asyncio.Task[None]]:
    """Begin these attempts, which are made at most once; `announced` gets the id() of each that may be under way.

    A few at a time are written down before they are begun. Whoever finds those without an outcome knows that they may
    have been made; of all others that they were not.
    """
    return [asyncio.create_task(_send_once(work, group, once, answered, announced, ends_at))] if once else []


async def _send_once(
    work: Delivering,
    group: Group,
    once: Sequence[Planned],
    answered: list[Attempted],
    announced: set[int],
    ends_at: float,
) -> None:
    for start in range(0, len(once), ONCE_AT_ONCE):
        if asyncio.get_running_loop().time() >= ends_at or work.stopping.is_set():
            return
        few = once[start : start + ONCE_AT_ONCE]
        group.early.append(True)
        await record(work.db, group, [], last=False, reserved=reservations(work, group, few, once=True))
        announced.update(map(id, few))
        async with asyncio.TaskGroup() as sending:
            for one in few:
                sending.create_task(_send_each(work, iter([one]), answered, ends_at))


async def _send_each(work: Delivering, left: Iterator[Planned], answered: list[Attempted], ends_at: float) -> None:
    loop = asyncio.get_running_loop()
    for one in left:
        if work.turns.recently_urgent and not work.urgent:
            await work.turns.take()
        if loop.time() >= ends_at:
            return
        try:
            answered.append(await attempt(work, one, ends_at))
        except NotBegun:
            return


async def _still_sending(senders: Iterable[asyncio.Task[None]], timeout_s: float) -> set[asyncio.Task[None]]:
    """Wait; answers those that are not done by then. Raises what one of the others raised: a defect of ours."""
    sending = set(senders)
    if not sending:
        return sending
    done, waiting = await asyncio.wait(sending, timeout=max(timeout_s, 0.0))
    for sender in done:
        sender.result()
    return waiting


@asynccontextmanager
async def turn_for(turns: Turns | None, count: int) -> AsyncIterator[None]:
    """Around a statement for `count` notifications. `turns` None: do it now, it is for something critical."""
    if turns is None:
        yield
    elif count <= FEW:
        await turns.take()
        yield
    else:
        async with turns.alone():
            yield


async def load(db: Pool, claims: Sequence[Claim], turns: Turns | None = None, absent: Absent = may_be_there) -> Group:
    """Everything about the notifications of these tasks, in one query (two if there may be earlier attempts).

    `turns`: to ask for before each piece of the work; None: do it in one go. `absent`: see `Delivering`.
    """
    ids = [subject_id for claim in claims for subject_id in claim.subject_ids]
    if any(claim.kind == "scheduled" for claim in claims):
        await db.execute(notifications.SQL["begin_scheduled"], ids)
    async with turn_for(turns, len(ids)):
        rows = await db.fetch(notifications.SQL["load"], ids)
    subjects = subjects_of(rows, _decode)
    away = await absent((subject.project_id, subject.user_id) for subject in subjects)
    histories = await _histories(db, claims, ids) if any(claim.again for claim in claims) else {}
    at = clock_now()
    retried = {subject_id for claim in claims if claim.kind == "retry" for subject_id in claim.subject_ids}
    retried -= {subject_id for claim in claims if claim.kind != "retry" for subject_id in claim.subject_ids}
    plans = []
    for n, subject in enumerate(subjects):
        if turns is not None and n % PLANS_A_TURN == 0:
            await turns.take()
        known, is_away = histories.get(subject.id, {}), (subject.project_id, subject.user_id) in away
        plans.append((subject, plan(subject, known, at, retrying=subject.id in retried, absent=is_away)))
    return Group.of(claims, plans, histories)


async def _histories(db: Pool, claims: Sequence[Claim], ids: Sequence[int]) -> dict[int, dict[tuple[str, int], Known]]:
    """What is recorded of these notifications, by their id; what is due is reserved for this worker."""
    histories: dict[int, dict[tuple[str, int], Known]] = {}
    due = await deliveries.reserve(db, ids, min(claim.lease_until for claim in claims))
    for row in await deliveries.existing(db, ids):
        key = (row["channel"], row["device_id"])
        one = Known(
            row["status"],
            row["attempts"],
            (row["notification_id"], *key) in due,
            row["attempts_allowed"],
            begun=row["reason"] == Reason.UNKNOWN,
        )
        histories.setdefault(row["notification_id"], {})[key] = one
    return histories
