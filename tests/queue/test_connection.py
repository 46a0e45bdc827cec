"""What an answer of the broker is, and what is the caller's own end."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from aiormq.exceptions import AMQPError

from tidings.queue.connection import BrokerGone, ask, first_end


async def answering() -> int:
    await asyncio.sleep(0)
    return 7


async def failing() -> int:
    raise AMQPError("no")


async def ended_by_the_library() -> int:
    raise asyncio.CancelledError


async def turning_cancellation_into_an_error() -> int:
    try:
        return await never()
    except asyncio.CancelledError as error:
        raise AMQPError("closed") from error


async def swallowing_cancellation() -> int:
    try:
        return await never()
    except asyncio.CancelledError:
        return 7


async def never() -> int:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def test_an_answer_is_passed_on() -> None:
    assert await ask(answering(), 5) == 7


@pytest.mark.parametrize("call", [failing, ended_by_the_library])
async def test_the_librarys_errors_and_cancellations_mean_that_the_broker_is_gone(call: Any) -> None:
    with pytest.raises(BrokerGone):
        await ask(call(), 5)


@pytest.mark.parametrize("call", [never, turning_cancellation_into_an_error])
async def test_no_answer_in_time_means_that_the_broker_is_gone(call: Any) -> None:
    with pytest.raises(BrokerGone):
        await ask(call(), 0.01)


@pytest.mark.parametrize("call", [never, turning_cancellation_into_an_error, swallowing_cancellation])
async def test_the_callers_own_cancellation_stays_one(call: Any) -> None:
    asking = asyncio.create_task(ask(call(), 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asking.cancelled()


async def test_while_it_is_being_cancelled_a_task_can_still_ask() -> None:
    answers: list[Any] = []

    async def closing() -> None:
        try:
            await never()
        finally:
            answers.append(await ask(answering(), 5))
            with pytest.raises(BrokerGone):
                await ask(ended_by_the_library(), 5)

    task = asyncio.create_task(closing())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert answers == [7]


async def test_the_first_end_ends_the_others_and_is_what_is_raised() -> None:
    ended: list[str] = []

    async def patient() -> None:
        try:
            await never()
        finally:
            ended.append("patient")

    async def hasty(work: Coroutine[Any, Any, int]) -> None:
        await work

    with pytest.raises(AMQPError, match="no"):
        await first_end(patient(), hasty(failing()))
    assert ended == ["patient"]
    with pytest.raises(BrokerGone):
        await first_end(patient(), hasty(ended_by_the_library()))
