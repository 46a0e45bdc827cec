"""Google OAuth 2.0 access tokens by the JWT bearer grant (RFC 7523 §2.1), fetched rarely and shared.

One `TokenSource` per account. A token is renewed in the background before it ends, so senders never wait
while the old one is good; whoever must wait, waits for one shared request. A failing token endpoint is asked
at growing distances, and in between everybody gets the last failure at once.
"""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlencode

import jwt
import msgspec
from msgspec import Struct

from tidings.clock import now
from tidings.discreet import Discreet
from tidings.http import Answer, Client, Failure, request, retry_after_s
from tidings.providers.contract import Paused, Reason, Retry
from tidings.providers.fcm_account import ServiceAccount, load_private_key

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_LIFE_S = 3600  # the most that Google takes; more is invalid_grant
EARLY_S = 300.0
EARLY_SHARE = 0.1
UNSTATED_LIFE_S = 300.0  # RFC 6749 §5.1 lets an endpoint leave expires_in out
MOST_BACKOFF_S = 60.0


class Token(Discreet, frozen=True):
    """An access token; `renew_at` and `ends_at` are seconds of `time.monotonic`. repr() does not show it."""

    value: str
    renew_at: float
    ends_at: float


class _Granted(Discreet, frozen=True):
    access_token: str
    expires_in: float = UNSTATED_LIFE_S


class _Refused(Struct, frozen=True):
    error: str = ""
    error_description: str = ""


class TokenSource:
    """The access token of one service account. Safe to call many times at once, from one event loop."""

    def __init__(
        self, account: ServiceAccount, client: Client, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`client` carries the token request, and its deadline; it stays the caller's to close.

        `monotonic` is the seconds that token lives and waits are measured in.
        """
        self._account = account
        self._key = load_private_key(account)
        self._client = client
        self._monotonic = monotonic
        self._token: Token | None = None
        self._refresh: asyncio.Task[Token | Retry | Paused] | None = None
        self._failure: Retry | Paused | None = None
        self._ask_at = 0.0
        self._strikes = 0  # failures in a row; kept until a token has lived to be renewed
        self._aged: Token | None = None  # the last token that did

    def ready(self) -> Token | None:
        """The token if there is a good one (renewal may be started), None when `token` must be awaited."""
        token = self._token
        if token is None:
            return None
        present = self._monotonic()
        if present < token.renew_at:
            return token
        if present >= token.ends_at:
            return None
        if self._refresh is None and present >= self._ask_at:
            self._begin()
        return token

    async def token(self) -> Token | Retry | Paused:
        """A good token, or why there is none. At most one token request is under way at any time."""
        token = self.ready()
        if token is not None:
            return token
        if self._refresh is None:
            wait_s = self._ask_at - self._monotonic()
            if self._failure is not None and wait_s > 0:
                return msgspec.structs.replace(self._failure, after_s=max(1.0, wait_s))
            self._begin()
        assert self._refresh is not None
        # Shielded: a sender that is cancelled must not take the others' token away.
        return await asyncio.shield(self._refresh)

    async def replace(self, refused: Token) -> Token | Retry | Paused:
        """Another token than `refused`, which the vendor answered with 401.

        If it was already replaced since, the present one: a hundred refused at once cause one request.
        """
        if self._token is refused:
            self._token = None
        return await self.token()

    def refuse(self, token: Token, failure: Paused) -> None:
        """A token that had just been fetched was refused too: answer `failure` and let the endpoint rest."""
        if self._token is token:
            self._token = None
            self._fail(failure, 0.0)

    async def close(self) -> None:
        """Wait for a request under way. Close the client first, then it ends at once. Twice is safe."""
        if self._refresh is not None:
            await asyncio.wait([self._refresh])

    def _begin(self) -> None:
        if self._token is not None and self._token is not self._aged:
            self._aged = self._token
            self._strikes = 0
        self._refresh = asyncio.create_task(self._renew(), name="google oauth token")

    async def _renew(self) -> Token | Retry | Paused:
        try:
            got = await self._ask()
            if isinstance(got, Token):
                self._token, self._failure = got, None
            return got
        finally:
            self._refresh = None

    async def _ask(self) -> Token | Retry | Paused:
        asked_at = self._monotonic()
        form = urlencode({"grant_type": GRANT_TYPE, "assertion": self._assertion()})
        asking = request("POST", self._account.token_uri, {"content-type": "application/x-www-form-urlencoded"})
        answer = await self._client.send(asking, form.encode(), keep=("retry-after",))
        if isinstance(answer, Failure):
            reason = Reason.TIMEOUT if answer.timed_out else Reason.CONNECTION
            return self._fail(Retry(reason, f"token endpoint: {answer.detail}", account_wide=True), 0.0)
        if answer.status != 200:
            wait_s = retry_after_s(answer.headers.get("retry-after"), now()) or 0.0
            return self._fail(_refusal(answer), wait_s)
        token = _granted(answer, asked_at)
        if token is None:
            unclear = "token endpoint: 200 without a usable token"
            return self._fail(Retry(Reason.UNAVAILABLE, unclear, account_wide=True), 0.0)
        return token

    def _fail(self, failure: Retry | Paused, wait_s: float) -> Retry | Paused:
        self._strikes += 1
        backoff_s = min(MOST_BACKOFF_S, 2.0 ** min(self._strikes - 1, 10))
        wait_s = max(backoff_s, wait_s)
        self._ask_at = self._monotonic() + wait_s
        self._failure = msgspec.structs.replace(failure, after_s=wait_s)
        return self._failure

    def _assertion(self) -> str:
        issued_at = int(now().timestamp())
        claims = {
            "iss": self._account.client_email,
            "scope": SCOPE,
            "aud": self._account.token_uri,
            "iat": issued_at,
            "exp": issued_at + ASSERTION_LIFE_S,
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._account.private_key_id})


def _granted(answer: Answer, asked_at: float) -> Token | None:
    try:
        granted = msgspec.json.decode(answer.body, type=_Granted, strict=False)
    except (msgspec.DecodeError, UnicodeError):
        return None
    value, life_s = granted.access_token, granted.expires_in
    # It becomes a header value: what a header can't carry would fail every send, far from its cause.
    if not (value and value.isascii() and value.isprintable() and " " not in value and 0 < life_s < 1e9):
        return None
    early_s = min(EARLY_S, life_s * EARLY_SHARE)
    return Token(value, renew_at=asked_at + life_s - early_s, ends_at=asked_at + life_s)


def _refusal(answer: Answer) -> Retry | Paused:
    """4xx is about the key or the clock (RFC 6749 §5.2), but 408 and 429 pass with time, as 5xx do."""
    try:
        refused = msgspec.json.decode(answer.body, type=_Refused)
    except (msgspec.DecodeError, UnicodeError):
        refused = _Refused()
    said = " ".join(f"{refused.error} {refused.error_description}".split())[:200]
    detail = f"token endpoint: {answer.status} {said}".strip()
    if 400 <= answer.status < 500 and answer.status not in (408, 429):
        return Paused(Reason.CREDENTIALS, detail)
    reason = Reason.RATE_LIMITED if answer.status == 429 else Reason.UNAVAILABLE
    return Retry(reason, detail, account_wide=True)
