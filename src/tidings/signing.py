"""What Tidings signs for clients and devices: user tokens for the gateway, receipts for deliveries.

Each purpose has its own key, derived from the one secret of the installation, so that a signature made for
one purpose is worth nothing for another. Derive once at the start; every other function here takes the
derived key.
"""

import hmac
import re
from binascii import b2a_base64
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import jwt
from msgspec import Struct

USER_TOKENS = "user tokens"
RECEIPTS = "receipts"
UNSUBSCRIBE = "unsubscribe"

MAX_TOKEN_CHARS = 4096
MAX_TOKEN_TTL_S = 86_400
LEEWAY_S = 5  # for clocks of several machines that differ a little

_HEADER = {"alg": "HS256", "typ": "tidings-user+jwt"}
_ISSUER = "tidings"
_AUDIENCE = "gateway"
_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_OPTIONS: Any = {
    "require": ["iss", "aud", "sub", "pid", "iat", "exp"],
    "verify_exp": False,  # checked against `now` below
    "verify_iat": False,
    "verify_nbf": False,
    "strict_aud": True,
}

_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_LETTER_OF_CHANNEL = {"push": "p", "websocket": "w", "email": "e", "sms": "s", "chat": "c"}
_CHANNEL_OF_LETTER = {letter: channel for channel, letter in _LETTER_OF_CHANNEL.items()}
_RECEIPT = re.compile(
    r"(([1-9][0-9]{0,18})\.([1-9][0-9]{0,18})\.([pwesc])\.(0|[1-9][0-9]{0,18}))\.([A-Za-z0-9_-]{22})", re.ASCII
)
_UNSUBSCRIBE = re.compile(
    r"([1-9][0-9]{0,18})\.([1-9][0-9]{0,18})\.([A-Za-z0-9_-]{22})(?:\.([A-Za-z0-9_.-]{1,64}))?", re.ASCII
)
EVERYTHING = "*"  # the category that stands for all


class Fault(StrEnum):
    """Why a token or receipt was refused."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad_signature"
    WRONG_TYPE = "wrong_type"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_ISSUER = "wrong_issuer"


class BadToken(Exception):
    """A token or receipt that must not be believed. `fault` says why; the text never holds the token."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.value)


class UserToken(Struct, frozen=True):
    """Who may open a socket, until when."""

    project_id: int
    user_id: int
    expires_at: datetime


class Receipt(Struct, frozen=True):
    """Which delivery a device confirms. `device_id` is 0 for a channel without devices."""

    project_id: int
    notification_id: int
    channel: str
    device_id: int


class Unsubscription(Struct, frozen=True):
    """Who wants no more email of which category. `*`: of any that has no rule of its own."""

    project_id: int
    user_id: int
    category: str


def derive(secret: bytes, purpose: str) -> bytes:
    """The 32-byte key for one purpose: HKDF-Expand with SHA-256, one block (RFC 5869 §2.3).

    Raises ValueError for a secret under 32 bytes: it would be the weakest link of everything signed here.
    """
    if len(secret) < 32:
        raise ValueError("the secret must have at least 32 bytes")
    return hmac.digest(secret, b"tidings " + purpose.encode() + b"\x01", "sha256")


def mint_user_token(secret: bytes, project_id: int, user_id: int, now: datetime, ttl_s: int) -> str:
    """A JWT (RFC 7519) that lets the user's client open sockets for `ttl_s` seconds, at most a day."""
    if not 1 <= ttl_s <= MAX_TOKEN_TTL_S:
        raise ValueError(f"ttl_s must lie between 1 and {MAX_TOKEN_TTL_S}")
    issued_at = int(now.timestamp())
    claims = {
        "iss": _ISSUER,
        "aud": _AUDIENCE,
        "sub": str(user_id),
        "pid": project_id,
        "iat": issued_at,
        "exp": issued_at + ttl_s,
    }
    return jwt.encode(claims, secret, algorithm="HS256", headers=_HEADER)


def verify_user_token(secret: bytes, token: str, now: datetime) -> UserToken:
    """The token's user. Raises BadToken, and nothing else, for every other text.

    The header must be exactly the one we write: no other algorithm or type, no key id, no critical extension
    (RFC 8725 §3.1, §3.11).
    """
    if len(token) > MAX_TOKEN_CHARS:
        raise BadToken(Fault.MALFORMED)
    claims = _read_claims(secret, token)
    user_id, project_id = claims["sub"], claims["pid"]
    issued_at, expires_at = claims["iat"], claims["exp"]
    if not (isinstance(user_id, str) and _ID.fullmatch(user_id) and int(user_id) < 2**63):
        raise BadToken(Fault.MALFORMED)
    if not (type(project_id) is int and 0 < project_id < 2**63):
        raise BadToken(Fault.MALFORMED)
    if not (_is_seconds(issued_at) and _is_seconds(expires_at)):
        raise BadToken(Fault.MALFORMED)
    present = now.timestamp()
    if max(issued_at, claims.get("nbf", 0)) > present + LEEWAY_S:
        raise BadToken(Fault.NOT_YET_VALID)
    if expires_at <= present - LEEWAY_S:
        raise BadToken(Fault.EXPIRED)
    return UserToken(project_id, int(user_id), datetime.fromtimestamp(expires_at, UTC))


def _read_claims(secret: bytes, token: str) -> dict[str, Any]:
    try:
        if jwt.get_unverified_header(token) != _HEADER:
            raise BadToken(Fault.WRONG_TYPE)
        claims = jwt.decode(token, secret, algorithms=["HS256"], audience=_AUDIENCE, issuer=_ISSUER, options=_OPTIONS)
    except jwt.InvalidSignatureError as error:
        raise BadToken(Fault.BAD_SIGNATURE) from error
    except jwt.InvalidAudienceError as error:
        raise BadToken(Fault.WRONG_AUDIENCE) from error
    except jwt.InvalidIssuerError as error:
        raise BadToken(Fault.WRONG_ISSUER) from error
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise BadToken(Fault.MALFORMED) from error
    if not _is_seconds(claims.get("nbf", 1)):
        raise BadToken(Fault.MALFORMED)
    return dict(claims)


def _is_seconds(value: object) -> bool:
    """A positive whole number below 2^53, and not a bool, which Python counts among the integers."""
    return type(value) is int and 0 < value < 2**53


def sign_receipt(secret: bytes, project_id: int, notification_id: int, channel: str, device_id: int) -> str:
    """A short text of URL-safe characters by which a device can confirm its delivery.

    `project.notification.channel letter.device.signature`; the signature is
    keyed BLAKE2b of 128 bits (RFC 7693 §2.9), which takes half the time of HMAC-SHA256, as 22 characters
    of base64url. It never expires. KeyError for an unknown channel.
    """
    body = f"{project_id}.{notification_id}.{_LETTER_OF_CHANNEL[channel]}.{device_id}"
    return f"{body}.{_seal(secret, body)}"


def verify_receipt(secret: bytes, text: str) -> Receipt:
    """The receipt that `sign_receipt` wrote. Raises BadToken, and nothing else, for every other text."""
    found = _RECEIPT.fullmatch(text)
    if found is None:
        raise BadToken(Fault.MALFORMED)
    body, project_id, notification_id, letter, device_id, seal = found.groups()
    if not hmac.compare_digest(_seal(secret, body), seal):
        raise BadToken(Fault.BAD_SIGNATURE)
    return Receipt(int(project_id), int(notification_id), _CHANNEL_OF_LETTER[letter], int(device_id))


def sign_unsubscribe(secret: bytes, project_id: int, user_id: int, category: str) -> str:
    """A text of URL-safe characters that turns a user's email of one category off, and can do nothing else.

    `project.user.signature`, and `.category` unless that is `*`. It never expires: a mail may be opened years later,
    and RFC 8058 §3.1 wants the address itself to be the proof. ValueError for what is no category.
    """
    text = f"{project_id}.{user_id}.{_seal(secret, f'{project_id}.{user_id}.{category}')}"
    text = text if category == EVERYTHING else f"{text}.{category}"
    if _UNSUBSCRIBE.fullmatch(text) is None:
        raise ValueError("a category has 1 to 64 letters, digits, dots, dashes or underscores, or is *")
    return text


def verify_unsubscribe(secret: bytes, text: str) -> Unsubscription:
    """What `sign_unsubscribe` wrote. Raises BadToken, and nothing else, for every other text."""
    found = _UNSUBSCRIBE.fullmatch(text)
    if found is None:
        raise BadToken(Fault.MALFORMED)
    project_id, user_id, seal, category = found.groups(default=EVERYTHING)
    if not hmac.compare_digest(_seal(secret, f"{project_id}.{user_id}.{category}"), seal):
        raise BadToken(Fault.BAD_SIGNATURE)
    return Unsubscription(int(project_id), int(user_id), category)


def _seal(secret: bytes, body: str) -> str:
    digest = blake2b(body.encode(), key=secret, digest_size=16).digest()
    return b2a_base64(digest, newline=False)[:22].translate(_URL_SAFE).decode()
