"""From a message to an APNs request: headers, topics, payloads and their limits."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.emulators.apns_request import PUSH_TYPES
from tidings.providers.apns import ApnsAccount
from tidings.providers.apns_message import MAX_PAYLOAD_BYTES, Push, apns_id, build, check_data
from tidings.providers.apns_overrides import SUFFIXES, validate_overrides
from tidings.providers.contract import Gone, Message, Reason, Rejected

ACCOUNT = ApnsAccount(topic="com.example.shop", more_topics=("com.example.mail",), private_key="a key")
CREATED = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PLAIN = Message(
    project_id=1,
    notification_id=4711,
    user_id=2,
    device_id=3,
    device_type="ios",
    address="ab" * 32,
    title="Your parcel",
    body="is at the door",
    data={"parcel": 17},
    ttl_s=3600,
    collapse_key="parcel",
    urgent=True,
    created_at=CREATED,
)


def built(account: ApnsAccount = ACCOUNT, **changes: Any) -> Push:
    if changes.get("overrides") is not None:
        changes["overrides"] = msgspec.to_builtins(validate_overrides(changes["overrides"]))
    push = build(msgspec.structs.replace(PLAIN, **changes), account)
    assert isinstance(push, Push), push
    return push


def payload(**changes: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(built(**changes).payload)
    return decoded


def test_a_plain_message() -> None:
    push = built()
    assert msgspec.json.decode(push.payload) == {
        "aps": {"alert": {"title": "Your parcel", "body": "is at the door"}},
        "parcel": 17,
        "tidings_id": "4711",
    }
    assert (push.topic, push.push_type, push.priority) == ("com.example.shop", "alert", "10")
    assert push.expiration == str(int(CREATED.timestamp()) + 3600)
    assert push.collapse_id == "parcel"


def test_the_same_message_is_the_same_request() -> None:
    assert built() == built()


def test_ids_are_uuids_and_differ_by_notification_and_device() -> None:
    ids = {apns_id(1, notification, device) for notification in range(50) for device in range(50)}
    assert len(ids) == 2500
    uuid = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(uuid.fullmatch(each) for each in ids)
    assert apns_id(1, 23, 4) != apns_id(12, 3, 4)


def test_without_text_it_is_a_background_push() -> None:
    push = built(title="", body="")
    assert (push.push_type, push.priority) == ("background", "5")
    assert msgspec.json.decode(push.payload)["aps"] == {"content-available": 1}


def test_a_badge_alone_is_no_background_push() -> None:
    push = built(title="", body="", overrides={"aps": {"badge": 3}})
    assert (push.push_type, push.priority) == ("alert", "10")


def test_a_receipt_wakes_the_service_extension() -> None:
    got = payload(receipt_url="https://push.example.org/r/1")
    assert got["tidings_receipt"] == "https://push.example.org/r/1"
    assert got["aps"]["mutable-content"] == 1


@pytest.mark.parametrize(("ttl_s", "expiration"), [(0, 0), (-5, 0), (60, 60), (10**9, 2_592_000)])
def test_expiration_is_an_instant_and_zero_means_one_try(ttl_s: int, expiration: int) -> None:
    base = int(CREATED.timestamp()) if expiration else 0
    assert built(ttl_s=ttl_s).expiration == str(base + expiration)


@pytest.mark.parametrize("key", ["k" * 65, "ключ", "a\nb", " a"])
def test_a_collapse_key_that_no_header_takes_becomes_its_hash(key: str) -> None:
    collapse_id = built(collapse_key=key).collapse_id
    assert collapse_id is not None
    assert re.fullmatch("[0-9a-f]{64}", collapse_id)


@given(st.text())
def test_every_collapse_key_fits_the_header(key: str) -> None:
    collapse_id = built(collapse_key=key).collapse_id
    assert collapse_id is None or (len(collapse_id.encode()) <= 64 and collapse_id.isprintable())


@pytest.mark.parametrize("push_type", sorted(PUSH_TYPES))
def test_every_push_type_has_its_topic(push_type: str) -> None:
    event = {"event": "update", "content-state": {}} if push_type == "liveactivity" else {}
    push = built(overrides={"push_type": push_type, "aps": event})
    assert push.topic == "com.example.shop" + PUSH_TYPES[push_type]
    assert SUFFIXES.get(push_type, "") == PUSH_TYPES[push_type]
    assert push.bundle_id == "com.example.shop"
    assert push.priority == ("5" if push_type in ("background", "widgets", "controls") else "10")


def test_another_bundle_id_of_the_account() -> None:
    for topic in ("com.example.mail", "com.example.mail.voip"):
        push = built(overrides={"topic": topic, "push_type": "voip"})
        assert (push.bundle_id, push.topic) == ("com.example.mail", "com.example.mail.voip")


def test_a_bundle_id_of_somebody_else() -> None:
    overrides = {"topic": "com.example.other"}
    got = build(msgspec.structs.replace(PLAIN, overrides=overrides), ACCOUNT)
    assert got == Rejected(Reason.INVALID_MESSAGE, "apns.topic is not a bundle id of this account")


def test_a_live_activity() -> None:
    aps = {"event": "update", "content-state": {"left": 3}, "stale-date": 9}
    got = payload(overrides={"push_type": "liveactivity", "aps": aps})["aps"]
    assert got["timestamp"] == int(CREATED.timestamp())
    assert got["alert"] == {"title": "Your parcel", "body": "is at the door"}
    assert (got["event"], got["content-state"], got["stale-date"]) == ("update", {"left": 3}, 9)


@pytest.mark.parametrize("push_type", ["widgets", "controls"])
def test_widgets_and_controls_are_told_to_reload(push_type: str) -> None:
    assert payload(overrides={"push_type": push_type})["aps"] == {"content-changed": True}


def test_overrides_are_laid_over_field_by_field() -> None:
    got = payload(
        overrides={
            "aps": {"alert": {"title": "Other"}, "sound": "ping", "badge": 0},
            "payload": {"parcel": 18, "more": {"a": 1}},
        }
    )
    assert got["aps"] == {
        "alert": {"title": "Other", "body": "is at the door"},
        "sound": "ping",
        "badge": 0,
    }
    assert (got["parcel"], got["more"]) == (18, {"a": 1})


def test_overrides_do_not_reach_our_own_keys() -> None:
    assert payload(overrides={"payload": {"tidings_id": "1"}})["tidings_id"] == "4711"


@pytest.mark.parametrize("push_type", ["liveactivity", "location"])
def test_what_a_certificate_can_not_send(push_type: str) -> None:
    account = ApnsAccount(topic="com.example.shop", certificate="a certificate")
    got = build(msgspec.structs.replace(PLAIN, overrides={"push_type": push_type}), account)
    assert isinstance(got, Rejected)


@pytest.mark.parametrize("address", ["", "ab", "xy" * 32, "ab" * 32 + "/..", "ab" * 32 + "a", "٣٤" * 32])
def test_what_is_no_device_token(address: str) -> None:
    got = build(msgspec.structs.replace(PLAIN, address=address), ACCOUNT)
    assert isinstance(got, Gone)
    assert got.reason is Reason.INVALID_ADDRESS


def test_the_size_limit_is_4096_bytes_and_5120_for_voip() -> None:
    rest = len(built(body="x").payload) - 1
    assert len(built(body="x" * (MAX_PAYLOAD_BYTES - rest)).payload) == 4096
    for over, most in ((None, 4096), ({"push_type": "voip"}, 5120)):
        rest = len(built(body="x", overrides=over).payload) - 1
        big = msgspec.structs.replace(PLAIN, body="x" * (most - rest + 1), overrides=over)
        got = build(big, ACCOUNT)
        assert got == Rejected(Reason.MESSAGE_TOO_BIG, f"{most + 1} bytes of payload, APNs takes {most}")


def test_reserved_data_keys() -> None:
    assert check_data({"parcel": 1}) == []
    assert {pointer for pointer, _ in check_data({"aps": {}, "tidings_id": "1", "tidings_receipt": ""})} == {
        "/aps",
        "/tidings_id",
        "/tidings_receipt",
    }
    got = build(msgspec.structs.replace(PLAIN, data={"aps": {}}), ACCOUNT)
    assert got == Rejected(Reason.INVALID_MESSAGE, "the data key 'aps' is reserved by APNs")


def test_address_and_payload_are_not_shown() -> None:
    assert PLAIN.address not in repr(built())
    assert "parcel" not in repr(built())
