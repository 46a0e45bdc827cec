"""What an operator may get wrong with an APNs account, and the sentence that says so."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tidings import clock
from tidings.emulators import apns_certificates
from tidings.providers.apns import ApnsAccount, ApnsAccountError, open_apns, parse_apns_account
from tidings.providers.apns_account import MAX_TOPICS, check

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8


def p8(key: Any, password: bytes | None = None) -> str:
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    text: bytes = key.private_bytes(PEM, PKCS8, locked)
    return text.decode()


KEY = ec.generate_private_key(ec.SECP256R1())
RAW: dict[str, Any] = {
    "key_id": "ABC123DEFG",
    "team_id": "DEF123GHIJ",
    "private_key": p8(KEY),
    "topic": "com.example.shop",
}
CERTIFICATE = apns_certificates.make("com.example.shop")


def test_a_key_is_read_from_text_and_from_an_object() -> None:
    account = parse_apns_account(msgspec.json.encode(RAW | {"environment": "development"}))
    assert account == parse_apns_account(RAW | {"environment": "development"})
    assert account.url == "https://api.sandbox.push.apple.com"
    assert parse_apns_account(RAW).url == "https://api.push.apple.com"
    assert account.expires_at is None


def test_a_certificate_names_its_topic_and_its_end() -> None:
    account = parse_apns_account({"certificate": CERTIFICATE.pem})
    assert account.topic == "com.example.shop"
    assert account.expires_at is not None
    assert timedelta(days=360) < account.expires_at - clock.now() < timedelta(days=366)


def test_key_and_certificate_may_stand_in_any_order() -> None:
    certificate, key = CERTIFICATE.pem.split("-----BEGIN PRIVATE KEY-----")
    account = parse_apns_account({"certificate": f"-----BEGIN PRIVATE KEY-----{key}{certificate}"})
    assert account.topic == "com.example.shop"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"private_key": ""}, "either private_key or certificate"),
        ({"certificate": CERTIFICATE.pem}, "either private_key or certificate"),
        ({"private_key": "no key"}, "private_key of the APNs account must hold an unencrypted PEM key"),
        ({"private_key": p8(KEY, b"secret")}, "private_key of the APNs account is encrypted"),
        ({"private_key": p8(ec.generate_private_key(ec.SECP384R1()))}, "secp384r1, APNs takes P-256"),
        ({"private_key": p8(rsa.generate_private_key(65537, 2048))}, "not an elliptic-curve key"),
        ({"key_id": ""}, "key_id of the APNs account must be 10 capital letters and digits"),
        ({"team_id": "abc"}, "team_id of the APNs account must be 10 capital letters and digits"),
        ({"topic": ""}, "topic of the APNs account must be a bundle id"),
        ({"topic": "com/example"}, "topic of the APNs account must be a bundle id"),
        ({"more_topics": ["a b"]}, "topic of the APNs account must be a bundle id"),
        ({"more_topics": ["a"] * MAX_TOPICS}, "at most 16 topics"),
        ({"environment": "test"}, "environment"),
        ({"key": "x"}, "unknown field `key`"),
        ({"private_key": "", "certificate": p8(KEY)}, "no PEM certificate"),
    ],
)
def test_a_bad_account_is_refused_with_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ApnsAccountError, match=sentence) as caught:
        parse_apns_account(RAW | changes)
    assert "PRIVATE" not in str(caught.value)


def test_a_certificate_with_another_key_is_refused() -> None:
    other = apns_certificates.make("com.example.shop").pem.split("-----END CERTIFICATE-----\n")[1]
    mixed = CERTIFICATE.pem.split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n" + other
    with pytest.raises(ApnsAccountError, match="belongs to none of its certificates"):
        parse_apns_account({"certificate": mixed})


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(ApnsAccountError, match="not valid JSON"):
        parse_apns_account("-----BEGIN PRIVATE KEY-----")


async def test_a_certificate_that_has_ended_is_refused() -> None:
    ended = apns_certificates.make("com.example.shop", valid=timedelta(hours=1))
    account = ApnsAccount(topic="com.example.shop", certificate=ended.pem)
    with pytest.raises(ApnsAccountError, match="ended on 20"):
        await open_apns(account)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"base_url": "http://api.push.apple.com"}, "must be https"),
        ({"base_url": "https://push.apple.com.example.org"}, "https URL of push.apple.com"),
        ({"base_url": "https://api.push.apple.com/3"}, "without path"),
        ({"base_url": "ftp://x", "emulated": True}, "base_url"),
        ({"connections": 0}, "connections"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 121}, "timeout_s"),
        ({"unavailable_wait_s": -1}, "unavailable_wait_s"),
        ({"ca_pem": b"none"}, "PEM"),
    ],
)
async def test_what_the_calls_are_made_with_is_checked(changes: dict[str, Any], sentence: str) -> None:
    account = msgspec.structs.replace(parse_apns_account(RAW), **changes)
    with pytest.raises(ValueError, match=sentence):
        await open_apns(account)


def test_the_second_port_of_apple_is_taken() -> None:
    plain = parse_apns_account(RAW)
    check(msgspec.structs.replace(plain, base_url="https://api.push.apple.com:2197"))


def test_no_key_is_shown() -> None:
    for account in (parse_apns_account(RAW), parse_apns_account({"certificate": CERTIFICATE.pem})):
        assert "PRIVATE" not in repr(account)
        assert "com.example.shop" in repr(account)
