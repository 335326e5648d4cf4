"""A real Alertmanager and a real Prometheus with the shipped configs and rules, on a clock that runs faster.

A rule that waits for minutes cannot be waited for. So every duration of rules and configs, and every number
of seconds in an expression, is divided by one factor (`hurried` of tests/rule_queries.py, tested in
tests/test_rules.py); so are the exporters' intervals. No expression differs in anything else.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.programs import Program, eventually, fetch, path_of, started
from tests.e2e.prometheus_server import SHIPPED_CONFIG, Prometheus, started_prometheus
from tests.rule_queries import ALERTMANAGER_CONFIG, RULE_FILES, hurried, hurried_rules

FACTOR = 60.0
_SHIPPED_EXPORTER = '"localhost:10055"'
_SHIPPED_ALERTMANAGER = "localhost:9093"
_SHIPPED_RECEIVER = "http://localhost:9095/"


@dataclass
class Alertmanager:
    """A running Alertmanager."""

    program: Program
    url: str

    def groups(self) -> list[dict[str, Any]]:
        """The groups it would notify of, inhibited ones left out."""
        found: list[dict[str, Any]] = fetch(f"{self.url}/api/v2/alerts/groups?inhibited=false").json()
        return found

    def inhibited(self, alert: str) -> list[dict[str, Any]]:
        """The alerts of that name that another one holds back."""
        query = f"active=false&inhibited=true&silenced=false&filter=alertname%3D{alert}"
        found: list[dict[str, Any]] = fetch(f"{self.url}/api/v2/alerts?{query}").json()
        return found


def alertmanager_config(webhook_url: str | None = None, *, with_example: bool = False) -> str:
    """The shipped config, for a receiver; with its example switched on as its comment says."""
    text = ALERTMANAGER_CONFIG.read_text()
    if with_example:
        text = re.sub(r"^( *)#([^ ])", r"\1\2", text, flags=re.MULTILINE)
    assert text.count(_SHIPPED_RECEIVER) == 1
    return text.replace(_SHIPPED_RECEIVER, webhook_url or _SHIPPED_RECEIVER)


@contextmanager
def started_alertmanager(folder: Path, webhook_url: str) -> Iterator[Alertmanager]:
    """Alertmanager with an empty storage, as soon as it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    config_path = folder / "alertmanager.yml"
    config_path.write_text(hurried(alertmanager_config(webhook_url), FACTOR))
    command = [
        path_of("prometheus-alertmanager"),
        f"--config.file={config_path}",
        f"--storage.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    ]
    with started("alertmanager", command, folder) as program:
        port = program.said(r'msg="Listening on" address=127\.0\.0\.1:(\d+)')
        alertmanager = Alertmanager(program, f"http://127.0.0.1:{port}")
        eventually(
            "Alertmanager is ready",
            lambda: fetch(f"{alertmanager.url}/-/ready").status == 200,
            within_seconds=20,
        )
        yield alertmanager


@contextmanager
def started_alerting(
    folder: Path, exporter_urls: Sequence[str], alertmanager: Alertmanager
) -> Iterator[Prometheus]:
    """Prometheus with the shipped config and rules, that scrapes these exporters and alerts there."""
    rules = folder / "alerts"
    rules.mkdir(parents=True)
    for path in RULE_FILES:
        (rules / path.name).write_text(hurried_rules(path.read_text(), FACTOR))
    text = hurried(SHIPPED_CONFIG.read_text(), FACTOR)
    assert text.count(_SHIPPED_EXPORTER) == 1
    assert text.count(_SHIPPED_ALERTMANAGER) == 1
    targets = ", ".join(f'"{urlsplit(url).netloc}"' for url in exporter_urls)
    text = text.replace(_SHIPPED_EXPORTER, targets)
    text = text.replace(_SHIPPED_ALERTMANAGER, urlsplit(alertmanager.url).netloc)
    # Two folders down, as in the repository: rule_files is seen from there.
    with started_prometheus(folder / "deploy" / "prometheus", text) as prometheus:
        yield prometheus
