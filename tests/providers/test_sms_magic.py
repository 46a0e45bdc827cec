"""Every magic number of the SMS vendors' emulators leads to the outcome that it should, over real HTTP and TLS."""

import msgspec
import pytest

from tests.providers.sms_vendors import TWILIO, VONAGE
from tests.providers.text_message import message, shape
from tidings.emulators import Emulators
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.sms_calls import SmsProvider

ROUTE = Paused(Reason.VENDOR_CREDENTIALS, after_s=3600.0)
BUSY = Retry(Reason.UNAVAILABLE, after_s=10.0)
FAST = Retry(Reason.RATE_LIMITED, account_wide=True)
BROKEN = Retry(Reason.CONNECTION, after_s=10.0, maybe_taken=True)

BOTH: dict[str, Outcome] = {
    "+15005560402": Paused(Reason.CREDENTIALS, after_s=600.0),
    "+15005560429": Retry(Reason.RATE_LIMITED, after_s=7.0, account_wide=True),
    "+15005560500": BUSY,
    "+15005560502": msgspec.structs.replace(BUSY, maybe_taken=True),
    "+15005560503": Retry(Reason.UNAVAILABLE, after_s=7.0),
    "+15005560504": msgspec.structs.replace(BUSY, maybe_taken=True),
    "+15005561001": BROKEN,
    "+15005561002": BROKEN,
    "+15005561004": BROKEN,
    "+15005561005": msgspec.structs.replace(BUSY, maybe_taken=True),
    "+15005564001": BUSY,
}
TAKEN = {"+15005561002", "+15005561005"}
TWILIO_ALONE: dict[str, Outcome] = {
    "+15005550001": Gone(Reason.INVALID_ADDRESS),
    "+15005550002": ROUTE,
    "+15005550003": ROUTE,
    "+15005550004": Gone(Reason.OPTED_OUT),
    "+15005550009": Gone(Reason.INVALID_ADDRESS),
    "+15005520003": Paused(Reason.CREDENTIALS),
    "+15005520404": Paused(Reason.WRONG_ACCOUNT),
    "+15005520429": FAST,
    "+15005521606": Paused(Reason.WRONG_ACCOUNT),
    "+15005521608": ROUTE,
    "+15005521609": Paused(Reason.WRONG_ACCOUNT),
    "+15005521611": FAST,
    "+15005521617": Rejected(Reason.MESSAGE_TOO_BIG),
    "+15005521635": Gone(Reason.INVALID_ADDRESS),
    "+15005521999": Rejected(Reason.INVALID_MESSAGE),
}
VONAGE_ALONE: dict[str, Outcome] = {
    "+15005570001": FAST,
    "+15005570002": Rejected(Reason.INVALID_MESSAGE),
    "+15005570003": Rejected(Reason.INVALID_MESSAGE),
    "+15005570004": Paused(Reason.CREDENTIALS),
    "+15005570005": Retry(Reason.UNAVAILABLE, after_s=10.0),
    "+15005570006": Gone(Reason.INVALID_ADDRESS),
    "+15005570007": Gone(Reason.OPTED_OUT),
    "+15005570008": Paused(Reason.CREDENTIALS),
    "+15005570009": Paused(Reason.CREDENTIALS, after_s=600.0),
    "+15005570010": FAST,
    "+15005570012": Rejected(Reason.MESSAGE_TOO_BIG),
    "+15005570014": Paused(Reason.CREDENTIALS),
    "+15005570015": ROUTE,
    "+15005570023": Paused(Reason.WRONG_ACCOUNT),
    "+15005570029": ROUTE,
    "+15005570033": Gone(Reason.UNREGISTERED),
}


CASES = [
    pytest.param(vendor, number, wanted, id=f"{vendor.name}{number}")
    for vendor, alone in ((TWILIO, TWILIO_ALONE), (VONAGE, VONAGE_ALONE))
    for number, wanted in (BOTH | alone).items()
]


@pytest.mark.parametrize(("vendor", "number", "wanted"), CASES)
async def test_magic_number(sms_provider: SmsProvider, sms_place: Emulators, number: str, wanted: Outcome) -> None:
    got = await sms_provider.send(message(number))
    assert shape(got) == shape(wanted)
    assert not isinstance(got, Sent)
    assert got.detail
    assert number[1:] not in got.detail
    assert sms_place.accepted.total == (number in TAKEN)
