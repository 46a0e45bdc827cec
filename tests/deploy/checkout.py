"""A copy of what `docker compose` reads, and the program that checks it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy" / "compose.yaml"
EXAMPLE = ROOT / ".env.example"
READ = (".env.example", "docker-compose.yml", "docker-compose.override.yml", "deploy")
INSTALL_TIMEOUT_S = 600.0
CONFIG_TIMEOUT_S = 60.0


def find_docker_compose() -> list[str]:
    """How to run Compose; no engine is needed. Installs Debian's package when this is root; fails otherwise."""
    why = ""
    if shutil.which("docker-compose") is None and not _has_plugin():
        why = _install()
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if _has_plugin():
        return ["docker", "compose"]
    pytest.fail(f"These tests need Docker Compose, but no engine: `apt-get install docker-compose` ({why}).")


def _has_plugin() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30, check=False)
    return asked.returncode == 0


def _install() -> str:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "only root on Debian or Ubuntu can have it installed by the tests"
    environ = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "docker-compose"]):
        done = subprocess.run(
            ["apt-get", *command], env=environ, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    return "" if done.returncode == 0 else f"apt-get failed: {done.stderr[-300:]}"


class Checkout:
    """The files of a fresh clone that Compose reads, in a folder where a test may write."""

    def __init__(self, folder: Path, program: list[str]) -> None:
        self.folder = folder
        self._program = program
        for name in READ:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns(".env", "compose.override.yaml")
                shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
            else:
                shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)

    def make_env(self) -> subprocess.CompletedProcess[str]:
        """What `make env` runs."""
        return subprocess.run(
            ["sh", "deploy/make-env.sh"], cwd=self.folder, capture_output=True, text=True, timeout=30, check=False
        )

    def env(self) -> dict[str, str]:
        """name → value in the .env that was made."""
        return assignments(self.folder / ".env")

    def run(self, *arguments: str, under: str = ".", **environ: str) -> subprocess.CompletedProcess[str]:
        """`docker compose <arguments> config` in a folder of the checkout, and nothing else in the environment."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            [*self._program, *arguments, "config"],
            cwd=self.folder / under,
            env=kept | environ,
            capture_output=True,
            text=True,
            timeout=CONFIG_TIMEOUT_S,
            check=False,
        )

    def config(self, *arguments: str, under: str = ".", **environ: str) -> dict[str, Any]:
        """What Compose makes of the files. Fails with what it says when it does not like them."""
        done = self.run(*arguments, under=under, **environ)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = yaml.safe_load(done.stdout)
        return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A fresh clone after `make env`."""
    made = Checkout(tmp_path_factory.mktemp("checkout"), find_docker_compose())
    done = made.make_env()
    assert done.returncode == 0, done.stderr
    yield made


def assignments(path: Path) -> dict[str, str]:
    """name → value of the lines NAME=value."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE))


def documented(path: Path = EXAMPLE) -> dict[str, str]:
    """name → value of the lines NAME=value and # NAME=value."""
    return dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE))


def variables(path: Path = COMPOSE) -> dict[str, set[str]]:
    """Each ${NAME…} of a compose file → what stands behind the name: "", ":-default" or ":?sentence"."""
    found: dict[str, set[str]] = {}
    text = re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.MULTILINE)
    for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", text):
        found.setdefault(name, set()).add(rest)
    return found


def environment_of(service: Mapping[str, Any]) -> dict[str, str | None]:
    """name → value of a service's environment; None: handed on when it is set."""
    return dict(service.get("environment") or {})
