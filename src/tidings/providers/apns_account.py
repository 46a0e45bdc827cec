"""What APNs is sent with: a provider token's key (`.p8`) or a push certificate, parsed and checked.

Sources: Apple, "Establishing a token-based connection to APNs" and "Establishing a certificate-based
connection to APNs".
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tidings.discreet import Discreet
from tidings.providers.account_checks import check_base_url, check_calls
from tidings.providers.quoted import what_is_wrong

Environment = Literal["production", "development"]

HOSTS: dict[str, str] = {
    "production": "https://api.push.apple.com",
    "development": "https://api.sandbox.push.apple.com",
}
UNAVAILABLE_WAIT_S = 900.0
"""Apple asks for 15 minutes before a repeat after a 5xx ("Handling notification responses")."""

MAX_TOPICS = 16
_TEN = re.compile(r"[A-Z0-9]{10}")
_TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,154}")


class ApnsAccountError(ValueError):
    """The account can't be used; the text is one sentence for the person who configures it."""


class ApnsAccount(Discreet, frozen=True):
    """One team's key, or one certificate, in one environment. repr() shows neither.

    Either `key_id`, `team_id` and `private_key` (the text of the `.p8` file), or `certificate` (PEM: the
    certificate, its key, and what stands between it and the root, in any order).
    `topic`: the app's bundle id, used unless a notification names one of `more_topics`; each has connections
    of its own, because APNs ties bundle ids to a connection. With a certificate it may be empty: then it is
    the certificate's own. `base_url`: instead of the environment's host; http only for the emulator.
    `timeout_s`: for one call. `connections`: for each bundle id. `unavailable_wait_s`: the least wait after
    a 5xx.
    """

    topic: str = ""
    key_id: str = ""
    team_id: str = ""
    private_key: str = ""
    certificate: str = ""
    more_topics: tuple[str, ...] = ()
    environment: Environment = "production"
    base_url: str | None = None
    ca_pem: bytes | None = None
    emulated: bool = False
    timeout_s: float = 15.0
    connections: int = 2
    unavailable_wait_s: float = UNAVAILABLE_WAIT_S

    def __repr__(self) -> str:
        with_what = f"key {self.key_id!r}" if self.private_key else "certificate"
        return f"ApnsAccount({with_what}, {self.environment}, topic={self.topic!r})"

    @property
    def url(self) -> str:
        """Where devices are reached, without a trailing slash."""
        return (self.base_url or HOSTS[self.environment]).rstrip("/")

    @property
    def expires_at(self) -> datetime | None:
        """When the certificate ends, UTC; None for a key, which has no end. ApnsAccountError: unreadable."""
        return load_certificate(self)[0].not_valid_after_utc if self.certificate else None


class _Given(Discreet, frozen=True, forbid_unknown_fields=True):
    """What an operator may write; the rest of an account is not theirs to choose."""

    topic: str = ""
    key_id: str = ""
    team_id: str = ""
    private_key: str = ""
    certificate: str = ""
    more_topics: tuple[str, ...] = ()
    environment: Environment = "production"


def parse_apns_account(raw: bytes | str | Mapping[str, Any]) -> ApnsAccount:
    """The account from JSON text, or from the object it holds: `topic`, `more_topics`, `environment` and
    either `key_id`, `team_id`, `private_key` or `certificate`.

    ApnsAccountError names the field that is missing, bad or unknown, and never quotes a key.
    """
    try:
        given = msgspec.convert(dict(raw) if isinstance(raw, Mapping) else msgspec.json.decode(raw), _Given)
    except msgspec.ValidationError as error:
        raise ApnsAccountError(f"the APNs account: {what_is_wrong(error)}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ApnsAccountError("the APNs account is not valid JSON") from error
    texts = ("topic", "key_id", "team_id", "private_key", "certificate")
    stripped: dict[str, Any] = {name: getattr(given, name).strip() for name in texts}
    account = ApnsAccount(**stripped, more_topics=given.more_topics, environment=given.environment)
    if account.certificate and not account.topic:
        account = msgspec.structs.replace(account, topic=certificate_topic(account))
    check(account)
    return account


def check(account: ApnsAccount) -> None:
    """Refuse an account that can't work, before any call. ApnsAccountError or ValueError: one sentence."""
    if bool(account.private_key) == bool(account.certificate):
        raise ApnsAccountError("an APNs account needs either private_key or certificate")
    if account.private_key:
        for name, value in (("key_id", account.key_id), ("team_id", account.team_id)):
            if not _TEN.fullmatch(value):
                raise ApnsAccountError(f"{name} of the APNs account must be 10 capital letters and digits")
        load_key(account)
    else:
        load_certificate(account)
    topics = (account.topic, *account.more_topics)
    if not all(_TOPIC.fullmatch(topic) for topic in topics):
        raise ApnsAccountError("topic of the APNs account must be a bundle id, such as com.example.shop")
    if len(topics) > MAX_TOPICS:
        raise ApnsAccountError(f"an APNs account takes at most {MAX_TOPICS} topics: each has its connections")
    _check_calls(account)


def load_key(account: ApnsAccount) -> ec.EllipticCurvePrivateKey:
    """The signing key of `private_key`. ApnsAccountError: encrypted, no PEM, or not on the curve P-256."""
    key = _private_key(account.private_key, "private_key")
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ApnsAccountError("private_key of the APNs account is not an elliptic-curve key (a .p8 file is)")
    if not isinstance(key.curve, ec.SECP256R1):
        raise ApnsAccountError(f"private_key of the APNs account is on {key.curve.name}, APNs takes P-256")
    return key


def load_certificate(account: ApnsAccount) -> tuple[x509.Certificate, PrivateKeyTypes]:
    """The certificate of `certificate` and its key. ApnsAccountError: one is missing, or they are no pair."""
    key = _private_key(account.certificate, "certificate")
    chain = _certificates(account)
    mine = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for leaf in chain:
        if leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == mine:
            return leaf, key
    raise ApnsAccountError("certificate of the APNs account: the key belongs to none of its certificates")


def identity(account: ApnsAccount) -> bytes | None:
    """What to show, PEM: the certificate, what stands between it and the root, and the key. None: the account has a
    token's key instead. ApnsAccountError as `load_certificate`."""
    if not account.certificate:
        return None
    leaf, key = load_certificate(account)
    others = [other for other in _certificates(account) if other != leaf]
    return b"".join(
        [
            *(each.public_bytes(Encoding.PEM) for each in (leaf, *others)),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ]
    )


def certificate_topic(account: ApnsAccount) -> str:
    """The bundle id that the certificate was made for (the UID of its subject), empty when it names none."""
    names = load_certificate(account)[0].subject.get_attributes_for_oid(x509.NameOID.USER_ID)
    return str(names[0].value) if names else ""


def _certificates(account: ApnsAccount) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(account.certificate.encode())
    except ValueError as error:
        raise ApnsAccountError("certificate of the APNs account holds no PEM certificate") from error


def _private_key(pem: str, field: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem.encode(), password=None)
    except TypeError as error:
        raise ApnsAccountError(f"{field} of the APNs account is encrypted: store the key without") from error
    except ValueError as error:
        raise ApnsAccountError(
            f"{field} of the APNs account must hold an unencrypted PEM key, with its line breaks"
        ) from error


def _check_calls(account: ApnsAccount) -> None:
    because = "tokens and devices travel over it"
    check_base_url(account.url, HOSTS["production"], emulated=account.emulated, because=because)
    if not account.emulated and not (urlsplit(account.url).hostname or "").endswith(".push.apple.com"):
        raise ValueError(f"base_url must be an https URL of push.apple.com: {because}")
    check_calls(timeout_s=account.timeout_s, connections=account.connections)
    if not 0 <= account.unavailable_wait_s <= 3600:
        raise ValueError("unavailable_wait_s must be 0 to 3600 seconds")
