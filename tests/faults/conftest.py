"""What the fault tests share: private servers, and one distributed service that each test finds whole."""

from collections.abc import AsyncIterator

import pytest

from tests.faults.plant import Plant, plant
from tests.servers import Servers

LEASE_S = 8.0  # workers give a group 5 s less; dead ones are replaced after it


@pytest.fixture(scope="session")
async def one_plant(servers: Servers) -> AsyncIterator[Plant]:
    """The plant of the whole session: starting one takes longer than most tests."""
    async with plant(servers, TIDINGS_LEASE_S=f"{LEASE_S:g}", TIDINGS_DRAIN_S="1") as running:
        yield running


@pytest.fixture
async def made(one_plant: Plant) -> Plant:
    """All servers, an API, a scheduler, a gateway and two workers, running and well, whatever the test before did."""
    await one_plant.restore(api=1, scheduler=1, gateway=1, worker=2)
    return one_plant
