"""A message for the SMS providers, and how recorded answers are read."""

from pathlib import Path
from typing import Any

import msgspec

from tidings import clock
from tidings.http import Answer
from tidings.providers.contract import Message, Outcome

NUMBER = "+447700900123"
REFERENCE = "1.4711.e.0.AAAAAAAAAAAAAAAAAAAAAA"
_OUTCOME_DEFAULTS: dict[str, dict[str, Any]] = {
    "retry": {"after_s": None, "account_wide": False, "maybe_taken": False},
    "gone": {"since": None},
}


class Recorded(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    status: int
    headers: dict[str, str]
    body: Any
    outcome: dict[str, Any]

    @property
    def answer(self) -> Answer:
        body = self.body.encode() if isinstance(self.body, str) else msgspec.json.encode(self.body)
        return Answer(self.status, body, self.headers)

    @property
    def expected(self) -> dict[str, Any]:
        return _OUTCOME_DEFAULTS.get(self.outcome["type"], {}) | self.outcome


def recorded(vendor: str) -> dict[str, Recorded]:
    folder = Path(__file__).parent / "answers" / vendor
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=Recorded) for path in sorted(folder.glob("*.json"))}


def shape(outcome: Outcome) -> dict[str, Any]:
    """An outcome without its words."""
    found: dict[str, Any] = msgspec.to_builtins(outcome)
    found.pop("detail", None)
    return found


def message(address: str = NUMBER, **changes: Any) -> Message:
    plain = Message(
        project_id=1,
        notification_id=4711,
        user_id=2,
        device_id=0,
        device_type="",
        address=address,
        title="Your parcel",
        body="is at the door",
        data={},
        ttl_s=86_400 * 28,
        collapse_key="parcel",
        urgent=True,
        created_at=clock.now(),
        reference=REFERENCE,
    )
    return msgspec.structs.replace(plain, **changes)
