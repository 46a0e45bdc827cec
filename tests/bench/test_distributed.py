"""`tidings bench --distributed` and `lanes` run, for real and very small. How fast anything is, no test says."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Servers
from tidings.bench import broker, running, usage
from tidings.bench.phones import nanoseconds
from tidings.errors import SetupError
from tidings.queue import Lane
from tidings.queue.config import RabbitConfig
from tidings.queue.rabbitmq import open_rabbitmq

RUN_TIMEOUT_S = 240
SRC = Path(running.__file__).parents[2]
SMALL = ["--seconds", "0.2", "--scale", "0.01"]


@pytest.fixture(scope="module")
async def servers_environment() -> Any:
    """A RabbitMQ and a Redis of this module's own: a bench takes the queues over."""
    servers = Servers()
    rabbitmq, redis = await servers.rabbitmq(), await servers.redis()
    yield {
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_PORT": str(rabbitmq.port),
        "RABBITMQ_USER": rabbitmq.address.user,
        "RABBITMQ_PASSWORD": rabbitmq.address.password,
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis.port),
    }
    await servers.remove()


def bench(options: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`tidings bench` with these options."""
    environment = {name: value for name, value in os.environ.items() if name not in broker.VARIABLES}
    return subprocess.run(
        [sys.executable, "-m", "tidings", "bench", *options],
        env=environment | {"PYTHONPATH": str(SRC)} | more,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, servers_environment: dict[str, str]) -> dict[str, Any]:
    """One run of everything: the figures by name, and what was printed."""
    path = tmp_path_factory.mktemp("bench") / "report.json"
    done = bench(["--distributed", *SMALL, "--json", str(path)], servers_environment)
    assert done.returncode == 0, done.stderr
    figures = json.loads(path.read_text())["figures"]
    return {"figures": {figure["name"]: figure for figure in figures}, "printed": done.stdout + done.stderr}


def test_every_figure_is_measured(outcome: dict[str, Any]) -> None:
    roles = ["api", "gateway", "worker", "scheduler", "serve"]
    named = ["accept_distributed", "deliver_distributed", "deliver_two_workers", "lanes_distributed"]
    assert list(outcome["figures"]) == named + [f"memory_{role}" for role in roles]


@pytest.mark.parametrize("name", ["accept_distributed", "deliver_distributed"])
def test_a_speed_stands_beside_the_embedded_one(outcome: dict[str, Any], name: str) -> None:
    figure = outcome["figures"][name]
    assert (figure["bar"], len(figure["pairs"])) == (0.75, 3)
    ratios = sorted(value / ceiling for ceiling, value in figure["pairs"])
    assert figure["ratio"] == pytest.approx(ratios[1])


def test_two_workers_both_deliver(outcome: dict[str, Any]) -> None:
    figure = outcome["figures"]["deliver_two_workers"]
    assert {"worker_1", "worker_2"} <= set(figure["cpu_us"])
    assert "worker_2" not in figure["ceiling_cpu_us"]
    assert figure["value"] > 0


def test_lanes_are_measured_during_the_flood(outcome: dict[str, Any]) -> None:
    figure = outcome["figures"]["lanes_distributed"]
    assert (figure["bar"], figure["goal"], figure["at_most"]) == (1.5, 250, True)
    details = figure["details"]
    assert details["probes_during_floods"] > 0
    assert 0 < details["calm_p50_ms"] <= figure["ceiling"]
    assert 0 < details["p50_ms"] <= details["most_ms"]


def test_memory_is_more_under_load_than_idle(outcome: dict[str, Any]) -> None:
    for name, figure in outcome["figures"].items():
        if name.startswith("memory_"):
            assert figure["value"] >= figure["ceiling"] > 10, name


def test_the_password_is_nowhere(outcome: dict[str, Any], servers_environment: dict[str, str]) -> None:
    assert servers_environment["RABBITMQ_PASSWORD"] not in outcome["printed"]


def test_without_servers_it_says_what_to_set() -> None:
    done = bench(["--distributed", "--only", "accept", *SMALL], {})
    assert done.returncode == 2
    assert all(name in done.stderr for name in ("RABBITMQ_HOST", "REDIS_HOST", "make bench-distributed"))


def test_a_server_that_is_not_there_is_named() -> None:
    away = {"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_PORT": "1", "REDIS_HOST": "127.0.0.1"}
    done = bench(["--distributed", "--only", "accept", *SMALL], away)
    assert done.returncode == 2
    assert "127.0.0.1:1" in done.stderr


async def test_queues_that_somebody_takes_from_are_left_alone(
    servers_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in servers_environment.items():
        monkeypatch.setenv(name, value)
    config = RabbitConfig(
        "127.0.0.1",
        int(servers_environment["RABBITMQ_PORT"]),
        servers_environment["RABBITMQ_USER"],
        servers_environment["RABBITMQ_PASSWORD"],
    )
    taker = await open_rabbitmq(config, consume=frozenset({Lane.BULK}))
    try:
        with pytest.raises(SetupError, match="Somebody takes"):
            await broker.take_over()
    finally:
        await taker.close()


def test_there_are_other_figures_than_embedded() -> None:
    assert running.chosen("lanes,accept", running.DISTRIBUTED) == ["accept", "lanes"]
    with pytest.raises(SetupError, match="no bulk"):
        running.chosen("bulk", running.DISTRIBUTED)


def test_a_time_is_exact_to_the_microsecond() -> None:
    assert nanoseconds(datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC)) == 1_000_001_000


def test_the_most_memory_is_no_less_than_what_is_used_now() -> None:
    assert usage.most_memory_bytes(os.getpid()) >= usage.memory_bytes(os.getpid()) * 0.9 > 0
    assert usage.most_memory_bytes(2**22 + 1) == 0
