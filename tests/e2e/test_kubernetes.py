"""What kustomize and Helm make of the files, and that it is the same."""

import re
import subprocess
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.errors import ConfigError
from tests.e2e.kubernetes_tools import (
    COMPONENTS,
    NAMESPACE,
    OLDEST_KUBERNETES,
    Tools,
    installed_tools,
    kustomized,
    with_all_components,
)
from tests.e2e.programs import path_of
from tests.manifests import (
    BASE,
    KUBERNETES,
    NAME,
    REPOSITORY,
    Object,
    assert_alone,
    assert_joined,
    assert_restricted,
    laid,
    named,
    pod_of,
)

pytestmark = pytest.mark.e2e

DOCUMENT = REPOSITORY / "docs" / "install" / "kubernetes.md"
OPERATORS_KINDS = {"ServiceMonitor", "PrometheusRule"}
# The values that come to the same as all components.
EVERYTHING: Object = {
    "control": {"existingSecret": f"{NAME}-control"},
    "webConfig": {"existingSecret": f"{NAME}-web", "tlsSecret": f"{NAME}-tls"},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
    "networkPolicy": {"enabled": True},
}
# For each value one that is not its default.
OTHERS: dict[str, Any] = {
    "image.repository": "registry.example.com/exporter",
    "image.tag": "9.9.9",
    "image.pullPolicy": "Always",
    "image.pullSecrets": [{"name": "registry"}],
    "fullnameOverride": "other",
    "account.existingSecret": "other",
    "account.emailKey": "address",
    "account.passwordKey": "",
    "config": {"log": {"level": "debug"}},
    "extraEnv": [{"name": "ENPHASE_EV_LOG_LEVEL", "value": "debug"}],
    "control.existingSecret": "",
    "control.tokenKey": "other",
    "webConfig.existingSecret": "",
    "webConfig.tlsSecret": "",
    "persistence.existingClaim": "mine",
    "persistence.size": "2Gi",
    "persistence.storageClass": "fast",
    "service.type": "NodePort",
    "service.port": 80,
    "service.annotations": {"a": "b"},
    "resources": {"limits": {"memory": "1Gi"}},
    "serviceMonitor.enabled": False,
    "serviceMonitor.labels": {"release": "prometheus"},
    "serviceMonitor.interval": "1m",
    "serviceMonitor.endpoint": {"scheme": "https"},
    "prometheusRule.enabled": False,
    "prometheusRule.labels": {"release": "prometheus"},
    "dashboards.enabled": False,
    "dashboards.labels": {"dashboards": "yes"},
    "dashboards.annotations": {"folder": "chargers"},
    "networkPolicy.enabled": False,
    "networkPolicy.scrapersNamespace": "prometheus",
    "networkPolicy.extraIngress": [{"from": [{"podSelector": {}}]}],
    "podLabels": {"a": "b"},
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
}


@pytest.fixture(scope="module")
def tools() -> Tools:
    return installed_tools()


@pytest.fixture(scope="module")
def ways(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Object]]:
    """What each way to install comes to."""
    return {
        "base": kustomized(BASE),
        "home": kustomized(KUBERNETES / "overlays" / "home"),
        "fleet": kustomized(KUBERNETES / "overlays" / "fleet"),
        "all components": with_all_components(tmp_path_factory.mktemp("components")),
        "chart": tools.rendered({}),
        "chart with everything": tools.rendered(EVERYTHING),
    }


WAYS = ("base", "home", "fleet", "all components", "chart", "chart with everything")


def of_kubernetes(objects: list[Object]) -> list[Object]:
    """Without the kinds that the Prometheus Operator adds, which no schema here knows."""
    return [one for one in objects if one["kind"] not in OPERATORS_KINDS]


def test_the_components_are_those_that_are_there() -> None:
    assert sorted(path.name for path in (KUBERNETES / "components").iterdir()) == sorted(COMPONENTS)


@pytest.mark.parametrize("way", WAYS)
def test_every_object_is_as_the_schemas_want_it(
    way: str, ways: Mapping[str, list[Object]], tools: Tools
) -> None:
    objects = of_kubernetes(ways[way])
    assert {"ConfigMap", "Deployment", "PersistentVolumeClaim", "Service"} <= {one["kind"] for one in objects}
    assert tools.problems(objects, [OLDEST_KUBERNETES]) == []


def test_an_object_with_a_slip_of_the_pen_is_not_as_the_schemas_want_it(tools: Tools) -> None:
    objects = kustomized(BASE)
    pod_of(objects)["securityContexts"] = {}
    assert any("securityContexts" in problem for problem in tools.problems(objects, [OLDEST_KUBERNETES]))


@pytest.mark.parametrize("way", WAYS)
def test_the_pod_is_restricted_alone_and_found(way: str, ways: Mapping[str, list[Object]]) -> None:
    assert_restricted(ways[way])
    assert_alone(ways[way])
    assert_joined(ways[way])


@pytest.mark.parametrize("way", WAYS)
def test_the_exporter_takes_what_it_is_given(
    way: str, ways: Mapping[str, list[Object]], tmp_path: Path
) -> None:
    config = laid(ways[way], tmp_path).config()
    names = [account.name for account in config.accounts]
    assert names == (["north", "south"] if way == "fleet" else ["default"])
    assert all(account.email and account.password for account in config.accounts)
    assert config.control.enabled == (way in ("all components", "chart with everything"))


def test_only_the_overlays_say_in_which_namespace() -> None:
    for overlay in ("home", "fleet"):
        objects = kustomized(KUBERNETES / "overlays" / overlay)
        assert {one["metadata"].get("namespace") for one in objects} == {NAMESPACE}


# -- both ways come to the same ----------------------------------------------------------------------------


def essence(objects: list[Object]) -> dict[str, Any]:
    """What is left without the two tools' own labels, annotations and names of generated things."""
    found: dict[str, Any] = {}
    for one in deepcopy(objects):
        name = re.sub(r"-[a-z0-9]{10}$", "", one["metadata"]["name"])
        content = {key: one[key] for key in ("spec", "data") if key in one}
        if one["kind"] == "Deployment":
            one["spec"]["template"]["metadata"].pop("annotations", None)
            _straighten(one["spec"]["template"]["spec"])
        if "config.yml" in content.get("data", {}):
            content["data"] = yaml.safe_load(content["data"]["config.yml"])
        found[f"{one['kind']} {name}"] = content
    return found


def _straighten(pod: Object) -> None:
    """Lists in one order, the config under one name, and nothing about a certificate that may be missing."""
    (container,) = pod["containers"]
    for where, key in ((pod, "volumes"), (container, "env"), (container, "volumeMounts")):
        where[key].sort(key=lambda one: str(one["name"]))
    for volume in pod["volumes"]:
        if "configMap" in volume:
            volume["configMap"]["name"] = NAME
        for source in volume.get("projected", {}).get("sources", ()):
            source["secret"].pop("optional", None)


def test_the_chart_comes_to_the_same_as_the_base(ways: Mapping[str, list[Object]]) -> None:
    assert essence(ways["chart"]) == essence(ways["base"])


def test_the_chart_with_everything_comes_to_the_same_as_all_components(
    ways: Mapping[str, list[Object]],
) -> None:
    of_chart, of_kustomize = essence(ways["chart with everything"]), essence(ways["all components"])
    assert of_chart.keys() == of_kustomize.keys()
    assert len(of_chart) == 10
    for name, content in of_chart.items():
        assert content == of_kustomize[name], name


# -- what Prometheus and Grafana get -----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["fleet", "chart with everything"])
def test_promtool_reads_the_rules_as_they_arrive(
    way: str, ways: Mapping[str, list[Object]], tmp_path: Path
) -> None:
    spec = named(ways[way], "PrometheusRule")["spec"]
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(spec))
    said = subprocess.run([path_of("promtool"), "check", "rules", rules], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    shipped = [yaml.safe_load(path.read_text()) for path in sorted((REPOSITORY / "alerts").glob("*.yml"))]
    assert spec["groups"] == [group for one in shipped for group in one["groups"]]


@pytest.mark.parametrize("way", ["fleet", "chart with everything"])
def test_dashboards_arrive_as_they_are(way: str, ways: Mapping[str, list[Object]]) -> None:
    arrived = [
        (name, text)
        for one in ways[way]
        if one["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in one["data"].items()
    ]
    folder = REPOSITORY / "dashboards" / "grafana"
    assert sorted(arrived) == sorted(
        (f"enphase-ev-{path.name}", path.read_text()) for path in folder.glob("*.json")
    )


def test_the_fleet_carries_the_label_by_which_prometheus_chooses(ways: Mapping[str, list[Object]]) -> None:
    labelled = {one["kind"] for one in ways["fleet"] if "release" in one["metadata"]["labels"]}
    assert labelled == OPERATORS_KINDS


# -- the chart ---------------------------------------------------------------------------------------------


def test_helm_has_nothing_against_the_chart(tools: Tools) -> None:
    assert tools.lint({}) == []
    assert tools.lint(EVERYTHING) == []


def test_the_packaged_chart_comes_to_the_same(
    tools: Tools, ways: Mapping[str, list[Object]], tmp_path: Path
) -> None:
    archive = tools.packaged(tmp_path)
    assert tools.rendered(EVERYTHING, archive) == ways["chart with everything"]


def nested(name: str, value: Any) -> Object:
    for key in reversed(name.split(".")):
        value = {key: value}
    found: Object = value
    return found


def merged(one: Object, other: Object) -> Object:
    joined = dict(one)
    for key, value in other.items():
        inner = one.get(key)
        joined[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return joined


def test_every_value_of_the_chart_changes_something(tools: Tools) -> None:
    rows = re.findall(r"^\| `([\w.]+)` \|", (KUBERNETES / "chart" / "README.md").read_text(), re.MULTILINE)
    assert rows == list(OTHERS)
    changed = [merged(EVERYTHING, nested(name, value)) for name, value in OTHERS.items()]
    before, *after = tools.rendered_each([EVERYTHING, *changed])
    for name, one in zip(OTHERS, after, strict=True):
        assert isinstance(one, dict), (name, one)
        assert one != before, name


def test_what_other_values_come_to_is_as_the_schemas_want_it(tools: Tools) -> None:
    values = EVERYTHING
    for name in ("image.pullSecrets", "extraEnv", "podLabels", "podAnnotations", "tolerations", "affinity"):
        values = merged(values, nested(name, OTHERS[name]))
    for name in ("nodeSelector", "persistence.storageClass", "networkPolicy.extraIngress", "service.type"):
        values = merged(values, nested(name, OTHERS[name]))
    assert tools.problems(of_kubernetes(tools.rendered(values)), [OLDEST_KUBERNETES]) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"contrl": {}}, "contrl"),
        ({"account": {"password": "secret"}}, "password"),
        ({"serviceMonitor": {"interval": 30}}, "interval"),
        ({"account": {"existingSecret": ""}}, "existingSecret"),
    ],
)
def test_a_value_that_does_not_exist_or_cannot_be_is_refused(values: Object, said: str, tools: Tools) -> None:
    (answer,) = tools.rendered_each([values])
    assert isinstance(answer, str)
    assert said in answer


def test_accounts_in_the_chart_take_the_place_of_the_single_one(tools: Tools, tmp_path: Path) -> None:
    block = re.search(
        r"^```yaml\n# values.yaml\n(config:.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    assert block
    values = merged(yaml.safe_load(block[1]), {})
    values["config"]["accounts"][0]["sites"] = [1234567, 12345678901]
    config = laid(tools.rendered(values), tmp_path).config()
    assert [account.name for account in config.accounts] == ["north", "south"]
    assert config.accounts[0].sites == ("1234567", "12345678901")


def test_an_account_can_do_without_a_password(tools: Tools, tmp_path: Path) -> None:
    secrets = {NAME: {"email": "owner@example.com"}}
    with pytest.raises(ConfigError):
        laid(tools.rendered({}), tmp_path / "with", secrets).config()
    objects = tools.rendered({"account": {"passwordKey": ""}})
    (account,) = laid(objects, tmp_path / "without", secrets).config().accounts
    assert account.password is None
