"""The body that FCM gets: common fields mapped per platform, overrides laid over them, sizes counted."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.providers.contract import Message
from tidings.providers.fcm_message import MAX_PAYLOAD_BYTES, build, check_data, payload_size

CREATED = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PLAIN = Message(
    project_id=1,
    notification_id=4711,
    user_id=2,
    device_id=3,
    device_type="android",
    address="device-token-0001",
    title="Your parcel",
    body="is at the door",
    data={},
    ttl_s=3600,
    collapse_key="parcel",
    urgent=False,
    created_at=CREATED,
)


def built(**changes: Any) -> dict[str, Any]:
    whole = msgspec.json.decode(build(msgspec.structs.replace(PLAIN, **changes)))
    assert list(whole) == ["message"]
    message: dict[str, Any] = whole["message"]
    return message


def test_android() -> None:
    assert built() == {
        "token": "device-token-0001",
        "notification": {"title": "Your parcel", "body": "is at the door"},
        "data": {"tidings_id": "4711"},
        "android": {
            "priority": "NORMAL",
            "ttl": "3600s",
            "collapse_key": "parcel",
            "notification": {"tag": "parcel"},
        },
    }


def test_urgent_android_is_high() -> None:
    assert built(urgent=True)["android"]["priority"] == "HIGH"


def test_ios_with_a_receipt() -> None:
    message = built(device_type="ios", receipt_url="https://t.example/r/1", urgent=True)
    assert message["data"] == {"tidings_id": "4711", "tidings_receipt": "https://t.example/r/1"}
    assert message["apns"] == {
        "headers": {
            "apns-expiration": str(int(CREATED.timestamp()) + 3600),
            "apns-collapse-id": "parcel",
            "apns-priority": "10",
        },
        "payload": {"aps": {"mutable-content": 1}},
    }
    assert "android" not in message
    assert "webpush" not in message


@pytest.mark.parametrize("urgent", [True, False])
def test_data_only_to_apple_has_priority_5_and_wakes_the_app(urgent: bool) -> None:
    message = built(device_type="ios", title="", body="", urgent=urgent)
    assert "notification" not in message
    assert message["apns"]["headers"]["apns-priority"] == "5"
    assert message["apns"]["headers"]["apns-push-type"] == "background"
    assert message["apns"]["payload"] == {"aps": {"content-available": 1}}


def test_web() -> None:
    assert built(device_type="web")["webpush"] == {"headers": {"TTL": "3600", "Urgency": "normal", "Topic": "parcel"}}
    assert built(device_type="web", urgent=True)["webpush"]["headers"]["Urgency"] == "high"


def test_an_unknown_platform_gets_every_part() -> None:
    assert {"android", "apns", "webpush"} <= set(built(device_type="other"))


def test_data_only_android_has_no_tag_and_no_notification() -> None:
    message = built(title="", body="")
    assert "notification" not in message
    assert "notification" not in message["android"]


def test_a_body_alone_is_a_notification() -> None:
    assert built(title="")["notification"] == {"body": "is at the door"}
    assert built(body="")["notification"] == {"title": "Your parcel"}


def test_values_that_are_not_strings_become_json_texts() -> None:
    data = {"s": "text", "n": 1, "f": 1.5, "b": True, "none": None, "list": [1, "ü"], "map": {"a": 1}}
    assert built(data=data)["data"] == {
        "s": "text",
        "n": "1",
        "f": "1.5",
        "b": "true",
        "none": "null",
        "list": '[1,"ü"]',
        "map": '{"a":1}',
        "tidings_id": "4711",
    }


@pytest.mark.parametrize(("ttl_s", "ttl"), [(0, "0s"), (-5, "0s"), (2_419_200, "2419200s"), (9_999_999, "2419200s")])
def test_ttl_is_kept_within_four_weeks(ttl_s: int, ttl: str) -> None:
    assert built(ttl_s=ttl_s)["android"]["ttl"] == ttl


def test_ttl_0_is_one_try_at_apple() -> None:
    assert built(device_type="ios", ttl_s=0)["apns"]["headers"]["apns-expiration"] == "0"


def test_a_key_of_one_notification_uses_no_collapse_slot() -> None:
    android = built(collapse_key="tidings-4711")["android"]
    assert "collapse_key" not in android
    assert android["notification"] == {"tag": "tidings-4711"}


def test_long_collapse_keys_fit_and_stay_apart() -> None:
    one, two = "k" * 80 + "1", "k" * 80 + "2"
    ids = {built(device_type="ios", collapse_key=key)["apns"]["headers"]["apns-collapse-id"] for key in (one, two)}
    topics = {built(device_type="web", collapse_key=key)["webpush"]["headers"]["Topic"] for key in (one, two)}
    assert len(ids) == len(topics) == 2
    assert all(len(value) <= 64 for value in ids)
    assert all(len(value) <= 32 for value in topics)


@given(st.text(min_size=1))
def test_any_collapse_key_makes_valid_headers(key: str) -> None:
    collapse_id = built(device_type="ios", collapse_key=key)["apns"]["headers"]["apns-collapse-id"]
    topic = built(device_type="web", collapse_key=key)["webpush"]["headers"]["Topic"]
    assert len(collapse_id.encode()) <= 64
    assert collapse_id.isascii()
    assert collapse_id.isprintable()
    assert len(topic) <= 32
    assert topic.replace("-", "a").replace("_", "a").isalnum()


def test_the_same_message_gives_the_same_bytes() -> None:
    assert build(PLAIN) == build(msgspec.structs.replace(PLAIN))


def test_overrides_lie_over_the_common_fields() -> None:
    overrides = {
        "notification": {"title": "Other", "image": "https://i.example/1.png"},
        "android": {
            "priority": "HIGH",
            "data": {"only": "android"},
            "notification": {"channel_id": "parcels", "tag": None},
        },
        "apns": {"payload": {"aps": {"sound": "ping"}}},
        "fcm_options": {"analytics_label": "spring"},
    }
    before = msgspec.json.encode(overrides)
    message = built(overrides=overrides)
    assert message["notification"] == {
        "title": "Other",
        "body": "is at the door",
        "image": "https://i.example/1.png",
    }
    assert message["android"] == {
        "priority": "HIGH",
        "ttl": "3600s",
        "collapse_key": "parcel",
        "data": {"only": "android"},
        "notification": {"tag": "parcel", "channel_id": "parcels"},
    }
    assert message["apns"] == {"payload": {"aps": {"sound": "ping"}}}
    assert message["fcm_options"] == {"analytics_label": "spring"}
    assert msgspec.json.encode(overrides) == before


def test_apns_overrides_keep_what_they_do_not_name() -> None:
    overrides = {"apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {"badge": 3}, "own": 1}}}
    apns = built(device_type="ios", receipt_url="https://t.example/r", overrides=overrides)["apns"]
    assert apns["headers"]["apns-priority"] == "5"
    assert apns["headers"]["apns-collapse-id"] == "parcel"
    assert apns["payload"] == {"aps": {"mutable-content": 1, "badge": 3}, "own": 1}


def test_android_v2_takes_the_place_of_android() -> None:
    message = built(overrides={"android_v2": {"remote_notification": {"mutable_content": True}}})
    assert "android" not in message
    assert message["android_v2"] == {"remote_notification": {"mutable_content": True}}


def test_a_notification_of_the_overrides_makes_it_visible_at_apple() -> None:
    message = built(device_type="ios", title="", body="", overrides={"notification": {"title": "Hi"}})
    assert message["apns"]["headers"]["apns-priority"] == "10"


def test_check_data_points_to_each_bad_key() -> None:
    data = {
        "from": 1,
        "message_type": 1,
        "gcm": 1,
        "google.a/b~c": 1,
        "googleX": 1,
        "gcm.notification.x": 1,
        "tidings_id": 1,
        "tidings_receipt": 1,
        "gcm_ok": 1,
        "From": {"any": ["json"]},
    }
    assert [pointer for pointer, _ in check_data(data)] == [
        "/from",
        "/message_type",
        "/gcm",
        "/google.a~1b~0c",
        "/googleX",
        "/gcm.notification.x",
        "/tidings_id",
        "/tidings_receipt",
    ]
    assert all(problem for _, problem in check_data(data))
    assert check_data({}) == []


def test_payload_size_counts_keys_and_values_of_what_travels() -> None:
    body = build(msgspec.structs.replace(PLAIN, title="tt", body="üü", data={"key": "value"}))
    # title tt body üü + key value tidings_id 4711 + android: tag parcel
    assert payload_size(body) == (5 + 2 + 4 + 4) + (3 + 5 + 10 + 4) + (3 + 6)


@given(st.sampled_from(["android", "ios", "web"]), st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_a_body_within_the_limit_is_never_too_big(kind: str, title: str, body: str, data: dict[str, str]) -> None:
    whole = build(msgspec.structs.replace(PLAIN, device_type=kind, title=title, body=body, data=data))
    assert payload_size(whole) <= len(whole)


def test_four_kilobytes_of_text_are_too_big() -> None:
    assert payload_size(build(msgspec.structs.replace(PLAIN, body="x" * 4096))) > MAX_PAYLOAD_BYTES
