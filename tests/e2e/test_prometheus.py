"""A real Prometheus with the shipped config scrapes the demo, whole and site by site."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import nan
from typing import Any

import pytest

from tests.e2e.conftest import WatchedDemo
from tests.e2e.programs import eventually, fetch
from tests.e2e.prometheus_server import Prometheus, Series

# Both start at once, so that they gather their minute at the same time.
pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("prometheus", "prometheus_by_site")]

SCRAPES = 12  # a minute of them
JOB, JOB_BY_SITE = "enphase-ev", "enphase-ev-sites"
# What Prometheus 2.42 sends.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
GZIP_MAGIC = b"\x1f\x8b"


def test_the_target_is_up_at_every_scrape_of_a_minute(prometheus: Prometheus) -> None:
    wait_for_scrapes(prometheus, JOB)
    (up,) = prometheus.query(f'up{{job="{JOB}"}}[10m]')
    assert {value for _, value in up.samples} == {1.0}
    assert max(after - before for (before, _), (after, _) in pairwise(up.samples)) < 9


def test_prometheus_has_nothing_to_complain_of_in_the_scrapes(prometheus: Prometheus) -> None:
    wait_for_scrapes(prometheus, JOB)
    assert complaints(prometheus) == []


def test_prometheus_asks_for_openmetrics_and_gets_it(prometheus: Prometheus) -> None:
    wait_for_scrapes(prometheus, JOB, 1)
    # Only OpenMetrics calls the family of the counter ..._total by its bare name.
    metadata = prometheus.ask("targets/metadata", metric="enphase_ev_polls")
    assert [one["type"] for one in metadata] == ["counter"]


def test_what_prometheus_asks_for_comes_compressed(watched_demo: WatchedDemo) -> None:
    headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
    answer = fetch(watched_demo.demo.metrics_url, headers=headers)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.body.startswith(GZIP_MAGIC)
    plain = fetch(watched_demo.demo.metrics_url, headers={"Accept": ACCEPT})
    assert plain.headers["Content-Encoding"] is None
    assert len(answer.body) < len(plain.body) / 3


def test_every_site_is_a_target_of_its_own_through_sd_and_probe(
    prometheus_by_site: Prometheus, watched_demo: WatchedDemo
) -> None:
    wait_for_scrapes(prometheus_by_site, JOB_BY_SITE)
    sites = {site["site_id"] for site in watched_demo.demo.cloud.world()["sites"]}
    ups = prometheus_by_site.query(f'up{{job="{JOB_BY_SITE}"}}[10m]')
    assert {up.labels["instance"] for up in ups} == sites
    assert {value for up in ups for _, value in up.samples} == {1.0}
    assert complaints(prometheus_by_site) == []


def test_every_series_of_a_site_is_stored_once(prometheus_by_site: Prometheus) -> None:
    wait_for_scrapes(prometheus_by_site, JOB_BY_SITE)
    stored = prometheus_by_site.query('{site_id!=""}')
    assert all(one.labels["instance"] == one.labels["site_id"] for one in stored)
    assert len({identity(one) for one in stored}) == len(stored)
    assert len(named(stored, "enphase_ev_charger_connected")) == 3
    accounts = prometheus_by_site.query('{__name__=~"enphase_ev_auth_up|process_cpu_seconds_total"}')
    assert sorted(one.labels["job"] for one in accounts) == [JOB, JOB]


def test_prometheus_stores_what_is_true_in_the_world(
    prometheus: Prometheus, watched_demo: WatchedDemo
) -> None:
    world = halted_world(watched_demo)
    assert any(charger["energy_wh"] > 100 for charger in world["chargers"])
    wanted = {key: value for charger in world["chargers"] for key, value in true_samples(charger)}
    # The demo asks its slowest endpoints every 5 s, as often as Prometheus scrapes.
    (up,) = prometheus.query(f'up{{job="{JOB}"}}[10m]')
    wait_for_scrapes(prometheus, JOB, len(up.samples) + 3)
    stored = {key_of(one): one.value for one in prometheus.query('{__name__=~"enphase_ev_charger_.*"}')}
    # The cloud gives times to the millisecond.
    assert {key: stored.get(key, nan) for key in wanted} == pytest.approx(wanted, abs=0.002)
    reported = [value for (name, _, _), value in stored.items() if name == "last_reported_timestamp_seconds"]
    assert len(reported) == 3
    assert world["now_seconds"] - 120 < min(reported)
    assert max(reported) < watched_demo.demo.cloud.world()["now_seconds"]


def wait_for_scrapes(prometheus: Prometheus, job: str, times: int = SCRAPES) -> None:
    eventually(f"{times} scrapes of {job}", lambda: prometheus.has_scraped(job, times), within_seconds=90)


def complaints(prometheus: Prometheus) -> list[str]:
    """Log lines about scrapes that went wrong, and counters of dropped samples that are not 0."""
    lines = [line for line in prometheus.program.log.splitlines() if 'component="scrape manager"' in line]
    bad = [line for line in lines if re.search(r"level=(warn|error)|failed|rror on ingesting", line)]
    own = fetch(f"{prometheus.url}/metrics").text
    dropped = re.findall(
        r"^prometheus_target_scrapes?_\w*(?:sample|exceeded|failed)\w*_total [^0].*", own, re.MULTILINE
    )
    return bad + dropped


def identity(series: Series) -> tuple[tuple[str, str], ...]:
    """What tells a series from others, apart from who scraped it."""
    return tuple(sorted(item for item in series.labels.items() if item[0] not in ("instance", "job")))


def named(series: Iterable[Series], name: str) -> list[Series]:
    return [one for one in series if one.labels["__name__"] == name]


Key = tuple[str, str, str]


def key_of(series: Series) -> Key:
    """Name, serial, and what the labels say beyond that."""
    labels = series.labels
    extra = labels.get("status") or labels.get("mode") or labels.get("name") or ""
    return labels["__name__"].removeprefix("enphase_ev_charger_"), labels["serial"], extra


def halted_world(watched_demo: WatchedDemo) -> dict[str, Any]:
    """The world brought to a stand: one car has gone, one charger is at fault, one car is held back."""
    cloud = watched_demo.demo.cloud
    serials = [charger["serial"] for charger in cloud.world()["chargers"]]
    ends = (("unplug",), ("plug", "fault"), ("plug", "stop"))
    for serial, end in zip(serials, ends, strict=True):
        cloud.act(serial, "come_back", "recover", "stop", *end, "report")
    return cloud.world()


def true_samples(charger: dict[str, Any]) -> Iterator[tuple[Key, float]]:
    """What must be stored of one charger of a world that stands still."""
    serial = charger["serial"]
    numbers: dict[str, float | None] = {
        "connected": charger["connected"],
        "plugged_in": charger["plugged_in"],
        "charging": charger["charging"],
        "faulted": charger["faulted"],
        "min_amperes": charger["min_amps"],
        "max_amperes": charger["max_amps"],
        "operating_voltage_volts": charger["volts"],
        "charging_level_amperes": charger["amps"] if charger["started_at"] else None,
        "session_energy_kwh": charger["energy_wh"] / 1000,
        "session_start_timestamp_seconds": charger["started_at"],
        "session_plugged_in_timestamp_seconds": charger["plugged_in_at"],
        "session_plugged_out_timestamp_seconds": charger["plugged_out_at"],
    }
    for name, value in numbers.items():
        if value is not None:
            yield (name, serial, ""), float(value)
    yield ("info", serial, charger["name"]), 1.0
    yield ("connector_status", serial, charger["connector_status"]), 1.0
    yield ("charge_mode", serial, charger["mode"]), 1.0
    yield ("running_charge_mode", serial, charger["mode"]), 1.0
