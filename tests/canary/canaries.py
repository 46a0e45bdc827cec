"""Values that must not get out, each with a mark that is in no other text, and what looks for them."""

import base64
import io
import logging
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPrivateNumbers
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tidings import logs

# The test's own clients, and the vendor's side of HTTP/2: what they log never leaves a service.
FOREIGN = ("httpx", "httpcore", "websockets", "hpack")


class Canaries:
    """Marked values by name. `new` makes one; `add` takes a value that something else made."""

    def __init__(self) -> None:
        self._marks: dict[str, list[bytes]] = {}

    def new(self, name: str, form: str = "canary{}") -> str:
        """A value of that form, with a fresh mark in the place of {}. Several may have one name."""
        mark = secrets.token_hex(8)
        self.add(name, mark)
        return form.format(mark)

    def add(self, name: str, mark: str) -> None:
        """What is looked for: at least 12 characters that nothing else has."""
        assert len(mark) >= 12
        self._marks.setdefault(name, []).extend(form.lower() for form in _forms(mark.encode()))

    def add_pem(self, name: str, pem: str) -> None:
        """A private key: a line in the middle of its text, and its number."""
        lines = pem.strip().splitlines()
        self.add(name, lines[len(lines) // 2][:40])
        key = load_pem_private_key(pem.encode(), None)
        assert isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey)
        numbers = key.private_numbers()
        number = numbers.d if isinstance(numbers, RSAPrivateNumbers) else numbers.private_value
        self.add(f"{name}, its number", str(number)[:40])

    def __iter__(self) -> Iterator[str]:
        return iter(self._marks)

    def within(self, data: str | bytes, allowed: Iterable[str] = ()) -> list[str]:
        """The names of those that the text holds, also coded otherwise."""
        text = (data.encode(errors="surrogatepass") if isinstance(data, str) else data).lower()
        names = self._marks.keys() - set(allowed)
        return sorted(name for name in names if any(form in text for form in self._marks[name]))

    def in_files(self, folder: Path) -> list[str]:
        """The same for all files of a folder, as `file: name`."""
        found = []
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                found += [f"{path.relative_to(folder)}: {name}" for name in self.within(path.read_bytes())]
        return found


def _forms(mark: bytes) -> Iterator[bytes]:
    """As it is, in hexadecimal, and in Base64 wherever it begins within three bytes."""
    yield mark
    yield mark.hex().encode()
    for before in range(3):
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            coded = encode(bytes(before) + mark)
            yield coded[4 if before else 0 : len(coded) - 4]  # the ends depend on what stands beside


class _Written(io.StringIO):
    """What is written to a terminal, or to something else."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@contextmanager
def all_logs(*, terminal: bool = False) -> Iterator[io.StringIO]:
    """What the service and every library logs, from `debug` on, as it would be written."""
    written, real = _Written(terminal), sys.stderr
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    sys.stderr = written
    try:
        logs.configure("debug")
    finally:
        sys.stderr = real
    root.setLevel(logging.DEBUG)
    logging.getLogger("aiormq").setLevel(logging.DEBUG)
    for name in FOREIGN:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield written
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        for name in (*FOREIGN, "aiormq"):
            logging.getLogger(name).setLevel(logging.NOTSET)
        structlog.reset_defaults()
