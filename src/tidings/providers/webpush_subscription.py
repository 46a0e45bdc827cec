"""A browser's push subscription: what `PushSubscription.toJSON()` gives, and what a device of type web is.

The Push API (W3C, `PushSubscriptionJSON`): `endpoint`, `expirationTime`, `keys.p256dh` (the browser's P-256
point, uncompressed) and `keys.auth` (16 bytes), both base64url. A page may add `applicationServerKey`, the
key that it subscribed with: then a subscription of an older key is told from a wrong configuration.
"""

import base64
import binascii
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from tidings.addresses import AddressRefused, Guard, Target, check_url
from tidings.discreet import Discreet

PUSH_SERVICES = (
    "fcm.googleapis.com",  # Chrome, Edge on Android, Brave, Opera, Samsung Internet
    "*.push.services.mozilla.com",  # Firefox
    "*.push.apple.com",  # Safari
    "*.notify.windows.com",  # Edge on Windows
)
"""Where browsers' subscriptions lead. Everything else is refused unless it is configured."""

VENDORS = Guard(hosts=PUSH_SERVICES)
_CURVE = SECP256R1()
_POINT_BYTES = 65
_AUTH_BYTES = 16


class SubscriptionError(ValueError):
    """The text is no subscription that can be sent to. `pointer`: JSON Pointer (RFC 6901) to what is wrong.

    The text never quotes a value: an endpoint is a capability, who has it can send.
    """

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}" if pointer else detail)
        self.pointer = pointer
        self.detail = detail


class Subscription(Discreet, frozen=True):
    """A subscription, read and checked. `p256dh`: 65 bytes, a point of P-256, which `public_key` is. `auth`:
    16.

    `made_with`: the VAPID public key it was made with, base64url, None when the page did not say.
    """

    endpoint: str
    p256dh: bytes
    auth: bytes
    public_key: EllipticCurvePublicKey
    target: Target
    made_with: str | None = None


_decode = msgspec.json.decode


def parse_subscription(text: str | bytes, guard: Guard = VENDORS) -> Subscription:
    """Read a subscription from its JSON text. Members that are not known are ignored: browsers may add some.

    `guard`: where the endpoint may lead (`WebPushAccount.guard`). Raises SubscriptionError with a pointer to
    what is wrong: for the API when a device is registered, and as the reason why it can't be sent to.
    """
    try:
        found = _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise SubscriptionError("", "not JSON; give the text of JSON.stringify(subscription)") from None
    if type(found) is not dict:
        raise SubscriptionError("", "must be a JSON object with endpoint and keys")
    keys = found.get("keys")
    if type(keys) is not dict:
        raise SubscriptionError("/keys", "must be an object with p256dh and auth")
    target = _endpoint(found.get("endpoint"), guard)
    p256dh = _bytes(keys.get("p256dh"), "/keys/p256dh", _POINT_BYTES)
    auth = _bytes(keys.get("auth"), "/keys/auth", _AUTH_BYTES)
    try:
        if p256dh[0] != 4:
            raise ValueError("compressed")
        public_key = EllipticCurvePublicKey.from_encoded_point(_CURVE, p256dh)
    except ValueError:
        raise SubscriptionError("/keys/p256dh", "must be an uncompressed point of the curve P-256") from None
    made_with = found.get("applicationServerKey")
    if made_with is not None:
        made_with = _text_of(_bytes(made_with, "/applicationServerKey", _POINT_BYTES))
    return Subscription(target.url, p256dh, auth, public_key, target, made_with)


def subscription_text(subscription: Subscription) -> str:
    """The one text of a subscription, however the browser's JSON was spelled: parses to the same again.

    Stored in place of what came, so that one browser is one device.
    """
    fields: dict[str, Any] = {
        "endpoint": subscription.endpoint,
        "keys": {"p256dh": _text_of(subscription.p256dh), "auth": _text_of(subscription.auth)},
    }
    if subscription.made_with is not None:
        fields["applicationServerKey"] = subscription.made_with
    return msgspec.json.encode(fields).decode()


def _endpoint(value: Any, guard: Guard) -> Target:
    if type(value) is not str or not value:
        raise SubscriptionError("/endpoint", "must be the URL that the browser gave")
    try:
        return check_url(value, guard)
    except AddressRefused as refused:
        raise SubscriptionError("/endpoint", str(refused)) from None


def _bytes(value: Any, pointer: str, size: int) -> bytes:
    """base64url, padding and the `+/` alphabet accepted: some pages encode the keys themselves."""
    if type(value) is not str or len(value) > 2 * size:
        raise SubscriptionError(pointer, f"must be {size} bytes in base64url")
    text = value.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SubscriptionError(pointer, f"must be {size} bytes in base64url") from None
    if len(decoded) != size:
        raise SubscriptionError(pointer, f"must be {size} bytes, not {len(decoded)}")
    return decoded


def _text_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
