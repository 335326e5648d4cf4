"""What the exporter counts about itself: prometheus-client instruments on a registry of our own.

The library renders letter by letter, 5 to 10 us a series: three quarters of what a home's exporter would do
all day. So a part is rendered again only after it changed, by a formatter of its families that tests hold to
the library's, and the histograms, which change at each request and each scrape, are our own.
"""

import gc
import os
import platform
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.utils import floatToGoString


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
CONTROL_COMMANDS = Instrument(
    "enphase_ev_control_commands_total",
    "counter",
    ("command", "result"),
    "Commands given through the control API, only while it is on: accepted, unconfirmed (accepted, and not "
    "seen in status in time), noop, failed, refused (by the exporter; nothing was sent).",
)
INSTRUMENTS = (SCRAPE_DATA_AGE, PAYLOAD_PROBLEMS, REQUEST_DURATION, CONTROL_COMMANDS, BUILD_INFO)

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
_PROCESS_FAMILIES = 6
_GC_KEYS = ("collected", "uncollectable", "collections")


class Instruments:
    """The exporter's own instruments, `process_*` and `python_*`.

    `revision` is the source revision of the build, empty when unknown; `clock` is monotonic.
    """

    def __init__(
        self, version: str, revision: str = "", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._process = _Process(clock)
        self._build = _build_part(version, revision)
        self._request_duration = _Histogram(REQUEST_DURATION, _DURATION_BUCKETS)
        self._scrape_data_age = _Histogram(SCRAPE_DATA_AGE, _AGE_BUCKETS)
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
        self._commands = _Part()
        self._control_commands: Counter | None = None

    def offer_control(self, commands: Iterable[str], results: Sequence[str]) -> None:
        """Count commands from now on, each kind and result from 0."""
        if self._control_commands is None:
            about = CONTROL_COMMANDS
            registry = self._commands.registry
            self._control_commands = Counter(about.name, about.help, about.labels, registry=registry)
            for command in commands:
                for result in results:
                    self._control_commands.labels(command, result)
            self._commands.changed()

    def command_ended(self, command: str, result: str) -> None:
        """One command has been answered."""
        if self._control_commands is not None:
            self._control_commands.labels(command, result).inc()
            self._commands.changed()

    def request_ended(self, endpoint: str, seconds: float) -> None:
        """One exchange with the cloud is over, whatever its outcome."""
        self._request_duration.observe(seconds, endpoint)

    def payload_problem(self, endpoint: str, kind: str) -> None:
        """One thing in an answer was not as known."""
        self._payload_problems.labels(endpoint, kind).inc()
        self._problems.changed()

    def scraped(self, data_age_seconds: float) -> None:
        """One scrape is being answered with data of this age."""
        self._scrape_data_age.observe(data_age_seconds)

    def exposition(self, openmetrics: bool) -> bytes:
        """All of it in one format, without OpenMetrics' closing line."""
        parts = (self._build, self._process, self._problems, self._commands)
        texts = [part.exposition(openmetrics) for part in parts]
        texts += (self._request_duration.exposition(), self._scrape_data_age.exposition())
        return "".join(texts).encode()


class _Part:
    """A registry and its last rendering in each format."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._rendered: dict[bool, str] = {}

    def changed(self) -> None:
        self._rendered.clear()

    def exposition(self, openmetrics: bool) -> str:
        rendered = self._rendered.get(openmetrics)
        if rendered is None:
            families = self.registry.collect()
            rendered = "".join(_family_text(family, openmetrics) for family in families)
            self._rendered[openmetrics] = rendered
        return rendered


class _Process:
    """`process_*` and `python_gc_*`: the library's names and words around numbers that are read here.

    Its collectors open three files and build nine families at each reading, which costs more than all the
    rest of a scrape, so they are asked once. Where it says nothing of a process, neither does this.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._read_at = clock()
        process, collector = CollectorRegistry(), CollectorRegistry()
        ProcessCollector(registry=process)
        GCCollector(registry=collector)
        families = list(process.collect())
        self._has_process = len(families) == _PROCESS_FAMILIES
        families = [*(families if self._has_process else ()), *collector.collect()]
        samples = {sample.name: sample.value for family in families for sample in family.samples}
        self._start_seconds = samples.get("process_start_time_seconds", 0.0)
        self._max_files = samples.get("process_max_fds", 0.0)
        self._numbers: tuple[str, ...] = ()
        self._read()
        self._frames = {
            openmetrics: "".join(_family_text(family, openmetrics, "%s") for family in families)
            for openmetrics in (False, True)
        }

    def exposition(self, openmetrics: bool) -> str:
        now = self._clock()
        if now - self._read_at >= _PROCESS_FRESH_SECONDS:
            self._read_at = now
            with suppress(OSError):  # out of file descriptors: the numbers stay, and the scrape is answered
                self._read()
        return self._frames[openmetrics] % self._numbers

    def _read(self) -> None:
        generations = gc.get_stats()
        numbers = [generation[key] for key in _GC_KEYS for generation in generations]
        process = self._process_numbers() if self._has_process else ()
        self._numbers = tuple(map(_number, (*process, *numbers)))

    def _process_numbers(self) -> tuple[float, ...]:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        cpu_seconds = (float(fields[11]) + float(fields[12])) / os.sysconf("SC_CLK_TCK")
        rss_bytes = float(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        files = sum(1 for _ in Path("/proc/self/fd").iterdir())
        return float(fields[20]), rss_bytes, self._start_seconds, cpu_seconds, files, self._max_files


class _Histogram:
    """A histogram of which only the label sets that changed are rendered again; the same in both formats."""

    def __init__(self, instrument: Instrument, bounds: Sequence[float]) -> None:
        self._instrument = instrument
        self._bounds = bounds
        self._header = _header(instrument.name, instrument.kind, instrument.help, False)
        self._children: dict[tuple[str, ...], _Buckets] = {}
        if not instrument.labels:
            self._add(())

    def observe(self, value: float, *labels: str) -> None:
        buckets = self._children.get(labels) or self._add(labels)
        buckets.counts[bisect_left(self._bounds, value)] += 1
        buckets.total += value
        buckets.text = ""

    def _add(self, labels: tuple[str, ...]) -> "_Buckets":
        named = dict(zip(self._instrument.labels, labels, strict=True))
        bounds = [*map(_number, self._bounds), "+Inf"]
        prefixes = [
            *(f"{self._instrument.name}_bucket{_label_text({**named, 'le': bound})} " for bound in bounds),
            *(f"{self._instrument.name}_{word}{_label_text(named)} " for word in ("count", "sum")),
        ]
        buckets = self._children[labels] = _Buckets(prefixes, [0] * len(bounds))
        return buckets

    def exposition(self) -> str:
        return self._header + "".join(buckets.text or buckets.render() for buckets in self._children.values())


@dataclass(slots=True)
class _Buckets:
    """One label set of a histogram: its line beginnings, counts of each bucket alone, and sum."""

    prefixes: list[str]
    counts: list[int]
    total: float = 0.0
    text: str = ""  # empty: to be rendered

    def render(self) -> str:
        below = list(accumulate(self.counts))
        numbers = map(_number, (*below, below[-1], self.total))
        self.text = "".join(f"{prefix}{n}\n" for prefix, n in zip(self.prefixes, numbers, strict=True))
        return self.text


def _family_text(family: Metric, openmetrics: bool, number: str = "") -> str:
    """A counter or gauge, without its `_created` samples, which tell nothing new; `number` stands for all."""
    header = _header(family.name, family.type, family.documentation, openmetrics)
    return header + "".join(
        f"{sample.name}{_label_text(sample.labels)} {number or _number(sample.value)}\n"
        for sample in family.samples
        if not sample.name.endswith("_created")
    )


@cache
def _header(name: str, kind: str, help_text: str, openmetrics: bool) -> str:
    if kind == "counter" and not openmetrics:
        name += "_total"
    escaped = help_text.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        escaped = escaped.replace('"', r"\"")
    return f"# HELP {name} {escaped}\n# TYPE {name} {kind}\n"


def _label_text(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # the library's own gap
    return text


def _build_part(version: str, revision: str) -> _Part:
    """What never changes."""
    part = _Part()
    build_info = Gauge(BUILD_INFO.name, BUILD_INFO.help, BUILD_INFO.labels, registry=part.registry)
    build_info.labels(version, revision, platform.python_version()).set(1)
    PlatformCollector(registry=part.registry)
    return part
