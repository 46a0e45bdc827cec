"""Broadcasts over HTTP."""

from typing import Any

import pytest

from tests.api.operations import rows
from tests.conftest import Project, eventually
from tidings.api.examples import NEWS
from tidings.app import App


async def test_announce(project: Project) -> None:
    answer = await project.client.post("/api/broadcasts", json=NEWS)
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted == {
        "id": accepted["id"],
        **NEWS,
        "status": "pending",
        "created_at": accepted["created_at"],
    }

    async def sent() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await project.client.get(f"/api/broadcasts/{accepted['id']}")).json()
        return shown if shown["status"] == "sent" else None

    shown = await eventually(sent)
    assert shown == {**accepted, "status": "sent", "sent_at": shown["sent_at"], "sockets": 0}


@pytest.mark.parametrize("broadcast_id", ["0", "-1", str(2**62), str(2**63), "9" * 40])
async def test_ids_that_nobody_has(project: Project, broadcast_id: str) -> None:
    answer = await project.client.get(f"/api/broadcasts/{broadcast_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "broadcast_not_found")


async def test_with_an_idempotency_key_it_goes_out_soon_and_once(app: App, project: Project) -> None:
    answers = [
        await project.client.post("/api/broadcasts", json=NEWS, headers={"Idempotency-Key": "b-1"}) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert (await rows(app, project.id))["broadcasts"] == 1
