"""The health check of a container: status 0 when the process in it is ready, 1 when it is not.

`ready.py [PORT PATH]` asks http://127.0.0.1:PORT/PATH; without arguments the operations port's /readyz. It runs every
few seconds in every container, so it imports next to nothing.
"""

import http.client
import os
import sys

TIMEOUT_S = 4.0  # less than the health check's own, so that the reason is said
MOST_BYTES = 1000


def main(arguments: list[str]) -> int:
    """Ask, print what came back (`docker inspect` shows it), and answer the exit status."""
    port, path = arguments or (os.environ.get("TIDINGS_OPERATIONS_PORT", "3003"), "/readyz")
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        print(answer.status, answer.read(MOST_BYTES).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error!r}")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
