"""Magic recipients: every answer a relay can give, provoked by the local part of an email address.

A local part that begins with one of these words gets the reply beside it; what follows the word is free
(`full-7@example.org`), so each test can have its own. Any other address is a good one. "At" tells which command gets
the reply, "taken" whether the mail reaches the mailbox. `<n>` and `<ms>` are whole numbers.

==========================  ====  =====  ====  =====  ====================================================
local part begins with      at    code   enh.  taken  remark
==========================  ====  =====  ====  =====  ====================================================
``unknown-user``            RCPT  550    5.1.1 no
``unknown-domain``          RCPT  550    5.1.2 no
``bad-syntax``              RCPT  553    5.1.3 no
``moved``                   RCPT  551    5.1.6 no
``null-mx``                 RCPT  556    5.1.10 no    the domain takes no mail at all (RFC 7505)
``no-such-user``            RCPT  550    \\-    no     in words only
``disabled``                RCPT  550    5.2.1 no
``full-for-now``            RCPT  452    4.2.2 no
``full``                    RCPT  552    5.2.2 no
``busy``                    RCPT  450    4.2.1 no
``greylist-<n>``            RCPT  451    4.7.1 later  refused n times for each address, then passes
``greylist``                RCPT  451    4.7.1 later  refused once
``flaky-<n>``               RCPT  451    4.3.0 later  refused n times for each address, then passes
``throttled``               RCPT  421    4.7.0 no     and the connection is closed
``too-fast``                RCPT  454    4.7.0 no     as SES says it: the account sends too fast
``no-room``                 RCPT  452    4.3.1 no     the relay's own disk
``relay-denied``            RCPT  554    5.7.1 no
``login-needed``            RCPT  530    5.7.0 no     as if nobody had logged in
``bad-login``               RCPT  535    5.7.8 no
``syntax``                  RCPT  501    5.5.4 no
``sequence``                RCPT  503    5.5.1 no
``parameter``               RCPT  555    5.5.4 no
``too-big``                 body  552    5.3.4 no
``bad-content``             body  554    5.6.0 no
``spam``                    body  554    5.7.1 no
``unauthenticated``         body  550    5.7.26 no    SPF and DKIM do not pass, or are not aligned
``not-verified``            body  554    \\-    no     as SES says it in its sandbox
``daily-quota``             body  550    5.4.5 no     as Gmail says it
``garbage``                 body  \\-     \\-    yes    a line that is not SMTP
``latency-<ms>``            body  250    2.0.0 yes    that much later
``drop-once``               RCPT  cut    \\-    later  the first time for each address
``drop-after-data``         body  cut    \\-    no     the connection is cut instead of an answer
``drop``                    RCPT  cut    \\-    no
``lost``                    body  cut    \\-    yes    taken, then the connection is cut
``timeout``                 body  never  \\-    no     no answer for two minutes, then a cut
``bounced``                 body  250    2.0.0 yes    and a bounce (RFC 3464) comes to the return path
``complained``              body  250    2.0.0 yes    and a complaint (RFC 5965) comes to the return path
==========================  ====  =====  ====  =====  ====================================================
"""

import re
from collections import OrderedDict

from msgspec import Struct

from tidings.emulators.faults import NEVER_S

_REMEMBERED = 100_000


class Play(Struct, frozen=True):
    """What happens to one mail. `reply` "": the ordinary one. `at_rcpt`: there, else after the body.

    `cut`: the connection ends, after the reply if there is one. `taken`: the mail is taken first. `delay_s`: before
    anything else. `report`: what comes back to the return path.
    """

    reply: str = ""
    at_rcpt: bool = True
    cut: bool = False
    taken: bool = False
    delay_s: float = 0.0
    report: str = ""


def _late(reply: str = "", *, cut: bool = False, taken: bool = False, delay_s: float = 0.0, report: str = "") -> Play:
    return Play(reply, False, cut, taken, delay_s, report)


# The first word that fits wins: longer ones stand before the shorter ones that they begin with.
_FIXED: tuple[tuple[str, Play], ...] = (
    ("unknown-user", Play("550 5.1.1 The email account that you tried to reach does not exist")),
    ("unknown-domain", Play("550 5.1.2 Bad destination system address")),
    ("bad-syntax", Play("553 5.1.3 Bad destination mailbox address syntax")),
    ("moved", Play("551 5.1.6 User not local; mailbox has moved")),
    ("null-mx", Play("556 5.1.10 Recipient address has a null MX")),
    ("no-such-user", Play("550 No such user here")),
    ("disabled", Play("550 5.2.1 The email account that you tried to reach is disabled")),
    ("full-for-now", Play("452 4.2.2 The recipient's mailbox is over quota")),
    ("full", Play("552 5.2.2 The recipient's mailbox is over quota")),
    ("busy", Play("450 4.2.1 Mailbox temporarily unavailable")),
    ("throttled", Play("421 4.7.0 Try again later, closing connection", cut=True)),
    ("too-fast", Play("454 4.7.0 Throttling failure: Maximum sending rate exceeded.")),
    ("no-room", Play("452 4.3.1 Insufficient system storage")),
    ("relay-denied", Play("554 5.7.1 Relay access denied")),
    ("login-needed", Play("530 5.7.0 Authentication required")),
    ("bad-login", Play("535 5.7.8 Authentication credentials invalid")),
    ("syntax", Play("501 5.5.4 Syntax error in parameters")),
    ("sequence", Play("503 5.5.1 Bad sequence of commands")),
    ("parameter", Play("555 5.5.4 RCPT TO parameters not recognized")),
    ("too-big", _late("552 5.3.4 Message size exceeds fixed maximum message size")),
    ("bad-content", _late("554 5.6.0 Message content is not acceptable")),
    ("spam", _late("554 5.7.1 Message rejected as spam")),
    ("unauthenticated", _late("550 5.7.26 This mail has been blocked because the sender is unauthenticated")),
    ("not-verified", _late("554 Message rejected: Email address is not verified.")),
    ("daily-quota", _late("550 5.4.5 Daily user sending limit exceeded")),
    ("garbage", _late("OK", taken=True)),
    ("drop-after-data", _late(cut=True)),
    ("drop", Play(cut=True)),
    ("lost", _late(cut=True, taken=True)),
    ("timeout", _late(cut=True, delay_s=NEVER_S)),
    ("bounced", _late(report="bounce")),
    ("complained", _late(report="complaint")),
)
_NUMBERED = re.compile(r"(greylist|flaky|latency)-(\d{1,6})")
_ANY = (*(word for word, _ in _FIXED), "greylist", "flaky-", "latency-")


class MagicRecipients:
    """Knows the words, and how often each address was refused (the last 100,000 of them)."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, int] = OrderedDict()

    def play(self, address: str) -> Play | None:
        """What the address asks for, None for an ordinary one."""
        if not address.startswith(_ANY):
            return None
        word, number = address, 1
        if numbered := _NUMBERED.match(address):
            word, number = numbered[1], int(numbered[2])
        if word.startswith("greylist"):
            return self._failing(address, number, Play("451 4.7.1 Greylisted, please try again in five minutes"))
        if word == "flaky":
            return self._failing(address, number, Play("451 4.3.0 Requested action aborted: local error"))
        if word == "latency":
            return _late(delay_s=min(number, 120_000) / 1000)
        if word.startswith("drop-once"):
            return self._failing(address, 1, Play(cut=True))
        return next((play for known, play in _FIXED if word.startswith(known)), None)

    def _failing(self, address: str, times: int, failure: Play) -> Play | None:
        failed = self._failed.get(address, 0)
        if failed >= times:
            return None
        self._failed[address] = failed + 1
        self._failed.move_to_end(address)
        if len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)
        return failure

    def forget(self) -> None:
        """Addresses that fail for a while start again."""
        self._failed.clear()
