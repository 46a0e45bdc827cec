"""A worker that is told to stop over slow vendors: what these took is recorded, and the next worker does the rest."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.conftest import Project, eventually
from tests.worker.test_attempt import Answering, Page
from tests.worker.test_plan import PHONE, subject
from tidings import clock
from tidings.account_limits import AccountLimits
from tidings.app import App
from tidings.emulators.address import Address
from tidings.lanes import composing_of, open_lanes
from tidings.operators import read_accounts
from tidings.providers.contract import Sent
from tidings.queue import Lane, Ticket
from tidings.queue.memory import MemoryQueue
from tidings.turns import Turns
from tidings.worker.attempt import Delivering, NotBegun, attempt
from tidings.worker.book import Usable
from tidings.worker.compose import Composing
from tidings.worker.deliver import ONCE_AT_ONCE
from tidings.worker.leaving import to_the_end
from tidings.worker.limits import Limits
from tidings.worker.loop import Worker
from tidings.worker.pace import Pace
from tidings.worker.plan import Planned
from tidings.worker.retry import Policy

QUICK_MS, SLOW_MS = 1000, 6000
PLACES = 4


@asynccontextmanager
async def lanes_of(app: App, **limits: AccountLimits) -> AsyncIterator[dict[Lane, Delivering]]:
    """What another worker process would deliver with, its accounts with these limits; closed with the block."""
    assert app.emulators is not None
    assert app.services.vault is not None
    async with AsyncExitStack() as stack:
        accounts = msgspec.structs.replace(read_accounts(app.settings, Address.of(app.emulators)), limits=limits)
        composing = composing_of(app.services, app.api_url)
        yield await open_lanes(app.services, app.db, accounts, app.services.vault, composing, Turns(), stack)


async def group_of(project: Project, tokens: list[str]) -> list[int]:
    """A notification for each phone, in one task that no other worker takes."""
    items = []
    for token in tokens:
        user = await project.user()
        await project.device(user, token)
        items.append({"user_id": user, "title": "t", "channels": ["push"], "scheduled_time": "2030-01-01T00:00:00Z"})
    answer = await project.client.post("/api/notifications/batch", json={"notifications": items})
    assert answer.status_code == 202, answer.text
    ids: list[int] = answer.json()["ids"]
    return ids


async def stopped_midway(
    app: App, project: Project, works: Mapping[Lane, Delivering], tokens: list[str], quick: list[str], grace_s: float
) -> tuple[list[int], dict[int, str]]:
    """Deliver to these phones and stop once the vendor has answered for the `quick` ones; the notifications, and what
    is recorded of each just then."""
    ids = await group_of(project, tokens)
    queue = MemoryQueue()
    worker = Worker(works, queue, app.bus)
    task = await app.db.fetchval(
        "UPDATE tasks SET due_at = now(), publish_at = now() + interval '1 hour' WHERE project_id = $1 RETURNING id",
        project.id,
    )
    worker.start()
    await queue.publish([Ticket(task, Lane.SCHEDULED, len(ids))])

    async def answered() -> bool | None:
        return all(times(app, token) for token in quick) or None

    await eventually(answered)
    assert await app.db.fetchval("SELECT lease_until > now() FROM tasks WHERE id = $1", task), "it ended too early"
    await worker.stop(grace_s)
    rows = await app.db.fetch("SELECT notification_id, status FROM deliveries WHERE notification_id = ANY($1)", ids)
    return ids, {row["notification_id"]: row["status"] for row in rows}


def times(app: App, token: str) -> int:
    """How often a phone got something."""
    assert app.emulators is not None
    return len(app.emulators.phones.messages(token))


async def ended(project: Project, ids: list[int]) -> list[str]:
    """The statuses of all in the end."""
    return [(await project.until(one, "sent", "failed"))["status"] for one in ids]


async def test_what_is_answered_is_not_sent_again_and_the_rest_is_left_to_the_next(app: App, project: Project) -> None:
    quick = [f"latency-{QUICK_MS}-{project.id}-{n}" for n in range(20)]
    tokens = [*quick, f"latency-{SLOW_MS}-{project.id}"]
    async with lanes_of(app) as works:
        ids, statuses = await stopped_midway(app, project, works, tokens, quick, 0.1)
        assert [statuses[one] for one in ids[:-1]] == ["sent"] * len(quick)
        # The service's own worker is the next. It may have begun; it can't have ended.
        assert statuses[ids[-1]] == "sending"
        assert await ended(project, ids) == ["sent"] * len(ids)
    assert [times(app, token) for token in tokens] == [1] * len(tokens), "the call that was cut was taken by nobody"
    attempts = await app.db.fetchval("SELECT count(*) FROM attempts WHERE notification_id = ANY($1)", ids)
    assert attempts == len(ids)
    assert await app.db.fetchval("SELECT count(*) FROM tasks WHERE project_id = $1", project.id) == 0


async def test_calls_that_are_under_way_may_end_and_no_other_is_begun(app: App, project: Project) -> None:
    quick = [f"latency-{QUICK_MS // 2}-{project.id}-{n}" for n in range(PLACES)]
    under_way = [f"latency-{QUICK_MS}-{project.id}-{n}" for n in range(PLACES)]
    waiting = [f"latency-{SLOW_MS // 2}-{project.id}-{n}" for n in range(3)]
    tokens = [*quick, *under_way, *waiting]
    async with lanes_of(app, fcm=AccountLimits(most_at_once=PLACES + 1)) as works:  # one is for what is urgent
        ids, statuses = await stopped_midway(app, project, works, tokens, quick, 20)
        assert [times(app, token) for token in waiting] == [0] * len(waiting), "begun by the one that stops"
        assert [statuses[one] for one in ids[: 2 * PLACES]] == ["sent"] * 2 * PLACES
        assert await ended(project, ids) == ["sent"] * len(ids)
    assert [times(app, token) for token in tokens] == [1] * len(tokens)


async def test_at_most_once_the_true_outcome_is_kept(app: App, project: Project) -> None:
    """What has no answer may have been made, and is not made again; what was not begun is made by the next worker."""
    quick = [f"latency-{QUICK_MS}-{project.id}-{n}" for n in range(ONCE_AT_ONCE - 1)]
    slow = f"latency-{SLOW_MS}-{project.id}"
    waiting = [f"plain-{project.id}-{n}" for n in range(7)]
    tokens = [*quick, slow, *waiting]
    async with lanes_of(app) as works:
        once = {lane: msgspec.structs.replace(work, once=frozenset({"push"})) for lane, work in works.items()}
        ids, statuses = await stopped_midway(app, project, once, tokens, quick, 0.1)
        assert [statuses[one] for one in ids[: len(quick)]] == ["sent"] * len(quick)
        assert await ended(project, ids) == ["sent"] * len(quick) + ["failed"] + ["sent"] * len(waiting)
    assert [times(app, token) for token in tokens] == [1] * len(quick) + [0] + [1] * len(waiting)
    (cut,) = (await project.get(ids[len(quick)]))["deliveries"]
    assert (cut["reason"], cut["attempts"]) == ("unknown", [])


async def test_a_call_is_not_begun_and_its_place_is_free_again() -> None:
    provider, pace = Answering("one", Sent()), Pace(Limits())
    page: Any = Page([Usable(1, provider, pace)])
    db: Any = None
    work = Delivering(db, page, Policy(), 60.0, Composing(b"k" * 32, b"u" * 32), Turns())
    work.stopping.set()
    with pytest.raises(NotBegun):
        await attempt(work, Planned(subject(begins_at=clock.now()), PHONE, 1), asyncio.get_running_loop().time() + 10)
    assert (provider.asked, pace.in_flight) == (0, 0)
    pace.close()


async def test_the_last_record_ends_however_often_the_worker_is_cancelled() -> None:
    go_on, said = asyncio.Event(), []

    async def record() -> None:
        await go_on.wait()
        said.append("recorded")

    leaving = asyncio.create_task(to_the_end(record(), 20))
    for _ in range(3):
        await asyncio.sleep(0.01)
        leaving.cancel()
    go_on.set()
    await leaving
    assert said == ["recorded"]


async def test_a_database_that_is_away_does_not_hold_the_end_up() -> None:
    async def hangs() -> None:
        while True:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                await asyncio.sleep(20)
                raise

    async with asyncio.timeout(10):
        await to_the_end(hangs(), 0.05)
