"""Energy that can be billed on: Prometheus' increase() against what the simulated world delivered."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.exporters import Exporter, SimulatedCloud, started_cloud, started_exporter
from tests.e2e.programs import EXPORTER, eventually
from tests.e2e.prometheus_server import Prometheus, shipped_config, started_prometheus

pytestmark = pytest.mark.e2e

ENERGY = "enphase_ev_charger_energy_kwh_total"
SPEED = 240.0


def test_increase_over_several_sessions_is_the_energy_delivered_also_over_a_kill(tmp_path: Path) -> None:
    with started_cloud(tmp_path / "cloud", speed=SPEED) as cloud:
        serials = [charger["serial"] for charger in cloud.world()["chargers"]]
        for serial in serials:
            cloud.act(serial, "come_back", "recover", "unplug", "report")
        before = lifetimes(cloud)
        settings = {"POLL_SUMMARY_INTERVAL": "2s", "POLL_STALE_AFTER": "20m"}
        # The address stays, so that Prometheus finds the exporter again after it was killed.
        with started_exporter(tmp_path, cloud, interval="1s", **settings) as exporter:
            address = exporter.url.removeprefix("http://")
            with started_prometheus(tmp_path / "prometheus", shipped_config(exporter.url, 1)) as prometheus:
                eventually("a first scrape", lambda: len(stored(prometheus)) == 3, within_seconds=30)
                sessions(cloud, serials, 2)
                exporter.program.process.kill()
                exporter.program.process.wait()
                moved = settings | {"WEB_LISTEN_ADDRESS": address}
                with started_exporter(tmp_path, cloud, interval="1s", **moved) as again:
                    sessions(cloud, serials, 2)
                    delivered = {serial: after - before[serial] for serial, after in lifetimes(cloud).items()}
                    eventually("all is counted", lambda: counted(again, delivered), within_seconds=30)
                    settle(prometheus, delivered)
                    increases = increase(prometheus)
    assert min(delivered.values()) > 1.0
    assert increases == pytest.approx(delivered, rel=0.01)
    assert sum(increases.values()) == pytest.approx(sum(delivered.values()), rel=0.01)


def test_finished_sessions_are_listed_by_the_command(tmp_path: Path) -> None:
    with started_cloud(tmp_path / "cloud", speed=SPEED) as cloud:
        serials = [charger["serial"] for charger in cloud.world()["chargers"]]
        for serial in serials:
            cloud.act(serial, "come_back", "recover", "unplug", "report")
        with started_exporter(tmp_path, cloud, interval="1s", POLL_STALE_AFTER="20m") as exporter:
            sessions(cloud, serials, 1)
            name = "enphase_ev_charger_sessions_total"
            eventually(
                "a session each", lambda: exporter.scrape().total(name) == len(serials), within_seconds=20
            )
            delivered = sum(charger["energy_wh"] for charger in cloud.world()["chargers"]) / 1000
            # Beside the running exporter, as a person would.
            folder = tmp_path / "state"
            command: list[str | Path] = [EXPORTER, "sessions", "--state.path", folder, "--format", "csv"]
            listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    header, *rows = [line.split(",") for line in listed.splitlines()]
    assert len(rows) == len(serials)
    total = sum(float(row[header.index("energy_kwh")]) for row in rows)
    assert total == pytest.approx(delivered, rel=0.01)


def sessions(cloud: SimulatedCloud, serials: list[str], count: int) -> None:
    """Let every charger charge so often, a good half simulated hour each time."""
    for _ in range(count):
        for serial in serials:
            cloud.act(serial, "plug", "start")
        time.sleep(8)
        for serial in serials:
            cloud.act(serial, "stop", "unplug", "report")
        time.sleep(3)


def lifetimes(cloud: SimulatedCloud) -> dict[str, float]:
    return {charger["serial"]: charger["lifetime_wh"] / 1000 for charger in cloud.world()["chargers"]}


def counted(exporter: Exporter, delivered: dict[str, float]) -> bool:
    series = exporter.scrape().series(ENERGY)
    shown = {labels["serial"]: value for labels, value in series}
    return all(shown.get(serial, 0.0) == pytest.approx(kwh, rel=0.01) for serial, kwh in delivered.items())


def stored(prometheus: Prometheus) -> dict[str, float]:
    return {one.labels["serial"]: one.value for one in prometheus.query(ENERGY)}


def settle(prometheus: Prometheus, delivered: dict[str, float]) -> None:
    """Wait until Prometheus has stored the last figure twice."""

    def is_settled() -> bool:
        found = prometheus.query(f"{ENERGY}[5m]")
        return len(found) == len(delivered) and all(
            one.samples[-1][1]
            == one.samples[-2][1]
            == pytest.approx(delivered[one.labels["serial"]], rel=0.01)
            for one in found
        )

    eventually("Prometheus has stored it", is_settled, within_seconds=30)


def increase(prometheus: Prometheus) -> dict[str, float]:
    """increase() from the first to the last sample of each charger, so that nothing is extrapolated."""
    found = {}
    for one in prometheus.query(f"{ENERGY}[10m]"):
        serial, first, last = one.labels["serial"], one.samples[0][0], one.samples[-1][0]
        milliseconds = round((last - first) * 1000) + 1
        selector = f'{ENERGY}{{serial="{serial}"}}[{milliseconds}ms]'
        (answer,) = prometheus.ask("query", query=f"increase({selector})", time=f"{last:.3f}")["result"]
        found[serial] = float(answer["value"][1])
    return found
