"""The source distribution and the wheel, built as for a release, and environments to install them into."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.e2e.programs import REPOSITORY

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
_LEFT_OUT = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist")


def ran(
    *command: str | Path, folder: Path, typed: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """What a command printed, both streams as one; fails the test when it failed."""
    said = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={name: text for name, text in os.environ.items() if not name.startswith("ENPHASE_EV_")}
        | dict(environment or {}),
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=180,
    )
    assert said.returncode == 0, f"{' '.join(map(str, command))} ended with {said.returncode}: {said.stdout}"
    return said.stdout


def checkout(folder: Path) -> Path:
    """A copy of the repository without what only this working tree has."""
    copy = folder / "checkout"
    shutil.copytree(REPOSITORY, copy, ignore=_LEFT_OUT)
    return copy


def built(folder: Path) -> Path:
    """The folder with both: the wheel is built from the unpacked source distribution."""
    ran(sys.executable, "-m", "build", "--outdir", folder / "dist", checkout(folder), folder=folder)
    return folder / "dist"


def wheel_in(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


def environment_with(wheel: Path, python: Path, folder: Path) -> Path:
    """The `bin` of a new environment with the wheel and the pinned dependencies."""
    ran(python, "-m", "venv", folder, folder=wheel.parent)
    pip = (folder / "bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    ran(*pip, "--require-hashes", "-r", REPOSITORY / "requirements.txt", folder=wheel.parent)
    ran(*pip, "--no-deps", wheel, folder=wheel.parent)
    return folder / "bin"


@cache
def pythons() -> Mapping[str, Path]:
    """The supported Pythons of this machine by version: the running one, those on PATH, those of pyenv."""
    found: dict[str, Path] = {}
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = (shutil.which(f"python{version}") for version in SUPPORTED)
    others = [*map(Path, filter(None, on_path)), *sorted(root.glob("versions/3.*/bin/python"))]
    for python in (Path(sys.executable), *others):
        ask = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
        said = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
        version = said.stdout.strip()
        if said.returncode == 0 and re.fullmatch(r"\d\.\d+", version) and version in SUPPORTED:
            found.setdefault(version, python)
    return found


def untried() -> str:
    """The supported Pythons that this machine does not have, for people."""
    missing = [version for version in SUPPORTED if version not in pythons()]
    return f"the package was not tried on Python {', '.join(missing)}" if missing else "no Python is missing"
