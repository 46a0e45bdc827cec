"""deploy/compose.yaml: Compose takes it, it holds no secret, and every container gets little and is watched."""

import re
import stat
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.deploy.checkout import (
    COMPOSE,
    EXAMPLE,
    ROOT,
    Checkout,
    assignments,
    checkout,
    documented,
    environment_of,
    find_docker_compose,
    variables,
)
from tidings import settings

__all__ = ["checkout"]

SERVERS = {"postgres", "rabbitmq", "redis"}
ROLES = {"api", "gateway", "worker", "scheduler"}
SECRETS = {"DB_PASSWORD", "RABBITMQ_PASSWORD", "TIDINGS_SECRET"}
# What the image of each server reads itself.
THEIR_OWN = {
    "postgres": {"POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS"},
    "rabbitmq": {"RABBITMQ_DEFAULT_USER", "RABBITMQ_DEFAULT_PASS", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"},
    "redis": set[str](),
}
EMBEDDED_ONLY = {"TIDINGS_DATA_DIR", "TIDINGS_DEMO"}
COMPOSE_OWN = {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"}
# The configuration table of the original service, without its two passwords.
ORIGINAL = {
    "PORT": "3000",
    "NODE_ENV": "development",
    "DB_HOST": "postgres",
    "DB_PORT": "5432",
    "DB_NAME": "notification_db",
    "DB_USER": "admin",
    "REDIS_HOST": "redis",
    "REDIS_PORT": "6379",
    "RABBITMQ_HOST": "rabbitmq",
    "RABBITMQ_PORT": "5672",
    "RABBITMQ_USER": "admin",
    "LOG_LEVEL": "info",
}

SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
SETTINGS = {name for names in settings.env_names().values() for name in names}


def test_there_are_the_roles_and_what_they_need() -> None:
    assert set(SERVICES) == ROLES | SERVERS | {"migrate", "emulators"}
    assert [name for name, service in SERVICES.items() if service.get("profiles")] == ["emulators"]
    assert {name: SERVICES[name]["command"][0] for name in ROLES | {"migrate"}} == {
        name: name for name in ROLES | {"migrate"}
    }


@pytest.mark.parametrize("under", [".", "deploy"])
def test_compose_takes_it_in_both_folders(checkout: Checkout, under: str) -> None:
    found = checkout.config(under=under)
    assert set(found["services"]) == set(SERVICES)
    build = found["services"]["migrate"]["build"]
    assert (checkout.folder / under / build["context"]).resolve() == checkout.folder.resolve()
    environment = environment_of(found["services"]["api"])
    assert {name: environment[name] for name in SECRETS} == {name: checkout.env()[name] for name in SECRETS}
    assert {name: environment[name] for name in ORIGINAL} == ORIGINAL


def test_compose_takes_it_by_its_own_name(checkout: Checkout) -> None:
    found = checkout.config("-f", "deploy/compose.yaml", **checkout.env())
    build = found["services"]["migrate"]["build"]
    assert (checkout.folder / "deploy" / build["context"]).resolve() == checkout.folder.resolve()


def test_the_link_in_the_root_is_a_link() -> None:
    link = ROOT / "docker-compose.yml"
    assert link.is_symlink()
    assert link.resolve() == COMPOSE


@pytest.mark.parametrize("missing", sorted(SECRETS))
def test_nothing_starts_without_its_secret(checkout: Checkout, missing: str) -> None:
    done = checkout.run(**{missing: ""})  # the environment goes before .env
    assert done.returncode != 0
    assert "make env" in done.stderr


def test_the_defaults_are_those_of_the_original() -> None:
    found = {name: defaults for name, defaults in variables().items() if name in ORIGINAL}
    assert found == {name: {f":-{value}"} for name, value in ORIGINAL.items()}


def test_no_secret_has_a_default() -> None:
    for name, rests in variables().items():
        if name in SECRETS:
            assert all(rest.startswith(":?run `make env`") for rest in rests), name
    examples = assignments(EXAMPLE)
    assert {name: examples[name] for name in (*SECRETS, "TIDINGS_API_KEY")} == dict.fromkeys(
        (*SECRETS, "TIDINGS_API_KEY"), ""
    )
    for service in SERVICES.values():
        for name, value in environment_of(service).items():
            path = str(value).startswith("/run/credentials/")  # the place of a file that the operator mounts
            if re.search("PASS|SECRET|KEY", name) and not path:
                assert value is None or str(value).startswith("${"), f"{name} has a value in the file"


def test_make_env_fills_the_secrets_once(checkout: Checkout) -> None:
    made = checkout.env()
    secrets = [made[name] for name in (*SECRETS, "TIDINGS_API_KEY")]
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)
    assert len(set(secrets)) == len(secrets)
    path = checkout.folder / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (checkout.folder / "deploy" / ".env").samefile(path)
    assert checkout.make_env().returncode == 0
    assert checkout.env() == made, "passwords that are in use were overwritten"
    assert [left.name for left in checkout.folder.glob(".env.*")] == [".env.example"]


def test_every_variable_is_known_to_whoever_gets_it() -> None:
    for name, service in SERVICES.items():
        assert set(environment_of(service)) - THEIR_OWN.get(name, SETTINGS) == set(), name


def test_every_setting_can_be_set() -> None:
    given = {variable for service in SERVICES.values() for variable in environment_of(service)} | set(variables())
    assert SETTINGS - given - EMBEDDED_ONLY == set(), "hand them on in deploy/compose.yaml"


def test_the_example_names_every_variable_and_no_other() -> None:
    asked = {name for service in SERVICES.values() for name, value in environment_of(service).items() if value is None}
    assert set(documented()) == asked | set(variables()) | COMPOSE_OWN


def test_the_example_shows_the_true_defaults() -> None:
    defaults = {name: default[2:] for name, rests in variables().items() for default in rests if default[:2] == ":-"}
    fields = {name: field for field, names in settings.env_names().items() for name in names}
    wrong = {}
    for name, value in documented().items():
        if name in defaults and not defaults[name].startswith("/"):
            true: object = defaults[name]
            shown: object = value
        elif name in fields and not value.startswith(("/", "http")) and value:
            true = settings.Settings.model_fields[fields[name]].default
            shown = getattr(settings.load({name: value}), fields[name])
        else:
            continue
        if shown != true:
            wrong[name] = (shown, true)
    assert wrong == {}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_gets_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"} & set(service)
    assert re.fullmatch(r"(\$\{[A-Z]+_MEMORY:-)?\d+[mg]\}?", service["mem_limit"])
    assert service["logging"]["options"]["max-size"]
    assert service.get("user", "") not in {"root", "0"}
    assert "docker.sock" not in str(service)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_a_container_is_watched_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["restart"] == "unless-stopped"


def test_the_schema_is_brought_up_to_date_before_anything_starts() -> None:
    assert SERVICES["migrate"]["restart"] == "no"
    for name in ROLES:
        needed = SERVICES[name]["depends_on"]
        assert needed["migrate"] == {"condition": "service_completed_successfully"}
        assert needed["rabbitmq"] == needed["redis"] == {"condition": "service_healthy"}


def test_what_keeps_data_can_be_reached_from_inside_only() -> None:
    assert yaml.safe_load(COMPOSE.read_text())["networks"]["inside"] == {"internal": True}
    for name in SERVERS:
        assert "ports" not in SERVICES[name]
        assert SERVICES[name]["networks"] == ["inside"]
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all("127.0.0.1" in port.split(":${")[0] or "127.0.0.1" in port.split("}")[0] for port in published)
    assert not any("3003" in port for port in published), "the operations port asks for no key"


def test_images_are_pinned_to_a_major_version() -> None:
    for name in SERVERS:
        assert re.fullmatch(rf"{name}:\d+", SERVICES[name]["image"])
    ours = {name for name in SERVICES if name not in SERVERS}
    assert {SERVICES[name]["image"] for name in ours} == {"tidings:local"}
    assert [name for name in ours if "build" in SERVICES[name]] == ["migrate"]


def test_the_program_that_checks_is_there() -> None:
    assert find_docker_compose()
