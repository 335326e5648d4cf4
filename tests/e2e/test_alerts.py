"""Faults of the simulated cloud that end in a notification, through real Prometheus and Alertmanager."""

import asyncio
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator.cloud import start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import FIRST_SERIAL, FIRST_SITE, World, WorldConfig
from tests.e2e.alertmanager_server import (
    FACTOR,
    Alertmanager,
    alertmanager_config,
    started_alerting,
    started_alertmanager,
)
from tests.e2e.exporters import EMAIL, PASSWORD, SimulatedCloud
from tests.e2e.programs import EXPORTER, REPOSITORY, eventually, fetch, path_of, started
from tests.e2e.prometheus_server import SHIPPED_CONFIG, Prometheus
from tests.e2e.webhook import Webhook, listening_webhook
from tests.rule_queries import RULE_FILES, RULE_TEST_FILES, hurried, seconds_of

pytestmark = pytest.mark.e2e

FLEET_SITES, FLEET_CHARGERS = 20, 200
FLEET_SERIAL = str(FIRST_SERIAL)
# Every simulated world begins with the same ids: home's sites are those behind the fleet's.
HOME_SITES = [str(FIRST_SITE + FLEET_SITES), str(FIRST_SITE + FLEET_SITES + 1)]
SITE, SERIAL = HOME_SITES[0], str(FIRST_SERIAL + FLEET_SITES)
STALE_AFTER = "5m"
RETRY_AFTER_SECONDS = 10
# The charge modes of 200 chargers, sixty times as often, would only cost time: no alert here is about them.
SLOW = {"POLL_SUMMARY_INTERVAL": "2s", "POLL_CHARGE_MODE_INTERVAL": "1m"}
WORLDS = {
    "home": WorldConfig(sites=FLEET_SITES + 2, chargers=1, reporting_interval_seconds=10.0),
    "fleet": WorldConfig(
        sites=FLEET_SITES, chargers=FLEET_CHARGERS // FLEET_SITES, reporting_interval_seconds=10.0
    ),
    "locked": WorldConfig(sites=1, chargers=1),
}
CALM = {"fault_every_seconds": None, "offline_every_seconds": None}


# The shipped files, as they are.


def accepted(*command: str | Path) -> str:
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout + said.stderr


def test_promtool_finds_nothing_in_the_rules() -> None:
    said = accepted(path_of("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert said.count("SUCCESS") == len(RULE_FILES) == 2


@pytest.mark.parametrize("path", RULE_TEST_FILES, ids=lambda path: path.stem)
def test_promtool_takes_every_alert_through_its_course(path: Path) -> None:
    assert "SUCCESS" in accepted(path_of("promtool"), "test", "rules", path)


def test_promtool_accepts_the_shipped_config_with_its_rules() -> None:
    said = accepted(path_of("promtool"), "check", "config", SHIPPED_CONFIG)
    assert "2 rule files found" in said


@pytest.mark.parametrize("with_example", [False, True], ids=["as shipped", "e-mail switched on"])
def test_amtool_accepts_the_shipped_config(tmp_path: Path, with_example: bool) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(alertmanager_config(with_example=with_example))
    assert "SUCCESS" in accepted(path_of("amtool"), "check-config", path)


# The scenes.


@dataclass
class Scene:
    """Three accounts, each with a cloud and exporter of its own, and all that stands behind them."""

    clouds: dict[str, SimulatedCloud]
    prometheus: Prometheus
    alertmanager: Alertmanager
    webhook: Webhook

    def firing(self, **labels: str) -> set[str]:
        """The alerts that Prometheus itself says are firing."""
        matchers = ", ".join(f'{name}="{value}"' for name, value in labels.items())
        found = self.prometheus.query(f'ALERTS{{alertstate="firing", {matchers}}}')
        return {one.labels["alertname"] for one in found}

    def told(self, status: str, within_seconds: float, **labels: str) -> dict[str, Any]:
        """The alert as it is told, as soon as it is."""

        def newest() -> dict[str, Any] | None:
            alert = self.webhook.newest(**labels)
            return alert if alert and alert["status"] == status else None

        return eventually(f"{labels} is told as {status}", newest, within_seconds=within_seconds)


@contextmanager
def simulated_clouds() -> Iterator[dict[str, SimulatedCloud]]:
    """The clouds at real time, on a loop of their own in a thread, so that a test may block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = []
    try:
        clouds = {}
        for name, config in WORLDS.items():
            made = CloudConfig(mfa="explicit" if name == "locked" else None, journal_entries=100)
            world = World(calm(config))
            one = asyncio.run_coroutine_threadsafe(start_cloud(world, made), loop).result()
            running.append(one)
            clouds[name] = SimulatedCloud(one.url)
        yield clouds
    finally:
        for one in running:
            asyncio.run_coroutine_threadsafe(one.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def calm(config: WorldConfig) -> WorldConfig:
    """A world in which nothing goes wrong by itself."""
    return WorldConfig(**{**vars(config), **CALM})


@contextmanager
def started_account(name: str, cloud: SimulatedCloud, folder: Path) -> Iterator[str]:
    """An exporter of one account with the default intervals on the faster clock; its address."""
    settings = {
        "NAME": name,
        "EMAIL": EMAIL,
        "PASSWORD": PASSWORD,
        "CLOUD_BASE_URL": cloud.url,
        "CLOUD_ENTREZ_URL": cloud.url,
        "POLL_INTERVAL": hurried("30s", FACTOR),
        "POLL_IDLE_INTERVAL": hurried("1m", FACTOR),
        "POLL_STALE_AFTER": hurried(STALE_AFTER, FACTOR),
        "POLL_MAX_REQUESTS_PER_HOUR": "360000",
        "WEB_LISTEN_ADDRESS": "127.0.0.1:0",
        "STATE_PATH": str(folder / "state"),
        "SITES": ",".join(HOME_SITES) if name == "home" else "",
    } | SLOW
    environment = {f"ENPHASE_EV_{key}": value for key, value in settings.items()}
    with started("exporter", [EXPORTER, "run"], folder, environment) as program:
        yield program.said(r"msg=listening url=(\S+)")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("alerts")
    with ExitStack() as stack:
        clouds = stack.enter_context(simulated_clouds())
        webhook = stack.enter_context(listening_webhook())
        alertmanager = stack.enter_context(started_alertmanager(folder / "alertmanager", webhook.url))
        urls = [
            stack.enter_context(started_account(name, cloud, folder / name)) for name, cloud in clouds.items()
        ]
        prometheus = stack.enter_context(started_alerting(folder, urls, alertmanager))
        eventually(
            "all chargers that can be seen are",
            lambda: prometheus.value("sum(enphase_ev_chargers)") == FLEET_CHARGERS + len(HOME_SITES),
            within_seconds=30,
        )
        yield Scene(clouds, prometheus, alertmanager, webhook)


def clear_faults(cloud: SimulatedCloud) -> None:
    assert fetch(f"{cloud.url}/_sim/faults", method="DELETE").status == 200


def wait(duration: str) -> float:
    """A duration of the rules as it lasts here, and twelve seconds for the programs between."""
    return seconds_of(duration) / FACTOR + 12


def test_a_fault_reaches_a_person_with_name_and_runbook_and_resolves(scene: Scene) -> None:
    cloud = scene.clouds["home"]
    cloud.act(SERIAL, "fault")
    alert = scene.told("firing", wait("3m"), alertname="EnphaseEVChargerFaulted", serial=SERIAL)
    labels, annotations = alert["labels"], alert["annotations"]
    assert (labels["site_id"], labels["account"], labels["severity"]) == (SITE, "home", "critical")
    assert labels["name"] in annotations["description"]
    assert labels["site"] in annotations["description"]
    assert (REPOSITORY / annotations["runbook_url"]).is_file()
    assert annotations["dashboard_url"].endswith(f"?var-site={SITE}&var-charger={SERIAL}")
    cloud.act(SERIAL, "recover")
    scene.told("resolved", wait("10m"), alertname="EnphaseEVChargerFaulted", serial=SERIAL)
    assert {one["labels"]["serial"] for one in scene.webhook.told(alertname="EnphaseEVChargerFaulted")} == {
        SERIAL
    }


def test_a_charger_whose_own_reports_end_is_silent_while_the_cloud_is_fine(scene: Scene) -> None:
    cloud = scene.clouds["home"]
    long_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds")
    for endpoint, key in (("status", "lst_rpt_at"), ("summary", "lastReportedAt")):
        values = {key: long_ago.replace("+00:00", "Z[UTC]")}
        cloud.misbehave("fields", endpoint=endpoint, site=SITE, values=values)
    alert = scene.told("firing", wait("10m"), alertname="EnphaseEVChargerSilent", account="home")
    assert alert["labels"]["serial"] == SERIAL
    assert scene.firing(account="home") == {"EnphaseEVChargerSilent"}
    clear_faults(cloud)
    scene.told("resolved", wait("10m"), alertname="EnphaseEVChargerSilent", account="home")


def test_a_cloud_that_says_429_is_rate_limiting_and_not_down(scene: Scene) -> None:
    cloud = scene.clouds["home"]
    cloud.misbehave("status", endpoint="status", status=429, retry_after=RETRY_AFTER_SECONDS)
    scene.told("firing", wait("10m"), alertname="EnphaseEVRateLimited", account="home")
    assert scene.firing(account="home") == {"EnphaseEVRateLimited"}
    clear_faults(cloud)
    scene.told("resolved", wait("10m"), alertname="EnphaseEVRateLimited", account="home")
    # It lasted longer than an outage has to, and none was even suspected.
    assert scene.prometheus.query('ALERTS{alertname="EnphaseEVCloudDown", account="home"}[2m]') == []


def test_an_account_that_wants_a_one_time_code_calls_a_person_and_nothing_else(scene: Scene) -> None:
    alert = scene.told("firing", wait("3m"), alertname="EnphaseEVLoginNeedsPerson", account="locked")
    assert alert["labels"]["severity"] == "critical"
    assert scene.firing(account="locked") == {"EnphaseEVLoginNeedsPerson"}
    assert len(scene.webhook.told(account="locked")) == 1


def test_a_cloud_that_is_down_for_200_chargers_is_one_notification(scene: Scene) -> None:
    cloud = scene.clouds["fleet"]
    cloud.act(FLEET_SERIAL, "fault")
    scene.told("firing", wait("3m"), alertname="EnphaseEVChargerFaulted", account="fleet")
    before = len(scene.webhook.notifications)
    cloud.misbehave("html_outage", endpoint="*")
    scene.told("firing", wait("10m"), alertname="EnphaseEVCloudDown", account="fleet")
    eventually(
        "the chargers' series are gone",
        lambda: not scene.prometheus.query(FLEET_CHARGER_SERIES),
        within_seconds=wait(STALE_AFTER),
    )
    told = [one for one in scene.webhook.notifications[before:] if "fleet" in str(one["commonLabels"])]
    assert [(one["groupLabels"], len(one["alerts"])) for one in told] == [
        ({"alertname": "EnphaseEVCloudDown", "account": "fleet"}, 1)
    ]
    # Nothing else is on its way. The fault is neither forgotten nor told of: nobody knows whether it is over.
    suspected = {one.labels["alertname"] for one in scene.prometheus.query('ALERTS{account="fleet"}')}
    assert suspected == {"EnphaseEVCloudDown", "EnphaseEVChargerFaulted"}
    assert scene.firing(account="fleet") == suspected
    assert len(scene.alertmanager.inhibited("EnphaseEVChargerFaulted")) == 1
    clear_faults(cloud)
    cloud.act(FLEET_SERIAL, "recover")
    scene.told("resolved", wait("15m"), alertname="EnphaseEVCloudDown", account="fleet")
    scene.told("resolved", wait("15m"), alertname="EnphaseEVChargerFaulted", account="fleet")
    assert {one["labels"]["alertname"] for one in scene.webhook.told(account="fleet")} == {
        "EnphaseEVCloudDown",
        "EnphaseEVChargerFaulted",
    }


FLEET_CHARGER_SERIES = 'enphase_ev_charger_connected and on (site_id) enphase_ev_site_info{account="fleet"}'


def runbook_queries() -> Iterator[str]:
    for path in sorted((REPOSITORY / "docs" / "runbooks").iterdir()):
        for block in re.findall(r"^```promql\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            yield from (line.partition("#")[0].strip() for line in block.splitlines())


def test_prometheus_evaluates_every_rule_and_every_query_of_the_runbooks(scene: Scene) -> None:
    rules = [rule for group in scene.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    queries = list(runbook_queries())
    assert len(queries) > len(RULE_FILES)
    for query in queries:
        scene.prometheus.query(query)
