"""The package as a user gets it: source distribution, wheel, environments that had nothing in them."""

import re
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from exporter import __version__
from tests.e2e.exporters import EMAIL, PASSWORD, Scrape
from tests.e2e.programs import REPOSITORY, eventually, fetch, started
from tests.e2e.wheel import built, checkout, environment_with, pythons, ran, wheel_in

pytestmark = pytest.mark.e2e

ASSETS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("alerts/*.yml", "dashboards/grafana/*.json", "deploy/systemd/*")
    for path in REPOSITORY.glob(pattern)
)
PAGE = (REPOSITORY / "docs/install/pip.md").read_text()


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def names(dist: Path) -> set[str]:
    with zipfile.ZipFile(wheel_in(dist)) as wheel:
        return set(wheel.namelist())


def metadata(dist: Path) -> Message:
    with zipfile.ZipFile(wheel_in(dist)) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_has_the_package_its_types_its_licence_and_its_assets(names: set[str]) -> None:
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "exporter").rglob("*.py")}
    assert modules <= names
    assert "exporter/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {f"exporter/shipped/{name}" for name in ASSETS} <= names
    assert len(ASSETS) > 6


def test_the_wheel_has_nothing_else(names: set[str]) -> None:
    others = {name for name in names if not re.match(r"exporter/|[^/]+\.dist-info/", name)}
    assert not others
    assert not {name for name in names if name.startswith("exporter/shipped/") and name.endswith(".py")}


def test_the_package_says_what_it_is(dist: Path) -> None:
    said = metadata(dist)
    assert said["Name"] == "enphase-ev-exporter"
    assert said["Version"] == __version__
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert str(said.get_payload()).startswith("# enphase-ev-exporter")
    for version in pythons():
        assert f"Programming Language :: Python :: {version}" in said.get_all("Classifier", [])


def test_the_source_distribution_has_all_that_a_wheel_is_built_from(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        inside = {name.partition("/")[2] for name in opened.getnames()}
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md", *ASSETS} <= inside


def test_a_wheel_straight_from_a_checkout_is_the_same(dist: Path, names: set[str], tmp_path: Path) -> None:
    (python,) = [path for version, path in pythons().items() if version == min(pythons())]
    ran(python, "-m", "pip", "wheel", "--quiet", "--no-deps", checkout(tmp_path), folder=tmp_path)
    with zipfile.ZipFile(wheel_in(tmp_path)) as wheel, zipfile.ZipFile(wheel_in(dist)) as other:
        assert set(wheel.namelist()) == names
        content = {name for name in names if ".dist-info/" not in name}
        assert {name: wheel.read(name) for name in content} == {name: other.read(name) for name in content}


@pytest.mark.parametrize("version", sorted(pythons()))
def test_an_empty_environment_gets_a_command_that_works(version: str, dist: Path, tmp_path: Path) -> None:
    exporter = environment_with(wheel_in(dist), pythons()[version], tmp_path / "env") / "enphase-ev-exporter"
    assert ran(exporter, "--version", folder=tmp_path) == f"enphase-ev-exporter {__version__}\n"

    account = {"ENPHASE_EV_EMAIL": EMAIL, "ENPHASE_EV_PASSWORD": PASSWORD}
    shown = ran(exporter, "check", folder=tmp_path, environment=account)
    assert "email: o***@***" in shown
    assert PASSWORD not in shown

    ran(exporter, "assets", tmp_path / "assets", folder=tmp_path)
    for name in ASSETS:
        assert (tmp_path / "assets" / name).read_bytes() == (REPOSITORY / name).read_bytes(), name

    with started("demo", [exporter, "demo", "--web.listen-address=127.0.0.1:0"], tmp_path / "demo") as demo:
        url = demo.said(r"metrics: +(http://\S+)")
        connected = "enphase_ev_charger_connected"
        eventually(
            "three chargers", lambda: len(Scrape(fetch(url).text).series(connected)) == 3, within_seconds=20
        )


def test_an_editable_install_has_the_assets_of_its_checkout(tmp_path: Path) -> None:
    copy = checkout(tmp_path)
    python = pythons()[min(pythons())]
    ran(python, "-m", "venv", tmp_path / "env", folder=tmp_path)
    pip = (tmp_path / "env/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    ran(*pip, "--no-deps", "-e", copy, folder=tmp_path)
    (copy / "alerts/enphase-ev-alerts.yml").write_text("changed in the checkout\n")
    write = "from pathlib import Path; from exporter.assets import write_assets; write_assets(Path('out'))"
    ran(tmp_path / "env/bin/python", "-c", write, folder=tmp_path)
    assert (tmp_path / "out/alerts/enphase-ev-alerts.yml").read_text() == "changed in the checkout\n"
    assert not (copy / "exporter/shipped").exists()


def test_the_page_can_be_followed_command_by_command(dist: Path, tmp_path: Path) -> None:
    """Its commands in their order; where it opens a browser, one request is made. No cloud answers."""
    nowhere = {f"ENPHASE_EV_CLOUD_{name}_URL": "http://127.0.0.1:9" for name in ("BASE", "ENTREZ")}
    (tmp_path / wheel_in(dist).name).write_bytes(wheel_in(dist).read_bytes())
    (config,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "config.yml").write_text(config)
    commands = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    running = [line for block in commands for line in block.splitlines()]
    assert len(running) > 6
    for line in running:
        if re.search(r" (demo|run)\b", line):
            command = ["sh", "-c", f"exec {line} --web.listen-address=127.0.0.1:0"]
            with started("page", command, tmp_path, nowhere) as program:
                url = program.said(r"(http://127\.0\.0\.1:\d\d+)")
                assert fetch(f"{url}/metrics").status == 200
        else:
            ran("sh", "-c", line, folder=tmp_path, typed=f"{PASSWORD}\n")
    assert (tmp_path / "assets/dashboards/grafana/charger.json").exists()
