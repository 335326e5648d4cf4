"""The page for people in a real browser, on a phone and on a desk."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.browser import DESKTOP, PHONE, started_browser
from tests.e2e.exporters import Exporter, started_cloud, started_exporter
from tests.e2e.programs import eventually, fetch

pytestmark = pytest.mark.e2e

HOSTILE_NAME = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>&amp;"


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """An exporter whose fourth charger has a name that is also HTML."""
    folder = tmp_path_factory.mktemp("page")
    with started_cloud(folder) as cloud:
        changes = {"sn": "482500000099", "name": HOSTILE_NAME}
        cloud.misbehave("duplicate_charger", endpoint="status", site="1234567", changes=changes)
        with started_exporter(folder, cloud, interval="1s") as running:
            eventually("four chargers", lambda: chargers(running) == 4, within_seconds=10)
            yield running


def chargers(exporter: Exporter) -> float:
    return exporter.scrape().total("enphase_ev_chargers")


@pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=["phone", "desk"])
def test_the_page_fits_the_screen_and_stays_on_its_host(
    exporter: Exporter, tmp_path: Path, screen: dict[str, int]
) -> None:
    with started_browser(tmp_path, screen) as browser:
        browser.open(f"{exporter.url}/")
        browser.screenshot(tmp_path / "page.png")
        assert browser.console() == []
        assert {urlsplit(url).netloc for url in browser.requested()} == {urlsplit(exporter.url).netloc}
        assert browser.run("return innerWidth") == screen["width"]
        assert browser.run("return document.documentElement.scrollWidth") <= screen["width"]
        text = browser.run("return document.body.innerText")
        assert all(serial in text for serial in ("482500000017", "482500000018", "482500000019"))
        assert HOSTILE_NAME in text
        assert browser.run("return document.title") != "taken"
        assert browser.run("return document.querySelectorAll('script, img').length") == 0


def test_every_link_of_the_page_leads_somewhere(exporter: Exporter, tmp_path: Path) -> None:
    with started_browser(tmp_path, DESKTOP) as browser:
        browser.open(f"{exporter.url}/")
        links = browser.run("return [...document.querySelectorAll('a')].map(link => link.href)")
        assert len(links) >= 4
        assert {link: fetch(link).status for link in links} == dict.fromkeys(links, 200)
