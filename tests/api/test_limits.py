"""Rate limits and the backlog: refused in time, told how long, and nothing stored."""

from pathlib import Path

import httpx

from tests.api.operations import rows
from tests.conftest import client_of, environ, eventually, make_project
from tests.servers import RedisServer
from tidings import settings
from tidings.app import App, Role, open_app
from tidings.bus.limits import Rate
from tidings.projects import Scope, create_key

MOST = 100  # the least that can be set
# Due, but nobody is told of them: as if workers had had them for long.
STUCK = """
INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at)
SELECT $1, 'deliver', 'normal', '{}', now(), now() + interval '1 day' FROM generate_series(1, $2::integer)
"""
API_ALONE = frozenset({Role.API})


async def test_a_key_that_calls_too_often_is_told_when_to_come_again(app: App, data_dir: Path) -> None:
    async with open_app(settings.load(environ(data_dir, TIDINGS_RATE_PER_KEY="2")), API_ALONE) as limited:
        project_id, key = await make_project(app)
        second, _ = await create_key(app.db, project_id, "second", [Scope.ADMIN])
        async with client_of(limited, key) as client:
            answers = [await client.get("/api/users") for _ in range(6)]
            statuses = [answer.status_code for answer in answers]
            assert statuses[:4] == [200] * 4
            assert 429 in statuses[4:]
            refused = next(answer for answer in answers if answer.status_code == 429)
            assert refused.json()["code"] == "rate_limited"
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.headers["RateLimit-Remaining"] == "0"
            assert [int(a.headers["RateLimit-Remaining"]) for a in answers[:4]] == [3, 2, 1, 0]
        async with client_of(limited, second) as client:
            assert (await client.get("/api/users")).status_code == 200, "another key has a limit of its own"


async def test_the_headers_of_a_batch_show_what_its_items_have_left(app: App, data_dir: Path) -> None:
    slow = {"TIDINGS_RATE_PER_KEY": "0.01", "TIDINGS_RATE_PER_PROJECT": "10"}
    async with open_app(settings.load(environ(data_dir, **slow)), API_ALONE) as limited:
        limited.services.limits._key_rate = Rate(0.01, 20)  # as good as nothing comes back while this runs
        project_id, key = await make_project(app)
        user = await app.db.fetchval("INSERT INTO users (project_id) VALUES ($1) RETURNING id", project_id)

        async with client_of(limited, key) as client:

            async def batch(size: int) -> httpx.Response:
                items = [{"user_id": user, "title": "t"}] * size
                return await client.post("/api/notifications/batch", json={"notifications": items})

            sent = await batch(12)
            assert (sent.status_code, sent.headers.get_list("RateLimit-Remaining")) == (202, ["8"])
            refused = await batch(12)
            assert (refused.status_code, refused.headers.get_list("RateLimit-Remaining")) == (429, ["7"])
            # It lacks 4 of 11, and the call itself, which has just been counted, is counted again.
            [wait] = refused.headers.get_list("Retry-After")
            assert 480 <= int(wait) <= 500
            assert f"in {wait} s" in refused.json()["detail"]
            sent = await batch(1)
            assert (sent.status_code, sent.headers["RateLimit-Remaining"]) == (202, "6")


async def test_a_batch_of_more_than_may_come_at_once_takes_all_there_is(app: App, data_dir: Path) -> None:
    async with open_app(settings.load(environ(data_dir, TIDINGS_RATE_PER_KEY="5")), API_ALONE) as limited:
        project_id, key = await make_project(app)
        user = await app.db.fetchval("INSERT INTO users (project_id) VALUES ($1) RETURNING id", project_id)
        items = [{"user_id": user, "title": "t"}] * 50
        async with client_of(limited, key) as client:
            sent = await client.post("/api/notifications/batch", json={"notifications": items})
            assert (sent.status_code, sent.json()["accepted"]) == (202, 50)
            assert sent.headers["RateLimit-Remaining"] == "0"


async def test_all_keys_of_a_project_share_its_limit_and_a_batch_counts_each_item(app: App, data_dir: Path) -> None:
    async with open_app(settings.load(environ(data_dir, TIDINGS_RATE_PER_PROJECT="10")), API_ALONE) as limited:
        project_id, key = await make_project(app)
        second, _ = await create_key(app.db, project_id, "second", [Scope.ADMIN])
        async with client_of(limited, key) as client:
            user = (await client.post("/api/users", json={})).json()["id"]
            items = [{"user_id": user, "title": "t"}] * 16
            sent = await client.post("/api/notifications/batch", json={"notifications": items})
            assert sent.status_code == 202
        async with client_of(limited, second) as client:
            answers: list[httpx.Response] = []
            while len(answers) < 40 and 429 not in [answer.status_code for answer in answers]:
                answers.append(await client.post("/api/notifications", json={"user_id": user, "title": "t"}))
            assert answers[-1].status_code == 429


async def test_without_redis_bulk_waits_and_the_rest_is_let_in(
    app: App, data_dir: Path, redis_server: RedisServer
) -> None:
    chosen = {"TIDINGS_RATE_PER_KEY": "1000", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis_server.port)}
    async with open_app(settings.load(environ(data_dir, **chosen)), API_ALONE) as limited:
        _, key = await make_project(app)
        async with client_of(limited, key) as client:
            user = (await client.post("/api/users", json={})).json()["id"]

            async def answers(lane: str) -> list[httpx.Response]:
                one = {"user_id": user, "title": "t", "lane": lane}
                batch = {"notifications": [one, {**one, "lane": "normal"}]}
                return [
                    await client.post("/api/notifications", json=one),
                    await client.post("/api/notifications/batch", json=batch),
                ]

            async def statuses(lane: str) -> list[int]:
                return [answer.status_code for answer in await answers(lane)]

            assert await statuses("bulk") == [202, 202]
            await redis_server.kill()
            try:
                for answer in await answers("bulk"):
                    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
                    assert answer.json()["code"] == "unavailable"
                    assert "RateLimit-Remaining" not in answer.headers
                assert await statuses("normal") == [202, 202]
                assert await statuses("critical") == [202, 202]
            finally:
                await redis_server.start()

            async def let_in() -> bool | None:
                return await statuses("bulk") == [202, 202] or None

            await eventually(let_in)


async def test_a_full_backlog_is_refused_but_not_for_the_critical_lane(app: App, data_dir: Path) -> None:
    async with open_app(settings.load(environ(data_dir, TIDINGS_MAX_BACKLOG=str(MOST))), API_ALONE) as full:
        project_id, key = await make_project(app)
        async with client_of(full, key) as client:
            user = (await client.post("/api/users", json={})).json()["id"]
            normal = {"user_id": user, "title": "t"}
            critical = {**normal, "lane": "critical"}

            async def answer_to(*items: dict[str, object], status: int) -> httpx.Response:
                """What one item, or a batch of several, is answered once the watch has looked."""
                path = "/api/notifications/batch" if len(items) > 1 else "/api/notifications"
                body = {"notifications": items} if len(items) > 1 else items[0]

                async def answered() -> httpx.Response | None:
                    answer = await client.post(path, json=body)
                    return answer if answer.status_code == status else None

                return await eventually(answered)

            await answer_to(normal, status=202)
            await app.db.execute(STUCK, project_id, MOST + 1)
            refused = await answer_to(normal, status=503)
            assert refused.headers["Retry-After"] == "5"
            stored = await rows(app, project_id)
            for batch in ([normal], [normal, critical]):
                answer = await client.post("/api/notifications/batch", json={"notifications": batch})
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert (await rows(app, project_id))["notifications"] == stored["notifications"]
            assert (await client.post("/api/notifications", json=critical)).status_code == 202
            answer = await client.post("/api/notifications/batch", json={"notifications": [critical] * 2})
            assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
            await app.db.execute(
                "DELETE FROM tasks WHERE project_id = $1 AND publish_at > now() + '1 hour'", project_id
            )
            await answer_to(normal, status=202)
            await answer_to(normal, critical, status=202)
