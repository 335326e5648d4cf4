"""The page for people in a real browser: each state, on a phone and on a desk, light and dark."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.axe import violations
from tests.e2e.browser import DESKTOP, PHONE, Browser, started_browser
from tests.e2e.conftest import WatchedDemo
from tests.e2e.page_server import served_pages
from tests.e2e.programs import eventually, fetch
from tests.page_worlds import HOSTILE_NAME, LONG_NAME, RIGHT_TO_LEFT_NAME, VIEWS

pytestmark = pytest.mark.e2e

# axe-core allows no page to load itself again. This one can be held still, and is checked whole when it is.
HELD_STILL = ("meta-refresh",)


@dataclass
class Screen:
    """A browser with the width of one kind of screen."""

    browser: Browser
    width: int

    def show(self, url: str, scheme: str) -> None:
        """Open a page by somebody who prefers light or dark, and look at no requests but its own."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        params = {"features": features}
        self.browser.ask("goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params=params)
        self.browser.requested()
        self.browser.open(url)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_pages(VIEWS) as address:
        yield address


@pytest.fixture(scope="module", params=[PHONE, DESKTOP], ids=["phone", "desk"])
def screen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    with started_browser(tmp_path_factory.mktemp("browser"), request.param) as browser:
        yield Screen(browser, request.param["width"])


@pytest.mark.parametrize("name", VIEWS)
def test_a_page_fits_its_screen_stays_on_its_host_and_can_be_read_by_all(
    screen: Screen, url: str, name: str, tmp_path: Path
) -> None:
    for scheme in ("light", "dark"):
        screen.show(f"{url}/{name}/", scheme)
        browser = screen.browser
        browser.screenshot(tmp_path / f"{name}-{screen.width}-{scheme}.png")  # to look at
        assert browser.console() == []
        assert {urlsplit(one).netloc for one in browser.requested()} == {urlsplit(url).netloc}
        assert browser.run("return innerWidth") == screen.width
        assert browser.run("return document.documentElement.scrollWidth") <= screen.width
        assert clipped(browser) == []
        assert browser.run("return matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
        assert is_dark(browser) == (scheme == "dark")
        assert violations(browser, without=HELD_STILL) == []


def clipped(browser: Browser) -> list[str]:
    """Texts that reach out of their card or table."""
    found: list[str] = browser.run(
        "return [...document.querySelectorAll('.card, .trouble, .sessions, .command')]"
        ".filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.innerText.slice(0, 60))"
    )
    return found


def is_dark(browser: Browser) -> bool:
    color: str = browser.run("return getComputedStyle(document.body).backgroundColor")
    return int(color.removeprefix("rgb(").split(",")[0]) < 128


def test_a_page_held_still_breaks_no_rule_at_all(screen: Screen, url: str) -> None:
    screen.show(f"{url}/faulted/?refresh=off", "light")
    assert violations(screen.browser) == []
    screen.show(f"{url}/faulted/", "light")
    assert [one.split(":")[0] for one in violations(screen.browser)] == ["meta-refresh"]


def test_hostile_names_are_shown_as_text_and_run_nothing(screen: Screen, url: str) -> None:
    screen.show(f"{url}/hostile/", "light")
    browser = screen.browser
    text = browser.run("return document.body.innerText")
    assert text.count(HOSTILE_NAME) >= 4
    assert "\ufffdgnp.exe\ufffd" in text
    assert LONG_NAME in text
    assert RIGHT_TO_LEFT_NAME in text
    assert browser.run("return document.querySelectorAll('script, img, b, u, s').length") == 0
    assert "taken" not in browser.run("return document.title")


def test_a_name_written_from_right_to_left_stays_within_itself(screen: Screen, url: str) -> None:
    screen.show(f"{url}/hostile/", "light")
    directions = screen.browser.run(
        "return [...document.querySelectorAll('h3 bdi')]"
        f".filter(name => name.innerText === '{RIGHT_TO_LEFT_NAME}')"
        ".map(name => [getComputedStyle(name).direction, getComputedStyle(name.parentElement).direction])"
    )
    assert directions == [["rtl", "ltr"]]


def test_the_cards_of_a_hundred_chargers_open_without_javascript(screen: Screen, url: str) -> None:
    screen.show(f"{url}/crowd/", "light")
    browser = screen.browser
    seen = "return document.querySelector('details.card .facts').checkVisibility()"
    assert browser.run("return document.querySelectorAll('details.card').length") == 100
    assert browser.run(seen) is False
    browser.run("document.querySelector('details.card summary').click()")
    assert browser.run(seen) is True
    assert browser.run(
        "return document.querySelector('details.card svg').getAttribute('aria-label')"
    ).startswith("Power. Last 24 hours: ")
    assert violations(browser, without=HELD_STILL) == []


def test_the_page_of_the_demo_is_alive(screen: Screen, watched_demo: WatchedDemo) -> None:
    eventually(
        "the demo has a past",
        lambda: "<svg" in fetch(f"{watched_demo.demo.url}/").text,
        within_seconds=30,
    )
    screen.show(f"{watched_demo.demo.url}/", "dark")
    browser = screen.browser
    assert browser.console() == []
    text = browser.run("return document.body.innerText")
    assert all(serial in text for serial in ("482500000017", "482500000018", "482500000019"))
    assert violations(browser, without=HELD_STILL) == []
    links = browser.run("return [...document.querySelectorAll('a')].map(link => link.href)")
    assert len(links) >= 6
    assert {link: fetch(link).status for link in links} == dict.fromkeys(links, 200)
