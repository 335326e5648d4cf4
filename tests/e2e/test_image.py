"""The image, built by buildah and run by podman as an operator would: no root, nothing writable but /data."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.exporters import EMAIL, PASSWORD, Scrape, started_cloud
from tests.e2e.image import CREATED, REVISION, UID, VERSION, Container, Image, built_image
from tests.e2e.programs import REPOSITORY, eventually, fetch

pytestmark = pytest.mark.e2e

DOCKERFILE = REPOSITORY / "Dockerfile"
ACCOUNT = {"ENPHASE_EV_EMAIL": EMAIL, "ENPHASE_EV_PASSWORD": PASSWORD}
UNCOMPILED = """
import os, sys
import exporter.__main__, exporter.app, exporter.demo, exporter.healthcheck
compiled = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
print(*(name for name, path in compiled.items() if path and not os.path.exists(path)), "nothing else")
"""
LEFT_BEHIND = """
import importlib.util, shutil
tools = filter(shutil.which, "cc gcc g++ make pip pip3".split())
print(*tools, *filter(importlib.util.find_spec, ("pip", "setuptools")), "nothing else")
"""


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with built_image() as built:
        yield built


def free_address() -> str:
    """One that both the exporter and its health check can be told of."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_hadolint_has_nothing_to_say() -> None:
    program = Path(sys.executable).parent / "hadolint"
    said = subprocess.run([program, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_pinned_dependency_has_a_wheel_for_the_images_python(machine: str, tmp_path: Path) -> None:
    base = re.search(r"^ARG BASE=\S+/python:(\d+\.\d+)-slim", DOCKERFILE.read_text(), re.MULTILINE)
    assert base
    options = [
        *("--only-binary=:all:", "--no-deps", "--require-hashes", "--requirement=requirements.txt"),
        *("--implementation=cp", f"--python-version={base[1]}", f"--dest={tmp_path}"),
        *(f"--platform=manylinux{tag}_{machine}" for tag in ("2014", "_2_17", "_2_28")),
    ]
    said = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    pinned = re.findall(r"^[\w.-]+==", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    assert len(list(tmp_path.glob("*.whl"))) == len(pinned) > 5


def test_the_image_says_how_it_wants_to_be_run(image: Image) -> None:
    config = image.config
    assert config["User"] == f"{UID}:{UID}"
    assert config["Entrypoint"] == ["enphase-ev-exporter"]
    assert not config.get("Cmd")
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["Volumes"]) == ["/data"]
    assert list(config["ExposedPorts"]) == ["10055/tcp"]
    assert image.health_command == ["CMD", "enphase-ev-exporter", "healthcheck"]


def test_the_image_says_what_it_was_built_from(image: Image) -> None:
    prefix = "org.opencontainers.image."
    labels = {key.removeprefix(prefix): text for key, text in image.config["Labels"].items()}
    assert (labels["version"], labels["revision"], labels["created"]) == (VERSION, REVISION, CREATED)
    assert labels["title"] == "enphase-ev-exporter"
    assert labels["licenses"] == "Apache-2.0"
    assert f"EXPORTER_REVISION={REVISION}" in image.config["Env"]


@pytest.mark.parametrize("script", [LEFT_BEHIND, UNCOMPILED], ids=["tools", "uncompiled modules"])
def test_the_image_is_left_without(image: Image, script: str) -> None:
    assert image.ran("-c", script, options=("--entrypoint=python3",)).text.strip() == "nothing else"


def url_of(demo: Container) -> str:
    return demo.program.said(r"metrics: +(http://\S+)/metrics")


@pytest.fixture(scope="module")
def demo(image: Image) -> Iterator[Container]:
    """The demo with nothing mounted: /data is the image's own volume."""
    address = free_address()
    for_health_check = {"ENPHASE_EV_WEB_LISTEN_ADDRESS": address}  # the demo itself goes by flags only
    command = ("demo", f"--web.listen-address={address}")
    with image.running("demo", *command, environment=for_health_check) as running:
        url_of(running)
        yield running


def test_the_demo_answers(demo: Container) -> None:
    def chargers() -> bool:
        scrape = Scrape(fetch(f"{url_of(demo)}/metrics").text)
        return len(scrape.series("enphase_ev_charger_connected")) == 3

    eventually("three chargers show", chargers, within_seconds=20)


def test_it_runs_as_nobody_of_the_machine_who_may_do_nothing(demo: Container) -> None:
    said = demo.run("cat", "/proc/1/status").text
    has = dict(re.findall(r"^(\w+):\t(.*)$", said, re.MULTILINE))
    assert has["Uid"].split() == has["Gid"].split() == [str(UID)] * 4
    assert int(has["CapEff"], 16) == int(has["CapBnd"], 16) == 0
    assert has["NoNewPrivs"] == "1"


def test_its_root_cannot_be_written(demo: Container) -> None:
    for folder in ("/", "/tmp", "/opt/enphase-ev-exporter"):
        said = demo.run("touch", f"{folder}/new")
        assert said.code == 1
        assert "Read-only file system" in said.text


def test_its_health_check_turns_healthy(demo: Container) -> None:
    assert demo.healthcheck().code == 0
    assert demo.health == "healthy"


def test_its_health_check_fails_while_nothing_listens(image: Image) -> None:
    environment = {"ENPHASE_EV_WEB_LISTEN_ADDRESS": free_address()}
    with image.running("silent", "simulate", "--port=0", environment=environment) as silent:
        silent.program.said(r"The simulated cloud: (http://\S+)/")
        assert silent.healthcheck().code == 1
        assert silent.health != "healthy"


def test_the_engines_stop_ends_it_within_5_s(image: Image) -> None:
    with image.running("stopped", "demo", "--web.listen-address=127.0.0.1:0") as running:
        url_of(running)
        assert running.stop(within_seconds=5) == 0
        assert "Traceback" not in running.program.log


def are_up(metrics_url: str) -> bool:
    return Scrape(fetch(metrics_url).text).total("enphase_ev_up") == 2


def test_its_accounts_outlive_it_in_a_mounted_folder(image: Image, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, UID, UID)
    with started_cloud(tmp_path / "cloud") as cloud:
        environment = ACCOUNT | {
            "ENPHASE_EV_WEB_LISTEN_ADDRESS": free_address(),
            "ENPHASE_EV_CLOUD_BASE_URL": cloud.url,
            "ENPHASE_EV_CLOUD_ENTREZ_URL": cloud.url,
        }
        for _ in range(2):
            with image.running("kept", volume=data, environment=environment) as kept:
                url = kept.program.said(r"msg=listening url=(\S+)")
                eventually("both sites are up", partial(are_up, f"{url}/metrics"), within_seconds=20)
                scrape = Scrape(fetch(f"{url}/metrics").text)
                assert scrape.value("enphase_ev_exporter_build_info", revision=REVISION) == 1
        assert len(cloud.requests("login")) == 1
    assert {path.stat().st_uid for path in data.iterdir()} == {UID}


@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["of root", "closed to others"])
def test_a_data_folder_of_another_user_is_told_with_the_uid_to_give_it_to(
    image: Image, tmp_path: Path, mode: int
) -> None:
    tmp_path.chmod(mode)
    ended = image.ran(volume=tmp_path, environment=ACCOUNT)
    assert ended.code == 1
    assert "enphase-ev-exporter: /data: the state folder is not writable for uid 65532" in ended.text
    assert ended.text.rstrip().endswith("as root: mkdir -p /data && chown -R 65532 /data")
