"""What every SMS vendor is told, worked out once: the number, the text, the sender, how long it is worth sending."""

from datetime import datetime

from tidings.discreet import Discreet
from tidings.providers.contract import Gone, Message, Reason, Rejected
from tidings.providers.sms_overrides import SmsOverrides, validate_overrides
from tidings.providers.sms_text import MAX_CHARS, Text, compose, is_e164

_NONE = SmsOverrides()


class Sms(Discreet, frozen=True):
    """One text message. `sender` is the notification's own, "" for the account's.

    `left_s`: seconds until it is of no more use, at least 1.
    """

    number: str
    text: Text
    sender: str
    left_s: int


def build(message: Message, now: datetime, max_segments: int, smart: bool) -> Sms | Rejected | Gone:
    """The SMS of a message, or why there can be none. A pure function.

    A text is never cut: half a sentence, or half a link, can be worse than none.
    """
    if not is_e164(message.address):
        return Gone(Reason.INVALID_ADDRESS, "not a telephone number in E.164")
    raw = message.overrides
    own = validate_overrides(raw) if raw else _NONE
    title, body = ("", own.body) if own.body else (message.title, message.body)
    text = compose(title, body, smart=smart if own.smart is None else own.smart)
    if not text.value:
        return Rejected(Reason.INVALID_MESSAGE, "an SMS needs a title or a body")
    most = min(max_segments, own.max_segments or max_segments)
    if text.segments > most or len(text.value) > MAX_CHARS:
        kind = "UCS-2" if text.unicode else "GSM 7-bit"
        told = f"{len(text.value)} characters ({kind}) in {text.segments} segments; at most {most} and {MAX_CHARS}"
        return Rejected(Reason.MESSAGE_TOO_BIG, told)
    left_s = message.ttl_s - (now - message.created_at).total_seconds()
    return Sms(message.address, text, own.from_ or "", max(1, int(left_s)))
