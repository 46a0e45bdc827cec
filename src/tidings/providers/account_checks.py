"""What is checked of every account before its first call: that the URL can be one, and that the bounds hold.

Each function raises ValueError: one sentence for the person who configures it.
"""

from urllib.parse import urlsplit

MOST_CLIENTS = 64
LONGEST_CALL_S = 120


def check_base_url(base_url: str, usual: str, *, emulated: bool, because: str) -> None:
    """Refuse what is no https URL of a host alone, such as `usual`. `because`: why it must be https.

    `emulated`: the emulator is on this machine, or in a network of its own, and may be called by http.
    """
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.path not in ("", "/"):
        raise ValueError(f"base_url must be a URL like {usual}, without path or query")
    if url.scheme != "https" and not emulated:
        raise ValueError(f"base_url must be https: {because}")


def check_calls(*, timeout_s: float, **clients: int) -> None:
    """Refuse a deadline without end, and no `clients` or threads, by their names, or too many."""
    for name, number in clients.items():
        if not 1 <= number <= MOST_CLIENTS:
            raise ValueError(f"{name} must be 1 to {MOST_CLIENTS}")
    if not 0 < timeout_s <= LONGEST_CALL_S:
        raise ValueError(f"timeout_s must be over 0 and at most {LONGEST_CALL_S} seconds")


def check_waits(**waits_s: float) -> None:
    """Refuse waits, by their names, that are below 0."""
    for name, wait_s in waits_s.items():
        if wait_s < 0:
            raise ValueError(f"{name} must not be below 0")
