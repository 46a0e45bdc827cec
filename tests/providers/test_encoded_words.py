"""Encoded words that a relay quotes are read, whoever wrote them."""

from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.text_message import NUMBER
from tidings.providers.encoded_words import decoded
from tidings.providers.sms_verdict import masked
from tidings.providers.smtp_answers import mask


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("550 <=?utf-8?B?SsOkbmVAZXhhbXBsZS5vcmc=?=> unknown", "550 <Jäne@example.org> unknown"),
        ("=?iso-8859-1?q?J=E4ne=40example.org?=", "Jäne@example.org"),
        ("=?utf-8*de?Q?a_b?= =?utf-8?Q?c?= d", "a bc d"),
        ("cut =?utf-8?B?SmFuZUBleGFtcGxlLm9yZ", "cut Jane@example.or"),
        ("cut =?utf-8?Q?Jane=40exam", "cut Jane@exam"),
        ("=?no-such-charset?B?SmFuZUBleGFtcGxl?=", "Jane@example"),
        ("=?base64?B?SmFuZUBleGFtcGxl?=", "Jane@example"),
        ("=?utf-8?Q?two=0D=0Alines=00?=", "two  lines "),
        ("cut =?utf-8?Q?Jane=40exam…", "cut Jane@exam…"),
        ("=?unicode_escape?Q?=5CxZZ Jane=40exam?=", "\\xZZ Jane=40exam?="),
        ("=?utf-8?B?A===?= and =?x and ?= 2=?3", "=?utf-8?B?A===?= and =?x and ?= 2=?3"),
        ("no words", "no words"),
    ],
)
def test_words(said: str, plain: str) -> None:
    assert decoded(said) == plain


def test_an_address_in_a_word_is_masked() -> None:
    said = f"550 {Header('Jané <jane@example.org>', 'utf-8').encode()} unknown, =?utf-8?q?jane=40example.org?="
    assert mask(said) == "550 Jané <<hidden>> unknown, <hidden>"
    assert masked(f"no {Header(f'číslo {NUMBER}', 'utf-8').encode()}") == "no číslo <number>"


@given(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200),
    st.sampled_from(["utf-8", "gb18030"]),
)
def test_what_others_encode_is_read(text: str, charset: str) -> None:
    quoted = " ".join(Header(text, charset).encode().split())
    assert decoded(quoted) == text


@given(st.text(max_size=300), st.text("=?BQbq*utf-8iso_ \n4A", max_size=300))
def test_any_text_may_be_quoted(some: str, alike: str) -> None:
    for text in (some, alike, f"=?{some}?B?{alike}?=", f"=?utf-7?Q?{alike}"):
        assert len(decoded(text)) <= len(text)
