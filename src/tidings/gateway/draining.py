"""In what order, and when, a gateway that stops sends its sockets away."""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(
    sockets: Sequence[T], lasts_s: float, steps: int, chance: Callable[[], float] = random.random
) -> list[tuple[float, list[T]]]:
    """Up to `steps` batches of one size, each with the second, from the beginning, at which it is to go; they ascend.

    The order is random, or all clients of one tenant that came together would come back together. Each batch goes at a
    random moment of its own part of `lasts_s`: gateways that stop at the same moment, as those of one machine do, don't
    send theirs away in step. Fewer sockets than steps are sent away one by one, and are done sooner. `chance`: numbers
    from 0 to 1.
    """
    shuffled = sorted(sockets, key=lambda _: chance())
    size = -(-len(shuffled) // steps) or 1
    part_s = lasts_s / steps
    return [
        ((number + chance()) * part_s, shuffled[start : start + size])
        for number, start in enumerate(range(0, len(shuffled), size))
    ]
