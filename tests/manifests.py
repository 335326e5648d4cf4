"""Kubernetes objects as a cluster would take them: what they refer to, and what the exporter makes of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exporter.config import Config, load

REPOSITORY = Path(__file__).parents[1]
KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
BASE = KUBERNETES / "base"
CHART = KUBERNETES / "chart"
NAME = "enphase-ev-exporter"

Object = dict[str, Any]
Secrets = Mapping[str, Mapping[str, str]]
# What docs/install/kubernetes.md has its readers make, with texts that the exporter takes.
SECRETS: Secrets = {
    NAME: {
        "email": "owner@example.com",
        "password": "correct horse",
        "north-password": "correct northern horse",
        "south-password": "correct southern horse",
    },
    f"{NAME}-control": {"token": "0123456789abcdef"},
    f"{NAME}-web": {"web.yml": "{}"},
    f"{NAME}-tls": {"tls.crt": "a certificate", "tls.key": "its key"},
}


def documents(text: str) -> list[Object]:
    """Every object of a YAML stream."""
    return [one for one in yaml.safe_load_all(text) if one]


def base_objects() -> list[Object]:
    """The base as it stands, with its generated ConfigMap under the name it is asked for by."""
    wanted = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    objects = [one for name in wanted["resources"] for one in documents((BASE / name).read_text())]
    for generated in wanted["configMapGenerator"]:
        content = {name: (BASE / name).read_text() for name in generated["files"]}
        objects.append({"kind": "ConfigMap", "metadata": {"name": generated["name"]}, "data": content})
    return objects


def named(objects: Iterable[Object], kind: str, name: str | None = None) -> Object:
    """The only object of a kind, or the one of that name."""
    (found,) = [
        one for one in objects if one["kind"] == kind and name in (None, str(one["metadata"]["name"]))
    ]
    return found


def pod_of(objects: Iterable[Object]) -> Object:
    """What the only Deployment starts."""
    pod: Object = named(objects, "Deployment")["spec"]["template"]["spec"]
    return pod


def container_of(objects: Iterable[Object]) -> Object:
    (container,) = pod_of(objects)["containers"]
    found: Object = container
    return found


def probes_of(container: Object) -> dict[str, Object]:
    """startupProbe and the like, those that there are."""
    return {key: value for key, value in container.items() if key.endswith("Probe") and value}


@dataclass(frozen=True)
class Laid:
    """What the container finds: its variables, with every path below a folder of this machine."""

    environment: dict[str, str]

    def config(self) -> Config:
        """The config the exporter would run by; raises ConfigError."""
        config, warnings = load(None, self.environment, {})
        assert warnings == ()
        return config


def laid(objects: list[Object], folder: Path, secrets: Secrets = SECRETS) -> Laid:
    """Lay the volumes out as the kubelet does; fails where a Secret, a ConfigMap or a key does not exist."""
    pod, container = pod_of(objects), container_of(objects)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    places = {mount["mountPath"]: volumes.pop(mount["name"]) for mount in container["volumeMounts"]}
    assert not volumes, "a volume is mounted nowhere"
    for place, volume in places.items():
        path = folder / place.lstrip("/")
        path.mkdir(parents=True)
        for name, text in _files_of(volume, objects, secrets):
            (path / name).write_text(_moved(text, places, folder))
            (path / name).chmod(0o600)
    return Laid(
        {
            variable["name"]: _moved(_value_of(variable, secrets), places, folder)
            for variable in container["env"]
        }
    )


def _moved(text: str, places: Iterable[str], folder: Path) -> str:
    for place in places:
        text = text.replace(f"{place}/", f"{folder}{place}/")
        text = f"{folder}{place}" if text == place else text
    return text


def _value_of(variable: Object, secrets: Secrets) -> str:
    if "value" in variable:
        text: str = variable["value"]
        return text
    reference = variable["valueFrom"]["secretKeyRef"]
    return secrets[reference["name"]][reference["key"]]


def _files_of(volume: Object, objects: list[Object], secrets: Secrets) -> Iterator[tuple[str, str]]:
    if "configMap" in volume:
        yield from named(objects, "ConfigMap", volume["configMap"]["name"])["data"].items()
    elif "secret" in volume:
        yield from secrets[volume["secret"]["secretName"]].items()
    elif "projected" in volume:
        for source in volume["projected"]["sources"]:
            secret = source["secret"]
            if secret["name"] in secrets or not secret.get("optional"):
                yield from secrets[secret["name"]].items()
    else:
        claim = volume["persistentVolumeClaim"]["claimName"]
        assert named(objects, "PersistentVolumeClaim", claim)


def assert_restricted(objects: Iterable[Object]) -> None:
    """The pod keeps to the restricted pod security standard, on a root that cannot be written."""
    pod, container = pod_of(objects), container_of(objects)
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/data"]


def assert_alone(objects: list[Object]) -> None:
    """There is never a second pod beside the first, and nothing that would keep a node from being drained."""
    deployment = named(objects, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    claim = named(objects, "PersistentVolumeClaim")["spec"]
    assert claim["accessModes"] == ["ReadWriteOnce"]
    assert "PodDisruptionBudget" not in {one["kind"] for one in objects}


def assert_joined(objects: list[Object]) -> None:
    """Selectors find the pod, and ports are the ones it has."""
    deployment = named(objects, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    service = named(objects, "Service")
    assert deployment["selector"]["matchLabels"].items() <= labels
    assert service["spec"]["selector"].items() <= labels
    ports = {port["name"] for port in container_of(objects)["ports"]}
    served = {port["name"] for port in service["spec"]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for probe in probes_of(container_of(objects)).values():
        assert probe["httpGet"]["port"] in ports if "httpGet" in probe else probe["exec"]["command"]
    for one in objects:
        if one["kind"] == "ServiceMonitor":
            assert one["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
            assert {endpoint["port"] for endpoint in one["spec"]["endpoints"]} <= served
        if one["kind"] == "NetworkPolicy":
            assert one["spec"]["podSelector"]["matchLabels"].items() <= labels
            assert one["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": "metrics"}]
