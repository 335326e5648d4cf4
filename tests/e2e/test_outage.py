"""A cloud that refuses, stops and comes back, and a config that changes, as a scrape shows them."""

import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.exporters import (
    Exporter,
    SimulatedCloud,
    started_cloud,
    started_exporter,
)
from tests.e2e.programs import eventually

pytestmark = pytest.mark.e2e

INTERVAL = "500ms"
RETRY_AFTER_SECONDS = 4
CONFIG = """
poll:
  interval: {interval}
  idle_interval: 1s
accounts:
  - name: home
    email: owner@example.com
    password: correct horse
"""


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SimulatedCloud]:
    with started_cloud(tmp_path) as running:
        yield running


@pytest.fixture
def exporter(tmp_path: Path, cloud: SimulatedCloud) -> Iterator[Exporter]:
    with started_exporter(tmp_path, cloud, interval=INTERVAL, POLL_STALE_AFTER="3s") as running:
        yield running


@pytest.mark.parametrize("place", [0, 1])
def test_a_429_for_one_site_stops_all_status_requests_until_retry_after(
    exporter: Exporter, cloud: SimulatedCloud, place: int
) -> None:
    site_id = cloud.world()["sites"][place]["site_id"]
    before = exporter.scrape().total("enphase_ev_api_rate_limited_total", endpoint="status")
    cloud.misbehave(
        "status", endpoint="status", site=site_id, times=1, status=429, retry_after=RETRY_AFTER_SECONDS
    )
    eventually(
        "the site is down",
        lambda: exporter.scrape().value("enphase_ev_up", site_id=site_id) == 0,
        within_seconds=5,
    )
    scrape = exporter.scrape()
    assert scrape.total("enphase_ev_api_rate_limited_total", endpoint="status") == before + 1
    assert 0 < scrape.total("enphase_ev_api_backoff_seconds") <= RETRY_AFTER_SECONDS
    eventually("both sites are up again", lambda: exporter.is_up(2), within_seconds=15)
    assert exporter.scrape().total("enphase_ev_api_backoff_seconds") == 0
    requests = cloud.requests("status")
    (refused_at,) = (one["monotonic_seconds"] for one in requests if one["status"] == 429)
    # What was on its way at that moment cannot be called back.
    waits = [one["monotonic_seconds"] - refused_at for one in requests]
    assert [wait for wait in waits if 0.2 < wait < RETRY_AFTER_SECONDS - 0.2] == []


def test_a_stopped_cloud_takes_the_chargers_away_and_leaves_the_counters(
    exporter: Exporter, cloud: SimulatedCloud, tmp_path: Path
) -> None:
    before = exporter.scrape()
    assert cloud.program is not None
    cloud.program.stop()
    eventually("both sites are down", lambda: down(exporter), within_seconds=10)
    eventually("the chargers are gone", lambda: not chargers(exporter), within_seconds=15)
    scrape = exporter.scrape()
    assert len(scrape.series("enphase_ev_up")) == 2
    assert scrape.total("enphase_ev_chargers") == 0
    assert scrape.total("enphase_ev_api_errors_total", endpoint="status", kind="connection") > 0
    assert falls(without_chargers(before.samples), scrape.samples) == []
    with started_cloud(tmp_path / "again", port=urlsplit(cloud.url).port or 0) as returned:
        # It has forgotten the login, which the exporter does not renew within 30 s of obtaining it.
        eventually("both sites are back", lambda: exporter.is_up(2), within_seconds=90)
        eventually("so are the chargers", lambda: chargers(exporter) == 3, within_seconds=5)
        assert len(returned.requests("login")) == 1
        assert falls(before.samples, exporter.scrape().samples) == []


def down(exporter: Exporter) -> bool:
    return [value for _, value in exporter.scrape().series("enphase_ev_up")] == [0, 0]


def chargers(exporter: Exporter) -> int:
    return sum(name.startswith("enphase_ev_charger_connected") for name, _, _ in exporter.scrape().samples)


Samples = list[tuple[str, dict[str, str], float]]


def without_chargers(samples: Samples) -> Samples:
    """A stale charger's series go away, its counters with them; they come back with their values."""
    return [one for one in samples if not one[0].startswith("enphase_ev_charger_")]


def falls(before: Samples, after: Samples) -> list[str]:
    """The counters that went away or down."""
    now = {(name, *sorted(labels.items())): value for name, labels, value in after}
    counters = [one for one in before if one[0].endswith("_total")]
    assert counters
    return [
        f"{name}{labels}: {value} became {now.get((name, *sorted(labels.items())))}"
        for name, labels, value in counters
        if now.get((name, *sorted(labels.items())), -1) < value
    ]


def test_sighup_refuses_a_bad_config_and_takes_a_good_one_without_a_new_login(
    cloud: SimulatedCloud, tmp_path: Path
) -> None:
    path = tmp_path / "config.yml"
    path.write_text(CONFIG.format(interval="500ms"))
    path.chmod(0o600)
    by_file = dict.fromkeys(("EMAIL", "PASSWORD", "POLL_IDLE_INTERVAL"), "")
    with started_exporter(tmp_path, cloud, "--config.file", str(path), interval="", **by_file) as exporter:
        assert reloaded(exporter) == 1
        path.write_text(CONFIG.format(interval="often"))
        exporter.program.signal(signal.SIGHUP)
        eventually("the config is refused", lambda: reloaded(exporter) == 0, within_seconds=5)
        assert "poll.interval" in exporter.program.said(r"(config refused.*)")
        assert_still_polling(exporter)

        path.write_text(CONFIG.format(interval="1s"))
        exporter.program.signal(signal.SIGHUP)
        eventually("the config is taken", lambda: reloaded(exporter) == 1, within_seconds=5)
        assert_still_polling(exporter)
        intervals = exporter.scrape().series("enphase_ev_poll_interval_seconds")
        assert [value for _, value in intervals] == [1, 1]
        assert len(cloud.requests("login")) == 1
        assert exporter.scrape().total("enphase_ev_auth_logins_total", result="success") == 1


def reloaded(exporter: Exporter) -> float | None:
    return exporter.scrape().value("enphase_ev_config_last_reload_successful")


def polls(exporter: Exporter) -> float:
    return exporter.scrape().total("enphase_ev_polls_total", result="success")


def assert_still_polling(exporter: Exporter) -> None:
    known = polls(exporter)
    eventually("polls go on", lambda: polls(exporter) >= known + 4, within_seconds=10)
    assert exporter.is_up(2)
