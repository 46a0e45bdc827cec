"""Calls as documents show them: `curl` lines, read as a shell reads them, sent for real."""

import re
import shlex
from collections.abc import Mapping

import httpx
from msgspec import Struct


class Call(Struct, frozen=True):
    """One curl: what it would send."""

    method: str
    url: str
    headers: dict[str, str]
    body: str | None = None

    async def send(self, client: httpx.AsyncClient) -> httpx.Response:
        """Send it."""
        content = None if self.body is None else self.body.encode()
        return await client.request(self.method, self.url, headers=self.headers, content=content)


def read_curl(line: str, variables: Mapping[str, object]) -> Call:
    """The call of a line. Variables (`$KEY`) are filled in everywhere, also where a shell would not: in single quotes,
    in which the documents put JSON. An option that is not known here fails."""
    filled = re.sub(r"\$([A-Z]+)", lambda name: str(variables[name[1]]), line.replace("\\\n", " "))
    words = shlex.split(filled)
    assert words.pop(0) == "curl"
    method, url, headers, body = "", "", {}, None
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            case "-d":
                body = words.pop(0)
            case word:
                assert not word.startswith("-"), word
                assert not url, line
                url = word
    return Call(method or ("GET" if body is None else "POST"), url, headers, body)


def curls(text: str) -> list[str]:
    """The curl lines of a shell script, continued lines together."""
    return re.findall(r"^curl (?:[^\n]*\\\n)*[^\n]*", text, re.MULTILINE)
