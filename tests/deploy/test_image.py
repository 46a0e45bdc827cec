"""deploy/Dockerfile, by reading it: in stages, not as root, nothing secret, and exactly the files it needs."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from msgspec import Struct

from tests.deploy.checkout import ROOT
from tidings import settings

IGNORE = ROOT / ".dockerignore"
BUILD_TIMEOUT_S = 120.0


class Instruction(Struct, frozen=True):
    """One instruction of a Dockerfile: `RUN`, and what stands behind it in one line."""

    name: str
    rest: str


def instructions() -> list[Instruction]:
    """All of them, continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    return [Instruction(*line.split(None, 1)) for line in lines]


def stages() -> list[list[Instruction]]:
    """The instructions of each stage, FROM first."""
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def copied() -> list[str]:
    """What is copied from the repository."""
    lines = [one.rest.split() for one in instructions() if one.name in {"COPY", "ADD"} and "--from=" not in one.rest]
    return [source for words in lines for source in words[:-1]]


def let_through(name: str) -> bool:
    """Whether .dockerignore lets a file into the build: the last pattern that fits decides."""
    through = True
    for line in IGNORE.read_text().splitlines():
        pattern = line.lstrip("!")
        if not line or line.startswith("#"):
            continue
        parents = [name, *(str(parent) for parent in Path(name).parents if str(parent) != ".")]
        anywhere = pattern.removeprefix("**/")
        fits = any(
            fnmatch.fnmatch(one, pattern) or (anywhere != pattern and fnmatch.fnmatch(Path(one).name, anywhere))
            for one in parents
        )
        if fits:
            through = line.startswith("!")
    return through


def test_it_is_built_in_stages_and_runs_as_nobody_much() -> None:
    build, run = stages()
    assert build[0].rest.endswith(" AS build")
    assert [one.rest for one in run if one.name == "USER"] == ["10001:10001"]
    last_user = max(index for index, one in enumerate(run) if one.name == "USER")
    assert not any(one.name in {"RUN", "COPY", "ADD"} for one in run[last_user:])
    assert all(re.fullmatch(r"python:\$\{PYTHON\}-slim( AS build)?", stage[0].rest) for stage in (build, run))
    assert instructions()[0] == Instruction("ARG", "PYTHON=3.11")


def test_nothing_is_installed_that_is_not_pinned_by_hash() -> None:
    commands = [part for one in instructions() if one.name == "RUN" for part in one.rest.split("&&")]
    installs = [command for command in commands if re.search(r"\bpip\b.*\b(install|wheel)\b", command)]
    assert len(installs) == 5
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command
    assert not any(re.search(r"\b(apt-get|apt|apk|curl|wget|gcc|git)\b", command) for command in commands)


def test_no_secret_is_baked_in() -> None:
    for one in instructions():
        if one.name in {"ENV", "ARG"}:
            assert not re.search("PASSWORD|SECRET|API_KEY|TOKEN|INDEX", one.rest), one.rest
    given = {name for one in stages()[1] if one.name == "ENV" for name in re.findall(r"(\w+)=", one.rest)}
    known = {name for names in settings.env_names().values() for name in names}
    assert {name for name in given if name.startswith("TIDINGS_")} <= known


def test_it_has_a_health_check_without_a_shell() -> None:
    checks = [one.rest for one in stages()[1] if one.name == "HEALTHCHECK"]
    assert len(checks) == 1
    assert checks[0].endswith('CMD ["python", "-IS", "/opt/tidings/ready.py"]')


@pytest.mark.parametrize(
    "name",
    [".env", ".git/config", "deploy/.env", "deploy/compose.yaml", "tests/conftest.py", "docs/walk.md", ".venv/bin/pip"],
)
def test_other_files_never_reach_the_build(name: str) -> None:
    assert not let_through(name)


def test_the_files_that_are_copied_make_the_whole_package(tmp_path: Path) -> None:
    """The wheel of the image, built here by the same command from the same files, has all that the sources have."""
    version = metadata.version("setuptools")
    assert int(version.split(".")[0]) >= 77, f"setuptools {version} is older than the pinned one; use `make test`"
    for source in copied():
        assert let_through(source), f".dockerignore keeps {source} out"
        target = tmp_path / "source" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(ROOT / source, target)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = ["pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    done = subprocess.run(
        [sys.executable, "-m", *command, str(tmp_path / "wheels"), "."],
        cwd=tmp_path / "source",
        env=environ,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "wheels").iterdir()
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("tidings/")}
    there = [
        path for path in (ROOT / "src" / "tidings").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {str(path.relative_to(ROOT / "src")) for path in there} - packed == set()
