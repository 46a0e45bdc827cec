"""The walk of a group of notifications: load, plan, send, record. A retry is the same walk, later."""

import asyncio
import random
import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from tidings import deliveries, notifications
from tidings.clock import now as clock_now
from tidings.db import Pool
from tidings.providers.contract import Message, Outcome, Provider, Reason, Retry
from tidings.signing import sign_receipt
from tidings.tasks import Claim
from tidings.worker.pace import Gate
from tidings.worker.plan import Known, Planned, plan, subjects_of
from tidings.worker.record import Attempted, Group, record
from tidings.worker.retry import Policy, next_step

FIRST_RECORD_S = 0.5  # what has its answer by then is recorded; stragglers follow
MARGIN_S = 5.0  # before the lease runs out; what has no answer by then is tried again

_decode = msgspec.json.decode


class Delivering(Struct, frozen=True):
    """What delivering needs. `providers` and `gates` by channel; `receipt_url` "": no receipts are asked for."""

    db: Pool
    providers: Mapping[str, Provider]
    gates: Mapping[str, Gate]
    policy: Policy
    lease_s: float
    receipt_key: bytes
    receipt_url: str = ""


async def deliver(work: Delivering, claims: Sequence[Claim]) -> int:
    """Deliver the notifications of the claimed tasks; answers how many attempts were made.

    Raises `StaleClaim` when another worker has taken over one of the tasks: what is not recorded yet is dropped.
    """
    group = await load(work.db, claims)
    planned = {asyncio.create_task(attempt(work, one)): one for one in group.planned}
    try:
        answered, waiting = await _answers(planned, FIRST_RECORD_S)
        if waiting:
            await record(work.db, group, answered, last=False)
            answered, waiting = await _answers(waiting, work.lease_s - MARGIN_S - FIRST_RECORD_S)
            answered += [
                judge(work, planned[task], Retry(Reason.TIMEOUT, "no answer in time")) for task in waiting
            ]
        await record(work.db, group, answered, last=True)
    finally:
        for task in planned:
            task.cancel()  # does nothing to those that are done
    return len(planned)


async def _answers(
    tasks: Iterable[asyncio.Task[Attempted]], timeout_s: float
) -> tuple[list[Attempted], set[asyncio.Task[Attempted]]]:
    tasks = set(tasks)
    if not tasks:
        return [], tasks
    done, waiting = await asyncio.wait(tasks, timeout=max(timeout_s, 0.0))
    return [task.result() for task in done], waiting


async def load(db: Pool, claims: Sequence[Claim]) -> Group:
    """Everything about the notifications of these tasks, in one query (two if there may be earlier attempts)."""
    ids = [subject_id for claim in claims for subject_id in claim.subject_ids]
    if any(claim.kind == "scheduled" for claim in claims):
        await db.execute(notifications.SQL["begin_scheduled"], ids)
    subjects = subjects_of(await db.fetch(notifications.SQL["load"], ids), _decode)
    histories: dict[int, dict[tuple[str, int], Known]] = {}
    if any(claim.again for claim in claims):
        for row in await deliveries.existing(db, ids):
            known = Known(row["status"], row["attempts"], row["next_attempt_at"])
            histories.setdefault(row["notification_id"], {})[row["channel"], row["device_id"]] = known
    at = clock_now()
    retried = {subject_id for claim in claims if claim.kind == "retry" for subject_id in claim.subject_ids}
    plans = [
        (subject, plan(subject, histories.get(subject.id, {}), at, retrying=subject.id in retried))
        for subject in subjects
    ]
    return Group.of(claims, plans, histories)


async def attempt(work: Delivering, planned: Planned) -> Attempted:
    """One provider call. Never raises for what the vendor or the network does."""
    channel = planned.address.channel
    gate = work.gates[channel]
    paused = gate.closed()
    if paused is not None:
        return judge(work, planned, paused)
    began = time.perf_counter()
    outcome = await work.providers[channel].send(message_of(work, planned))
    gate.learn(outcome)
    return judge(work, planned, outcome, called=True, duration_ms=round((time.perf_counter() - began) * 1000))


def judge(
    work: Delivering, planned: Planned, outcome: Outcome, *, called: bool = False, duration_ms: int = 0
) -> Attempted:
    """What the outcome means for the delivery."""
    at = clock_now()
    step = next_step(outcome, planned.attempt, work.policy, at, planned.subject.expires_at, random.random())
    provider = work.providers[planned.address.channel]
    return Attempted(planned, outcome, step, at, duration_ms, called, provider.name, provider.emulated)


def message_of(work: Delivering, planned: Planned) -> Message:
    """The message for the provider. Its collapse key is the same at every attempt."""
    subject, address = planned.subject, planned.address
    receipt_url = None
    if work.receipt_url and address.device_id:
        receipt = sign_receipt(
            work.receipt_key, subject.project_id, subject.id, address.channel, address.device_id
        )
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
