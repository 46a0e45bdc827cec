"""Who has no socket open is known before anything is sent: of a group from Redis in one question."""

import secrets

from tests.bus.ear import PATIENCE_S, Ear
from tests.conftest import Project
from tests.servers import Address
from tests.worker.test_meeting import claim_due
from tidings.app import App
from tidings.bus.redis import WORTH_ASKING, RedisBounds, open_redis_bus
from tidings.worker.deliver import load
from tidings.worker.plan import NOBODY_THERE


async def test_in_a_group_only_those_who_are_there_are_published_to(
    app: App, project: Project, redis_address: Address
) -> None:
    users = [await project.user() for _ in range(WORTH_ASKING)]
    claims = []
    for user in users:
        await project.device(user, f"absent-{user}")
        body = {"user_id": user, "title": "t", "scheduled_time": "2030-01-01T00:00:00Z"}
        notification = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
        claims.append(await claim_due(app, notification, "scheduled"))
    bounds = RedisBounds(prefix=f"absent-{secrets.token_hex(4)}", allow_s=PATIENCE_S)
    bus = await open_redis_bus(redis_address.redis_url, bounds)
    try:
        await bus.join(project.id, users[3], Ear().take, None, None)
        group = await load(app.db, claims, absent=bus.absent)
        few = await load(app.db, claims[:2], absent=bus.absent)
    finally:
        await bus.close()
    channels = {subject.user_id: [one.address.channel for one in plan.attempts] for subject, plan in group.plans}
    assert channels == {user: ["push", "websocket"] if user == users[3] else ["push"] for user in users}
    assert all(plan.suppressions == [NOBODY_THERE] for subject, plan in group.plans if subject.user_id != users[3])
    assert {one.address.channel for one in few.planned} == {"push", "websocket"}, "a few are published to at once"
