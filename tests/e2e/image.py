"""The image as a user builds and runs it: buildah builds it, podman and runc run it. Needs root.

Three things differ from a user's machine. The base is Debian's own Python in place of the image that the
Dockerfile names, for no image registry is asked. Containers share the network of the machine. And nothing
asks for their health every 30 s, as an engine does: a test asks once, by the image's own HEALTHCHECK.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.e2e.programs import REPOSITORY, Program, started

UID = 65532
CREATED = "2026-01-02T03:04:05Z"
REVISION = "0123456789abcdef0123456789abcdef01234567"
VERSION = "1.2.3"
_BASE = "localhost/debian-python"
_IMAGE = "localhost/enphase-ev-exporter"
_DEBIAN, _BASE_PACKAGES = "bookworm", "python3,python3-venv,ca-certificates"
# What https://kubernetes.io/docs/concepts/security/pod-security-standards/ calls restricted, and a root that
# cannot be written; no tmpfs is put over /tmp or /run, as podman would by itself.
_RESTRICTED = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"),
    # podman raises these to what the root of a virtual machine may not have.
    *("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"),
)


@dataclass(frozen=True)
class Ended:
    """What a container that has ended said, both streams as one."""

    code: int
    text: str


@dataclass(frozen=True)
class Container:
    """A running container; its program is podman, which passes on what it prints and the signals it gets."""

    program: Program
    name: str
    image: "Image"

    def run(self, *command: str) -> Ended:
        """Run a command in it, beside the exporter, as the same user."""
        return self.image.podman("exec", self.name, *command)

    def healthcheck(self) -> Ended:
        """Run the image's HEALTHCHECK once, as an engine does every 30 s."""
        return self.image.podman("healthcheck", "run", self.name)

    @property
    def health(self) -> str:
        state: str = self.image.details("container", self.name)["State"]["Health"]["Status"]
        return state

    def stop(self, within_seconds: int) -> int:
        """Stop it as an engine does, by the image's own signal; its exit code, 137 when that did not help."""
        self.image.podman("stop", f"--time={within_seconds}", self.name)
        return self.program.process.wait(10)


@dataclass(frozen=True)
class Image:
    """The image in a storage of its own."""

    folder: Path

    def podman(self, *arguments: str) -> Ended:
        said = subprocess.run(
            self._podman(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return Ended(said.returncode, said.stdout)

    def _podman(self, *arguments: str) -> list[str]:
        # runc, because crun refuses machines that have cgroups of both versions.
        options = (
            "--runtime=runc",
            "--cgroup-manager=cgroupfs",
            "--log-level=fatal",
            f"--tmpdir={self.folder / 'tmp'}",
        )
        return ["podman", *_storage(self.folder), *options, *arguments]

    def details(self, kind: str, name: str) -> dict[str, Any]:
        """What podman knows of a container or an image."""
        found: list[dict[str, Any]] = json.loads(self.podman(kind, "inspect", name).text)
        return found[0]

    @property
    def added_bytes(self) -> int:
        """How much larger it is than its base."""
        sizes = [int(self.details("image", name)["Size"]) for name in (_IMAGE, _BASE)]
        return sizes[0] - sizes[1]

    @property
    def config(self) -> dict[str, Any]:
        """What the Dockerfile says of how it is run."""
        config: dict[str, Any] = self.details("image", _IMAGE)["Config"]
        return config

    @property
    def health_command(self) -> list[str]:
        command: list[str] = self.details("image", _IMAGE)["Healthcheck"]["Test"]
        return command

    def command(
        self,
        *arguments: str,
        options: tuple[str, ...] = (),
        volume: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> list[str]:
        """`podman run` with nothing allowed that the exporter does not need; `volume` becomes /data."""
        mounts = [] if volume is None else [f"--volume={volume}:/data"]
        variables = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        run = ("run", "--rm", "--network=host", *_RESTRICTED, *options, *mounts, *variables)
        return self._podman(*run, _IMAGE, *arguments)

    def ran(self, *arguments: str, **more: Any) -> Ended:
        """Run it to its end."""
        command = self.command(*arguments, **more)
        said = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60
        )
        return Ended(said.returncode, said.stdout)

    @contextmanager
    def running(self, name: str, *arguments: str, **more: Any) -> Iterator[Container]:
        """Run it until the end of the block at the latest."""
        command = self.command(*arguments, options=(f"--name={name}",), **more)
        with started(name, command, self.folder / "logs") as program:
            yield Container(program, name, self)


@contextmanager
def built_image() -> Iterator[Image]:
    """The image on a Debian base, in a storage that goes with the block."""
    base = _debian_base()
    with TemporaryDirectory(prefix="image-") as name:
        image = Image(Path(name))
        try:
            _must(image.podman("import", str(base), _BASE))
            _build(image.folder)
            yield image
        finally:
            image.podman("rm", "--all", "--force", "--volumes")
            layers = image.folder / "graph" / "overlay"
            if layers.is_mount():  # on itself, by the storage driver
                subprocess.run(["umount", layers], check=True)


def _storage(folder: Path) -> list[str]:
    return ["--storage-driver=overlay", f"--root={folder / 'graph'}", f"--runroot={folder / 'run'}"]


def _build(folder: Path) -> None:
    arguments = {"BASE": _BASE, "VERSION": VERSION, "REVISION": REVISION, "CREATED": CREATED}
    said = subprocess.run(
        [
            *("buildah", *_storage(folder), "build"),
            *("--isolation=chroot", "--format=docker", f"--tag={_IMAGE}"),
            # Behind a proxy that reads TLS the machine has authorities that the base lacks.
            "--volume=/etc/ssl/certs:/etc/ssl/certs:ro",
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
            str(REPOSITORY),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    _must(Ended(said.returncode, said.stdout))


def _must(ended: Ended) -> None:
    if ended.code:
        raise RuntimeError(ended.text[-3000:])


def _debian_base() -> Path:
    """A Debian with Python as a tar file, made once for a user of this machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "enphase-ev-exporter-tests"
    path = cache / f"{_DEBIAN}-python-1.tar"
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="debian-", dir=cache) as name:
        root, new = Path(name) / "root", Path(name) / "new.tar"
        options = ("--variant=minbase", f"--include={_BASE_PACKAGES}")
        said = subprocess.run(
            ["debootstrap", *options, _DEBIAN, root],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        _must(Ended(said.returncode, said.stdout))
        _like_an_official_image(root)
        subprocess.run(["tar", "--create", f"--file={new}", f"--directory={root}", "."], check=True)
        new.rename(path)
    return path


def _like_an_official_image(root: Path) -> None:
    """Without what Python's official images lack too: compiled files, and Debian's downloads."""
    for folder in [*root.rglob("__pycache__"), root / "var/cache/apt", root / "var/lib/apt/lists"]:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
