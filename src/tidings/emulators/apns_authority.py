"""Who may push over a connection to the emulated APNs: provider tokens, and what a connection is bound to.

Source: Apple, "Establishing a token-based connection to APNs". The first push binds team, key and bundle ids
to its connection. The order in which APNs checks is not documented.
"""

from collections import OrderedDict
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from tidings import clock
from tidings.emulators import apns_reasons
from tidings.emulators.exchange import Connection, Response

LIFE_S = 3600
BETWEEN_UPDATES_S = 20 * 60
# How far a sender's clock may be ahead; Apple publishes no figure.
_SKEW_S = 300
_KEPT = 10_000
_BOUND = "apns"


class Key(Struct, frozen=True):
    """A `.p8` key of a team. `environment` None: it is for both."""

    key_id: str
    team_id: str
    private: ec.EllipticCurvePrivateKey
    environment: str | None = None

    @property
    def pem(self) -> str:
        """The content of the `.p8` file."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


class Bound(Struct):
    """What a connection has become bound to. `updated_at`: when it first saw its present token."""

    team_id: str
    key_id: str
    topics: frozenset[str]
    authorization: str
    updated_at: float


class Authority:
    """The keys that exist, the bundle ids they may push to, and the clock by which tokens age."""

    def __init__(self, environment: str, topics: frozenset[str]) -> None:
        self.topics = topics
        self.ahead_s = 0.0
        self._environment = environment
        self._keys: dict[str, Key] = {}
        self._read: OrderedDict[str, tuple[Key, float]] = OrderedDict()

    def make_key(self, key_id: str, team_id: str, environment: str | None = None) -> Key:
        """A new key that is good from now on; one of the same id is replaced."""
        key = Key(key_id, team_id, ec.generate_private_key(ec.SECP256R1()), environment)
        self._keys[key_id] = key
        self._read.clear()
        return key

    def revoke(self, key_id: str) -> None:
        """Tokens of this key are not good any more. Twice is safe."""
        self._keys.pop(key_id, None)
        self._read.clear()

    def now(self) -> float:
        """Unix seconds by APNs' clock: ours, and `ahead_s` more."""
        return clock.now().timestamp() + self.ahead_s

    def problem(self, authorization: str | None, topic: str, connection: Connection) -> Response | None:
        """Why this push is not allowed over this connection; None: it is, and the connection is bound now."""
        if authorization is None:
            return apns_reasons.refusal("MissingProviderToken")
        read = self._read.get(authorization) or self._verify(authorization)
        if isinstance(read, Response):
            return read
        key, issued_at = read
        now = self.now()
        if not now - LIFE_S <= issued_at <= now + _SKEW_S:
            return apns_reasons.refusal("ExpiredProviderToken")
        if key.environment not in (None, self._environment):
            return apns_reasons.refusal("BadEnvironmentKeyIdInToken")
        bound = connection.memory.get(_BOUND)
        if bound is None:
            if topic not in self.topics:
                return apns_reasons.refusal("TopicDisallowed")
            connection.memory[_BOUND] = Bound(key.team_id, key.key_id, self.topics, authorization, now)
            return None
        return _break(bound, key, topic, authorization, now)

    def _verify(self, authorization: str) -> tuple[Key, float] | Response:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return apns_reasons.refusal("MissingProviderToken")
        read = self._claims(token)
        if read is None:
            return apns_reasons.refusal("InvalidProviderToken")
        self._read[authorization] = read
        if len(self._read) > _KEPT:
            self._read.popitem(last=False)
        return read

    def _claims(self, token: str) -> tuple[Key, float] | None:
        # The times are checked by our own clock, and with APNs' own answer for them.
        options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid", ""))
            if key is None:
                return None
            public = key.private.public_key()
            claims: dict[str, Any] = jwt.decode(token, public, algorithms=["ES256"], options=options)
        except jwt.InvalidTokenError:
            return None
        issued_at = claims.get("iat")
        if claims.get("iss") != key.team_id or not isinstance(issued_at, int | float):
            return None
        return key, float(issued_at)


def _break(bound: Bound, key: Key, topic: str, authorization: str, now: float) -> Response | None:
    """What of a push goes against what its connection is bound to."""
    if key.team_id != bound.team_id:
        return apns_reasons.refusal("Forbidden")
    if key.key_id != bound.key_id:
        return apns_reasons.refusal("UnrelatedKeyIdInToken")
    if topic not in bound.topics:
        return apns_reasons.refusal("TopicDisallowed")
    if authorization != bound.authorization:
        if now - bound.updated_at < BETWEEN_UPDATES_S:
            return apns_reasons.refusal("TooManyProviderTokenUpdates")
        bound.authorization, bound.updated_at = authorization, now
    return None
