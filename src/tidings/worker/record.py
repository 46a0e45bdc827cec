"""Writes down what became of a group's attempts: all of it in one transaction, or none."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Self, get_args

import asyncpg
import structlog
from msgspec import Struct

from tidings import clock, deliveries, devices, metrics, tasks
from tidings.db import Connection, Pool
from tidings.deliveries import Recorded, Settled
from tidings.providers.contract import Gone, Outcome, Reason, Sent
from tidings.routing import next_channel
from tidings.tasks import Claim
from tidings.worker.plan import Known, Plan, Planned, Subject, status_of
from tidings.worker.retry import Step

log = structlog.get_logger("tidings.worker")

TAGS: dict[type[Outcome], str] = {kind: str(kind.__struct_config__.tag) for kind in get_args(Outcome)}
"""An outcome's name: sent, retry, rejected, gone or paused."""

Key = tuple[str, int]  # channel, device id

# Rows are written in one order everywhere, so that no two transactions wait for each other.
_ROW_ORDER = attrgetter("notification_id", "channel", "device_id")
_SETTLED_ORDER = attrgetter("notification_id")

TURNS = 4  # at one record: answers of vendors are dear, and a transaction that lost a race may win the next
GIVEN_BACK = 2  # claims after which a task goes back at once; later it waits for the lease: restarts are no poison
TRANSIENT = (
    asyncpg.TransactionRollbackError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    OSError,
)


class Attempted(Struct, frozen=True, gc=False):
    """An attempt with its outcome. `called` False: no call was made, because the account is paused."""

    planned: Planned
    outcome: Outcome
    step: Step
    at: datetime
    duration_ms: int
    called: bool
    provider: str
    emulated: bool

    @property
    def began_at(self) -> datetime:
        """When the call was made."""
        return self.at - timedelta(milliseconds=self.duration_ms)

    @property
    def key(self) -> Key:
        return self.planned.address.channel, self.planned.address.device_id

    @property
    def is_delivery(self) -> bool:
        """False for a user without an open socket: that is a suppression, there was no address to send to. Unless it
        is a delivery already, by an earlier attempt or one that an account's pace put off."""
        return self.step.reason is not Reason.NOT_CONNECTED or self.planned.recorded


class Group(Struct, frozen=True):
    """Claimed tasks and what to do for each of their notifications.

    `statuses` and `suppressions` are the present truth by notification, brought forward by each record.
    """

    claims: Sequence[Claim]
    plans: Sequence[tuple[Subject, Plan]]
    statuses: dict[int, dict[Key, str]]
    suppressions: dict[int, list[str]]
    early: list[bool] = []  # not empty once a part was recorded before the end

    @property
    def shared(self) -> bool:
        """Whether other tasks may work on the same notifications: retries, and what a part was recorded of. What this
        group knows is then not all there is, so statuses follow from the rows."""
        return bool(self.early) or any(claim.again for claim in self.claims)

    @classmethod
    def of(
        cls,
        claims: Sequence[Claim],
        plans: Sequence[tuple[Subject, Plan]],
        histories: Mapping[int, Mapping[Key, Known]],
    ) -> Self:
        """A group at its beginning: what is planned counts as pending until it is answered."""
        statuses: dict[int, dict[Key, str]] = {}
        for subject, made in plans:
            if not histories:  # nearly always
                statuses[subject.id] = {
                    (one.address.channel, one.address.device_id): "pending" for one in made.attempts
                }
                continue
            known = {key: delivery.status for key, delivery in histories.get(subject.id, {}).items()}
            known |= {(one.address.channel, one.address.device_id): "pending" for one in made.attempts}
            known |= {(ending.channel, ending.device_id): ending.status for ending in made.endings}
            statuses[subject.id] = known
        return cls(claims, plans, statuses, {subject.id: list(made.suppressions) for subject, made in plans}, [])

    @property
    def planned(self) -> list[Planned]:
        return [one for _, made in self.plans for one in made.attempts]


async def record(
    db: Pool,
    group: Group,
    answered: Sequence[Attempted],
    *,
    last: bool,
    reserved: Sequence[Recorded] = (),
    left: Sequence[int] = (),
) -> None:
    """Record these attempts. `last`: nothing is left to do, the tasks end. `reserved`: attempts without an answer yet.
    `left`: notifications of which this worker will not do the rest; the tasks go back.

    Raises `StaleClaim`, with nothing recorded, when another worker has claimed one of the tasks meanwhile.
    """
    settled = bring_forward(group, answered)
    endings: list[tuple[int, str, int, str, str]] = []
    if last:
        endings = [
            (subject.id, e.channel, e.device_id, e.status, e.reason)
            for subject, made in group.plans
            for e in made.endings
        ]
        settled += [one for subject, made in group.plans if (one := ended(group, subject, made)) is not None]
    rows = sorted([row_of(one) for one in answered if one.is_delivery] + list(reserved), key=_ROW_ORDER)
    settled.sort(key=_SETTLED_ORDER)
    for turn in range(TURNS):
        try:
            async with db.acquire() as connection, connection.transaction():
                await _write(connection, group, answered, rows, settled, sorted(endings), last, left)
            break
        except TRANSIENT as error:
            if turn + 1 == TURNS:
                raise
            log.warning("record_again", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.2 * (turn + 1))
    count(answered)


async def _write(
    connection: Connection,
    group: Group,
    answered: Sequence[Attempted],
    rows: Sequence[Recorded],
    settled: Sequence[Settled],
    endings: Sequence[tuple[int, str, int, str, str]],
    last: bool,
    left: Sequence[int],
) -> None:
    ids = [subject.id for subject, _ in group.plans]
    if group.shared:
        await deliveries.one_at_a_time(connection, ids)
    await (tasks.finish if last else tasks.hold)(connection, group.claims)
    await deliveries.record(connection, rows)
    await deliveries.end(connection, endings)
    await deliveries.settle(connection, settled)
    if group.shared:
        await deliveries.derive(connection, ids)
    if not last:  # a notification must not end by the rows it has while there are attempts that have none yet
        await deliveries.not_over(connection, unrecorded(group, rows))
    await disable_gone(connection, answered)
    await create_retries(connection, answered)
    if last:
        await go_on(connection, group)
    if left:
        await deliveries.let_go(connection, ids, group.claims[0].lease_until)
        await deliveries.go_on(connection, left)  # whatever their deliveries so far came to
        await tasks.give_back(connection, [claim for claim in group.claims if claim.fence <= GIVEN_BACK])


async def go_on(connection: Connection, group: Group) -> None:
    """Where a channel could not deliver and another follows it, a task for that, at once. What is recorded decides."""
    falling = {subject.id: subject for subject, _ in group.plans if subject.route.fallback}
    if not falling:
        return
    statuses: dict[int, dict[str, list[str]]] = {}
    for row in await deliveries.existing(connection, list(falling)):
        statuses.setdefault(row["notification_id"], {}).setdefault(row["channel"], []).append(row["status"])
    unfinished: dict[tuple[int, str], list[int]] = {}
    for notification_id, subject in falling.items():
        suppressed = {made.split(":")[0] for made in (*subject.suppressions, *group.suppressions[notification_id])}
        if "all" in suppressed or subject.status == "cancelled":
            continue
        if next_channel(subject.route, statuses.get(notification_id, {}), suppressed) is not None:
            unfinished.setdefault((subject.project_id, subject.lane), []).append(notification_id)
    for (project_id, lane), ids in unfinished.items():
        await deliveries.go_on(connection, ids)
        await tasks.create(connection, project_id, "fallback", lane, ids, clock.now())


def unrecorded(group: Group, rows: Sequence[Recorded]) -> list[int]:
    """The notifications with attempts that neither have an answer nor are reserved by these rows."""
    reserved = {(row.notification_id, row.channel, row.device_id) for row in rows}
    return [
        notification_id
        for notification_id, statuses in group.statuses.items()
        if any(status == "pending" and (notification_id, *key) not in reserved for key, status in statuses.items())
    ]


def count(answered: Sequence[Attempted]) -> None:
    """Tell the metrics, once it is committed."""
    attempts: Counter[tuple[str, type[Outcome], str | None]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    waited: dict[str, list[float]] = {}
    for one in answered:
        step, channel = one.step, one.planned.address.channel
        if step.status == "sent":
            sent[channel, one.provider] += 1
            subject = one.planned.subject
            waited.setdefault(subject.lane, []).append((one.at - subject.begins_at).total_seconds())
        if one.called and one.is_delivery:
            attempts[channel, type(one.outcome), step.reason] += 1
    for (channel, provider), number in sent.items():
        metrics.SENT.labels(channel, provider).inc(number)
    for (channel, kind, reason), number in attempts.items():
        metrics.ATTEMPTS.labels(channel, TAGS[kind], reason or "").inc(number)
    for lane, all_waited in waited.items():
        observe = metrics.LATENCY.labels(lane).observe
        for seconds in all_waited:
            observe(seconds if seconds > 0 else 0.0)


def bring_forward(group: Group, answered: Sequence[Attempted]) -> list[Settled]:
    """Enter the attempts into the group's statuses, and derive those of the notifications they belong to."""
    sent_at: dict[int, datetime | None] = {}
    for one in answered:
        notification_id, status = one.planned.subject.id, one.step.status
        before = sent_at.setdefault(notification_id, None)
        if one.is_delivery:
            group.statuses[notification_id][one.key] = status
        else:
            group.statuses[notification_id].pop(one.key, None)  # gone, if an earlier record of it was cut short
            group.suppressions[notification_id].append(f"{one.key[0]}:{one.step.reason}")
        if status == "sent":
            sent_at[notification_id] = one.at if before is None else min(one.at, before)
    return [
        Settled(
            notification_id,
            status_of(group.statuses[notification_id].values()),
            at,
            tuple(group.suppressions[notification_id]),
        )
        for notification_id, at in sent_at.items()
    ]


def ended(group: Group, subject: Subject, made: Plan) -> Settled | None:
    """The notification's side of a plan without attempts, if it ends something or says why nothing was sent."""
    if made.attempts or not (made.endings or made.status or made.suppressions):
        return None
    status = made.status or status_of(group.statuses[subject.id].values())
    return Settled(subject.id, status, None, tuple(made.suppressions))


def row_of(one: Attempted) -> Recorded:
    """An attempt as it is recorded."""
    subject, step = one.planned.subject, one.step
    return Recorded(
        notification_id=subject.id,
        channel=one.planned.address.channel,
        device_id=one.planned.address.device_id,
        project_id=subject.project_id,
        status=step.status,
        outcome=TAGS[type(one.outcome)],
        provider=one.provider,
        emulated=one.emulated,
        number=one.planned.attempt if one.called else 0,
        attempts=one.planned.attempt if step.counts else one.planned.attempt - 1,
        duration_ms=one.duration_ms,
        reason=step.reason,
        detail=step.detail,
        provider_message_id=one.outcome.provider_message_id if isinstance(one.outcome, Sent) else None,
        next_attempt_at=step.next_attempt_at,
        sent_at=one.at if step.status == "sent" else None,
    )


async def disable_gone(connection: Connection, answered: Sequence[Attempted]) -> None:
    """Disable the devices that the vendor says are gone, unless they were registered again since."""
    gone = [
        (one.planned.address.device_id, str(one.outcome.reason), one.outcome.since or one.began_at)
        for one in answered
        if isinstance(one.outcome, Gone) and one.planned.address.device_id
    ]
    await devices.disable(connection, sorted(gone))


async def create_retries(connection: Connection, answered: Sequence[Attempted]) -> None:
    """One task for all retries of a project and lane that are due in the same second."""
    due: dict[tuple[int, str, datetime], list[int]] = {}
    for one in answered:
        at, subject = one.step.next_attempt_at, one.planned.subject
        if at is not None:
            # Up to the next second: when the task is claimed, all its deliveries are due.
            second = at.replace(microsecond=0) + timedelta(seconds=1)
            ids = due.setdefault((subject.project_id, subject.lane, second), [])
            if subject.id not in ids[-1:]:
                ids.append(subject.id)
    for (project_id, lane, at), ids in due.items():
        await tasks.create(connection, project_id, "retry", lane, sorted(set(ids)), at)
