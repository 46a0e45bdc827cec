"""What a push service checks of a request before it takes the message (RFC 8030 §5, RFC 8292 §4, RFC 8188
§2)."""

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from msgspec import Struct

from tidings.emulators import webpush_errors as errors
from tidings.emulators.exchange import Request, Response

MAX_BODY_BYTES = 4096
MAX_TTL_S = 2_592_000  # kept no longer by Mozilla and Apple; longer ones are cut without a word
_LONGEST_LIFE_S = 86_400
_KEPT_TOKENS = 10_000
_HEADER_BYTES = 86
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_URGENCIES = frozenset(("very-low", "low", "normal", "high"))
_VAPID = re.compile(r"vapid\s+t=([A-Za-z0-9_.-]+)\s*,\s*k=([A-Za-z0-9_-]+=*)", re.IGNORECASE)
# Apple: a well-formed address, none that is only local.
_SUBJECT = re.compile(r"mailto:[^\s<>@]+@[^\s<>@]+\.[^\s<>@.]+|https://[^\s/]+\.[^\s]+")


class Terms(Struct, frozen=True, gc=False):
    """What the sender asks for. `ttl_s` 0: now or never; `topic` "": replaces nothing."""

    ttl_s: int
    urgency: str
    topic: str


class _Voucher(Struct, frozen=True, gc=False):
    key: str
    expires: float


class Vapid:
    """Checks VAPID tokens; the last 10,000 good ones are remembered by their header."""

    def __init__(self) -> None:
        self._good: OrderedDict[tuple[str, str], _Voucher] = OrderedDict()

    def key_of(self, request: Request, origins: tuple[str, ...], now: float) -> str | Response:
        """The sender's public key, base64url without padding, or the refusal. `now`: Unix seconds."""
        header = request.headers.get("authorization")
        if header is None:
            return errors.missing_authorization()
        held = self._good.get((header, origins[0]))
        if held is not None and held.expires > now:
            return held.key
        found = _VAPID.fullmatch(header.strip())
        if found is None:
            return errors.apple(400, "BadAuthorizationHeader")
        key = found[2].rstrip("=")
        public = _public_key(key)
        if public is None:
            return errors.apple(403, "BadVapidPublicKey")
        claims = _claims(found[1], public)
        if claims is None or not _acceptable(claims, origins, now):
            return errors.apple(403, "BadJwtToken")
        self._good[header, origins[0]] = _Voucher(key, float(claims["exp"]))
        if len(self._good) > _KEPT_TOKENS:
            self._good.popitem(last=False)
        return key


def terms_of(headers: Mapping[str, str]) -> Terms | Response:
    """TTL, Urgency and Topic, or the refusal of the first that is wrong."""
    ttl = headers.get("ttl")
    if ttl is None:
        return errors.mozilla(400, 111, "Missing TTL value")
    if not (ttl.isascii() and ttl.isdigit() and len(ttl) <= 10 and int(ttl) < 2**31):
        return errors.mozilla(400, 114 if ttl.startswith("-") else 112, "Invalid TTL value")
    urgency = headers.get("urgency", "normal")
    if urgency not in _URGENCIES:
        return errors.apple(400, "BadUrgency")
    topic = headers.get("topic", "")
    if topic and (not _TOPIC.fullmatch(topic) or len(topic) % 4 == 1):
        return errors.apple(400, "BadWebPushTopic")
    return Terms(min(int(ttl), MAX_TTL_S), urgency, topic)


def body_problem(request: Request, key: str) -> Response | None:
    """What is wrong with the encrypted body, as far as one can tell without the browser's key."""
    body = request.body
    if len(body) > MAX_BODY_BYTES:
        return errors.too_large()
    if not body:
        return None
    if request.headers.get("content-encoding", "").lower() != "aes128gcm":
        return errors.mozilla(400, 110, "Unknown Content-Encoding")
    if "crypto-key" in request.headers or "encryption" in request.headers:
        return errors.mozilla(400, 110, "Headers of aesgcm with a body in aes128gcm")
    if len(body) < _HEADER_BYTES + 18 or body[20] != 65:
        return errors.mozilla(400, 110, "Invalid encryption header")
    if base64.urlsafe_b64encode(body[21:86]).rstrip(b"=").decode() == key:
        # RFC 8292 §3.2: the VAPID key must not be used for the encryption too.
        return errors.mozilla(400, 110, "The signing key was used to encrypt")
    return None


def _public_key(text: str) -> EllipticCurvePublicKey | None:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), raw)
    except (binascii.Error, ValueError):
        return None


def _claims(token: str, key: EllipticCurvePublicKey) -> dict[str, Any] | None:
    # Audience and times are checked below, by our own clock.
    options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
    try:
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], options=options)
    except jwt.InvalidTokenError:
        return None
    return claims


def _acceptable(claims: Mapping[str, Any], origins: tuple[str, ...], now: float) -> bool:
    expires, subject = claims.get("exp"), claims.get("sub")
    return (
        claims.get("aud") in origins
        and isinstance(expires, int | float)
        and not isinstance(expires, bool)
        and now < expires <= now + _LONGEST_LIFE_S
        and isinstance(subject, str)
        and _SUBJECT.fullmatch(subject) is not None
    )
