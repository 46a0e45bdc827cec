"""Bounces as mail: hostile mail is read within bounds or refused, and never anything else."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidings.providers import dsn
from tidings.providers.contract import BadReport, Report
from tidings.providers.report_text import MOST_DETAIL, clean, find_reference, find_status, judge

MAILS = [
    "\n".join(msgspec.json.decode(path.read_bytes())["mail"]).encode()
    for path in sorted((Path(__file__).parent / "answers" / "mail").glob("*.json"))
]
NESTED = b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n"
HOSTILE = [
    b"".join(NESTED % (level, level) for level in range(5_000)),
    b"Content-Type: message/rfc822\n\n" * 5_000,
    b"Content-Type: multipart/report; boundary=\n\n--\n",
    b'Content-Type: multipart/report; boundary="' + b"x" * 200_000 + b'"\n\nx',
    b"From: " + b"(" * 100_000 + b"\n\nx",
    b"From: " + b'"' * 100_000 + b"\nReturn-Path: <>\n\n550",
    b"From: mailer-daemon@x\nSubject: =?x?b?" + b"=" * 1_000 + b"?=\nContent-Type: text/plain; charset=nope\n\n550 x",
    b"From: mailer-daemon@x\nContent-Type: text/plain; charset*=utf-8''%ff\nContent-Transfer-Encoding: uuencode\n\nx",
    b"From: mailer-daemon@x\nContent-Type: text/plain; charset=\x00\xff\n\n5.1.1",
    b"Content-Type: message/delivery-status\n\n" + b"Action: failed\nStatus: 5.1.1\n\n" * 5_000,
    b"Content-Type: message/delivery-status\n\n\xff\xfe: \xff\nAction: \xfffailed\n\n",
    b"Content-Type: message/feedback-report\nContent-Transfer-Encoding: base64\n\n\xff\xff\xff",
    b"a: b\n" * 40_000 + b"\n",
    b"\n" * 100_000,
    b": x\n\ny",
    b"x" * 300_000,
    b"",
    b"   \n",
    b"\x00" * 100,
]


def read(mail: bytes) -> list[Report]:
    """The reports, or none when the mail is refused; anything else that is raised fails the test."""
    try:
        return dsn.read(mail)
    except BadReport as error:
        assert not error.forged
        return []


@pytest.mark.parametrize("mail", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_mail(mail: bytes) -> None:
    assert len(read(mail)) <= dsn.MOST_RECIPIENTS


@pytest.mark.parametrize("mail", HOSTILE[:2], ids=["multipart", "message"])
def test_what_would_take_minutes_to_parse_is_refused_unparsed(mail: bytes) -> None:
    with pytest.raises(BadReport, match="more parts"):
        dsn.read(mail)


def test_what_is_no_mail_is_refused() -> None:
    for mail in (b"", b" \n ", b"\x00\x01", b"just text\n"):
        with pytest.raises(BadReport):
            dsn.read(mail)


@given(st.sampled_from(MAILS), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=12)), max_size=6))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_bounces_with_something_put_in(mail: bytes, changes: list[tuple[float, bytes]]) -> None:
    for where, what in changes:
        at = int(where * len(mail))
        mail = mail[:at] + what + mail[at + len(what) // 2 :]
    for report in read(mail):
        assert len(report.detail) <= MOST_DETAIL
        assert report.detail.isprintable()


@given(st.binary(max_size=2_000))
@settings(max_examples=200, deadline=None)
def test_any_bytes(mail: bytes) -> None:
    read(b"From: mailer-daemon@x.example\n" + mail)


@given(st.text(max_size=600))
def test_what_is_kept_of_a_text_is_harmless(text: str) -> None:
    kept = clean(text)
    assert len(kept) <= MOST_DETAIL
    assert kept.isprintable() or not kept
    kept.encode()
    assert not re.search(r"\w@\w", kept)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("550 5.1.1 <jane@example.com>... User unknown", "550 5.1.1 <…>... User unknown"),
        ("smtp;550 jane.doe+x@example.com: no\r\n such user", "smtp;550 …: no such user"),
        ("call +41 79 123 45 67 now", "call … now"),
        (None, ""),
        (b"bytes", ""),
        ("\ud800x", "x"),
    ],
)
def test_addresses_are_taken_out(text: object, kept: str) -> None:
    assert clean(text) == kept


REFERENCE = "12.3456.e.0.AbCdEfGhIjKlMnOpQrStUv"


@pytest.mark.parametrize(
    "text",
    [
        REFERENCE,
        f"<{REFERENCE}@shop.example>",
        f"bounce+{REFERENCE}@shop.example",
        f"rfc822; {REFERENCE}",
        f"x {REFERENCE}. y",
    ],
)
def test_a_reference_is_found(text: str) -> None:
    assert find_reference([None, 7, "", text]) == REFERENCE


@pytest.mark.parametrize(
    "text", ["", REFERENCE[:-1], REFERENCE + "w", "0" + REFERENCE, REFERENCE.replace(".e.", ".ee.")]
)
def test_what_is_no_reference(text: str) -> None:
    assert find_reference([text]) == ""


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("5.1.1", "5.1.1"),
        ("smtp; 550-5.7.26 x", "5.7.26"),
        ("192.5.1.1", ""),
        ("5.1.1.1", ""),
        ("6.1.1", ""),
        (None, ""),
    ],
)
def test_a_status_is_found(text: object, status: str) -> None:
    assert find_status(text) == status


def test_an_address_is_bad_only_for_what_is_about_the_address() -> None:
    bad = [
        f"5.1.{detail}"
        for detail in range(20)
        if judge(f"5.1.{detail}", unless_known=judge("5.2.2")[0])[0] == "bounced"
    ]
    assert bad == ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"]
    assert {judge(f"{kind}.{x}.{y}")[0] for kind in (4, 5) for x in range(2, 8) for y in range(30)} == {"failed"}
