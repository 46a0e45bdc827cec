"""Header values: text that can't break out of its line, and what each vendor's relay reads from headers.

Sources: RFC 2047 (encoded words), RFC 5322 §3.2; SendGrid "Building an X-SMTPAPI Header", Mailgun "Sending via
SMTP", Postmark "Send email with SMTP" and "Custom metadata FAQ", SES "Specifying message tags".
"""

import re
from binascii import b2a_base64

import msgspec

from tidings.providers.smtp_account import Vendor

REFERENCE_KEY = "tidings_reference"
"""The name under which vendors keep the reference and return it. Postmark takes 20 characters."""

_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]{1,60}")
_PLAIN = re.compile(r"[ -~]{0,60}")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# With the frame `=?utf-8?b?…?=` an encoded word has 72 characters; RFC 2047 §2 allows 75.
_WORD_BYTES = 45


def one_line(text: str) -> str:
    """`text` with line ends and control characters as blanks, so that it can only ever be one header's value."""
    return _BREAKS.sub(" ", text).strip()


def encode_text(text: str) -> str:
    """An unstructured value (Subject): as it is when short and ASCII, else in encoded words, folded."""
    line = one_line(text)
    return line if _PLAIN.fullmatch(line) and "=?" not in line else _encoded_words(line)


def encode_phrase(text: str) -> str:
    """A display name: as it is, quoted, or in encoded words."""
    line = one_line(text)
    if not _PLAIN.fullmatch(line) or "=?" in line:
        return _encoded_words(line)
    if _ATOMS.fullmatch(line):
        return line
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"') + '"'


def vendor_headers(
    vendor: Vendor, reference: str, category: str | None, configuration_set: str = ""
) -> list[tuple[str, str]]:
    """What makes this vendor's reports return `reference`, and count by `category`.

    SES takes no dots in a tag's value, so the reference is in none: its reports hold our headers anyway.
    """
    match vendor:
        case "sendgrid":
            fields: dict[str, object] = {"unique_args": {REFERENCE_KEY: reference}} if reference else {}
            fields |= {"category": [category]} if category else {}
            return [("X-SMTPAPI", _json(fields))] if fields else []
        case "mailgun":
            found = [("X-Mailgun-Variables", _json({REFERENCE_KEY: reference}))] if reference else []
            return found + ([("X-Mailgun-Tag", category)] if category else [])
        case "postmark":
            found = [(f"X-PM-Metadata-{REFERENCE_KEY}", reference)] if reference else []
            return found + ([("X-PM-Tag", category)] if category else [])
        case "ses":
            found = [("X-SES-CONFIGURATION-SET", configuration_set)] if configuration_set else []
            return found + ([("X-SES-MESSAGE-TAGS", f"category={category}")] if category else [])
        case "":
            return []


def _json(fields: dict[str, object]) -> str:
    return msgspec.json.encode(fields).decode()


def _encoded_words(line: str) -> str:
    words: list[bytes] = [b""]
    for character in line:
        piece = character.encode(errors="replace")  # a character is never split, RFC 2047 §5
        if len(words[-1]) + len(piece) > _WORD_BYTES:
            words.append(b"")
        words[-1] += piece
    return "\r\n ".join(f"=?utf-8?b?{b2a_base64(word, newline=False).decode()}?=" for word in words)
