"""The demo as a user meets it: its addresses, its metrics in both formats, a car's stay, its end."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from tests.e2e.conftest import WatchedDemo
from tests.e2e.exporters import Scrape, started_demo
from tests.e2e.programs import EXPORTER, eventually, fetch, path_of, started

pytestmark = pytest.mark.e2e

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def shows_everything(scrape: Scrape) -> bool:
    connected = scrape.series("enphase_ev_charger_connected")
    return len(connected) == 3 and len({labels["site_id"] for labels, _ in connected}) == 2


def test_two_sites_and_three_chargers_show_within_20_s_of_the_start(watched_demo: WatchedDemo) -> None:
    def shown_after() -> float | None:
        return next((at for at, scrape in watched_demo.scrapes if shows_everything(scrape)), None)

    assert eventually("three chargers show", shown_after, within_seconds=20) < 20


def test_promtool_finds_nothing_to_say_about_the_text_format(watched_demo: WatchedDemo) -> None:
    text = fetch(watched_demo.demo.metrics_url).body
    said = subprocess.run([path_of("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


def test_the_strict_parser_reads_the_openmetrics_format(watched_demo: WatchedDemo) -> None:
    answer = fetch(watched_demo.demo.metrics_url, headers=OPENMETRICS)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    families = list(openmetrics_families(answer.text))  # type: ignore[no-untyped-call]
    samples = [(one.name, *sorted(one.labels.items())) for family in families for one in family.samples]
    assert len(samples) == len(set(samples))
    assert sum(name == "enphase_ev_charger_connected" for name, *_ in samples) == 3


@pytest.mark.usefixtures("prometheus", "prometheus_by_site")  # they gather their minute meanwhile
def test_a_car_plugs_in_charges_and_is_full_within_3_minutes(watched_demo: WatchedDemo) -> None:
    def stayed() -> str | None:
        scrapes = [scrape for at, scrape in watched_demo.scrapes if at < 180 and shows_everything(scrape)]
        serials = [labels["serial"] for labels, _ in scrapes[0].series("enphase_ev_charger_connected")]
        return next((serial for serial in serials if has_whole_stay(scrapes, serial)), None)

    eventually(
        "a car plugged in, charged and was full",
        stayed,
        within_seconds=185 - (time.monotonic() - watched_demo.started_at),
    )


def has_whole_stay(scrapes: Sequence[Scrape], serial: str) -> bool:
    """Whether the gauges showed: no car, a car, current, more and more energy, a full car or none."""

    def value(scrape: Scrape, name: str, **labels: str) -> float | None:
        return scrape.value(f"enphase_ev_charger_{name}", serial=serial, **labels)

    ahead = iter(scrapes)
    if not any(value(one, "plugged_in") == 0 for one in ahead):
        return False
    if not any(value(one, "plugged_in") == 1 for one in ahead):
        return False
    energies_kwh = list(_charging_energies(ahead, serial))
    rising = len(set(energies_kwh)) >= 3 and energies_kwh == sorted(energies_kwh)
    return rising and any(
        value(one, "charging") == 0
        and (value(one, "plugged_in") == 0 or value(one, "connector_status", status="SUSPENDED_EV") == 1)
        and (value(one, "session_energy_kwh") or 0) >= energies_kwh[-1]
        for one in ahead
    )


def _charging_energies(ahead: Iterator[Scrape], serial: str) -> Iterator[float]:
    """The energy at each scrape of the first stretch with current; takes what it reads from `ahead`."""
    begun = False
    for scrape in ahead:
        charging = scrape.value("enphase_ev_charger_charging", serial=serial) == 1
        energy_kwh = scrape.value("enphase_ev_charger_session_energy_kwh", serial=serial)
        if charging and energy_kwh is not None:
            begun = True
            yield energy_kwh
        elif begun:
            return


def test_sigterm_ends_it_within_5_s_though_a_client_stays_connected(tmp_path: Path) -> None:
    with started_demo(tmp_path) as demo:
        parts = urlsplit(demo.url)
        with closing(HTTPConnection(parts.hostname or "", parts.port, timeout=10)) as client:
            client.request("GET", "/metrics")
            client.getresponse().read()
            demo.program.signal(signal.SIGTERM)
            assert demo.program.process.wait(5) == 0
        assert "Traceback" not in demo.program.log


def test_healthcheck_says_that_a_running_exporter_is_healthy(watched_demo: WatchedDemo) -> None:
    address = urlsplit(watched_demo.demo.url).netloc.replace("localhost", "127.0.0.1")
    command: list[str | Path] = [EXPORTER, "healthcheck", "--web.listen-address", address]
    asked = subprocess.run(command, capture_output=True, text=True)
    assert (asked.returncode, asked.stdout) == (0, "healthy: yes\n")


def test_it_listens_where_the_environment_says_and_names_the_variables_that_it_ignores(
    tmp_path: Path,
) -> None:
    environment = {"ENPHASE_EV_WEB_LISTEN_ADDRESS": "127.0.0.1:0", "ENPHASE_EV_STATE_PATH": "/nowhere"}
    with started("demo", [EXPORTER, "demo"], tmp_path, environment) as demo:
        assert fetch(demo.said(r"metrics: +(http://127\.0\.0\.1:\d+/metrics)")).status == 200
        (warning,) = (line for line in demo.log.splitlines() if "level=warning" in line)
        assert "it ignores ENPHASE_EV_STATE_PATH" in warning
