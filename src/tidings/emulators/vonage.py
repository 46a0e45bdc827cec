"""Vonage's SMS API, emulated: `POST /sms/json` (`sms_magic` provokes every answer and every report).

The account is proved by `api_key` and `api_secret` in the form, by HTTP basic authentication, or by `sig`. An
answer is 200 also when a message is refused; its `status` says so. A delivery receipt comes for each segment.
"""

import binascii
import secrets
from base64 import b64decode
from collections import Counter
from collections.abc import Awaitable
from functools import partial
from hmac import compare_digest, digest
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from tidings import clock
from tidings.emulators import sms_magic
from tidings.emulators.exchange import Answer, Request, Response
from tidings.emulators.faults import Effect, Faults, play
from tidings.emulators.sms_callbacks import Callbacks, Post
from tidings.emulators.sms_inbox import Inboxes, now_received
from tidings.providers.sms_text import gsm7_segments, is_e164, is_gsm7, ucs2_segments

PATH = "/sms/json"
_JSON = (("content-type", "application/json"),)
_HTML_502 = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_WORDS = {
    "1": "Throughput Rate Exceeded - please wait and retry",
    "2": "Missing parameters",
    "3": "Invalid parameters",
    "4": "Bad Credentials",
    "5": "Internal error",
    "6": "Unroutable message - rejected",
    "7": "Number barred",
    "8": "Partner account barred",
    "9": "Quota Exceeded - rejected",
    "12": "Message too long",
    "14": "Invalid signature",
    "15": "Invalid sender address - rejected",
    "23": "Invalid callback url",
    "29": "Non White-listed Destination - rejected",
}


class Vonage:
    """One API key. `refused` counts answers by `"200 <status>"` or the HTTP status, cuts and resets by name."""

    def __init__(self, faults: Faults, inboxes: Inboxes, callbacks: Callbacks) -> None:
        self.api_key = secrets.token_hex(4)
        self.api_secret = secrets.token_hex(8)
        self.signature_secret = secrets.token_hex(32)
        self.sender = "+15005550006"
        self.refused: Counter[str] = Counter()
        self._faults = faults
        self._inboxes = inboxes
        self._callbacks = callbacks
        self._magic = sms_magic.MagicNumbers(for_status)
        inboxes.replies["vonage"] = self._reply

    def account(self) -> dict[str, str]:
        """What Tidings is configured with, in the form of `parse_vonage_account`."""
        return {
            "api_key": self.api_key,
            "api_secret": self.api_secret,
            "signature_secret": self.signature_secret,
            "from": self.sender,
        }

    def send(self, request: Request) -> Answer | Awaitable[Answer]:
        """One text message. Late only when a fault or a magic number wants it so."""
        form = _form(request)
        if form is None:
            return self._refuse(_refusal("", "2"))
        number = f"+{form.get('to', '').removeprefix('+')}"
        status = self._proof(form, request.headers.get("authorization", "")) or _problem(form, number)
        if status is None and self._inboxes.stopped(number, form["from"]):
            status = "7"
        if status is not None:
            return self._refuse(_refusal(number, status))
        effect = self._faults.effect("vonage", number) or self._magic.effect(number)
        if effect is None:
            status = sms_magic.vonage_status(number)
            return self._accept(form, number) if status is None else self._refuse(_refusal(number, status))
        self._count(effect)
        return play(effect, partial(self._accept, form, number))

    def clear(self) -> None:
        """Forget the counts and which numbers failed once."""
        self.refused.clear()
        self._magic.forget()

    def _accept(self, form: dict[str, str], number: str) -> Response:
        text = form["text"]
        if form.get("type") != "unicode":
            # Without type=unicode, what the alphabet lacks arrives as a question mark.
            text = "".join(character if is_gsm7(character) else "?" for character in text)
        segments = ucs2_segments(text) if form.get("type") == "unicode" else gsm7_segments(text)
        ids = [secrets.token_hex(8).upper() for _ in range(segments)]
        webhook, reference = form.get("callback", ""), form.get("client-ref", "")
        received = now_received("vonage", ids[0], form["from"], text, segments, webhook)
        self._inboxes.receive(number, received, reference or None)
        for message_id in ids:
            self._report(form, number, message_id)
        same = {"to": number[1:], "status": "0", "remaining-balance": "15.00", "message-price": "0.03", "network": "1"}
        more = {"client-ref": reference} if reference else {}
        body = {"message-count": str(segments), "messages": [{**same, "message-id": each, **more} for each in ids]}
        return Response(200, msgspec.json.encode(body), _JSON)

    def _report(self, form: dict[str, str], number: str, message_id: str) -> None:
        url = form.get("callback", "")
        if not url or sms_magic.silent(number) or form.get("status-report-req") in ("0", "false"):
            return
        code = sms_magic.vonage_report(number)
        fields = {
            "msisdn": number[1:],
            "to": form["from"],
            "network-code": "00000",
            "messageId": message_id,
            "price": "0.03",
            "status": "delivered" if code is None else "failed",
            "scts": f"{clock.now():%y%m%d%H%M}",
            "err-code": code or "0",
            "api-key": self.api_key,
        }
        if form.get("client-ref"):
            fields["client-ref"] = form["client-ref"]
        self._post(url, fields)

    def _reply(self, number: str, to: str, text: str, url: str) -> None:
        fields = {
            "msisdn": number[1:],
            "to": to.removeprefix("+"),
            "messageId": secrets.token_hex(8).upper(),
            "text": text,
            "type": "text" if is_gsm7(text) else "unicode",
            "keyword": (text.split() or [""])[0].upper(),
            "api-key": self.api_key,
            "nonce": secrets.token_hex(16),
        }
        self._post(url, fields)

    def _post(self, url: str, fields: dict[str, str]) -> None:
        now = clock.now()
        fields |= {"message-timestamp": f"{now:%Y-%m-%d %H:%M:%S}", "timestamp": str(int(now.timestamp()))}
        fields["sig"] = self._sign(fields)
        headers = (("content-type", "application/x-www-form-urlencoded; charset=UTF-8"),)
        self._callbacks.later(Post(url, headers, urlencode(fields).encode()))

    def _sign(self, fields: dict[str, str]) -> str:
        text = "".join(f"&{name}={fields[name].replace('&', '_').replace('=', '_')}" for name in sorted(fields))
        return digest(self.signature_secret.encode(), text.encode(), "sha256").hex()

    def _proof(self, form: dict[str, str], authorization: str) -> str | None:
        """The status that says what is wrong with the credentials, None when they are right."""
        if "sig" in form:
            rest = {name: value for name, value in form.items() if name != "sig"}
            right = form.get("api_key") == self.api_key and compare_digest(
                self._sign(rest).encode(), form["sig"].lower().encode()
            )
            return None if right else "14"
        key, secret = form.get("api_key", ""), form.get("api_secret", "")
        if authorization.lower().startswith("basic "):
            try:
                key, _, secret = b64decode(authorization[6:]).decode().partition(":")
            except (binascii.Error, UnicodeError):
                return "4"
        if not key or not secret:
            return "2"
        return None if key == self.api_key and compare_digest(secret.encode(), self.api_secret.encode()) else "4"

    def _refuse(self, response: Response) -> Response:
        self.refused[f"200 {msgspec.json.decode(response.body)['messages'][0]['status']}"] += 1
        return response

    def _count(self, effect: Effect) -> None:
        if isinstance(effect.answer, Response):
            if effect.answer.status >= 400:
                self.refused[str(effect.answer.status)] += 1
        elif effect.answer is not None:
            self.refused[type(effect.answer).__name__.lower()] += 1


def for_status(status: int, retry_after_s: int | None = None) -> Response:
    """The usual body for an HTTP status: a problem of RFC 7807 ("API errors"), HTML for 502."""
    if status == 502:
        return Response(502, _HTML_502, (("content-type", "text/html"),))
    body = {"type": "https://developer.vonage.com/api-errors", "title": "Refused", "detail": f"HTTP {status}"}
    wait = () if retry_after_s is None else (("retry-after", str(retry_after_s)),)
    return Response(status, msgspec.json.encode(body), (("content-type", "application/problem+json"), *wait))


def _form(request: Request) -> dict[str, str] | None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            return msgspec.json.decode(request.body, type=dict[str, str])
        return dict(parse_qsl(request.body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError:  # msgspec's errors are ValueErrors
        return None


def _problem(form: dict[str, str], number: str) -> str | None:
    """The status that says what is wrong with the parameters, None when nothing is."""
    if not form.get("from") or not form.get("to") or not form.get("text"):
        return "2"
    ttl = form.get("ttl", "20000")
    bad_ttl = not (ttl.isascii() and ttl.isdigit() and len(ttl) < 12 and 20_000 <= int(ttl) <= 604_800_000)
    if not is_e164(number) or form.get("type", "text") not in ("text", "unicode") or bad_ttl:
        return "3"
    if len(form["text"]) > 3200:
        return "12"
    callback = form.get("callback")
    if callback is not None and (len(callback) > 100 or not callback.startswith(("http://", "https://"))):
        return "23"
    return None


def _refusal(number: str, status: str) -> Response:
    told: dict[str, Any] = {"to": number[1:], "status": status, "error-text": _WORDS.get(status, f"Error {status}")}
    return Response(200, msgspec.json.encode({"message-count": "1", "messages": [told]}), _JSON)
