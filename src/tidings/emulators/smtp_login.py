"""AUTH PLAIN and AUTH LOGIN, from the server's side (RFC 4954, RFC 4616), without any input or output."""

import base64
import binascii
from collections.abc import Callable

from msgspec import Struct

_USERNAME, _PASSWORD = "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"  # "Username:" and "Password:"


class Turn(Struct, frozen=True):
    """What to answer. `done` None: the next line belongs to the login too; else whether it went well."""

    reply: str
    done: bool | None = None


class Login:
    """One try. `is_login`: whether a name and password are good."""

    def __init__(self, is_login: Callable[[str, str], bool]) -> None:
        self._is_login = is_login
        self._plain = False
        self._username: str | None = None

    def begin(self, words: list[str]) -> Turn:
        """The words of the AUTH command behind AUTH."""
        mechanism = words[0].upper() if words else ""
        self._plain = mechanism == "PLAIN"
        if self._plain and len(words) == 2:
            return self.go_on(words[1])
        if mechanism in ("PLAIN", "LOGIN") and len(words) == 1:
            return Turn("334 " if self._plain else _USERNAME)
        return Turn("504 5.5.4 Unrecognized authentication mechanism", False)

    def go_on(self, line: str) -> Turn:
        """A further line, in base64; `*` gives up."""
        try:
            text = base64.b64decode(line, validate=True).decode()
        except (binascii.Error, ValueError):  # UnicodeDecodeError is one
            return Turn("501 5.5.2 Cannot decode", False)
        if self._plain:
            _, _, both = text.partition("\0")
            name, _, password = both.partition("\0")
        elif self._username is None:
            self._username = text
            return Turn(_PASSWORD)
        else:
            name, password = self._username, text
        if self._is_login(name, password):
            return Turn("235 2.7.0 Authentication successful", True)
        return Turn("535 5.7.8 Authentication credentials invalid", False)
