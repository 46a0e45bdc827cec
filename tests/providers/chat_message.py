"""A message for a chat room, and how the recorded answers of chat services are read."""

from pathlib import Path
from typing import Any

import msgspec

from tidings import clock
from tidings.http import Answer
from tidings.providers.contract import Message

ANSWERS = Path(__file__).parent / "answers" / "apprise"


class Recorded(msgspec.Struct, forbid_unknown_fields=True):
    """`service`: the scheme of the URL. `taken`: what Apprise makes of the answer."""

    source: str
    service: str
    status: int
    headers: dict[str, str]
    body: Any
    taken: bool
    outcome: dict[str, Any]

    @property
    def answer(self) -> Answer:
        body = self.body.encode() if isinstance(self.body, str) else msgspec.json.encode(self.body)
        return Answer(self.status, body, self.headers)


def recorded() -> dict[str, Recorded]:
    """All of them, by name."""
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=Recorded) for path in sorted(ANSWERS.glob("*.json"))}


def message(address: str, **changes: Any) -> Message:
    """What the worker would hand over for `address`."""
    plain = Message(
        project_id=1,
        notification_id=4711,
        user_id=2,
        device_id=3,
        device_type="",
        address=address,
        title="Your parcel",
        body="is at the **door**",
        data={"parcel": 17},
        ttl_s=3600,
        collapse_key="parcel",
        urgent=False,
        created_at=clock.now(),
    )
    return msgspec.structs.replace(plain, **changes)
