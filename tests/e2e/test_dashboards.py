"""The dashboards' queries asked of a real Prometheus that has watched a demo, and their panels drawn."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard_queries import FILES, DashboardQuery, panels, queries
from tests.e2e.browser import started_browser
from tests.e2e.exporters import Demo, started_demo
from tests.e2e.panel_data import View
from tests.e2e.panel_picture import WIDTH, height_of, page
from tests.e2e.programs import eventually, path_of
from tests.e2e.prometheus_server import Prometheus, shipped_config, started_prometheus

pytestmark = pytest.mark.e2e

# A longer watch makes better pictures; what is tested needs no more than this.
WATCHED_SECONDS = float(os.environ.get("DASHBOARD_WATCH_SECONDS", "75"))
PICTURES = os.environ.get("DASHBOARD_PICTURES")
EMPTY_IN_A_DEMO = {
    "exporter / Logins blocked until / A": "the demo's logins are free",
    "exporter / Commands in the time shown / A": "control is off in the demo",
    "exporter / Commands lately / A": "control is off in the demo",
    "charger / annotation Firmware change": "no charger of the demo is updated",
    "fleet / annotation Firmware change": "no charger of the demo is updated",
}
EMPTY_PANELS = {name.split(" / ")[1] for name in EMPTY_IN_A_DEMO}
# There or not, as the demo's life goes.
NOW_AND_THEN = {
    "charger / Current or last session / D": "only while no car is there",
    "charger / Chargers / E": "a reason is given only while a charger is held back",
}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    """Some hours of a demo in which a charger fails and the cloud limits the rate once."""
    folder = tmp_path_factory.mktemp("dashboards")
    with (
        started_demo(folder / "demo") as demo,
        started_prometheus(folder / "prometheus", shipped_config(demo.url, 1)) as prometheus,
    ):
        eventually("a scrape", lambda: prometheus.has_scraped("enphase-ev", 1), within_seconds=20)
        start = time.time()
        stir_up(demo, prometheus)
        yield View(prometheus, start, time.time(), max(WATCHED_SECONDS / 150, 1.0))


def stir_up(demo: Demo, prometheus: Prometheus) -> None:
    """Troubles in the last part of the time, so that there is something to see."""
    site, *_ = demo.cloud.world()["sites"]
    first, second, *_, last = (charger["serial"] for charger in demo.cloud.world()["chargers"])
    wait_until_scraped(prometheus, WATCHED_SECONDS * 0.4)
    demo.cloud.act(first, "come_back", "recover", "unplug", "report")
    wait_until_scraped(prometheus, WATCHED_SECONDS * 0.5)
    demo.cloud.act(first, "plug", "start", "report")
    demo.cloud.misbehave(
        "status", endpoint="status", site=site["site_id"], times=1, status=429, retry_after=2
    )
    wait_until_scraped(prometheus, WATCHED_SECONDS - 6)
    demo.cloud.act(second, "come_back", "recover", "unplug", "report")
    demo.cloud.act(last, "come_back", "recover", "fault", "report")
    wait_until_scraped(prometheus, WATCHED_SECONDS)


def wait_until_scraped(prometheus: Prometheus, times: float) -> None:
    eventually(
        f"{times:g} scrapes", lambda: prometheus.has_scraped("enphase-ev", int(times)), within_seconds=600
    )


@pytest.mark.parametrize("query", [pytest.param(query, id=query.name) for query in queries()])
def test_a_query_of_a_dashboard_returns_data(view: View, query: DashboardQuery) -> None:
    found = view.answer(query)
    if query.name not in NOW_AND_THEN:
        assert bool(found) == (query.name not in EMPTY_IN_A_DEMO)
    assert all(one.samples for one in found)


def test_every_reason_for_an_empty_panel_names_a_query() -> None:
    assert EMPTY_IN_A_DEMO.keys() | NOW_AND_THEN.keys() <= {query.name for query in queries()}


def test_promtool_reads_every_query(view: View, tmp_path: Path) -> None:
    """As a rule file, for its parser; with the variables filled in."""
    rules = [f"  - record: a:query\n    expr: {json.dumps(view.filled(query))}\n" for query in queries()]
    path = tmp_path / "rules.yml"
    path.write_text("groups:\n- name: queries\n  rules:\n" + "".join(rules))
    said = subprocess.run(
        [path_of("promtool"), "check", "rules", "--lint=none", path], capture_output=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert f"{len(rules)} rules found" in said.stdout.decode()


@pytest.mark.parametrize("file", [path.name for path in FILES])
def test_a_dashboard_can_be_drawn_for_the_eye(view: View, tmp_path: Path, file: str) -> None:
    """Into the folder named by DASHBOARD_PICTURES, else into the test's own."""
    drawn = tmp_path / f"{file}.html"
    drawn.write_text(page(view, file), encoding="utf-8")
    pictures = Path(PICTURES) if PICTURES else tmp_path
    pictures.mkdir(parents=True, exist_ok=True)
    screen = {"width": WIDTH, "height": height_of(file), "pixelRatio": 1}
    with started_browser(tmp_path, screen) as browser:
        browser.open(drawn.as_uri())
        browser.screenshot(pictures / f"{file.removesuffix('.json')}.png")
        assert browser.console() == []
        assert browser.run("return document.querySelectorAll('.panel').length") == len(panels(file))
        empty = browser.run(
            "return [...document.querySelectorAll('.empty')].map(e => e.parentElement.innerText)"
        )
        assert all(title.split("\n")[0] in EMPTY_PANELS for title in empty)
