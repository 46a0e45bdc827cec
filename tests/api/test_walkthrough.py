"""Every call in `docs/api.md` and on `/docs`, sent as it stands there."""

import html
import re
from pathlib import Path

from tests.api.operations import OPERATIONS
from tests.api.shell import curls, read_curl
from tests.conftest import Project, client_of
from tidings.app import App

GUIDE = Path(__file__).parents[2] / "docs" / "api.md"


async def test_the_guide(app: App, project: Project) -> None:
    """In the order in which they stand. Every id is 1 there; here it is the one that an earlier call made."""
    scripts = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for script in scripts for line in curls(script)]
    assert len(lines) > 15
    made: dict[str, int] = {}
    async with client_of(app) as client:
        for line in lines:
            call = read_curl(with_ids(line, made), {"HOST": app.api_url, "KEY": project.key})
            answer = await call.send(client)
            assert answer.is_success, (line, answer.text)
            for ending, noun in NOUNS.items():
                if call.method == "POST" and call.url.endswith(ending):
                    made[noun] = answer.json()["id"]


NOUNS = {
    "/api/users": "user",
    "/devices": "device",
    "/schedule": "notification",
    "/api/broadcasts": "broadcast",
    "/api/providers": "provider",
}


def with_ids(line: str, made: dict[str, int]) -> str:
    """The line with real ids where it has a 1 after the name of something."""
    return re.sub(
        r'(user|device|notification|broadcast|provider)(s?/|_id": )1\b',
        lambda found: f"{found[1]}{found[2]}{made[found[1]]}",
        line,
    )


async def test_the_page(app: App, project: Project) -> None:
    """There the ids are 1, which may be nobody's; but no call is refused for its form or its key."""
    ids = {
        "HOST": app.api_url,
        "KEY": project.key,
        "RECEIPT": "x",
        "CHANNEL": "email",
        "ADDRESS": "ann@example.com",
        "PROVIDER": "mailgun",
    }
    async with client_of(app) as client:
        page = (await client.get("/docs")).text
        shown = [html.unescape(line) for line in re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL)]
        calls = [read_curl(line, ids) for line in shown]
        assert [call.method for call in calls] == [operation.method for operation in OPERATIONS]
        for line, call in zip(shown, calls, strict=True):
            answer = await call.send(client)
            if answer.status_code == 400 and "/reports/mail" in line:  # a mail can't be shown in a line
                continue
            assert answer.is_success or answer.status_code == 404, (line, answer.text)
            if answer.status_code == 404:
                assert answer.json()["code"] != "route_not_found", line
