"""Examples of bodies and answers for the OpenAPI document, by operation. Tests send the bodies and check the answers.

Those of the original interface are the ones of its own reference.
"""

from typing import Any

JOHN = {"email": "user@example.com", "name": "John Doe", "phone": "+1234567890"}
USER = {
    "id": 1,
    **JOHN,
    "created_at": "2026-04-28T12:00:00Z",
    "external_id": None,
    "locale": None,
    "timezone": None,
    "updated_at": "2026-04-28T12:00:00Z",
    "chat": None,
}
OWN = {"external_id": "u-42", "name": "John Doe", "locale": "de-CH", "timezone": "Europe/Zurich"}

PHONE = {"device_token": "fcm-token-here", "device_type": "android"}
DEVICE = {
    "id": 1,
    "user_id": 1,
    **PHONE,
    "created_at": "2026-04-28T12:05:00Z",
    "registered_at": "2026-04-28T12:05:00Z",
    "disabled_at": None,
    "disabled_reason": None,
}

MESSAGE = {
    "user_id": 1,
    "title": "New Message",
    "body": "You have received a new message",
    "data": {"message_id": 123, "sender": "other_user"},
}
REMINDER = {
    "user_id": 1,
    "title": "Appointment Reminder",
    "body": "Your appointment is tomorrow",
    "data": {"appointment_id": 456},
    "scheduled_time": "2036-04-29T09:00:00Z",
}
PENDING = {
    "id": 1,
    **MESSAGE,
    "status": "pending",
    "created_at": "2026-04-28T12:10:00Z",
    "lane": "normal",
    "ttl_s": 86400,
}
SCHEDULED = {
    "id": 2,
    **REMINDER,
    "status": "scheduled",
    "created_at": "2026-04-28T12:15:00Z",
    "lane": "scheduled",
    "ttl_s": 86400,
}
SENT = {
    **PENDING,
    "status": "delivered",
    "sent_at": "2026-04-28T12:10:05Z",
    "delivered_at": "2026-04-28T12:10:06Z",
}
DELIVERY = {
    "channel": "push",
    "device_id": 1,
    "status": "delivered",
    "reason": None,
    "detail": None,
    "provider": "fcm",
    "emulated": False,
    "provider_message_id": "projects/acme/messages/0:1",
    "next_attempt_at": None,
    "sent_at": "2026-04-28T12:10:05Z",
    "delivered_at": "2026-04-28T12:10:06Z",
    "attempts": [
        {
            "number": 1,
            "outcome": "sent",
            "provider": "fcm",
            "duration_ms": 41,
            "created_at": "2026-04-28T12:10:05Z",
            "reason": None,
            "detail": None,
        }
    ],
}
NEWS = {"title": "Maintenance tonight", "body": "We are back at 23:00.", "data": {"page": "/status"}}
REFUSED = {
    "index": 1,
    "status": 404,
    "code": "user_not_found",
    "detail": "This project has no user with that id.",
    "errors": [
        {
            "pointer": "/notifications/1/user_id",
            "code": "user_not_found",
            "detail": "This project has no user with that id.",
        }
    ],
}

# The key of the example in RFC 8291, appendix A: everybody has it, so it is good for nothing else.
VAPID = {"private_key": "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw", "subject": "mailto:push@example.com"}
ACCOUNT = {
    "id": 1,
    "provider": "webpush",
    "name": "Browsers",
    "priority": 0,
    "enabled": True,
    "emulated": False,
    "summary": {
        "public_key": "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8",
        "subject": "mailto:push@example.com",
    },
    "limits": {"rate_per_s": 20.0, "burst": None, "most_at_once": None},
    "at_most_once": None,
    "expires_at": None,
    "created_at": "2026-04-28T12:00:00Z",
    "updated_at": "2026-04-28T12:00:00Z",
    "check": None,
}
UNASKED = {"verdict": "unknown", "detail": "This vendor has no call that could tell."}

DEAD = {
    "notification_id": 1,
    "user_id": 1,
    "title": "New Message",
    "channel": "push",
    "device_id": 1,
    "reason": "message_too_big",
    "detail": None,
    "provider": "fcm",
    "emulated": False,
    "attempts": 1,
    "failed_at": "2026-04-28T12:10:05Z",
}

SUPPRESSED = {
    "channel": "email",
    "address": "user@example.com",
    "reason": "manual",
    "created_at": "2026-04-28T12:00:00Z",
    "detail": "asked for it by telephone",
}

ALLOWED = {
    "preferences": [
        {"category": "*", "channel": "sms", "enabled": False},
        {"category": "marketing", "channel": "email", "enabled": False},
    ],
    "quiet_hours": {"from": "22:00", "until": "07:00", "timezone": "Europe/Zurich", "action": "hold"},
}

BODIES: dict[str, Any] = {
    "create_user": JOHN,
    "upsert_user": OWN,
    "change_user": {"name": "Jane Doe", "phone": None},
    "mint_token": {"ttl_s": 3600},
    "register_device": PHONE,
    "replace_preferences": ALLOWED,
    "change_preferences": {"preferences": [{"category": "marketing", "channel": "email", "enabled": True}]},
    "send_notification": MESSAGE,
    "schedule_notification": REMINDER,
    "send_batch": {"notifications": [MESSAGE, {"user_id": 999, "title": "Nobody has this id"}]},
    "send_broadcast": NEWS,
    "redrive": {"channel": "push", "since": "2026-04-28T12:00:00Z"},
    "add_suppression": {"address": "user@example.com", "detail": "asked for it by telephone"},
    "create_provider_account": {
        "provider": "webpush",
        "name": "Browsers",
        "credentials": VAPID,
        "limits": {"rate_per_s": 20},
    },
    "change_provider_account": {"name": "All browsers", "credentials": VAPID},
}

ANSWERS: dict[str, Any] = {
    "create_user": USER,
    "upsert_user": {**USER, **OWN, "email": None, "phone": None},
    "list_users": [USER],
    "get_user": USER,
    "change_user": {**USER, "name": "Jane Doe", "phone": None, "updated_at": "2026-04-28T12:01:00Z"},
    "mint_token": {
        "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "expires_at": "2026-04-28T13:00:00Z",
    },
    "get_presence": {"user_id": 1, "online": True, "sockets": 1, "last_seen_at": "2026-04-28T12:00:00Z"},
    "register_device": DEVICE,
    "list_devices": [DEVICE],
    "get_preferences": ALLOWED,
    "replace_preferences": ALLOWED,
    "change_preferences": {**ALLOWED, "preferences": [{"category": "marketing", "channel": "email", "enabled": True}]},
    "send_notification": PENDING,
    "schedule_notification": SCHEDULED,
    "send_batch": {"accepted": 1, "ids": [1, None], "errors": [REFUSED]},
    "get_notification": {**SENT, "deliveries": [DELIVERY]},
    "cancel_notification": {**SCHEDULED, "status": "cancelled"},
    "list_notifications": [SENT],
    "send_broadcast": {"id": 1, **NEWS, "status": "pending", "created_at": "2026-04-28T12:20:00Z"},
    "get_broadcast": {
        "id": 1,
        **NEWS,
        "status": "sent",
        "created_at": "2026-04-28T12:20:00Z",
        "sent_at": "2026-04-28T12:20:01Z",
        "sockets": 3,
    },
    "list_dead_letters": [DEAD],
    "redrive": {"deliveries": 12, "notifications": 10},
    "list_suppressions": [SUPPRESSED],
    "add_suppression": SUPPRESSED,
    "take_mail": {"taken": 1},
    "create_provider_account": {**ACCOUNT, "check": UNASKED},
    "list_provider_accounts": [ACCOUNT],
    "get_provider_account": ACCOUNT,
    "change_provider_account": {
        **ACCOUNT,
        "name": "All browsers",
        "updated_at": "2026-04-29T12:00:00Z",
        "check": UNASKED,
    },
    "check_provider_account": {"verdict": "good", "detail": ""},
    "read_vapid_public_key": {
        "public_key": "BNCp4F8ku7253vme4Cfz9lCvZH1-2vQhhhhtZ2RHzIa0wCnTZoEpC-14eHd2XyYDTqkTpXF4Son94tk3GTX7MpE"
    },
    "healthcheck": {
        "status": "ok",
        "version": "0.1.0",
        "environment": "development",
        "mode": "embedded",
        "dependencies": {"database": "ok"},
    },
}

# Which problem stands for its status, where it is not the usual one of that status.
NOT_FOUND = {
    "unregister_device": "device_not_found",
    "get_notification": "notification_not_found",
    "cancel_notification": "notification_not_found",
    "get_broadcast": "broadcast_not_found",
    **dict.fromkeys(("get_provider_account", "change_provider_account"), "account_not_found"),
    **dict.fromkeys(("delete_provider_account", "check_provider_account"), "account_not_found"),
    "remove_suppression": "suppression_not_found",
    "take_reports": "route_not_found",
    "confirm_receipt": "receipt_invalid",
    "read_vapid_public_key": "route_not_found",
}
FORBIDDEN = {"take_reports": "report_forged"}
CONFLICTS = {"create_user": "external_id_taken", "change_user": "external_id_taken"}
CONFLICTS |= dict.fromkeys(("create_provider_account", "change_provider_account"), "account_name_taken")
INVALID = ("invalid_field", "/device_type", "Invalid enum value")
