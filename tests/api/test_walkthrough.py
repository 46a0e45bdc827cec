"""Every call in `docs/api.md` and on `/docs`, sent as it stands there."""

import html
import re
from pathlib import Path
from typing import Any

from tests.api.operations import OPERATIONS
from tests.api.shell import curls, read_curl
from tests.conftest import Project, client_of
from tidings.app import App

GUIDE = Path(__file__).parents[2] / "docs" / "api.md"


async def test_the_guide(app: App, project: Project) -> None:
    """In the order in which they stand; what is made gives its id to the calls that follow."""
    scripts = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for script in scripts for line in curls(script)]
    assert len(lines) > 15
    ids: dict[str, Any] = {"HOST": app.api_url, "KEY": project.key}
    names = {"/api/users": "USER", "/devices": "DEVICE", "/schedule": "NOTIFICATION", "/api/broadcasts": "BROADCAST"}
    async with client_of(app) as client:
        for line in lines:
            call = read_curl(line, ids)
            answer = await call.send(client)
            assert answer.is_success, (line, answer.text)
            if call.method == "POST":
                for ending, name in names.items():
                    if call.url.endswith(ending):
                        ids[name] = answer.json()["id"]


async def test_the_page(app: App, project: Project) -> None:
    """There the ids are 1, which may be nobody's; but no call is refused for its form or its key."""
    ids = {"HOST": app.api_url, "KEY": project.key, "RECEIPT": "x"}
    async with client_of(app) as client:
        page = (await client.get("/docs")).text
        shown = [html.unescape(line) for line in re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL)]
        calls = [read_curl(line, ids) for line in shown]
        assert [call.method for call in calls] == [operation.method for operation in OPERATIONS]
        for line, call in zip(shown, calls, strict=True):
            answer = await call.send(client)
            assert answer.is_success or answer.status_code == 404, (line, answer.text)
            if answer.status_code == 404:
                assert answer.json()["code"] != "route_not_found", line
