"""What becomes of a notification as a text message, its overrides, and the words that stop and start."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.providers.text_message import message
from tidings import clock
from tidings.providers.contract import Fate, Gone, Reason, Rejected
from tidings.providers.sms_message import Sms, build
from tidings.providers.sms_overrides import validate_overrides
from tidings.providers.sms_words import START, STOP, fate_of


def built(most: int = 10, smart: bool = True, **changes: Any) -> Sms | Rejected | Gone:
    return build(message(**changes), clock.now(), most, smart)


def test_title_and_body_and_no_sender_of_its_own() -> None:
    sms = built()
    assert isinstance(sms, Sms)
    assert (sms.number, sms.text.value, sms.sender) == ("+447700900123", "Your parcel\nis at the door", "")


def test_overrides_replace_text_and_sender() -> None:
    sms = built(overrides={"body": "It’s here", "from": "Parcels", "smart": False})
    assert isinstance(sms, Sms)
    assert (sms.text.value, sms.sender, sms.text.unicode) == ("It’s here", "Parcels", True)


def test_the_time_that_is_left_counts_from_its_making() -> None:
    sms = built(ttl_s=600, created_at=clock.now() - timedelta(seconds=100))
    assert isinstance(sms, Sms)
    assert 490 <= sms.left_s <= 500
    late = built(ttl_s=1, created_at=clock.now() - timedelta(seconds=100))
    assert isinstance(late, Sms)
    assert late.left_s == 1


def test_nothing_to_say_is_no_message() -> None:
    got = built(title="", body="")
    assert isinstance(got, Rejected)
    assert got.reason is Reason.INVALID_MESSAGE


@pytest.mark.parametrize(
    ("most", "changes"),
    [
        (1, {"body": "a" * 160}),
        (10, {"body": "中" * 700}),
        (10, {"body": "a" * 1601}),
        (10, {"body": "a" * 200, "overrides": {"max_segments": 1}}),
        (1, {"body": "a" * 200, "overrides": {"max_segments": 9}}),
    ],
)
def test_a_text_too_long_is_refused_and_not_cut(most: int, changes: dict[str, Any]) -> None:
    got = built(most, **changes)
    assert isinstance(got, Rejected)
    assert got.reason is Reason.MESSAGE_TOO_BIG


def test_an_address_that_is_no_number_is_gone() -> None:
    got = built(address="07700 900123")
    assert isinstance(got, Gone)
    assert got.reason is Reason.INVALID_ADDRESS
    assert "900123" not in got.detail


@pytest.mark.parametrize("sender", ["+15005550006", "12345", "Parcels", "DHL 24", "A1"])
def test_senders_that_vendors_take(sender: str) -> None:
    assert validate_overrides({"from": sender}).from_ == sender


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"from": "a name too long"}, "$.from"),
        ({"from": "12"}, "$.from"),
        ({"from": "   "}, "$.from"),
        ({"from": "Bücher"}, "$.from"),
        ({"from": "a\n"}, "$.from"),
        ({"body": ""}, "$.body"),
        ({"body": "a" * 1601}, "$.body"),
        ({"max_segments": 0}, "$.max_segments"),
        ({"max_segments": 11}, "$.max_segments"),
        ({"smart": 1}, "$.smart"),
        ({"media": "x"}, "media"),
    ],
)
def test_overrides_that_are_refused_name_the_field(raw: dict[str, Any], where: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        validate_overrides(raw)
    assert where in str(caught.value)


def test_overrides_are_stored_as_they_were_given() -> None:
    raw = {"from": "Parcels", "body": "x"}
    assert msgspec.to_builtins(validate_overrides(raw)) == raw


@pytest.mark.parametrize("word", sorted(STOP))
def test_words_that_stop(word: str) -> None:
    for text in (word, word.lower(), f"  {word.title()}. ", f"{word}!\n"):
        assert fate_of(text) is Fate.OPTED_OUT


@pytest.mark.parametrize("word", sorted(START))
def test_words_that_start(word: str) -> None:
    assert fate_of(f" {word.lower()}\r\n") is Fate.OPTED_IN


@pytest.mark.parametrize("text", ["", "stop it, please", "don't stop", "HELP", "yes please", "STOP" * 20, "\x00"])
def test_anything_else_is_just_a_message(text: str) -> None:
    assert fate_of(text) is None
