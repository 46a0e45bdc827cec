"""The mail itself: read back by the standard library's parser and by dkimpy, on whatever texts."""

from email import policy
from email.headerregistry import Address
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from typing import Any

import dkim  # type: ignore[import-untyped]
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.providers.email_message import REFERENCE, UNSUBSCRIBE, message
from tidings.providers.smtp_account import SmtpAccount
from tidings.providers.smtp_dkim import Dkim, load_signer
from tidings.providers.smtp_message import Mail, build, prepare
from tidings.providers.smtp_overrides import EmailOverrides, validate_overrides

ACCOUNT = SmtpAccount("smtp.example.org", "shop@example.org", sender_name="Shop")
SENDER = prepare(ACCOUNT)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


RSA = Dkim("example.org", "rsa", pem(rsa.generate_private_key(65537, 2048)))
ED25519 = Dkim("example.org", "ed", pem(ed25519.Ed25519PrivateKey.generate()))


def mail(account: SmtpAccount = ACCOUNT, **changes: Any) -> Mail:
    return build(message(**changes), SENDER if account is ACCOUNT else prepare(account))


def parsed(one: Mail) -> EmailMessage:
    found = BytesParser(policy=policy.default).parsebytes(one.data)
    assert not any(part.defects for part in found.walk())
    return found


def with_account(**changes: Any) -> SmtpAccount:
    return msgspec.structs.replace(ACCOUNT, **changes)


def shown(part: MIMEPart | None) -> str:
    assert part is not None
    text = part.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


def test_a_plain_mail() -> None:
    one = mail()
    found = parsed(one)
    assert (one.return_path, one.recipient, one.wide) == ("shop@example.org", "jane@example.org", False)
    assert found["From"].addresses == (Address("Shop", addr_spec="shop@example.org"),)
    assert found["To"] == "jane@example.org"
    assert found["Subject"] == "Your parcel"
    assert found["Date"] == "Sun, 01 Mar 2026 12:00:00 +0000"
    assert found["Message-ID"] == f"<{REFERENCE}@example.org>"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["X-Tidings-Reference"] == REFERENCE
    assert found["X-Tidings-Id"] == "4711"
    assert [part.get_content_type() for part in found.iter_parts()] == ["text/plain", "text/html"]
    assert shown(found.get_body(("plain",))) == "is at the door\n"
    assert "<p>is at the door</p>" in shown(found.get_body(("html",)))
    assert found["DKIM-Signature"] is None


def test_the_bytes_are_the_same_on_every_attempt() -> None:
    account = with_account(dkim=RSA)
    assert mail(account) == mail(account)


def test_unsubscribing_by_one_click() -> None:
    found = parsed(mail())
    assert found["List-Unsubscribe"] == f"<{UNSUBSCRIBE}>"
    assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert parsed(mail(unsubscribe_url=None))["List-Unsubscribe"] is None
    assert parsed(mail(unsubscribe_url="http://127.0.0.1/x"))["List-Unsubscribe-Post"] is None
    assert parsed(mail(unsubscribe_url="https://x.example/>\r\nBcc: a@example.org"))["Bcc"] is None


@pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])
@pytest.mark.parametrize("body", ["Hello", "", "trailing  blanks \t\n\n\n", ".\n..\n.x", "Grüße " * 300, "x" * 3000])
def test_dkimpy_finds_the_signature_good(key: Dkim, body: str) -> None:
    record = load_signer(key).record().encode()
    raw = mail(with_account(dkim=key), body=body, title="Größe " * 30).data
    assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: record)
    signed = parsed(Mail("", "", raw))["DKIM-Signature"].replace(" ", "").lower()
    for name in ("from:from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post"):
        assert f":{name}:" in signed.replace(";h=", ";h=:"), name
    for old, new in ((b"Subject: ", b"Subject: x"), (b"One-Click", b"Two-Click"), (b"jane@", b"joan@")):
        assert not dkim.verify(raw.replace(old, new, 1), dnsfunc=lambda name, timeout=5: record)
    assert not dkim.verify(b"From: other@example.net\r\n" + raw, dnsfunc=lambda name, timeout=5: record)


def test_the_return_path_names_the_delivery() -> None:
    account = with_account(return_path="bounces@mail.example.org", verp=True)
    assert mail(account).return_path == f"bounces+{REFERENCE}@mail.example.org"
    assert mail(account, reference="").return_path == "bounces@mail.example.org"
    assert mail(account, reference="9" * 60).return_path == "bounces@mail.example.org"  # 64 octets at most
    assert mail(with_account(return_path="bounces@mail.example.org")).return_path == "bounces@mail.example.org"


def test_without_a_reference_the_message_id_is_still_stable() -> None:
    assert parsed(mail(reference=""))["Message-ID"] == "<1.4711.2.0@example.org>"
    assert parsed(mail(reference="x\r\ny"))["Message-ID"] == "<1.4711.2.0@example.org>"


@pytest.mark.parametrize(
    ("vendor", "name", "expected"),
    [
        ("sendgrid", "X-SMTPAPI", {"unique_args": {"tidings_reference": REFERENCE}, "category": ["invoice"]}),
        ("mailgun", "X-Mailgun-Variables", {"tidings_reference": REFERENCE}),
        ("mailgun", "X-Mailgun-Tag", "invoice"),
        ("postmark", "X-PM-Metadata-tidings_reference", REFERENCE),
        ("postmark", "X-PM-Tag", "invoice"),
        ("ses", "X-SES-MESSAGE-TAGS", "category=invoice"),
        ("ses", "X-SES-CONFIGURATION-SET", "tidings"),
    ],
)
def test_vendors_get_the_reference(vendor: Any, name: str, expected: Any) -> None:
    account = with_account(vendor=vendor, configuration_set="tidings")
    value = parsed(mail(account, overrides={"category": "invoice"}))[name]
    assert (msgspec.json.decode(str(value)) if isinstance(expected, dict) else value) == expected


def test_overrides_take_the_place_of_title_and_body() -> None:
    over = {
        "subject": "Ihre Rechnung",
        "text": "Anbei.",
        "html": "<h1>Anbei</h1>",
        "from_name": 'Müller, "Co" & Söhne',
        "reply_to": "help@bücher.example",
        "list_id": "news.example.org",
        "headers": {"X-Campaign": "Frühling"},
    }
    found = parsed(mail(overrides=over))
    assert found["Subject"] == "Ihre Rechnung"
    assert shown(found.get_body(("plain",))) == "Anbei.\n"
    assert shown(found.get_body(("html",))) == "<h1>Anbei</h1>\n"
    assert found["From"].addresses[0].display_name == 'Müller, "Co" & Söhne'
    assert found["Reply-To"] == "help@xn--bcher-kva.example"
    assert found["List-Id"] == "<news.example.org>"
    assert found["X-Campaign"] == "Frühling"


@pytest.mark.parametrize(
    ("over", "path"),
    [
        ({"subjekt": "x"}, "subjekt"),
        ({"subject": "a\r\nBcc: x@example.org"}, "subject"),
        ({"subject": "a\u2028b"}, "subject"),
        ({"from_name": "a\nb"}, "from_name"),
        ({"reply_to": "nobody"}, "reply_to"),
        ({"reply_to": "größe@example.org"}, "reply_to"),
        ({"category": "a b"}, "category"),
        ({"list_id": "a>b"}, "list_id"),
        ({"headers": {"Bcc": "x@example.org"}}, "headers"),
        ({"headers": {"X-A: b\r\nBcc": "x"}}, "headers"),
        ({"headers": {"X-A": "b\r\nBcc: x"}}, "headers"),
        ({"headers": {"X-SMTPAPI": "{}"}}, "headers"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
        ({"text": 1}, "text"),
    ],
)
def test_overrides_that_are_refused(over: dict[str, Any], path: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=path):
        validate_overrides(over)


def test_overrides_survive_being_stored() -> None:
    over = {"subject": "x", "headers": {"X-A": "b"}}
    assert msgspec.to_builtins(validate_overrides(over)) == over
    assert msgspec.to_builtins(EmailOverrides()) == {}


def test_wide_addresses() -> None:
    one = mail(address="größe@bücher.example")
    assert (one.recipient, one.wide) == ("größe@xn--bcher-kva.example", True)
    assert "To: größe@xn--bcher-kva.example\r\n".encode() in one.data


@settings(max_examples=200, deadline=None)
@given(title=TEXTS, body=TEXTS, name=TEXTS)
def test_no_text_breaks_out(title: str, body: str, name: str) -> None:
    """Headers stay the ones we wrote, lines stay short, and text comes back as it was."""
    one = build(message(title=title, body=body), prepare(with_account(sender_name=name)))
    found = parsed(one)
    assert found.keys() == parsed(mail()).keys()
    assert found["From"].addresses[0].addr_spec == "shop@example.org"
    assert [part.get_content_type() for part in found.iter_parts()] == ["text/plain", "text/html"]
    lines = one.data.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    plain = found.get_body(("plain",))
    assert plain is not None
    raw = plain.get_payload(decode=True)
    assert isinstance(raw, bytes)
    expected = body.replace("\r\n", "\n").replace("\r", "\n")
    assert raw.decode().replace("\r\n", "\n").rstrip("\n") == expected.rstrip("\n")
