"""The provider token: what is in it, when it is renewed, and when it must not be."""

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tidings.providers.apns import ApnsAccount
from tidings.providers.apns_token import LEAST_LIFE_S, RENEW_S, ProviderTokens

KEY = ec.generate_private_key(ec.SECP256R1())
ACCOUNT = ApnsAccount(
    topic="com.example.shop",
    key_id="ABC123DEFG",
    team_id="DEF123GHIJ",
    private_key=KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode(),
)


class Clocks:
    """Both clocks of a machine; `pass_by` lets time go on."""

    def __init__(self) -> None:
        self.mono, self.wall = 1000.0, 1_772_366_400.0

    def pass_by(self, seconds: float) -> None:
        self.mono += seconds
        self.wall += seconds

    def tokens(self) -> ProviderTokens:
        return ProviderTokens(ACCOUNT, lambda: self.mono, lambda: self.wall)


def test_apple_can_read_it() -> None:
    clocks = Clocks()
    value = clocks.tokens().current().value
    assert jwt.get_unverified_header(value) == {"alg": "ES256", "kid": "ABC123DEFG", "typ": "JWT"}
    claims = jwt.decode(value, KEY.public_key(), algorithms=["ES256"], options={"verify_iat": False})
    assert claims == {"iss": "DEF123GHIJ", "iat": 1_772_366_400}


def test_it_is_the_same_for_45_minutes() -> None:
    clocks = Clocks()
    tokens = clocks.tokens()
    first = tokens.current()
    clocks.pass_by(RENEW_S - 1)
    assert tokens.current() is first
    clocks.pass_by(1)
    assert tokens.current().issued_at == first.issued_at + RENEW_S
    assert LEAST_LIFE_S <= RENEW_S <= 3600


def test_a_machine_that_slept_renews_it() -> None:
    clocks = Clocks()
    tokens = clocks.tokens()
    first = tokens.current()
    clocks.wall += 3000  # the monotonic clock stood still
    assert tokens.current() is not first


def test_a_clock_that_was_set_back_does_not_keep_it() -> None:
    clocks = Clocks()
    tokens = clocks.tokens()
    first = tokens.current()
    clocks.pass_by(RENEW_S)
    clocks.wall -= 2 * RENEW_S
    assert tokens.current() is not first


@pytest.mark.parametrize(("age_s", "renewed"), [(0, False), (LEAST_LIFE_S - 1, False), (LEAST_LIFE_S, True)])
def test_a_refused_one_is_replaced_only_when_it_is_old_enough(age_s: float, renewed: bool) -> None:
    clocks = Clocks()
    tokens = clocks.tokens()
    refused = tokens.current()
    clocks.pass_by(age_s)
    again = tokens.replace(refused)
    assert (again is not None) is renewed
    assert again is None or (again is not refused and again is tokens.current())


def test_a_young_one_is_replaced_when_the_clock_was_set_meanwhile() -> None:
    clocks = Clocks()
    tokens = clocks.tokens()
    refused = tokens.current()
    clocks.wall -= 7200
    again = tokens.replace(refused)
    assert again is not None
    assert again.issued_at == refused.issued_at - 7200


def test_a_hundred_refused_at_once_cause_one_renewal() -> None:
    clocks = Clocks()
    tokens = clocks.tokens()
    refused = tokens.current()
    clocks.pass_by(LEAST_LIFE_S)
    assert len({id(tokens.replace(refused)) for _ in range(100)}) == 1


def test_it_is_not_shown() -> None:
    token = Clocks().tokens().current()
    assert token.value not in repr(token)
