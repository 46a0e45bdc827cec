"""What push services answer when they refuse, each in the words of the service that is known best for it.

Mozilla: `{code, errno, error, message, more_info}` (autopush, errors.md). Apple: `{"reason": …}` ("Sending
web push notifications in web apps and browsers"). FCM: plain text. Windows: headers. Texts that were not seen
are written from experience; statuses, errno and reasons are not.
"""

import msgspec

from tidings.emulators.exchange import Response

_JSON = ("content-type", "application/json")
_TEXT = ("content-type", "text/plain; charset=utf-8")
_MORE = "http://autopush.readthedocs.io/en/latest/http.html#error-codes"
_HTML_502 = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_NAMES = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 410: "Gone", 413: "Payload Too Large"}
_NAMES |= {429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


def mozilla(status: int, errno: int, message: str, retry_after_s: int | None = None) -> Response:
    """A JSON error of Mozilla's autopush."""
    body = {
        "code": status,
        "errno": errno,
        "error": _NAMES.get(status, "Error"),
        "message": message,
        "more_info": _MORE,
    }
    return Response(status, msgspec.json.encode(body), _with_wait(_JSON, retry_after_s))


def apple(status: int, reason: str, retry_after_s: int | None = None) -> Response:
    """A JSON error of Apple's."""
    return Response(status, msgspec.json.encode({"reason": reason}), _with_wait(_JSON, retry_after_s))


def fcm(status: int, text: str) -> Response:
    """A plain-text error of FCM's."""
    return Response(status, f"{text}\n".encode(), (_TEXT,))


def windows(status: int, description: str) -> Response:
    """An error of WNS: nothing in the body."""
    return Response(status, b"", (("x-wns-status", "dropped"), ("x-wns-error-description", description)))


def fcm_key_mismatch() -> Response:
    """403: subscribed with another `applicationServerKey`."""
    return fcm(
        403,
        "the VAPID credentials in the authorization header do not correspond to the credentials used to "
        "create the subscriptions.",
    )


def unknown_subscription() -> Response:
    """404: there is no such endpoint."""
    return mozilla(404, 102, "Invalid URL endpoint")


def gone() -> Response:
    """410: there was such a subscription."""
    return mozilla(410, 103, "Request did not validate: subscription has expired")


def too_large() -> Response:
    """413: more than 4096 bytes."""
    return mozilla(413, 104, "Data payload too large")


def missing_authorization() -> Response:
    """401: no VAPID at all."""
    return mozilla(401, 109, "Request did not validate missing authorization header")


def html_502() -> Response:
    """502 as a proxy in front answers it."""
    return Response(502, _HTML_502, (("content-type", "text/html"),))


def for_status(status: int, retry_after_s: int | None = None) -> Response:
    """The usual body for an HTTP status, for faults that are asked for by number."""
    known = {
        400: mozilla(400, 110, "Invalid crypto keys"),
        401: missing_authorization(),
        403: apple(403, "BadJwtToken"),
        404: unknown_subscription(),
        410: gone(),
        413: too_large(),
        502: html_502(),
    }
    return known.get(status) or mozilla(status, 201 if status in (429, 503) else 999, "Later", retry_after_s)


def _with_wait(kind: tuple[str, str], retry_after_s: int | None) -> tuple[tuple[str, str], ...]:
    return (kind,) if retry_after_s is None else (kind, ("retry-after", str(retry_after_s)))
