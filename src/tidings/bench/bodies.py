"""What is sent in every figure: the same plain notification, so that figures can be compared."""

from datetime import UTC, datetime

import msgspec

from tidings.bench.commands import PROJECT_ID
from tidings.providers.contract import Message
from tidings.signing import sign_receipt

TITLE = "Your parcel is on its way"
BODY = "It left the depot this morning and should be with you before 18:00."
PLATFORM = "android"
TTL_S = 86_400


def notification(user_id: int, lane: str = "") -> dict[str, object]:
    """A notification as a caller writes it. `lane` "": the default one."""
    told: dict[str, object] = {"user_id": user_id, "title": TITLE, "body": BODY, "data": {"order": user_id}}
    return told | {"lane": lane} if lane else told


def single(user_id: int) -> bytes:
    """The body of a single POST."""
    return msgspec.json.encode(notification(user_id))


def batch(first_user_id: int, size: int, users: int, lane: str = "") -> bytes:
    """The body of a batch for `size` users, in order, beginning again after the last."""
    items = [notification((first_user_id - 1 + n) % users + 1, lane) for n in range(size)]
    return msgspec.json.encode({"notifications": items})


def device_token(user_id: int) -> str:
    """A token of the length that FCM's have. The emulator takes it for an ordinary phone that never confirms."""
    return f"bench-{user_id:07d}:" + "APA91bTidings" * 10


def message(notification_id: int, user_id: int, device_id: int, receipt_key: bytes, receipts: str) -> Message:
    """The message that the worker makes of it."""
    receipt = sign_receipt(receipt_key, PROJECT_ID, notification_id, "push", device_id)
    return Message(
        project_id=PROJECT_ID,
        notification_id=notification_id,
        user_id=user_id,
        device_id=device_id,
        device_type=PLATFORM,
        address=device_token(user_id),
        title=TITLE,
        body=BODY,
        data={"order": user_id},
        ttl_s=TTL_S,
        collapse_key=f"tidings-{notification_id}",
        urgent=False,
        created_at=datetime.now(UTC),
        receipt_url=receipts + receipt,
    )
