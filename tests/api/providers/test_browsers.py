"""Browsers of a project: whose public key their pages get, and where their subscriptions may lead."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from tests.api.providers.calls import PATH, add, emulated, webpush
from tests.conftest import Project
from tidings.api.app import create_api
from tidings.api.examples import VAPID
from tidings.app import App
from tidings.clock import now
from tidings.emulators import Emulators
from tidings.providers.webpush_vapid import load_vapid, new_private_key
from tidings.signing import mint_user_token

KEY = "/client/vapid-public-key"
ABROAD = "https://fcm.googleapis.com/fcm/send/abc"


@asynccontextmanager
async def without_operator(app: App, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API of an operator who has no Web Push account."""
    services = msgspec.structs.replace(app.services, subscriptions=None, vapid_public_key=None)
    transport = httpx.ASGITransport(app=create_api(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://tidings.test") as client:
        client.headers["X-API-Key"] = key
        yield client


async def anonymous(app: App, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=app.api_url, trust_env=False) as client:
        return await client.get(KEY, headers=headers)


def body(subscription: dict[str, Any], endpoint: str | None = None) -> dict[str, str]:
    token = {**subscription, "endpoint": endpoint or subscription["endpoint"]}
    return {"device_type": "web", "device_token": msgspec.json.encode(token).decode()}


async def test_who_says_nothing_gets_the_operators(app: App, project: Project) -> None:
    await add(project, webpush())
    nothing: dict[str, str] = {}
    for headers in (nothing, {"Authorization": "Basic YTpi"}):
        answer = await anonymous(app, **headers)
        assert (answer.status_code, answer.json()) == (200, {"public_key": app.services.vapid_public_key})
        assert answer.headers["cache-control"].startswith("public, max-age=")
        assert answer.headers["vary"] == "X-API-Key, Authorization"


async def test_a_project_gets_its_own_by_key_and_by_user_token(app: App, project: Project, other: Project) -> None:
    user = await project.user()
    token = (await project.client.post(f"/api/users/{user}/token")).json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await anonymous(app, **bearer)).json()["public_key"] == app.services.vapid_public_key, "it has none yet"
    made = await add(project, webpush(priority=5))
    own = made["summary"]["public_key"]
    for answer in (await project.client.get(KEY), await anonymous(app, **bearer)):
        assert (answer.status_code, answer.json()) == (200, {"public_key": own})
        assert answer.headers["cache-control"] == "private, no-store"
    assert (await other.client.get(KEY)).json()["public_key"] == app.services.vapid_public_key


async def test_the_account_that_is_tried_first_counts(project: Project) -> None:
    keys = {}
    said: dict[str, dict[str, Any]] = {"off": {"enabled": False}, "second": {"priority": 7}, "first": {"priority": 3}}
    for name, fields in said.items():
        credentials = {"private_key": new_private_key(), "subject": "mailto:push@example.com"}
        account = await add(project, {**webpush(name, **fields), "credentials": credentials})
        keys[name] = (account["id"], account["summary"]["public_key"])
    for name in ("first", "second", "off"):
        assert (await project.client.get(KEY)).json()["public_key"] == keys[name][1], name
        await project.client.delete(f"{PATH}/{keys[name][0]}")


@pytest.mark.parametrize("kind", ["made up", "expired", "of another service", "key"])
async def test_who_says_something_wrong_is_told(app: App, project: Project, kind: str) -> None:
    late = now().replace(year=2020)
    headers = {
        "made up": {"Authorization": "Bearer abc"},
        "expired": {"Authorization": "Bearer " + mint_user_token(app.services.token_key, project.id, 1, late, 60)},
        "of another service": {"Authorization": "bearer " + mint_user_token(b"x" * 32, project.id, 1, now(), 60)},
        "key": {"X-API-Key": "tk_" + "x" * 43},
    }[kind]
    answer = await anonymous(app, **headers)
    code = "key_unknown" if kind == "key" else "token_invalid"
    assert (answer.status_code, answer.json()["code"]) == (401, code)


async def test_its_own_account_is_enough(app: App, project: Project, vendors: Emulators) -> None:
    user = await project.user()
    path = f"/api/users/{user}/devices"
    subscription = vendors.webpush.subscribe(f"own-{project.id}", load_vapid(**VAPID).public_text)
    async with without_operator(app, project.key) as client:
        refused = await client.post(path, json=body(subscription))
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/device_token")
        assert "POST /api/providers" in refused.json()["detail"]
        assert (await client.get(KEY)).status_code == 404
        await add(project, emulated("webpush", VAPID))
        assert (await client.get(KEY)).json()["public_key"] == load_vapid(**VAPID).public_text
        registered = await client.post(path, json=body(subscription))
        assert registered.status_code == 201, registered.text
    shown = await project.until(await project.send(user), "sent")
    assert [(one["provider"], one["status"]) for one in shown["deliveries"] if one["channel"] == "push"] == [
        ("webpush", "sent")
    ]


async def test_subscriptions_lead_where_the_projects_own_account_may_send(project: Project, vendors: Emulators) -> None:
    """The operator's is emulated here. A project with a real account registers real browsers, and no others."""
    path = f"/api/users/{await project.user()}/devices"
    subscription = vendors.webpush.subscribe(f"real-{project.id}")
    assert (await project.client.post(path, json=body(subscription, ABROAD))).status_code == 422
    await add(project, webpush())
    assert (await project.client.post(path, json=body(subscription, ABROAD))).status_code == 201
    for endpoint in (subscription["endpoint"], "https://10.0.0.1/push", "https://push.example.com/x"):
        answer = await project.client.post(path, json=body(subscription, endpoint))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/device_token")
