"""One demo for all tests that only look at it, watched from its first second on."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.exporters import Demo, Scrape, started_demo
from tests.e2e.prometheus_server import Prometheus, shipped_config, started_prometheus


@dataclass
class WatchedDemo:
    """A demo and what its metrics showed, once a second, with the seconds since its start."""

    demo: Demo
    started_at: float
    scrapes: list[tuple[float, Scrape]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.over.wait(1.0):
            scrape = self.demo.scrape()
            self.scrapes.append((time.monotonic() - self.started_at, scrape))


@pytest.fixture(scope="session")
def watched_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedDemo]:
    """The demo as a user starts it, but on free ports."""
    started_at = time.monotonic()
    with started_demo(tmp_path_factory.mktemp("demo")) as demo:
        watched = WatchedDemo(demo, started_at)
        watcher = threading.Thread(target=watched.watch)
        watcher.start()
        yield watched
        watched.over.set()
        watcher.join()


@pytest.fixture(scope="session")
def prometheus(watched_demo: WatchedDemo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with the shipped config that scrapes the demo every 5 s."""
    config = shipped_config(watched_demo.demo.url, 5)
    with started_prometheus(tmp_path_factory.mktemp("prometheus"), config) as running:
        yield running


@pytest.fixture(scope="session")
def prometheus_by_site(
    watched_demo: WatchedDemo, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """The same with the config's example for many sites switched on."""
    config = shipped_config(watched_demo.demo.url, 5, with_example=True)
    with started_prometheus(tmp_path_factory.mktemp("prometheus_by_site"), config) as running:
        yield running
