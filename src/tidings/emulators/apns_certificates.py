"""Push certificates for the emulated APNs: what Apple's developer site would issue for a bundle id."""

import ssl
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from tidings import clock

_VALID = timedelta(days=365)
_EARLY = timedelta(days=1)


class PushCertificate(Struct, frozen=True):
    """`pem`: certificate and key in one text, as a sender is configured with. `ca_pem`: its issuer."""

    pem: str
    ca_pem: str


def make(topic: str, valid: timedelta = _VALID) -> PushCertificate:
    """A certificate for `topic`, for a year from yesterday (or for `valid`), from an authority of its own.

    The subject's UID is the topic, as in Apple's. Apple's extension that lists topics is left out.
    """
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tidings emulator push authority")])
    names = ((NameOID.USER_ID, topic), (NameOID.COMMON_NAME, f"Apple Push Services: {topic}"))
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in names])
    ca = (
        _builder(ca_name, ca_name, ca_key, _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        _builder(subject, ca_name, key, valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key_pem = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return PushCertificate((leaf.public_bytes(pem) + key_pem).decode(), ca.public_bytes(pem).decode())


def demand(context: ssl.SSLContext, client: PushCertificate) -> None:
    """Take only connections that show a certificate of this one's issuer, of which there is just this one."""
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=client.ca_pem)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta
) -> x509.CertificateBuilder:
    start = clock.now() - _EARLY
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + valid)
    )
