"""A certificate authority and a server certificate for this machine, made in memory, for emulators only.

Nothing is written to disk except, for the blink that `ssl` needs to load it, the server's key in a private
temporary directory.
"""

import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from tidings import clock

_VALID = timedelta(days=365)
# A day back, so that a peer whose clock is behind accepts it too.
_EARLY = timedelta(days=1)


class Certificate(Struct, frozen=True):
    """`ca_pem` is what clients trust; `chain_pem` and `key_pem` are the server's own."""

    ca_pem: bytes
    chain_pem: bytes
    key_pem: bytes


def make(names: Sequence[str] = (), now: datetime | None = None) -> Certificate:
    """A fresh authority (EC P-256) and a server certificate, both for a year.

    The certificate is for localhost, 127.0.0.1, ::1 and the further DNS `names`.
    """
    now = now or clock.now()
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Tidings emulator CA")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    subjects: list[x509.GeneralName] = [x509.DNSName(name) for name in ("localhost", *names)]
    subjects += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    leaf = (
        _builder(_name("localhost"), ca_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return Certificate(ca.public_bytes(pem), leaf.public_bytes(pem), key_pem)


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """A server's TLS settings: TLS 1.2 or later, ALPN h2 before http/1.1. Blocks for a small file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    with tempfile.TemporaryDirectory(prefix="tidings-tls-") as folder:  # Only its owner may look inside.
        path = Path(folder) / "server.pem"
        path.write_bytes(certificate.key_pem + certificate.chain_pem)
        context.load_cert_chain(path)
    return context


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now - _EARLY + _VALID)
    )


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
