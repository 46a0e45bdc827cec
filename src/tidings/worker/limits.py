"""How fast an account may be used: the figures, with a default for each provider and the reason for it."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from tidings.account_limits import USUAL, AccountLimits


class Limits(Struct, frozen=True):
    """What holds for one provider account. Times in seconds; shares from 0 to 1.

    The vendor's own quota:
    `rate_per_s`: calls in the long run, None: the vendor names none. `burst`: calls at once after a rest, None: what
    one second allows. `shared`: other processes use the same quota; then `processes` is how many, for the time when
    they can't ask each other.

    Calls in flight:
    `most_at_once`: never more. `least_at_once`: the limit learned from slow answers and failures goes no lower.
    `start_at_once`: where it begins. `slow_s`: answers faster than this never lower it. `urgent_share`: of the places
    and of the quota, kept free for urgent messages.
    `longest_wait_s`: how long a message may wait here for its turn; what would take longer goes back to the database.

    Failures (no connection, no answer in time, 5xx):
    `failing_ratio` of at least `failing_volume` calls within `failing_window_s`, or so many failures in a row however
    long they take, open the breaker for `open_s`, then twice as long each time, up to `longest_open_s`; `probes`
    answers in a row, one call at a time, close it.
    `retry_share`: while the vendor fails, one repeated call for so many first ones, and `spare_retries` on top.

    Refused addresses:
    `believed`: so many are believed while none is accepted; the devices of the others are kept. `suspicious`: so many
    pause the account for `doubt_s`, then twice as long each time, up to `longest_doubt_s`.
    """

    rate_per_s: float | None = None
    burst: int | None = None
    shared: bool = False
    processes: int = 4
    most_at_once: int = 512
    least_at_once: int = 8
    start_at_once: int = 128
    slow_s: float = 1.0
    urgent_share: float = 0.2
    longest_wait_s: float = 2.0
    failing_ratio: float = 0.5
    failing_volume: int = 20
    failing_window_s: float = 10.0
    open_s: float = 5.0
    longest_open_s: float = 60.0
    probes: int = 3
    retry_share: float = 0.1
    spare_retries: int = 10
    believed: int = 20
    suspicious: int = 50
    doubt_s: float = 60.0
    longest_doubt_s: float = 1800.0

    def __post_init__(self) -> None:
        """Raises ValueError for figures with which nothing could ever be sent."""
        if self.rate_per_s is not None and not 0 < self.rate_per_s <= 1_000_000:
            raise ValueError("rate_per_s must be above 0 and at most a million")
        if self.burst is not None and self.burst < 1:
            raise ValueError("burst must be at least 1")
        if self.most_at_once < 1 or self.processes < 1 or self.probes < 1:
            raise ValueError("most_at_once, processes and probes must be at least 1")
        if self.believed > self.suspicious:
            raise ValueError("no more refusals can be believed than make an account suspicious")

    @property
    def at_once(self) -> int:
        """Calls that the quota allows after a rest: `burst`, or what one second allows. 1 where there is no quota."""
        return self.burst or max(1, int(self.rate_per_s or 1))

    @property
    def reserved(self) -> int:
        """Places that only urgent messages may take. One place can't be shared."""
        return min(self.most_at_once - 1, max(1, round(self.most_at_once * self.urgent_share)))


LIMITS: Mapping[str, Limits] = {
    # 600,000 messages a minute and project, refilled each minute ("Throttling and quotas"). Spending it evenly leaves
    # some for what comes at the end of the minute.
    "fcm": Limits(rate_per_s=10_000, burst=10_000, shared=True, most_at_once=1024),
    # Apple names no quota; a connection takes about a thousand streams.
    "apns": Limits(most_at_once=1024),
    # Each push service stands for itself (`webpush_services.py` rests them one by one), so one of them alone, or one
    # project's bad endpoints, must not open the breaker for all.
    "webpush": Limits(failing_ratio=0.9, failing_volume=50),
    # Servers allow few connections; an SMTP dialogue takes seconds without anything being wrong.
    "smtp": Limits(most_at_once=32, least_at_once=2, start_at_once=8, slow_s=10.0),
    # Twilio queues by sender (1 a second for a long code, 100 for a short one); this is its fastest sender's rate.
    "twilio": Limits(rate_per_s=100, shared=True, most_at_once=64, least_at_once=2, start_at_once=16, slow_s=3.0),
    # 30 calls a second for an API key, unless agreed otherwise.
    "vonage": Limits(rate_per_s=30, shared=True, most_at_once=64, least_at_once=2, start_at_once=16, slow_s=3.0),
    # One account stands for many services behind it; the strictest wide limit among them is about 30 a second.
    "apprise": Limits(
        rate_per_s=30,
        shared=True,
        most_at_once=32,
        least_at_once=2,
        start_at_once=16,
        slow_s=5.0,
        failing_ratio=0.9,
        failing_volume=50,
    ),
    # Our own bus: near, quick, and without a quota.
    "gateway": Limits(most_at_once=4096, least_at_once=256, start_at_once=4096),
}


def limits_of(provider: str, declared: AccountLimits = USUAL, *, emulated: bool = False) -> Limits:
    """The limits of an account of this provider; what is `declared` takes the place of the default.

    A provider without figures of its own gets those of `Limits`. `emulated`: the vendor's quota is not the emulator's;
    a declared one holds there, too. Twice gives the same.
    """
    limits = LIMITS.get(provider, Limits())
    if emulated:
        limits = msgspec.structs.replace(limits, rate_per_s=None, burst=None)
    if declared.rate_per_s is not None:  # every process that uses the account uses this quota; the burst is the rate's
        limits = msgspec.structs.replace(limits, rate_per_s=declared.rate_per_s, burst=declared.burst, shared=True)
    if declared.most_at_once is not None:
        limits = msgspec.structs.replace(limits, most_at_once=declared.most_at_once)
    return limits
