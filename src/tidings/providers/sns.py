"""Amazon SNS, as far as it carries reports: the envelope, its signature, and the confirmation of a subscription.

Sources: Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages", "HTTP/HTTPS notification JSON
format" and "Parsing Amazon SNS message formats".
"""

import asyncio
import base64
import re
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from tidings import http
from tidings.discreet import Discreet
from tidings.providers.contract import BadReport
from tidings.providers.report_text import decode

# The certificate of a signature, and where a subscription is confirmed. Nothing else is ever called.
AWS = re.compile(r"https://sns\.[a-z0-9-]{4,32}\.amazonaws\.com(?:\.cn)?(?=/)", re.ASCII)
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem", re.ASCII)
_CONFIRM_PATH = re.compile(r"/\?[A-Za-z0-9_.~%:=&+/-]{1,2000}", re.ASCII)

TIMEOUT_S = 5.0
MOST_CERTIFICATES = 64
MOST_FETCHES = 4  # at once: hostile posts may name certificates that are not there
CERTIFICATE_BYTES = 16 * 1024

_HASHES: dict[str, type[HashAlgorithm]] = {"1": SHA1, "2": SHA256}
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


class SnsAway(Exception):
    """AWS could not be asked just now; SNS will send the same again when it gets a 5xx."""


_NAMES = {
    "type": "Type",
    "message_id": "MessageId",
    "topic_arn": "TopicArn",
    "message": "Message",
    "timestamp": "Timestamp",
    "signature_version": "SignatureVersion",
    "signature": "Signature",
    "signing_cert_url": "SigningCertURL",
    "subject": "Subject",
    "token": "Token",
    "subscribe_url": "SubscribeURL",
}


class Envelope(Discreet, frozen=True, rename=_NAMES):
    """What SNS posts. `message` is the text that was published; for a confirmation it is for people."""

    type: str
    message_id: str
    topic_arn: str
    message: str
    timestamp: str
    signature_version: str
    signature: str
    signing_cert_url: str
    subject: str | None = None
    token: str | None = None
    subscribe_url: str | None = None


def read_envelope(headers: Mapping[str, str], body: bytes) -> Envelope:
    """The envelope, not yet verified. Raises BadReport for what SNS does not send."""
    envelope = decode(body, Envelope)
    if envelope.type not in _SIGNED:
        raise BadReport("There is no such type of SNS message.")
    for name, value in (("x-amz-sns-message-type", envelope.type), ("x-amz-sns-message-id", envelope.message_id)):
        if headers.get(name, value) != value:
            raise BadReport("The headers and the body speak of different messages.")
    return envelope


def signed_text(envelope: Envelope) -> bytes:
    """What the signature covers: names and values, each on a line of its own; a subject only if there is one."""
    by_name = {wire: getattr(envelope, field) for field, wire in _NAMES.items()}
    pairs = ((name, by_name[name]) for name in _SIGNED[envelope.type])
    return "".join(f"{name}\n{value}\n" for name, value in pairs if value is not None).encode()


class Sns:
    """Verifies envelopes and confirms subscriptions. Keeps the certificates it has fetched, at most 64."""

    def __init__(self, client: http.Client, origins: re.Pattern[str] = AWS) -> None:
        """`origins`: whom to believe; anything but AWS only for emulators and tests. The client is the caller's."""
        self._client = client
        self._origins = origins
        self._kept: OrderedDict[str, x509.Certificate] = OrderedDict()
        self._fetches = asyncio.Semaphore(MOST_FETCHES)

    async def verify(self, envelope: Envelope, topics: tuple[str, ...], now: datetime) -> None:
        """Raises BadReport (`forged`) unless AWS signed it and the topic is one that we await. Raises SnsAway.

        The topic comes first: AWS signs for every customer, and a certificate is fetched for nobody else's posts.
        """
        if envelope.topic_arn not in topics:
            raise BadReport("The topic is not one that may report here.", forged=True)
        hash_type = _HASHES.get(envelope.signature_version)
        if hash_type is None:
            raise BadReport("There is no such version of SNS signatures.", forged=True)
        try:
            signature = base64.b64decode(envelope.signature, validate=True)
        except ValueError:
            raise BadReport("The signature is not base64.", forged=True) from None
        certificate = await self._certificate(envelope.signing_cert_url)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise BadReport("The certificate of the signature is not valid at this time.", forged=True)
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise BadReport("The certificate of the signature has no RSA key.", forged=True)
        try:
            key.verify(signature, signed_text(envelope), padding.PKCS1v15(), hash_type())
        except InvalidSignature:
            raise BadReport("The signature is wrong.", forged=True) from None

    async def confirm(self, envelope: Envelope) -> None:
        """Tell AWS that reports may come here, by calling the URL that it sent. Only for a verified envelope.

        Raises BadReport for a URL that is not AWS's, SnsAway when AWS can't be asked. Twice is safe.
        """
        url = self._checked(envelope.subscribe_url or "", _CONFIRM_PATH, "The URL of the confirmation")
        answer = await self._get(url)
        if answer.status != 200:
            raise BadReport("AWS did not take the confirmation: its token may have ended. Subscribe again.")

    async def _certificate(self, url: str) -> x509.Certificate:
        url = self._checked(url, _CERTIFICATE_PATH, "The URL of the certificate")
        kept = self._kept.get(url)
        if kept is not None:
            return kept
        answer = await self._get(url)
        if answer.status != 200 or answer.cut:
            raise BadReport("There is no such certificate.", forged=True)
        try:
            certificate = x509.load_pem_x509_certificate(answer.body)
        except ValueError:
            raise BadReport("The certificate of the signature can't be read.", forged=True) from None
        self._kept[url] = certificate
        if len(self._kept) > MOST_CERTIFICATES:
            self._kept.popitem(last=False)
        return certificate

    def _checked(self, url: str, path: re.Pattern[str], what: str) -> str:
        origin = self._origins.match(url)
        if origin is None or path.fullmatch(url, origin.end()) is None:
            raise BadReport(f"{what} does not lead to AWS.", forged=True)
        return url

    async def _get(self, url: str) -> http.Answer:
        async with self._fetches:
            try:
                request = http.request("GET", url, {})
            except ValueError:
                raise BadReport("A URL of AWS can't be read.", forged=True) from None
            answer = await self._client.send(request, limit=CERTIFICATE_BYTES)
        if isinstance(answer, http.Failure) or answer.status >= 500:
            raise SnsAway
        return answer
