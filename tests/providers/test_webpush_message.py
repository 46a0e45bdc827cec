"""What a message becomes in the browser, and which overrides and subscriptions are taken."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.webpush_browser import ENDPOINT, json_of, message, raw_of, subscription, text_of
from tidings.addresses import Guard
from tidings.providers.webpush_message import Built, build, check_data, topic_of
from tidings.providers.webpush_overrides import WebPushOverrides, validate_overrides
from tidings.providers.webpush_subscription import SubscriptionError, parse_subscription, subscription_text

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def built(**changes: Any) -> tuple[Built, dict[str, Any]]:
    made = build(message("", **({"created_at": NOW} | changes)), NOW)
    return made, msgspec.json.decode(made.plaintext)


def test_an_ordinary_message() -> None:
    made, whole = built(receipt_url="https://example.org/r/1")
    assert whole == {
        "notification": {"title": "Your parcel", "body": "is at the door", "tag": "parcel"},
        "data": {"parcel": 17, "tidings_id": "4711", "tidings_receipt": "https://example.org/r/1"},
    }
    assert (made.ttl, made.urgency, made.content_type) == ("3600", "high", "application/octet-stream")
    assert made.topic == topic_of("parcel")


def test_a_message_of_data_alone_shows_nothing() -> None:
    made, whole = built(title="", body="", urgent=False)
    assert whole == {"data": {"parcel": 17, "tidings_id": "4711"}}
    assert made.urgency == "normal"


def test_a_repeat_is_the_same_and_ends_at_the_same_time() -> None:
    first = build(message("", created_at=NOW), NOW)
    later = build(message("", created_at=NOW), NOW + timedelta(seconds=600))
    assert later == msgspec.structs.replace(first, ttl="3000")


@pytest.mark.parametrize(
    ("ttl_s", "age_s", "sent"),
    [(0, 0, "0"), (-5, 0, "0"), (60, 59, "1"), (60, 500, "1"), (60, -500, "60"), (10**9, 0, "2419200")],
)
def test_ttl(ttl_s: int, age_s: int, sent: str) -> None:
    assert built(ttl_s=ttl_s, created_at=NOW - timedelta(seconds=age_s))[0].ttl == sent


def test_without_a_collapse_key_there_is_no_topic_and_no_tag() -> None:
    made, whole = built(collapse_key="")
    assert made.topic == ""
    assert "tag" not in whole["notification"]


@given(st.text())
def test_any_collapse_key_is_a_topic_that_apple_takes(key: str) -> None:
    topic = topic_of(key)
    assert len(topic) == 32
    assert text_of(raw_of(topic)) == topic


FULL: dict[str, Any] = {
    "title": "t",
    "body": "b",
    "navigate": "/parcels/17",
    "icon": "/i.png",
    "badge": "/b.png",
    "image": "https://i.example/a.png",
    "actions": [{"action": "open", "title": "Open", "icon": "/o.png", "navigate": "/open"}],
    "tag": "t",
    "lang": "en",
    "dir": "ltr",
    "silent": False,
    "renotify": True,
    "requireInteraction": True,
    "timestamp": 1_767_225_600_000,
    "vibrate": [100, 50, 100],
    "data": {"extra": [1, {"a": None}]},
    "app_badge": 3,
    "urgency": "very-low",
    "topic": "abcd",
    "ttl": 60,
    "declarative": True,
    "mutable": True,
}


def test_all_overrides_reach_the_browser() -> None:
    overrides = msgspec.to_builtins(validate_overrides(FULL))
    assert overrides == FULL
    made, whole = built(overrides=overrides)
    shown = {name: value for name, value in FULL.items() if name not in HEADERS}
    assert whole == {
        "web_push": 8030,
        "mutable": True,
        "app_badge": 3,
        "notification": shown | {"app_badge": "3"},
        "data": {"parcel": 17, "extra": [1, {"a": None}], "tidings_id": "4711"},
    }
    assert made == Built(made.plaintext, "60", "very-low", "abcd", "application/notification+json")


HEADERS = {"data", "app_badge", "urgency", "topic", "ttl", "declarative", "mutable"}


def test_all_override_fields_are_tested() -> None:
    assert set(FULL) == {field.name for field in msgspec.structs.fields(WebPushOverrides)}


def test_a_declarative_message_without_a_title_is_left_to_the_service_worker() -> None:
    made, whole = built(title="", overrides={"declarative": True, "navigate": "/"})
    assert "web_push" not in whole
    assert made.content_type == "application/octet-stream"


def test_ids_of_ours_can_not_be_overridden() -> None:
    _, whole = built(overrides={"data": {"tidings_id": "forged"}}, data={"tidings_id": "forged"})
    assert whole["data"]["tidings_id"] == "4711"
    assert [pointer for pointer, _ in check_data({"tidings_id": 1, "a": 2, "tidings_receipt": 3})] == [
        "/tidings_id",
        "/tidings_receipt",
    ]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"titel": "x"}, "titel"),
        ({"title": 1}, "$.title"),
        ({"actions": [{"action": "a"}]}, "$.actions[0]"),
        ({"actions": [{"action": "a", "title": "t", "url": "/"}]}, "url"),
        ({"actions": [{"action": "a", "title": "t"}] * 9}, "$.actions"),
        ({"urgency": "urgent"}, "$.urgency"),
        ({"topic": "a b"}, "$.topic"),
        ({"topic": "x" * 33}, "$.topic"),
        ({"topic": "abcde"}, "topic: Apple"),
        ({"ttl": -1}, "$.ttl"),
        ({"ttl": 2_419_201}, "$.ttl"),
        ({"dir": "up"}, "$.dir"),
        ({"navigate": ""}, "$.navigate"),
        ({"declarative": True}, "navigate"),
        ({"mutable": True}, "mutable"),
        ({"silent": True, "vibrate": [1]}, "vibrate"),
        ({"renotify": True, "tag": ""}, "renotify"),
        ({"app_badge": -1}, "$.app_badge"),
    ],
    ids=str,
)
def test_an_override_that_makes_no_sense_is_refused(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        validate_overrides(raw)
    assert said in str(caught.value)


def test_a_subscription_as_browsers_give_it() -> None:
    given_text = json_of(subscription(contentEncoding="aes128gcm"))
    found = parse_subscription(given_text)
    assert found.endpoint == ENDPOINT
    assert (len(found.p256dh), len(found.auth), found.made_with) == (65, 16, None)
    assert found.target.origin == "https://fcm.googleapis.com"


def test_one_subscription_has_one_text() -> None:
    plain = subscription(applicationServerKey=text_of(b"\x04" + b"k" * 64))
    padded = subscription() | plain
    padded["keys"] = {name: value + "=" * (-len(value) % 4) for name, value in plain["keys"].items()}
    padded["keys"]["p256dh"] = padded["keys"]["p256dh"].replace("-", "+").replace("_", "/")
    padded["endpoint"] = plain["endpoint"].replace("https://fcm", "HTTPS://FCM")
    once = subscription_text(parse_subscription(json_of(plain)))
    assert subscription_text(parse_subscription(json_of(padded))) == once
    assert subscription_text(parse_subscription(once)) == once


def keys(**changed: Any) -> dict[str, Any]:
    return {"keys": subscription()["keys"] | changed}


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("", ""),
        ("{", ""),
        ("[]", ""),
        ("null", ""),
        ('"text"', ""),
        ("[" * 100_000, ""),
        (json_of({"endpoint": ENDPOINT}), "/keys"),
        (json_of(subscription(keys=[])), "/keys"),
        (json_of(subscription() | keys(p256dh=None)), "/keys/p256dh"),
        (json_of(subscription() | keys(p256dh="AAAA")), "/keys/p256dh"),
        (json_of(subscription() | keys(p256dh="not base64!")), "/keys/p256dh"),
        (json_of(subscription() | keys(p256dh=text_of(b"\x04" + b"\x01" * 64))), "/keys/p256dh"),
        (json_of(subscription() | keys(p256dh=text_of(b"\x02" + b"\x01" * 64))), "/keys/p256dh"),
        (json_of(subscription() | keys(p256dh=text_of(b"\x00" * 65))), "/keys/p256dh"),
        (json_of(subscription() | keys(auth="")), "/keys/auth"),
        (json_of(subscription() | keys(auth=text_of(b"x" * 15))), "/keys/auth"),
        (json_of(subscription() | keys(auth="x" * 5000)), "/keys/auth"),
        (json_of(subscription(applicationServerKey="x")), "/applicationServerKey"),
        (json_of(subscription("")), "/endpoint"),
        (json_of(subscription() | {"endpoint": 5}), "/endpoint"),
        (json_of(subscription("http://fcm.googleapis.com/x")), "/endpoint"),
        (json_of(subscription("https://fcm.googleapis.com.evil.example/x")), "/endpoint"),
        (json_of(subscription("https://evil.example/fcm.googleapis.com")), "/endpoint"),
        (json_of(subscription("https://127.0.0.1/x")), "/endpoint"),
        (json_of(subscription("https://push.apple.com/x")), "/endpoint"),
    ],
)
def test_a_subscription_that_is_none_is_refused_with_a_pointer(text: str, pointer: str) -> None:
    with pytest.raises(SubscriptionError) as caught:
        parse_subscription(text)
    assert caught.value.pointer == pointer
    assert "secret" not in str(caught.value)
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/wp/x",
        "https://updates.push.services.mozilla.com/wpush/v2/x",
        "https://web.push.apple.com/x",
        "https://wns2-par02p.notify.windows.com/w/?token=x",
    ],
)
def test_the_four_vendors_are_allowed(endpoint: str) -> None:
    assert parse_subscription(json_of(subscription(endpoint))).endpoint == endpoint


def test_a_push_service_of_ones_own_can_be_allowed() -> None:
    text = json_of(subscription("https://push.example.org:8443/x"))
    assert parse_subscription(text, Guard(hosts=("push.example.org",))).target.port == 8443


@given(st.text() | st.binary())
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    with pytest.raises(SubscriptionError):
        parse_subscription(text)
