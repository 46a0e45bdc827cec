"""Google's OAuth token endpoint for service accounts: a signed JWT in, a bearer token out (RFC 7523).

Claims and limits follow google-auth 2.62 and Google's "OAuth 2.0 for server to server applications"; the
texts of the refusals are written from experience and may differ in wording.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable
from typing import Any
from urllib.parse import parse_qs

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tidings import clock
from tidings.emulators import fcm_errors
from tidings.emulators.exchange import Answer, Request, Response
from tidings.emulators.faults import Faults, play

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = frozenset(
    (
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    )
)
_GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
_LIFETIME_S = 3599
_MAX_LIFETIME_S = 3600
# How far a caller's clock may be ahead; Google publishes no figure.
_SKEW_S = 300
_KEPT_TOKENS = 10_000


class _Refused(Exception):
    """The token endpoint says no: an OAuth `error` and its description."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


class OAuth:
    """One service account and the access tokens given for it (the last 10,000)."""

    def __init__(self, project: str, key: rsa.RSAPrivateKey, faults: Faults) -> None:
        self._faults = faults
        self._project = project
        self._key = key
        self._public = key.public_key()
        self._key_id = secrets.token_hex(20)
        self.email = f"firebase-adminsdk-emulator@{project}.iam.gserviceaccount.com"
        self._expiry: OrderedDict[str, float] = OrderedDict()
        self.issued = 0

    def service_account(self, token_uri: str) -> dict[str, str]:
        """The content of a service-account file, as the Firebase console would hand it out."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": self._project,
            "private_key_id": self._key_id,
            "private_key": pem.decode(),
            "client_email": self.email,
            "client_id": "100000000000000000001",
            "token_uri": token_uri,
        }

    def problem(self, authorization: str | None) -> Response | None:
        """What is wrong with an `Authorization` header: a 401 as FCM's front answers it, or None."""
        if authorization is None:
            return fcm_errors.unauthenticated(missing=True)
        expiry = self._expiry.get(authorization)
        if expiry is None:
            scheme, _, token = authorization.partition(" ")
            expiry = self._expiry.get(f"Bearer {token.strip()}") if scheme.lower() == "bearer" else None
        if expiry is None or expiry < time.monotonic():
            return fcm_errors.unauthenticated(missing=False)
        return None

    def revoke(self) -> int:
        """Every access token given so far stops working. Answers how many there were."""
        revoked = len(self._expiry)
        self._expiry.clear()
        return revoked

    def token(self, request: Request) -> Answer | Awaitable[Answer]:
        """`POST /token`, or what a fault makes of it."""
        effect = self._faults.effect("oauth")
        if effect is not None:
            return play(effect, lambda: self._token(request))
        return self._token(request)

    def _token(self, request: Request) -> Response:
        try:
            self._check(request)
        except _Refused as refused:
            body = {"error": refused.error, "error_description": str(refused)}
            return Response(400, msgspec.json.encode(body), (fcm_errors.JSON,))
        plan = self._faults.plan("oauth")
        lifetime_s = plan.lifetime_s if plan is not None and plan.lifetime_s else _LIFETIME_S
        token = f"ya29.emulated-{secrets.token_urlsafe(96)}"
        self._expiry[f"Bearer {token}"] = time.monotonic() + lifetime_s
        self.issued += 1
        if len(self._expiry) > _KEPT_TOKENS:
            self._expiry.popitem(last=False)
        body_ok = {"access_token": token, "expires_in": lifetime_s, "token_type": "Bearer"}
        return Response(200, msgspec.json.encode(body_ok), (fcm_errors.JSON,))

    def _check(self, request: Request) -> None:
        try:
            form = parse_qs(request.body.decode(), max_num_fields=20)
        except ValueError as error:
            raise _Refused("invalid_request", f"Unreadable form: {error}") from error
        grant = form.get("grant_type", [""])[0]
        if grant != GRANT:
            raise _Refused("unsupported_grant_type", f"Invalid grant_type: {grant[:100]}")
        claims = self._claims(form.get("assertion", [""])[0])
        host = request.headers.get("host", "")
        if claims.get("aud") not in (_GOOGLE_AUDIENCE, f"https://{host}/token", f"http://{host}/token"):
            raise _Refused("invalid_grant", "Invalid JWT: Failed audience check.")
        if claims.get("iss") != self.email:
            raise _Refused("invalid_grant", "Invalid grant: account not found")
        _check_times(claims, clock.now().timestamp())
        scope = claims.get("scope")
        if not isinstance(scope, str) or not SCOPES & set(scope.split()):
            raise _Refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")

    def _claims(self, assertion: str) -> dict[str, Any]:
        # The times are checked below, by our own clock and with Google's answer for them.
        options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            claims: dict[str, Any] = jwt.decode(assertion, self._public, algorithms=["RS256"], options=options)
        except jwt.InvalidSignatureError as error:
            raise _Refused("invalid_grant", "Invalid JWT Signature.") from error
        except jwt.InvalidTokenError as error:
            raise _Refused("invalid_grant", "Bad Request") from error
        if jwt.get_unverified_header(assertion).get("kid") not in (self._key_id, None):
            raise _Refused("invalid_grant", "Invalid JWT Signature.")
        return claims


def _check_times(claims: dict[str, Any], now: float) -> None:
    issued, expires = claims.get("iat"), claims.get("exp")
    if not (
        isinstance(issued, int | float)
        and isinstance(expires, int | float)
        and expires - issued <= _MAX_LIFETIME_S
        and issued <= now + _SKEW_S
        and now < expires
    ):
        raise _Refused(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
            "Check your iat and exp values in the JWT claim.",
        )
