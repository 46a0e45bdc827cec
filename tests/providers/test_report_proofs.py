"""What proves a report: good signatures are believed, and everything else is refused as forged."""

import base64
import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.providers.sns_authority import Authority, authority
from tidings import http
from tidings.providers import mailgun_reports, postmark_reports, sendgrid_reports, sns
from tidings.providers.contract import BadReport, Fate
from tidings.providers.mailgun_reports import Tokens
from tidings.providers.report_reader import ReportReader
from tidings.providers.report_secrets import ReportSecretsError, Secrets, parse_report_secrets

NOW = datetime(2026, 4, 28, 12, tzinfo=UTC)
REFERENCE = "1.123.e.0.AbCdEfGhIjKlMnOpQrStUv"

# sendgrid/sendgrid-python, test of EventWebhook: what SendGrid itself signed.
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eN"
    "Ec6wEA3F+g=="
)
SENDGRID_HEADERS = {
    "x-twilio-email-event-webhook-signature": "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+l"
    "uQAbPIqHh89M15TluLtEZtM=",
    "x-twilio-email-event-webhook-timestamp": "1600112502",
}
SENDGRID_BODY = (
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYb'
    b'F9OSFN0T0doUTRrb2ZTbV9BLTA","sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C'
    b'-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
)
SENDGRID_TIME = datetime.fromtimestamp(1600112502, UTC)


def refused(forged: bool = True) -> Any:
    return pytest.raises(BadReport, check=lambda error: error.forged is forged)


def test_what_sendgrid_signed() -> None:
    secrets = Secrets(SENDGRID_KEY)
    [report] = sendgrid_reports.read(SENDGRID_HEADERS, SENDGRID_BODY, secrets, SENDGRID_TIME)
    assert (report.fate, report.address) == (Fate.BOUNCED, "hello@world.com")


@pytest.mark.parametrize(
    ("headers", "body", "late"),
    [
        ({}, SENDGRID_BODY, timedelta()),
        (SENDGRID_HEADERS, SENDGRID_BODY.replace(b"Bounced", b"bounced"), timedelta()),
        (SENDGRID_HEADERS, SENDGRID_BODY.rstrip(), timedelta()),
        (SENDGRID_HEADERS, SENDGRID_BODY, timedelta(days=3)),
        (SENDGRID_HEADERS, SENDGRID_BODY, timedelta(hours=-1)),
        ({**SENDGRID_HEADERS, sendgrid_reports.TIMESTAMP: "1600112503"}, SENDGRID_BODY, timedelta()),
        ({**SENDGRID_HEADERS, sendgrid_reports.TIMESTAMP: "9" * 400}, SENDGRID_BODY, timedelta()),
        ({**SENDGRID_HEADERS, sendgrid_reports.TIMESTAMP: "١"}, SENDGRID_BODY, timedelta()),
        ({**SENDGRID_HEADERS, sendgrid_reports.SIGNATURE: "AAAA"}, SENDGRID_BODY, timedelta()),
        ({**SENDGRID_HEADERS, sendgrid_reports.SIGNATURE: "ä"}, SENDGRID_BODY, timedelta()),
    ],
)
def test_what_sendgrid_did_not_sign(headers: dict[str, str], body: bytes, late: timedelta) -> None:
    with refused():
        sendgrid_reports.read(headers, body, Secrets(SENDGRID_KEY), SENDGRID_TIME + late)


def test_another_key_than_sendgrids() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    text = base64.b64encode(other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    with refused():
        sendgrid_reports.read(SENDGRID_HEADERS, SENDGRID_BODY, Secrets(text), SENDGRID_TIME)
    with refused(forged=False):
        sendgrid_reports.read(SENDGRID_HEADERS, SENDGRID_BODY, Secrets("no key"), SENDGRID_TIME)


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'"x"', b"[" * 100_000, b"\xff", b"[{}]" + b"x"])
def test_signed_by_sendgrid_and_still_no_report(body: bytes) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    text = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    stamp = str(int(NOW.timestamp()))
    signature = base64.b64encode(key.sign(stamp.encode() + body, ec.ECDSA(SHA256()))).decode()
    headers = {sendgrid_reports.SIGNATURE: signature, sendgrid_reports.TIMESTAMP: stamp}
    with refused(forged=False):
        sendgrid_reports.read(headers, body, Secrets(text), NOW)


def mailgun(key: str = "mailgun-key", at: datetime = NOW, token: str = "a" * 50, **event: Any) -> bytes:
    stamp = str(int(at.timestamp()))
    signature = hmac.new(key.encode(), (stamp + token).encode(), "sha256").hexdigest()
    data = {"event": "delivered", "recipient": "a@b.example", "user-variables": {"r": REFERENCE}, **event}
    return msgspec.json.encode(
        {"signature": {"timestamp": stamp, "token": token, "signature": signature}, "event-data": data}
    )


def test_what_mailgun_signed() -> None:
    [report] = mailgun_reports.read(mailgun(), Secrets("mailgun-key"), Tokens(), NOW)
    assert (report.fate, report.reference) == (Fate.DELIVERED, REFERENCE)


@pytest.mark.parametrize(
    "body",
    [
        mailgun("another-key"),
        mailgun("mailgun-ke\u00e4"),
        mailgun(at=NOW - timedelta(hours=13)),
        mailgun(at=NOW + timedelta(hours=1)),
        mailgun().replace(b'"token":"a', b'"token":"b'),
    ],
)
def test_what_mailgun_did_not_sign(body: bytes) -> None:
    with refused():
        mailgun_reports.read(body, Secrets("mailgun-key"), Tokens(), NOW)


def test_a_token_of_mailgun_is_worth_one_event() -> None:
    tokens, secrets = Tokens(), Secrets("mailgun-key")
    for _ in range(2):  # Mailgun repeats what was not taken
        assert mailgun_reports.read(mailgun(), secrets, tokens, NOW)
    with refused():
        mailgun_reports.read(mailgun(event="complained"), secrets, tokens, NOW)


def test_only_so_many_tokens_are_remembered() -> None:
    tokens = Tokens(most=2)
    for token in ("a", "b", "c"):
        tokens.check(token, b"1")
    tokens.check("a", b"2")
    with refused():
        tokens.check("c", b"2")


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


POSTMARK = Secrets("pass:word", "hook")
DELIVERY = b'{"RecordType": "Delivery", "Recipient": "a@b.example", "Metadata": {"r": "' + REFERENCE.encode() + b'"}}'


def test_postmarks_password() -> None:
    [report] = postmark_reports.read(basic("hook:pass:word"), DELIVERY, POSTMARK)
    assert (report.fate, report.reference) == (Fate.DELIVERED, REFERENCE)


@pytest.mark.parametrize(
    "headers",
    [{}, basic("hook:pass"), basic(":"), basic(""), {"authorization": "Bearer x"}, {"authorization": "Basic ä"}],
)
def test_another_password_than_postmarks(headers: dict[str, str]) -> None:
    with refused():
        postmark_reports.read(headers, DELIVERY, POSTMARK)
    with refused():
        postmark_reports.read(headers, DELIVERY, Secrets())


@pytest.fixture
async def aws() -> AsyncIterator[Authority]:
    async with authority() as running:
        yield running


@pytest.fixture
async def reader(aws: Authority) -> AsyncIterator[ReportReader]:
    client = http.open_client(timeout_s=5, system_proxy=False)
    async with client:
        yield ReportReader(client, sns.Sns(client, aws.origin))


TOPIC = "arn:aws:sns:us-east-1:123456789012:reports"
SES = Secrets(topics=(TOPIC,))
DELIVERED = msgspec.json.encode(
    {
        "eventType": "Delivery",
        "mail": {"tags": {"reference": [REFERENCE]}},
        "delivery": {"recipients": ["a@b.example"]},
    }
).decode()


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [None, "Amazon SES Email Event Notification"])
async def test_what_aws_signed(aws: Authority, reader: ReportReader, version: str, subject: str | None) -> None:
    body = aws.post("Notification", DELIVERED, TOPIC, version=version, subject=subject)
    for _ in range(3):
        [report] = await reader.read("ses", "", {}, body, SES, aws.now)
        assert (report.fate, report.reference, report.address) == (Fate.DELIVERED, REFERENCE, "a@b.example")
    assert aws.fetched == 1, "a certificate is fetched once"


@pytest.mark.parametrize(
    "change",
    [
        {"Message": DELIVERED.replace("Delivery", "Complaint")},
        {"TopicArn": "arn:aws:sns:us-east-1:999999999999:reports"},
        {"Signature": "AAAA"},
        {"Signature": "ä"},
        {"SignatureVersion": "3"},
        {"Timestamp": "2026-01-01T00:00:00Z"},
        {"Subject": "added"},
        {"SigningCertURL": "https://sns.us-east-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://evil.example/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://sns.us-east-1.amazonaws.com@evil.example/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "http://169.254.169.254/latest/meta-data"},
        {"SigningCertURL": "file:///etc/passwd"},
    ],
)
async def test_what_aws_did_not_sign(aws: Authority, reader: ReportReader, change: dict[str, str]) -> None:
    body = msgspec.json.encode({**msgspec.json.decode(aws.post("Notification", DELIVERED, TOPIC)), **change})
    with refused():
        await reader.read("ses", "", {}, body, SES, aws.now)


async def test_an_authority_of_somebody_else(aws: Authority, reader: ReportReader) -> None:
    async with authority() as other:
        body = msgspec.json.decode(other.post("Notification", DELIVERED, TOPIC))
    body["SigningCertURL"] = msgspec.json.decode(aws.post("Notification", DELIVERED, TOPIC))["SigningCertURL"]
    with refused():
        await reader.read("ses", "", {}, msgspec.json.encode(body), SES, aws.now)


@pytest.mark.parametrize("path", ["/SimpleNotificationService-none.pem", "/SimpleNotificationService-text.pem"])
async def test_certificates_that_are_none(aws: Authority, reader: ReportReader, path: str) -> None:
    body = aws.post("Notification", DELIVERED, TOPIC, path=path)
    with refused():
        await reader.read("ses", "", {}, body, SES, aws.now)


async def test_a_certificate_that_has_ended(aws: Authority, reader: ReportReader) -> None:
    body = aws.post("Notification", DELIVERED, TOPIC)
    with refused():
        await reader.read("ses", "", {}, body, SES, aws.now + timedelta(days=400))


async def test_aws_is_away(aws: Authority, reader: ReportReader) -> None:
    body = aws.post("Notification", DELIVERED, TOPIC, path="/SimpleNotificationService-busy.pem")
    with pytest.raises(sns.SnsAway):
        await reader.read("ses", "", {}, body, SES, aws.now)


async def test_headers_that_speak_of_another_message(aws: Authority, reader: ReportReader) -> None:
    body = aws.post("Notification", DELIVERED, TOPIC)
    with refused(forged=False):
        await reader.read("ses", "", {"x-amz-sns-message-type": "SubscriptionConfirmation"}, body, SES, aws.now)


async def test_a_subscription_is_confirmed_once_it_is_proved(aws: Authority, reader: ReportReader) -> None:
    body = aws.post("SubscriptionConfirmation", "You have chosen to subscribe", TOPIC)
    assert await reader.read("ses", "", {}, body, SES, aws.now) == []
    assert aws.confirmed == ["2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92"]
    other = "arn:aws:sns:us-east-1:999999999999:evil"
    with refused():
        await reader.read("ses", "", {}, aws.post("SubscriptionConfirmation", "x", other), SES, aws.now)
    evil = aws.post("SubscriptionConfirmation", "x", TOPIC, subscribe_url="http://127.0.0.1:1/?Action=Anything")
    aws.confirmed.clear()
    with pytest.raises((BadReport, sns.SnsAway)):
        await reader.read("ses", "", {}, evil.replace(b"127.0.0.1:1/", b"192.0.2.1/"), SES, aws.now)
    assert aws.confirmed == []


async def test_a_confirmation_leads_to_aws_only(aws: Authority, reader: ReportReader) -> None:
    """Even when it is signed: nobody makes us call elsewhere."""
    evil = aws.post("SubscriptionConfirmation", "x", TOPIC, subscribe_url="https://evil.example/?Action=Confirm")
    with refused():
        await reader.read("ses", "", {}, evil, SES, aws.now)


def test_the_secrets_of_an_operator() -> None:
    postmark = '{"username": "u", "secret": "p"}'
    text = f'{{"mailgun": {{"secret": "k"}}, "ses": {{"topics": ["arn:aws:sns:x:1:t"]}}, "postmark": {postmark}}}'
    read = parse_report_secrets(text)
    assert read["mailgun"] == Secrets("k")
    assert read["ses"].topics == ("arn:aws:sns:x:1:t",)
    assert "p'" not in repr(read["postmark"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"nobody": {"secret": "hunter2"}}',
        '{"mailgun": {}}',
        '{"mailgun": {"key": "hunter2"}}',
        '{"ses": {"secret": "hunter2"}}',
        '{"ses": {"topics": ["hunter2"]}}',
        '{"postmark": {"secret": "hunter2"}}',
        '{"mailgun": {"secret": hunter2}}',
    ],
)
def test_bad_secrets_of_an_operator(text: str) -> None:
    with pytest.raises(ReportSecretsError) as raised:
        parse_report_secrets(text)
    assert "hunter2" not in str(raised.value)
