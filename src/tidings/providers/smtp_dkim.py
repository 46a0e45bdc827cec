"""DKIM signatures (RFC 6376, and RFC 8463 for Ed25519), relaxed/relaxed, made with the `cryptography` library.

The well-known `dkimpy` verifies them in the tests and in the emulator. It does not sign here because it computes
RSA in Python: 7.3 ms for a mail with a 2048-bit key, during which nothing else runs, against 0.3 ms.
"""

import base64
import hashlib
import re
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tidings.discreet import Discreet

# What is signed when it is there, in this order. Both headers of one-click unsubscribing must be (RFC 8058 §4).
# From stands twice: a second one that somebody adds on the way breaks the signature (RFC 6376 §8.15).
SIGNED = (
    "from",
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-id",
    "feedback-id",
    "auto-submitted",
)
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+")
_SELECTOR = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_BLANKS = re.compile(rb"[ \t]+")
_HEADER_BLANKS = re.compile(rb"[ \t\r\n]+")


class DkimError(ValueError):
    """The key can't be used; the text is one sentence that says what to do and never quotes a key."""


class Dkim(Discreet, frozen=True, forbid_unknown_fields=True):
    """Who signs. The public key stands in the DNS at `<selector>._domainkey.<domain>`. repr() shows no key.

    `private_key`: PEM without a password; RSA of 1024 bits or more (2048 is right), or Ed25519, which not all
    receivers know yet.
    """

    domain: str
    selector: str
    private_key: str

    def __repr__(self) -> str:
        return f"Dkim({self.domain!r}, selector={self.selector!r})"


class Signer(Discreet, frozen=True):
    """A key, ready to sign. repr() shows no key."""

    domain: str
    selector: str
    key: RSAPrivateKey | Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Signer({self.domain!r}, selector={self.selector!r})"

    @property
    def algorithm(self) -> str:
        return "rsa-sha256" if isinstance(self.key, RSAPrivateKey) else "ed25519-sha256"

    def record(self) -> str:
        """The TXT record that receivers must find in the DNS."""
        public = self.key.public_key()
        if isinstance(self.key, RSAPrivateKey):
            raw = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return f"v=DKIM1; k=rsa; p={base64.b64encode(raw).decode()}"
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"


def load_signer(dkim: Dkim) -> Signer:
    """The signer of an account. DkimError says which field is wrong."""
    domain = dkim.domain.strip().lower()
    if not _DOMAIN.fullmatch(domain):
        raise DkimError("dkim.domain of the SMTP account must be a domain like example.org, in ASCII")
    if not _SELECTOR.fullmatch(dkim.selector):
        raise DkimError("dkim.selector of the SMTP account must be a short name like mail2026")
    try:
        key = load_pem_private_key(dkim.private_key.encode(), password=None)
    except TypeError:
        raise DkimError("dkim.private_key of the SMTP account is encrypted: store the key without password") from None
    except ValueError:
        raise DkimError("dkim.private_key of the SMTP account must be a PEM key, with its line breaks") from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < 1024:
            raise DkimError("dkim.private_key of the SMTP account is too short: make one of 2048 bits")
    elif not isinstance(key, Ed25519PrivateKey):
        raise DkimError("dkim.private_key of the SMTP account must be an RSA or Ed25519 key")
    return Signer(domain, dkim.selector, key)


def sign(signer: Signer, headers: Sequence[tuple[str, str]], body: bytes, at_s: int) -> str:
    """The value of the DKIM-Signature header for these headers (as they will stand in the mail) and this body.

    `body`: with CRLF line ends. `at_s`: Unix time of the signature. The same input gives the same signature.
    """
    present = {name.lower(): value for name, value in headers}  # we write no header twice
    named: list[str] = []
    canonical: list[bytes] = []
    for name in SIGNED:
        if name in present:
            if name not in named:
                canonical.append(_canonical_header(name, present[name]))
            named.append(name)
    digest = base64.b64encode(hashlib.sha256(canonical_body(body)).digest()).decode()
    value = (
        f"v=1; a={signer.algorithm}; c=relaxed/relaxed; d={signer.domain};\r\n s={signer.selector}; t={at_s};\r\n"
        f" h={_folded(named)};\r\n bh={digest};\r\n b="
    )
    canonical.append(_canonical_header("dkim-signature", value).removesuffix(b"\r\n"))
    signature = base64.b64encode(_signature(signer, b"".join(canonical))).decode()
    return value + "\r\n ".join(signature[at : at + 72] for at in range(0, len(signature), 72))


def canonical_body(body: bytes) -> bytes:
    """The body by the relaxed algorithm, RFC 6376 §3.4.4."""
    if b"  " in body or b"\t" in body or b" \r\n" in body:
        body = _BLANKS.sub(b" ", body).replace(b" \r\n", b"\r\n")
    trimmed = body.rstrip(b"\r\n")
    return trimmed + b"\r\n" if trimmed else b""


def _canonical_header(name: str, value: str) -> bytes:
    """One header by the relaxed algorithm, RFC 6376 §3.4.2."""
    text = _HEADER_BLANKS.sub(b" ", value.encode()).strip(b" ")
    return name.encode() + b":" + text + b"\r\n"


def _signature(signer: Signer, data: bytes) -> bytes:
    if isinstance(signer.key, RSAPrivateKey):
        return signer.key.sign(data, PKCS1v15(), hashes.SHA256())
    return signer.key.sign(hashlib.sha256(data).digest())  # RFC 8463 §3: the hash is what is signed


def _folded(names: Sequence[str]) -> str:
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) < 70:
            lines[-1] += f":{name}"
        else:
            lines.append(name)
    return ":\r\n  ".join(lines)
