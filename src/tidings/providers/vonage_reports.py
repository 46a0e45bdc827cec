"""What Vonage posts later: delivery receipts, and what people text back.

Sources: Vonage, "Delivery receipts", "Inbound SMS", "Signing messages" (the `sig` of the SMS API), "Signed webhooks"
(the JWT of the Messages API, whose webhooks an account gets when that API is chosen in its settings).
"""

import hmac
from collections.abc import Mapping
from hashlib import md5, sha256
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import msgspec

from tidings import clock
from tidings.providers.contract import BadReport, Fate, Report
from tidings.providers.sms_verdict import reports
from tidings.providers.sms_words import fate_of
from tidings.providers.vonage_answers import verdict_of_report

MAX_FIELDS = 200
MAX_AGE_S = 90_000
"""Vonage repeats a webhook for a day; one that was signed longer ago is a replay."""

MAX_AHEAD_S = 600

# By the length of the signature in hexadecimal digits: what may be chosen in the dashboard.
_DIGESTS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_DELIVERED = frozenset({"delivered", "read"})
_FAILED = frozenset({"failed", "rejected", "expired", "undeliverable", "unknown"})


def read(url: str, headers: Mapping[str, str], body: bytes, secret: str) -> list[Report]:
    """What one webhook says; empty when it says nothing of interest, such as `accepted` or `buffered`.

    `url`: with its query, where a GET has its fields. `secret`: the account's signature secret. Both kinds of
    signature hold the time, so what was signed more than 25 hours ago is refused. Twice is safe.
    Raises BadReport: `forged` when the signature is missing or wrong.
    """
    names = {name.lower(): value for name, value in headers.items()}
    if not secret:
        raise BadReport("there is no signature secret to check it with", forged=True)
    token = names.get("authorization", "")
    fields = _fields(url, names, body)
    if token[:7].lower() == "bearer ":
        _check_token(token[7:].strip(), body, secret)
    else:
        _check_signature(fields, secret)
    if "status" in fields:
        return _receipt(fields)
    if "msisdn" in fields or "from" in fields:
        return _incoming(fields)
    raise BadReport("neither a delivery receipt nor a message that came in")


def _receipt(fields: dict[str, str]) -> list[Report]:
    reference = fields.get("client-ref") or fields.get("client_ref", "")
    # The SMS API names the phone `msisdn` and the sender `to`; the Messages API names the phone `to`.
    address = _number(fields["msisdn"] if "msisdn" in fields else fields.get("to", ""))
    message_id = fields.get("messageId") or fields.get("message_uuid") or None
    status, code = fields["status"].lower(), fields.get("err-code", "")
    if status in _DELIVERED:
        return [Report(Fate.DELIVERED, reference, address, message_id)] if reference else []
    if status not in _FAILED:
        return []
    known = code if code.isascii() and code.isdigit() and len(code) <= 6 else ""
    return reports(
        verdict_of_report(code),
        reference=reference,
        address=address,
        provider_message_id=message_id,
        detail=f"{status} {known}".strip(),
    )


def _incoming(fields: dict[str, str]) -> list[Report]:
    if fields.get("channel", "sms").lower() != "sms":
        return []
    address = _number(fields.get("msisdn") or fields.get("from", ""))
    fate = fate_of(fields.get("text", ""))
    return [Report(fate, "", address)] if fate is not None and address else []


def _number(text: str) -> str:
    digits = text.removeprefix("+")
    return f"+{digits}" if digits.isascii() and digits.isdigit() and 7 <= len(digits) <= 15 else ""


def _fields(url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
    """The fields of a GET's query, a form or a JSON object; what is nested is left out."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if not body:
            return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        if kind != "application/json":
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
        whole: Any = msgspec.json.decode(body)
    except (UnicodeError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise BadReport("the fields can't be read") from error
    if not isinstance(whole, dict) or len(whole) > MAX_FIELDS:
        raise BadReport("the body is not an object of fields")
    return {name: value if isinstance(value, str) else str(value) for name, value in whole.items() if _plain(value)}


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _check_signature(fields: dict[str, str], secret: str) -> None:
    """`sig`: a digest of all other fields in the order of their names, & and = in values written as _."""
    given = fields.get("sig", "").lower()
    digest = _DIGESTS.get(len(given))
    if digest is None or not given.isascii():
        raise BadReport("not signed by Vonage", forged=True)
    signed = "".join(
        f"&{name}={value.replace('&', '_').replace('=', '_')}"
        for name, value in sorted(fields.items())
        if name != "sig"
    ).encode("utf-8", "surrogatepass")
    proofs = [hmac.digest(secret.encode(), signed, digest).hex()]
    if digest == "md5":
        # What accounts have that never chose: the secret behind the fields, not an HMAC.
        proofs.append(md5(signed + secret.encode(), usedforsecurity=False).hexdigest())
    if not any([hmac.compare_digest(proof, given) for proof in proofs]):
        raise BadReport("the signature is wrong", forged=True)
    text = fields.get("timestamp", "")
    _check_age(int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0)


def _check_token(token: str, body: bytes, secret: str) -> None:
    """A JWT with HS256 whose `payload_hash` is the SHA-256 of the body."""
    options: Any = {"require": ["iat", "payload_hash"], "verify_aud": False, "verify_iat": False}
    try:
        claims = jwt.decode(token, secret, algorithms=["HS256"], options=options)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise BadReport("the signature is wrong", forged=True) from error
    digest, at = claims["payload_hash"], claims["iat"]
    if not isinstance(digest, str) or not hmac.compare_digest(
        sha256(body).hexdigest().encode(), digest.lower().encode()
    ):
        raise BadReport("the body does not fit its hash", forged=True)
    _check_age(int(at) if isinstance(at, int | float) else 0)


def _check_age(signed_at: int) -> None:
    age_s = clock.now().timestamp() - signed_at
    if not -MAX_AHEAD_S <= age_s <= MAX_AGE_S:
        raise BadReport("signed too long ago, or ahead of its time", forged=True)
