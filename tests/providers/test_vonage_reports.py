"""What Vonage posts later: signed by Vonage's own package, read by us; and everything that must not be believed."""

import time
from hashlib import md5, sha256
from typing import Any
from urllib.parse import urlencode

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vonage_http_client.auth import Auth  # type: ignore[import-untyped]

from tests.providers.text_message import NUMBER, REFERENCE
from tidings.providers.contract import BadReport, Fate, Reason, Report
from tidings.providers.vonage_answers import ERRORS
from tidings.providers.vonage_reports import MAX_AGE_S, read

SECRET = "signature secret " * 3
URL = "https://tidings.example.org/api/reports/vonage/0"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
RECEIPT = {
    "msisdn": NUMBER[1:],
    "to": "Parcels",
    "network-code": "23410",
    "messageId": "0B00000127FDBC63",
    "price": "0.03330000",
    "status": "delivered",
    "scts": "1810251310",
    "err-code": "0",
    "message-timestamp": "2018-10-25 12:10:29",
    "client-ref": REFERENCE,
}
INCOMING = {"msisdn": NUMBER[1:], "to": "447700900000", "messageId": "0A", "type": "text", "keyword": "STOP"}


def sign(fields: dict[str, Any], method: str = "sha256", at: int | None = None) -> dict[str, Any]:
    timed = fields | {"timestamp": str(int(time.time()) if at is None else at), "nonce": "aaa&b=c"}
    auth = Auth(api_key="abcd1234", signature_secret=SECRET, signature_method=method)
    return timed | {"sig": auth.sign_params(dict(timed))}


def take(fields: dict[str, Any], method: str = "sha256", at: int | None = None) -> list[Report]:
    return read(URL, FORM, urlencode(sign(fields, method, at)).encode(), SECRET)


def test_delivered() -> None:
    assert take(RECEIPT) == [Report(Fate.DELIVERED, REFERENCE, NUMBER, "0B00000127FDBC63")]
    assert take(RECEIPT | {"client-ref": ""}) == []


@pytest.mark.parametrize("status", ["accepted", "buffered", "submitted", "new"])
def test_a_status_on_the_way_says_nothing_yet(status: str) -> None:
    assert take(RECEIPT | {"status": status}) == []


@pytest.mark.parametrize(
    ("code", "fate", "reason"),
    [
        ("1", Fate.FAILED, Reason.UNAVAILABLE),
        ("2", Fate.FAILED, Reason.UNAVAILABLE),
        ("3", Fate.BOUNCED, Reason.INVALID_ADDRESS),
        ("6", Fate.FAILED, Reason.INVALID_MESSAGE),
        ("11", Fate.FAILED, Reason.VENDOR_CREDENTIALS),
        ("99", Fate.FAILED, Reason.UNAVAILABLE),
        ("", Fate.FAILED, Reason.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("status", ["failed", "rejected", "expired", "unknown"])
def test_not_delivered(status: str, code: str, fate: Fate, reason: Reason) -> None:
    [report] = take(RECEIPT | {"status": status, "err-code": code})
    assert (report.fate, report.reference, report.address, report.reason) == (fate, REFERENCE, NUMBER, reason)


@pytest.mark.parametrize("code", ERRORS)
def test_every_code_fails_the_delivery(code: str) -> None:
    reports = take(RECEIPT | {"status": "failed", "err-code": code})
    assert REFERENCE in {report.reference for report in reports}


@pytest.mark.parametrize("code", ["4", "9"])
def test_opted_out_fails_the_delivery_and_suppresses_the_number(code: str) -> None:
    out, failed = take(RECEIPT | {"status": "failed", "err-code": code})
    assert (out.fate, out.reference, out.address) == (Fate.OPTED_OUT, "", NUMBER)
    assert (failed.fate, failed.reference) == (Fate.FAILED, REFERENCE)


@pytest.mark.parametrize(("text", "fate"), [("Stop", Fate.OPTED_OUT), ("START", Fate.OPTED_IN)])
def test_a_word_that_stops_or_starts(text: str, fate: Fate) -> None:
    assert take(INCOMING | {"text": text}) == [Report(fate, "", NUMBER)]


def test_other_messages_are_nobodys_business() -> None:
    assert take(INCOMING | {"text": "a = b & c", "keyword": "A"}) == []
    assert take(INCOMING | {"type": "binary", "data": "00"}) == []


@pytest.mark.parametrize("method", ["md5", "sha1", "sha256", "sha512"])
def test_every_method_of_the_dashboard(method: str) -> None:
    assert take(RECEIPT, method)[0].fate is Fate.DELIVERED


def test_the_oldest_method_is_a_plain_md5() -> None:
    fields = RECEIPT | {"timestamp": str(int(time.time()))}
    text = "".join(f"&{name}={value}" for name, value in sorted(fields.items())) + SECRET
    fields["sig"] = md5(text.encode(), usedforsecurity=False).hexdigest().upper()
    assert read(URL, FORM, urlencode(fields).encode(), SECRET)[0].fate is Fate.DELIVERED


def test_a_get_and_a_json_body_are_read_alike() -> None:
    signed = sign(RECEIPT)
    assert read(f"{URL}?{urlencode(signed)}", {}, b"", SECRET)[0].fate is Fate.DELIVERED
    assert read(URL, JSON, msgspec.json.encode(signed), SECRET)[0].fate is Fate.DELIVERED


@pytest.mark.parametrize("age_s", [MAX_AGE_S + 60, -3600])
def test_a_replay_is_refused(age_s: int) -> None:
    with pytest.raises(BadReport) as caught:
        take(RECEIPT, at=int(time.time()) - age_s)
    assert caught.value.forged


def messages_api(fields: dict[str, Any], secret: str = SECRET, **claims: Any) -> list[Report]:
    body = msgspec.json.encode(fields)
    told = {"iss": "Vonage", "iat": int(time.time()), "api_key": "abcd1234", "payload_hash": sha256(body).hexdigest()}
    token = jwt.encode(told | claims, secret, algorithm="HS256")
    return read(URL, JSON | {"Authorization": f"Bearer {token}"}, body, SECRET)


def test_the_messages_api_signs_by_jwt() -> None:
    status = {"message_uuid": "m1", "to": NUMBER[1:], "from": "Parcels", "channel": "sms", "client_ref": REFERENCE}
    assert messages_api(status | {"status": "delivered"}) == [Report(Fate.DELIVERED, REFERENCE, NUMBER, "m1")]
    [failed] = messages_api(status | {"status": "undeliverable", "error": {"title": 1260}})
    assert (failed.fate, failed.reference) == (Fate.FAILED, REFERENCE)
    incoming = {"from": NUMBER[1:], "to": "447700900000", "channel": "sms", "text": "STOP", "message_type": "text"}
    assert messages_api(incoming) == [Report(Fate.OPTED_OUT, "", NUMBER)]
    assert messages_api(incoming | {"channel": "whatsapp"}) == []


@pytest.mark.parametrize(
    "claims",
    [{"payload_hash": "0" * 64}, {"payload_hash": 1}, {"payload_hash": "ä"}, {"iat": 1}, {"iat": 10**12}, {"exp": 1}],
)
def test_a_jwt_must_fit_the_body_and_the_time(claims: dict[str, Any]) -> None:
    with pytest.raises(BadReport) as caught:
        messages_api({"status": "delivered", "client_ref": REFERENCE}, **claims)
    assert caught.value.forged


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_a_jwt_has_one_algorithm(algorithm: str) -> None:
    body = b'{"status":"delivered"}'
    claims = {"iat": int(time.time()), "payload_hash": sha256(body).hexdigest()}
    token = jwt.encode(claims, "" if algorithm == "none" else SECRET + "x" * 64, algorithm=algorithm)
    with pytest.raises(BadReport):
        read(URL, JSON | {"Authorization": f"Bearer {token}"}, body, SECRET)


def test_what_is_forged() -> None:
    signed = sign(RECEIPT)
    for fields in (signed | {"status": "failed"}, signed | {"sig": ""}, signed | {"sig": "ä" * 64}, RECEIPT):
        with pytest.raises(BadReport) as caught:
            read(URL, FORM, urlencode(fields).encode(), SECRET)
        assert caught.value.forged
    for secret in ("", "another secret"):
        with pytest.raises(BadReport):
            read(URL, FORM, urlencode(signed).encode(), secret)


def test_signed_but_not_what_vonage_sends() -> None:
    with pytest.raises(BadReport) as caught:
        take({"a": "b"})
    assert not caught.value.forged


PLAIN = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.dictionaries(PLAIN, PLAIN, max_size=8))
def test_any_signed_form_is_read_or_refused(fields: dict[str, str]) -> None:
    try:
        take({name: value for name, value in fields.items() if name not in ("sig", "timestamp", "nonce")})
    except BadReport as error:
        assert not error.forged


@given(st.binary(max_size=300), st.sampled_from([FORM, JSON, {}]), st.text(max_size=60))
def test_no_stranger_is_believed(body: bytes, headers: dict[str, str], token: str) -> None:
    for named in (headers, headers | {"Authorization": f"Bearer {token}"}):
        with pytest.raises(BadReport):
            read(URL, named, body, SECRET)
