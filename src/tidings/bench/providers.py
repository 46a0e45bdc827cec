"""`providers`: messages a second of each provider, against the fastest foreign client that does the same work.

All clients of a vendor send the same messages to the same emulator, which has a process of its own, as each client
has. They take turns, and the ratio is that of neighbours in time.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from importlib.util import find_spec
from statistics import median

import msgspec
from msgspec import Struct

from tidings.bench.commands import SendFor, Sending, SentFor
from tidings.bench.figures import Figure, Leg, Meter, Options
from tidings.bench.foreign_clients import FOREIGN
from tidings.bench.own_clients import CLIENTS, FLOOR, OWN
from tidings.bench.processes import BenchError, Child, child
from tidings.bench.sender import Ready
from tidings.bench.stage import Stage, emulators, stage

GRACE_S = 60.0
WARM_UP_S = 0.5


class Wanted(Struct, frozen=True):
    """How much faster than the fastest foreign client a provider must be, and over what it sends."""

    bar: float
    over: str


VENDORS: Mapping[str, Wanted] = {
    "fcm": Wanted(5.0, "HTTP/2 and TLS"),
    "apns": Wanted(5.0, "HTTP/2 and TLS"),
    "webpush": Wanted(1.5, "HTTP/2 and TLS, each message encrypted"),
    "smtp": Wanted(1.0, "STARTTLS, each mail composed"),
    "twilio": Wanted(1.0, "TLS"),
    "vonage": Wanted(1.0, "TLS"),
    "apprise": Wanted(1.0, "TLS, as a webhook"),
}


async def measure(options: Options) -> list[Figure]:
    """A figure for each vendor. Raises `BenchError` when the emulator does not take every message."""
    return [await measure_vendor(vendor, wanted, options) for vendor, wanted in VENDORS.items()]


async def measure_vendor(vendor: str, wanted: Wanted, options: Options) -> Figure:
    """The figure of one vendor: without a ceiling when no foreign client is installed."""
    known = {name: foreign for (whose, name), foreign in FOREIGN.items() if whose == vendor}
    foreign = [name for name, each in known.items() if find_spec(each.package) is not None]
    missing = [name for name in known if name not in foreign]
    names = [*foreign, *(name for whose, name in CLIENTS if whose == vendor)]
    async with stage(options.folder) as here, emulators(here) as emulator, AsyncExitStack() as stack:
        senders = {name: await stack.enter_async_context(_sender(here, vendor, name)) for name in names}
        for sender in senders.values():
            await sender.hello(Ready)
            await _send(sender, min(WARM_UP_S, options.seconds))
        rounds = []
        for _ in range(options.pairs):
            legs = {}
            for name, sender in senders.items():
                meter = Meter({"client": sender, "emulator": emulator})
                legs[name] = await meter.leg(partial(_send, sender, options.seconds))
            rounds.append(legs)
    return figure_of(vendor, wanted, rounds, foreign, missing)


def figure_of(
    vendor: str, wanted: Wanted, rounds: Sequence[Mapping[str, Leg]], foreign: Sequence[str], missing: Sequence[str]
) -> Figure:
    """The figure of rounds in which every client had one leg. The ceiling is the foreign client that was fastest."""
    rates = {name: median(legs[name].rate for legs in rounds) for name in rounds[0]}
    best = max(foreign, key=lambda name: rates[name], default=None)
    absent = f"; not installed: {', '.join(missing)}" if missing else ""
    details = {name: round(rate, 1) for name, rate in rates.items() if name != OWN}
    if FLOOR in rates:
        details["share of the encryption floor"] = round(rates[OWN] / rates[FLOOR], 2)
    pairs = [(legs[best].rate, legs[OWN].rate) for legs in rounds] if best is not None else []
    return Figure(
        name=f"providers_{vendor}",
        what=f"messages a second from a Message to its Outcome, over {wanted.over}{absent}",
        unit="/s",
        value=rates[OWN],
        ceiling=rates[best] if best is not None else None,
        ceiling_is=f"the fastest foreign client, {best}, sending the same to the same emulator" if best else "",
        ratio=median(own / other for other, own in pairs) if pairs else None,
        bar=wanted.bar,
        pairs=pairs,
        cpu_us=_cpu(rounds, OWN),
        ceiling_cpu_us=_cpu(rounds, best) if best is not None else {},
        details=details,
    )


def _cpu(rounds: Sequence[Mapping[str, Leg]], name: str) -> dict[str, float]:
    return {whose: median(legs[name].cpu_us[whose] for legs in rounds) for whose in rounds[0][name].cpu_us}


def _sender(here: Stage, vendor: str, name: str) -> AbstractAsyncContextManager[Child]:
    how = Sending(vendor, name, str(here.emulators))
    return child(f"{vendor} by {name}", "tidings.bench.sender", [msgspec.json.encode(how).decode()])


async def _send(sender: Child, seconds: float) -> tuple[float, float]:
    return checked(sender.name, await sender.ask(SendFor(seconds), SentFor, seconds + GRACE_S))


def checked(name: str, sent: SentFor) -> tuple[float, float]:
    """Messages and seconds. Raises `BenchError` when some were not taken: a refusal is faster than a push."""
    if sent.refused:
        raise BenchError(f"{name}: {sent.refused} of {sent.messages} were not taken: {sent.first_refusal}")
    return sent.messages, sent.seconds
