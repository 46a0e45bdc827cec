"""The error bodies of FCM HTTP v1: a `google.rpc.Status` in JSON, with or without an `FcmError`.

Texts follow captured answers where there are any (bloomberg.github.io/pushiko/fcm_responses, Firebase's
ErrorCode reference page); the 401, 403 and 404 bodies that carry no `FcmError` are written from
experience with Google APIs and may differ in wording, never in `code` and `status`.
"""

from typing import Any, Literal

import msgspec

from tidings.emulators.exchange import Response

JSON = ("content-type", "application/json; charset=UTF-8")
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_HTML_502 = (
    b"<!DOCTYPE html>\n<html lang=en>\n<title>Error 502 (Server Error)!!1</title>\n"
    b"<p><b>502.</b> <ins>That\xe2\x80\x99s an error.</ins>\n<p>The server encountered a temporary error and "
    b"could not complete your request.<p>Please try again in 30 seconds.\n"
)
_CREDENTIAL = (
    "Expected OAuth 2 access token, login cookie or other valid authentication credential. "
    "See https://developers.google.com/identity/sign-in/web/devconsole-project."
)

Rate = Literal["project", "device", "topic"]


def error(
    code: int,
    status: str,
    message: str,
    details: tuple[dict[str, Any], ...] = (),
    retry_after_s: int | None = None,
) -> Response:
    """Any `google.rpc.Status` body."""
    inner: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        inner["details"] = list(details)
    headers = (JSON,) if retry_after_s is None else (JSON, ("retry-after", str(retry_after_s)))
    return Response(code, msgspec.json.encode({"error": inner}), headers)


def fcm_error(code: int, status: str, message: str, fcm_code: str, retry_after_s: int | None = None) -> Response:
    """An error body whose only detail is an `FcmError` with `fcm_code`."""
    return error(code, status, message, (_fcm(fcm_code),), retry_after_s)


def _fcm(code: str) -> dict[str, Any]:
    return {"@type": _FCM_ERROR, "errorCode": code}


def bad_request(violations: list[tuple[str, str]], fcm: bool = False, message: str = "") -> Response:
    """400 that names fields: `violations` are (field, description); `fcm` adds the FcmError detail."""
    found = [{"field": field, "description": text} if field else {"description": text} for field, text in violations]
    details: tuple[dict[str, Any], ...] = ({"@type": _BAD_REQUEST, "fieldViolations": found},)
    if fcm:
        details += (_fcm("INVALID_ARGUMENT"),)
    return error(400, "INVALID_ARGUMENT", message or "\n".join(text for _, text in violations), details)


def invalid_argument(message: str = "Request contains an invalid argument.") -> Response:
    """400 without details, as captured for a payload that is too large."""
    return error(400, "INVALID_ARGUMENT", message)


def no_target() -> Response:
    """400: the message names no token, fid, topic or condition (captured)."""
    text = "Recipient of the message is not set."
    return bad_request([("message", text)], fcm=True)


def invalid_token() -> Response:
    """400: the token is malformed. The only INVALID_ARGUMENT that is about the address (captured)."""
    text = "The registration token is not a valid FCM registration token"
    return fcm_error(400, "INVALID_ARGUMENT", text, "INVALID_ARGUMENT")


def unregistered() -> Response:
    """404 with UNREGISTERED: the token was good once (captured)."""
    return fcm_error(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED")


def sender_id_mismatch() -> Response:
    """403 with SENDER_ID_MISMATCH: the token belongs to another sender."""
    return fcm_error(403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH")


def quota(rate: Rate, retry_after_s: int | None = None) -> Response:
    """429. The QuotaFailure says which rate was exceeded: that of the project, one device or one topic."""
    subjects = {"project": "project:tidings-emulator", "device": "device", "topic": "topic"}
    text = f"Message rate exceeded for the {rate}"
    failure = {"@type": _QUOTA, "violations": [{"subject": subjects[rate], "description": text}]}
    message = "Resource has been exhausted (e.g. check quota)."
    return error(429, "RESOURCE_EXHAUSTED", message, (_fcm("QUOTA_EXCEEDED"), failure), retry_after_s)


def unavailable(retry_after_s: int | None = None) -> Response:
    """503 with UNAVAILABLE, and Retry-After in seconds if given."""
    return fcm_error(503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE", retry_after_s)


def internal(retry_after_s: int | None = None) -> Response:
    """500 with INTERNAL (captured), and Retry-After in seconds if given."""
    return fcm_error(500, "INTERNAL", "Internal error encountered.", "INTERNAL", retry_after_s)


def third_party_auth() -> Response:
    """401 with THIRD_PARTY_AUTH_ERROR: the key that Firebase keeps for APNs or web push is bad."""
    text = "Auth error from APNS or Web Push Service"
    return fcm_error(401, "UNAUTHENTICATED", text, "THIRD_PARTY_AUTH_ERROR")


def unauthenticated(missing: bool) -> Response:
    """401 about our access token: `missing`, or there but not good. No FcmError."""
    start = "Request is missing required" if missing else "Request had invalid"
    plural = "" if missing else "s"
    reason = "CREDENTIALS_MISSING" if missing else "ACCESS_TOKEN_EXPIRED"
    info = {"@type": _ERROR_INFO, "reason": reason, "domain": "googleapis.com"}
    answer = error(401, "UNAUTHENTICATED", f"{start} authentication credential{plural}. {_CREDENTIAL}", (info,))
    challenge = 'Bearer realm="https://accounts.google.com/"' + ("" if missing else ', error="invalid_token"')
    return Response(401, answer.body, (JSON, ("www-authenticate", challenge)))


def permission_denied() -> Response:
    """403 of an account without the permission. No FcmError."""
    text = "Permission 'cloudmessaging.messages.create' denied on resource"
    return error(403, "PERMISSION_DENIED", text)


def wrong_project() -> Response:
    """404 of a project that does not exist. No FcmError: nothing is said about the token."""
    return error(404, "NOT_FOUND", "Requested entity was not found.")


def html_502() -> Response:
    """502 as a gateway in front of FCM answers it: a page, no JSON."""
    return Response(502, _HTML_502, (("content-type", "text/html; charset=UTF-8"),))


def empty_503() -> Response:
    """503 without any body, which has been seen too."""
    return Response(503)


def for_status(status: int, retry_after_s: int | None = None) -> Response:
    """The usual body for an HTTP status, for faults that are asked for by number."""
    known = {
        401: unauthenticated(False),
        403: permission_denied(),
        404: unregistered(),
        429: quota("project", retry_after_s),
        500: internal(retry_after_s),
        502: html_502(),
        503: unavailable(retry_after_s),
    }
    plain = invalid_argument() if status == 400 else error(status, "UNKNOWN", "An emulated fault.", (), retry_after_s)
    return known.get(status, plain)
