"""What foreign clients have in common: threads for those that block, and trust in the emulators."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from tidings.bench.client import Client, Opener, Place
from tidings.providers.contract import Message

THREADS = 8  # more made none of the blocking libraries faster on two cores
THREAD_BATCH = 20


class Foreign(Struct, frozen=True):
    """A foreign client. `package`: what must be installed, as it is imported."""

    package: str
    open: Opener


def trusting(where: Place) -> ssl.SSLContext:
    """A client's TLS settings that trust the emulators and nobody else."""
    return ssl.create_default_context(cadata=where.address.ca_pem)


def on_threads(made: Sequence[Message], send: Callable[[Sequence[Message]], list[str]]) -> Client:
    """A client whose `send` blocks, on eight threads. Each call has 20 messages, so that the hand-over is not felt."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="foreign")
    loop = asyncio.get_running_loop()

    def on_a_thread(some: Sequence[Message]) -> Awaitable[list[str]]:
        return loop.run_in_executor(pool, send, some)

    async def close() -> None:
        await asyncio.to_thread(pool.shutdown)

    return Client(made, on_a_thread, THREADS, THREAD_BATCH, close)
