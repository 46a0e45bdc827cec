"""TLS to the servers that Tidings stands on: PostgreSQL, RabbitMQ and Redis.

A server has to prove who it is: its certificate must be signed by an authority that is trusted, and must hold the name
by which it is called. Only PostgreSQL can be asked for less, in libpq's own words
(postgresql.org/docs/current/libpq-ssl.html, "Protection Provided in Different Modes").
"""

import ssl
from typing import Literal

from tidings.errors import SetupError

# OpenSSL's names for an answer that is no TLS at all: the port speaks plainly.
_PLAIN = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")


def trusting(ca_file: str, setting: str) -> ssl.SSLContext:
    """What a client needs for TLS 1.2 or later with a server that proves who it is.

    `ca_file`: PEM of the authorities that count; "" is those of the system. Blocks for that file, some 10 ms for the
    system's. Raises `SetupError` that names `setting` when it can't be read or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        said = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else f"{error.args[-1]}"
        raise SetupError(f"{setting} can't be used: {ca_file}: {said}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def for_postgresql(sslmode: str, ca_file: str) -> ssl.SSLContext | Literal["prefer", False]:
    """libpq's `sslmode`, as asyncpg takes it. Raises `SetupError` like `trusting`.

    `prefer`, libpq's default, takes TLS if there is some and checks nothing; `require` checks nothing either;
    `verify-ca` checks who signed, and `verify-full` the name, too. On a Unix socket nothing is encrypted.
    """
    match sslmode:
        case "disable":
            return False
        case "prefer":
            return "prefer"
    context = trusting(ca_file, "DB_CA_FILE")
    context.check_hostname = sslmode == "verify-full"
    if sslmode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


def impossible(error: BaseException | None, server: str, prefix: str) -> str:
    """Why TLS with a server can't be, until it or the settings are changed; "" when trying again may help.

    `prefix`: of the names of its settings, such as `REDIS`.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{server} shows a certificate that can't be trusted: {error.verify_message}. {prefix}_CA_FILE must name "
            f"the authority that signed it, and {prefix}_HOST a name that it holds."
        )
    if isinstance(error, ssl.SSLError) and error.reason in _PLAIN:
        return f"{server} does not speak TLS on this port. Set {prefix}_PORT to the one that does."
    return ""
