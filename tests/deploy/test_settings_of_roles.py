"""deploy/compose.yaml gives each role the settings that it reads, and the files that they name.

Which module reads which setting is found in the source. Which role that is for follows from the module's place, and for
the modules in which all roles begin from a table here: a new reader there has to be put into it.
"""

import ast
from pathlib import Path

import yaml  # type: ignore[import-untyped]

import tidings
from tests.deploy.checkout import COMPOSE, environment_of
from tidings import settings, supervise
from tidings.settings import Settings

API, GATEWAY, WORKER, SCHEDULER = "api", "gateway", "worker", "scheduler"
ALL = frozenset({API, GATEWAY, WORKER, SCHEDULER})
NONE = frozenset[str]()  # embedded mode alone

SOURCE = Path(tidings.__file__).parent
SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]
NAMES = settings.env_names()
METHODS = {"networks": "allowed_networks", "limits_by_provider": "limits"}

# By the first part of a module's name.
PLACES = {
    "api": frozenset({API}),
    "gateway": frozenset({GATEWAY}),
    "worker": frozenset({WORKER}),
    "scheduler": frozenset({SCHEDULER}),
    "lanes": frozenset({WORKER}),
    "engine": ALL,
    "demo": NONE,
    "welcome": NONE,
    "bench": NONE,
}
# In the other modules, by setting: for which roles it does anything there.
SHARED = {
    **dict.fromkeys(
        ["db_host", "db_port", "db_name", "db_user", "db_password", "db_sslmode", "db_ca_file", "db_pool_size"], ALL
    ),
    **dict.fromkeys(["host", "operations_port", "secret", "log_level", "redis_host", "rabbitmq_host"], ALL),
    **dict.fromkeys(["data_dir", "emulator_port", "demo"], NONE),
    "api_key": frozenset({API}),
    "port": frozenset({API}),
    "max_backlog": frozenset({API}),
    "db_replica_host": frozenset({API}),
    "report_secrets": frozenset({API}),
    "retry_attempts": frozenset({API}),  # `tidings redrive`, which operations.md runs there
    "gateway_port": frozenset({GATEWAY}),
    "gateway_origins": frozenset({GATEWAY}),
    "drain_s": frozenset({API, GATEWAY}),  # the others are behind no load balancer
    "rescue_s": frozenset({API, SCHEDULER}),  # until when what was accepted, or published, is left alone
    "retention_days": frozenset({SCHEDULER}),
    "apns_credentials": frozenset({WORKER, SCHEDULER}),  # which tells when the certificate ends
    "secret_old": frozenset({API, WORKER}),
    "allowed_networks": frozenset({API, WORKER}),
    "vapid_key": frozenset({API, WORKER}),
    "vapid_subject": frozenset({API, WORKER}),
    "twilio_credentials": frozenset({API, WORKER}),  # what its reports are signed with
    "vonage_credentials": frozenset({API, WORKER}),
    "fcm_credentials": frozenset({WORKER}),
    "smtp_credentials": frozenset({WORKER}),
    "emulators": frozenset({WORKER}),
    "limits": frozenset({WORKER}),
    "retry_base_s": frozenset({WORKER}),
}


def readers() -> dict[str, set[str]]:
    """Setting → the modules that read it: wherever `settings.x`, `chosen.x` or `settings.load().x` stands."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if module.endswith("settings"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                field = METHODS.get(node.attr, node.attr)
                if field in NAMES and ast.unparse(node.value).split(".")[-1] in ("settings", "chosen", "load()"):
                    found.setdefault(field, set()).add(module)
    return found


def roles_of(field: str, module: str) -> frozenset[str]:
    place = module.split(".", maxsplit=1)[0]
    assert place in PLACES or field in SHARED, f"{module} reads {field}: for which roles? Say so in this file."
    return PLACES[place] if place in PLACES else SHARED[field]


def needed() -> dict[str, set[str]]:
    """Role → the settings that it reads, by their names in the environment."""
    found: dict[str, set[str]] = {role: set() for role in ALL}
    for field, modules in readers().items():
        for module in modules:
            for role in roles_of(field, module):
                found[role].add(NAMES[field][0])
    return found


def shared() -> set[str]:
    """What every role is given, whether it reads it or not."""
    return set.intersection(*(set(environment_of(SERVICES[role])) for role in ALL))


def test_every_setting_is_read_somewhere() -> None:
    assert set(NAMES) - set(readers()) == set()


def test_every_role_is_given_what_it_reads() -> None:
    missing = {role: names - set(environment_of(SERVICES[role])) for role, names in needed().items()}
    assert missing == {role: set() for role in ALL}


def test_no_role_is_given_what_it_alone_does_not_read() -> None:
    idle = {role: set(environment_of(SERVICES[role])) - shared() - names for role, names in needed().items()}
    assert idle == {role: set() for role in ALL}


def test_a_file_that_a_role_reads_is_mounted() -> None:
    for role in ALL:
        volumes = [volume for volume in SERVICES[role].get("volumes", []) if isinstance(volume, dict)]
        targets = {volume["target"]: volume["source"] for volume in volumes}
        files = {n: v for n, v in environment_of(SERVICES[role]).items() if str(v).startswith("/run/credentials/")}
        assert set(targets) == set(files.values()), role
        for name, path in files.items():
            assert targets[path] == f"${{{name}:-/dev/null}}"


def test_who_is_behind_a_load_balancer_gives_it_time_and_is_given_time() -> None:
    for role in (API, GATEWAY):
        drain = environment_of(SERVICES[role])["TIDINGS_DRAIN_S"]
        assert drain is not None
        default_s = float(drain.removeprefix("${TIDINGS_DRAIN_S:-").removesuffix("}"))
        assert default_s > 0
        assert Settings.model_fields["drain_s"].default == 0, "without Compose nobody may be waiting to be told"
        assert default_s + supervise.GRACE_S < float(SERVICES[role]["stop_grace_period"].removesuffix("s"))
