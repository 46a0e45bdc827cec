"""Encryption and VAPID against the RFCs' own examples, and against the library that others use."""

import base64
import threading
from datetime import UTC, datetime, timedelta

import http_ece  # type: ignore[import-untyped]
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.providers.webpush_browser import ENDPOINT, json_of, raw_of, text_of
from tidings.providers.webpush_account import WebPushAccount, check_account, guard_of, public_key_of
from tidings.providers.webpush_encryption import (
    MAX_BODY_BYTES,
    MAX_PLAINTEXT_BYTES,
    Encrypter,
    Job,
    encrypt,
    encrypt_with,
)
from tidings.providers.webpush_subscription import Subscription, parse_subscription
from tidings.providers.webpush_vapid import VapidError, authorize, load_vapid, new_private_key

# RFC 8291 §5 and appendix A.
PLAINTEXT = b"When I grow up, I want to be a watermelon"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
BROWSER_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
BROWSER_PUBLIC = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
SENDER_PRIVATE = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEq"
    "KK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
# RFC 8292 §2.4.
RFC_KEY = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"
RFC_SIGNED = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3"
    "NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDX"
    "b1JrErtmysazNjjvW2L9OkSSHzvoD1oA"
)

CURVE = ec.SECP256R1()
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def private(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(raw_of(text), "big"), CURVE)


def browser() -> Subscription:
    keys = {"p256dh": BROWSER_PUBLIC, "auth": AUTH}
    return parse_subscription(json_of({"endpoint": ENDPOINT, "keys": keys}))


def opened(body: bytes) -> bytes:
    """Decrypted by the library that pywebpush is built on."""
    plain: bytes = http_ece.decrypt(body, private_key=private(BROWSER_PRIVATE), auth_secret=raw_of(AUTH))
    return plain


def test_the_rfcs_example() -> None:
    body = encrypt_with(Job(browser(), PLAINTEXT), private(SENDER_PRIVATE), raw_of(SALT))
    assert len(body) == 144
    assert text_of(body) == BODY


@settings(max_examples=60)
@given(st.binary(max_size=MAX_PLAINTEXT_BYTES))
def test_any_message_is_opened_by_another_implementation(plaintext: bytes) -> None:
    assert opened(encrypt(Job(browser(), plaintext))) == plaintext


def test_the_longest_message_fills_the_body_exactly() -> None:
    body = encrypt(Job(browser(), b"x" * MAX_PLAINTEXT_BYTES))
    assert len(body) == MAX_BODY_BYTES
    assert opened(body) == b"x" * MAX_PLAINTEXT_BYTES


def test_no_key_or_salt_is_used_twice() -> None:
    bodies = [encrypt(Job(browser(), PLAINTEXT)) for _ in range(50)]
    assert len({body[:16] for body in bodies}) == 50
    assert len({body[21:86] for body in bodies}) == 50


async def test_a_burst_is_encrypted_beside_the_event_loop() -> None:
    encrypter = Encrypter(2)
    bodies = [await encrypter(Job(browser(), PLAINTEXT)) for _ in range(3)]
    assert {opened(body) for body in bodies} == {PLAINTEXT}
    assert any(thread.name.startswith("webpush-encryption") for thread in threading.enumerate())
    await encrypter.close()
    await encrypter.close()


def test_the_rfcs_token_is_good_by_our_reading() -> None:
    key = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, raw_of(RFC_KEY))
    claims = jwt.decode(RFC_SIGNED, key, algorithms=["ES256"], options={"verify_exp": False, "verify_aud": False})
    assert claims == {"aud": "https://push.example.net", "exp": 1453523768, "sub": "mailto:push@example.com"}


def test_a_token_says_what_the_rfc_wants() -> None:
    vapid = load_vapid(new_private_key(), "mailto:push@example.org")
    made = authorize(vapid, "https://push.example.net", NOW)
    assert made.value.startswith("vapid t=")
    token, _, key = made.value.removeprefix("vapid t=").partition(", k=")
    assert key == vapid.public_text
    public = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, raw_of(key))
    assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "ES256"}
    claims = jwt.decode(
        token,
        public,
        algorithms=["ES256"],
        audience="https://push.example.net",
        options={"verify_exp": False},
    )
    assert claims["sub"] == "mailto:push@example.org"
    assert NOW < datetime.fromtimestamp(claims["exp"], UTC) <= NOW + timedelta(hours=12)
    assert NOW + timedelta(hours=1) <= made.renew_at < datetime.fromtimestamp(claims["exp"], UTC)


def test_the_key_is_read_in_every_usual_form() -> None:
    key = ec.generate_private_key(CURVE)
    raw = text_of(key.private_numbers().private_value.to_bytes(32, "big"))
    forms = [raw, raw + "=", f"  {raw}\n"]
    for kind in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        forms.append(key.private_bytes(Encoding.PEM, kind, NoEncryption()).decode())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert {load_vapid(form, "https://example.org").public_text for form in forms} == {text_of(point)}


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *password: bytes) -> str:
    locked = BestAvailableEncryption(password[0]) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked).decode()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "secret-key",
        "A" * 43,  # zero
        text_of(b"\xff" * 32),  # beyond the curve's order
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ec.generate_private_key(CURVE), b"password"),
        base64.b64encode(b"x" * 32).decode() + "extra",
    ],
    ids=["empty", "text", "zero", "large", "p384", "rsa", "encrypted", "long"],
)
def test_a_key_that_is_none_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(VapidError) as caught:
        load_vapid(key, "mailto:push@example.org")
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "push@example.org",
        "mailto:",
        "mailto:push",
        "mailto: push@example.org",
        "mailto:<push@example.org>",
        "mailto:push@localhost",
        "mailto:push@printer.local",
        "http://example.org",
        "https://localhost",
        "https://example.org/a b",
    ],
)
def test_a_subject_that_apple_refuses_is_refused(subject: str) -> None:
    with pytest.raises(VapidError):
        load_vapid(new_private_key(), subject)


def test_secrets_do_not_show() -> None:
    account = WebPushAccount(new_private_key(), "mailto:push@example.org")
    vapid = check_account(account)
    assert "PRIVATE" not in f"{account!r} {vapid!r}"
    assert "vapid t" not in repr(authorize(vapid, "https://push.example.net", NOW))
    assert AUTH not in repr(browser())
    assert "c3VjaC1h" not in repr(browser())
    assert public_key_of(account) == vapid.public_text


@pytest.mark.parametrize(
    "changes",
    [
        {"allowed_hosts": ("https://push.example.org",)},
        {"allowed_hosts": ("*",)},
        {"allowed_hosts": ("Push.Example.org",)},
        {"allowed_hosts": ("*.org/",)},
        {"allowed_networks": ("10.0.0.1/8",)},
        {"allowed_networks": ("inside",)},
        {"connections": 0},
        {"threads": 100},
        {"timeout_s": 0.0},
        {"rest_s": -1.0},
    ],
)
def test_an_account_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    account = WebPushAccount(new_private_key(), "mailto:push@example.org")
    with pytest.raises(ValueError):
        check_account(msgspec.structs.replace(account, **changes))


def test_an_emulated_account_reaches_this_machine_only() -> None:
    guard = guard_of(WebPushAccount(new_private_key(), "mailto:push@example.org", emulated=True))
    assert guard.loopback
    assert "fcm.googleapis.com" not in guard.hosts
