"""How fast a project lets its own account be used: what may be said, what is shown, and that workers keep to it."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.api.operations import rows
from tests.api.providers.calls import PATH, add, emulated, webpush
from tests.conftest import Project, client_of, environ, eventually, make_project
from tidings import settings
from tidings.app import App, open_app
from tidings.emulators import Emulators

USUAL = {"rate_per_s": None, "burst": None, "most_at_once": None}


async def test_limits_are_kept_replaced_as_a_whole_and_taken_back(project: Project) -> None:
    made = await add(project, webpush(limits={"rate_per_s": 20, "burst": 40}))
    one = f"{PATH}/{made['id']}"
    assert made["limits"] == {**USUAL, "rate_per_s": 20.0, "burst": 40}
    steps: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"priority": 2}, {**USUAL, "rate_per_s": 20.0, "burst": 40}),
        ({"limits": {"most_at_once": 5}}, {**USUAL, "most_at_once": 5}),
        ({"limits": {"rate_per_s": 0.5, "most_at_once": None}}, {**USUAL, "rate_per_s": 0.5}),
        ({"limits": None}, USUAL),
        ({"limits": {"rate_per_s": 1}}, {**USUAL, "rate_per_s": 1.0}),
        ({"limits": {}}, USUAL),
    ]
    for body, shown in steps:
        answer = await project.client.patch(one, json=body)
        assert (answer.status_code, answer.json()["limits"]) == (200, shown), body
        assert (await project.client.get(one)).json()["limits"] == shown
        assert [account["limits"] for account in (await project.client.get(PATH)).json()] == [shown]


@pytest.mark.parametrize("limits", [None, {}, USUAL])
async def test_who_says_nothing_gets_the_providers_own(project: Project, limits: Any) -> None:
    assert (await add(project, webpush(limits=limits)))["limits"] == USUAL


BAD: list[tuple[Any, str, str]] = [
    (7, "invalid_field", "/limits"),
    ({"rate_per_s": 0}, "invalid_field", "/limits/rate_per_s"),
    ({"rate_per_s": 0.001}, "invalid_field", "/limits/rate_per_s"),
    ({"rate_per_s": 1_000_001}, "invalid_field", "/limits/rate_per_s"),
    ({"rate_per_s": "20"}, "invalid_field", "/limits/rate_per_s"),
    ({"rate_per_s": 1, "burst": 0}, "invalid_field", "/limits/burst"),
    ({"rate_per_s": 1, "burst": 1.5}, "invalid_field", "/limits/burst"),
    ({"burst": 10}, "invalid_field", "/limits"),
    ({"most_at_once": 0}, "invalid_field", "/limits/most_at_once"),
    ({"most_at_once": 10_001}, "invalid_field", "/limits/most_at_once"),
    ({"rate": 1}, "unknown_field", "/limits/rate"),
]


@pytest.mark.parametrize(("limits", "code", "pointer"), BAD)
async def test_bad_limits(app: App, project: Project, limits: Any, code: str, pointer: str) -> None:
    answer = await project.client.post(PATH, json=webpush(limits=limits))
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert (await rows(app, project.id))["provider_accounts"] == 0
    made = await add(project, webpush())
    changed = await project.client.patch(f"{PATH}/{made['id']}", json={"limits": limits})
    assert (changed.status_code, changed.json()["errors"][0]["pointer"]) == (422, pointer)


async def held_back(project: Project, vendors: Emulators | None = None, **account: Any) -> dict[str, Any]:
    """Send six at once, and wait until the pace holds one of them back."""
    user = await project.user()
    await project.device(user, f"slow-account-{project.id}")
    made = {} if vendors is None else await add(project, {**emulated("fcm", vendors.service_account), **account})
    sent = [await project.send(user, channels=["push"]) for _ in range(6)]

    async def waits() -> bool | None:
        reasons = {one["reason"] for n in sent for one in (await project.get(n))["deliveries"]}
        return "rate_limited" in reasons or None

    await eventually(waits)
    return {**made, "user": user}


async def test_workers_keep_to_them_and_hear_of_a_change(project: Project, vendors: Emulators) -> None:
    made = await held_back(project, vendors, limits={"rate_per_s": 0.01, "burst": 1})
    answer = await project.client.patch(f"{PATH}/{made['id']}", json={"limits": None})
    assert answer.status_code == 200, answer.text
    await project.until(await project.send(made["user"]), "sent")


async def test_the_operators_hold_for_the_operators_account_alone() -> None:
    folder = Path(tempfile.mkdtemp(prefix="tidings-test-"))
    folder.chmod(0o711)  # noqa: ASYNC240
    try:
        chosen = settings.load(environ(folder, TIDINGS_LIMITS="fcm:rate_per_s=0.01,burst=1"))
        async with open_app(chosen) as limited:
            project_id, key = await make_project(limited)
            async with client_of(limited, key) as client:
                project = Project(project_id, key, client)
                user = (await held_back(project))["user"]
                assert limited.emulators is not None
                await add(project, emulated("fcm", limited.emulators.service_account))
                await project.until(await project.send(user), "sent")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
