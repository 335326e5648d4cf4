"""A real Prometheus with the shipped config, pointed at an exporter that a test has started."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from tests.e2e.programs import REPOSITORY, Program, eventually, fetch, path_of, started

SHIPPED_CONFIG = REPOSITORY / "deploy" / "prometheus" / "prometheus.yml"
_SHIPPED_TARGET = "localhost:10055"
_SHIPPED_INTERVAL = "scrape_interval: 30s"


class Series(NamedTuple):
    labels: dict[str, str]
    samples: list[tuple[float, float]]  # epoch seconds, value

    @property
    def value(self) -> float:
        return self.samples[-1][1]


def shipped_config(exporter_url: str, interval_seconds: float, *, with_example: bool = False) -> str:
    """The shipped config for this exporter; with its example switched on as its comment says."""
    text = SHIPPED_CONFIG.read_text()
    if with_example:
        text = re.sub(r"^( *)#([^ ])", r"\1\2", text, flags=re.MULTILINE)
    assert _SHIPPED_TARGET in text
    assert _SHIPPED_INTERVAL in text
    text = text.replace(_SHIPPED_TARGET, urlsplit(exporter_url).netloc)
    return text.replace(_SHIPPED_INTERVAL, f"scrape_interval: {interval_seconds:g}s")


@dataclass
class Prometheus:
    """A running Prometheus."""

    program: Program
    url: str

    def ask(self, path: str, **query: str) -> Any:
        answer = fetch(f"{self.url}/api/v1/{path}?{urlencode(query)}").json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[Series]:
        """An instant vector, or with `[5m]` behind the selector the samples as they are stored."""
        found = []
        for one in self.ask("query", query=expression)["result"]:
            samples = one.get("values") or [one["value"]]
            found.append(Series(one["metric"], [(float(at), float(value)) for at, value in samples]))
        return found

    def value(self, expression: str) -> float | None:
        """The only such series' newest value; None when there is none."""
        found = self.query(expression)
        assert len(found) < 2, f"{expression}: {found}"
        return found[0].value if found else None

    def has_scraped(self, job: str, times: int) -> bool:
        """Whether every target of a job has been scraped so often, in vain or not."""
        ups = self.query(f'up{{job="{job}"}}[10m]')
        return bool(ups) and all(len(up.samples) >= times for up in ups)


@contextmanager
def started_prometheus(folder: Path, config: str) -> Iterator[Prometheus]:
    """Prometheus with an empty storage, as soon as it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    config_path = folder / "prometheus.yml"
    config_path.write_text(config)
    command = [
        path_of("prometheus"),
        f"--config.file={config_path}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
        "--log.level=debug",
    ]
    with started("prometheus", command, folder) as program:
        port = program.said(r'msg="Listening on" address=127\.0\.0\.1:(\d+)')
        prometheus = Prometheus(program, f"http://127.0.0.1:{port}")
        eventually(
            "Prometheus is ready",
            lambda: fetch(f"{prometheus.url}/-/ready").status == 200,
            within_seconds=20,
        )
        yield prometheus
