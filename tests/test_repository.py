"""The repository itself: which way imports point, that every library is pinned, and what no file may contain."""

import ast
import graphlib
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tidings import __version__

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "tidings"
MOST_LINES = 400

# Each part of the package stands in one layer. A module may import its own layer and the ones below it.
LAYERS = {
    "roots": "__main__ app bench cli demo engine lanes operators vendors welcome",
    "edges": "api console emulators gateway scheduler worker",
    "nouns": """accounts arrivals backlog broadcasts dead_letters deliveries devices endpoints events idempotency ledger
                notifications preferences projects relay reporting reports routing schedules suppressions tasks
                templates topics users""",
    "tools": """addresses bus coalesce db embedded health http listening logs metrics migrate multi operations
                partitions providers queue quiet_hours signing sql supervise turns urgency vault""",
    "ground": "__init__ account_limits clock curl discreet errors settings tls tls_settings vendor_settings",
}
RANKS = {part: rank for rank, parts in enumerate(reversed(LAYERS.values())) for part in parts.split()}
EDGES = LAYERS["edges"].split()
# What the layers alone would allow.
NEVER = {("providers", "db"), *((one, other) for one in EDGES for other in EDGES if one != other)}

SHAPELESS = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
LOCKS = sorted((ROOT / "requirements").glob("*.in"))
# In two pieces, because this file is searched too.
INDEX_HOSTS = [
    ".".join(pieces)
    for pieces in (
        ("pypi", "org"),
        ("pypi", "python"),
        ("pythonhosted", "org"),
        ("registry", "npmjs"),
        ("registry", "yarnpkg"),
        ("deb", "debian"),
        ("security", "debian"),
        ("snapshot", "debian"),
        ("archive", "ubuntu"),
        ("crates", "io"),
        ("proxy", "golang"),
    )
]


def files() -> list[Path]:
    """The files that are in the repository or about to be; without git, all that .gitignore does not name."""
    if shutil.which("git") and (ROOT / ".git").exists():
        asked = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
    else:
        ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
        inside = [path for path in ROOT.rglob("*") if not any(part in ignored for part in path.parts)]
        paths = [path for path in inside if not any(part.endswith(".egg-info") for part in path.parts)]
    return [path for path in paths if path.is_file()]


def text_of(path: Path) -> str | None:
    """The text of a file; None for one that is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def name_of(path: Path) -> str:
    """tidings.api.app for src/tidings/api/app.py."""
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in SRC.rglob("*.py")}


def part_of(module: str) -> str:
    """The part of the package that a module belongs to: api for tidings.api.app."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(module: str) -> set[str]:
    """The modules of Tidings that a module imports, also inside functions; not what only types need."""
    return set(_imports(ast.parse(MODULES[module].read_text()), module)) - {module}


def _imports(node: ast.AST, module: str) -> Iterator[str]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in MODULES)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module} has a relative import in line {node.lineno}; write the whole name"
        for alias in node.names:
            below = f"{node.module}.{alias.name}"
            if below in MODULES:
                yield below
            elif node.module in MODULES:
                yield str(node.module)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, module)


def test_imports_point_down() -> None:
    wrong = []
    for module in MODULES:
        for imported in imports(module):
            one, other = part_of(module), part_of(imported)
            if RANKS.get(one, 0) < RANKS.get(other, 0) or (one, other) in NEVER:
                wrong.append(f"{module} imports {imported}")
    assert sorted(wrong) == []


def test_every_part_stands_in_one_layer() -> None:
    placed = [part for parts in LAYERS.values() for part in parts.split()]
    assert len(placed) == len(set(placed))
    assert {part_of(module) for module in MODULES} - set(placed) == set()


def test_imports_have_no_cycle() -> None:
    graph = {module: imports(module) for module in MODULES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("Modules import each other: " + " → ".join(reversed(error.args[1])))


def test_files_are_short_and_names_say_something() -> None:
    long = {name: lines for name, path in MODULES.items() if (lines := path.read_text().count("\n")) > MOST_LINES}
    assert long == {}
    assert [name for name in MODULES if SHAPELESS & set(name.split("."))] == []


def test_no_file_names_a_package_index() -> None:
    pattern = re.compile("|".join(map(re.escape, INDEX_HOSTS)), re.IGNORECASE)
    found = []
    for path in files():
        for number, line in enumerate((text_of(path) or "").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_lock_files_name_no_place() -> None:
    foreign = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "yarn.lock"}
    assert [str(path) for path in files() if path.name in foreign] == []
    locks = [path for path in files() if path.name in {"package-lock.json", "npm-shrinkwrap.json"}]
    assert [str(path) for path in locks if "resolved" in set(_keys(json.loads(path.read_text())))] == []


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    if isinstance(value, dict | list):
        for below in value.values() if isinstance(value, dict) else value:
            yield from _keys(below)


def asked(path: Path) -> list[Requirement]:
    """What a .in file asks for."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def pinned(path: Path) -> dict[str, tuple[str, int]]:
    """name → (version, number of hashes) in a .txt file; fails at a line that is neither, such as a URL."""
    found: dict[str, tuple[str, int]] = {}
    name = ""
    for line in path.read_text().splitlines():
        if pin := re.fullmatch(r"([A-Za-z0-9._-]+)==([\w.+!]+)(?: *;[^\\]*)? *\\?", line):
            name = canonicalize_name(pin[1])
            found[name] = (pin[2], 0)
        elif re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}(?: \\)?", line):
            found[name] = (found[name][0], found[name][1] + 1)
        else:
            assert line.lstrip().startswith("#") or not line, f"{path.name}: {line}"
    return found


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_with_hashes(path: Path) -> None:
    pins = pinned(path.with_suffix(".txt"))
    assert [name for name, (_, hashes) in pins.items() if not hashes] == []
    for requirement in asked(path):
        version, _ = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}; pinned is {version}"


def test_pins_agree_with_each_other() -> None:
    run, dev = (pinned(ROOT / "requirements" / name) for name in ("run.txt", "dev.txt"))
    assert {name: (run[name], dev[name]) for name in run.keys() & dev.keys() if run[name][0] != dev[name][0]} == {}


def test_the_changelog_has_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"], "the version is in src/tidings/__init__.py alone"
    headings = re.findall(r"^## \[?([^\s\]]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert __version__ in headings
