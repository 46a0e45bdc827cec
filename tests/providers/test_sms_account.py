"""Which accounts of SMS vendors can be used, and that no word about them holds a secret."""

from typing import Any

import msgspec
import pytest

from tests.providers.sms_vendors import SmsVendor, each_vendor


@each_vendor
def test_an_account_from_json_or_an_object(vendor: SmsVendor) -> None:
    account = vendor.parse(msgspec.json.encode(vendor.given))
    assert account == vendor.parse(vendor.given)
    assert not account.emulated
    assert [name for name in vendor.secrets if vendor.given[name] in repr(account)] == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"from": ""}, "messaging_service_sid|from"),
        ({"from": "a name too long"}, "from"),
        ({"from": "+15005550006\n1"}, "from"),
        ({"max_segments": 0}, "max_segments"),
        ({"max_segments": 11}, "max_segments"),
        ({"smart": "yes"}, "smart"),
        ({"base_url": "https://example.org"}, "base_url"),
        ({"emulated": True}, "emulated"),
    ],
)
@each_vendor
def test_what_is_refused_is_named(vendor: SmsVendor, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(vendor.error, match=named) as caught:
        vendor.parse(vendor.given | changes)
    assert [name for name in vendor.secrets if vendor.given[name] in str(caught.value)] == []


@each_vendor
def test_a_secret_that_is_missing_is_named(vendor: SmsVendor) -> None:
    for raw in ({}, vendor.given | {vendor.secrets[0]: " "}):
        with pytest.raises(vendor.error):
            vendor.parse(raw)
    with pytest.raises(vendor.error, match=vendor.secrets[0]):
        vendor.parse(vendor.given | {vendor.secrets[0]: 1})


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", "null", "{}", '{"from": 1}'])
@each_vendor
def test_what_is_no_account_at_all(vendor: SmsVendor, raw: bytes | str) -> None:
    with pytest.raises(vendor.error):
        vendor.parse(raw)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"base_url": "http://127.0.0.1:1"}, "must be https"),
        ({"base_url": "https://example.org/path"}, "without path"),
        ({"base_url": "https://example.org/?q"}, "without path"),
        ({"base_url": "ftp://example.org", "emulated": True}, "base_url"),
        ({"connections": 0}, "connections"),
        ({"connections": 65}, "connections"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 121}, "timeout_s"),
        ({"retry_floor_s": -1}, "retry_floor_s"),
        ({"ca_pem": b"none"}, "PEM"),
    ],
)
@each_vendor
async def test_what_only_the_program_sets_is_checked_too(
    vendor: SmsVendor, changes: dict[str, Any], named: str
) -> None:
    account = msgspec.structs.replace(vendor.parse(vendor.given), **changes)
    with pytest.raises(ValueError, match=named):
        await vendor.open(account)
