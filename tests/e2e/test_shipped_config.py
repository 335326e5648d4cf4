"""The Prometheus config that is shipped, and the one that its document shows."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.programs import REPOSITORY, path_of
from tests.e2e.prometheus_server import SHIPPED_CONFIG, shipped_config

pytestmark = pytest.mark.e2e

AS_SHIPPED = "http://localhost:10055"
DOCUMENT = REPOSITORY / "docs" / "prometheus.md"


@pytest.mark.parametrize("with_example", [False, True], ids=["as shipped", "example switched on"])
def test_promtool_accepts_the_shipped_config(tmp_path: Path, with_example: bool) -> None:
    config_path = tmp_path / "prometheus.yml"
    config_path.write_text(shipped_config(AS_SHIPPED, 30, with_example=with_example))
    assert with_example or config_path.read_text() == SHIPPED_CONFIG.read_text()
    said = subprocess.run([path_of("promtool"), "check", "config", config_path], capture_output=True)
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("with_example", [False, True], ids=["as shipped", "example switched on"])
def test_the_document_shows_the_shipped_config(with_example: bool) -> None:
    blocks = re.findall(r"^```yaml\n(scrape_configs:.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    shown: list[Any] = [yaml.safe_load(block) for block in blocks]
    assert len(shown) == 2
    shipped = yaml.safe_load(shipped_config(AS_SHIPPED, 30, with_example=with_example))
    assert {"scrape_configs": shipped["scrape_configs"]} == shown[with_example]
