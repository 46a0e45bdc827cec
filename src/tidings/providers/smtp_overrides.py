"""The `email` part of a notification: what an email has beyond title and body, typed.

Unknown fields, wrong types and texts that could break out of a header are refused when the notification is
accepted, with the path to the field. What is not given is left out.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tidings.discreet import Discreet
from tidings.providers.smtp_address import AddressError, read_address

# One line: no control character, and none of the line ends that Unicode adds. A header has no room for them.
LINE = "^[^\\x00-\\x1f\\x7f\\x85\\u2028\\u2029]*$"

Line = Annotated[str, Meta(max_length=500, pattern=LINE)]
Name = Annotated[str, Meta(max_length=200, pattern=LINE)]
Text = Annotated[str, Meta(max_length=200_000)]
Html = Annotated[str, Meta(max_length=500_000)]
Address = Annotated[str, Meta(max_length=254, examples=["help@example.org"])]
# What SES takes as the value of a tag; the others take more ("MessageTag", SES API reference).
Category = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$", examples=["invoice"])]
ListId = Annotated[str, Meta(max_length=200, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["news.example.org"])]

MAX_HEADERS = 20
_HEADER_NAME = Annotated[str, Meta(pattern="^[Xx]-[A-Za-z0-9-]{1,60}$")]
# Headers by which relays are steered: they are ours to write.
RESERVED = ("x-smtpapi", "x-mailgun-", "x-pm-", "x-ses-", "x-tidings-", "x-msys-")


class EmailOverrides(Discreet, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a caller may add to, or change in, the email of one notification.

    `subject`, `text`: instead of title and body. `html`: instead of a plain rendering of the text. `from_name`:
    instead of the account's (the address stays: it is what the mail is signed for). `category`: the relay counts its
    mail by it. `list_id`: of a mailing list (RFC 2919). `headers`: more of them, with names that begin with `X-`.
    """

    subject: Line | None = None
    text: Text | None = None
    html: Html | None = None
    from_name: Name | None = None
    reply_to: Address | None = None
    category: Category | None = None
    list_id: ListId | None = None
    headers: Annotated[dict[_HEADER_NAME, Line], Meta(max_length=MAX_HEADERS)] | None = None

    def __post_init__(self) -> None:
        if self.reply_to is not None:
            try:
                wide = read_address(self.reply_to).wide
            except AddressError as error:
                raise ValueError(f"reply_to: {error}") from None
            if wide:
                raise ValueError("reply_to: the part before the @ must be ASCII, for all relays to take the mail")
        names = [name.lower() for name in self.headers or ()]
        for name in names:
            if name.startswith(RESERVED):
                raise ValueError(f"headers: {name} belongs to the service; category is a field of its own")
        if len(set(names)) < len(names):
            raise ValueError("headers: a name stands twice")


def validate_overrides(raw: dict[str, Any]) -> EmailOverrides:
    """`raw` as typed overrides; msgspec.ValidationError says what is wrong and where (`$.reply_to`).

    To store or send them as JSON again: `msgspec.to_builtins(overrides)` leaves out what was not given.
    """
    return msgspec.convert(raw, EmailOverrides)
