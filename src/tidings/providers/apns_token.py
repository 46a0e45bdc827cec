"""The provider token of APNs: a JWT that we sign ourselves, one for all connections of an account.

Apple wants it renewed "no more than once every 20 minutes" and no token older than an hour ("Establishing a
token-based connection to APNs"). Both are judged by Apple's clock, from the `iat` that we wrote by ours.
"""

import time
from collections.abc import Callable

import jwt

from tidings.clock import now
from tidings.discreet import Discreet
from tidings.providers.apns_account import ApnsAccount, load_key

RENEW_S = 45 * 60.0
LEAST_LIFE_S = 20 * 60.0
CLOCK_MOVED_S = 60.0


class ProviderToken(Discreet, frozen=True):
    """A signed token; repr() hides it. `made_at`: in seconds of `monotonic`; `issued_at`: its `iat`."""

    value: str
    made_at: float
    issued_at: float


class ProviderTokens:
    """The present token of one key. Signing takes no waiting, so there is nothing to share but the value."""

    def __init__(
        self,
        account: ApnsAccount,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = lambda: now().timestamp(),
    ) -> None:
        """`monotonic` measures a token's age, `wall` is what `iat` is taken from; both in seconds."""
        self._key = load_key(account)
        self._key_id = account.key_id
        self._team_id = account.team_id
        self._monotonic = monotonic
        self._wall = wall
        self._token: ProviderToken | None = None

    def current(self) -> ProviderToken:
        """The token to send with: the same one until it is 45 minutes old."""
        token = self._token
        if token is None or self._age_s(token) >= RENEW_S:
            token = self._token = self._sign()
        return token

    def replace(self, refused: ProviderToken) -> ProviderToken | None:
        """Another token than `refused`, which Apple calls expired; None when there must not be one yet.

        A token younger than 20 minutes may be replaced only if this machine's clock was set meanwhile: a
        new one from the same wrong clock would expire just as well, and updating too often is an error too.
        If it was replaced already, the present one: a hundred refused at once cause one renewal.
        """
        if self._token is not refused:
            return self.current()
        elapsed_s = self._monotonic() - refused.made_at
        moved_s = abs(self._wall() - refused.issued_at - elapsed_s)
        if self._age_s(refused) < LEAST_LIFE_S and moved_s < CLOCK_MOVED_S:
            return None
        self._token = self._sign()
        return self._token

    def _age_s(self, token: ProviderToken) -> float:
        # The monotonic clock stands still while the machine sleeps, the other one can be set back.
        return max(self._monotonic() - token.made_at, self._wall() - token.issued_at)

    def _sign(self) -> ProviderToken:
        issued_at = int(self._wall())
        claims = {"iss": self._team_id, "iat": issued_at}
        value = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id})
        return ProviderToken(value, made_at=self._monotonic(), issued_at=issued_at)
