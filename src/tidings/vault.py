"""Secrets at rest: what a project trusts us with is stored sealed (AES-256-GCM, NIST SP 800-38D).

A seal is one version byte, a random nonce of 96 bits, and the ciphertext with its tag of 128 bits. Random nonces are
good for 2^32 seals with one key (SP 800-38D §8.3), far beyond what accounts will ever need. The context (whose secret
it is) is bound in as associated data, so a seal that is moved to another row does not open there.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from tidings import signing

PURPOSE = "vault"
KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class SealBroken(Exception):
    """A seal does not open: another secret made it, it belongs elsewhere, or it was changed. The text says what to
    do, and holds nothing of what is sealed."""


class Vault(Struct, frozen=True):
    """The keys of an installation, 32 bytes each. The first one seals, all of them open. repr() shows none."""

    keys: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"Vault({len(self.keys)} keys)"

    def seal(self, plain: bytes, context: str) -> bytes:
        """Seal with the newest key. Twice gives two different seals of the same."""
        return seal(self.keys[0], plain, context)

    def open(self, sealed: bytes, context: str) -> bytes:
        """What was sealed, whichever of the keys did it. Raises `SealBroken`."""
        for key in self.keys[:-1]:
            try:
                return open_(key, sealed, context)
            except SealBroken:
                continue
        return open_(self.keys[-1], sealed, context)


def vault_of(secret: bytes, *older: bytes) -> Vault:
    """The vault of the installation's secret, and of those that it had before. ValueError: one is under 32 bytes."""
    return Vault(tuple(signing.derive(one, PURPOSE) for one in (secret, *older)))


def seal(key: bytes, plain: bytes, context: str) -> bytes:
    """Seal `plain` for `context`. `key`: 32 bytes. Twice gives two different seals of the same."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _VERSION + nonce + _cipher(key).encrypt(nonce, plain, context.encode())


def open_(key: bytes, sealed: bytes, context: str) -> bytes:
    """What `seal` was given with this key and context. Raises `SealBroken`, and nothing else, for all other bytes."""
    if len(sealed) < len(_VERSION) + _NONCE_BYTES + _TAG_BYTES:
        raise SealBroken("The stored secret is damaged: it is too short. Store it anew.")
    if sealed[:1] != _VERSION:
        raise SealBroken(f"The stored secret has the format {sealed[0]}, which this version of Tidings can't read.")
    nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        return _cipher(key).decrypt(nonce, rest, context.encode())
    except InvalidTag:
        raise SealBroken(
            "The stored secret does not open with this TIDINGS_SECRET. Put the former one into TIDINGS_SECRET_OLD, "
            "or store the secret anew."
        ) from None


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError("a key of the vault has 32 bytes")
    return AESGCM(key)
