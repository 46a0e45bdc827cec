"""The walk of a group of notifications: load, plan, send, record. A retry is the same walk, later."""

import asyncio
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
import structlog
from msgspec import Struct

from tidings import deliveries, notifications
from tidings.clock import now as clock_now
from tidings.db import Pool
from tidings.deliveries import Recorded
from tidings.providers.contract import Message, Outcome, Provider, Reason, Retry
from tidings.signing import sign_receipt
from tidings.tasks import Claim
from tidings.turns import Turns
from tidings.worker.pace import Gate
from tidings.worker.plan import WEBSOCKET, Known, Planned, plan, subjects_of
from tidings.worker.record import Attempted, Group, record
from tidings.worker.retry import Policy, next_step

FIRST_RECORD_S = 0.5  # what has its answer by then is recorded; stragglers follow
PLANS_A_TURN = 16
MARGIN_S = 5.0  # before the lease runs out; what has no answer by then is tried again
# Calls of one group at once. Vendors take about 100 on a connection; the rest would only wait inside their own
# deadline. Two rounds of calls that all time out fit into a lease.
MOST_AT_ONCE = 256
AT_ONCE: Mapping[str, int] = {WEBSOCKET: 16}  # the bus is near, and its answers are quick

log = structlog.get_logger("tidings.worker")

_decode = msgspec.json.decode


class Delivering(Struct, frozen=True):
    """What delivering needs. `providers` and `gates` by `Address.via`; `receipt_url` "": no receipts are asked for.

    `turns`: of the event loop, which all lanes of a process share; `urgent`: this lane does not wait for one.
    """

    db: Pool
    providers: Mapping[str, Provider]
    gates: Mapping[str, Gate]
    policy: Policy
    lease_s: float
    receipt_key: bytes
    receipt_url: str = ""
    turns: Turns = msgspec.field(default_factory=Turns)
    urgent: bool = False


async def deliver(work: Delivering, claims: Sequence[Claim], claimed_at: float) -> int:
    """Deliver the notifications of the claimed tasks; answers how many attempts were made.

    `claimed_at`: on the event loop's clock; the lease runs from then. Raises `StaleClaim` when another worker has taken
    over one of the tasks: what is not recorded yet is dropped.
    """
    turns = None if work.urgent else work.turns
    group = await load(work.db, claims, turns)
    planned = group.planned
    answered: list[Attempted] = []
    ends_at = claimed_at + work.lease_s - min(MARGIN_S, work.lease_s / 4)
    senders = start_senders(work, planned, answered, ends_at)
    early: list[Attempted] = []
    try:
        if await _still_sending(senders, FIRST_RECORD_S):
            early = answered.copy()
            group.early.append(True)
            left = without_answer(planned, early)
            reserved = [reservation(work, one, min(claim.lease_until for claim in claims)) for one in left]
            await record(work.db, group, early, last=False, reserved=[row for row in reserved if row is not None])
            late = await _still_sending(senders, ends_at - asyncio.get_running_loop().time())
            for sender in late:
                sender.cancel()
        outcome = Retry(Reason.TIMEOUT, "no answer in time")
        answered += [judge(work, one, outcome) for one in without_answer(planned, answered)]
        if turns is not None:
            await turns.take()
        await record(work.db, group, answered[len(early) :], last=True)
    finally:
        for sender in senders:
            sender.cancel()  # does nothing to those that are done
    return len(planned)


def reservation(work: Delivering, planned: Planned, until: datetime) -> Recorded | None:
    """The row of a delivery that is being attempted: other tasks leave it alone until then. Sockets need none."""
    if not planned.address.device_id:
        return None
    provider = work.providers[planned.address.via]
    return Recorded(
        notification_id=planned.subject.id,
        channel=planned.address.channel,
        device_id=planned.address.device_id,
        project_id=planned.subject.project_id,
        status="sending",
        outcome="",
        provider=provider.name,
        emulated=provider.emulated,
        number=0,
        attempts=planned.attempt - 1,
        duration_ms=0,
        next_attempt_at=until,
    )


def start_senders(
    work: Delivering, planned: Sequence[Planned], answered: list[Attempted], ends_at: float
) -> list[asyncio.Task[None]]:
    """Begin all attempts, each channel by itself so that a slow one holds up no other; answers fill `answered`.

    None is begun after `ends_at`: a process that was stopped and goes on has lost its lease, and another one is at it.

    A task for each attempt would cost as much as the attempt. Sockets come first: their frames leave at once.
    """
    senders = []
    for channel in sorted({one.address.channel for one in planned}, key=lambda channel: channel != WEBSOCKET):
        mine = [one for one in planned if one.address.channel == channel]
        left = iter(mine)
        most = min(len(mine), AT_ONCE.get(channel, MOST_AT_ONCE))
        senders += [asyncio.create_task(_send_each(work, left, answered, ends_at)) for _ in range(most)]
    return senders


async def _send_each(work: Delivering, left: Iterator[Planned], answered: list[Attempted], ends_at: float) -> None:
    loop = asyncio.get_running_loop()
    for one in left:
        if work.turns.recently_urgent and not work.urgent:
            await work.turns.take()
        if loop.time() >= ends_at:
            return
        answered.append(await attempt(work, one))


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
                row["status"], row["attempts"], (row["notification_id"], *key) in due, row["attempts_allowed"]
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


async def attempt(work: Delivering, planned: Planned) -> Attempted:
    """One provider call. Never raises for what the vendor or the network does."""
    channel = planned.address.channel
    via = planned.address.via
    gate = work.gates[via]
    paused = gate.closed()
    if paused is not None:
        return judge(work, planned, paused)
    began = time.perf_counter()
    try:
        outcome = await work.providers[via].send(message_of(work, planned))
    except asyncio.CancelledError:
        gate.release()
        raise
    except Exception:  # a defect of ours must not take the neighbours along; it counts as a try
        log.exception("attempt_failed", notification_id=planned.subject.id, channel=channel)
        outcome = Retry(Reason.INTERNAL, "a defect of ours; the log has it")
    gate.learn(outcome)
    return judge(work, planned, outcome, called=True, duration_ms=round((time.perf_counter() - began) * 1000))


def judge(
    work: Delivering, planned: Planned, outcome: Outcome, *, called: bool = False, duration_ms: int = 0
) -> Attempted:
    """What the outcome means for the delivery."""
    at = clock_now()
    policy = work.policy if planned.allowed is None else Policy(planned.allowed, work.policy.base_s)
    step = next_step(outcome, planned.attempt, policy, at, planned.subject.expires_at, random.random())
    provider = work.providers[planned.address.via]
    return Attempted(planned, outcome, step, at, duration_ms, called, provider.name, provider.emulated)


def message_of(work: Delivering, planned: Planned) -> Message:
    """The message for the provider. Its collapse key is the same at every attempt."""
    subject, address = planned.subject, planned.address
    receipt_url = None
    if work.receipt_url and address.device_id:
        receipt = sign_receipt(work.receipt_key, subject.project_id, subject.id, address.channel, address.device_id)
        receipt_url = work.receipt_url + receipt
    return Message(
        project_id=subject.project_id,
        notification_id=subject.id,
        user_id=subject.user_id,
        device_id=address.device_id,
        device_type=address.device_type,
        address=address.token,
        title=subject.title,
        body=subject.body,
        data=subject.data,
        ttl_s=subject.ttl_s,
        collapse_key=subject.collapse_key or f"tidings-{subject.id}",
        urgent=subject.lane == "critical",
        created_at=subject.begins_at,
        overrides=subject.overrides,
        receipt_url=receipt_url,
    )
