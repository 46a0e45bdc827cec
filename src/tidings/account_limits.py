"""What somebody says about how fast an account may be used: a project of its own, the operator by a setting."""

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

PROVIDERS = ("fcm", "apns", "webpush", "smtp", "twilio", "vonage", "apprise")

_ITEM = re.compile(r"([a-z_]+)=([0-9]{1,9}(?:\.[0-9]{1,9})?)")  # digits alone: float() takes nan, inf and 1_000, too


RatePerS = Annotated[float, Meta(ge=0.01, le=1_000_000, description="Calls a second in the long run", examples=[20.0])]
Burst = Annotated[
    int, Meta(ge=1, le=1_000_000, description="Calls at once after a rest; needs rate_per_s", examples=[20])
]
MostAtOnce = Annotated[int, Meta(ge=1, le=10_000, description="Calls in flight at once", examples=[10])]


class AccountLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """How fast an account may be used. What is null is the provider's default, see docs/pace.md."""

    rate_per_s: RatePerS | None = None
    burst: Burst | None = None
    most_at_once: MostAtOnce | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a burst of nothing: the provider's own rate comes with its own burst."""
        if self.burst is not None and self.rate_per_s is None:
            raise ValueError("burst needs rate_per_s beside it")


USUAL = AccountLimits()


def read_limits(text: str) -> Mapping[str, AccountLimits]:
    """Provider → limits of `twilio:rate_per_s=10,most_at_once=20;fcm:rate_per_s=500`, the form of the setting.

    Blanks around names and numbers do not count. Raises ValueError with a sentence about the first thing that is wrong.
    """
    found: dict[str, AccountLimits] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        provider, colon, items = (piece.strip() for piece in part.partition(":"))
        if not colon or provider not in PROVIDERS:
            raise ValueError(f"{part!r} must begin with a provider and a colon; there are {', '.join(PROVIDERS)}")
        if provider in found:
            raise ValueError(f"{provider} is named twice")
        found[provider] = _read_one(provider, items)
    return found


def _read_one(provider: str, items: str) -> AccountLimits:
    values: dict[str, int | float] = {}
    for item in items.split(","):
        matched = _ITEM.fullmatch("".join(item.split()))
        if matched is None or matched[1] not in AccountLimits.__struct_fields__:
            names = ", ".join(AccountLimits.__struct_fields__)
            raise ValueError(f"{item.strip()!r} of {provider} must be one of {names}, = and a number")
        if matched[1] in values:
            raise ValueError(f"{matched[1]} of {provider} is there twice")
        values[matched[1]] = float(matched[2]) if "." in matched[2] else int(matched[2])
    try:
        return msgspec.convert(values, AccountLimits)
    except msgspec.ValidationError as error:
        raise ValueError(f"{provider}: {error}") from None
