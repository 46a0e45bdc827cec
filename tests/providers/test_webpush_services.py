"""How addresses of push services are kept, checked again and left: real clients, our own resolver."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tests.providers.webpush_browser import json_of, message
from tidings import emulators
from tidings.addresses import Target, check_url
from tidings.providers.contract import Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.webpush import open_webpush
from tidings.providers.webpush_account import WebPushAccount, check_account, guard_of
from tidings.providers.webpush_services import CHECK_S, MOST_SERVICES, Pinned, PushService, PushServices
from tidings.providers.webpush_vapid import new_private_key

KEY = new_private_key()
ACCOUNT = WebPushAccount(KEY, "mailto:push@example.org", connections=1)
ONE, TWO, THREE = "142.250.1.1", "142.250.1.2", "142.250.1.3"


class Names:
    """A resolver whose answer can be changed, and a clock that stands still."""

    def __init__(self) -> None:
        self.answer: list[str] | None = [ONE, TWO]
        self.asked = 0
        self.seconds = 1000.0
        self.hold = asyncio.Event()
        self.hold.set()

    async def lookup(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        await self.hold.wait()
        if self.answer is None:
            raise OSError("no DNS")
        return self.answer

    def services(self) -> PushServices:
        return PushServices(ACCOUNT, guard_of(ACCOUNT), self.lookup, lambda: self.seconds)


def target(host: str = "fcm.googleapis.com") -> Target:
    return check_url(f"https://{host}/x", guard_of(ACCOUNT))


async def pinned_of(services: PushServices, service: PushService) -> Pinned | Outcome:
    """After a check that was due has ended."""
    found = await services.pinned(service)
    if service.checking is not None:
        await service.checking
        found = await services.pinned(service)
    return found


async def test_a_crowd_shares_one_lookup() -> None:
    names = Names()
    services = names.services()
    service = services.of(target())
    names.hold.clear()
    waiting = [asyncio.create_task(services.pinned(service)) for _ in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    names.hold.set()
    found = (await asyncio.gather(*waiting, return_exceptions=True))[1:]
    assert all(isinstance(each, Pinned) and each.address == ONE for each in found)
    assert names.asked == 1
    await services.close()


async def test_connections_stay_while_the_address_is_among_the_answers() -> None:
    names = Names()
    services = names.services()
    service = services.of(target())
    first = await pinned_of(services, service)
    assert isinstance(first, Pinned)
    names.answer = [THREE, ONE]
    names.seconds += CHECK_S
    again = await pinned_of(services, service)
    assert isinstance(again, Pinned)
    assert (again.client is first.client, again.address, again.addresses) == (True, ONE, (THREE, ONE))
    names.answer = [THREE]
    names.seconds += CHECK_S
    moved = await pinned_of(services, service)
    assert isinstance(moved, Pinned)
    assert (moved.client is first.client, moved.address) == (False, THREE)
    assert names.asked == 3
    await services.close()


async def test_a_check_goes_on_beside_the_calls() -> None:
    names = Names()
    services = names.services()
    service = services.of(target())
    first = await services.pinned(service)
    names.hold.clear()
    names.seconds += CHECK_S
    assert await services.pinned(service) is first
    names.hold.set()
    await services.close()


async def test_without_dns_the_checked_address_goes_on_and_a_new_service_waits() -> None:
    names = Names()
    services = names.services()
    service = services.of(target())
    first = await pinned_of(services, service)
    names.answer = None
    names.seconds += CHECK_S
    assert await pinned_of(services, service) is first
    got = await services.pinned(services.of(target("web.push.apple.com")))
    assert isinstance(got, Retry)
    await services.close()


async def test_a_name_that_leads_inside_later_is_not_called_any_more() -> None:
    names = Names()
    services = names.services()
    service = services.of(target())
    assert isinstance(await pinned_of(services, service), Pinned)
    names.answer = [ONE, "169.254.169.254"]
    names.seconds += CHECK_S
    got = await pinned_of(services, service)
    assert isinstance(got, Rejected)
    assert got.reason is Reason.FORBIDDEN_ADDRESS
    await services.close()


async def test_the_one_used_least_lately_is_let_go() -> None:
    names = Names()
    services = names.services()
    first = services.of(target("first.notify.windows.com"))
    second = services.of(target("second.notify.windows.com"))
    assert services.of(target("first.notify.windows.com")) is first
    for number in range(MOST_SERVICES - 1):
        services.of(target(f"a{number}.notify.windows.com"))
    assert services.of(target("first.notify.windows.com")) is first
    assert services.of(target("second.notify.windows.com")) is not second
    await services.close()


async def test_a_call_under_way_ends_well_when_its_service_was_let_go() -> None:
    vendor = await emulators.start()
    account = WebPushAccount(
        KEY,
        "mailto:push@example.org",
        ca_pem=vendor.ca_pem,
        emulated=True,
        allowed_hosts=("*.example.net",),
        connections=1,
    )

    async def here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    provider = await open_webpush(account, here)
    slow = json_of(vendor.webpush.subscribe("latency-300-1"))
    waiting = asyncio.create_task(provider.send(message(slow)))
    async with asyncio.timeout(10):
        while not vendor.tls_server.requests:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0.01)
    # Not of the emulator's name, so TLS refuses each at once; what matters is that each takes a place.
    others = [slow.replace("127.0.0.1", f"a{number}.example.net") for number in range(MOST_SERVICES + 1)]
    got = await asyncio.gather(*(provider.send(message(other)) for other in others))
    assert {type(each) for each in got} == {Retry}
    assert isinstance(await waiting, Sent)
    await provider.close()
    await vendor.close()


async def test_after_a_rest_one_call_goes_first() -> None:
    names = Names()
    services = names.services()
    service = services.of(target())
    service.learn(Paused(Reason.PUSH_SERVICE_CREDENTIALS, "no", after_s=600.0))
    rest = service.resting()
    assert rest == Paused(Reason.PUSH_SERVICE_CREDENTIALS, "no", after_s=60.0)
    names.seconds += 61
    assert service.resting() is None  # the probe
    assert service.resting() == Paused(Reason.PUSH_SERVICE_CREDENTIALS, "no", after_s=1.0)
    service.probed()  # it ended without an answer
    assert service.resting() is None
    service.learn(Sent("1"))
    service.probed()
    assert [service.resting() for _ in range(3)] == [None] * 3
    await services.close()


async def test_a_token_is_signed_once_in_six_hours() -> None:
    services = Names().services()
    service, other = services.of(target()), services.of(target("web.push.apple.com"))
    vapid = check_account(ACCOUNT)
    now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    first = service.authorization(vapid, now)
    assert service.authorization(vapid, now + timedelta(hours=5, minutes=59)) == first
    assert service.authorization(vapid, now + timedelta(hours=6)) != first
    assert other.authorization(vapid, now) != first
    await services.close()
