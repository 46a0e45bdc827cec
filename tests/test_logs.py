"""Every line of the log is JSON with the same keys, whoever writes it, and names what it is about."""

import asyncio
import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import structlog

from tests.api.providers.calls import webpush
from tests.canary.canaries import all_logs
from tests.conftest import Project, environ, eventually
from tests.faults.service import free_port
from tidings import embedded, logs
from tidings.app import App
from tidings.coalesce import Coalescer
from tidings.worker.compose import message_of

START_TIMEOUT_S = 60.0
KEYS = {"event", "level", "logger", "timestamp"}

log = structlog.get_logger("tidings.test")
plain = logging.getLogger("tidings.bus.test")


def parsed(text: str) -> list[dict[str, Any]]:
    """Each line as the object that it must be."""
    found = [json.loads(line) for line in text.splitlines()]
    assert [line for line in found if not set(line) >= KEYS] == []
    return found


def lines(written: io.StringIO, logger: str) -> list[dict[str, Any]]:
    return [line for line in parsed(written.getvalue()) if line["logger"] == logger]


def fail() -> None:
    error = asyncpg.CheckViolationError("no partition found")
    error.detail = "Failing row contains (1, jane@example.com)."
    raise error


def test_libraries_and_we_write_the_same() -> None:
    with all_logs() as written:
        for logger in (log, plain):
            logger.warning("it is %s", "away")
            try:
                fail()
            except asyncpg.PostgresError:
                logger.exception("it failed")
    for name in ("tidings.test", "tidings.bus.test"):
        away, failed = lines(written, name)
        assert (away["event"], away["level"]) == ("it is away", "warning")
        assert (failed["event"], failed["level"]) == ("it failed", "error")
        assert failed["exception"].startswith("Traceback (most recent call last)")
        assert "CheckViolationError" in failed["exception"]
        assert away["timestamp"].endswith("Z")
    assert "jane" not in written.getvalue()


@pytest.mark.parametrize("name", ["uvicorn.error", "asyncio", "py.warnings"])
def test_a_row_that_postgresql_quotes_is_cut_out_for_libraries_too(name: str) -> None:
    with all_logs() as written:
        logging.getLogger(name).error("failed: %s\nDETAIL:  Failing row contains (jane@example.com).", "x")
    assert [line["event"] for line in lines(written, name)] == ["failed: x"]
    assert "jane" not in written.getvalue()


def test_on_a_terminal_both_are_text() -> None:
    with all_logs(terminal=True) as written:
        log.warning("ours")
        plain.warning("theirs")
    ours, theirs = written.getvalue().splitlines()
    assert "tidings.test" in ours
    assert "tidings.bus.test" in theirs
    assert "warning" in theirs
    assert not theirs.startswith("{")


def test_ids_are_in_the_lines_within_and_in_no_other() -> None:
    with all_logs() as written:
        with logs.About(tasks=[7]):
            with logs.About(notification_id=1):
                plain.warning("inside")
            logs.also(project_id=2)
            log.warning("later", tasks=[8])
        log.warning("outside")
        logs.also(project_id=3)
    inside, later, outside = [{key: line[key] for key in line.keys() - KEYS} for line in parsed(written.getvalue())]
    assert inside == {"tasks": [7], "notification_id": 1}
    assert later == {"tasks": [8], "project_id": 2}, "what the line says itself goes before"
    assert outside == {}


async def test_what_lives_on_does_not_speak_of_its_first_caller() -> None:
    over = asyncio.Event()

    async def live_on() -> None:
        log.warning("during")
        await over.wait()
        log.warning("afterwards")

    with all_logs() as written:
        with logs.About(request_id="the-first"):
            task = asyncio.create_task(live_on())
            await asyncio.sleep(0)
        over.set()
        await task
    during, afterwards = parsed(written.getvalue())
    assert during["request_id"] == "the-first"
    assert "request_id" not in afterwards


async def test_what_is_written_for_many_callers_names_none() -> None:
    async def write(items: Any) -> Any:
        log.warning("written")
        return items

    gather = Coalescer[int, int](write)
    with all_logs() as written, logs.About(request_id="the-first"):
        await gather(1)
    [line] = lines(written, "tidings.test")
    assert "request_id" not in line


async def test_a_workers_lines_name_the_tasks_and_the_notification(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await project.user()
    await project.device(user, f"logs-{project.id}")

    def compose(*given: Any) -> Any:
        plain.warning("a library says something")
        return message_of(*given)

    monkeypatch.setattr("tidings.worker.attempt.message_of", compose)
    with all_logs() as written:
        notification = await project.send(user)
        await project.until(notification, "sent")
    [line] = [line for line in lines(written, "tidings.bus.test") if line["notification_id"] == notification]
    assert [type(task) for task in line["tasks"]] == [int]


async def test_a_running_process_writes_nothing_else(
    app: App, project: Project, data_dir: Path, tmp_path: Path
) -> None:
    port, said = free_port(), tmp_path / "log"
    settings = environ(
        data_dir,
        PORT=str(port),
        DB_HOST=str(data_dir / "run"),
        DB_NAME="postgres",
        DB_USER=embedded.SUPERUSER,
        REDIS_HOST="127.0.0.1",
        REDIS_PORT=str(free_port()),  # nobody is there, so a stdlib logger of ours has something to say
        TIDINGS_SECRET="s" * 40,
        LOG_LEVEL="info",
    )
    with said.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tidings", "serve", "--roles", "api"),
            env={**os.environ, **settings},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:

            async def up() -> bool | None:
                assert process.returncode is None, said.read_text()
                try:
                    return (await client.get("/api/healthcheck")).status_code == 200 or None
                except httpx.TransportError:
                    return None

            await eventually(up, START_TIMEOUT_S)
            headers = {"X-API-Key": project.key, "X-Request-ID": "a-request-of-mine"}
            made = await client.post("/api/providers", json=webpush("logs"), params={"check": "false"}, headers=headers)
            assert made.status_code == 201, made.text
        process.terminate()
        assert await asyncio.wait_for(process.wait(), START_TIMEOUT_S) == 0, said.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = parsed(said.read_text())
    assert {"tidings", "tidings.bus.link"} <= {line["logger"] for line in found}
    [about] = [line for line in found if line["event"] == "accounts_not_announced"]
    assert (about["request_id"], about["project_id"]) == ("a-request-of-mine", project.id)
    assert [line for line in found if line["event"] == "stopping" and "request_id" in line] == []
