"""Every metric, with a sentence each. The first three are the original service's, by name.

Several processes of one role on one machine share a folder of files (`PROMETHEUS_MULTIPROC_DIR`, set by
`supervise.py` before any of them starts), so that whichever answers `/metrics` answers for all of them.
Labels are few and never name a user, a device or a project.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)

REGISTRY = CollectorRegistry(auto_describe=True)

SENT = Counter(
    "notifications_sent_total",
    "Deliveries that a vendor or a socket took.",
    ["channel", "provider"],
    registry=REGISTRY,
)
LATENCY = Histogram(
    "notification_latency_seconds",
    "From the moment a notification was due until it was sent.",
    ["lane"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
SOCKETS = Gauge(
    "active_websocket_connections",
    "WebSockets that are open and authenticated or about to be.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
ACCEPTED = Counter(
    "tidings_notifications_accepted_total",
    "Notifications that were stored and answered with 202.",
    registry=REGISTRY,
)
ATTEMPTS = Counter(
    "tidings_attempts_total",
    "Provider calls by outcome (sent, retry, rejected, gone, paused) and reason.",
    ["channel", "outcome", "reason"],
    registry=REGISTRY,
)
GATEWAY = Counter(
    "tidings_gateway_events_total",
    "What happened at the gateway: frames sent, sockets closed by code, upgrades refused.",
    ["what", "label"],
    registry=REGISTRY,
)
TASKS_WAITING = Gauge(
    "tidings_tasks_waiting",
    "Tasks in the database that are due, by lane.",
    ["lane"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
TASKS_OLDEST = Gauge(
    "tidings_tasks_oldest_seconds",
    "Age of the oldest due task, by lane.",
    ["lane"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
TASKS_OVERDUE = Gauge(
    "tidings_tasks_overdue",
    "Tasks that should have been taken a minute ago. More than a few for long: workers or the queue are in trouble.",
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
UNACCOUNTED = Gauge(
    "tidings_notifications_unaccounted",
    "Accepted yesterday or today, minus final, minus in progress; at most 100. Anything but 0 is a loss: keep the "
    "database and report it.",
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
QUEUE = Counter(
    "tidings_queue_events_total",
    "What the queue did. Tickets: published, confirmed, merged, dropped, returned, refused, unknown. Messages: "
    "redelivered, suspected, dead_lettered. Connections: reconnects.",
    ["what"],
    registry=REGISTRY,
)
QUEUE_MESSAGES = Gauge(
    "tidings_queue_messages",
    "Messages that wait in the queue, by lane, and dead: the dead letters. NaN while the queue can't be asked.",
    ["what"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
PROVIDER_DAYS_LEFT = Gauge(
    "tidings_provider_days_left",
    "Days until the first certificate of an account at this vendor ends; below 0: it has ended.",
    ["provider"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
PACE_STATE = Gauge(
    "tidings_pace_accounts",
    "Accounts by the state of their pace: closed (in use), open, half_open, resting, paused, mass_failure.",
    ["provider", "what"],
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
PACE_PLACES = Gauge(
    "tidings_pace_places",
    "Calls that may be in flight at once, as learned: of all accounts of a provider in all processes.",
    ["provider"],
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
PACE_HELD_BACK = Counter(
    "tidings_pace_held_back_total",
    "Calls that were not made now, by why: quota, places, repeats, open, resting, paused, mass_failure.",
    ["provider", "what"],
    registry=REGISTRY,
)
PACE_WAIT = Histogram(
    "tidings_pace_wait_seconds",
    "How long calls waited for their turn, those that waited at all.",
    ["provider"],
    buckets=LATENCY_BUCKETS_S[:11],
    registry=REGISTRY,
)


def render() -> bytes:
    """All metrics in the text format of Prometheus; of all processes that share the folder."""
    if MULTIPROCESS_DIR not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
