"""The `assets` command, from a checkout; tests/e2e/test_package.py has it from a wheel."""

from pathlib import Path

import pytest

from exporter.assets import AssetsError, matching, write_assets
from tests.commands import command

ROOT = Path(__file__).parents[1]


def written(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


async def test_every_dashboard_rule_and_unit_file_is_written_as_it_is_in_the_repository(
    tmp_path: Path,
) -> None:
    said = await command({}, "assets", str(tmp_path / "new" / "folder"))
    assert (said.code, said.err) == (0, "")
    folders = ("dashboards/grafana/*.json", "alerts/*.yml", "deploy/systemd/*")
    expected = {path for pattern in folders for path in ROOT.glob(pattern)}
    files = written(tmp_path / "new" / "folder")
    assert len(expected) > 6
    assert {path.relative_to(ROOT).as_posix() for path in expected} <= set(files)
    assert files == {name: (ROOT / name).read_bytes() for name in files}
    assert said.out.splitlines() == [f"wrote {tmp_path}/new/folder/{name}" for name in sorted(files)]


async def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    await command({}, "assets", str(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    said = await command({}, "assets", str(tmp_path))
    assert said.code == 0
    assert {line.split()[0] for line in said.out.splitlines()} == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


async def test_a_file_that_was_changed_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    await command({}, "assets", str(tmp_path))
    changed, missing = tmp_path / "config.example.yml", tmp_path / "alerts/enphase-ev-alerts.yml"
    changed.write_text("mine")
    missing.unlink()

    refused = await command({}, "assets", str(tmp_path))
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        f"enphase-ev-exporter: nothing written, for these would be overwritten (--force does): {changed}\n"
    )
    assert changed.read_text() == "mine"
    assert not missing.exists()

    forced = await command({}, "assets", "--force", str(tmp_path))
    assert forced.code == 0
    assert sorted(line for line in forced.out.splitlines() if line.startswith("wrote")) == [
        f"wrote {missing}",
        f"wrote {changed}",
    ]
    assert changed.read_bytes() == (ROOT / "config.example.yml").read_bytes()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = await command({}, "assets", str(tmp_path / "file"))
    assert said.code == 1
    assert said.err.startswith(f"enphase-ev-exporter: {tmp_path}/file")
    assert said.err.endswith(": Not a directory\n")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.example.yml").mkdir()
    with pytest.raises(AssetsError, match=r"config\.example\.yml: Is a directory"):
        write_assets(tmp_path)


def test_scripts_can_be_run_and_nothing_else_can(tmp_path: Path) -> None:
    write_assets(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    runnable = {name for name, mode in modes.items() if mode != 0o644}
    assert runnable == {"enphase-ev-exporter-as-service"}
    assert modes["enphase-ev-exporter-as-service"] == 0o755


def test_what_builds_and_tests_the_assets_is_not_among_them() -> None:
    names = [str(name) for name in matching(ROOT)]
    assert names
    assert not [name for name in names if name.endswith(".py") or "tests/" in name]
