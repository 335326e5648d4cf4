"""The `assets` command: writes out the dashboards, rules and unit files that come with the exporter."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from exporter.errors import ExporterError

# Relative to the repository. setup.py puts what they match into the wheel, with the same paths.
PATTERNS = (
    "alerts/*.yml",
    "config.example.yml",
    "dashboards/grafana/*.json",
    "deploy/alertmanager/*.yml",
    "deploy/prometheus/*.yml",
    "deploy/systemd/*",
)
FOLDER = "shipped"  # of the package, where it was installed from a wheel


class AssetsError(ExporterError):
    """Assets that are not there or cannot be written."""

    reason = "assets"


def matching(root: Path) -> list[PurePosixPath]:
    """The assets below a folder, as paths relative to it, sorted."""
    found = {path for pattern in PATTERNS for path in root.glob(pattern) if path.is_file()}
    return sorted(PurePosixPath(path.relative_to(root)) for path in found)


def shipped_folder() -> Path:
    """Where the assets of this installation are: inside the package, or the checkout it is used from."""
    package = Path(__file__).parent
    inside = package / FOLDER
    return inside if inside.is_dir() else package.parent


def write_assets(folder: Path, *, overwrite: bool = False) -> list[str]:
    """Write all assets below `folder`, which is made; returns a line about each.

    A file that is there and differs is only overwritten with `overwrite`; without it nothing is written then.
    Raises AssetsError.
    """
    source = shipped_folder()
    names = matching(source)
    if not names:
        raise AssetsError("this installation has no assets, expected one from the wheel or a checkout")
    try:
        contents = {name: (source / name).read_bytes() for name in names}
        if not overwrite:
            _refuse_changed(folder, contents.items())
        return [_write(folder / name, content) for name, content in contents.items()]
    except OSError as error:
        raise AssetsError(f"{error.filename or folder}: {error.strerror or error}") from error


def _refuse_changed(folder: Path, contents: Iterable[tuple[PurePosixPath, bytes]]) -> None:
    changed = [folder / name for name, content in contents if _differs(folder / name, content)]
    if changed:
        listed = ", ".join(map(str, changed))
        raise AssetsError(f"nothing written, for these would be overwritten (--force does): {listed}")


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() != content


def _write(path: Path, content: bytes) -> str:
    if path.exists() and not _differs(path, content):
        return f"unchanged {path}"
    path.parent.mkdir(parents=True, exist_ok=True)
    coming = path.with_name(f".{path.name}.coming")
    coming.write_bytes(content)
    coming.chmod(0o755 if content.startswith(b"#!") else 0o644)
    coming.replace(path)
    return f"wrote {path}"
