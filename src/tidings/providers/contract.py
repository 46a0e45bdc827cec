"""What a provider is: a message goes in, an outcome comes out.

A provider makes exactly one vendor call for one message and never touches the database. What the vendor
answers is a value, never an exception: `Sent`, `Retry`, `Rejected`, `Gone` or `Paused`. What to do next is
decided elsewhere (`worker/retry.py`), from the value alone.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct

from tidings.discreet import Discreet


class Reason(StrEnum):
    """Why an attempt did not end in `Sent`. Stable: it is stored, shown by the API and counted in metrics."""

    INVALID_ADDRESS = "invalid_address"  # the vendor says this token was never good
    UNREGISTERED = "unregistered"  # it was good once: uninstalled, expired, unsubscribed
    SENDER_MISMATCH = "sender_mismatch"  # good, but for another sender's credentials
    INVALID_MESSAGE = "invalid_message"  # the payload is at fault; another one would pass
    MESSAGE_TOO_BIG = "message_too_big"
    CREDENTIALS = "credentials"  # the account's key is wrong, revoked or lacks a permission
    VENDOR_CREDENTIALS = "vendor_credentials"  # a key that the vendor keeps for us (APNs key inside Firebase)
    PUSH_SERVICE_CREDENTIALS = "push_service_credentials"  # one Web Push service refuses our key; others may not
    FORBIDDEN_ADDRESS = "forbidden_address"  # the address guard does not let us connect there
    WRONG_ACCOUNT = "wrong_account"  # the project or app that the account names does not exist
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"  # 5xx, or an answer that makes no sense
    TIMEOUT = "timeout"  # no answer in time: the vendor may have taken the message
    CONNECTION = "connection"  # could not connect, or the connection broke: it may have been taken
    INTERNAL = "internal"  # a defect of ours; the log has it
    POISON = "poison"  # workers died over it again and again, so it was set aside
    NOT_CONNECTED = "not_connected"  # WebSocket: the user has no open socket
    NO_PROVIDER = "no_provider"  # nobody has set up an account that could send it
    UNKNOWN = "unknown"  # the vendor may have taken it, and the channel must not send twice
    OPTED_OUT = "opted_out"  # the person told the vendor to send no more
    MASS_FAILURE = "mass_failure"  # so many addresses refused and none accepted that the account must be at fault
    QUIET_HOURS = "quiet_hours"  # held until the user's quiet hours end


class Sent(Struct, frozen=True, tag="sent", gc=False):
    """The vendor took the message. `provider_message_id` is the vendor's own id for it, when it gives one."""

    provider_message_id: str | None = None


class Retry(Struct, frozen=True, tag="retry"):
    """Not now; the same message again later.

    `after_s`: the least delay in seconds that the vendor asked for, already clamped, or None: our own backoff.
    `account_wide`: the vendor is slowing the whole account, not this address.
    `maybe_taken`: the vendor may have taken the message all the same; channels that send at most once don't repeat it.
    """

    reason: Reason
    detail: str = ""
    after_s: float | None = None
    account_wide: bool = False
    maybe_taken: bool = False


class Rejected(Struct, frozen=True, tag="rejected"):
    """Never, for this message; the address is still good."""

    reason: Reason
    detail: str = ""


class Gone(Struct, frozen=True, tag="gone"):
    """Never again, for this address: disable the device. `since`: from when the vendor knows, if it says."""

    reason: Reason
    detail: str = ""
    since: datetime | None = None


class Paused(Struct, frozen=True, tag="paused"):
    """The account is at fault (credentials, configuration): stop sending with it, keep message and address."""

    reason: Reason
    detail: str = ""
    after_s: float = 60.0


Outcome = Sent | Retry | Rejected | Gone | Paused


class Message(Discreet, frozen=True, gc=False):
    """One delivery, ready for a vendor.

    `collapse_key` is the same on every attempt, so that a repeated send shows once on the device.
    `data` is the caller's own JSON object. `overrides` holds the provider's own part of the notification
    (validated when it was accepted). `receipt_url`: where the device may confirm, None when not wanted.
    `reference`: signed, names this delivery; providers hand it to the vendor wherever reports of it come back with it.
    `reports_url`: where the vendor may post such reports (`{reference}` is not part of it), None: nowhere.
    `unsubscribe_url`: for the headers of an email, None: it has none.
    """

    project_id: int
    notification_id: int
    user_id: int
    device_id: int
    device_type: str
    address: str
    title: str
    body: str
    data: dict[str, Any]
    ttl_s: int
    collapse_key: str
    urgent: bool
    created_at: datetime
    overrides: dict[str, Any] | None = None
    receipt_url: str | None = None
    reference: str = ""
    reports_url: str | None = None
    unsubscribe_url: str | None = None


class Fate(StrEnum):
    """What a vendor reports later about a message or an address."""

    DELIVERED = "delivered"
    FAILED = "failed"  # this message did not arrive; the address is still good
    BOUNCED = "bounced"  # this message did not arrive and no other will: the address is not good
    COMPLAINED = "complained"  # the person called it spam: write no more
    OPTED_OUT = "opted_out"  # STOP
    OPTED_IN = "opted_in"  # START


class Report(Discreet, frozen=True):
    """One later word of a vendor. `reference`: of `Message`, "" when it is about an address alone.

    `address`: whom it concerns, "" when the vendor does not say. Twice is safe.
    """

    fate: Fate
    reference: str = ""
    address: str = ""
    provider_message_id: str | None = None
    reason: Reason | None = None
    detail: str = ""


class BadReport(Exception):
    """A report that must not be believed: wrong signature (`forged`), or not what the vendor sends."""

    def __init__(self, sentence: str, *, forged: bool = False) -> None:
        self.forged = forged
        super().__init__(sentence)


class Provider(Protocol):
    """One vendor protocol with one account. Safe to call many times at once."""

    @property
    def name(self) -> str: ...

    @property
    def emulated(self) -> bool:
        """True when it talks to the bundled emulator instead of the vendor."""
        ...

    async def send(self, message: Message) -> Outcome:
        """One vendor call within a deadline. Never raises for anything the vendor or the network does."""
        ...

    async def close(self) -> None: ...
