"""Metrics: the original three by name, each documented, and true to what happened."""

import re
from pathlib import Path

import httpx

from tests.conftest import Project
from tidings import metrics
from tidings.app import App

DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"


def value(text: str, name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line))


async def read(app: App) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{app.api_url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


async def test_they_count_what_happened(app: App, project: Project) -> None:
    before = await read(app)
    user = await project.user()
    await project.device(user, f"metrics-{project.id}")
    await project.device(user, f"unregistered-metrics-{project.id}")
    await project.until(await project.send(user), "sent")
    after = await read(app)
    for name in (
        "tidings_notifications_accepted_total",
        "notifications_sent_total",
        "notification_latency_seconds_count",
        "tidings_attempts_total",
    ):
        assert value(after, name) > value(before, name), name
    assert 'reason="unregistered"' in after
    assert "active_websocket_connections" in after


def test_every_metric_is_documented_and_the_document_names_no_other() -> None:
    text = DOCUMENT.read_text()
    declared = {family.name for family in metrics.REGISTRY.collect()}
    named = {name.removesuffix("_total") for name in re.findall(r"^\| `([a-z_]+)`", text, re.MULTILINE)}
    assert named == declared


def test_no_label_can_name_a_person() -> None:
    allowed = {"channel", "provider", "lane", "outcome", "reason", "what", "label"}
    for collector in list(metrics.REGISTRY._collector_to_names):
        assert set(getattr(collector, "_labelnames", ())) <= allowed
