"""Message encryption for Web Push: aes128gcm (RFC 8188) with keys agreed as in RFC 8291.

The elliptic curve is nearly all of the cost (a new key pair and one ECDH for each message, RFC 8291 §3.1),
and OpenSSL does it without the interpreter's lock. So messages that arrive together are encrypted together on
threads, and the event loop stays free.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hmac import digest

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tidings.coalesce import Coalescer
from tidings.discreet import Discreet
from tidings.errors import Unavailable
from tidings.providers.webpush_subscription import Subscription

MAX_BODY_BYTES = 4096
"""What every push service must take (RFC 8030 §7.2)."""

OVERHEAD_BYTES = 16 + 4 + 1 + 65 + 1 + 16  # salt, record size, key length, key, delimiter, tag
MAX_PLAINTEXT_BYTES = MAX_BODY_BYTES - OVERHEAD_BYTES
"""3993: what is left of the body for the message itself."""

_RECORD_SIZE_AND_KEY_LENGTH = MAX_BODY_BYTES.to_bytes(4, "big") + b"\x41"
_KEY_INFO = b"WebPush: info\x00"
_CEK_INFO = b"Content-Encoding: aes128gcm\x00\x01"
_NONCE_INFO = b"Content-Encoding: nonce\x00\x01"
_LAST_RECORD = b"\x02"
_CURVE = SECP256R1()
_ECDH = ECDH()
_TOGETHER = 32  # about 3 ms of work: no single message waits long for the others of its batch


class Job(Discreet, frozen=True, gc=False):
    """One message to encrypt; `plaintext` of at most `MAX_PLAINTEXT_BYTES`."""

    subscription: Subscription
    plaintext: bytes


def encrypt(job: Job) -> bytes:
    """The body of one push message. Another one each time: the key pair and the salt are new. 90 µs."""
    return encrypt_with(job, generate_private_key(_CURVE), os.urandom(16))


def encrypt_with(job: Job, private_key: EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """RFC 8291 §3.4 with the key pair and the 16 bytes of salt given: for the RFC's own example only."""
    subscription = job.subscription
    public = private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    # HKDF (RFC 5869) with outputs of one block: each step is one HMAC.
    shared = private_key.exchange(_ECDH, subscription.public_key)
    mixed = digest(subscription.auth, shared, "sha256")
    ikm = digest(mixed, _KEY_INFO + subscription.p256dh + public + b"\x01", "sha256")
    prk = digest(salt, ikm, "sha256")
    key = digest(prk, _CEK_INFO, "sha256")[:16]
    nonce = digest(prk, _NONCE_INFO, "sha256")[:12]
    sealed = AESGCM(key).encrypt(nonce, job.plaintext + _LAST_RECORD, None)
    return salt + _RECORD_SIZE_AND_KEY_LENGTH + public + sealed


class Encrypter:
    """Encrypts on `threads` threads of its own, up to 32 messages at a time. Use it from one event loop."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="webpush-encryption")
        self._gather = Coalescer(self._encrypt, most_items=_TOGETHER, most_batches=threads, most_waiting=100_000)
        self._closed = False

    async def __call__(self, job: Job) -> bytes:
        """The body of one push message. Raises `errors.Unavailable` when 100,000 messages wait already, or
        after `close`."""
        if self._closed:
            raise Unavailable("closed")
        return await self._gather(job)

    async def close(self) -> None:
        """Finish what was taken, then end the threads. Twice is safe."""
        self._closed = True
        await self._gather.close()
        self._pool.shutdown(wait=False)

    async def _encrypt(self, jobs: Sequence[Job]) -> list[bytes]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _encrypt_all, jobs)


def _encrypt_all(jobs: Sequence[Job]) -> list[bytes]:
    return [encrypt(job) for job in jobs]
