"""`python -m tests.bench_servers -- command …`: runs a command beside a RabbitMQ and a Redis of its own.

The command finds them in its environment (`RABBITMQ_HOST` and so on); they are gone when it has ended. The status is
the command's own. `make bench-distributed` measures with it.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from tests.servers import Servers


async def run(command: Sequence[str]) -> int:
    """Start both, run the command to its end, end both. SIGINT and SIGTERM are passed on to the command."""
    servers = Servers()
    try:
        rabbitmq, redis = await servers.rabbitmq(), await servers.redis()
        environment = os.environ | {
            "RABBITMQ_HOST": rabbitmq.address.host,
            "RABBITMQ_PORT": str(rabbitmq.address.port),
            "RABBITMQ_USER": rabbitmq.address.user,
            "RABBITMQ_PASSWORD": rabbitmq.address.password,
            "REDIS_HOST": redis.address.host,
            "REDIS_PORT": str(redis.address.port),
        }
        process = await asyncio.create_subprocess_exec(*command, env=environment, start_new_session=True)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, process.terminate)
        return await process.wait()
    finally:
        await servers.remove()


def main() -> None:
    """The words after `--` are the command."""
    command = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if not command:
        sys.exit("usage: python -m tests.bench_servers -- command …")
    sys.exit(asyncio.run(run(command)))


if __name__ == "__main__":
    main()
