"""Preferences: what a user allows, per category and channel, and when they are not to be disturbed.

No rule means yes. Of the rules the most specific counts: (category, channel), then ('*', channel), which is also the
rule for notifications without a category.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tidings import events
from tidings.db import Connection, Pool, load, transaction
from tidings.errors import FieldError, Invalid, NotFound
from tidings.events import Event, EventType
from tidings.quiet_hours import UNKNOWN_ZONE, QuietHours, zone
from tidings.routing import Channel

SQL = load("preferences")

ANY = "*"  # the category of rules for all categories without one of their own
MOST_RULES = 500  # a user; all of them are read for each notification

Category = Annotated[
    str,
    Meta(
        pattern=r"^(\*|[A-Za-z0-9_.\-]{1,64})$(?!\n)",
        description="What it is about; `*` stands for all categories without a rule of their own",
        examples=["marketing"],
    ),
]


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether notifications of a category may take a channel."""

    category: Category
    channel: Channel
    enabled: bool


class RuleChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule to set; `enabled` null forgets it, so that the one of `*` counts."""

    category: Category
    channel: Channel
    enabled: bool | None


class UserPreferences(Struct, frozen=True, forbid_unknown_fields=True):
    """All that a user allows, by category and channel. As an answer, and to replace it."""

    preferences: Annotated[list[Rule], Meta(max_length=MOST_RULES)]
    quiet_hours: QuietHours | None = None


class PreferencesChange(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The rules to set or forget; the others stay. Quiet hours left out stay, too; null ends them."""

    preferences: Annotated[list[RuleChange], Meta(max_length=MOST_RULES)] = []
    quiet_hours: QuietHours | UnsetType | None = UNSET


class Preferences(Struct, frozen=True):
    """What planning looks at. `rules`: `category/channel` → enabled, see `allows`."""

    rules: dict[str, bool] = {}
    quiet: QuietHours | None = None


NONE = Preferences()
COLUMNS = ("category", "channel", "enabled")

_decoder = msgspec.json.Decoder(Preferences)


def decode_preferences(text: str | None) -> Preferences | None:
    """The JSON text that the statement `load` makes of a user's preferences; None for a user who has none. Pure."""
    return None if text is None else _decoder.decode(text)


def allows(preferences: Preferences | None, category: str | None, channel: str) -> bool:
    """Whether a notification of this category (None: of none) may take the channel. Pure."""
    if preferences is None:
        return True
    usual = preferences.rules.get(f"{ANY}/{channel}", True)
    return usual if category is None else preferences.rules.get(f"{category}/{channel}", usual)


async def get(db: Pool | Connection, project_id: int, user_id: int) -> UserPreferences:
    """All that a user allows. Raises `NotFound`."""
    return _shown(await _known(db, project_id, user_id))


async def replace(db: Pool | Connection, project_id: int, user_id: int, wanted: UserPreferences) -> UserPreferences:
    """Make it exactly this. Raises `NotFound`, `Invalid`. Twice is safe."""
    rules = _by_key(wanted.preferences)
    _check(wanted.quiet_hours)
    return _shown(await _settle(db, project_id, user_id, lambda _: Preferences(rules, wanted.quiet_hours)))


async def change(db: Pool | Connection, project_id: int, user_id: int, wanted: PreferencesChange) -> UserPreferences:
    """Change what is named. Raises `NotFound`, `Invalid`. Twice is safe."""
    rules, quiet = _by_key(wanted.preferences), wanted.quiet_hours
    if quiet is not UNSET:
        _check(quiet)

    def decide(old: Preferences) -> Preferences:
        merged = {key: enabled for key, enabled in {**old.rules, **rules}.items() if enabled is not None}
        if len(merged) > max(MOST_RULES, len(old.rules)):
            raise _invalid("/preferences", f"A user may have {MOST_RULES} rules; these would make {len(merged)}")
        return Preferences(merged, old.quiet if quiet is UNSET else quiet)

    return _shown(await _settle(db, project_id, user_id, decide))


async def set_one(
    db: Pool | Connection, project_id: int, user_id: int, category: str, channel: Channel, enabled: bool
) -> None:
    """Set one rule, as an unsubscribe link does: also for a user who has as many as there may be. Raises `NotFound`.

    The caller vouches for the category, see `Category`. Twice is safe, and the second time nothing has happened.
    """
    rule = {f"{category}/{channel}": enabled}
    await _settle(db, project_id, user_id, lambda old: Preferences({**old.rules, **rule}, old.quiet))


async def _known(db: Pool | Connection, project_id: int, user_id: int) -> Preferences:
    row = await db.fetchrow(SQL["load"], project_id, [user_id])
    if row is None:
        raise NotFound(code="user_not_found")
    return decode_preferences(row["preferences"]) or NONE


async def _settle(
    db: Pool | Connection, project_id: int, user_id: int, decide: Callable[[Preferences], Preferences]
) -> Preferences:
    """Make of what is known what `decide` says, in one transaction, with an event if that changed anything."""
    async with transaction(db) as connection:
        await connection.execute(SQL["lock"], project_id, user_id)
        old = await _known(connection, project_id, user_id)
        new = decide(old)
        gone = [key.split("/") for key in old.rules if key not in new.rules]
        fresh = [(*key.split("/"), on) for key, on in new.rules.items() if old.rules.get(key) is not on]
        if gone:
            await connection.execute(SQL["forget_rules"], user_id, [g[0] for g in gone], [g[1] for g in gone])
        if fresh:
            columns = [list(column) for column in zip(*fresh, strict=True)]
            await connection.execute(SQL["set_rules"], project_id, user_id, *columns)
        if new.quiet != old.quiet:
            await _store_quiet_hours(connection, project_id, user_id, new.quiet)
        if new != old:
            changed = [dict(zip(COLUMNS, rule, strict=True)) for rule in [*((*key, None) for key in gone), *fresh]]
            data = {"user_id": user_id, "changed": changed, "quiet_hours_changed": new.quiet != old.quiet}
            await events.append(connection, [Event(project_id, EventType.PREFERENCES_CHANGED, data)])
    return new


async def _store_quiet_hours(connection: Connection, project_id: int, user_id: int, quiet: QuietHours | None) -> None:
    if quiet is None:
        await connection.execute(SQL["forget_quiet_hours"], user_id)
    else:
        values = (quiet.begins, quiet.ends, quiet.timezone, quiet.action)
        await connection.execute(SQL["set_quiet_hours"], project_id, user_id, *values)


def _shown(known: Preferences) -> UserPreferences:
    rules = sorted((*key.split("/"), enabled) for key, enabled in known.rules.items())
    return UserPreferences(
        [msgspec.convert(dict(zip(COLUMNS, rule, strict=True)), Rule) for rule in rules], known.quiet
    )


def _by_key(rules: Sequence[Rule | RuleChange]) -> dict[str, Any]:
    """Rules by `category/channel`. Of a pair that stands there twice the last one counts."""
    return {f"{rule.category}/{rule.channel}": rule.enabled for rule in rules}


def _check(quiet: QuietHours | None) -> None:
    if quiet is None:
        return
    if quiet.begins == quiet.ends:
        raise _invalid("/quiet_hours/until", "Quiet hours can't end at the time at which they begin")
    if quiet.timezone is not None and zone(quiet.timezone) is None:
        raise _invalid("/quiet_hours/timezone", UNKNOWN_ZONE)


def _invalid(pointer: str, detail: str) -> Invalid:
    return Invalid(f"{pointer}: {detail}", code="invalid_field", errors=[FieldError(pointer, "invalid_field", detail)])
