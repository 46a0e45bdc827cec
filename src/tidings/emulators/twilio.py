"""Twilio's Messages API, emulated (`sms_magic` provokes every answer and every report).

| call | does |
|---|---|
| `POST /2010-04-01/Accounts/{sid}/Messages.json` | send a text message |
| `GET /2010-04-01/Accounts/{sid}/Messages.json` | the last ones, newest first; `To`, `From` and `PageSize` narrow it |
| `GET /2010-04-01/Accounts/{sid}/Messages/{sid}.json` | one of them, with its status now |

Checked, in this order: the account, the parameters, the vendor's own list of people who stopped, faults, magic
numbers. Texts and codes are Twilio's ("Error and warning dictionary").
"""

import re
import secrets
from base64 import b64encode
from collections import Counter, OrderedDict
from collections.abc import Awaitable
from email.utils import format_datetime
from functools import partial
from hmac import compare_digest, digest
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import msgspec

from tidings import clock
from tidings.emulators import sms_magic
from tidings.emulators.exchange import Answer, Request, Response
from tidings.emulators.faults import Effect, Faults, play
from tidings.emulators.sms_callbacks import Callbacks, Post
from tidings.emulators.sms_inbox import Inboxes, now_received
from tidings.emulators.twilio_errors import error, for_status
from tidings.providers.sms_text import gsm7_segments, is_e164, is_gsm7, ucs2_segments

PREFIX = "/2010-04-01/Accounts/"
_LIST = "/Messages.json"
_KEPT = 20_000
_JSON = (("content-type", "application/json"),)
_SENDERS = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
_SENDER = re.compile(r"\+?[0-9]{3,15}|[A-Za-z0-9 ]{1,11}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")


class Twilio:
    """One account. `refused` counts answers by `"<status> <code>"`, cuts and resets by their name."""

    def __init__(self, faults: Faults, inboxes: Inboxes, callbacks: Callbacks) -> None:
        self.account_sid = f"AC{secrets.token_hex(16)}"
        self.auth_token = secrets.token_hex(16)
        self.sender = "+15005550006"
        self.refused: Counter[str] = Counter()
        self._faults = faults
        self._inboxes = inboxes
        self._callbacks = callbacks
        self._magic = sms_magic.MagicNumbers(for_status)
        self._messages: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._path = f"{PREFIX}{self.account_sid}"
        self._authorization = f"Basic {b64encode(f'{self.account_sid}:{self.auth_token}'.encode()).decode()}".encode()
        inboxes.replies["twilio"] = self._reply

    def account(self) -> dict[str, str]:
        """What Tidings is configured with, in the form of `parse_twilio_account`."""
        return {"account_sid": self.account_sid, "auth_token": self.auth_token, "from": self.sender}

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Any call of the table above; Twilio's 20404 for others."""
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        if not compare_digest(given, self._authorization):
            return self._refuse(error(401, 20003, "Authenticate"))
        path = request.path.removeprefix(self._path)
        if path == _LIST and request.method == "POST":
            return self._send(request)
        if path == _LIST and request.method == "GET":
            return Response(200, msgspec.json.encode(self._listing(request)), _JSON)
        found = self._messages.get(path.removeprefix("/Messages/").removesuffix(".json"))
        if found is not None and request.method == "GET":
            return Response(200, msgspec.json.encode(found), _JSON)
        return self._refuse(error(404, 20404, f"The requested resource {request.path} was not found"))

    def clear(self) -> None:
        """Forget the messages, the counts and which numbers failed once."""
        self.refused.clear()
        self._messages.clear()
        self._magic.forget()

    def _send(self, request: Request) -> Answer | Awaitable[Answer]:
        try:
            form = dict(parse_qsl(request.body.decode(), keep_blank_values=True, max_num_fields=100))
        except ValueError:
            return self._refuse(error(400, 20001, "The form can't be read."))
        problem = _problem(form)
        if problem is not None:
            return self._refuse(problem)
        number = form["To"]
        if self._inboxes.stopped(number, form.get("From", "") or form.get("MessagingServiceSid", "")):
            return self._refuse(error(400, 21610))
        effect = self._faults.effect("twilio", number) or self._magic.effect(number)
        if effect is None:
            code = sms_magic.twilio_code(number)
            return self._accept(form) if code is None else self._refuse(error(_status_of(code), code))
        self._count(effect)
        return play(effect, partial(self._accept, form))

    def _accept(self, form: dict[str, str]) -> Response:
        sid = f"SM{secrets.token_hex(16)}"
        number, text = form["To"], form["Body"]
        sender = form.get("From") or form["MessagingServiceSid"]
        segments = gsm7_segments(text) if is_gsm7(text) else ucs2_segments(text)
        message = self._describe(sid, form, segments)
        self._messages[sid] = message
        if len(self._messages) > _KEPT:
            self._messages.popitem(last=False)
        url = form.get("StatusCallback", "")
        reference = parse_qs(urlsplit(url).query).get("ref", [""])[0] if url else ""
        webhook = url.partition("?")[0]
        received = now_received("twilio", sid, sender, text, segments, webhook)
        self._inboxes.receive(number, received, reference or None)
        # The body is made before the fate is: a message that was taken is `queued`, or `accepted` by a service.
        body = msgspec.json.encode(message)
        self._report(message, url)
        return Response(201, body, _JSON)

    def _describe(self, sid: str, form: dict[str, str], segments: int) -> dict[str, Any]:
        service = form.get("MessagingServiceSid")
        at = format_datetime(clock.now())
        return {
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": form["Body"],
            "date_created": at,
            "date_sent": None,
            "date_updated": at,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": form.get("From"),
            "messaging_service_sid": service,
            "num_media": "0",
            "num_segments": str(segments),
            "price": None,
            "price_unit": "USD",
            "sid": sid,
            "status": "accepted" if service else "queued",
            "subresource_uris": {"media": f"{self._path}/Messages/{sid}/Media.json"},
            "to": form["To"],
            "uri": f"{self._path}/Messages/{sid}.json",
        }

    def _report(self, message: dict[str, Any], url: str) -> None:
        number = message["to"]
        if sms_magic.silent(number):
            return
        code = sms_magic.twilio_report(number)
        message["status"] = "delivered" if code is None else "undelivered"
        message["error_code"] = code
        if not url:
            return
        fields = {
            "ApiVersion": "2010-04-01",
            "AccountSid": self.account_sid,
            "From": message["from"] or self.sender,
            "MessageSid": message["sid"],
            "SmsSid": message["sid"],
            "To": number,
        }
        end = {"ErrorCode": str(code)} if code is not None else {}
        for delay_s, status, more in ((0.02, "sent", {}), (0.06, message["status"], end)):
            self._post(url, fields | {"MessageStatus": status, "SmsStatus": status} | more, delay_s)

    def _reply(self, number: str, to: str, text: str, url: str) -> None:
        sid = f"SM{secrets.token_hex(16)}"
        fields = {
            "ApiVersion": "2010-04-01",
            "AccountSid": self.account_sid,
            "Body": text,
            "From": number,
            "MessageSid": sid,
            "NumMedia": "0",
            "NumSegments": "1",
            "SmsMessageSid": sid,
            "SmsSid": sid,
            "SmsStatus": "received",
            "To": to,
        }
        self._post(url, fields, 0.02)

    def _post(self, url: str, fields: dict[str, str], delay_s: float) -> None:
        signed = url + "".join(name + fields[name] for name in sorted(fields))
        signature = b64encode(digest(self.auth_token.encode(), signed.encode(), "sha1")).decode()
        kind = ("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
        headers = (kind, ("x-twilio-signature", signature), ("user-agent", "TwilioProxy/1.1"))
        self._callbacks.later(Post(url, headers, urlencode(fields).encode(), delay_s))

    def _listing(self, request: Request) -> dict[str, Any]:
        asked = {name: values[0] for name, values in parse_qs(request.query).items()}
        size = asked.get("PageSize", "50")
        most = min(int(size), 1000) if size.isascii() and size.isdigit() and len(size) < 9 else 50
        fits = (
            message
            for message in reversed(self._messages.values())
            if asked.get("To", message["to"]) == message["to"] and asked.get("From", message["from"]) == message["from"]
        )
        messages = [message for message, _ in zip(fits, range(most), strict=False)]
        page = f"{self._path}{_LIST}?PageSize={most}&Page=0"
        return {
            "end": max(0, len(messages) - 1),
            "first_page_uri": page,
            "messages": messages,
            "next_page_uri": None,
            "page": 0,
            "page_size": most,
            "previous_page_uri": None,
            "start": 0,
            "uri": page,
        }

    def _refuse(self, response: Response) -> Response:
        self.refused[_name(response)] += 1
        return response

    def _count(self, effect: Effect) -> None:
        if isinstance(effect.answer, Response):
            if effect.answer.status >= 400:
                self.refused[_name(effect.answer)] += 1
        elif effect.answer is not None:
            self.refused[type(effect.answer).__name__.lower()] += 1


def _problem(form: dict[str, str]) -> Response | None:
    """What is wrong with the parameters, in the order in which Twilio looks at them."""
    number, sender, service = form.get("To", ""), form.get("From", ""), form.get("MessagingServiceSid", "")
    if not number:
        return error(400, 21604)
    if not is_e164(number):
        return error(400, 21211, f"The 'To' number {number} is not a valid phone number.")
    if not sender and not service:
        return error(400, 21603)
    if service and not _SERVICE.fullmatch(service):
        return error(400, 21701)
    if sender and not _SENDER.fullmatch(sender):
        return error(400, 21212, f"The 'From' number {sender} is not a valid phone number, shortcode, or name.")
    if sender in _SENDERS:
        return error(400, _SENDERS[sender])
    if not form.get("Body"):
        return error(400, 21602)
    if len(form["Body"]) > 1600:
        return error(400, 21617)
    if "StatusCallback" in form and not _is_callback(form["StatusCallback"]):
        return error(400, 21609)
    validity = form.get("ValidityPeriod", "1")
    if not (validity.isascii() and validity.isdigit() and len(validity) < 6 and 1 <= int(validity) <= 36_000):
        return error(400, 20001, "Parameter 'ValidityPeriod' must be between 1 and 36000.")
    return None


def _is_callback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and "_" not in (parts.hostname or "_") and parts.port != 0
    except ValueError:
        return False


def _status_of(code: int) -> int:
    return {20003: 401, 20404: 404, 20429: 429}.get(code, 400)


def _name(response: Response) -> str:
    try:
        return f"{response.status} {msgspec.json.decode(response.body)['code']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return str(response.status)
