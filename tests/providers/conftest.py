"""What the end-to-end tests of SMS vendors share; each of them says which `vendor`."""

from collections.abc import AsyncIterator

import pytest

from tests.providers.report_listener import ReportListener, listening
from tests.providers.sms_vendors import SmsVendor
from tidings import emulators
from tidings.emulators import Emulators
from tidings.providers.sms_calls import SmsProvider


@pytest.fixture
async def sms_place() -> AsyncIterator[Emulators]:
    running = await emulators.start()
    yield running
    await running.close()


@pytest.fixture
async def sms_provider(vendor: SmsVendor, sms_place: Emulators) -> AsyncIterator[SmsProvider]:
    opened = await vendor.open(vendor.account(sms_place))
    yield opened
    await opened.close()


@pytest.fixture
async def sms_listener(vendor: SmsVendor, sms_place: Emulators) -> AsyncIterator[ReportListener]:
    async with listening(vendor.read, vendor.emulated(sms_place)[1]) as open_one:
        yield open_one
