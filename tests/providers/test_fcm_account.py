"""A service account is checked before it is used, and the person who pasted it is told what is wrong."""

import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.providers.fcm_token_endpoint import KEY_PEM, service_account
from tidings.providers.fcm import FcmAccount, open_fcm
from tidings.providers.fcm_account import ServiceAccountError, parse_service_account

GOOGLE = "https://oauth2.googleapis.com/token"
EC_PEM = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_the_key_file_is_taken_as_text_bytes_and_object() -> None:
    fields = service_account(GOOGLE)
    text = json.dumps(fields)
    accounts = [parse_service_account(raw) for raw in (fields, text, text.encode())]
    assert accounts[0] == accounts[1] == accounts[2]
    assert accounts[0].project_id == "shop-1"


def test_the_key_is_not_shown() -> None:
    account = FcmAccount(parse_service_account(service_account(GOOGLE)))
    assert "PRIVATE KEY" not in f"{account!r} {account}"


@pytest.mark.parametrize("name", ["project_id", "client_email", "private_key", "private_key_id", "token_uri"])
@pytest.mark.parametrize("value", [None, 5, "  "])
def test_each_field_is_named_when_missing_or_bad(name: str, value: Any) -> None:
    with pytest.raises(ServiceAccountError, match=name):
        parse_service_account(service_account(GOOGLE, **{name: value}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"type": "authorized_user"}, "type is not service_account"),
        ({"project_id": "shop/../other"}, "project_id"),
        ({"project_id": "Shop One"}, "project_id"),
        ({"private_key": "not a key"}, "private_key"),
        ({"private_key": KEY_PEM.replace("A", "B")}, "private_key"),
        ({"private_key": EC_PEM}, "not an RSA key"),
        ({"token_uri": "ftp://example.org"}, "token_uri"),
        ({"token_uri": "http://[::1"}, "token_uri"),
        ({"token_uri": "https://h:99999999/"}, "token_uri"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ServiceAccountError, match=told) as caught:
        parse_service_account(service_account(GOOGLE, **changes))
    assert KEY_PEM[40:80] not in str(caught.value)


@pytest.mark.parametrize("raw", ["", "{", "[]", "5", b"\xff", "{}"])
def test_what_is_no_account_is_refused(raw: str | bytes) -> None:
    with pytest.raises(ServiceAccountError):
        parse_service_account(raw)


@pytest.mark.parametrize(
    "token_uri",
    [
        "http://oauth2.googleapis.com/token",
        "https://169.254.169.254/token",
        "https://googleapis.com.evil.example/token",
        "https://evilgoogleapis.com/token",
        "https://oauth2.googleapis.com@evil.example/token",
    ],
)
async def test_a_token_endpoint_that_is_not_googles_is_refused(token_uri: str) -> None:
    with pytest.raises(ServiceAccountError, match=r"googleapis\.com"):
        await open_fcm(FcmAccount(parse_service_account(service_account(token_uri))))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"base_url": "http://fcm.googleapis.com"}, "https"),
        ({"base_url": "fcm.googleapis.com"}, "base_url"),
        ({"base_url": "https://fcm.googleapis.com/v1"}, "base_url"),
        ({"connections": 0}, "connections"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"ca_pem": b"junk"}, "PEM"),
    ],
)
async def test_an_account_that_cannot_work_is_refused(changes: dict[str, Any], told: str) -> None:
    account = FcmAccount(parse_service_account(service_account(GOOGLE)))
    with pytest.raises(ValueError, match=told):
        await open_fcm(msgspec.structs.replace(account, **changes))


async def test_a_good_account_opens_without_a_call_and_closes_twice() -> None:
    provider = await open_fcm(FcmAccount(parse_service_account(service_account(GOOGLE))))
    assert (provider.name, provider.emulated) == ("fcm", False)
    await provider.close()
    await provider.close()
