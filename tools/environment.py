"""Makes .venv and keeps it equal to the pinned requirements: `python3 tools/environment.py run` or `dev`.

Needs nothing but Python's own library, not even pip: Debian's python3 alone has neither pip nor ensurepip. A
pip to begin with is looked for on disk, and otherwise fetched from the system's package archive, as any user,
without installing it. That pip installs the pinned one, and the pinned one the rest: only ready-made wheels,
each checked against its hash. Where they come from is pip's own configuration (pip.conf, PIP_INDEX_URL).

Twice is safe, and takes a few hundredths of a second when nothing has changed. A run that was interrupted is
begun again by the next; of two at the same time, one waits for the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
ENV = ROOT / ".venv"
STAMP = ENV / "tidings-environment.json"
PYTHON = ENV / "bin" / "python"
OLDEST = (3, 11)
KINDS = {"run": ("run",), "dev": ("run", "dev")}  # what to have → the requirement files it needs
TIMEOUT_S = 1800  # for one command; on a slow line the installation takes minutes
DEBIAN_WHEELS = Path("usr/share/python-wheels")  # where Debian's package python3-pip-whl puts pip
DEBIAN_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # where Debian's pip looks for them
PIP = ("install", "--no-input", "--no-user", "--no-deps", "--disable-pip-version-check", "--progress-bar=off")
# Everything has a wheel but http-ece and dkimpy, plain Python both; they are built with our own setuptools.
FROM_SOURCE = ("--no-binary=http-ece,dkimpy", "--no-build-isolation")
PINNED = (*PIP, "--require-hashes", "--only-binary=:all:", *FROM_SOURCE)


class Trouble(Exception):
    """The environment can't be made; the text is for the person who asked for it."""


def main(arguments: Sequence[str]) -> int:
    """Make or mend .venv for `run` or `dev`. Answers the exit status; tells what it does."""
    if len(arguments) != 1 or arguments[0] not in KINDS:
        print(f"usage: python3 tools/environment.py {'|'.join(KINDS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _terminated)  # so that pip does not go on alone
    try:
        if sys.version_info < OLDEST:
            raise Trouble(
                f"Tidings needs Python {_dotted(OLDEST)} or newer, and {sys.executable} is "
                f"{_dotted(sys.version_info[:3])}. Name another one: make PYTHON=python3.12 …"
            )
        with _alone():
            ensure(KINDS[arguments[0]])
    except Trouble as trouble:
        print(f"\n{trouble}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\n.venv can't be made: {error}. Remove {ENV}, or see who owns it.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The next run begins again.", file=sys.stderr)
        return 130
    return 0


def ensure(files: Sequence[str]) -> None:
    """See that .venv has what `files` pin, and the package itself. Raises `Trouble` and OSError."""
    wanted = digests()
    done = _read_stamp()
    stale = any(name in done and done[name] != wanted[name] for name in ("run", "dev"))
    if stale or "run" not in done:
        version = _dotted(sys.version_info[:3])
        print(f"Making .venv with Python {version} (at the first start, and after changes)", flush=True)
        done = {}
        _create()
    missing = [name for name in files if name not in done]
    if missing:
        paths = [ROOT / "requirements" / f"{name}.txt" for name in missing]
        with _told(f"installing {len(_names(paths))} packages"):
            _run([str(PYTHON), "-m", "pip", *PINNED, *(f"--requirement={path}" for path in paths)])
        done.update({name: wanted[name] for name in missing})
        _write_stamp(done)
    if done.get("package") != wanted["package"]:
        with _told("installing Tidings from this folder"):
            own = ("--no-index", "--no-build-isolation", "--editable", str(ROOT))
            _run([str(PYTHON), "-m", "pip", *PIP, *own])
        _write_stamp({**done, "package": wanted["package"]})


def digests() -> dict[str, str]:
    """What .venv must be made of, by part. A part with another digest is made anew."""
    base = f"{sys.version} {sys.base_prefix} {ROOT}".encode()
    read = {name: (ROOT / "requirements" / f"{name}.txt").read_bytes() for name in ("build", "run", "dev")}
    return {
        "run": _digest(base, read["build"], read["run"]),
        "dev": _digest(base, read["build"], read["run"], read["dev"]),
        "package": _digest((ROOT / "pyproject.toml").read_bytes()),
    }


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _read_stamp() -> dict[str, str]:
    """What was finished; nothing when the interpreter is gone or the file is not ours."""
    try:
        done = json.loads(STAMP.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return done if isinstance(done, dict) and PYTHON.exists() else {}


def _write_stamp(done: dict[str, str]) -> None:
    partial = STAMP.with_suffix(".partial")
    partial.write_text(json.dumps(done, indent=1))
    partial.replace(STAMP)


def _names(paths: Sequence[Path]) -> set[str]:
    lines = (line for path in paths for line in path.read_text().splitlines())
    return {line.split("==")[0] for line in lines if "==" in line and not line.startswith(("#", " "))}


def _create() -> None:
    """An empty .venv with the pinned pip and setuptools in it."""
    try:
        import venv  # noqa: PLC0415 - some systems split it off, and most calls don't come here
    except ImportError:
        raise Trouble("Python's venv module is missing; install the package that has it (python3-venv).") from None
    venv.EnvBuilder(clear=True, symlinks=True).create(ENV)
    pinned = f"--requirement={ROOT / 'requirements' / 'build.txt'}"
    with tempfile.TemporaryDirectory(prefix="tidings-pip-") as folder:
        pip = _pip_on_disk() or _pip_from_archive(Path(folder))
        with _told("installing pip and setuptools"):
            _run([*pip, *PINNED, pinned])


def _pip_on_disk() -> list[str] | None:
    """How to run a pip for .venv that this machine has: Python's own, Debian's wheel, or an installed one."""
    ensurepip = importlib.util.find_spec("ensurepip")
    folders = [Path(place) / "_bundled" for place in (ensurepip.submodule_search_locations or ())] if ensurepip else []
    for folder in (*folders, Path("/") / DEBIAN_WHEELS):
        for wheel in sorted(folder.glob("pip-*.whl"), reverse=True):
            return _from_wheel(wheel)
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", f"--python={PYTHON}"]
    return None


def _from_wheel(wheel: Path) -> list[str]:
    return [str(PYTHON), str(wheel / "pip")]


def _pip_from_archive(folder: Path) -> list[str]:
    """How to run the pip of Debian's archive, unpacked in `folder`; changes nothing outside."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Trouble(
            "There is no pip for this Python. Install one: your system's package python3-pip or python3-venv."
        )
    packages = ["python3-pip-whl"]
    if not DEBIAN_CERTIFICATES.exists():  # Debian's pip has none of its own; the pinned one does
        packages.append("ca-certificates")
    with _told(f"fetching {' and '.join(packages)} with apt-get, for this once"):
        _unpack(packages, folder)
    wheels = sorted((folder / "root" / DEBIAN_WHEELS).glob("pip-*.whl"))
    if not wheels:
        raise Trouble("Debian's package python3-pip-whl has no pip in it. Install python3-venv, and try again.")
    pip = _from_wheel(wheels[0])
    # In the environment it would go before the `cert` of the person's own pip.conf, so see that there is none.
    if "ca-certificates" in packages and ".cert=" not in _run([*pip, "config", "list"]):
        return ["env", f"PIP_CERT={_certificates(folder)}", *pip]
    return pip


def _unpack(packages: Sequence[str], folder: Path) -> None:
    """Download Debian packages and unpack them below `folder`/root, with state and cache of our own."""
    state, cache = folder / "state", folder / "cache"
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    options = {
        "Dir::State": state,
        "Dir::Cache": cache,
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "root",  # the account _apt can't write to our folder
        "Acquire::Languages": "none",
        "Acquire::http::Timeout": "30",
        "Acquire::https::Timeout": "30",
    }
    apt = ["apt-get", "--quiet", *(f"--option={name}={value}" for name, value in options.items())]
    advice = "apt-get could not fetch them. As root: apt-get install python3-venv ca-certificates"
    # One archive of many that does not answer must not matter: whether it was enough, the download tells.
    refreshed = _run([*apt, "update"], check=False)
    _run([*apt, "download", *packages], cwd=folder, trouble=f"{refreshed}\n{advice}")
    for package in sorted(folder.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(package), str(folder / "root")])


def _certificates(folder: Path) -> Path:
    """One file of all authorities that the unpacked package ca-certificates brings."""
    bundle = folder / "certificates.pem"
    found = sorted((folder / "root" / "usr" / "share" / "ca-certificates" / "mozilla").glob("*.crt"))
    bundle.write_text("".join(path.read_text() for path in found))
    return bundle


def _run(
    command: Sequence[str],
    *,
    check: bool = True,
    cwd: Path = ROOT,
    trouble: str = "That failed; the reason stands above.",
) -> str:
    """Run a command without input; answers what it printed; raises `Trouble` with all of it."""
    # A PYTHONPATH would make pip take what lies there for installed.
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Trouble(f"No end after {TIMEOUT_S} s: {' '.join(command)}") from None
    if check and done.returncode != 0:
        raise Trouble(f"{' '.join(command)}\n{done.stdout}\n{trouble}")
    return done.stdout


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"  {what} …", end="", flush=True)
    yield
    print(f" {time.monotonic() - began:.1f} s", flush=True)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of this folder; the kernel lets go of it when the process ends."""
    folder = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another run is making .venv; waiting for it.", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _terminated(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
