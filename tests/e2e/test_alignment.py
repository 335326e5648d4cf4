"""With the real clock and a real Prometheus, what is scraped has just been fetched."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import median

import pytest

from tests.e2e.exporters import Exporter, SimulatedCloud, started_cloud, started_exporter
from tests.e2e.programs import eventually
from tests.e2e.prometheus_server import Prometheus, shipped_config, started_prometheus

pytestmark = pytest.mark.e2e

JOB = "enphase-ev"
ANSWER_SECONDS = 0.1
LEARNING_SCRAPES = 5
MEASURED_SCRAPES = 9


@dataclass(frozen=True)
class Case:
    """A poll interval, a scrape interval, and the share of the former that the median age stays under.

    Without alignment, the age would be anything up to the interval, half of it in the median.
    """

    interval_seconds: float
    scrape_seconds: float
    share: float


CASES = {
    "one poll a scrape": Case(2, 2, 0.2),
    "several polls a scrape": Case(1, 3, 0.3),
    "several scrapes a poll": Case(4, 2, 0.12),
}


@dataclass(frozen=True)
class Run:
    cloud: SimulatedCloud
    exporter: Exporter
    prometheus: Prometheus


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All cases at the same time, each with programs of its own, after the scrapes they need."""
    with ExitStack() as stack:
        started = {
            name: start(stack, case, tmp_path_factory.mktemp("alignment")) for name, case in CASES.items()
        }
        for name, run in started.items():
            eventually(
                f"{name}: scrapes",
                lambda run=run: run.prometheus.has_scraped(JOB, LEARNING_SCRAPES + MEASURED_SCRAPES),  # type: ignore[misc]
                within_seconds=90,
            )
        yield started


def start(stack: ExitStack, case: Case, folder: Path) -> Run:
    cloud = stack.enter_context(started_cloud(folder, speed=1))
    cloud.misbehave("slow", endpoint="status", seconds=ANSWER_SECONDS)
    interval = f"{case.interval_seconds:g}s"
    exporter = stack.enter_context(started_exporter(folder, cloud, interval=interval))
    config = shipped_config(exporter.url, case.scrape_seconds)
    return Run(cloud, exporter, stack.enter_context(started_prometheus(folder / "prometheus", config)))


def ages_seconds(prometheus: Prometheus, site_id: str) -> list[float]:
    """How old the status was at each scrape after the first ones, by Prometheus' own times."""
    name = "enphase_ev_last_success_timestamp_seconds"
    (one,) = prometheus.query(f'{name}{{site_id="{site_id}",endpoint="status"}}[10m]')
    return [scraped_at - fetched_at for scraped_at, fetched_at in one.samples[LEARNING_SCRAPES:]]


@pytest.mark.parametrize("name", CASES)
def test_what_is_scraped_is_much_younger_than_the_interval(runs: dict[str, Run], name: str) -> None:
    run, case = runs[name], CASES[name]
    # Where scrapes come more often than polls, only every n-th can be fresh: the youngest half tells.
    fresh = min(1.0, case.scrape_seconds / case.interval_seconds)
    for site in run.cloud.world()["sites"]:
        ages = sorted(ages_seconds(run.prometheus, site["site_id"]))
        ages = ages[: max(3, round(len(ages) * fresh))]
        assert median(ages) < case.share * case.interval_seconds, ages


@pytest.mark.parametrize("name", CASES)
def test_the_exporter_says_how_often_it_is_scraped(runs: dict[str, Run], name: str) -> None:
    learned = runs[name].prometheus.value("enphase_ev_scrape_interval_seconds")
    assert learned == pytest.approx(CASES[name].scrape_seconds, rel=0.1)


@pytest.mark.parametrize("name", CASES)
def test_no_site_is_asked_more_often_than_once_per_interval(runs: dict[str, Run], name: str) -> None:
    requests = sorted(runs[name].cloud.requests("status"), key=itemgetter("site_id"))
    by_site = {site: list(some) for site, some in groupby(requests, key=itemgetter("site_id"))}
    assert len(by_site) == 2
    for some in by_site.values():
        lasted = some[-1]["monotonic_seconds"] - some[0]["monotonic_seconds"]
        # A little more, since how late a request arrives differs.
        assert (len(some) - 1) * CASES[name].interval_seconds <= lasted + 0.2
