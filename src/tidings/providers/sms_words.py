"""The words by which a person says over SMS that they want no more messages, or want them again."""

from tidings.providers.contract import Fate

# CTIA's Short Code Monitoring Handbook and Twilio's "Support for opt-out keywords" name these for English.
STOP = frozenset(
    {"STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "OPT-OUT", "OPT OUT", "REVOKE"}
)
START = frozenset({"START", "YES", "UNSTOP"})


def fate_of(text: str) -> Fate | None:
    """OPTED_OUT for a word of `STOP`, OPTED_IN for one of `START`, None for anything else.

    The word must be the whole message; case, space around it and a full stop or exclamation mark don't matter.
    """
    if len(text) > 40:
        return None
    word = " ".join(text.strip(" \t\r\n.!\"'").upper().split())
    if word in STOP:
        return Fate.OPTED_OUT
    return Fate.OPTED_IN if word in START else None
