"""What the bench's processes say to each other: one line of JSON a command, one line of JSON an answer.

Times are seconds of the machine's monotonic clock, which all processes share. Nothing here leaves the machine.
"""

from msgspec import Struct

PROJECT_ID = 1


class Failed(Struct, frozen=True, tag="failed"):
    """The command could not be carried out."""

    why: str


class Database(Struct, frozen=True):
    """Where the service's own PostgreSQL listens: a folder with its socket."""

    host: str
    port: int
    database: str
    user: str


# The service


class Serve(Struct, frozen=True):
    """How `server` opens the service: `roles` as in `tidings serve --roles`, `emulators` as in the settings."""

    data_dir: str
    roles: list[str]
    secret: str
    api_key: str
    public_url: str = ""
    emulators: str = ""
    distributed: bool = False


class Serving(Struct, frozen=True):
    """The service is up. Ports are 0 for roles that do not run."""

    api_port: int
    gateway_port: int
    database: Database


class DeliverAll(Struct, frozen=True, tag=True):
    """Hand every waiting task to the workers, and wait until all is recorded."""

    timeout_s: float


class Delivered(Struct, frozen=True, tag=True):
    """`seconds`: from the hand-over until no task was left."""

    seconds: float


# The load


class Post(Struct, frozen=True, tag=True):
    """POST over `connections` kept-alive connections, each with one request at a time, for `seconds`.

    `batch`: recipients in one body, 0 for a single notification. `most`: stop after so many requests, 0 for no bound.
    `different`: how many different batches take turns. `lane`: "" for the default one.
    """

    port: int
    path: str
    api_key: str
    connections: int
    seconds: float
    users: int
    batch: int = 0
    most: int = 0
    different: int = 8
    lane: str = ""


class Posted(Struct, frozen=True, tag=True):
    """`refused`: answers that were not 202; `first_refusal`: the beginning of the first of them."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int = 0
    first_refusal: str = ""


class Insert(Struct, frozen=True, tag=True):
    """Insert rows by `unnest`, `batch` a statement and commit, over `connections`, for `seconds`."""

    database: Database
    connections: int
    seconds: float
    batch: int
    users: int


class Inserted(Struct, frozen=True, tag=True):
    rows: int
    seconds: float


class Push(Struct, frozen=True, tag=True):
    """Post `count` FCM messages, those of the notifications from `first_id` on, with `in_flight` at once."""

    emulators: str
    connections: int
    in_flight: int
    first_id: int
    count: int
    secret: str
    receipts: str


class Pushed(Struct, frozen=True, tag=True):
    requests: int
    seconds: float
    refused: int = 0


class Connect(Struct, frozen=True, tag=True):
    """Open WebSockets as users 1 to `connections`, and wait until each heard `ready` (bytes of its first answer)."""

    port: int
    connections: int
    secret: str
    ready: str
    timeout_s: float


class Connected(Struct, frozen=True, tag=True):
    connections: int


class Receive(Struct, frozen=True, tag=True):
    """Wait until all sockets together got so many bytes since the last `Receive` (or `Connect`)."""

    size: int
    timeout_s: float


class Received(Struct, frozen=True, tag=True):
    """`last_at`: when the last of them came."""

    size: int
    last_at: float


class Disconnect(Struct, frozen=True, tag=True):
    """Close all WebSockets."""


class Trickle(Struct, frozen=True, tag=True):
    """Post `rate` notifications a second for `seconds`, and time each until its frame is there."""

    api_port: int
    gateway_port: int
    api_key: str
    secret: str
    users: int
    rate: float
    seconds: float


class Trickled(Struct, frozen=True, tag=True):
    """Milliseconds from when the POST was to be sent. `frames` of the `requests` came in time."""

    requests: int
    frames: int
    answer_p50_ms: float
    answer_p99_ms: float
    frame_p50_ms: float
    frame_p99_ms: float


class Probe(Struct, frozen=True, tag=True):
    """Post `rate` critical notifications a second for `seconds`, to the users from `first_user` on in turn.

    Each carries the time when it was to be sent, see `probe.AT_KEY`.
    """

    port: int
    api_key: str
    first_user: int
    users: int
    rate: float
    seconds: float


class Probed(Struct, frozen=True, tag=True):
    """`first_at`, `last_at`: when the first and the last were due, nanoseconds of the wall clock."""

    requests: int
    first_at: int
    last_at: int
    answer_p50_ms: float
    answer_p99_ms: float


# Whoever writes frames


class Listening(Struct, frozen=True):
    """The gateway, or the bare protocol, is up."""

    port: int


class Broadcast(Struct, frozen=True, tag=True):
    """Write one frame after the other to every socket, each when the one before has left, for `seconds`."""

    seconds: float


class Broadcasted(Struct, frozen=True, tag=True):
    """`frames` and `size` (bytes) are of one socket."""

    frames: int
    size: int
    sockets: int
    started_at: float


# Whoever sends to a vendor's emulator


class Sending(Struct, frozen=True):
    """How `sender` starts: which client of which vendor, and the file that says how to reach the emulators."""

    vendor: str
    client: str
    emulators: str


class SendFor(Struct, frozen=True, tag=True):
    """Send one message after the other, as many at once as the client likes best, for `seconds`."""

    seconds: float


class SentFor(Struct, frozen=True, tag=True):
    """`refused`: messages that the vendor did not take; `first_refusal`: what became of the first of them."""

    messages: int
    seconds: float
    refused: int = 0
    first_refusal: str = ""
