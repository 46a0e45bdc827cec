"""`python -m tidings.emulators`: the emulators as a process of their own.

Prints one line of JSON when it is ready (`fcm_url`, `plain_url`, `ca_pem`, `service_account`) and ends on
SIGTERM or SIGINT, or with `--until-stdin-closes` when whoever started it goes away.
"""

import argparse
import asyncio
import os
import signal
import sys
import threading

import msgspec
import uvloop

from tidings.emulators.address import Address
from tidings.emulators.running import Emulators, start


async def run(options: argparse.Namespace) -> None:
    """Run until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    emulators = await start(options.host, options.tls_port, options.plain_port, options.name)
    if options.until_stdin_closes:
        _watch_stdin(loop, stop)
    print(_announcement(emulators), flush=True)
    try:
        await stop.wait()
    finally:
        await emulators.close()


def _announcement(emulators: Emulators) -> str:
    return msgspec.json.encode(Address.of(emulators)).decode()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def watch() -> None:
        # Not through `sys.stdin`: a thread inside its buffer would upset the end of the interpreter.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    # A daemon: a signal must be able to end the process while this still waits for its end of file.
    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Parse the command line and run under uvloop."""
    parser = argparse.ArgumentParser(prog="python -m tidings.emulators", description="Emulators of push vendors.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--tls-port", type=int, default=0, help="port for HTTPS (default: any free one)")
    parser.add_argument("--plain-port", type=int, default=0, help="port for plain HTTP (default: any free one)")
    parser.add_argument("--name", action="append", default=[], help="further DNS name for the certificate")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input is closed")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
