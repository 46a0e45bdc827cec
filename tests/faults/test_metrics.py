"""What `/metrics` of a scheduler and of a worker says is true: of the database, the queue, the vendor."""

import math
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import eventually
from tests.faults.plant import Part, Plant
from tests.queue.test_rabbitmq import Stranger
from tidings.queue import Lane
from tidings.queue.config import RabbitConfig
from tidings.queue.topology import dead_queue, lane_queue

DEADLINE_S = 90.0
WAITS_S = 600


async def value(part: Part, name: str, **labels: str) -> float | None:
    """A sample on the operations port of a process; None: it is not there."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.get(f"http://127.0.0.1:{part.operations_port}/metrics")
    assert answer.status_code == 200
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None


async def becomes(part: Part, wanted: float, name: str, **labels: str) -> None:
    """Wait until the sample has this value; NaN is a value, too."""

    async def check() -> bool | None:
        found = await value(part, name, **labels)
        return (found is not None and (found == wanted or (math.isnan(found) and math.isnan(wanted)))) or None

    await eventually(check, DEADLINE_S)


@pytest.fixture
async def project_id(made: Plant) -> AsyncIterator[int]:
    """Of a notification that is lost, and of one whose task should have been taken two minutes ago. Both go again."""
    pool = await made.pool()
    mine: int = await pool.fetchval("INSERT INTO projects (name) VALUES ('metrics') RETURNING id")
    yield mine
    pool = await made.pool()
    for table in ("tasks", "notifications"):
        await pool.execute(f"DELETE FROM {table} WHERE project_id = $1", mine)  # noqa: S608
    await pool.execute("DELETE FROM projects WHERE id = $1", mine)


async def test_a_scheduler_tells_what_waits_and_what_is_lost(made: Plant, project_id: int) -> None:
    pool = await made.pool()
    [old] = made.of("scheduler")
    await old.stop()
    _lost, waiting = [
        row["id"]
        for row in await pool.fetch(
            "INSERT INTO notifications (project_id, user_id, title, body, data, status, lane, ttl_s) "
            "SELECT $1, 1, '', '', '{}', 'pending', 'normal', 60 FROM generate_series(1, 2) RETURNING id",
            project_id,
        )
    ]
    # Under a lease, so that nobody touches it, and of a lane that is used for nothing else.
    await pool.execute(
        "INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at, lease_until) VALUES ($1, "
        "'deliver', 'webhook', ARRAY[$2::bigint], now() - make_interval(secs => $3), now() - interval '2 minutes', "
        "now() + interval '1 hour')",
        project_id,
        waiting,
        WAITS_S,
    )
    scheduler = await made.add("scheduler")
    await becomes(scheduler, 1, "tidings_tasks_waiting", lane="webhook")
    await becomes(scheduler, 1, "tidings_tasks_overdue")
    await becomes(scheduler, 1, "tidings_notifications_unaccounted")
    oldest = await value(scheduler, "tidings_tasks_oldest_seconds", lane="webhook")
    assert oldest is not None and oldest >= WAITS_S
    for lane in (Lane.CRITICAL, Lane.BULK):
        await becomes(scheduler, 0, "tidings_tasks_waiting", lane=lane)
        await becomes(scheduler, 0, "tidings_tasks_oldest_seconds", lane=lane)
    await pool.execute("DELETE FROM tasks WHERE project_id = $1", project_id)
    await becomes(scheduler, 0, "tidings_tasks_waiting", lane="webhook")
    await becomes(scheduler, 0, "tidings_tasks_overdue")


@pytest.mark.faults
async def test_a_scheduler_tells_how_deep_the_queue_is_unless_it_is_away(made: Plant) -> None:
    address = made.rabbitmq.address
    config = RabbitConfig(address.host, address.port, address.user, address.password)
    broker = Stranger(config)
    [scheduler] = made.of("scheduler")
    await broker.get_all(dead_queue(config))
    await becomes(scheduler, 0, "tidings_queue_messages", what="dead")
    await broker.put(lane_queue(config, Lane.WEBHOOK), b"nobody takes these", b"nor this one")
    await broker.put(lane_queue(config, Lane.NORMAL), b"not readable")  # a worker puts it among the dead letters
    await becomes(scheduler, 1, "tidings_queue_messages", what="dead")
    await becomes(scheduler, 2, "tidings_queue_messages", what="webhook")
    await becomes(scheduler, 0, "tidings_queue_messages", what="critical")
    await made.rabbitmq.kill()
    await becomes(scheduler, math.nan, "tidings_queue_messages", what="dead")
    assert await value(scheduler, "tidings_tasks_overdue") is not None, "the rest is counted all the same"
    await made.rabbitmq.start()
    await becomes(scheduler, 1, "tidings_queue_messages", what="dead")
    assert len(await broker.get_all(dead_queue(config))) == 1
    await broker.get_all(lane_queue(config, Lane.WEBHOOK))


async def test_a_worker_tells_what_it_sent(made: Plant) -> None:
    async with made.client() as client:
        user = (await client.post("/api/users", json={})).json()["id"]
        await client.post(f"/api/users/{user}/devices", json={"device_token": "metrics", "device_type": "android"})
        workers = made.of("worker")

        async def told(name: str, **labels: str) -> float:
            return sum([await value(worker, name, **labels) or 0 for worker in workers])

        of_fcm = {"channel": "push", "provider": "fcm"}
        before = await told("notifications_sent_total", **of_fcm)
        waited = await told("notification_latency_seconds_count", lane="normal")
        sent = await client.post("/api/notifications", json={"user_id": user, "title": "Hello"})
        assert sent.status_code == 202

        async def counted() -> bool | None:
            return await told("notifications_sent_total", **of_fcm) == before + 1 or None

        await eventually(counted, DEADLINE_S)
        assert await told("notification_latency_seconds_count", lane="normal") == waited + 1
        assert await told("tidings_attempts_total", channel="push", outcome="sent") >= 1
