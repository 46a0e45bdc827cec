"""The bench runs, for real and very small. How fast anything is, no test says."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tidings.bench import commands, posts, processes, running, usage
from tidings.bench.figures import FOLDER, Figure, Leg, Options, compared, quantile
from tidings.bench.processes import BenchError
from tidings.errors import SetupError

RUN_TIMEOUT_S = 180
BARS = {"accept": 0.70, "bulk": 0.40, "deliver": 0.45, "sockets": 0.80, "sockets_memory": 1.0, "lanes": 1.5}
SRC = Path(running.__file__).parents[2]


def bench(*options: str) -> subprocess.Popen[str]:
    """`tidings bench` with small sizes."""
    command = [sys.executable, "-m", "tidings", "bench", "--seconds", "0.2", "--scale", "0.01", *options]
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def left_behind(pid: int, below: Path = FOLDER) -> list[str]:
    """Folders of the run with this pid, and processes that work in them, that are still there."""
    folder = f"tidings-bench-{pid}-"
    found = [str(path) for path in below.glob(folder + "*")]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if folder in entry.read_text(errors="replace"):
                found.append(str(entry))
        except OSError:
            continue  # it has just ended
    return found


def programs(pids: Sequence[int]) -> set[str]:
    """Which programs of a run are among these processes."""
    found = set()
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except OSError:
            continue
        names = ("tidings.bench.server", "tidings.bench.load", "tidings.emulators", "postgres")
        found |= {name for name in names if name in command}
    return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of everything: the JSON report, the table, and what was left behind."""
    path = tmp_path_factory.mktemp("bench") / "report.json"
    process = bench("--json", str(path))
    printed, errors = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 0, errors
    return {"report": json.loads(path.read_text()), "printed": printed, "left": left_behind(process.pid)}


def test_every_figure_is_measured_and_nothing_is_left_behind(outcome: dict[str, Any]) -> None:
    names = [figure["name"] for figure in outcome["report"]["figures"]]
    assert names == ["accept", "bulk", "deliver", "sockets", "sockets_memory", "latency", "lanes"]
    assert all(name in outcome["printed"] for name in names)
    assert outcome["left"] == []


@pytest.mark.parametrize("name", sorted(BARS))
def test_a_figure_stands_beside_its_ceiling(outcome: dict[str, Any], name: str) -> None:
    (figure,) = [figure for figure in outcome["report"]["figures"] if figure["name"] == name]
    assert figure["value"] > 0
    assert figure["ceiling"] > 0
    assert figure["ceiling_is"]
    assert figure["bar"] == BARS[name]
    ratios = sorted(value / ceiling for ceiling, value in figure["pairs"])
    assert figure["ratio"] == pytest.approx(ratios[len(ratios) // 2])
    meets = figure["ratio"] <= figure["bar"] if figure["at_most"] else figure["ratio"] >= figure["bar"]
    assert figure["reached"] is meets
    missed = outcome["printed"].partition("Bar missed:")[2]
    assert (name in missed.replace(".", "").replace(",", "").split()) is not meets


@pytest.mark.parametrize("name", ["accept", "bulk", "deliver", "sockets"])
def test_a_speed_is_measured_three_times_in_turn_with_the_cost_of_each_process(
    outcome: dict[str, Any], name: str
) -> None:
    (figure,) = [figure for figure in outcome["report"]["figures"] if figure["name"] == name]
    assert len(figure["pairs"]) == 3
    assert figure["cpu_us"]["server"] > 0
    assert set(figure["cpu_us"]) == set(figure["ceiling_cpu_us"])


def test_latency_has_its_quantiles(outcome: dict[str, Any]) -> None:
    (figure,) = [figure for figure in outcome["report"]["figures"] if figure["name"] == "latency"]
    assert (figure["ceiling"], figure["ratio"], figure["reached"]) == (None, None, None)
    details = figure["details"]
    assert 0 < details["answer_p50_ms"] <= details["answer_p99_ms"]
    assert 0 < details["frame_p50_ms"] <= details["frame_p99_ms"]
    assert figure["value"] == details["frame_p50_ms"]


@pytest.fixture
def below() -> Iterator[Path]:
    """A folder that others may pass through."""
    path = Path(tempfile.mkdtemp(prefix="tidings-test-"))
    path.chmod(0o711)
    yield path
    path.rmdir()  # it is empty again


def test_told_to_stop_it_takes_everything_along(below: Path) -> None:
    process = bench("--only", "latency", "--scale", "4", "--folder", str(below))
    deadline, family = time.monotonic() + 60, usage.family(process.pid)
    while len(programs(family)) < 4:
        assert time.monotonic() < deadline, f"only these were started: {programs(family)}"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
        family = usage.family(process.pid)
    assert left_behind(process.pid, below)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 2
    assert "stopped before everything was measured" in errors
    assert left_behind(process.pid, below) == []
    assert programs(family) == set()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "accept,speed"], "there is no speed"),
        (["--seconds", "0"], "--seconds"),
        (["--scale", "9"], "--scale"),
        (["--folder", "/var/tmp/" + 40 * "x"], "--folder may have 40 characters"),
        (["--folder", "/nowhere/at/all"], "--folder: /nowhere/at/all can't be written to: No such file"),
    ],
)
def test_what_can_not_be_measured_is_refused(options: list[str], said: str) -> None:
    process = bench(*options)
    _, errors = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 2
    assert said in errors


def test_names_are_measured_in_the_order_of_the_report() -> None:
    assert running.chosen("sockets, accept") == ["accept", "sockets"]
    assert running.chosen("") == list(running.FIGURES)
    with pytest.raises(SetupError):
        running.chosen("acept")


def test_the_ratio_is_the_median_of_the_pairs_own() -> None:
    legs = [(Leg(100, 1), Leg(50, 1)), (Leg(1000, 1), Leg(900, 1)), (Leg(10, 1), Leg(8, 1))]
    figure = compared("x", legs, what="", unit="/s", ceiling_is="y", bar=0.85, goal=40)
    assert (figure.value, figure.ceiling, figure.ratio) == (50, 100, 0.8)
    assert (figure.reached, figure.goal_reached) == (False, True)


def test_at_most_turns_the_bar_around() -> None:
    figure = Figure("m", "", "B", 20.0, 16.0, "most", ratio=1.25, bar=1.0, goal=16.0, at_most=True)
    assert (figure.reached, figure.goal_reached) == (False, False)


def test_quantiles_and_counts() -> None:
    ordered = [float(n) for n in range(100)]
    assert (quantile(ordered, 0.5), quantile(ordered, 0.99), quantile([], 0.5)) == (50.0, 99.0, 0.0)
    assert (Options(scale=0.1).count(50), Options(scale=0.001).count(50, 4)) == (5, 4)


def test_an_answer_is_whole_when_its_last_byte_is_there() -> None:
    answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\nx: y\r\n\r\nabcd"
    assert [posts.whole_answer(answer[:n]) for n in (10, len(answer) - 1, len(answer))] == [0, 0, len(answer)]
    assert posts.whole_answer(answer + answer) == len(answer)
    with pytest.raises(ValueError, match="without a length"):
        posts.whole_answer(b"HTTP/1.1 202 Accepted\r\n\r\n")


async def test_a_command_that_fails_says_why_and_the_process_goes_on() -> None:
    async with processes.child("load", "tidings.bench.load") as load:
        await load.hello(dict[str, int])
        nobody = commands.Post(1, "/", "key", 1, 0.1, 1)
        for _ in range(2):
            with pytest.raises(BenchError, match="load: Post: ConnectionRefusedError"):
                await load.ask(nobody, commands.Posted, 30)


async def test_a_process_that_ends_is_noticed(capfd: pytest.CaptureFixture[str]) -> None:
    async with processes.child("absent", "tidings.bench.absent") as absent:
        with pytest.raises(BenchError, match="absent ended during start"):
            await absent.hello(commands.Listening)
    assert "No module named" in capfd.readouterr().err


async def test_a_refused_request_is_counted_and_quoted() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, posts.HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        posted = await posts.post(commands.Post(port, "/", "key", 1, 5.0, 1, most=1))
    assert (posted.requests, posted.refused, posted.first_refusal[:12]) == (0, 1, "HTTP/1.1 503")
