"""A range of ids for each day: made ahead, entered at midnight, dropped whole."""

from datetime import date, timedelta
from itertools import pairwise

from tests.conftest import Project
from tidings import clock, partitions
from tidings.app import App


async def days(app: App) -> dict[date, tuple[int, int]]:
    return {row["day"]: (row["first_id"], row["end_id"]) for row in await app.db.fetch("SELECT * FROM days")}


async def test_today_and_the_days_ahead_are_there_and_join_without_a_gap(app: App) -> None:
    today = clock.now().date()
    made = await days(app)
    assert {today + timedelta(days=n) for n in range(partitions.DAYS_AHEAD + 1)} <= set(made)
    ranges = sorted(made.values())
    assert all(before[1] == after[0] for before, after in pairwise(ranges))


async def test_ids_move_to_the_new_day_and_never_back(app: App, project: Project) -> None:
    today = clock.now().date()
    user = await project.user()
    before = await project.send(user)
    await partitions.ensure(app.db, today + timedelta(days=1))
    first, end = (await days(app))[today + timedelta(days=1)]
    after = await project.send(user)
    assert before < first <= after < end
    await partitions.ensure(app.db, today + timedelta(days=1))
    await partitions.ensure(app.db, today)
    assert await project.send(user) > after
    listed = [n["id"] for n in (await project.client.get(f"/api/notifications/user/{user}")).json()]
    assert listed == sorted(listed, reverse=True)
    assert len(listed) == 3


async def test_an_old_day_is_dropped_but_not_while_something_in_it_is_unfinished(app: App, project: Project) -> None:
    tomorrow = clock.now().date() + timedelta(days=1)
    user = await project.user()
    body = {"user_id": user, "title": "far ahead", "scheduled_time": "2031-01-01T00:00:00Z"}
    scheduled = (await project.client.post("/api/notifications/schedule", json=body)).json()["id"]
    await partitions.ensure(app.db, tomorrow)
    far = tomorrow + timedelta(days=400)
    assert await partitions.drop_old(app.db, far, 500) == []
    kept = {day for day, (first, end) in (await days(app)).items() if first <= scheduled < end}
    dropped = await partitions.drop_old(app.db, max(await days(app)) + timedelta(days=31), 30)
    assert kept.isdisjoint(dropped)
    assert (await project.get(scheduled))["status"] == "scheduled"
    for day in dropped:
        assert await app.db.fetchval("SELECT to_regclass($1)", f"notifications_{day:%Y%m%d}") is None
    last = max(await days(app))
    await partitions.ensure(app.db, last + timedelta(days=1))
    assert await project.send(user) > scheduled
