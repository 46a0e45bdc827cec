"""Which rule counts, and reading the preferences of many users at once."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Project
from tidings import preferences
from tidings.app import App
from tidings.errors import NotFound
from tidings.preferences import SQL, Preferences, PreferencesChange, Rule, RuleChange, allows, decode_preferences
from tidings.quiet_hours import QuietHours
from tidings.routing import CHANNELS


def test_no_rule_means_yes() -> None:
    for channel, category in itertools.product(CHANNELS, (None, "marketing", "*")):
        assert allows(None, category, channel)
        assert allows(Preferences(), category, channel)


@pytest.mark.parametrize(
    ("rules", "category", "channel", "allowed"),
    [
        ({"marketing/email": False}, "marketing", "email", False),
        ({"marketing/email": False}, "marketing", "sms", True),
        ({"marketing/email": False}, "Marketing", "email", True),
        ({"marketing/email": False}, None, "email", True),
        ({"*/email": False}, "marketing", "email", False),
        ({"*/email": False}, None, "email", False),
        ({"*/email": False}, None, "sms", True),
        ({"*/email": False, "orders/email": True}, "orders", "email", True),
        ({"*/email": False, "orders/email": True}, "marketing", "email", False),
        ({"*/email": False, "orders/email": True}, None, "email", False),
        ({"*/email": True, "orders/email": False}, "orders", "email", False),
    ],
)
def test_the_most_specific_rule_counts(
    rules: dict[str, bool], category: str | None, channel: str, allowed: bool
) -> None:
    assert allows(Preferences(rules), category, channel) is allowed


@given(st.dictionaries(st.sampled_from(["*/sms", "a/sms", "b/sms"]), st.booleans()), st.sampled_from(["a", "b", None]))
def test_a_rule_of_another_channel_never_counts(rules: dict[str, bool], category: str | None) -> None:
    assert allows(Preferences(rules), category, "email")


async def loaded(app: App, project_id: int, *user_ids: int) -> dict[int, Preferences | None]:
    rows = await app.db.fetch(SQL["load"], project_id, list(user_ids))
    return {row["id"]: decode_preferences(row["preferences"]) for row in rows}


async def test_many_are_read_in_one_statement(app: App, project: Project, other: Project) -> None:
    neither, ruled, quiet, both = [await project.user() for _ in range(4)]
    stranger = await other.user()
    night = QuietHours(begins="22:00", ends="07:00", timezone="Europe/Zurich", action="drop")
    no_sms = RuleChange("*", "sms", False)
    for user_id, change in (
        (ruled, PreferencesChange([no_sms, RuleChange("a.b-c_d", "email", True)])),
        (quiet, PreferencesChange(quiet_hours=night)),
        (both, PreferencesChange([no_sms], night)),
    ):
        await preferences.change(app.db, project.id, user_id, change)
    await preferences.set_one(app.db, other.id, stranger, "*", "push", False)
    assert await loaded(app, project.id, neither, ruled, quiet, both, stranger) == {
        neither: None,
        ruled: Preferences({"*/sms": False, "a.b-c_d/email": True}),
        quiet: Preferences({}, night),
        both: Preferences({"*/sms": False}, night),
    }


async def test_one_rule_is_set_and_twice_is_once(app: App, project: Project) -> None:
    user_id = await project.user()
    for _ in range(2):
        await preferences.set_one(app.db, project.id, user_id, "marketing", "email", False)
    assert (await preferences.get(app.db, project.id, user_id)).preferences == [Rule("marketing", "email", False)]
    count = "SELECT count(*) FROM events WHERE project_id = $1 AND type = 'preferences.changed'"
    assert await app.db.fetchval(count, project.id) == 1
    await preferences.set_one(app.db, project.id, user_id, "marketing", "email", True)
    assert (await preferences.get(app.db, project.id, user_id)).preferences == [Rule("marketing", "email", True)]
    assert await app.db.fetchval(count, project.id) == 2


async def test_one_rule_of_nobody(app: App, project: Project, other: Project) -> None:
    stranger = await other.user()
    for user_id in (stranger, 2**62):
        with pytest.raises(NotFound):
            await preferences.set_one(app.db, project.id, user_id, "marketing", "email", False)
    assert (await preferences.get(app.db, other.id, stranger)).preferences == []


async def test_reading_takes_only_probes_of_indexes(app: App, project: Project) -> None:
    """Whatever the planner believes of tables that are still empty: each user's part is found by its key."""
    async with app.db.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        await connection.execute("SET LOCAL enable_bitmapscan = off")
        rows = await connection.fetch("EXPLAIN " + SQL["load"], project.id, [1, 2, 3])
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan using user_preferences_pkey on user_preferences p" in plan
    assert "Index Scan using quiet_hours_pkey on quiet_hours h" in plan
    assert "Seq Scan" not in plan
