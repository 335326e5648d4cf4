"""The stack in deploy/compose: nothing can start it here, so every path and port in it is followed."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import load

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "deploy" / "compose"
STACK, ACCOUNT, ADMIN = "compose.yaml", "compose.account.yaml", "compose.admin.yaml"
PROMETHEUS_CONFIG = REPOSITORY / "deploy" / "prometheus" / "prometheus.yml"
# Of the specification's keys of a service those in use; a slip of the pen is not among them.
SERVICE_KEYS = {
    *(
        "build",
        "cap_drop",
        "command",
        "depends_on",
        "entrypoint",
        "environment",
        "healthcheck",
        "image",
        "init",
    ),
    *("network_mode", "ports", "read_only", "restart", "secrets", "security_opt", "tmpfs", "volumes"),
}
INTERPOLATION = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolated(text: str, variables: dict[str, str] | None = None) -> str:
    """The text with its variables put in, as compose does it; raises KeyError for a needed one."""

    def value(match: re.Match[str]) -> str:
        name, sign, more = match.groups()
        given = (variables or {}).get(name)
        return given or {"-": more}[sign]

    return INTERPOLATION.sub(value, text)


def parsed(name: str, variables: dict[str, str] | None = None) -> dict[str, Any]:
    file: dict[str, Any] = yaml.safe_load(interpolated((FOLDER / name).read_text(), variables))
    return file


def services() -> dict[str, dict[str, Any]]:
    stack: dict[str, dict[str, Any]] = parsed(STACK)["services"]
    return stack


def mounts(service: dict[str, Any]) -> dict[str, Path]:
    """Folder in the container -> folder of the repository; named volumes left out."""
    parts = [volume.split(":") for volume in service.get("volumes", ())]
    return {one[1]: (FOLDER / one[0]).resolve() for one in parts if one[0].startswith(".")}


def behind(service: dict[str, Any], path: str) -> Path:
    """The file of the repository that a path in the container shows; fails when nothing is mounted there."""
    inside = Path(path)
    for folder, mounted in mounts(service).items():
        if inside.is_relative_to(folder):
            return mounted / inside.relative_to(folder)
    pytest.fail(f"nothing of the repository is mounted at {path}")


def argument(service: dict[str, Any], flag: str) -> str:
    [found] = [one.partition("=")[2] for one in service["command"] if one.startswith(f"{flag}=")]
    return str(found)


def published_ports() -> dict[int, str]:
    """Port inside -> address outside."""
    ports = [port.rpartition(":") for port in services()["network"]["ports"]]
    return {int(inside): outside for outside, _, inside in ports}


def provisioned(kind: str) -> dict[str, Any]:
    """The only file of that kind, found where Grafana looks."""
    [path] = behind(services()["grafana"], f"/etc/grafana/provisioning/{kind}").glob("*.yaml")
    file: dict[str, Any] = yaml.safe_load(path.read_text())
    return file


@pytest.mark.parametrize("name", [STACK, ACCOUNT, ADMIN])
def test_services_have_only_keys_that_compose_knows(name: str) -> None:
    file = parsed(name, {"ENPHASE_EV_EMAIL": "owner@example.com"})
    assert {key for key in file if not key.startswith("x-")} <= {"name", "services", "volumes", "secrets"}
    for service in file["services"].values():
        assert set(service) <= SERVICE_KEYS
        assert set(service.get("secrets", ())) <= set(file.get("secrets", ()))


def test_the_stack_needs_no_variable() -> None:
    assert set(services()) == {"network", "exporter", "prometheus", "alertmanager", "grafana"}
    assert services()["exporter"]["command"] == ["demo"]


def test_everything_mounted_from_the_repository_exists_and_cannot_be_written() -> None:
    for service in services().values():
        assert all(path.is_dir() for path in mounts(service).values())
        host = [volume for volume in service.get("volumes", ()) if volume.startswith(".")]
        assert all(volume.endswith(":ro") for volume in host)


def test_every_named_volume_is_declared_and_has_one_user() -> None:
    every = [volume for service in services().values() for volume in service.get("volumes", ())]
    named = [volume.split(":")[0] for volume in every if not volume.startswith(".")]
    assert sorted(named) == sorted(parsed(STACK)["volumes"])


def test_ports_are_published_on_the_loopback_address_only() -> None:
    assert set(published_ports()) == {3000, 9090, 9093, 10055}
    assert all(outside == f"127.0.0.1:{inside}" for inside, outside in published_ports().items())
    assert all("ports" not in service for name, service in services().items() if name != "network")


def test_every_service_runs_with_nothing_it_does_not_need() -> None:
    for service in services().values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_images_are_pinned_and_ours_is_built_here() -> None:
    images = {name: service["image"] for name, service in services().items() if "build" not in service}
    assert set(images) == set(services()) - {"exporter"}
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images.values())
    assert (FOLDER / services()["exporter"]["build"] / "Dockerfile").is_file()


def test_all_share_the_network_that_the_shipped_configs_speak_of() -> None:
    sharing = [name for name, one in services().items() if one.get("network_mode") == "service:network"]
    assert set(sharing) == set(services()) - {"network"}
    shipped = yaml.safe_load(PROMETHEUS_CONFIG.read_text())
    groups = [*shipped["alerting"]["alertmanagers"], *shipped["scrape_configs"]]
    targets = [target for one in groups for static in one["static_configs"] for target in static["targets"]]
    sources = [source["url"].removeprefix("http://") for source in provisioned("datasources")["datasources"]]
    assert targets
    assert sources
    for address in targets + sources:
        host, _, port = address.rpartition(":")
        assert host == "localhost"
        assert int(port) in published_ports()


def test_prometheus_finds_the_shipped_config_and_rules() -> None:
    prometheus = services()["prometheus"]
    config_path = argument(prometheus, "--config.file")
    assert behind(prometheus, config_path) == PROMETHEUS_CONFIG
    [pattern] = yaml.safe_load(PROMETHEUS_CONFIG.read_text())["rule_files"]
    folder, _, name = pattern.rpartition("/")
    rules = behind(prometheus, str((Path("/") / Path(config_path).parent / folder).resolve()))
    assert {path.name for path in rules.glob(name)} >= {"enphase-ev-alerts.yml", "enphase-ev-recording.yml"}


def test_alertmanager_finds_the_shipped_config() -> None:
    found = behind(services()["alertmanager"], argument(services()["alertmanager"], "--config.file"))
    assert found == REPOSITORY / "deploy" / "alertmanager" / "alertmanager.yml"
    assert found.is_file()


@pytest.mark.parametrize(
    ("name", "flag"), [("prometheus", "--storage.tsdb.path"), ("alertmanager", "--storage.path")]
)
def test_what_is_stored_is_stored_in_a_volume(name: str, flag: str) -> None:
    service = services()[name]
    assert f"{name}-data:{argument(service, flag)}" in service["volumes"]


def test_grafana_finds_every_dashboard_and_begins_with_one() -> None:
    grafana = services()["grafana"]
    [provider] = provisioned("dashboards")["providers"]
    folder = behind(grafana, provider["options"]["path"])
    uids = {json.loads(path.read_text())["uid"] for path in folder.glob("*.json")}
    assert uids == {"enphase-ev-charger", "enphase-ev-fleet", "enphase-ev-exporter"}
    assert behind(grafana, grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).is_file()


def test_the_dashboards_choose_a_data_source_of_the_kind_that_is_provisioned() -> None:
    sources = {source["uid"]: source for source in provisioned("datasources")["datasources"]}
    [default] = [source for source in sources.values() if source.get("isDefault")]
    for path in (REPOSITORY / "dashboards" / "grafana").glob("*.json"):
        variables = json.loads(path.read_text())["templating"]["list"]
        assert [one["query"] for one in variables if one["name"] == "datasource"] == [default["type"]]
    assert sources[default["jsonData"]["alertmanagerUid"]]["type"] == "alertmanager"


def test_the_data_source_knows_how_often_is_scraped() -> None:
    [job] = yaml.safe_load(PROMETHEUS_CONFIG.read_text())["scrape_configs"]
    [interval] = [
        source["jsonData"]["timeInterval"]
        for source in provisioned("datasources")["datasources"]
        if source["type"] == "prometheus"
    ]
    assert interval == job["scrape_interval"]


def test_grafana_has_no_user_unless_a_password_is_given() -> None:
    environment = services()["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    admin = parsed(ADMIN)
    given = admin["services"]["grafana"]["environment"]
    assert given["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "false"
    assert given["GF_SECURITY_ADMIN_PASSWORD__FILE"].rpartition("/")[2] in admin["secrets"]


def test_an_account_takes_the_place_of_the_demo(tmp_path: Path) -> None:
    file = parsed(ACCOUNT, {"ENPHASE_EV_EMAIL": "owner@example.com"})
    exporter = file["services"]["exporter"]
    assert exporter["command"] == ["run"]
    name = exporter["environment"]["ENPHASE_EV_PASSWORD_FILE"].removeprefix("/run/secrets/")
    assert exporter["secrets"] == [name]
    secret = tmp_path / name
    secret.write_text("correct horse\n")
    secret.chmod(0o400)
    config, warnings = load(None, exporter["environment"] | {"ENPHASE_EV_PASSWORD_FILE": str(secret)}, {})
    assert [account.email for account in config.accounts] == ["owner@example.com"]
    assert not warnings


def test_an_account_without_an_e_mail_address_is_refused() -> None:
    with pytest.raises(KeyError):
        parsed(ACCOUNT)


def secret_paths() -> Iterator[str]:
    for name in (ACCOUNT, ADMIN):
        file = parsed(name, {"ENPHASE_EV_EMAIL": "owner@example.com"})
        yield from (secret["file"] for secret in file["secrets"].values())


def test_git_and_the_images_build_leave_secrets_out() -> None:
    private = [".env", *secret_paths()]
    said = subprocess.run(
        ["git", "check-ignore", *private], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == private
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not {"!deploy", "!deploy/compose"} & set(ignored)


def test_the_example_of_variables_names_each_of_them_and_files_that_exist() -> None:
    text = (FOLDER / ".env.example").read_text()
    named = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))
    files = {
        part for found in re.findall(r"^#COMPOSE_FILE=(.*)$", text, re.MULTILINE) for part in found.split(":")
    }
    used = {
        name: more
        for file in (STACK, ACCOUNT, ADMIN)
        for name, _, more in INTERPOLATION.findall((FOLDER / file).read_text())
    }
    assert set(named) - {"COMPOSE_FILE"} == set(used)
    assert files == {STACK, ACCOUNT, ADMIN}
    assert all(named[name] == used[name] for name in named if name.endswith(("_PORT", "_RETENTION", "_NAME")))
