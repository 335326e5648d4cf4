"""What the exporter counts about itself: prometheus-client instruments on a registry of our own.

Rendering them costs 5 to 10 us a series, so each part is rendered again only after it changed. The age of
the data at a scrape changes at every scrape and is therefore a part by itself.
"""

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Instrument:
    """Name, kind (the exposition's TYPE), labels and help of one instrument."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


SCRAPE_DATA_AGE = Instrument(
    "enphase_ev_scrape_data_age_seconds",
    "histogram",
    (),
    "Age of the newest status answer at the moment it was scraped, in seconds.",
)
PAYLOAD_PROBLEMS = Instrument(
    "enphase_ev_payload_problems_total",
    "counter",
    ("endpoint", "problem"),
    "Things in the cloud's answers that were not as known; the rest of the answer was used.",
)
REQUEST_DURATION = Instrument(
    "enphase_ev_api_request_duration_seconds",
    "histogram",
    ("endpoint",),
    "How long requests to the cloud took until the answer was read or given up on, in seconds.",
)
BUILD_INFO = Instrument(
    "enphase_ev_exporter_build_info",
    "gauge",
    ("version", "revision", "python_version"),
    "Version of the exporter and of the Python it runs on, always 1.",
)
INSTRUMENTS = (SCRAPE_DATA_AGE, PAYLOAD_PROBLEMS, REQUEST_DURATION, BUILD_INFO)

PROBLEM_ENDPOINTS = ("status", "summary", "charge_mode")
"""The endpoints whose answers are looked at field by field."""
PROBLEMS = (
    "unknown_value",
    "bad_type",
    "bad_time",
    "missing_serial",
    "duplicate_serial",
    "implausible_energy",
)

_AGE_BUCKETS = (0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300, 600)
_DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PROCESS_FRESH_SECONDS = 1.0


class Instruments:
    """The exporter's own instruments, `process_*` and `python_*`.

    `revision` is the source revision of the build, empty when unknown; `clock` is monotonic.
    """

    def __init__(
        self, version: str, revision: str = "", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._process_read_at = clock()
        self._process = _process_part(version, revision)
        self._requests = _Part()
        self._request_duration = Histogram(
            REQUEST_DURATION.name,
            REQUEST_DURATION.help,
            REQUEST_DURATION.labels,
            buckets=_DURATION_BUCKETS,
            registry=self._requests.registry,
        )
        self._problems = _Part()
        self._payload_problems = Counter(
            PAYLOAD_PROBLEMS.name,
            PAYLOAD_PROBLEMS.help,
            PAYLOAD_PROBLEMS.labels,
            registry=self._problems.registry,
        )
        for endpoint in PROBLEM_ENDPOINTS:
            for problem in PROBLEMS:
                self._payload_problems.labels(endpoint, problem)
        self._scrapes = _Part()
        self._scrape_data_age = Histogram(
            SCRAPE_DATA_AGE.name, SCRAPE_DATA_AGE.help, buckets=_AGE_BUCKETS, registry=self._scrapes.registry
        )

    def request_ended(self, endpoint: str, seconds: float) -> None:
        """One exchange with the cloud is over, whatever its outcome."""
        self._request_duration.labels(endpoint).observe(seconds)
        self._requests.changed()

    def payload_problem(self, endpoint: str, kind: str) -> None:
        """One thing in an answer was not as known."""
        self._payload_problems.labels(endpoint, kind).inc()
        self._problems.changed()

    def scraped(self, data_age_seconds: float) -> None:
        """One scrape is being answered with data of this age."""
        self._scrape_data_age.observe(data_age_seconds)
        self._scrapes.changed()

    def exposition(self, openmetrics: bool) -> bytes:
        """All of it in one format, without OpenMetrics' closing line."""
        now = self._clock()
        if now - self._process_read_at >= _PROCESS_FRESH_SECONDS:
            self._process_read_at = now
            self._process.changed()
        parts = (self._process, self._requests, self._problems, self._scrapes)
        return b"".join(part.exposition(openmetrics) for part in parts)


class _Part:
    """A registry and its last rendering in each format."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._rendered: dict[bool, bytes] = {}

    def changed(self) -> None:
        self._rendered.clear()

    def exposition(self, openmetrics: bool) -> bytes:
        rendered = self._rendered.get(openmetrics)
        if rendered is None:
            rendered = self._rendered[openmetrics] = _render(self.registry, openmetrics)
        return rendered


class _WithoutCreated(Collector):
    """A registry less the `_created` samples, which double the series of a histogram and tell nothing new."""

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            bare = Metric(family.name, family.documentation, family.type)
            bare.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield bare


def _render(registry: CollectorRegistry, openmetrics: bool) -> bytes:
    bare = _WithoutCreated(registry)
    if openmetrics:
        text: bytes = generate_openmetrics(bare)  # type: ignore[no-untyped-call]  # the library's own gap
        return text.removesuffix(b"# EOF\n")
    return generate_text(bare)


def _process_part(version: str, revision: str) -> _Part:
    part = _Part()
    build_info = Gauge(BUILD_INFO.name, BUILD_INFO.help, BUILD_INFO.labels, registry=part.registry)
    build_info.labels(version, revision, platform.python_version()).set(1)
    ProcessCollector(registry=part.registry)
    PlatformCollector(registry=part.registry)
    GCCollector(registry=part.registry)
    return part
