"""An email address as SMTP needs it: checked, the domain in ASCII, and whether the relay must know SMTPUTF8.

Sources: RFC 5321 §4.1.2 and §4.5.3.1 (form and lengths), RFC 6531 (addresses beyond ASCII), RFC 5891 (IDNA).
"""

import re

import idna

from tidings.discreet import Discreet

MAX_ADDRESS_BYTES = 254
MAX_LOCAL_BYTES = 64

# A dot-atom. Quoted local parts ("a b"@example.org) are refused: nobody has one, and they are how attacks begin.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN = re.compile(
    rf"{_ATOM}(?:\.{_ATOM})*@(?=.{{1,253}}\Z)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?\.)+"
    rf"[A-Za-z][A-Za-z0-9-]{{0,61}}[A-Za-z0-9]",
    re.ASCII,
)
_WIDE_ATOM = rf"(?:{_ATOM[:-1]}|[^\x00-\x7f])+"
_WIDE_LOCAL = re.compile(rf"{_WIDE_ATOM}(?:\.{_WIDE_ATOM})*")


class AddressError(ValueError):
    """This is no email address; the text says why and does not quote it."""


class EmailAddress(Discreet, frozen=True):
    """`text`: local part as given, domain in lower-case ASCII. `wide`: the local part is not ASCII (SMTPUTF8)."""

    text: str
    wide: bool = False

    def __repr__(self) -> str:
        return "EmailAddress(…)"

    @property
    def domain(self) -> str:
        return self.text.rpartition("@")[2]


def read_address(text: str) -> EmailAddress:
    """The address in `text`, without a name or angle brackets. AddressError for anything else."""
    # fullmatch: `$` would let a line break at the end through, and with it whatever a caller writes behind it.
    if len(text) > MAX_ADDRESS_BYTES:
        raise AddressError("the address is too long")
    if _PLAIN.fullmatch(text) is None:
        return _read_wide(text)
    return _fitting(*text.rsplit("@", 1), wide=False)


def _read_wide(text: str) -> EmailAddress:
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise AddressError("an email address has a local part, an @ and a domain")
    if _WIDE_LOCAL.fullmatch(local) is None or not local.isprintable() or " " in local:
        raise AddressError("the part before the @ holds a character that it can't")
    try:
        ascii_domain = idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise AddressError("the part behind the @ is no domain name") from None
    if _PLAIN.fullmatch(f"a@{ascii_domain}") is None:
        raise AddressError("the part behind the @ is no domain name")
    return _fitting(local, ascii_domain, wide=not local.isascii())


def _fitting(local: str, domain: str, *, wide: bool) -> EmailAddress:
    size = len(local.encode()) if wide else len(local)
    if size > MAX_LOCAL_BYTES or size + 1 + len(domain) > MAX_ADDRESS_BYTES:
        raise AddressError("the address is too long")
    return EmailAddress(f"{local}@{domain.lower()}", wide)
