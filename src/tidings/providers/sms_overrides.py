"""The `sms` part of a notification: what a caller may change for the text message alone, typed.

Unknown fields, wrong types and values that no vendor would take are refused when the notification is accepted,
with the path to the field. What is not given is left out.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from tidings.discreet import Discreet
from tidings.providers.sms_text import MAX_CHARS

# A plain $ at the end would let a line break follow, and Python's \Z is unknown to JSON Schema.
SENDER = r"^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=[A-Za-z0-9 ]{1,11}$)[A-Za-z0-9 ]*[A-Za-z][A-Za-z0-9 ]*)(?![\s\S])"
"""A number in E.164, a short code, or a name: at most 11 letters, digits and spaces with at least one letter."""

Sender = Annotated[str, Meta(pattern=SENDER, examples=["Parcels"])]
Body = Annotated[str, Meta(min_length=1, max_length=MAX_CHARS)]


class SmsOverrides(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a caller may change in the text message of one notification.

    `body`: the whole text, in place of title and body. `from`: the sender, in place of the account's; it must
    be one that the account may use. `smart`: whether typographic quotes, dashes and spaces may be written
    plainly so that the text takes fewer segments. `max_segments`: refuse to send more than so many.
    """

    body: Body | None = None
    from_: Sender | None = field(default=None, name="from")
    smart: bool | None = None
    max_segments: Annotated[int, Meta(ge=1, le=10)] | None = None


def validate_overrides(raw: dict[str, Any]) -> SmsOverrides:
    """`raw` as typed overrides; msgspec.ValidationError says what is wrong and where (`$.from`).

    To store or send them as JSON again: `msgspec.to_builtins(overrides)` leaves out what was not given.
    """
    return msgspec.convert(raw, SmsOverrides)
