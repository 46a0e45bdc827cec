"""Every setting: its name in the environment, default, unit and reason. `tidings config` prints what is in force.

Names of the original service are kept (`PORT`, `DB_HOST` …); everything else begins with `TIDINGS_`.
`docs/settings.md` lists them all, and a test holds the two together.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tidings.errors import SetupError
from tidings.tls_settings import TlsSettings
from tidings.vendor_settings import VendorSettings, env

OURS = frozenset({"TIDINGS_PROCESS"})  # not a setting: how a supervisor numbers its processes


def default_data_dir() -> Path:
    """Where embedded mode keeps its data: a system folder for root, the user's own data folder otherwise.

    Root gets a system folder because PostgreSQL refuses to run as root and the user it runs as can't
    enter root's home.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/tidings")
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "tidings"


class Settings(TlsSettings, VendorSettings):
    """All settings, read once at the start from the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    app_env: Literal["development", "test", "production"] = Field(
        "development",
        validation_alias=env("APP_ENV", "NODE_ENV"),
        description="What kind of installation this is; shown by the health check. NODE_ENV is an alias.",
    )
    host: str = Field(
        "127.0.0.1",
        validation_alias=env("TIDINGS_HOST"),
        description="Address to listen on. 0.0.0.0 opens it to the network (containers need that).",
    )
    port: int = Field(
        3000,
        ge=0,
        le=65535,
        validation_alias=env("PORT"),
        description="Port of the REST API. 0: a free one.",
    )
    gateway_port: int = Field(
        3001,
        ge=0,
        le=65535,
        validation_alias=env("GATEWAY_PORT"),
        description="Port of the WebSocket gateway. 0: a free one.",
    )
    emulator_port: int = Field(
        3002,
        ge=0,
        le=65535,
        validation_alias=env("TIDINGS_EMULATOR_PORT"),
        description="Port where the bundled vendor emulators show what they received. 0: a free one.",
    )
    public_url: str = Field(
        "",
        validation_alias=env("TIDINGS_PUBLIC_URL"),
        description="How devices reach this API, for receipts. Empty: http://127.0.0.1:PORT in embedded "
        "mode, otherwise no receipts are asked for.",
    )
    db_host: str = Field(
        "",
        validation_alias=env("DB_HOST"),
        description="PostgreSQL host, or the folder of its socket. Empty: embedded mode, a private "
        "PostgreSQL in the data directory.",
    )
    db_port: int = Field(5432, ge=1, le=65535, validation_alias=env("DB_PORT"), description="PostgreSQL port.")
    db_name: str = Field("notification_db", validation_alias=env("DB_NAME"), description="PostgreSQL database name.")
    db_user: str = Field("admin", validation_alias=env("DB_USER"), description="PostgreSQL user name.")
    db_password: SecretStr = Field(
        SecretStr("admin123"), validation_alias=env("DB_PASSWORD"), description="PostgreSQL password."
    )
    db_replica_host: str = Field(
        "",
        validation_alias=env("DB_REPLICA_HOST"),
        description="Host of a read replica with the same port, name and user. The API reads lists there; they "
        "may lag behind, and are unavailable while it is away. Empty: everything is read from DB_HOST.",
    )
    db_pool_size: int = Field(
        12,
        ge=6,  # batches hold 4 while they wait for a turn, which another connection may have to end (api/intake.py)
        le=200,
        validation_alias=env("TIDINGS_DB_POOL_SIZE"),
        description="Most connections to PostgreSQL that one process opens, beside 3 of the critical lane. At least 6.",
    )
    redis_host: str = Field(
        "",
        validation_alias=env("REDIS_HOST"),
        description="Redis host. Empty: presence, limits and recovery are kept in this process; right for just one.",
    )
    redis_port: int = Field(6379, ge=1, le=65535, validation_alias=env("REDIS_PORT"), description="Redis port.")
    redis_password: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("REDIS_PASSWORD"),
        description="Redis password, if it asks for one.",
    )
    rabbitmq_host: str = Field(
        "",
        validation_alias=env("RABBITMQ_HOST"),
        description="RabbitMQ host. Empty: the queue is kept in this process, which is right for one.",
    )
    rabbitmq_port: int = Field(
        5672, ge=1, le=65535, validation_alias=env("RABBITMQ_PORT"), description="RabbitMQ port."
    )
    rabbitmq_user: str = Field("admin", validation_alias=env("RABBITMQ_USER"), description="RabbitMQ user name.")
    rabbitmq_password: SecretStr = Field(
        SecretStr("admin123"), validation_alias=env("RABBITMQ_PASSWORD"), description="RabbitMQ password."
    )
    operations_port: int = Field(
        3003,
        ge=0,
        le=65535,
        validation_alias=env("TIDINGS_OPERATIONS_PORT"),
        description="Port for /metrics, /livez and /readyz of each process. Keep it inside. 0: a free one.",
    )
    max_backlog: int = Field(
        200_000,
        ge=100,
        validation_alias=env("TIDINGS_MAX_BACKLOG"),
        description="Most due tasks that may wait; beyond that the API answers 503 until workers catch up.",
    )
    rate_per_key: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        validation_alias=env("TIDINGS_RATE_PER_KEY"),
        description="Calls a second that one API key may make, twice as many at once. 0: no limit.",
    )
    rate_per_project: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        validation_alias=env("TIDINGS_RATE_PER_PROJECT"),
        description="Calls a second that all keys of a project may make together, twice as many at once. 0: no limit.",
    )
    drain_s: float = Field(
        0.0,
        ge=0,
        le=300,
        validation_alias=env("TIDINGS_DRAIN_S"),
        description="Seconds between turning readiness off and stopping, so that a load balancer notices. "
        "Behind one it must be above 0; Compose sets 5 for the API and the gateway.",
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        validation_alias=env("TIDINGS_DATA_DIR"),
        description="Where embedded mode keeps the database and generated secrets. Default: /var/lib/tidings "
        "as root, ~/.local/share/tidings otherwise.",
    )
    log_level: Literal["debug", "info", "warn", "warning", "error"] = Field(
        "info", validation_alias=env("LOG_LEVEL"), description="Least level that is logged."
    )
    api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("TIDINGS_API_KEY"),
        description="Embedded mode: the first API key (at least 32 characters). Empty: made once and printed.",
    )
    secret: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("TIDINGS_SECRET"),
        description="Signs user tokens and receipts (at least 32 characters; `openssl rand -base64 32`). "
        "Empty: made once and kept in the data directory.",
    )
    secret_old: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("TIDINGS_SECRET_OLD"),
        description="The TIDINGS_SECRET of before, while it is being replaced: stored credentials of projects still "
        "open with it. Empty: there is none.",
    )
    demo: bool = Field(
        True,
        validation_alias=env("TIDINGS_DEMO"),
        description="Embedded mode, first start: make a demo user with an emulated phone and send it a notification.",
    )
    max_body_bytes: int = Field(
        1_048_576,
        ge=1024,
        validation_alias=env("TIDINGS_MAX_BODY_BYTES"),
        description="Largest request body in bytes. A batch may have eight times as much.",
    )
    default_ttl_s: int = Field(
        86_400,
        ge=0,
        le=2_419_200,
        validation_alias=env("TIDINGS_DEFAULT_TTL_S"),
        description="Seconds for which a notification is worth delivering, when it does not say itself.",
    )
    retry_attempts: int = Field(
        8,
        ge=1,
        le=50,
        validation_alias=env("TIDINGS_RETRY_ATTEMPTS"),
        description="Most attempts for one delivery.",
    )
    retry_base_s: float = Field(
        10.0,
        gt=0,
        le=3600,
        validation_alias=env("TIDINGS_RETRY_BASE_S"),
        description="Seconds before the second attempt; doubled each time, with full jitter added. Vendors ask for 10.",
    )
    lease_s: float = Field(
        60.0,
        ge=2,
        le=3600,
        validation_alias=env("TIDINGS_LEASE_S"),
        description="Seconds for which a worker owns a task; when it dies, another takes over after that.",
    )
    rescue_s: float = Field(
        15.0,
        ge=1,
        le=3600,
        validation_alias=env("TIDINGS_RESCUE_S"),
        description="Seconds after which a published task that no worker took is published again.",
    )
    retention_days: int = Field(
        90,
        ge=0,
        le=3650,
        validation_alias=env("TIDINGS_RETENTION_DAYS"),
        description="Days for which notifications, deliveries and attempts are kept; whole days go after that. Events "
        "and broadcasts are kept as long. 0: for ever.",
    )
    gateway_origins: str = Field(
        "",
        validation_alias=env("TIDINGS_GATEWAY_ORIGINS"),
        description="Origins of web pages that may open a WebSocket, separated by commas "
        "(https://app.example.com). Empty: pages of localhost only. *: all.",
    )
    user_token_ttl_s: int = Field(
        3600,
        ge=60,
        le=86_400,
        validation_alias=env("TIDINGS_USER_TOKEN_TTL_S"),
        description="Seconds for which a user token for the gateway is valid, when the call does not say.",
    )

    @property
    def embedded(self) -> bool:
        """True when Tidings brings its own PostgreSQL."""
        return not self.db_host

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: it has read the environment, and no file is looked at."""
        return (init_settings,)


def env_names() -> dict[str, list[str]]:
    """Field name → its names in the environment, the preferred one first."""
    names = {}
    for field, info in Settings.model_fields.items():
        assert isinstance(info.validation_alias, AliasChoices)
        names[field] = [str(choice) for choice in info.validation_alias.choices]
    return names


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings, or raise `SetupError` with a sentence for each thing to mend.

    An unknown `TIDINGS_…` variable is an error: most often it is a typo of one that matters.
    """
    environ = os.environ if environ is None else environ
    names = env_names()
    known = {name for choices in names.values() for name in choices}
    sentences = [
        f"{name} is not a setting of Tidings; {_nearest(name, known)}"
        for name in environ
        if name.startswith("TIDINGS_") and name not in known and name not in OURS
    ]
    values = {}
    for field, choices in names.items():
        given = [environ[name] for name in choices if name in environ]
        if given:  # a secret is taken as it is: what looks like a stray space may belong to it
            values[field] = given[0] if _secret(field) else given[0].strip()
    settings = None
    try:
        settings = Settings(**values)  # type: ignore[arg-type]
        sentences += _unsafe(settings)
    except ValidationError as error:
        sentences += [_sentence(names[str(e["loc"][0])], str(e["loc"][0]), e["msg"], values) for e in error.errors()]
    if settings is None or sentences:
        raise SetupError("These settings can't be used:\n" + "\n".join(f"  - {said}." for said in sentences)) from None
    return settings


def _secret(field: str) -> bool:
    return Settings.model_fields[field].annotation is SecretStr


def _unsafe(settings: Settings) -> list[str]:
    """What the types can't say."""
    secrets = {
        "TIDINGS_API_KEY": settings.api_key,
        "TIDINGS_SECRET": settings.secret,
        "TIDINGS_SECRET_OLD": settings.secret_old,
    }
    found = [
        f"{name} is too short to be safe: use at least 32 random characters, such as `openssl rand -base64 32`"
        for name, secret in secrets.items()
        if 0 < len(secret.get_secret_value()) < 32
    ]
    try:
        settings.networks()
    except ValueError:
        found.append(
            f"TIDINGS_ALLOWED_NETWORKS is {settings.allowed_networks!r}: it must be ranges such as 10.1.0.0/16, "
            "separated by commas"
        )
    try:
        settings.limits_by_provider()
    except ValueError as error:
        found.append(f"TIDINGS_LIMITS is {settings.limits!r}: {error}")
    found += settings.idle_authorities()
    key = settings.api_key.get_secret_value()
    if not (key.isascii() and key.isprintable()) or " " in key:
        found.append("TIDINGS_API_KEY must be ASCII letters, digits and signs without spaces: it travels in a header")
    if settings.public_url and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", settings.public_url):
        found.append(
            f"TIDINGS_PUBLIC_URL is {settings.public_url!r}: it must be an address such as https://push.example.com"
        )
    return found


def _sentence(names: list[str], field: str, said: str, values: Mapping[str, str]) -> str:
    shown = "hidden" if _secret(field) else repr(values.get(field, ""))
    default = Settings.model_fields[field].get_default(call_default_factory=True)
    return f"{' or '.join(names)} is {shown}: {said}. Leave it out for the default, {default}"


def _nearest(name: str, known: set[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only on the way out

    ours = {known_name.removeprefix("TIDINGS_"): known_name for known_name in sorted(known)}
    close = get_close_matches(name.removeprefix("TIDINGS_"), ours, 1)
    return f"perhaps {ours[close[0]]} is meant" if close else "remove it; `tidings config` prints the names"


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """(name, value in force, description) of every setting, secrets masked."""
    return [
        (choices[0], _masked(getattr(settings, field)), Settings.model_fields[field].description or "")
        for field, choices in env_names().items()
    ]


def _masked(value: object) -> str:
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else ""
    return str(value)
