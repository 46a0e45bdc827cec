"""`tidings bench providers` runs, for real and very small. How fast anything is, no test says."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tidings.bench import providers, running
from tidings.bench.commands import SentFor
from tidings.bench.figures import Leg
from tidings.bench.foreign_clients import FOREIGN
from tidings.bench.own_clients import CLIENTS, OWN
from tidings.bench.processes import BenchError
from tidings.bench.providers import VENDORS, Wanted, figure_of

RUN_TIMEOUT_S = 300
SRC = Path(running.__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One run of all vendors: the figures by name."""
    path = tmp_path_factory.mktemp("providers") / "report.json"
    command = [sys.executable, "-m", "tidings", "bench", "providers", "--seconds", "0.05", "--json", str(path)]
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return {figure["name"]: figure for figure in json.loads(path.read_text())["figures"]}


@pytest.mark.parametrize("vendor", sorted(VENDORS))
def test_each_provider_stands_beside_the_foreign_clients(report: dict[str, dict[str, Any]], vendor: str) -> None:
    figure = report[f"providers_{vendor}"]
    assert figure["value"] > 0
    assert figure["bar"] == VENDORS[vendor].bar
    here = {name for (whose, name), each in FOREIGN.items() if whose == vendor and find_spec(each.package)}
    assert here <= figure["details"].keys()
    if here:
        assert figure["ceiling"] == pytest.approx(max(figure["details"][name] for name in here), abs=0.06)
        assert len(figure["pairs"]) == 3


def test_it_is_measured_only_when_asked_for() -> None:
    assert "providers" not in running.chosen("", {**running.FIGURES, **running.BY_NAME})
    assert running.chosen("providers", {**running.FIGURES, **running.BY_NAME}) == ["providers"]


def test_every_vendor_has_a_client_of_ours() -> None:
    assert {vendor for vendor, name in CLIENTS if name == OWN} == VENDORS.keys()


def legs(**rates: float) -> dict[str, Leg]:
    return {name: Leg(rate, 1.0, {"client": 1.0}) for name, rate in rates.items()}


def test_the_ceiling_is_the_fastest_foreign_client() -> None:
    rounds = [legs(tidings=100, one=10, two=20), legs(tidings=100, one=10, two=25), legs(tidings=100, one=90, two=50)]
    figure = figure_of("fcm", Wanted(5.0, "a wire"), rounds, ["one", "two"], [])
    assert (figure.ceiling, figure.ratio, figure.reached) == (25, 4.0, False)
    assert "two" in figure.ceiling_is


def test_without_a_foreign_client_there_is_no_ratio() -> None:
    figure = figure_of("fcm", Wanted(5.0, "a wire"), [legs(tidings=100)], [], ["firebase-admin"])
    assert (figure.value, figure.ceiling, figure.ratio, figure.reached) == (100, None, None, None)
    assert "not installed: firebase-admin" in figure.what


def test_a_refused_message_ends_the_measurement() -> None:
    with pytest.raises(BenchError, match="3 of 9 were not taken: 410 Unregistered"):
        providers.checked("apns by aioapns", SentFor(9, 1.0, 3, "410 Unregistered"))
