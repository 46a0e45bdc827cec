"""The command line, as a process."""

import re
from pathlib import Path

import httpx
import pytest

from tests.api.serving import Ended, served, tidings
from tests.conftest import Project, client_of, environ, eventually, make_project
from tests.servers import RedisServer
from tidings import __version__, projects
from tidings import app as app_module
from tidings.app import App, Role, open_app
from tidings.errors import Unauthenticated
from tidings.providers.webpush_vapid import new_private_key
from tidings.settings import env_names, load

GIVEN_KEY = "given-key-0123456789-0123456789-0123456789"


@pytest.fixture
def env(app: App) -> dict[str, str]:
    """The settings of the service that runs in the tests: commands join its database."""
    return environ(app.settings.data_dir)


def said_nothing_wrong(ended: Ended) -> None:
    assert (ended.code, ended.err) == (0, ""), ended


async def test_version_and_help() -> None:
    ended = await tidings("version", env={})
    said_nothing_wrong(ended)
    assert ended.out.strip() == __version__
    helped = await tidings("--help", env={})
    assert helped.code == 0
    for command in ("serve", "api", "gateway", "worker", "scheduler", "migrate", "keys", "config", "ledger"):
        assert command in helped.out
    assert (await tidings("nope", env={})).code == 2


async def test_config_shows_all_and_masks_secrets() -> None:
    ended = await tidings("config", env={"PORT": "8080", "DB_PASSWORD": "hunter2", "TIDINGS_API_KEY": GIVEN_KEY})
    said_nothing_wrong(ended)
    assert "PORT=8080\n" in ended.out
    for secret in ("hunter2", GIVEN_KEY):
        assert secret not in ended.out
    for name, *_ in env_names().values():
        assert f"{name}=" in ended.out


@pytest.mark.parametrize("command", ["config", "serve", "migrate", "ledger"])
async def test_bad_settings_stop_the_start_with_sentences(command: str) -> None:
    ended = await tidings(command, env={"PORT": "http", "TIDINGS_NOPE": "1"})
    assert (ended.code, ended.out) == (2, "")
    assert "PORT is 'http'" in ended.err
    assert "TIDINGS_NOPE is not a setting" in ended.err
    assert "Traceback" not in ended.err


async def test_a_database_that_is_not_there() -> None:
    env = {"DB_HOST": "127.0.0.1", "DB_PORT": "1", "TIDINGS_SECRET": GIVEN_KEY}
    ended = await tidings("migrate", env=env)
    assert ended.code == 2
    assert "DB_HOST" in ended.err
    assert "Traceback" not in ended.err


async def test_keys(app: App, env: dict[str, str]) -> None:
    made = await tidings("keys", "create", "--scopes", "read", "--project", "cli", "--name", "for ann", env=env)
    said_nothing_wrong(made)
    key = made.out.strip()
    assert re.fullmatch(r"tk_[A-Za-z0-9_-]{43}", key)
    async with client_of(app, key) as client:
        assert (await client.get("/api/users")).status_code == 200
        assert (await client.post("/api/users", json={})).json()["code"] == "scope_missing"
    listed = await tidings("keys", "list", env=env)
    said_nothing_wrong(listed)
    [line] = [line for line in listed.out.splitlines() if "for ann" in line]
    assert all(word in line for word in ("cli", "read", "active", key[:4]))
    assert key not in listed.out
    for _ in range(2):  # twice is safe
        said_nothing_wrong(await tidings("keys", "revoke", line.split()[0], env=env))
    async with client_of(app, key) as client:

        async def refused() -> bool | None:  # another process revoked it; this one may know the key for CACHE_S yet
            answer = await client.get("/api/users")
            return True if answer.status_code != 200 else None

        await eventually(refused)
        answer = await client.get("/api/users")
    assert (answer.status_code, answer.json()["code"]) == (401, "key_revoked")
    assert "revoked" in (await tidings("keys", "list", env=env)).out


async def test_a_revoked_key_is_announced_to_other_processes(
    app: App, env: dict[str, str], redis_server: RedisServer
) -> None:
    over_redis = {**env, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis_server.port)}
    project_id, key = await make_project(app)
    [listed] = [listed for _, listed in await projects.list_keys(app.db) if listed.project_id == project_id]
    async with open_app(load(over_redis), frozenset({Role.API})) as api, client_of(api, key) as client:
        api.services.keys._monotonic = lambda: 0.0  # nothing expires: only the announcement can make it forget
        assert (await client.get("/api/users")).status_code == 200
        await projects.revoke_key(app.db, listed.id)
        assert (await client.get("/api/users")).status_code == 200, "this process has not heard of it"
        said_nothing_wrong(await tidings("keys", "revoke", str(listed.id), env=over_redis))

        async def refused() -> bool | None:
            return (await client.get("/api/users")).status_code == 401 or None

        await eventually(refused)


async def test_a_key_is_revoked_also_when_redis_is_away(app: App, env: dict[str, str]) -> None:
    project_id, key = await make_project(app)
    [listed] = [listed for _, listed in await projects.list_keys(app.db) if listed.project_id == project_id]
    away = {**env, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1"}
    ended = await tidings("keys", "revoke", str(listed.id), env=away)
    assert (ended.code, f"Key {listed.id} is revoked." in ended.out) == (0, True), ended
    assert "within two seconds" in ended.err
    assert "Traceback" not in ended.err
    with pytest.raises(Unauthenticated):
        await projects.KeyRing(app.db).identify(key)


async def test_keys_that_end(app: App, env: dict[str, str]) -> None:
    made = await tidings("keys", "create", "--expires-in-days", "30", "--name", "ends", env=env)
    said_nothing_wrong(made)
    assert re.search(
        r"active, until \d{4}-\d{2}-\d{2} \d{2}:\d{2}Z +ends", (await tidings("keys", "list", env=env)).out
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "--scopes", "everything"), "there are send, read, admin"),
        (("create", "--scopes", ""), "there are send, read, admin"),
        (("create", "--project", ""), "a project needs a name"),
        (("create", "--name", "x" * 256), "up to 255 characters"),
        (("create", "--expires-in-days", "99999999"), "expires-in-days"),
        (("revoke", "99999999999999999999"), "key_id"),
        (("revoke", "4611686018427387904"), "There is no key"),
    ],
)
async def test_keys_misused(env: dict[str, str], arguments: tuple[str, ...], sentence: str) -> None:
    ended = await tidings("keys", *arguments, env=env)
    assert ended.code == 2
    assert sentence.lower() in ended.err.lower()
    assert "Traceback" not in ended.err


async def test_migrate_twice_beside_a_running_service(env: dict[str, str]) -> None:
    for _ in range(2):
        ended = await tidings("migrate", env=env)
        said_nothing_wrong(ended)
        assert "up to date" in ended.out


async def test_the_ledger(project: Project, env: dict[str, str]) -> None:
    await project.until(await project.send(await project.user()), "suppressed")
    ended = await tidings("ledger", env=env)
    assert ended.code == 0, ended
    assert re.search(r"^suppressed +[1-9]", ended.out, re.MULTILINE)


async def test_redrive(app: App, project: Project, env: dict[str, str]) -> None:
    name = await app.db.fetchval("SELECT name FROM projects WHERE id = $1", project.id)
    user = await project.user(email=f"spam-{project.id}@example.org")
    phone = f"sender-id-mismatch-{project.id}"
    await project.device(user, phone)
    push, email = [await project.send(user, channels=[channel]) for channel in ("push", "email")]

    async def redriven(*wanted: str) -> str:
        """What the command says, once both have failed (again)."""
        for notification in (push, email):
            await project.until(notification, "failed")
        await project.device(user, phone)  # it registers again, so it is enabled
        ended = await tidings("redrive", "--project", name, *wanted, env=env)
        said_nothing_wrong(ended)
        return ended.out.strip()

    one = "1 deliveries of 1 notifications will be attempted again."
    assert await redriven("--channel", "sms") == one.replace("1", "0")
    assert await redriven("--channel", "email") == one
    assert await redriven("--reason", "sender_mismatch") == one
    assert await redriven("--notification", str(push), "--channel", "email") == one.replace("1", "0")
    both = ("--notification", str(push), "--notification", str(email))
    assert await redriven(*both) == one.replace("1", "2")
    assert await redriven("--all") == one.replace("1", "2")
    for notification in (push, email):
        [delivery] = (await project.until(notification, "failed"))["deliveries"]
        assert len(delivery["attempts"]) == 4, "at first, and once for each redrive that named it"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [((), "say --all"), (("--all", "--project", "nobody's"), "There is no project"), (("--since", "1"), "since")],
)
async def test_redrive_misused(env: dict[str, str], arguments: tuple[str, ...], sentence: str) -> None:
    ended = await tidings("redrive", *arguments, env=env)
    assert (ended.code, ended.out) == (2, "")
    assert sentence in ended.err
    assert "Traceback" not in ended.err


async def test_credentials_are_sealed_anew_when_the_secret_changes(
    app: App, project: Project, env: dict[str, str]
) -> None:
    body = {"provider": "webpush", "name": "Browsers", "credentials": {"private_key": new_private_key()}}
    body["credentials"] |= {"subject": "mailto:push@example.com"}  # type: ignore[operator] # a dict
    made = await project.client.post("/api/providers", json=body)
    assert made.status_code == 201, made.text
    secret = app_module.read_secret(app.settings).decode()
    changed = {**env, "TIDINGS_SECRET": GIVEN_KEY, "TIDINGS_SECRET_OLD": secret}
    back = {**env, "TIDINGS_SECRET": secret, "TIDINGS_SECRET_OLD": GIVEN_KEY}
    for way in (changed, back):  # and back again: the service goes on with the former one
        ended = await tidings("reseal", env=way)
        assert re.search(r"^[1-9]\d* accounts are sealed anew", ended.out), ended
    only_new = await tidings("reseal", env={**env, "TIDINGS_SECRET": GIVEN_KEY})
    assert (only_new.code, "store their credentials again" in only_new.err) == (1, True)


async def test_the_first_key_is_printed_once(folder: Path) -> None:
    async with served(folder) as service:
        found = re.search(r"tk_[A-Za-z0-9_-]{43}", service.printed)
        assert found, service.printed
        headers = {"X-API-Key": found[0]}
        async with httpx.AsyncClient(base_url=service.url, headers=headers, trust_env=False) as client:
            user = await client.post("/api/users", json={"name": "Stays"})
            assert user.status_code == 201
    async with served(folder, TIDINGS_API_KEY=GIVEN_KEY) as service:
        assert "tk_" not in service.printed
        assert GIVEN_KEY not in service.printed
        async with httpx.AsyncClient(base_url=service.url, trust_env=False) as client:
            for key in (found[0], GIVEN_KEY):
                answer = await client.get(f"/api/users/{user.json()['id']}", headers={"X-API-Key": key})
                assert answer.json() == user.json()
