"""What Twilio posts later: the fate of a message, and what people text back.

Sources: Twilio, "Webhooks security" and its `RequestValidator` (signatures), "Outbound message status in status
callbacks", "Messaging webhooks" (what comes in), "Advanced Opt-Out" (OptOutType).
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tidings.providers.contract import BadReport, Fate, Report
from tidings.providers.sms_verdict import reports
from tidings.providers.sms_words import fate_of
from tidings.providers.twilio_answers import FAILED, verdict_of_report

MAX_FIELDS = 200

_DELIVERED = frozenset({"delivered", "read"})
_UNDERWAY = frozenset({"accepted", "scheduled", "queued", "sending", "sent", "partially_delivered"})
_DIGESTS = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_PORTS = {"https": 443, "http": 80}


def read(url: str, headers: Mapping[str, str], body: bytes, secret: str) -> list[Report]:
    """What one webhook says; empty when it says nothing of interest, such as a status on the way.

    `url`: the public one with its query, as Twilio was given it. `secret`: the account's primary auth token.
    Twilio signs no time, so an old webhook can be told from a new one by nobody; all of them are safe twice.
    Raises BadReport: `forged` when the signature is missing or wrong.
    """
    names = {name.lower(): value for name, value in headers.items()}
    fields = _checked(url, names, body, secret)
    status = fields.get("MessageStatus", "").lower()
    if status and status != "received":
        return _status(status, fields, parse_qs(urlsplit(url).query).get("ref", [""])[0])
    if "Body" in fields or "OptOutType" in fields:
        return _incoming(fields)
    raise BadReport("neither a message's status nor a message that came in")


def _status(status: str, fields: dict[str, str], reference: str) -> list[Report]:
    address = _number(fields.get("To", ""))
    message_id = fields.get("MessageSid") or fields.get("SmsSid") or None
    if status in _DELIVERED:
        return [Report(Fate.DELIVERED, reference, address, message_id)] if reference else []
    if status not in FAILED:
        if status in _UNDERWAY or status.isidentifier():
            return []  # a status that Twilio has added since is no reason to make it try again
        raise BadReport("MessageStatus is no status")
    text = fields.get("ErrorCode", "")
    code = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0
    return reports(
        verdict_of_report(code),
        reference=reference,
        address=address,
        provider_message_id=message_id,
        detail=f"{status} {code}" if code else status,
    )


def _incoming(fields: dict[str, str]) -> list[Report]:
    address = _number(fields.get("From", ""))
    # With Advanced Opt-Out Twilio knows the words of the country's language, and says what it understood.
    kind = fields.get("OptOutType", "").upper()
    fate = {"STOP": Fate.OPTED_OUT, "START": Fate.OPTED_IN}.get(kind) if kind else fate_of(fields.get("Body", ""))
    return [Report(fate, "", address)] if fate is not None and address else []


def _number(text: str) -> str:
    """The number; "" for what is no telephone, such as `whatsapp:+44…`."""
    return text if text.startswith("+") and text[1:].isdecimal() else ""


def _checked(url: str, headers: dict[str, str], body: bytes, secret: str) -> dict[str, str]:
    """The form's fields once the signature is proved; the first of repeated ones."""
    given = headers.get("x-twilio-signature", "")
    digest = _digest(headers.get("x-twilio-webhooks-signature-settings", ""))
    if not given or not secret or digest is None:
        raise BadReport("not signed by Twilio", forged=True)
    pairs: list[tuple[str, str]] = []
    if headers.get("content-type", "").partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except (UnicodeError, ValueError) as error:
            raise BadReport("the form can't be read") from error
    else:
        _check_digest(url, body)
    signed = "".join(name + value for name, value in sorted(set(pairs)))
    for each in _spellings(url):
        mac = b64encode(hmac.digest(secret.encode(), (each + signed).encode(), digest))
        if hmac.compare_digest(mac, given.encode()):
            fields: dict[str, str] = {}
            for name, value in pairs:
                fields.setdefault(name, value)
            return fields
    raise BadReport("the signature is wrong", forged=True)


def _digest(settings: str) -> str | None:
    """The algorithm: HMAC-SHA1 unless the header of webhooks signed with a shared key names another."""
    for part in settings.split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return _DIGESTS.get(value.strip().upper())
    return "sha1"


def _check_digest(url: str, body: bytes) -> None:
    """A body that is no form is signed by its hash, which stands in the URL."""
    digest = parse_qs(urlsplit(url).query).get("bodySHA256", [""])[0]
    if not hmac.compare_digest(sha256(body).hexdigest().encode(), digest.lower().encode()):
        raise BadReport("the body does not fit its hash", forged=True)


def _spellings(url: str) -> tuple[str, ...]:
    """The URL as it is, and without or with the port that its scheme implies: Twilio signs either."""
    parts = urlsplit(url)
    usual = _PORTS.get(parts.scheme)
    host, _, port = parts.netloc.rpartition(":")
    if host and port.isdecimal():
        return (url, parts._replace(netloc=host).geturl())
    return (url, parts._replace(netloc=f"{parts.netloc}:{usual}").geturl())
