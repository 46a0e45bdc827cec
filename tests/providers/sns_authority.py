"""Plays AWS: an HTTP server with a certificate, which signs SNS messages by the rules of the Developer Guide."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

CERTIFICATE = "/SimpleNotificationService-0123456789abcdef.pem"
TOKEN = "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92"  # noqa: S105 - the one of the guide


class Authority:
    """`fetched`: how often the certificate was asked for; `confirmed`: the tokens of confirmed subscriptions."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        self.pem = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(self.now - timedelta(days=1))
            .not_valid_after(self.now + timedelta(days=365))
            .sign(self.key, SHA256())
            .public_bytes(Encoding.PEM)
        )
        self.url = ""
        self.fetched = 0
        self.confirmed: list[str] = []

    @property
    def origin(self) -> re.Pattern[str]:
        """Whom the code under test shall take for AWS."""
        return re.compile(re.escape(self.url) + "(?=/)")

    def post(
        self,
        kind: str,
        message: str,
        topic: str,
        *,
        version: str = "2",
        subject: str | None = None,
        path: str = CERTIFICATE,
        subscribe_url: str | None = None,
    ) -> bytes:
        """A signed body."""
        fields = {
            "Type": kind,
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": topic,
            "Message": message,
            "Timestamp": "2012-05-02T00:54:06.655Z",
        }
        if kind == "Notification":
            names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
            fields |= {"Subject": subject} if subject else {}
        else:
            names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
            url = subscribe_url or f"{self.url}/?Action=ConfirmSubscription&TopicArn={topic}&Token={TOKEN}"
            fields |= {"SubscribeURL": url, "Token": TOKEN}
        text = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields)
        hashed = SHA1() if version == "1" else SHA256()
        signature = base64.b64encode(self.key.sign(text.encode(), padding.PKCS1v15(), hashed)).decode()
        sealed = {"SignatureVersion": version, "Signature": signature, "SigningCertURL": self.url + path}
        return msgspec.json.encode({**fields, **sealed})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, then the connection ends."""
        request = await reader.readuntil(b"\r\n\r\n")
        status, body = self.answer(request.split(b" ")[1].decode())
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        if path == CERTIFICATE:
            self.fetched += 1
            return 200, self.pem
        if path.endswith("-text.pem"):
            return 200, b"no certificate"
        if path.endswith("-busy.pem"):
            return 503, b""
        if path.startswith("/?Action=ConfirmSubscription"):
            self.confirmed.append(path.partition("Token=")[2])
            return 200, b"<ConfirmSubscriptionResponse/>"
        return 404, b""


@asynccontextmanager
async def authority() -> AsyncIterator[Authority]:
    """Runs until the block ends."""
    found = Authority()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield found
