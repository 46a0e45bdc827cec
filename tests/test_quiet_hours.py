"""Quiet hours: over midnight, over changes of the clock, and compared with walking from minute to minute."""

import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tidings
from tidings.quiet_hours import QuietHours, quiet_until, zone

NIGHT = QuietHours(begins="22:00", ends="07:00", timezone="Europe/Zurich")
MINUTE = timedelta(minutes=1)

# Days on which these zones change their clocks: by an hour, by half of one, at midnight, in the other half of the year,
# with fractions of an hour, by a whole day; and some that do not.
CHANGES = {
    "Europe/Zurich": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "America/St_Johns": ("2026-03-08", "2026-11-01"),
    "America/Santiago": ("2026-04-04", "2026-09-06"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),
    "Asia/Kathmandu": ("2026-01-01", "2026-07-01"),
    "Africa/Casablanca": ("2026-02-15", "2026-03-22"),
    "Pacific/Chatham": ("2026-04-05", "2026-09-27"),
    "Pacific/Apia": ("2011-12-29", "2011-12-30"),
    "UTC": ("2026-12-31", "2026-06-30"),
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def is_quiet(quiet: QuietHours, place: ZoneInfo, instant: datetime) -> bool:
    """By the definition: the clock on the wall shows a quiet time."""
    shown = instant.astimezone(place).strftime("%H:%M")
    if quiet.begins < quiet.ends:
        return quiet.begins <= shown < quiet.ends
    return shown >= quiet.begins or shown < quiet.ends


def walked(quiet: QuietHours, place: ZoneInfo, now: datetime) -> datetime | None:
    """The answer by brute force: from minute to minute, until it is not quiet."""
    instant = now
    while is_quiet(quiet, place, instant):
        instant = instant.replace(second=0, microsecond=0) + MINUTE
        assert instant - now < timedelta(days=4)
    return None if instant == now else instant


def time_text(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


changes = st.sampled_from([(name, day) for name, days in CHANGES.items() for day in days])
# Mostly the small hours, in which clocks are changed.
minutes = st.one_of(st.integers(0, 4 * 60), st.integers(0, 24 * 60 - 1))


@settings(max_examples=600, deadline=None)
@given(changes, minutes, minutes, st.integers(-30 * 3600, 54 * 3600), st.integers(0, 999_999))
@example(("Europe/Zurich", "2026-03-29"), 150, 149, 0, 0)  # the only minute that is not quiet is skipped
@example(("Europe/Zurich", "2026-10-25"), 150, 420, 2400, 0)  # it begins in the hour that comes twice
@example(("Pacific/Apia", "2011-12-29"), 1, 0, 3600, 0)  # nearly a day long, and then a day is skipped
def test_it_is_as_walking_from_minute_to_minute(
    change: tuple[str, str], begins: int, ends: int, second: int, microsecond: int
) -> None:
    if begins == ends:
        ends = (ends + 1) % (24 * 60)
    name, day = change
    place = ZoneInfo(name)
    quiet = QuietHours(begins=time_text(begins), ends=time_text(ends), timezone=name)
    midnight = datetime.combine(datetime.fromisoformat(day), time(), place).astimezone(UTC)
    now = midnight + timedelta(seconds=second, microseconds=microsecond)
    found = quiet_until(quiet, None, now)
    assert found == walked(quiet, place, now)
    assert found is None or (found.tzinfo is UTC and found > now)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-01-10T21:59:59.999999+01:00", None),
        ("2026-01-10T22:00+01:00", "2026-01-11T07:00+01:00"),
        ("2026-01-10T23:59:30.5+01:00", "2026-01-11T07:00+01:00"),
        ("2026-01-11T06:59:59+01:00", "2026-01-11T07:00+01:00"),
        ("2026-01-11T07:00+01:00", None),
        ("2026-03-28T23:00+01:00", "2026-03-29T07:00+02:00"),
        ("2026-10-24T23:00+02:00", "2026-10-25T07:00+01:00"),
    ],
)
def test_a_night(now: str, until: str | None) -> None:
    assert quiet_until(NIGHT, "Asia/Tokyo", at(now)) == (until and at(until))


@pytest.mark.parametrize(
    ("begins", "ends", "now", "until"),
    [
        ("22:00", "02:30", "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"),  # 02:30 is skipped
        ("02:15", "02:45", "2026-03-29T01:59+01:00", None),  # all of it is skipped
        ("02:15", "02:45", "2026-03-29T03:00+02:00", None),
        ("22:00", "02:30", "2026-10-25T01:00+02:00", "2026-10-25T02:30+02:00"),  # 02:30 comes twice
        ("22:00", "02:30", "2026-10-25T02:45+02:00", None),
        ("22:00", "02:30", "2026-10-25T02:10+01:00", "2026-10-25T02:30+01:00"),
        ("02:30", "07:00", "2026-10-25T02:45+02:00", "2026-10-25T02:00+01:00"),  # set back to before it began
    ],
)
def test_changes_of_the_clock(begins: str, ends: str, now: str, until: str | None) -> None:
    quiet = QuietHours(begins=begins, ends=ends, timezone="Europe/Zurich")
    assert quiet_until(quiet, None, at(now)) == (until and at(until))


@pytest.mark.parametrize(
    ("own", "users", "until"),
    [
        (None, None, "2026-06-02T07:00Z"),
        (None, "Asia/Tokyo", None),
        (None, "America/New_York", None),
        (None, "Europe/Zurich", "2026-06-02T07:00+02:00"),
        ("Europe/Zurich", "Asia/Tokyo", "2026-06-02T07:00+02:00"),
        ("Europe/Atlantis", "Europe/Zurich", "2026-06-02T07:00+02:00"),
        (None, "Europe/Atlantis", "2026-06-02T07:00Z"),
    ],
)
def test_whose_clock(own: str | None, users: str | None, until: str | None) -> None:
    quiet = QuietHours(begins="22:00", ends="07:00", timezone=own)
    assert quiet_until(quiet, users, at("2026-06-01T23:30Z")) == (until and at(until))


@pytest.mark.parametrize("name", ["Europe/Zurich", "UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires"])
def test_places(name: str) -> None:
    found = zone(name)
    assert found is not None
    assert found.key == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "Europe", "Europe/", "Europe/Atlantis", "../etc/passwd", "/etc/localtime", "localtime", "Factory"),
        *("right/Europe/Zurich", "posix/Europe/Zurich", "CEST", "+02:00", "Europe/Zurich\n", "\x00", "\ud800", "ä"),
        "a" * 5000,
    ],
)
def test_no_places(name: str) -> None:
    assert zone(name) is None


def test_a_machine_without_zones_has_those_of_the_package() -> None:
    """PYTHONTZPATH (PEP 615): where the operating system's are looked for; here, nowhere."""
    code = "import zoneinfo; from tidings.quiet_hours import zone; print(zoneinfo.TZPATH, zone('Europe/Zurich'))"
    env = {"PYTHONTZPATH": "", "PYTHONPATH": str(Path(tidings.__file__).parent.parent)}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["()", "Europe/Zurich"]


def test_the_words_of_the_api() -> None:
    text = b'{"from":"22:00","until":"07:00","timezone":null,"action":"drop"}'
    quiet = msgspec.json.decode(text, type=QuietHours)
    assert quiet == QuietHours(begins="22:00", ends="07:00", timezone=None, action="drop")
    assert msgspec.json.encode(quiet) == text
