"""Encodings, segments and numbers: the vectors of the vendors' own calculators, and properties of all texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.providers.sms_text import NumberError, compose, e164, gsm7_segments, is_e164, is_gsm7, ucs2_segments

BASIC = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ÄÖÑÜ§¿äöñüàazAZ"
EXTENSION = "\f^{}\\[~]|€"

# Text, whether it takes UCS-2, segments: computed with the greedy algorithm of Twilio's segment calculator.
VECTORS = [
    ("a" * 160, False, 1),
    ("a" * 161, False, 2),
    ("a" * 306, False, 2),
    ("a" * 307, False, 3),
    ("€" * 80, False, 1),
    ("€" * 81, False, 2),
    ("a" * 152 + "€" + "a" * 152, False, 3),
    ("中" * 70, True, 1),
    ("中" * 71, True, 2),
    ("中" * 134, True, 2),
    ("中" * 135, True, 3),
    ("😀" * 35, True, 1),
    ("😀" * 36, True, 2),
    ("😀" * 67, True, 3),
    ("a" * 159 + "’", True, 3),
    ("ç", True, 1),
    ("`", True, 1),
    ("\r\n" * 80, False, 1),
]


@pytest.mark.parametrize(("text", "unicode", "segments"), VECTORS)
def test_vectors(text: str, unicode: bool, segments: int) -> None:
    made = compose("", text, smart=False)
    assert (made.value, made.unicode, made.segments) == (text, unicode, segments)


def test_the_alphabet_is_that_of_the_standard() -> None:
    assert is_gsm7(BASIC + EXTENSION)
    assert [character for character in "`çÁ§§\t\x1b’–" if is_gsm7(character)] == ["§", "§"]
    assert gsm7_segments(EXTENSION * 8) == 1
    assert gsm7_segments(EXTENSION * 8 + "a") == 2


@given(st.text(max_size=700))
def test_no_segment_is_overfull_and_none_is_wasted(text: str) -> None:
    made = compose("", text, smart=False)
    units = len(made.value.encode("utf-16-le")) // 2 if made.unicode else len(text) + sum(map(text.count, EXTENSION))
    alone, joined = (70, 67) if made.unicode else (160, 153)
    if units <= alone:
        assert made.segments == 1
    else:
        # A pair that is not parted wastes at most one place in each segment.
        assert -(-units // joined) <= made.segments <= -(-units // (joined - 1))


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=50))
def test_any_text_can_be_sent(text: str) -> None:
    compose("", text).value.encode()


def test_half_a_surrogate_pair_becomes_a_box_and_a_whole_one_is_kept() -> None:
    assert compose("", "a\ud83d b").value == "a\ufffd b"
    assert compose("", "a😀").value == "a😀"
    assert ucs2_segments("😀" * 33 + "a") == 1


def test_title_and_body() -> None:
    assert compose("Parcel", "is here").value == "Parcel\nis here"
    assert compose("Parcel", "").value == "Parcel"
    assert compose("", "is here").value == "is here"
    assert compose("", "").value == ""


def test_smart_plain_signs_only_when_they_save_the_whole_text() -> None:
    made = compose("", "“It’s here” – 5\u00a0pm…")
    assert (made.value, made.unicode) == ('"It\'s here" - 5 pm...', False)
    kept = compose("", "It’s 中")
    assert (kept.value, kept.unicode) == ("It’s 中", True)
    assert compose("", "It’s", smart=False).value == "It’s"


@pytest.mark.parametrize(
    ("text", "region", "expected"),
    [
        ("+44 7700 900123", None, "+447700900123"),
        ("07700 900123", "GB", "+447700900123"),
        ("+1 (500) 555-0006", None, "+15005550006"),
        ("+15005530003", None, "+15005530003"),
        ("tel:+49-171-1234567", None, "+491711234567"),
    ],
)
def test_numbers_are_normalised(text: str, region: str | None, expected: str) -> None:
    assert e164(text, region) == expected
    assert e164(expected) == expected
    assert is_e164(expected)


@pytest.mark.parametrize("text", ["", "0171 1234567", "+1234", "+", "me@example.org", "+99912345678", "1" * 500])
def test_what_is_no_number_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(NumberError) as caught:
        e164(text)
    assert len(text) < 4 or text not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["447700900123", "+0447700900123", "+44 7700900123", "+44", "+1234567890123456", "+４４7700900"]
)
def test_what_is_not_e164(text: str) -> None:
    assert not is_e164(text)


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_refused(text: str) -> None:
    try:
        number = e164(text, "DE")
    except NumberError:
        return
    assert e164(number) == number
