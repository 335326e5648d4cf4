"""The exporter run as its pod would run it, and what docs/install/kubernetes.md has its readers type."""

import re
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.certificates import USERS, authority, issued
from tests.e2e.exporters import SimulatedCloud, started_cloud
from tests.e2e.kubernetes_tools import (
    NAMESPACE,
    OLDEST_KUBERNETES,
    installed_tools,
    kustomized,
    with_all_components,
)
from tests.e2e.programs import EXPORTER, Program, eventually, fetch, path_of, started
from tests.manifests import (
    BASE,
    KUBERNETES,
    NAME,
    REPOSITORY,
    SECRETS,
    Laid,
    Object,
    container_of,
    laid,
    pod_of,
    probes_of,
)

pytestmark = pytest.mark.e2e

DOCUMENT = REPOSITORY / "docs" / "install" / "kubernetes.md"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedCloud]:
    with started_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


def settings_of(pod: Laid, cloud: SimulatedCloud) -> dict[str, str]:
    """The pod's variables, with a cloud and a port of this machine."""
    return pod.environment | {
        "ENPHASE_EV_CLOUD_BASE_URL": cloud.url,
        "ENPHASE_EV_CLOUD_ENTREZ_URL": cloud.url,
        "ENPHASE_EV_WEB_LISTEN_ADDRESS": "127.0.0.1:0",
    }


@contextmanager
def running_pod(folder: Path, settings: Mapping[str, str]) -> Iterator[tuple[Program, str]]:
    with started("exporter", [EXPORTER], folder / "logs", settings) as program:
        yield program, program.said(r"msg=listening url=(\S+)")


def backup_as_documented(data: Path) -> Path:
    """The backup that the document's command makes beside the running exporter."""
    command = re.search(
        r"^kubectl .*exporter -- (python3 -c \\\n.*)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert command
    subprocess.run(["bash", "-ec", command[1].replace("/data/", f"{data}/")], check=True, timeout=20)
    return data / "backup.sqlite3"


def tables_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as opened:
        return {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def is_well(program: Program, page: str) -> bool:
    program.must_run()
    return fetch(page).status == 200


def test_probes_over_http_find_the_pod_healthy_and_ready(cloud: SimulatedCloud, tmp_path: Path) -> None:
    objects = kustomized(KUBERNETES / "overlays" / "home")
    settings = settings_of(laid(objects, tmp_path), cloud)
    probes = probes_of(container_of(objects))
    with running_pod(tmp_path, settings) as (program, url):
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            page = url + probes[kind]["httpGet"]["path"]
            eventually(f"{kind} is answered", partial(is_well, program, page), within_seconds=20)
        assert tables_of(backup_as_documented(tmp_path / "data")) >= {"ledgers", "logins"}


def test_probes_by_command_find_the_pod_healthy_behind_tls_and_a_password(
    cloud: SimulatedCloud, tmp_path: Path
) -> None:
    objects = with_all_components(tmp_path)
    server = issued(authority(tmp_path), tmp_path, "server")
    web = "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n" + USERS
    certificate = {"tls.crt": server.cert.read_text(), "tls.key": server.key.read_text()}
    secrets = {**SECRETS, f"{NAME}-web": {"web.yml": web}, f"{NAME}-tls": certificate}
    probes = probes_of(container_of(objects))
    assert probes.keys() == {"startupProbe", "livenessProbe"}
    settings = settings_of(laid(objects, tmp_path / "pod", secrets), cloud)
    with running_pod(tmp_path, settings) as (program, url):
        assert url.startswith("https://")
        asking = settings | {"ENPHASE_EV_WEB_LISTEN_ADDRESS": url.removeprefix("https://")}
        for probe in probes.values():
            command = [EXPORTER.parent / probe["exec"]["command"][0], *probe["exec"]["command"][1:]]
            said = subprocess.run(command, env=asking, capture_output=True, text=True, check=False)
            program.must_run()
            assert (said.returncode, said.stdout) == (0, "healthy: yes\n"), said.stderr


# -- the document's commands -------------------------------------------------------------------------------


def test_the_pod_that_restores_a_backup_is_as_the_schemas_want_it() -> None:
    (text,) = re.findall(r"<<'POD'\n(.*?)^POD$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    pod = yaml.safe_load(text)
    assert installed_tools().problems([pod], [OLDEST_KUBERNETES]) == []
    (container,) = pod["spec"]["containers"]
    of_base = kustomized(BASE)
    assert container["image"] == container_of(of_base)["image"]
    assert pod["spec"]["securityContext"].items() <= pod_of(of_base)["securityContext"].items()
    (volume,) = pod["spec"]["volumes"]
    assert volume in pod_of(of_base)["volumes"]


def test_the_examples_for_kustomize_do_what_the_document_says(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```yaml\n((?:images|patches):.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(blocks) == 2
    (tmp_path / "kubernetes").symlink_to(KUBERNETES)
    wanted: Object = {"resources": ["kubernetes/overlays/home"]}
    for block in blocks:
        wanted |= yaml.safe_load(block)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
    container = container_of(kustomized(tmp_path))
    assert container["image"] == "registry.example.com/enphase-ev-exporter:0.1.0"
    assert "ENPHASE_EV_PASSWORD_FILE" not in {one["name"] for one in container["env"]}


def test_the_commands_that_make_secrets_make_the_secrets_that_are_asked_for(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^.*kubectl .*create secret .*$", text, re.MULTILINE)
    assert len(commands) == 5
    server = issued(authority(tmp_path), tmp_path, "server")
    assert (server.cert.name, server.key.name) == ("server.crt", "server.key")
    for name in ("north.txt", "south.txt", "web.yml"):
        (tmp_path / name).write_text("{}\n")
    path_of("kubectl")
    for command in commands:
        said = subprocess.run(
            ["bash", "-ec", f"set -o pipefail; password=hunter2; {command} --dry-run=client --output=yaml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        made = yaml.safe_load(said.stdout)
        name, keys = made["metadata"]["name"], made["data"].keys()
        assert keys <= SECRETS[name].keys()
        assert all(made["data"].values())
        assert made["metadata"]["namespace"] == NAMESPACE
