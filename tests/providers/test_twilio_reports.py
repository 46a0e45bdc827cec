"""What Twilio posts later: signed by Twilio's own package, read by us; and everything that must not be believed."""

import hmac
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from tests.providers.text_message import NUMBER, REFERENCE
from tidings.providers.contract import BadReport, Fate, Reason, Report
from tidings.providers.twilio import callback_url
from tidings.providers.twilio_answers import CODES
from tidings.providers.twilio_reports import read

TOKEN = "0123456789abcdef" * 2
URL = callback_url("https://tidings.example.org/api/reports/twilio/0", REFERENCE)
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
STATUS = {"MessageSid": "SM1", "SmsSid": "SM1", "AccountSid": "AC1", "From": "+15005550006", "To": NUMBER}
INCOMING = {"SmsStatus": "received", "MessageSid": "SM2", "From": NUMBER, "To": "+15005550006", "NumMedia": "0"}


def take(fields: dict[str, str], url: str = URL, signed: str | None = None, **headers: str) -> list[Report]:
    signature = RequestValidator(TOKEN).compute_signature(signed or url, fields)
    named = {"Content-Type": FORM, "X-Twilio-Signature": signature} | headers
    return read(url, named, urlencode(fields).encode(), TOKEN)


def status(name: str, **more: str) -> list[Report]:
    return take(STATUS | {"MessageStatus": name, "SmsStatus": name} | more)


def test_delivered() -> None:
    assert status("delivered") == [Report(Fate.DELIVERED, REFERENCE, NUMBER, "SM1")]
    assert status("read", RawDlrDoneDate="2611221200") == [Report(Fate.DELIVERED, REFERENCE, NUMBER, "SM1")]


@pytest.mark.parametrize("name", ["accepted", "scheduled", "queued", "sending", "sent", "renamed_since"])
def test_a_status_on_the_way_says_nothing_yet(name: str) -> None:
    assert status(name) == []


@pytest.mark.parametrize(
    ("code", "fate", "reason"),
    [
        ("30003", Fate.FAILED, Reason.UNAVAILABLE),
        ("30005", Fate.BOUNCED, Reason.INVALID_ADDRESS),
        ("30006", Fate.BOUNCED, Reason.INVALID_ADDRESS),
        ("21614", Fate.BOUNCED, Reason.INVALID_ADDRESS),
        ("30004", Fate.FAILED, Reason.INVALID_MESSAGE),
        ("30007", Fate.FAILED, Reason.INVALID_MESSAGE),
        ("30008", Fate.FAILED, Reason.UNAVAILABLE),
        ("30034", Fate.FAILED, Reason.VENDOR_CREDENTIALS),
        ("39999", Fate.FAILED, Reason.UNAVAILABLE),
        ("", Fate.FAILED, Reason.UNAVAILABLE),
        ("nonsense", Fate.FAILED, Reason.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("name", ["undelivered", "failed"])
def test_not_delivered(name: str, code: str, fate: Fate, reason: Reason) -> None:
    [report] = status(name, ErrorCode=code)
    assert (report.fate, report.reference, report.address, report.reason) == (fate, REFERENCE, NUMBER, reason)
    assert name in report.detail


@pytest.mark.parametrize("code", CODES)
def test_every_code_fails_the_delivery(code: int) -> None:
    assert REFERENCE in {report.reference for report in status("failed", ErrorCode=str(code))}


def test_opted_out_fails_the_delivery_and_suppresses_the_number() -> None:
    out, failed = status("failed", ErrorCode="21610")
    assert (out.fate, out.reference, out.address) == (Fate.OPTED_OUT, "", NUMBER)
    assert (failed.fate, failed.reference, failed.reason) == (Fate.FAILED, REFERENCE, Reason.OPTED_OUT)


@pytest.mark.parametrize(("text", "fate"), [("STOP", Fate.OPTED_OUT), (" unstop ", Fate.OPTED_IN)])
def test_a_word_that_stops_or_starts(text: str, fate: Fate) -> None:
    assert take(INCOMING | {"Body": text}) == [Report(fate, "", NUMBER)]


def test_twilios_own_understanding_counts_before_ours() -> None:
    assert take(INCOMING | {"Body": "ARRET", "OptOutType": "STOP"}) == [Report(Fate.OPTED_OUT, "", NUMBER)]
    assert take(INCOMING | {"Body": "stop", "OptOutType": "HELP"}) == []


@pytest.mark.parametrize("more", [{"Body": "hello"}, {"Body": ""}, {"Body": "STOP", "From": "whatsapp:+447700900123"}])
def test_other_messages_are_nobodys_business(more: dict[str, str]) -> None:
    assert take(INCOMING | more) == []


@pytest.mark.parametrize("url", ["https://a.example/r?ref=x", "http://a.example:80/r?ref=x", "http://[::1]:8000/r"])
def test_twilio_may_sign_with_or_without_the_port(url: str) -> None:
    fields = STATUS | {"MessageStatus": "sent"}
    assert take(fields, url) == []
    port = ":443" if url.startswith("https") else ":80"
    head, slash, tail = url.partition("//")[2].partition("/")
    scheme = url.partition("//")[0]
    other = head.removesuffix(port) if head.endswith(port) else head if head.count(":") > 1 else head + port
    assert take(fields, url, signed=f"{scheme}//{other}{slash}{tail}") == []


def test_a_shared_key_signs_with_sha256() -> None:
    fields = STATUS | {"MessageStatus": "delivered"}
    signature = RequestValidator(TOKEN).compute_signature(URL, fields, "HMAC_SHA256")
    settings = {"X-Twilio-Webhooks-Signature-Settings": "key=webhooks_1,algorithm=HMAC_SHA256"}
    assert take(fields, **{"X-Twilio-Signature": signature} | settings)[0].fate is Fate.DELIVERED
    with pytest.raises(BadReport):
        take(fields, **{"X-Twilio-Signature": signature})
    with pytest.raises(BadReport):
        take(fields, **{"X-Twilio-Webhooks-Signature-Settings": "algorithm=NONE"})


def test_repeated_fields_are_signed_once_each_in_order() -> None:
    body = b"MessageStatus=sent&b=2&b=1&b=2&a="
    mac = hmac.digest(TOKEN.encode(), (URL + "MessageStatussent" + "a" + "b1" + "b2").encode(), "sha1")
    headers = {"content-type": FORM, "x-twilio-signature": b64encode(mac).decode()}
    assert read(URL, headers, body, TOKEN) == []


@pytest.mark.parametrize(
    ("changes", "url", "headers", "secret"),
    [
        ({"MessageStatus": "failed"}, URL, {}, TOKEN),
        ({}, URL + "x", {}, TOKEN),
        ({}, URL.replace("https", "http"), {}, TOKEN),
        ({}, URL, {"X-Twilio-Signature": ""}, TOKEN),
        ({}, URL, {"X-Twilio-Signature": "ä"}, TOKEN),
        ({}, URL, {}, "another token"),
        ({}, URL, {}, ""),
        ({}, URL, {"Content-Type": "application/json"}, TOKEN),
    ],
)
def test_what_is_forged(changes: dict[str, str], url: str, headers: dict[str, str], secret: str) -> None:
    fields = STATUS | {"MessageStatus": "delivered"}
    signature = RequestValidator(TOKEN).compute_signature(URL, fields)
    named = {"Content-Type": FORM, "X-Twilio-Signature": signature} | headers
    with pytest.raises(BadReport) as caught:
        read(url, named, urlencode(fields | changes).encode(), secret)
    assert caught.value.forged


def test_json_is_signed_by_its_hash() -> None:
    body = b'{"a":1}'
    url = f"{URL}&bodySHA256={RequestValidator(TOKEN).compute_hash(body.decode())}"
    headers = {
        "content-type": "application/json",
        "x-twilio-signature": RequestValidator(TOKEN).compute_signature(url, {}),
    }
    for sent, forged in ((body, False), (b'{"a":2}', True)):
        with pytest.raises(BadReport) as caught:
            read(url, headers, sent, TOKEN)
        assert caught.value.forged is forged


def test_signed_but_not_what_twilio_sends() -> None:
    for fields in ({"a": "b"}, {"MessageStatus": "no status!"}):
        with pytest.raises(BadReport) as caught:
            take(fields)
        assert not caught.value.forged


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=8), st.text(max_size=30))
def test_any_signed_form_is_read_or_refused(fields: dict[str, str], reference: str) -> None:
    fields = {name: value for name, value in fields.items() if name.isprintable() and value.isprintable()}
    url = callback_url("https://tidings.example.org/r", "".join(filter(str.isascii, reference)))
    try:
        take(fields | {"MessageStatus": fields.get("MessageStatus", "failed")}, url)
    except BadReport as error:
        assert not error.forged


@given(st.binary(max_size=300), st.text(max_size=60), st.sampled_from([FORM, "application/json", ""]))
def test_no_stranger_is_believed(body: bytes, signature: str, kind: str) -> None:
    headers: dict[str, Any] = {"content-type": kind, "x-twilio-signature": signature}
    with pytest.raises(BadReport):
        read(URL, headers, body, TOKEN)
