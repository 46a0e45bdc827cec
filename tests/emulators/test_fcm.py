"""What FCM takes and what it refuses, with the bodies that it was seen to answer."""

from typing import Any

import msgspec
import pytest
from pyreqwest.client import ClientBuilder

from tests.emulators.conftest import Caller

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


async def refusal(caller: Caller, body: Any) -> dict[str, Any]:
    response = await caller.post(body)
    error: dict[str, Any] = (await response.json())["error"]
    assert error["code"] == response.status
    return error


def details(error: dict[str, Any]) -> list[str]:
    return [detail["@type"] for detail in error.get("details", [])]


async def test_a_message_is_taken_and_reaches_its_phone(caller: Caller) -> None:
    response = await caller.send("phone-1", notification={"title": "Hi", "body": "there"}, data={"a": "b"})
    assert response.status == 200
    name = (await response.json())["name"]
    [received] = caller.emulators.phones.messages("phone-1")
    assert name == f"projects/tidings-emulator/messages/{received.message_id}"
    assert msgspec.json.decode(received.body)["message"]["notification"]["title"] == "Hi"


async def test_ids_differ_and_keep_their_length(caller: Caller) -> None:
    names = [(await (await caller.send("phone-ids")).json())["name"] for _ in range(20)]
    assert len(set(names)) == 20
    assert len({len(name) for name in names}) == 1


FULL = {
    "token": "phone-full",
    "data": {"k": "v", "ключ": "значение"},
    "notification": {"title": "t", "body": "b", "image": "https://x/y.png"},
    "android": {
        "collapse_key": "c",
        "priority": "high",
        "ttl": "3.5s",
        "restricted_package_name": "org.x",
        "data": {"k": "v"},
        "direct_boot_ok": True,
        "bandwidth_constrained_ok": False,
        "fcm_options": {"analytics_label": "label-1"},
        "notification": {
            "title": "t",
            "title_loc_key": "k",
            "title_loc_args": ["a"],
            "event_time": "2026-01-01T00:00:00Z",
            "notification_priority": "PRIORITY_MAX",
            "visibility": "PUBLIC",
            "vibrate_timings": ["0.5s", "1s"],
            "notification_count": 3,
            "light_settings": {
                "color": {"red": 1, "green": 0.5, "blue": 0, "alpha": 1},
                "light_on_duration": "0.1s",
                "light_off_duration": "2s",
            },
            "proxy": "ALLOW",
            "image": None,
        },
    },
    "apns": {
        "headers": {"apns-priority": "10", "apns-collapse-id": "c"},
        "payload": {"aps": {"alert": {"title": "t"}, "badge": 3}, "custom": [1, {"a": None}]},
        "fcm_options": {"image": "https://x/y.png"},
    },
    "webpush": {
        "headers": {"TTL": "60", "Urgency": "high"},
        "notification": {"title": "t", "requireInteraction": True, "custom": 1},
        "fcm_options": {"link": "https://x/"},
    },
    "fcm_options": {"analytics_label": "label"},
}


def camel(value: Any, keep: bool = False) -> Any:
    """The same request as Google's own reference spells it. Maps and free objects keep their keys."""
    if isinstance(value, list):
        return [camel(item, keep) for item in value]
    if not isinstance(value, dict):
        return value
    spelled = {}
    for key, item in value.items():
        first, *rest = key.split("_")
        inside = keep or key in ("data", "headers", "payload")
        spelled[key if keep else first + "".join(part.title() for part in rest)] = camel(item, inside)
    return spelled


async def test_every_field_is_taken_in_both_spellings(caller: Caller) -> None:
    for body in ({"message": FULL, "validate_only": True}, camel({"message": FULL, "validate_only": True})):
        response = await caller.post(body)
        assert response.status == 200, await response.text()
        assert (await response.json())["name"] == "projects/tidings-emulator/messages/fake_message_id"
    assert caller.emulators.phones.messages("phone-full") == []


async def test_all_four_targets_are_taken(caller: Caller) -> None:
    condition = "'a' in topics && ('b' in topics || 'c' in topics)"
    for message in ({"fid": "fid-1"}, {"topic": "news"}, {"condition": condition}, {"token": "t-1"}):
        assert (await caller.post({"message": message})).status == 200
    assert len(caller.emulators.phones.messages("/topics/news")) == 1
    assert len(caller.emulators.phones.messages(f"/condition/{condition}")) == 1


async def test_numbers_in_quotes_are_numbers(caller: Caller) -> None:
    notification = {"notification_count": "3"}
    assert (await caller.send("phone-q", android={"notification": notification})).status == 200


async def test_the_last_of_repeated_keys_wins(caller: Caller) -> None:
    assert (await caller.post(b'{"message":{"token":"first","token":"second-key"}}')).status == 200
    assert len(caller.emulators.phones.messages("second-key")) == 1


async def test_no_target(caller: Caller) -> None:
    for body in ({"message": {"data": {"a": "b"}}}, {}, {"message": None}, {"message": {"token": ""}}):
        error = await refusal(caller, body)
        assert (error["code"], error["message"]) == (400, "Recipient of the message is not set.")
        assert details(error) == [BAD_REQUEST, FCM_ERROR]
        assert error["details"][0]["fieldViolations"][0]["field"] == "message"


async def test_two_targets(caller: Caller) -> None:
    error = await refusal(caller, {"message": {"token": "a", "topic": "b"}})
    assert (error["status"], details(error)) == ("INVALID_ARGUMENT", [BAD_REQUEST])


async def test_a_data_value_that_is_not_text(caller: Caller) -> None:
    error = await refusal(caller, {"message": {"token": "a", "data": {"n": 12}}})
    assert error["message"] == "Invalid value at 'message.data[0].value' (TYPE_STRING), 12"
    assert details(error) == [BAD_REQUEST]
    assert error["details"][0]["fieldViolations"][0]["field"] == "message.data[0].value"


async def test_an_unknown_name_in_either_spelling(caller: Caller) -> None:
    for message, where in (
        ({"token": "a", "titel": "x"}, "message"),
        ({"token": "a", "android": {"colapse_key": "x"}}, "message.android"),
        ({"token": "a", "android": {"notification": {"Title": "x"}}}, "message.android.notification"),
    ):
        error = await refusal(caller, {"message": message})
        assert error["message"].startswith('Invalid JSON payload received. Unknown name "')
        assert error["message"].endswith(f"at '{where}': Cannot find field.")
        assert details(error) == [BAD_REQUEST]
    error = await refusal(caller, {"mesage": {}})
    assert error["message"] == 'Invalid JSON payload received. Unknown name "mesage": Cannot find field.'


async def test_all_violations_are_named_at_once(caller: Caller) -> None:
    error = await refusal(caller, b'{"message":{"token":1,"x":2,"data":{"a":"b","c":false}}}')
    fields = [violation["field"] for violation in error["details"][0]["fieldViolations"]]
    assert fields == ["message.token", "message", "message.data[1].value"]


@pytest.mark.parametrize(
    "message",
    [
        {"android": {"ttl": "10"}},
        {"android": {"ttl": 10}},
        {"android": {"ttl": "1 day"}},
        {"android": {"ttl": "-1s"}},
        {"android": {"ttl": "2419201s"}},
        {"android": {"priority": "urgent"}},
        {"android": {"data": {"google.x": "y"}}},
        {"android": {"fcm_options": {"analytics_label": "no spaces"}}},
        {"android": {"notification": {"body_loc_args": ["a"]}}},
        {"android": {"notification": {"visibility": "HIDDEN"}}},
        {"android": {"notification": {"vibrate_timings": ["fast"]}}},
        {"android": {"notification": {"notification_count": 2**31}}},
        {"android": {"notification": {"sticky": "yes"}}},
        {"android": [], "data": {}},
        {"android": {}, "android_v2": {"background_sync": {}}},
        {"android": {}, "androidV2": {}},
        {"data": {"from": "x"}},
        {"data": {"message_type": "x"}},
        {"data": {"google.c.a": "x"}},
        {"data": {"gcm.notification.e": "x"}},
        {"data": ["a"]},
        {"data": {"a": None}},
        {"notification": "text"},
        {"apns": {"payload": "text"}},
        {"apns": {"headers": {"apns-priority": 5}}},
        {"apns": {"headers": {"apns-priority": "10"}, "payload": {"aps": {"content-available": 1}}}},
        {"webpush": {"headers": {"TTL": 60}}},
        {"fcm_options": {"analytics_label": "x" * 51}},
    ],
    ids=msgspec.json.encode,
)
async def test_a_message_that_breaks_a_rule_is_an_invalid_argument(caller: Caller, message: Any) -> None:
    error = await refusal(caller, {"message": {"token": "rule", **message}})
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert "registration token" not in error["message"]
    assert caller.emulators.phones.messages("rule") == []


@pytest.mark.parametrize(
    "target", [{"topic": "a b"}, {"topic": "x" * 901}, {"condition": "true"}, {"token": "t" * 5000}]
)
async def test_a_target_that_breaks_a_rule_is_an_invalid_argument(caller: Caller, target: Any) -> None:
    error = await refusal(caller, {"message": target})
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(("target", "limit"), [("token", 4096), ("topic", 2048)])
async def test_the_payload_limit_is_exact(caller: Caller, target: str, limit: int) -> None:
    for size, status in ((limit - 1, 200), (limit + 1 - 1, 400)):
        body = {"message": {target: "size", "data": {"k": "é" * (size // 2) + "x" * (size % 2)}}}
        response = await caller.post(body)
        assert response.status == status
    error = (await response.json())["error"]
    assert error == {
        "code": 400,
        "message": "Request contains an invalid argument.",
        "status": "INVALID_ARGUMENT",
    }


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"message":{"token":"a"}} x', b"[" * 5000]
)
async def test_a_body_that_is_no_request(caller: Caller, body: bytes) -> None:
    error = await refusal(caller, body)
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")


async def test_another_project_is_not_found_and_says_nothing_about_the_token(caller: Caller) -> None:
    url = caller.url.replace("tidings-emulator", "another")
    request = caller.client.post(url).header("authorization", f"Bearer {caller.access_token}")
    response = await request.body_json({"message": {"token": "a"}}).build().send()
    error = (await response.json())["error"]
    assert (response.status, error["status"]) == (404, "NOT_FOUND")
    assert "details" not in error


async def test_other_paths_and_methods_are_not_found(caller: Caller) -> None:
    assert (await caller.client.get(caller.url).build().send()).status == 404
    assert (await caller.client.post(caller.emulators.fcm_url + "/batch").build().send()).status == 404


async def test_the_plain_listener_serves_the_same(caller: Caller) -> None:
    url = caller.url.replace(caller.emulators.fcm_url, caller.emulators.plain_url)
    for builder in (ClientBuilder(), ClientBuilder().http2(True).http2_prior_knowledge()):
        async with builder.no_proxy().build() as client:
            request = client.post(url).header("authorization", f"Bearer {caller.access_token}")
            response = await request.body_json({"message": {"token": "plain"}}).build().send()
            assert response.status == 200
    assert len(caller.emulators.phones.messages("plain")) == 2
