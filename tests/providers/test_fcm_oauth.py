"""Access tokens over a real socket: fetched once, shared, renewed early; a failing endpoint is left alone."""

import asyncio
from collections.abc import AsyncIterator, Callable

import jwt
import pytest

from tests.providers.fcm_token_endpoint import (
    KEY,
    Reply,
    TokenEndpoint,
    granted,
    service_account,
    token_endpoint,
)
from tidings.http import open_client
from tidings.providers.contract import Paused, Reason, Retry
from tidings.providers.fcm_account import parse_service_account
from tidings.providers.fcm_oauth import GRANT_TYPE, SCOPE, Token, TokenSource


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    async with token_endpoint() as running:
        yield running


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def source(endpoint: TokenEndpoint, clock: Clock) -> AsyncIterator[TokenSource]:
    client = open_client(timeout_s=5, system_proxy=False)
    tokens = TokenSource(parse_service_account(service_account(endpoint.url)), client, clock)
    yield tokens
    endpoint.gate.set()
    await client.close()
    await tokens.close()


async def until(true: Callable[..., bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if true():
                return
            await asyncio.sleep(0.005)


async def test_the_assertion_is_what_google_asks_for(source: TokenSource, endpoint: TokenEndpoint) -> None:
    token = await source.token()
    assert isinstance(token, Token)
    assert token.value == "token-0001"
    assert "token-0001" not in repr(token)
    form = endpoint.forms[0]
    assert form["grant_type"] == GRANT_TYPE
    assert jwt.get_unverified_header(form["assertion"]) == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    claims = jwt.decode(form["assertion"], KEY.public_key(), algorithms=["RS256"], audience=endpoint.url)
    assert claims["iss"] == "sender@shop-1.iam.gserviceaccount.com"
    assert claims["scope"] == SCOPE
    assert claims["exp"] - claims["iat"] == 3600


async def test_five_hundred_at_once_make_one_request(source: TokenSource, endpoint: TokenEndpoint) -> None:
    tokens = await asyncio.gather(*(source.token() for _ in range(500)))
    assert len(endpoint.forms) == 1
    assert all(token is tokens[0] for token in tokens)
    assert source.ready() is tokens[0]


async def test_a_token_is_renewed_in_the_background_while_the_old_one_serves(
    source: TokenSource, endpoint: TokenEndpoint, clock: Clock
) -> None:
    first = await source.token()
    assert isinstance(first, Token)
    assert first.ends_at - first.renew_at == pytest.approx(300)
    endpoint.gate.clear()
    clock.at = first.renew_at + 1
    assert [await source.token() for _ in range(100)] == [first] * 100
    await until(lambda: len(endpoint.forms) == 2)
    endpoint.gate.set()
    await until(lambda: source.ready() is not first)
    assert source.ready() == await source.token()
    assert len(endpoint.forms) == 2


async def test_an_ended_token_is_not_used(source: TokenSource, endpoint: TokenEndpoint, clock: Clock) -> None:
    first = await source.token()
    assert isinstance(first, Token)
    clock.at = first.ends_at
    assert source.ready() is None
    second = await source.token()
    assert isinstance(second, Token)
    assert second.value == "token-0002"


async def test_a_short_life_is_renewed_in_its_last_tenth(source: TokenSource, endpoint: TokenEndpoint) -> None:
    endpoint.reply = lambda number: granted(number, "20")
    token = await source.token()
    assert isinstance(token, Token)
    assert token.ends_at - token.renew_at == pytest.approx(2)


async def test_an_unstated_life_is_five_minutes(source: TokenSource, endpoint: TokenEndpoint, clock: Clock) -> None:
    endpoint.reply = lambda _: (200, {}, b'{"access_token":"t"}')
    token = await source.token()
    assert isinstance(token, Token)
    assert token.ends_at == clock.at + 300


async def test_a_hundred_refused_senders_share_one_replacement(source: TokenSource, endpoint: TokenEndpoint) -> None:
    first = await source.token()
    assert isinstance(first, Token)
    replaced = await asyncio.gather(*(source.replace(first) for _ in range(100)))
    assert {token.value for token in replaced if isinstance(token, Token)} == {"token-0002"}
    late = await source.replace(first)  # its answer came after the others had replaced the token
    assert late is replaced[0]
    assert len(endpoint.forms) == 2


async def test_a_cancelled_sender_does_not_take_the_token_from_the_others(
    source: TokenSource, endpoint: TokenEndpoint
) -> None:
    endpoint.gate.clear()
    impatient = asyncio.create_task(source.token())
    patient = asyncio.create_task(source.token())
    await until(lambda: len(endpoint.forms) == 1)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    endpoint.gate.set()
    assert isinstance(await patient, Token)
    assert len(endpoint.forms) == 1


INVALID_GRANT = b'{"error":"invalid_grant","error_description":"Invalid JWT Signature."}'


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        ((400, {}, INVALID_GRANT), Paused, Reason.CREDENTIALS),
        ((401, {}, b'{"error":"invalid_client"}'), Paused, Reason.CREDENTIALS),
        ((403, {}, b"<html>"), Paused, Reason.CREDENTIALS),
        ((429, {}, b""), Retry, Reason.RATE_LIMITED),
        ((500, {}, b"{}"), Retry, Reason.UNAVAILABLE),
        ((502, {}, b"<html>"), Retry, Reason.UNAVAILABLE),
        ((302, {"location": "https://elsewhere.example/"}, b""), Retry, Reason.UNAVAILABLE),
        ((200, {}, b"<html>"), Retry, Reason.UNAVAILABLE),
        ((200, {}, b'{"access_token":""}'), Retry, Reason.UNAVAILABLE),
        ((200, {}, b'{"access_token":"a\\r\\nb","expires_in":3600}'), Retry, Reason.UNAVAILABLE),
        ((200, {}, b'{"access_token":"a","expires_in":-1}'), Retry, Reason.UNAVAILABLE),
        ((200, {}, b"x" * 70_000), Retry, Reason.UNAVAILABLE),
        ((0, {}, b""), Retry, Reason.CONNECTION),
    ],
)
async def test_what_a_failing_endpoint_means(
    source: TokenSource, endpoint: TokenEndpoint, reply: Reply, kind: type[Retry | Paused], reason: Reason
) -> None:
    endpoint.reply = lambda _: reply
    got = await source.token()
    assert isinstance(got, kind)
    assert isinstance(got, Retry | Paused)
    assert got.reason is reason
    assert "token endpoint" in got.detail
    if isinstance(got, Retry):
        assert got.account_wide


async def test_the_vendors_words_are_in_the_detail(source: TokenSource, endpoint: TokenEndpoint) -> None:
    endpoint.reply = lambda _: (400, {}, INVALID_GRANT)
    got = await source.token()
    assert isinstance(got, Paused)
    assert got.detail == "token endpoint: 400 invalid_grant Invalid JWT Signature."


async def test_a_failing_endpoint_is_asked_at_growing_distances(
    source: TokenSource, endpoint: TokenEndpoint, clock: Clock
) -> None:
    endpoint.reply = lambda _: (503, {}, b"")
    waits = []
    for asked in range(1, 10):
        many = await asyncio.gather(*(source.token() for _ in range(50)))
        again = await source.token()
        assert len(endpoint.forms) == asked
        assert isinstance(again, Retry)
        assert many == [again] * 50
        assert again.after_s is not None
        waits.append(again.after_s)
        clock.at += again.after_s
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    endpoint.reply = granted
    assert isinstance(await source.token(), Token)


async def test_a_renewal_that_fails_is_tried_again_while_the_old_token_serves(
    source: TokenSource, endpoint: TokenEndpoint, clock: Clock
) -> None:
    first = await source.token()
    assert isinstance(first, Token)
    endpoint.reply = lambda _: (503, {}, b"")
    clock.at = first.renew_at
    for number, backoff in enumerate([1, 2, 4, 8], start=2):
        assert source.ready() is first
        await until(lambda asked=number: len(endpoint.forms) == asked)
        await source.close()
        assert source.ready() is first  # the endpoint rests, no request is begun
        clock.at += backoff
    assert len(endpoint.forms) == 5
    endpoint.reply = granted
    assert source.ready() is first
    await until(lambda: source.ready() is not first)


async def test_the_endpoints_retry_after_is_kept(source: TokenSource, endpoint: TokenEndpoint) -> None:
    endpoint.reply = lambda _: (503, {"retry-after": "120"}, b"")
    got = await source.token()
    assert isinstance(got, Retry)
    assert got.after_s == 120


async def test_tokens_that_are_refused_as_soon_as_issued_cost_no_request_each(
    source: TokenSource, endpoint: TokenEndpoint
) -> None:
    token = await source.token()
    assert isinstance(token, Token)
    source.refuse(token, Paused(Reason.CREDENTIALS, "refused"))
    source.refuse(token, Paused(Reason.CREDENTIALS, "refused"))
    for _ in range(10):
        got = await source.token()
        assert isinstance(got, Paused)
        assert (got.reason, got.detail) == (Reason.CREDENTIALS, "refused")
    assert len(endpoint.forms) == 1


async def test_closing_the_client_ends_a_waiting_sender_with_a_value(endpoint: TokenEndpoint) -> None:
    client = open_client(timeout_s=5, system_proxy=False)
    tokens = TokenSource(parse_service_account(service_account(endpoint.url)), client)
    endpoint.gate.clear()
    waiting = asyncio.create_task(tokens.token())
    await until(lambda: len(endpoint.forms) == 1)
    await client.close()
    await tokens.close()
    await tokens.close()
    assert isinstance(await waiting, Retry)
    endpoint.gate.set()
