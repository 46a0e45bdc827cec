"""Tokens and receipts against the known ways to forge them."""

import base64
import hmac
import json
import string
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from tidings import signing
from tidings.signing import BadToken, Fault

SECRET = bytes(range(32))
KEY = signing.derive(SECRET, signing.USER_TOKENS)
RECEIPT_KEY = signing.derive(SECRET, signing.RECEIPTS)
NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
HEADER = {"alg": "HS256", "typ": "tidings-user+jwt"}
CLAIMS: dict[str, Any] = {
    "iss": "tidings",
    "aud": "gateway",
    "sub": "7",
    "pid": 3,
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 60,
}


def forge(claims: dict[str, Any] | None = None, header: dict[str, Any] | None = None, key: bytes = KEY) -> str:
    """A well-signed token with other contents."""
    return jwt.encode({**CLAIMS, **(claims or {})}, key, algorithm="HS256", headers={**HEADER, **(header or {})})


def glue(header: object, claims: object, signature: bytes = b"") -> str:
    """A token from its parts, signed by nobody."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def encode_as(algorithm: str, key: Any) -> str:
    """A token that some other service might have made."""
    return jwt.encode(CLAIMS, key, algorithm=algorithm, headers={"typ": "tidings-user+jwt"})


def fault_of(token: str, now: datetime = NOW) -> Fault:
    with pytest.raises(BadToken) as caught:
        signing.verify_user_token(KEY, token, now)
    assert len(token) < 20 or token not in str(caught.value)
    return caught.value.fault


def test_a_token_is_read_as_it_was_minted() -> None:
    token = signing.mint_user_token(KEY, 3, 7, NOW, 60)
    read = signing.verify_user_token(KEY, token, NOW)
    assert read == signing.UserToken(3, 7, NOW + timedelta(seconds=60))
    assert jwt.get_unverified_header(token) == HEADER
    assert jwt.decode(token, KEY, ["HS256"], options={"verify_signature": False}) == CLAIMS


def test_every_character_of_a_token_may_stand_in_a_subprotocol() -> None:
    token = signing.mint_user_token(KEY, 2**62, 2**62, NOW, 60)
    assert set(token) <= set(string.ascii_letters + string.digits + "-_.")


def test_times_are_kept_with_little_leeway() -> None:
    token = signing.mint_user_token(KEY, 3, 7, NOW, 60)
    assert signing.LEEWAY_S <= 5
    signing.verify_user_token(KEY, token, NOW + timedelta(seconds=64))
    signing.verify_user_token(KEY, token, NOW - timedelta(seconds=4))
    assert fault_of(token, NOW + timedelta(seconds=66)) is Fault.EXPIRED
    assert fault_of(token, NOW - timedelta(seconds=6)) is Fault.NOT_YET_VALID
    assert fault_of(forge({"nbf": CLAIMS["iat"] + 30})) is Fault.NOT_YET_VALID


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
def test_no_algorithm_is_no_signature(algorithm: str) -> None:
    assert fault_of(glue({"alg": algorithm, "typ": "tidings-user+jwt"}, CLAIMS)) is Fault.WRONG_TYPE


def test_another_algorithm_is_refused_though_the_signature_holds() -> None:
    for algorithm in ("HS384", "HS512"):
        assert fault_of(encode_as(algorithm, KEY * 2)) is Fault.WRONG_TYPE


def test_a_public_key_is_no_hmac_key_and_rs256_is_refused() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert fault_of(encode_as("RS256", private)) is Fault.WRONG_TYPE
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = glue(HEADER, CLAIMS).rpartition(".")[0]
    signature = hmac.digest(public, unsigned.encode(), "sha256")
    assert fault_of(glue(HEADER, CLAIMS, signature)) is Fault.BAD_SIGNATURE


@pytest.mark.parametrize(
    "extra",
    [
        {"typ": "JWT"},
        {"typ": "tidings-receipt+jwt"},
        {"typ": "TIDINGS-USER+JWT"},
        {"kid": "../../../../dev/null"},
        {"kid": "key' UNION SELECT 'x"},
        {"jku": "https://evil.example/keys"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5u": "https://evil.example/cert"},
        {"crit": ["exp"]},
        {"zip": "DEF"},
    ],
)
def test_a_header_that_we_do_not_write_is_refused(extra: dict[str, Any]) -> None:
    assert fault_of(forge(header=extra)) in (Fault.WRONG_TYPE, Fault.MALFORMED)


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"aud": "api"}, Fault.WRONG_AUDIENCE),
        ({"aud": ["gateway"]}, Fault.WRONG_AUDIENCE),
        ({"aud": ["api", "gateway"]}, Fault.WRONG_AUDIENCE),
        ({"iss": "someone"}, Fault.WRONG_ISSUER),
        ({"sub": ""}, Fault.MALFORMED),
        ({"sub": "0"}, Fault.MALFORMED),
        ({"sub": "07"}, Fault.MALFORMED),
        ({"sub": "-7"}, Fault.MALFORMED),
        ({"sub": "7 "}, Fault.MALFORMED),
        ({"sub": "٧"}, Fault.MALFORMED),
        ({"sub": "9" * 19}, Fault.MALFORMED),
        ({"pid": "3"}, Fault.MALFORMED),
        ({"pid": True}, Fault.MALFORMED),
        ({"pid": 3.0}, Fault.MALFORMED),
        ({"pid": 0}, Fault.MALFORMED),
        ({"pid": 2**63}, Fault.MALFORMED),
        ({"pid": None}, Fault.MALFORMED),
        ({"exp": True}, Fault.MALFORMED),
        ({"exp": "9999999999"}, Fault.MALFORMED),
        ({"exp": 10**30}, Fault.MALFORMED),
        ({"exp": -1}, Fault.MALFORMED),
        ({"exp": 1e300}, Fault.MALFORMED),
        ({"iat": [1]}, Fault.MALFORMED),
        ({"nbf": "soon"}, Fault.MALFORMED),
        ({"nbf": -1}, Fault.MALFORMED),
    ],
)
def test_claims_that_are_not_ours_are_refused(claims: dict[str, Any], fault: Fault) -> None:
    assert fault_of(forge(claims)) is fault


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_every_claim_is_required(name: str) -> None:
    claims = {key: value for key, value in CLAIMS.items() if key != name}
    token = jwt.encode(claims, KEY, algorithm="HS256", headers=HEADER)
    assert fault_of(token) in (Fault.MALFORMED, Fault.WRONG_AUDIENCE, Fault.WRONG_ISSUER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é" * 10,
        "\x00",
        glue([], CLAIMS),
        glue(HEADER, []),
        glue(HEADER, "x"),
        "a" * 4097,
        glue(HEADER, CLAIMS) + ".x",
        glue(HEADER, CLAIMS).replace(".", "..", 1),
        "." * 4000,
        "[" * 4000,
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    assert isinstance(fault_of(text), Fault)


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,80}\.[\w-]{0,43}", fullmatch=True))
def test_no_text_makes_anything_else_than_bad_token(text: str) -> None:
    assert isinstance(fault_of(text), Fault)


@given(st.data())
def test_a_flipped_bit_never_makes_another_user(data: st.DataObject) -> None:
    token = signing.mint_user_token(KEY, 3, 7, NOW, 60)
    at = data.draw(st.integers(0, len(token) - 1))
    flipped = token[:at] + chr(ord(token[at]) ^ (1 << data.draw(st.integers(0, 6)))) + token[at + 1 :]
    try:
        read = signing.verify_user_token(KEY, flipped, NOW)
    except BadToken:
        return
    # Only the two spare bits of the last base64 digit mean nothing (RFC 4648 §3.5).
    assert at == len(token) - 1
    assert read == signing.verify_user_token(KEY, token, NOW)


def test_another_key_or_purpose_is_another_signature() -> None:
    assert fault_of(forge(key=signing.derive(bytes(32), signing.USER_TOKENS))) is Fault.BAD_SIGNATURE
    assert fault_of(forge(key=RECEIPT_KEY)) is Fault.BAD_SIGNATURE
    assert KEY != RECEIPT_KEY != SECRET
    assert signing.derive(SECRET, signing.USER_TOKENS) == KEY
    assert len(KEY) == 32


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        signing.derive(b"x" * 31, signing.USER_TOKENS)


@pytest.mark.parametrize("ttl_s", [0, -1, 86_401])
def test_a_token_lives_a_day_at_most(ttl_s: int) -> None:
    with pytest.raises(ValueError, match="ttl_s"):
        signing.mint_user_token(KEY, 3, 7, NOW, ttl_s)


ids = st.integers(1, 2**63 - 1)
channels = st.sampled_from(["push", "websocket", "email", "sms"])


@given(ids, ids, channels, st.integers(0, 2**63 - 1))
def test_a_receipt_is_read_as_it_was_signed(project: int, notification: int, channel: str, device: int) -> None:
    text = signing.sign_receipt(RECEIPT_KEY, project, notification, channel, device)
    assert signing.verify_receipt(RECEIPT_KEY, text) == signing.Receipt(project, notification, channel, device)
    assert set(text) <= set(string.ascii_letters + string.digits + "-_.")
    assert len(text) <= 90


@given(st.data())
def test_a_changed_receipt_is_refused(data: st.DataObject) -> None:
    text = signing.sign_receipt(RECEIPT_KEY, 1, 20, "push", 300)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    if changed == text:
        return
    with pytest.raises(BadToken):
        signing.verify_receipt(RECEIPT_KEY, changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("1.20.", "12.0."),
        lambda text: text.replace("1.20.", "01.20."),
        lambda text: text.replace(".p.", ".e."),
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text + "\n",
        lambda text: "",
        lambda text: text.rsplit(".", 1)[0],
        lambda text: text.rsplit(".", 1)[0] + ".",
    ],
)
def test_receipts_have_one_spelling(change: Any) -> None:
    text = signing.sign_receipt(RECEIPT_KEY, 1, 20, "push", 0)
    with pytest.raises(BadToken):
        signing.verify_receipt(RECEIPT_KEY, change(text))


def test_a_receipt_of_another_key_is_refused() -> None:
    with pytest.raises(BadToken) as caught:
        signing.verify_receipt(KEY, signing.sign_receipt(RECEIPT_KEY, 1, 2, "email", 0))
    assert caught.value.fault is Fault.BAD_SIGNATURE


def test_an_unknown_channel_has_no_receipt() -> None:
    with pytest.raises(KeyError):
        signing.sign_receipt(RECEIPT_KEY, 1, 2, "pigeon", 0)
