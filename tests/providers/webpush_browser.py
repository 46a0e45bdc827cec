"""Subscriptions for the tests: of the RFC's example, of fresh browsers, and messages to them."""

import base64
import os
from datetime import datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tidings.clock import now
from tidings.providers.contract import Message

ENDPOINT = "https://fcm.googleapis.com/fcm/send/c3VjaC1hLXNlY3JldA"


def text_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def subscription(endpoint: str = ENDPOINT, **members: Any) -> dict[str, Any]:
    """What a browser's `toJSON()` gives, with fresh keys."""
    point = generate_private_key(SECP256R1()).public_key()
    keys = {
        "p256dh": text_of(point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)),
        "auth": text_of(os.urandom(16)),
    }
    return {"endpoint": endpoint, "expirationTime": None, "keys": keys} | members


def json_of(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def message(address: str, **changes: Any) -> Message:
    created_at: datetime = changes.pop("created_at", None) or now()
    plain = Message(
        project_id=1,
        notification_id=4711,
        user_id=2,
        device_id=3,
        device_type="web",
        address=address,
        title="Your parcel",
        body="is at the door",
        data={"parcel": 17},
        ttl_s=3600,
        collapse_key="parcel",
        urgent=True,
        created_at=created_at,
    )
    return msgspec.structs.replace(plain, **changes)
