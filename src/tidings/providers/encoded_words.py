"""Encoded words (RFC 2047), which relays quote as they got them. What they say can be read all the same."""

import re
from binascii import Error, a2b_base64, a2b_qp

_BEGINS = "=?"
# RFC 2047 §2, with the language of RFC 2231 §5. Who quotes a word may have cut it, so its end may be missing.
_WORD = re.compile(r"=\?([\w:.-]{1,40})(?:\*[\w-]{0,20})?\?([bq])\?([!->@-~]*)(?:\?=)?", re.ASCII | re.IGNORECASE)
_BETWEEN = re.compile(r"(?<=\?=)\s+(?==\?)")
# Those that mail is written in. Python has others by the side, which do more than read a character of a byte or some.
_CHARSETS = ("utf-8", "utf8", "us-ascii", "iso-", "windows-", "cp12", "koi8", "gb", "big5", "euc-", "shift_jis")


def decoded(text: str) -> str:
    """`text` with its encoded words decoded, on one line each; what can't be decoded stays as it is. Never raises.

    One pass, so a word in a word stays. The result is never longer than `text`.
    """
    if _BEGINS not in text:
        return text
    # RFC 2047 §6.2: blanks between two encoded words belong to neither.
    return _WORD.sub(_plain, _BETWEEN.sub("", text))


def _plain(word: re.Match[str]) -> str:
    charset, written = word[1].lower(), word[3]
    whole = written[: len(written) // 4 * 4]  # a group of four that was cut says nothing
    try:
        said = a2b_qp(written, header=True) if word[2] in "qQ" else a2b_base64(whole)
    except Error:
        return word[0]
    try:
        plain = said.decode(charset if charset.startswith(_CHARSETS) else "latin-1", "replace")
    except LookupError:
        plain = said.decode("latin-1")  # an address is ASCII nearly always
    return "".join(letter if letter.isprintable() else " " for letter in plain)
