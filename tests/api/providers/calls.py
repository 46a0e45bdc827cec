"""The calls that these tests make, and what must not be in the answers."""

from typing import Any

import msgspec

from tests.conftest import Project
from tidings.api.examples import VAPID

PATH = "/api/providers"
GOOGLE = "https://oauth2.googleapis.com/token"


def webpush(name: str = "Browsers", **fields: Any) -> dict[str, Any]:
    return {"provider": "webpush", "name": name, "credentials": VAPID, **fields}


def emulated(provider: str, credentials: Any, name: str = "mine") -> dict[str, Any]:
    return {"provider": provider, "name": name, "credentials": credentials, "emulated": True}


async def add(project: Project, body: dict[str, Any], **params: str) -> dict[str, Any]:
    answer = await project.client.post(PATH, json=body, params=params)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def refused(project: Project, body: dict[str, Any], code: str = "invalid_field", **params: str) -> str:
    """The detail of a refusal of the credentials, which must leave nothing behind and give nothing away."""
    answer = await project.client.post(PATH, json=body, params=params)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code), answer.text
    assert [error["pointer"] for error in problem["errors"]] == ["/credentials"]
    for secret in secrets_of(body["credentials"]):
        assert secret not in answer.text
    assert (await project.client.get(PATH)).json() == []
    detail: str = problem["detail"]
    return detail


def secrets_of(credentials: dict[str, Any]) -> list[str]:
    """Pieces that nobody may see again: the middle of what is long and secret."""
    names = ("private_key", "certificate", "password", "auth_token", "api_secret")
    given = [text for name in names if isinstance(text := credentials.get(name), str) and text != "nope" and text]
    return [msgspec.json.encode(text).decode()[1:-1][-60:-30] if len(text) > 60 else text for text in given]
