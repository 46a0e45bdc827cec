"""An email to send, for the tests of the SMTP provider."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from tidings.providers.contract import Message

REFERENCE = "1.4711.e.0.abcdefghijklmnopqrst-_"
UNSUBSCRIBE = "https://tidings.example.org/api/unsubscribe/1.2.x"


def message(address: str = "jane@example.org", **changes: Any) -> Message:
    """A message for `address`, with some fields changed."""
    plain = Message(
        project_id=1,
        notification_id=4711,
        user_id=2,
        device_id=0,
        device_type="email",
        address=address,
        title="Your parcel",
        body="is at the door",
        data={},
        ttl_s=3600,
        collapse_key="parcel",
        urgent=True,
        created_at=datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC),
        reference=REFERENCE,
        unsubscribe_url=UNSUBSCRIBE,
    )
    return msgspec.structs.replace(plain, **changes)
