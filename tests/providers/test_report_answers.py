"""Every recorded report of a vendor, and every recorded bounce, says what it should."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidings.providers import dsn, mailgun_reports, postmark_reports, sendgrid_reports, ses_reports
from tidings.providers.contract import Report

ANSWERS = Path(__file__).parent / "answers"
VENDORS = ("ses", "sendgrid", "mailgun", "postmark", "mail")
CASES = [
    pytest.param(vendor, path, id=f"{vendor}/{path.stem}")
    for vendor in VENDORS
    for path in sorted((ANSWERS / vendor).glob("*.json"))
]


def read(vendor: str, case: dict[str, Any]) -> list[Report]:
    """The reports in a recorded body, whose signature is another test's matter."""
    match vendor:
        case "ses":
            return ses_reports.reports_of(msgspec.json.encode(case["body"]).decode())
        case "sendgrid":
            return [report for event in case["body"] for report in sendgrid_reports.reports_of(event)]
        case "mailgun":
            return mailgun_reports.reports_of(msgspec.convert(case["body"], mailgun_reports.Event))
        case "postmark":
            return postmark_reports.reports_of(msgspec.convert(case["body"], postmark_reports.Event))
    return dsn.read("\n".join(case["mail"]).encode())


@pytest.mark.parametrize(("vendor", "path"), CASES)
def test_a_recorded_report(vendor: str, path: Path) -> None:
    case = msgspec.json.decode(path.read_bytes())
    assert case["source"]
    found = read(vendor, case)
    shown = [
        {
            "fate": str(report.fate),
            "reference": report.reference,
            "address": report.address,
            **({"reason": str(report.reason)} if report.reason else {}),
        }
        for report in found
    ]
    assert shown == case["reports"]
    assert all("@" not in report.detail for report in found), "a detail is kept and shown: it names no address"


@pytest.mark.parametrize("vendor", VENDORS)
def test_there_are_recorded_reports(vendor: str) -> None:
    assert len([case for case in CASES if case.values[0] == vendor]) >= 10


def test_windows_line_ends() -> None:
    case = msgspec.json.decode((ANSWERS / "mail" / "unknown_user.json").read_bytes())
    [report] = dsn.read("\r\n".join(case["mail"]).encode())
    assert [report.fate, report.reference, report.address] == [
        case["reports"][0][k] for k in ("fate", "reference", "address")
    ]
