"""From many small confirmations to few calls, and nothing lost in silence."""

import asyncio

from tests.gateway.harness import until
from tidings.gateway.confirmations import Confirmations


class Teller:
    """A socket that remembers what it was told to send again."""

    def __init__(self) -> None:
        self.again: list[int] = []

    def not_recorded(self, ids: list[int]) -> None:
        self.again += ids


class Core:
    """Records calls; can be held up or made to fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, list[int]]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False
        self.running = 0
        self.most = 0

    async def record(self, project_id: int, user_id: int, ids: list[int]) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.open.wait()
            if self.broken:
                raise RuntimeError("the core is away")
            self.calls.append((project_id, user_id, ids))
        finally:
            self.running -= 1


async def test_while_a_call_runs_the_rest_is_gathered_for_the_next() -> None:
    core, one, two = Core(), Teller(), Teller()
    core.open.clear()
    confirmations = Confirmations("test", core.record)
    assert confirmations.add(one, 1, 7, [1])
    await until(lambda: core.running)
    for n in range(2, 30):
        assert confirmations.add(one if n % 2 else two, 1, 7, [n, 2])
    core.open.set()
    await confirmations.close(10)
    assert [call[:2] for call in core.calls] == [(1, 7), (1, 7)]
    assert core.calls[0][2] == [1]
    assert sorted(core.calls[1][2]) == list(range(2, 30))


async def test_users_do_not_wait_for_each_other_and_calls_at_once_are_bounded() -> None:
    core, teller = Core(), Teller()
    core.open.clear()
    confirmations = Confirmations("test", core.record, workers=3)
    for user in range(1, 11):
        confirmations.add(teller, 1, user, [user])
    await until(lambda: core.running >= 3)
    core.open.set()
    await confirmations.close(10)
    assert core.most == 3
    assert sorted(call[1] for call in core.calls) == list(range(1, 11))


async def test_a_failure_is_told_to_who_confirmed_and_the_next_call_goes_on() -> None:
    core, one, two = Core(), Teller(), Teller()
    core.broken = True
    confirmations = Confirmations("test", core.record)
    confirmations.add(one, 1, 7, [1, 2])
    confirmations.add(two, 1, 7, [2, 3])
    await until(lambda: one.again and two.again)
    assert (one.again, two.again) == ([1, 2], [2, 3])
    core.broken = False
    confirmations.add(one, 1, 7, [1])
    await confirmations.close(10)
    assert core.calls == [(1, 7, [1])]


async def test_a_call_that_hangs_is_a_failure() -> None:
    core, teller = Core(), Teller()
    core.open.clear()
    confirmations = Confirmations("test", core.record, deadline_s=0.02)
    confirmations.add(teller, 1, 7, [1])
    await confirmations.close(10)
    assert teller.again == [1]


async def test_only_the_part_that_failed_is_told() -> None:
    teller = Teller()
    calls = []

    async def record(_project: int, _user: int, ids: list[int]) -> None:
        calls.append(ids)
        if 3 in ids:
            raise RuntimeError("not these")

    confirmations = Confirmations("test", record, max_call=2)
    confirmations.add(teller, 1, 7, [1, 2, 3, 4, 5])
    await confirmations.close(10)
    assert calls == [[1, 2], [3, 4], [5]]
    assert teller.again == [3, 4]


async def test_what_waits_is_bounded() -> None:
    core, teller = Core(), Teller()
    core.open.clear()
    confirmations = Confirmations("test", core.record, workers=1, max_ids=10)
    assert confirmations.add(teller, 1, 7, list(range(1, 11)))
    assert not confirmations.add(teller, 1, 8, [1])
    core.open.set()
    await until(lambda: confirmations.add(teller, 1, 8, [1]))
    await confirmations.close(10)
    assert [call[1] for call in core.calls] == [7, 8]


async def test_close_does_not_wait_for_ever() -> None:
    core, teller = Core(), Teller()
    core.open.clear()
    confirmations = Confirmations("test", core.record)
    confirmations.add(teller, 1, 7, [1])
    await confirmations.close(0.02)
    assert core.calls == []
    assert core.running == 0
