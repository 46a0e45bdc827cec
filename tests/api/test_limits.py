"""Rate limits and the backlog: refused in time, told how long, and nothing stored."""

from pathlib import Path

import httpx

from tests.conftest import client_of, environ, make_project
from tidings import settings
from tidings.app import App, Role, open_app
from tidings.projects import Scope, create_key

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


async def test_a_full_backlog_is_refused_but_not_for_the_critical_lane(app: App, data_dir: Path) -> None:
    async with open_app(settings.load(environ(data_dir, TIDINGS_MAX_BACKLOG="100")), API_ALONE) as full:
        _, key = await make_project(app)
        full.services.intake._backlog._full = True  # as its watch would set it; 100 stuck tasks take too long here
        async with client_of(full, key) as client:
            user = (await client.post("/api/users", json={})).json()["id"]
            usual = await client.post("/api/notifications", json={"user_id": user, "title": "t"})
            batch = await client.post(
                "/api/notifications/batch", json={"notifications": [{"user_id": user, "title": "t"}]}
            )
            assert (usual.status_code, usual.headers["Retry-After"]) == (503, "5")
            assert batch.status_code == 503
            critical = await client.post("/api/notifications", json={"user_id": user, "title": "t", "lane": "critical"})
            assert critical.status_code == 202
