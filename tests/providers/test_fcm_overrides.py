"""The `fcm` part of a notification: the whole of an FCM message is taken, everything else is refused."""

from typing import Any

import msgspec
import pytest

from tidings.providers.fcm_overrides import FcmOverrides, validate_overrides

FULL: dict[str, Any] = {
    "notification": {"title": "t", "body": "b", "image": "https://i.example/a.png"},
    "android": {
        "collapse_key": "k",
        "priority": "high",
        "ttl": "3.5s",
        "restricted_package_name": "org.example",
        "data": {"a": "b"},
        "fcm_options": {"analytics_label": "a-Z_0.~%"},
        "direct_boot_ok": True,
        "bandwidth_constrained_ok": True,
        "restricted_satellite_ok": False,
        "notification": {
            "title": "t",
            "body": "b",
            "icon": "i",
            "color": "#aabbcc",
            "sound": "s",
            "tag": "t",
            "click_action": "c",
            "body_loc_key": "k",
            "body_loc_args": ["1"],
            "title_loc_key": "k",
            "title_loc_args": ["1", "2"],
            "channel_id": "c",
            "ticker": "t",
            "sticky": True,
            "event_time": "2026-03-01T12:00:00Z",
            "local_only": True,
            "notification_priority": "PRIORITY_MAX",
            "default_sound": False,
            "default_vibrate_timings": False,
            "default_light_settings": False,
            "vibrate_timings": ["0.5s", "1s"],
            "visibility": "SECRET",
            "notification_count": 3,
            "light_settings": {
                "color": {"red": 1.0, "green": 0.5, "blue": 0.0, "alpha": 0.5},
                "light_on_duration": "1s",
                "light_off_duration": "0.25s",
            },
            "image": "https://i.example/a.png",
            "proxy": "IF_PRIORITY_LOWERED",
            "bypass_proxy_notification": True,
        },
    },
    "apns": {
        "headers": {"apns-priority": "5", "apns-push-type": "alert"},
        "payload": {"aps": {"alert": {"title": "t"}, "badge": 1}, "own": [1]},
        "fcm_options": {"analytics_label": "l", "image": "https://i.example/a.png"},
        "live_activity_token": "t",
    },
    "webpush": {
        "headers": {"TTL": "60", "Urgency": "high", "Topic": "t"},
        "data": {"a": "b"},
        "notification": {
            "title": "t",
            "actions": [{"action": "a", "title": "t", "icon": "i"}],
            "requireInteraction": True,
            "dir": "rtl",
            "vibrate": [100, 50],
            "timestamp": 1,
            "own": {"any": "thing"},
        },
        "fcm_options": {"link": "https://example.org/x", "analytics_label": "l"},
    },
    "fcm_options": {"analytics_label": "l"},
}


def test_the_whole_message_is_taken_and_given_back_unchanged() -> None:
    assert msgspec.to_builtins(validate_overrides(FULL)) == FULL


def test_every_field_that_the_types_know_is_in_the_whole_message() -> None:
    """So the test above can't forget one that is added later."""

    def missing(kind: Any, there: dict[str, Any], at: str) -> list[str]:
        gaps = []
        for field in msgspec.structs.fields(kind):
            inner = next(
                (each for each in getattr(field.type, "__args__", ()) if hasattr(each, "__struct_fields__")),
                None,
            )
            path = f"{at}.{field.encode_name}"
            if field.encode_name not in there:
                gaps.append(path)
            elif inner is not None:
                gaps += missing(inner, there[field.encode_name], path)
        return gaps

    assert missing(FcmOverrides, FULL, "") == [".android_v2"]


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"nope": 1}, "unknown field `nope`"),
        ({"android": {"nope": 1}}, "$.android"),
        ({"android": {"ttl": "3"}}, "$.android.ttl"),
        ({"android": {"ttl": 3}}, "$.android.ttl"),
        ({"android": {"ttl": "-1s"}}, "$.android.ttl"),
        ({"android": {"ttl": "2419201s"}}, "four weeks"),
        ({"android": {"priority": "URGENT"}}, "$.android.priority"),
        ({"android": {"data": {"a": 1}}}, "$.android.data"),
        ({"android": {"data": {"google.x": "1"}}}, "google"),
        ({"android": {"notification": {"color": "red"}}}, "$.android.notification.color"),
        ({"android": {"notification": {"event_time": "2026-03-01T12:00:00"}}}, "event_time"),
        ({"android": {"notification": {"visibility": "HIDDEN"}}}, "visibility"),
        ({"android": {"notification": {"title_loc_args": ["a"]}}}, "title_loc_key"),
        ({"android": {"notification": {"body_loc_args": ["a"]}}}, "body_loc_key"),
        ({"android": {"notification": {"light_settings": {"light_on_duration": "1s"}}}}, "light_settings"),
        ({"android": {"notification": {"vibrate_timings": ["1"]}}}, "vibrate_timings[0]"),
        ({"android": {"notification": {"notification_count": -1}}}, "notification_count"),
        ({"android": {"fcm_options": {"analytics_label": "no spaces"}}}, "analytics_label"),
        ({"android": {}, "android_v2": {"background_sync": {}}}, "exclude each other"),
        ({"android_v2": {}}, "exactly one"),
        ({"apns": {"headers": {"authorization": "x"}}}, "headers"),
        ({"apns": {"headers": {"apns-priority": 5}}}, "headers"),
        ({"apns": {"headers": {"apns-topic": "a\r\nb"}}}, "headers"),
        ({"apns": {"payload": {"aps": 1}}}, "aps must be an object"),
        ({"webpush": {"headers": {"bad name": "x"}}}, "headers"),
        ({"webpush": {"fcm_options": {"link": "http://example.org"}}}, "link"),
        ({"webpush": {"notification": {"silent": 1}}}, "silent"),
        ({"webpush": {"notification": {"actions": [{"title": "t"}]}}}, "action"),
    ],
)
def test_what_fcm_would_refuse_is_refused_with_its_place(raw: dict[str, Any], where: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        validate_overrides(raw)
    assert where in str(caught.value)
