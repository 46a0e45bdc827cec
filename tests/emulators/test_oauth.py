"""The token endpoint: who gets an access token, and what happens to one that is no longer good."""

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.emulators.conftest import Caller
from tidings.emulators.oauth import GRANT


async def test_a_right_assertion_gets_a_token(caller: Caller) -> None:
    response = await caller.authenticate()
    answer = await response.json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3599)
    assert (await caller.send("oauth-ok")).status == 200


async def test_the_google_audience_and_the_wider_scope_pass_too(caller: Caller) -> None:
    assert (await caller.authenticate(aud="https://oauth2.googleapis.com/token")).status == 200
    scope = "openid https://www.googleapis.com/auth/cloud-platform"
    assert (await caller.authenticate(scope=scope)).status == 200


def _foreign_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    none = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none).decode()


NOW = int(time.time())


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"key": _foreign_key()}, "invalid_grant"),
        ({"aud": "https://example.org/token"}, "invalid_grant"),
        ({"iss": "somebody@else"}, "invalid_grant"),
        ({"exp": NOW + 7300}, "invalid_grant"),
        ({"iat": NOW - 7200, "exp": NOW - 3600}, "invalid_grant"),
        ({"iat": NOW + 4000, "exp": NOW + 7000}, "invalid_grant"),
        ({"iat": None}, "invalid_grant"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
    ],
    ids=str,
)
async def test_a_wrong_assertion_gets_400(caller: Caller, changed: dict[str, Any], error: str) -> None:
    response = await caller.authenticate(**changed)
    answer = await response.json()
    assert (response.status, answer["error"]) == (400, error)
    assert answer["error_description"]


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ([("grant_type", "password")], "unsupported_grant_type"),
        ([], "unsupported_grant_type"),
        ([("grant_type", GRANT), ("assertion", "no.jwt.here")], "invalid_grant"),
        ([("grant_type", GRANT)], "invalid_grant"),
        ([(f"f{number}", "x") for number in range(30)], "invalid_request"),
    ],
)
async def test_a_wrong_form_gets_400(caller: Caller, form: list[tuple[str, str]], error: str) -> None:
    uri = caller.emulators.service_account["token_uri"]
    response = await caller.client.post(uri).form(form).build().send()
    assert (response.status, (await response.json())["error"]) == (400, error)


async def test_without_an_access_token_and_with_a_wrong_one(caller: Caller) -> None:
    for header in (None, "", "Bearer wrong", "Basic abc", caller.access_token):
        request = caller.client.post(caller.url).body_json({"message": {"token": "a"}})
        request = request if header is None else request.header("authorization", header)
        response = await request.build().send()
        error = (await response.json())["error"]
        assert (response.status, error["status"]) == (401, "UNAUTHENTICATED")
        assert "FcmError" not in str(error)
        assert (response.get_header("www-authenticate") or "").startswith("Bearer")


async def test_the_scheme_may_be_in_any_case(caller: Caller) -> None:
    request = caller.client.post(caller.url).header("authorization", f"bearer {caller.access_token}")
    assert (await request.body_json({"message": {"token": "a"}}).build().send()).status == 200


async def test_revoked_tokens_stop_working_and_new_ones_work(caller: Caller) -> None:
    assert (await caller.control("POST", "/control/tokens/revoke", {}))["revoked"] >= 1
    assert (await caller.send("revoked")).status == 401
    await caller.authenticate()
    assert (await caller.send("revoked")).status == 200


async def test_short_lived_tokens_expire(caller: Caller) -> None:
    await caller.control("POST", "/control/faults", {"oauth": {"lifetime_s": 1}})
    assert (await (await caller.authenticate()).json())["expires_in"] == 1
    assert (await caller.send("short")).status == 200
    deadline = time.monotonic() + 10
    while (await caller.send("short")).status == 200:
        assert time.monotonic() < deadline
    assert (await caller.send("short")).status == 401


async def test_the_token_endpoint_can_be_told_to_fail(caller: Caller) -> None:
    await caller.control("POST", "/control/faults", {"oauth": {"status": 503, "count": 2}})
    answers = [(await caller.authenticate()).status for _ in range(3)]
    assert answers == [503, 503, 200]
