"""The private PostgreSQL: created, joined, stopped with its owner, and clear about what is wrong."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tidings import embedded
from tidings.errors import SetupError


def pid_of(folder: Path) -> int:
    return int((folder / "postgresql" / "postmaster.pid").read_text().split()[0])


def alive(pid: int) -> bool:
    """Whether it still runs; a dead process that nobody has collected has no command line any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_it_starts_is_joined_and_stops(folder: Path) -> None:
    first = embedded.start(folder)
    pid = pid_of(folder)
    second = embedded.start(folder)
    assert second.process is None, "the second start joins the first"
    await second.stop()
    assert alive(pid)
    await first.stop()
    assert not alive(pid)
    again = embedded.start(folder)
    assert pid_of(folder) != pid
    await again.stop()


async def test_it_dies_with_a_parent_that_is_killed_and_starts_again(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tidings import embedded; "
        "embedded.start(Path(sys.argv[1])); print('up', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"up\n"
    pid = pid_of(folder)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    server = embedded.start(folder)  # at once: waits for the old one to be gone
    assert not alive(pid)
    assert pid_of(folder) != pid
    await server.stop()


def test_a_folder_that_can_not_be_made_is_a_sentence(folder: Path) -> None:
    blocked = folder / "file"
    blocked.write_text("")
    with pytest.raises(SetupError, match="TIDINGS_DATA_DIR"):
        embedded.start(blocked / "below")


def test_a_closed_folder_above_is_noticed(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    assert not embedded.others_may_enter(closed)
    assert embedded.others_may_enter(folder)


async def test_a_long_path_gets_a_short_socket(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)
    deep.parent.mkdir(mode=0o711)
    server = embedded.start(deep)
    try:
        assert len(str(server.socket_dir)) < 90
    finally:
        await server.stop()
        shutil.rmtree(server.socket_dir, ignore_errors=True)
