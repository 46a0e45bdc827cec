"""The route where pages get the key that they subscribe with."""

from collections.abc import Sequence
from typing import Any

import httpx
from litestar import Litestar

from tidings.api import client, problems
from tidings.providers.webpush_account import WebPushAccount, public_key_of
from tidings.providers.webpush_vapid import new_private_key


async def asked(routes: Sequence[Any]) -> httpx.Response:
    app = Litestar(routes, openapi_config=None, exception_handlers=problems.HANDLERS)

    async def with_id(scope: Any, receive: Any, send: Any) -> None:
        scope[problems.REQUEST_ID] = "request-1"
        await app(scope, receive, send)

    transport = httpx.ASGITransport(app=with_id)
    async with httpx.AsyncClient(transport=transport, base_url="http://tidings.test") as caller:
        return await caller.get("/client/vapid-public-key")


async def test_the_public_key_is_for_everybody() -> None:
    key = public_key_of(WebPushAccount(new_private_key(), "mailto:push@example.org"))
    answer = await asked(client.routes(key))
    assert (answer.status_code, answer.json()) == (200, {"public_key": key})
    assert "max-age" in answer.headers["cache-control"]


async def test_without_web_push_there_is_none() -> None:
    answer = await asked(client.routes(None))
    assert answer.status_code == 404
    assert "not configured" in answer.text
