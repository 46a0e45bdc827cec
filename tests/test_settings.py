"""Settings: names and defaults of the original, aliases, and what stops the start with which sentence."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from tidings.account_limits import AccountLimits
from tidings.errors import SetupError
from tidings.settings import Settings, describe, env_names, load

LONG = "0123456789abcdef0123456789abcdef"

# The configuration table of the original service. An empty host stands for what was a container's name: then Tidings
# brings its own.
ORIGINAL = {
    "PORT": ("port", 3000),
    "NODE_ENV": ("app_env", "development"),
    "DB_HOST": ("db_host", ""),
    "DB_PORT": ("db_port", 5432),
    "DB_NAME": ("db_name", "notification_db"),
    "DB_USER": ("db_user", "admin"),
    "DB_PASSWORD": ("db_password", SecretStr("admin123")),
    "REDIS_HOST": ("redis_host", ""),
    "REDIS_PORT": ("redis_port", 6379),
    "RABBITMQ_HOST": ("rabbitmq_host", ""),
    "RABBITMQ_PORT": ("rabbitmq_port", 5672),
    "RABBITMQ_USER": ("rabbitmq_user", "admin"),
    "RABBITMQ_PASSWORD": ("rabbitmq_password", SecretStr("admin123")),
    "LOG_LEVEL": ("log_level", "info"),
}


@pytest.mark.parametrize("name", ORIGINAL)
def test_names_and_defaults_of_the_original(name: str) -> None:
    field, default = ORIGINAL[name]
    assert name in env_names()[field]
    assert getattr(load({}), field) == default


def test_no_two_settings_share_a_name() -> None:
    names = [name for choices in env_names().values() for name in choices]
    assert len(names) == len(set(names))


def test_every_setting_says_what_it_is_for() -> None:
    for field, info in Settings.model_fields.items():
        assert (info.description or "").endswith("."), field


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    assert load().port == 8080


def test_nothing_else_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PORT=8080\n")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    monkeypatch.setenv("port", "8080")
    read = load({})
    assert (read.port, read.log_level) == (3000, "info")


def test_the_alias_and_which_name_wins() -> None:
    assert load({"NODE_ENV": "production"}).app_env == "production"
    assert load({"NODE_ENV": "production", "APP_ENV": "test"}).app_env == "test"


def test_embedded_without_a_database_host() -> None:
    assert load({}).embedded
    assert load({"DB_HOST": ""}).embedded
    assert not load({"DB_HOST": "postgres"}).embedded


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}).port = 1  # type: ignore[misc]


def test_spaces_around_a_value_do_not_count_except_in_a_secret() -> None:
    read = load({"PORT": " 8080\n", "DB_PASSWORD": " secret "})
    assert (read.port, read.db_password.get_secret_value()) == (8080, " secret ")


def test_limits_of_the_operators_accounts() -> None:
    read = load({"TIDINGS_LIMITS": "twilio:rate_per_s=10,most_at_once=20; fcm: rate_per_s = 0.5, burst=3;"})
    assert read.limits_by_provider() == {
        "twilio": AccountLimits(rate_per_s=10, most_at_once=20),
        "fcm": AccountLimits(rate_per_s=0.5, burst=3),
    }
    assert load({}).limits_by_provider() == {}


BAD = [
    ("PORT", "http"),
    ("PORT", ""),
    ("PORT", "70000"),
    ("PORT", "-1"),
    ("PORT", "3000.5"),
    ("DB_PORT", "0"),
    ("LOG_LEVEL", "loud"),
    ("APP_ENV", "staging"),
    ("TIDINGS_DEMO", "maybe"),
    ("TIDINGS_DB_POOL_SIZE", "5"),
    ("TIDINGS_RETRY_BASE_S", "nan"),
    ("TIDINGS_RETRY_BASE_S", "inf"),
    ("TIDINGS_RETRY_BASE_S", "0"),
    ("TIDINGS_DEFAULT_TTL_S", "2419201"),
    ("TIDINGS_MAX_BODY_BYTES", "1"),
    ("TIDINGS_ALLOWED_NETWORKS", "10.1.0.0/99"),
    ("TIDINGS_ALLOWED_NETWORKS", "10.1.2.3/16,relay.example.com"),
    ("TIDINGS_LIMITS", "twilio"),
    ("TIDINGS_LIMITS", "twilio:"),
    ("TIDINGS_LIMITS", "twillio:rate_per_s=10"),
    ("TIDINGS_LIMITS", "gateway:most_at_once=10"),
    ("TIDINGS_LIMITS", "twilio:rate=10"),
    ("TIDINGS_LIMITS", "twilio:rate_per_s=nan"),
    ("TIDINGS_LIMITS", "twilio:rate_per_s=-1"),
    ("TIDINGS_LIMITS", "twilio:rate_per_s=0"),
    ("TIDINGS_LIMITS", "twilio:rate_per_s=10,rate_per_s=20"),
    ("TIDINGS_LIMITS", "twilio:rate_per_s=10;twilio:most_at_once=20"),
    ("TIDINGS_LIMITS", "twilio:most_at_once=1.5"),
    ("TIDINGS_LIMITS", "twilio:burst=10"),
    ("TIDINGS_PUBLIC_URL", "push.example.com"),
    ("TIDINGS_PUBLIC_URL", "ftp://push.example.com"),
    ("TIDINGS_PUBLIC_URL", "https://"),
    ("TIDINGS_PUBLIC_URL", "https://push.example.com/?a=b"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_stops_the_start_with_a_sentence(name: str, value: str) -> None:
    with pytest.raises(SetupError) as raised:
        load({name: value})
    [sentence] = str(raised.value).splitlines()[1:]
    assert sentence.startswith(f"  - {name} ")
    assert repr(value) in sentence
    assert sentence.endswith(".")


def test_the_sentence_says_what_to_do() -> None:
    with pytest.raises(SetupError, match="Leave it out for the default, 3000"):
        load({"PORT": "http"})


@pytest.mark.parametrize("name", ["TIDINGS_SECRET", "TIDINGS_API_KEY"])
def test_a_short_secret_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(SetupError) as raised:
        load({name: "hunter2"})
    assert name in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "openssl rand" in str(raised.value)
    load({name: LONG})


@pytest.mark.parametrize("key", [LONG + " ", LONG + "\n", LONG + "ä", LONG[:16] + " " + LONG[16:]])
def test_a_key_that_can_not_travel_in_a_header(key: str) -> None:
    with pytest.raises(SetupError, match="TIDINGS_API_KEY must be ASCII"):
        load({"TIDINGS_API_KEY": key})


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SetupError, match="perhaps TIDINGS_RETRY_ATTEMPTS is meant"):
        load({"TIDINGS_RETRY_ATEMPTS": "3"})
    with pytest.raises(SetupError, match="remove it"):
        load({"TIDINGS_": "3"})
    load({"DB_SOMETHING_ELSE": "3", "PATH": "/bin"})


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(SetupError) as raised:
        load({"PORT": "x", "TIDINGS_NOPE": "1", "LOG_LEVEL": "loud"})
    assert [name in str(raised.value) for name in ("PORT", "TIDINGS_NOPE", "LOG_LEVEL")] == [True] * 3


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    secrets = {name: f"{number}-very-secret-0123456789abcdef0123456789" for number, name in enumerate(secret_names())}
    assert {"DB_PASSWORD", "TIDINGS_API_KEY", "TIDINGS_SECRET"} <= set(secrets)
    read = load(secrets)
    shown = repr(describe(read)) + repr(read) + str(read) + read.model_dump_json()
    assert "very-secret" not in shown
    values = {name: value for name, value, _ in describe(read)}
    assert {values[name] for name in secrets} == {"********"}


def secret_names() -> list[str]:
    return [env_names()[field][0] for field, info in Settings.model_fields.items() if info.annotation is SecretStr]


def test_everything_in_force_is_shown() -> None:
    rows = {name: value for name, value, _ in describe(load({"PORT": "8080"}))}
    assert set(rows) == {choices[0] for choices in env_names().values()}
    assert (rows["PORT"], rows["TIDINGS_API_KEY"]) == ("8080", "")


def test_where_data_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert load({}).data_dir == Path("/var/lib/tidings")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/home/ann/.data")
    assert load({}).data_dir == Path("/home/ann/.data/tidings")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert load({}).data_dir == Path.home() / ".local" / "share" / "tidings"
    assert load({"TIDINGS_DATA_DIR": "/srv/tidings"}).data_dir == Path("/srv/tidings")
