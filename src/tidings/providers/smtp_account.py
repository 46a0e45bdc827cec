"""What email is sent with: a submission server (relay), who the sender is, and how its mail is signed.

Sources: RFC 6409 (submission), RFC 8314 (TLS on 465 and 587), RFC 6376 and 8463 (DKIM).
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Literal

import msgspec

from tidings.addresses import Guard
from tidings.discreet import Discreet
from tidings.providers.quoted import what_is_wrong
from tidings.providers.smtp_address import AddressError, read_address
from tidings.providers.smtp_dkim import Dkim, DkimError, load_signer

Security = Literal["tls", "starttls", "none"]
Vendor = Literal["", "ses", "sendgrid", "mailgun", "postmark"]

PORTS: dict[str, int] = {"tls": 465, "starttls": 587, "none": 25}

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")


class SmtpAccountError(ValueError):
    """The account can't be used; the text is one sentence that says what to do, and quotes no secret."""


class SmtpAccount(Discreet, frozen=True):
    """One relay and one sender. repr() shows neither password nor key.

    `port`: 0 is the usual one of `security`. `security`: `tls` from the first byte, `starttls` or nothing at all, which
    is taken for this machine only, unless `allow_plain`. `username`: "" for a relay that asks for none.
    `sender`, `sender_name`: the From of every mail. `return_path`: where bounces go, "" for the sender; with
    `verp`, `+<reference>` is added to its local part, so that every bounce names its delivery.
    `message_id_domain`: "" for the sender's. `vendor`: whose relay it is, for headers that its reports return;
    `configuration_set`: of SES, which sends no reports without one.

    `ca_pem`: more roots to trust. `guard`: which addresses `host` may lead to, None: any (the operator's account).
    `connections`: at most, at once. `messages_per_connection`: then it is closed. `idle_s`: an unused connection is
    closed after so long. `timeout_s`: for one mail, the wait for a free connection included. `connect_timeout_s`:
    for connection, TLS and login together. `retry_floor_s`: the least wait after a temporary refusal.
    """

    host: str
    sender: str
    port: int = 0
    security: Security = "starttls"
    username: str = ""
    password: str = ""
    sender_name: str = ""
    return_path: str = ""
    verp: bool = False
    dkim: Dkim | None = None
    message_id_domain: str = ""
    vendor: Vendor = ""
    configuration_set: str = ""
    allow_plain: bool = False
    ca_pem: bytes | None = None
    guard: Guard | None = None
    emulated: bool = False
    connections: int = 4
    messages_per_connection: int = 100
    idle_s: float = 20.0
    timeout_s: float = 60.0
    connect_timeout_s: float = 15.0
    retry_floor_s: float = 60.0

    def __repr__(self) -> str:
        return f"SmtpAccount({self.host!r}, port={self.at_port}, {self.security}, emulated={self.emulated})"

    @property
    def at_port(self) -> int:
        """The port to connect to."""
        return self.port or PORTS[self.security]


class _Given(Discreet, frozen=True, forbid_unknown_fields=True):
    """What an operator or a project may write; the rest of an account is not theirs to choose."""

    host: str
    sender: str
    port: int = 0
    security: Security = "starttls"
    username: str = ""
    password: str = ""
    sender_name: str = ""
    return_path: str = ""
    verp: bool = False
    dkim: Dkim | None = None
    message_id_domain: str = ""
    vendor: Vendor = ""
    configuration_set: str = ""
    allow_plain: bool = False


def parse_smtp_account(raw: bytes | str | Mapping[str, Any]) -> SmtpAccount:
    """The account from JSON text, or from the object it holds: the fields of `SmtpAccount` up to `allow_plain`.

    `dkim` is an object of `domain`, `selector` and `private_key`. SmtpAccountError names the field and what to do.
    """
    try:
        given = msgspec.convert(dict(raw) if isinstance(raw, Mapping) else msgspec.json.decode(raw), _Given)
    except msgspec.ValidationError as error:
        raise SmtpAccountError(f"the SMTP account: {what_is_wrong(error)}") from None
    except (msgspec.DecodeError, UnicodeError):
        raise SmtpAccountError("the SMTP account is not valid JSON: check quotes and commas") from None
    stripped: dict[str, Any] = {
        name: value.strip() if isinstance(value, str) and name != "password" else value
        for name, value in msgspec.structs.asdict(given).items()
    }
    stripped["host"] = stripped["host"].lower()
    account = SmtpAccount(**stripped)
    check(account)
    return account


def check(account: SmtpAccount) -> None:
    """Refuse an account that can't work, before any call. SmtpAccountError: one sentence."""
    if not is_host(account.host):
        raise SmtpAccountError("host of the SMTP account must be a name like smtp.example.org, without a port")
    if not 0 <= account.port <= 65535:
        raise SmtpAccountError("port of the SMTP account must be 1 to 65535; leave it out for the usual one")
    _check_login(account)
    _check_sender(account)
    if account.configuration_set and (account.vendor != "ses" or not _WORD.fullmatch(account.configuration_set)):
        raise SmtpAccountError("configuration_set of the SMTP account is a name for vendor ses; leave it out")
    if account.dkim is not None:
        try:
            load_signer(account.dkim)
        except DkimError as error:
            raise SmtpAccountError(str(error)) from None
    if not 1 <= account.connections <= 256 or account.messages_per_connection < 1:
        raise SmtpAccountError("connections must be 1 to 256, and messages_per_connection 1 or more")
    if not 0 < account.timeout_s <= 600 or not 0 < account.connect_timeout_s <= account.timeout_s / 2:
        raise SmtpAccountError("timeout_s must be over 0 and at most 600 seconds, connect_timeout_s at most half of it")
    if account.idle_s < 0 or account.retry_floor_s < 0:
        raise SmtpAccountError("idle_s and retry_floor_s of the SMTP account must not be below 0")


def is_host(text: str) -> bool:
    """Whether this is a lower-case host name, or an IP address without brackets."""
    return bool(_NAME.fullmatch(text)) or _is_ip(text)


def is_local(host: str) -> bool:
    """Whether the host is this machine, by its name or number."""
    return host == "localhost" or (_is_ip(host) and ip_address(host).is_loopback)


def _check_login(account: SmtpAccount) -> None:
    if account.security == "none" and not (account.allow_plain or is_local(account.host)):
        raise SmtpAccountError(
            "security none sends mail and password unencrypted: use starttls or tls, or set allow_plain if the "
            "network between is your own"
        )
    if bool(account.username) != bool(account.password):
        raise SmtpAccountError("username and password of the SMTP account belong together: give both or neither")
    if "\0" in account.username + account.password or "\n" in account.username + account.password:
        raise SmtpAccountError("username and password of the SMTP account can't hold line breaks or NUL")


def _check_sender(account: SmtpAccount) -> None:
    for field in ("sender", "return_path"):
        text = getattr(account, field)
        if field == "return_path" and not text:
            continue
        try:
            address = read_address(text)
        except AddressError as error:
            raise SmtpAccountError(f"{field} of the SMTP account must be an email address: {error}") from None
        if address.wide:
            raise SmtpAccountError(f"{field} of the SMTP account must be plain ASCII before the @: bounces need that")
    if not account.sender_name.isprintable() or len(account.sender_name) > 200:
        raise SmtpAccountError("sender_name of the SMTP account must be one line of at most 200 characters")
    if account.message_id_domain and not _NAME.fullmatch(account.message_id_domain):
        raise SmtpAccountError("message_id_domain of the SMTP account must be a domain like example.org, in ASCII")


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
