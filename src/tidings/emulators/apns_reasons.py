"""The refusals of APNs: `{"reason": "…"}`, for 410 with a `timestamp` in milliseconds.

The table is the one of Apple's "Handling notification responses from APNs". Answers carry no content type, as
captured ones don't.
"""

from typing import Final

import msgspec

from tidings import clock
from tidings.emulators.exchange import Response

# In the order of Apple's table; the position within a status is part of the magic tokens (`apns_devices.py`).
REASONS: Final[dict[int, tuple[str, ...]]] = {
    400: (
        "BadCollapseId",
        "BadDeviceToken",
        "BadExpirationDate",
        "BadMessageId",
        "BadPriority",
        "BadTopic",
        "DeviceTokenNotForTopic",
        "DuplicateHeaders",
        "IdleTimeout",
        "InvalidPushType",
        "MissingDeviceToken",
        "MissingTopic",
        "PayloadEmpty",
        "TopicDisallowed",
    ),
    403: (
        "BadCertificate",
        "BadCertificateEnvironment",
        "ExpiredProviderToken",
        "Forbidden",
        "InvalidProviderToken",
        "MissingProviderToken",
        "UnrelatedKeyIdInToken",
        "BadEnvironmentKeyIdInToken",
    ),
    404: ("BadPath",),
    405: ("MethodNotAllowed",),
    410: ("ExpiredToken", "Unregistered"),
    413: ("PayloadTooLarge",),
    429: ("TooManyProviderTokenUpdates", "TooManyRequests"),
    500: ("InternalServerError",),
    503: ("ServiceUnavailable", "Shutdown"),
}
_STATUS: Final = {name: status for status, names in REASONS.items() for name in names}
_FALLBACK: Final = {429: "TooManyRequests", 403: "Forbidden", 410: "Unregistered", 404: "Unregistered"}


def refusal(name: str, since_ms: int | None = None, retry_after_s: int | None = None) -> Response:
    """The answer with this reason; `since_ms` only for 410. Raises `KeyError` for a name that Apple lacks."""
    body: dict[str, str | int] = {"reason": name}
    if since_ms is not None:
        body["timestamp"] = since_ms
    headers = () if retry_after_s is None else (("retry-after", str(retry_after_s)),)
    return Response(_STATUS[name], msgspec.json.encode(body), headers)


def gone(name: str, since_ms: int | None = None) -> Response:
    """410; without `since_ms` the address ended just now."""
    return refusal(name, int(clock.now().timestamp() * 1000) if since_ms is None else since_ms)


def for_status(status: int, retry_after_s: int | None) -> Response:
    """What APNs says with a status, for `faults.Plan`; 404 stands for an address that has ended, so 410."""
    name = _FALLBACK.get(status) or REASONS.get(status, ("InternalServerError",))[0]
    if name == "Unregistered":
        return gone(name)
    answer = refusal(name, retry_after_s=retry_after_s)
    return Response(status, answer.body, answer.headers)


def name_of(response: Response) -> str:
    """`"410 Unregistered"`, or the status alone."""
    try:
        return f"{response.status} {msgspec.json.decode(response.body)['reason']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return str(response.status)
