"""The exporter and the simulated cloud as programs, and what they show."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.programs import EXPORTER, Program, eventually, fetch, started

EMAIL = "owner@example.com"
PASSWORD = "correct horse"


class Scrape:
    """The samples of one answer in the text format."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self.samples = [(one.name, one.labels, one.value) for family in families for one in family.samples]

    def series(self, name: str, **labels: str) -> list[tuple[Mapping[str, str], float]]:
        """Labels and value of every sample of that name with these labels."""
        wanted = labels.items()
        return [(has, value) for one, has, value in self.samples if one == name and wanted <= has.items()]

    def value(self, name: str, **labels: str) -> float | None:
        """The only such sample; None when there is none."""
        found = self.series(name, **labels)
        assert len(found) < 2, f"{name}{labels} is there {len(found)} times"
        return found[0][1] if found else None

    def total(self, name: str, **labels: str) -> float:
        return sum(value for _, value in self.series(name, **labels))


@dataclass
class Exporter:
    """A running exporter."""

    program: Program
    url: str

    def scrape(self) -> Scrape:
        self.program.must_run()
        return Scrape(fetch(f"{self.url}/metrics").text)

    def is_up(self, sites: int) -> bool:
        return self.scrape().total("enphase_ev_up") == sites


@dataclass
class SimulatedCloud:
    """A running simulated cloud and its admin pages."""

    url: str
    program: Program | None = None

    def world(self) -> dict[str, Any]:
        world: dict[str, Any] = fetch(f"{self.url}/_sim/world").json()
        return world

    def act(self, serial: str, *actions: str) -> None:
        for action in actions:
            assert fetch(f"{self.url}/_sim/chargers/{serial}/{action}", method="POST").status == 200

    def misbehave(self, kind: str, **params: Any) -> None:
        answer = fetch(f"{self.url}/_sim/faults", method="POST", send={"kind": kind, **params})
        assert answer.status == 201, answer.text

    def requests(self, endpoint: str) -> list[dict[str, Any]]:
        entries = fetch(f"{self.url}/_sim/journal").json()["entries"]
        return [entry for entry in entries if entry["endpoint"] == endpoint]


@dataclass
class Demo(Exporter):
    """A running demo: both of them."""

    metrics_url: str
    cloud: SimulatedCloud


@contextmanager
def started_demo(folder: Path, *arguments: str) -> Iterator[Demo]:
    """`demo` on free ports, as soon as it has printed its addresses."""
    command: list[str | Path] = [EXPORTER, "demo", "--web.listen-address", "127.0.0.1:0", *arguments]
    with started("demo", command, folder) as program:
        metrics_url = program.said(r"metrics: +(http://\S+)")
        cloud = SimulatedCloud(program.said(r"the simulated cloud: +(http://\S+)/"))
        yield Demo(program, metrics_url.removesuffix("/metrics"), metrics_url, cloud)


@contextmanager
def started_cloud(folder: Path, *, port: int = 0, speed: float = 240.0) -> Iterator[SimulatedCloud]:
    """`simulate` with two sites and three chargers."""
    command: list[str | Path] = [EXPORTER, "simulate", "--port", str(port), "--speed", str(speed)]
    with started("cloud", command, folder) as program:
        yield SimulatedCloud(program.said(r"The simulated cloud: (http://\S+)/"), program)


@contextmanager
def started_exporter(
    folder: Path, cloud: SimulatedCloud, *arguments: str, interval: str, **environment: str
) -> Iterator[Exporter]:
    """`run` against a simulated cloud, as soon as it listens; `environment` without its prefix."""
    settings = {
        "EMAIL": EMAIL,
        "PASSWORD": PASSWORD,
        "CLOUD_BASE_URL": cloud.url,
        "CLOUD_ENTREZ_URL": cloud.url,
        "POLL_INTERVAL": interval,
        "POLL_IDLE_INTERVAL": interval,
        "POLL_MAX_REQUESTS_PER_HOUR": "100000",
        "WEB_LISTEN_ADDRESS": "127.0.0.1:0",
        "STATE_PATH": str(folder / "state"),
    } | environment
    prefixed = {f"ENPHASE_EV_{name}": value for name, value in settings.items()}
    with started("exporter", [EXPORTER, "run", *arguments], folder, prefixed) as program:
        exporter = Exporter(program, program.said(r"msg=listening url=(\S+)"))
        eventually("both sites are up", lambda: exporter.is_up(2), within_seconds=20)
        yield exporter
