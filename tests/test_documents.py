"""The documents name everything that there is, and nothing else: settings, error codes, routes, events."""

import ast
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.api.operations import bare_api
from tidings import errors, settings
from tidings.errors import CODES, Problem
from tidings.events import EventType
from tidings.settings import Settings, env_names

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src" / "tidings").rglob("*.py"))
DOCS = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
OURS = ["api.md", "errors.md", "events.md", "settings.md"]


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def table(name: str) -> list[list[str]]:
    """The rows of all tables of a document whose first cell is code; cells without their backquotes."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text(name).splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


def branches() -> dict[str, tuple[str, list[str]]]:
    """Class → status and codes, as the tree in errors.py is drawn."""
    found: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in (errors.__doc__ or "").splitlines():
        words = re.sub(r"[│├└─]", " ", line).split()
        if re.search(r"[├└]── [A-Z]", line):
            name, status = words[0], words[1] if words[1].isdigit() else ""
            found[name] = (status, words[2:] if status else [])
        elif "│" in line and name and found[name][0]:
            found[name][1].extend(words)
    return found


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = branches()
    assert {name: status for name, (status, _) in drawn.items() if status} == {
        cls.__name__: str(cls.status) for cls in Problem.__subclasses__()
    }
    direct = {cls.__name__ for cls in errors.TidingsError.__subclasses__() if cls.__module__ == errors.__name__}
    assert {name for name, (status, _) in drawn.items() if not status} == direct
    listed = [code for _, codes in drawn.values() for code in codes]
    assert sorted(listed) == sorted(CODES)


def status_of() -> dict[str, str]:
    return {code: status for status, codes in branches().values() for code in codes}


def raised() -> list[tuple[str, str, str]]:
    """(file, class, code) wherever a problem is made with a code that stands there."""
    classes = {cls.__name__ for cls in Problem.__subclasses__()}
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                codes = [word.value for word in node.keywords if word.arg == "code"]
                if called in classes and codes and isinstance(codes[0], ast.Constant) and codes[0].value:
                    found.append((path.name, called, str(codes[0].value)))
    return found


def test_problems_are_made_with_the_codes_of_their_class() -> None:
    drawn = branches()
    found = raised()
    assert len(found) > 15
    assert [item for item in found if item[2] not in drawn[item[1]][1]] == []
    for cls in Problem.__subclasses__():
        assert cls.default_code in drawn[cls.__name__][1]


def test_every_code_is_used() -> None:
    used = "\n".join(
        path.read_text(encoding="utf-8") for path in SOURCES if path.name not in ("errors.py", "examples.py")
    )
    defaults = {cls.default_code for cls in Problem.__subclasses__()}
    assert [code for code in CODES if f'"{code}"' not in used and code not in defaults] == []


def test_errors() -> None:
    rows = table("errors.md")
    assert [row[0] for row in rows] == sorted(CODES, key=[row[0] for row in rows].index)
    assert {row[0]: row[1] for row in rows} == status_of()
    assert all(len(row[2]) > 20 for row in rows)


def test_settings() -> None:
    rows = table("settings.md")
    assert sorted(row[0] for row in rows) == sorted(choices[0] for choices in env_names().values())
    by_name = {row[0]: row for row in rows}
    for field, (name, *aliases) in env_names().items():
        default = Settings.model_fields[field].default
        if field == "data_dir":
            default = "/var/lib/tidings"
        shown = default.get_secret_value() if isinstance(default, SecretStr) else str(default)
        assert by_name[name][1] == (shown or "empty"), name
        assert all(f"`{alias}`" in by_name[name][2] for alias in aliases), name


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_documents_name_no_setting_that_does_not_exist(path: Path) -> None:
    known = {name for choices in env_names().values() for name in choices} | settings.OURS
    named = set(re.findall(r"\bTIDINGS_[A-Z0-9_]+\b", path.read_text(encoding="utf-8")))
    assert named - known == set()


def routes() -> set[str]:
    """Every route of the application but the documents themselves."""
    return {
        f"{method} {route.path_format}"
        for route in bare_api().routes
        for method in route.methods
        if method != "OPTIONS" and not route.path.startswith("/docs")
    }


def test_routes() -> None:
    rows = table("api.md")
    assert sorted(row[0] for row in rows) == sorted(routes())
    scopes = {}
    for route in bare_api().routes:
        for handler in getattr(route, "route_handlers", ()):
            for method in handler.http_methods:
                scopes[f"{method} {route.path_format}"] = str(handler.opt.get("scope") or "none")
    assert {row[0]: row[1] for row in rows} == {name: scopes[name] for name in routes()}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_documents_name_no_route_that_does_not_exist(path: Path) -> None:
    shapes = {re.sub(r"\{\w+\}", "*", route) for route in routes()}
    named = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/api/[^\s`?]*)", path.read_text(encoding="utf-8"))
    found = {f"{method} " + re.sub(r"(\{\w+\}|<\w+>|:\w+|…)", "*", route) for method, route in named}
    assert found - shapes == set()


def test_events() -> None:
    assert [row[0] for row in table("events.md")] == [str(kind) for kind in EventType]


@pytest.mark.parametrize("name", OURS)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(name)):
        assert (ROOT / "docs" / target).exists(), target
