"""What a reply of SMTP means: `ROWS` is the whole table, the rest reads a reply for it.

The enhanced code (`5.1.1`, RFC 3463 and the IANA registry) says more than the three digits, so it counts first; where
relays are known to say something else with words (SES, SendGrid, Gmail), the words do. Only codes that are about
the address alone end an address: a spam filter's 550 must not.

Sources: RFC 5321 §4.2, RFC 3463, RFC 4954 §6, RFC 7504 (521, 556), RFC 7505 (5.1.10), RFC 7372 (5.7.26); SES "Amazon
SES SMTP response codes", SendGrid "Error messages", Google "SMTP error reference". `docs/providers/smtp.md` holds the
same table for operators.
"""

import re
from enum import StrEnum

from msgspec import Struct

from tidings.discreet import Discreet
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.quoted import hide
from tidings.providers.smtp_dialogue import Answer, Ended, Reply, Stage, Trouble

RETRY_FLOOR_S = 60.0
"""The least wait after a temporary refusal; greylisting and full mailboxes get five times that (RFC 6647 §2.1)."""

PATIENT = 5.0
MAX_DETAIL = 200


class Where(StrEnum):
    """The part of the dialogue a row is for."""

    OPENING = "opening"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"  # RCPT
    CONTENT = "content"  # DATA, and the reply to the body


_WHERE = {
    Stage.AUTH: Where.LOGIN,
    Stage.MAIL: Where.SENDER,
    Stage.RCPT: Where.RECIPIENT,
    Stage.DATA: Where.CONTENT,
    Stage.BODY: Where.CONTENT,
}


class Row(Struct, frozen=True):
    """One line of the table; it matches when all its conditions hold, None being no condition.

    `codes`: first and last. `enhanced`: all of the enhanced code, of its two last parts. `wait`: for Retry, in
    times of the account's floor.
    """

    codes: tuple[int, int]
    where: Where | None
    enhanced: re.Pattern[str] | None
    words: re.Pattern[str] | None
    kind: type[Retry] | type[Rejected] | type[Gone] | type[Paused]
    reason: Reason
    wait: float = 1.0
    account_wide: bool = False


def _code(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_ANY, _4XX, _5XX = (400, 599), (400, 499), (500, 599)
_RATE = _words(
    r"throttl|too many|too fast|\brate\b|limit exceeded|quota exceeded.*(sending|message)|(sending|message) quota"
)
_SENDER_WORDS = _words(
    r"address is not verified|verified sender|sender identity|unauthenticated senders|not owned by (the )?user"
    r"|(sending|your account)\b.{0,40}\b(paused|suspended|disabled)|not authori[sz]ed to send"
)
_USED_UP = _words(
    r"(sending|relay) (limit|quota)|(daily|hourly)\b.{0,30}\b(limit|quota)|credits exceeded|tenant has exceeded"
)
_NO_RELAY = _words(r"relay(ing)?\b.{0,20}\b(denied|not (permitted|allowed))|(unable|not (permitted|allowed)) to relay")
_NO_USER = _words(
    r"(user|recipient|mailbox|address|account)\b.{0,30}\b(unknown|not found|(does not|doesn.t) exist)"
    r"|no such (user|recipient|mailbox)|unknown (user|recipient)|no mailbox here|invalid (recipient|mailbox)"
)
_SIZE = _words(r"too (big|large)|size limit|exceeds.{0,20}\bsize|maximum.{0,20}\bsize")

# The first row that matches is the answer. The two last ones match everything, so there always is one.
ROWS: tuple[Row, ...] = (
    # Wherever they come: the account.
    Row((530, 530), None, None, None, Paused, Reason.CREDENTIALS),
    Row((534, 535), None, None, None, Paused, Reason.CREDENTIALS),
    Row((538, 538), None, None, None, Paused, Reason.CREDENTIALS),
    Row((432, 432), Where.LOGIN, None, None, Paused, Reason.CREDENTIALS),  # a new password is due, RFC 4954 §6
    Row(_ANY, None, None, _USED_UP, Retry, Reason.RATE_LIMITED, PATIENT, account_wide=True),
    Row((421, 421), None, None, _RATE, Retry, Reason.RATE_LIMITED, account_wide=True),
    Row((421, 421), None, None, None, Retry, Reason.UNAVAILABLE, account_wide=True),
    Row((454, 454), None, None, _RATE, Retry, Reason.RATE_LIMITED, account_wide=True),
    Row((454, 454), None, None, None, Retry, Reason.UNAVAILABLE, account_wide=True),
    # Before there is a mail.
    Row(_4XX, Where.OPENING, None, None, Retry, Reason.UNAVAILABLE, account_wide=True),
    Row(_5XX, Where.OPENING, None, None, Paused, Reason.CREDENTIALS),
    Row(_4XX, Where.LOGIN, None, _RATE, Retry, Reason.RATE_LIMITED, account_wide=True),
    Row(_4XX, Where.LOGIN, None, None, Retry, Reason.UNAVAILABLE, account_wide=True),
    Row(_5XX, Where.LOGIN, None, None, Paused, Reason.CREDENTIALS),
    Row(_ANY, None, None, _SENDER_WORDS, Paused, Reason.CREDENTIALS),  # SendGrid: by a 403
    # At MAIL nothing but our sender and the size was said.
    Row((552, 552), Where.SENDER, None, None, Rejected, Reason.MESSAGE_TOO_BIG),
    Row(_5XX, Where.SENDER, _code(r"[23]\.[34]"), None, Rejected, Reason.MESSAGE_TOO_BIG),
    Row(_5XX, Where.SENDER, _code(r"[17]\.\d+"), None, Paused, Reason.CREDENTIALS),
    Row((500, 504), Where.SENDER, None, None, Rejected, Reason.INVALID_MESSAGE),
    Row((555, 555), Where.SENDER, None, None, Rejected, Reason.INVALID_MESSAGE),
    Row(_5XX, Where.SENDER, None, None, Paused, Reason.CREDENTIALS),
    Row(_4XX, Where.SENDER, None, _RATE, Retry, Reason.RATE_LIMITED, account_wide=True),
    Row(_4XX, Where.SENDER, None, None, Retry, Reason.UNAVAILABLE, account_wide=True),
    # The address.
    Row(_5XX, None, _code(r"1\.(?:1|2|3|10)"), None, Gone, Reason.INVALID_ADDRESS),
    Row(_5XX, None, _code(r"1\.6"), None, Gone, Reason.UNREGISTERED),
    Row((551, 551), Where.RECIPIENT, None, None, Gone, Reason.UNREGISTERED),
    Row((556, 556), Where.RECIPIENT, None, None, Gone, Reason.INVALID_ADDRESS),
    Row(_5XX, None, _code(r"2\.[12]"), None, Rejected, Reason.UNAVAILABLE),  # disabled or full: maybe not for ever
    Row(_4XX, None, _code(r"2\.[12]"), None, Retry, Reason.UNAVAILABLE, PATIENT),
    # The account again, in words.
    Row(_5XX, Where.RECIPIENT, None, _NO_RELAY, Paused, Reason.CREDENTIALS),
    # The mail.
    Row(_5XX, None, _code(r"2\.3|3\.4"), None, Rejected, Reason.MESSAGE_TOO_BIG),
    Row((523, 523), None, None, None, Rejected, Reason.MESSAGE_TOO_BIG),
    Row(_5XX, None, _code(r"6\.\d+"), None, Rejected, Reason.INVALID_MESSAGE),
    Row(_5XX, None, _code(r"7\.\d+"), None, Rejected, Reason.INVALID_MESSAGE),
    Row(_5XX, None, _code(r"5\.\d+"), None, Rejected, Reason.INVALID_MESSAGE),
    Row(_5XX, None, _code(r"[134]\.\d+"), None, Rejected, Reason.UNAVAILABLE),
    # No enhanced code, or one that says nothing (5.0.0).
    Row((552, 552), Where.CONTENT, None, _SIZE, Rejected, Reason.MESSAGE_TOO_BIG),
    Row((552, 552), None, None, None, Rejected, Reason.UNAVAILABLE),
    Row(_5XX, Where.RECIPIENT, None, _NO_USER, Gone, Reason.INVALID_ADDRESS),
    Row(_5XX, None, None, None, Rejected, Reason.INVALID_MESSAGE),
    # For now.
    Row(_4XX, None, None, _RATE, Retry, Reason.RATE_LIMITED),
    Row(_4XX, Where.RECIPIENT, _code(r"7\.\d+"), None, Retry, Reason.UNAVAILABLE, PATIENT),  # greylisting
    Row(_4XX, None, _code(r"3\.\d+"), None, Retry, Reason.UNAVAILABLE, account_wide=True),
    Row((450, 450), None, None, None, Retry, Reason.UNAVAILABLE, PATIENT),
    Row((452, 452), None, None, None, Retry, Reason.UNAVAILABLE, PATIENT),
    Row((0, 999), None, None, None, Retry, Reason.UNAVAILABLE),  # 451, and what makes no sense
)

_ENHANCED = re.compile(r"([245])\.(\d{1,3}\.\d{1,3})(?!\d)")
_ADDRESS = re.compile(r"[^\s<>\"'(),:;]+@[^\s<>\"'(),:;]+")
_URL = re.compile(r"https?://\S+")
_QUEUED = re.compile(r"queued (?:mail )?as:?\s+<?([\w.@+=-]{4,200})", re.IGNORECASE)
_OK_ID = re.compile(r"(?:[25]\.\d\.\d\s+)?ok:?\s+([\w.-]{8,200})", re.IGNORECASE)


class Told(Discreet, frozen=True):
    """A reply, read. `code`: with the class of the enhanced code, when that contradicts (RFC 3463 §3). `enhanced`:
    its two last parts, "" when there is none or `0.0`."""

    code: int
    where: Where
    enhanced: str
    text: str


def outcome_of(answer: Answer, floor_s: float = RETRY_FLOOR_S, secrets: tuple[str, ...] = ()) -> Outcome:
    """The meaning of the reply that decided about a mail. `secrets`, addresses and links are masked in its `detail`."""
    reply = answer.reply
    if answer.stage is Stage.BODY and 200 <= reply.code < 300:
        return Sent(queue_id(reply))
    told = read(answer)
    row = row_for(told)
    detail = mask(f"{reply.code} {reply.text}", secrets)
    if row.kind is Retry:
        return Retry(row.reason, detail, row.wait * floor_s, row.account_wide)
    if row.kind is Paused:
        return Paused(row.reason, detail)
    return row.kind(row.reason, detail)


def outcome_of_trouble(trouble: Trouble, floor_s: float = RETRY_FLOOR_S, secrets: tuple[str, ...] = ()) -> Outcome:
    """The meaning of a dialogue that ended without one. Only when it broke after the body may the relay have it."""
    detail = mask(str(trouble), secrets)
    match trouble.ended:
        case Ended.REFUSED if trouble.reply is not None:
            return outcome_of(Answer(trouble.stage, trouble.reply), floor_s, secrets)
        case Ended.UNSUPPORTED if trouble.stage is Stage.RCPT:
            return Rejected(Reason.INVALID_MESSAGE, detail)
        case Ended.TLS | Ended.UNSUPPORTED:
            return Paused(Reason.CREDENTIALS, detail)
        case Ended.FORBIDDEN:
            return Paused(Reason.FORBIDDEN_ADDRESS, detail)
    maybe_taken = trouble.stage is Stage.BODY
    reason = Reason.TIMEOUT if trouble.ended is Ended.TIMED_OUT else Reason.CONNECTION
    return Retry(reason, detail, floor_s if maybe_taken else None, maybe_taken=maybe_taken)


def row_for(told: Told) -> Row:
    """The first row of the table that matches."""
    return next(row for row in ROWS if _matches(row, told))


def read(answer: Answer) -> Told:
    """A reply, read for the table: never raises, whatever the text is."""
    reply = answer.reply
    code, enhanced = reply.code, ""
    if found := _ENHANCED.match(reply.text.lstrip()):
        enhanced = "" if found[2] == "0.0" else found[2]
        if found[1] in "45" and reply.code >= 400 and int(found[1]) != reply.code // 100:
            code = int(found[1]) * 100 + reply.code % 100
    return Told(code, _WHERE.get(answer.stage, Where.OPENING), enhanced, reply.text)


def queue_id(reply: Reply) -> str | None:
    """The relay's own id of a mail that it took, when it says one."""
    text = reply.text.replace("\n", " ")
    found = _QUEUED.search(text) or _OK_ID.match(text)
    return found[1] if found else None


def mask(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` on one line without `secrets`, addresses and links, and not longer than 200 characters."""
    line = _ADDRESS.sub("<hidden>", _URL.sub("<link>", hide(text, secrets)))
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= MAX_DETAIL else line[: MAX_DETAIL - 1] + "…"


def _matches(row: Row, told: Told) -> bool:
    return (
        row.codes[0] <= told.code <= row.codes[1]
        and (row.where is None or row.where is told.where)
        and (row.enhanced is None or row.enhanced.fullmatch(told.enhanced) is not None)
        and (row.words is None or row.words.search(told.text) is not None)
    )
