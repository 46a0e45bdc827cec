"""The servers, and a bus of each kind."""

import secrets
from collections.abc import AsyncIterator

import pytest

from tests.bus.ear import PATIENCE_S
from tests.servers import Address
from tidings.bus import Bus
from tidings.bus.memory import MemoryBus
from tidings.bus.redis import RedisBounds, open_redis_bus


@pytest.fixture(params=["memory", "redis"])
async def bus(request: pytest.FixtureRequest, redis_address: Address) -> AsyncIterator[Bus]:
    """Every bus there is, one after the other, each empty."""
    made: Bus
    if request.param == "memory":
        made = MemoryBus()
    else:
        bounds = RedisBounds(prefix=f"conformance-{secrets.token_hex(4)}", allow_s=PATIENCE_S)
        made = await open_redis_bus(redis_address.redis_url, bounds)
        assert made.healthy
    yield made
    await made.close()
