"""The `apns` part of a notification: what is taken, and what is refused with the path to it."""

from typing import Any

import msgspec
import pytest

from tidings.providers.apns_overrides import validate_overrides

FULL: dict[str, Any] = {
    "aps": {
        "alert": {
            "title": "t",
            "subtitle": "s",
            "body": "b",
            "launch-image": "l.png",
            "title-loc-key": "k",
            "title-loc-args": ["a"],
            "subtitle-loc-key": "k",
            "subtitle-loc-args": ["a"],
            "loc-key": "k",
            "loc-args": ["a"],
        },
        "badge": 0,
        "sound": {"critical": 1, "name": "ping", "volume": 0.5},
        "thread-id": "thread",
        "category": "c",
        "content-available": 1,
        "mutable-content": 1,
        "target-content-id": "window",
        "interruption-level": "time-sensitive",
        "relevance-score": 0.5,
        "filter-criteria": "work",
    },
    "push_type": "alert",
    "priority": 5,
    "topic": "com.example.shop",
    "collapse_id": "parcel",
    "payload": {"parcel": [1, {"a": None}]},
}
LIVE: dict[str, Any] = {
    "push_type": "liveactivity",
    "aps": {
        "timestamp": 1,
        "event": "start",
        "content-state": {"left": 3},
        "stale-date": 2,
        "dismissal-date": 3,
        "attributes-type": "Ride",
        "attributes": {"from": "A"},
        "relevance-score": 75,
        "input-push-token": 1,
        "alert": {"title": "t", "body": "b", "sound": "ping"},
    },
}


@pytest.mark.parametrize("given", [FULL, LIVE, {}, {"aps": {"alert": "text", "sound": "ping"}}])
def test_what_is_taken_comes_back_the_same(given: dict[str, Any]) -> None:
    assert msgspec.to_builtins(validate_overrides(given)) == given


def test_a_critical_sound_is_always_whole() -> None:
    taken = msgspec.to_builtins(validate_overrides({"aps": {"sound": {"name": "siren"}}}))
    assert taken["aps"]["sound"] == {"critical": 1, "name": "siren", "volume": 1.0}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"badge": 1}, "unknown field `badge`"),
        ({"aps": {"thread_id": "x"}}, r"unknown field `thread_id` - at `\$.aps`"),
        ({"aps": {"badge": -1}}, r"\$.aps.badge"),
        ({"aps": {"badge": "1"}}, r"\$.aps.badge"),
        ({"aps": {"sound": {"volume": 2}}}, r"\$.aps.sound.volume"),
        ({"aps": {"interruption-level": "loud"}}, r"\$.aps.interruption-level"),
        ({"aps": {"relevance-score": 1.5}}, "at most 1"),
        ({"aps": {"alert": {"loc-args": ["a"]}}}, "loc-args needs loc-key"),
        ({"aps": {"alert": {"title-loc-args": ["a"]}}}, "title-loc-args needs title-loc-key"),
        ({"priority": 7}, r"\$.priority"),
        ({"push_type": "pager"}, r"\$.push_type"),
        ({"topic": "a/b"}, r"\$.topic"),
        ({"collapse_id": "x" * 65}, r"\$.collapse_id"),
        ({"collapse_id": "a\r\nb"}, r"\$.collapse_id"),
        ({"payload": {"aps": {}}}, "aps has a field of its own"),
        ({"push_type": "background", "priority": 10}, "APNs refuses 10"),
        ({"push_type": "background", "aps": {"badge": 1}}, "no alert, badge or sound"),
        ({"push_type": "liveactivity"}, "need each other"),
        ({"aps": {"event": "end"}}, "need each other"),
        ({"push_type": "liveactivity", "aps": {"event": "update"}}, "needs content-state"),
        ({"push_type": "liveactivity", "aps": {"event": "start", "content-state": {}}}, "attributes-type"),
    ],
)
def test_what_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=told):
        validate_overrides(given)
