"""The Kubernetes files as they stand: the base, what is copied into the chart, its values and its versions.

What kustomize and Helm make of them is for the end-to-end tests.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kubernetes.generate import FILES, RULES, texts
from exporter import __version__
from exporter.metrics import catalogue
from exporter.readers import host_and_port
from exporter.sections import WebConfig
from tests.manifests import (
    BASE,
    CHART,
    KUBERNETES,
    NAME,
    REPOSITORY,
    SECRETS,
    Object,
    assert_alone,
    assert_joined,
    assert_restricted,
    base_objects,
    container_of,
    laid,
    named,
    probes_of,
)
from tests.test_web import served

IMAGE = "ghcr.io/enphase-ev-exporter/enphase-ev-exporter"
DOCUMENT = REPOSITORY / "docs" / "install" / "kubernetes.md"
# What the Prometheus Operator adds to the series of a Service's pods.
TARGET_LABELS = {"job", "instance", "namespace", "service", "endpoint", "pod", "container"}
# Longer annotations are refused, and `kubectl apply` keeps the whole object in one.
ANNOTATION_BYTES = 262_144


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def service_monitor() -> Object:
    found: Object = yaml_of(KUBERNETES / "components" / "prometheus-operator" / "servicemonitor.yaml")
    return found


# -- the base ----------------------------------------------------------------------------------------------


def test_the_pod_is_restricted_and_can_write_its_state_only() -> None:
    assert_restricted(base_objects())


def test_there_is_one_exporter_and_never_two() -> None:
    assert_alone(base_objects())


def test_selectors_and_ports_belong_together() -> None:
    assert_joined([*base_objects(), service_monitor()])
    (port,) = container_of(base_objects())["ports"]
    (address,) = WebConfig().listen_addresses
    assert host_and_port(address)[1] == port["containerPort"]


async def test_probes_ask_for_pages_that_exist() -> None:
    probes = probes_of(container_of(base_objects()))
    paths = {kind: probe["httpGet"]["path"] for kind, probe in probes.items()}
    assert paths == {
        "startupProbe": "/-/healthy",
        "livenessProbe": "/-/healthy",
        "readinessProbe": "/-/ready",
    }
    async with served() as web:
        for path in paths.values():
            assert await web.text(path)


def test_the_exporter_takes_the_variables_the_config_and_the_secrets_of_the_base(tmp_path: Path) -> None:
    config = laid(base_objects(), tmp_path).config()
    (account,) = config.accounts
    assert account.email == SECRETS[NAME]["email"]
    assert account.password
    assert account.password.reveal() == SECRETS[NAME]["password"]
    assert config.state.path == tmp_path / "data"
    assert not config.control.enabled


def test_a_secret_without_the_password_is_missed_here_already(tmp_path: Path) -> None:
    from exporter.errors import ConfigError

    without = {NAME: {"email": "owner@example.com"}}
    with pytest.raises(ConfigError, match="ENPHASE_EV_PASSWORD_FILE"):
        laid(base_objects(), tmp_path, without).config()


# -- what Prometheus and Grafana get -----------------------------------------------------------------------


def test_the_chart_has_exactly_what_the_generator_writes() -> None:
    there = {
        str(path.relative_to(FILES)): path.read_text(encoding="utf-8")
        for path in FILES.rglob("*")
        if path.is_file() and path.name != "kustomization.yaml"
    }
    assert there == texts()


def test_the_prometheus_rule_holds_every_shipped_group() -> None:
    shipped = [group for path in sorted((REPOSITORY / "alerts").glob("*.yml")) for group in groups_of(path)]
    rule = yaml_of(FILES / RULES)
    assert rule["spec"] == {"groups": shipped}
    names = [group["name"] for group in shipped]
    assert len(names) == len(set(names))


def groups_of(path: Path) -> list[Object]:
    groups: list[Object] = yaml_of(path)["groups"]
    return groups


def test_every_dashboard_is_in_a_config_map_of_its_own_that_kubectl_can_apply() -> None:
    folder = FILES / "dashboards"
    generated = yaml_of(folder / "kustomization.yaml")["configMapGenerator"]
    names = sorted(file.partition("=")[2] for one in generated for file in one["files"])
    assert all(len(one["files"]) == 1 for one in generated)
    assert names == sorted(path.name for path in (REPOSITORY / "dashboards" / "grafana").glob("*.json"))
    for name in names:
        text = (folder / name).read_text(encoding="utf-8")
        assert text == (REPOSITORY / "dashboards" / "grafana" / name).read_text(encoding="utf-8")
        assert len(yaml.dump({"data": {name: text}}, default_style='"')) < ANNOTATION_BYTES


def test_the_scrape_interval_is_the_poll_interval() -> None:
    (endpoint,) = service_monitor()["spec"]["endpoints"]
    values = yaml_of(CHART / "values.yaml")
    assert endpoint["interval"] == yaml_of(BASE / "config.yml")["poll"]["interval"]
    assert values["serviceMonitor"]["interval"] == values["config"]["poll"]["interval"]


def test_no_label_of_the_exporter_meets_one_that_the_operator_adds() -> None:
    (endpoint,) = service_monitor()["spec"]["endpoints"]
    (dropped,) = [one["regex"] for one in endpoint["relabelings"] if one.get("action") == "labeldrop"]
    added = {label for label in TARGET_LABELS if not re.fullmatch(dropped, label)}
    assert added == {"job", "instance", "namespace", "service"}
    assert not added & {label for entry in catalogue() for label in entry.labels}


# -- versions and values -----------------------------------------------------------------------------------


def test_the_image_and_the_versions_are_the_same_everywhere() -> None:
    chart, values = yaml_of(CHART / "Chart.yaml"), yaml_of(CHART / "values.yaml")
    (image,) = yaml_of(BASE / "kustomization.yaml")["images"]
    assert image == {"name": IMAGE, "newTag": __version__}
    assert container_of(base_objects())["image"] == IMAGE
    assert (values["image"]["repository"], values["image"]["tag"]) == (IMAGE, "")
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def flat(values: Any, schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that has a name of its own, as the schema tells."""
    if "properties" not in schema or schema.get("additionalProperties") is not False:
        yield path, values
        return
    for key, value in values.items():
        yield from flat(value, schema["properties"][key], f"{path}.{key}".lstrip("."))


def values_of_the_chart() -> dict[str, Any]:
    return dict(flat(yaml_of(CHART / "values.yaml"), yaml_of(CHART / "values.schema.json")))


def test_every_value_of_the_chart_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \|(.*)\|$", (CHART / "README.md").read_text(), re.MULTILINE)
    documented = {name: yaml.safe_load(default.strip("`")) for name, default, _ in rows}
    values = values_of_the_chart()
    assert documented.keys() == values.keys()
    assert documented.pop("resources") == "10m CPU and 64Mi, at most 256Mi"
    assert values.pop("resources") == container_of(base_objects())["resources"]
    assert documented == values


def test_every_value_of_the_chart_is_used_and_every_used_one_exists() -> None:
    templates = "".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
    used = set(re.findall(r"\.Values\.([\w.]+)", templates))
    assert {name.removesuffix(".accounts") for name in used} == values_of_the_chart().keys()


def test_the_schema_knows_every_value_and_no_other() -> None:
    def names(schema: Any, path: str = "") -> Iterator[str]:
        if "properties" not in schema or schema.get("additionalProperties") is not False:
            yield path
            return
        for key, inner in schema["properties"].items():
            yield from names(inner, f"{path}.{key}".lstrip("."))

    schema = yaml_of(CHART / "values.schema.json")
    assert set(names(schema)) == {*values_of_the_chart(), "global"}


# -- the document ------------------------------------------------------------------------------------------


def made_secrets() -> dict[str, set[str]]:
    """The Secrets that the document has its readers make -> their keys."""
    text = DOCUMENT.read_text(encoding="utf-8").replace("\\\n", " ")
    made: dict[str, set[str]] = {}
    for name, arguments in re.findall(r"create secret (?:generic|tls) ([\w-]+)(.*)", text):
        keys = re.findall(r"--from-(?:file|literal)=([\w.-]+)=", arguments)
        made.setdefault(name, set()).update(keys)
        if "--cert=" in arguments:
            made[name] |= {"tls.crt", "tls.key"}
    return made


def test_the_document_makes_every_secret_that_is_asked_for() -> None:
    made = made_secrets()
    for name, secret in SECRETS.items():
        assert secret.keys() == made[name], name


def test_every_path_that_the_document_names_exists() -> None:
    named_paths = set(re.findall(r"deploy/kubernetes/[\w/.-]+", DOCUMENT.read_text(encoding="utf-8")))
    assert named_paths
    assert [path for path in named_paths if not (REPOSITORY / path.rstrip("./")).exists()] == []


def test_the_document_and_the_service_agree_on_the_port() -> None:
    (port,) = named(base_objects(), "Service")["spec"]["ports"]
    assert f"{NAME}.enphase-ev.svc:{port['port']}" in DOCUMENT.read_text(encoding="utf-8")
