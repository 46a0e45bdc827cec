"""VAPID (RFC 8292): a push service knows us by a P-256 key, which browsers were told when they subscribed.

A token is good for one push service (its origin is the `aud`) and for any number of messages, so each is
signed once and used until half of its life is over. Apple asks for not more than one new token an hour.
"""

import base64
import binascii
import re
from datetime import datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tidings.discreet import Discreet

LIFE = timedelta(hours=12)
"""RFC 8292 §2 allows 24 hours; half of it leaves room for clocks that disagree."""

_CURVE = SECP256R1()
_RAW_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?")
# Apple refuses a `sub` that is not well formed: blanks, angle brackets, a host that is only local.
_MAILTO = re.compile(r"mailto:[^\s<>@,;\"]+@([A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]*")
_HTTPS = re.compile(r"https://([A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]*(:\d{1,5})?(/[!-~]*)?")


class VapidError(ValueError):
    """The VAPID key or subject can't be used; one sentence for the person who configures it."""


class Vapid(Discreet, frozen=True):
    """A VAPID key ready to sign with. `public_text`: the `applicationServerKey` for browsers, base64url."""

    key: EllipticCurvePrivateKey
    public_text: str
    subject: str

    def __repr__(self) -> str:
        return f"Vapid(public_text={self.public_text!r})"


class Authorization(Discreet, frozen=True):
    """The `Authorization` header for one push service, to be renewed at `renew_at`. repr() does not show
    it."""

    value: str
    renew_at: datetime

    def __repr__(self) -> str:
        return f"Authorization(renew_at={self.renew_at})"


def load_vapid(private_key: str, subject: str) -> Vapid:
    """Read the key: PEM (PKCS#8 or SEC 1), or the raw 32 bytes in base64url as web-push tools print it.

    `subject`: `mailto:` or `https:`, whom the push service may turn to. Raises VapidError, which quotes no
    key.
    """
    if not (_MAILTO.fullmatch(subject) or _HTTPS.fullmatch(subject)) or subject.endswith((".local", ".localhost")):
        raise VapidError("the VAPID subject must be like mailto:push@example.org or https://example.org")
    key = _load(private_key.strip())
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return Vapid(key, base64.urlsafe_b64encode(public).rstrip(b"=").decode(), subject)


def new_private_key() -> str:
    """A fresh VAPID key, PEM. Subscriptions are bound to it for life: keep it as long as them."""
    key = generate_private_key(_CURVE)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def authorize(vapid: Vapid, origin: str, now: datetime) -> Authorization:
    """The header for the push service at `origin` (scheme, host and port, no slash at the end; RFC 8292
    §2)."""
    claims = {"aud": origin, "exp": int((now + LIFE).timestamp()), "sub": vapid.subject}
    token = jwt.encode(claims, vapid.key, algorithm="ES256")
    return Authorization(f"vapid t={token}, k={vapid.public_text}", now + LIFE / 2)


def _load(text: str) -> EllipticCurvePrivateKey:
    if _RAW_KEY.fullmatch(text):
        try:
            raw = base64.b64decode(text.rstrip("=") + "=", altchars=b"-_", validate=True)
            return derive_private_key(int.from_bytes(raw, "big"), _CURVE)
        except (binascii.Error, ValueError):
            raise VapidError("the VAPID private key is not a key of the curve P-256") from None
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):
        raise VapidError("the VAPID private key must be unencrypted PEM or 32 bytes in base64url") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise VapidError("the VAPID private key is not a key of the curve P-256")
    return key
