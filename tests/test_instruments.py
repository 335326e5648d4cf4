"""The exporter's own instruments, read back from their exposition by prometheus-client's parsers."""

import gc
import time

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.instruments import (
    PAYLOAD_PROBLEMS,
    PROBLEM_ENDPOINTS,
    PROBLEMS,
    REQUEST_DURATION,
    SCRAPE_DATA_AGE,
    Instrument,
    Instruments,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def values(exposition: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = parse_text(exposition.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def instruments(clock: Clock) -> Instruments:
    return Instruments("1.2.3", "abc", clock=clock)


def test_known_payload_problems_start_at_zero(instruments: Instruments) -> None:
    found = values(instruments.exposition(openmetrics=False))
    counts = {labels: value for (name, labels), value in found.items() if "payload_problems" in name}
    assert counts == {
        (("endpoint", endpoint), ("problem", problem)): 0.0
        for endpoint in PROBLEM_ENDPOINTS
        for problem in PROBLEMS
    }


def test_a_payload_problem_counts_after_it_was_exposed_before(instruments: Instruments) -> None:
    instruments.exposition(openmetrics=False)
    instruments.payload_problem("status", "bad_type")
    found = values(instruments.exposition(openmetrics=False))
    key = (("endpoint", "status"), ("problem", "bad_type"))
    assert found["enphase_ev_payload_problems_total", key] == 1.0


def test_commands_count_from_zero_once_control_is_offered_and_are_absent_before(
    instruments: Instruments,
) -> None:
    assert b"enphase_ev_control_commands_total" not in instruments.exposition(openmetrics=False)
    instruments.command_ended("stop", "accepted")
    instruments.offer_control(("start", "stop"), ("accepted", "failed"))
    instruments.command_ended("stop", "failed")
    instruments.offer_control(("start", "stop"), ("accepted", "failed"))
    found = values(instruments.exposition(openmetrics=False))
    counts = {labels: value for (name, labels), value in found.items() if "control_commands" in name}
    assert counts == {
        (("command", command), ("result", result)): float((command, result) == ("stop", "failed"))
        for command in ("start", "stop")
        for result in ("accepted", "failed")
    }


def test_a_request_is_in_the_histogram_of_its_endpoint(instruments: Instruments) -> None:
    instruments.exposition(openmetrics=False)
    instruments.request_ended("status", 0.3)
    found = values(instruments.exposition(openmetrics=False))
    name = "enphase_ev_api_request_duration_seconds"
    assert found[f"{name}_count", (("endpoint", "status"),)] == 1.0
    assert found[f"{name}_sum", (("endpoint", "status"),)] == 0.3
    assert found[f"{name}_bucket", (("endpoint", "status"), ("le", "0.25"))] == 0.0
    assert found[f"{name}_bucket", (("endpoint", "status"), ("le", "0.5"))] == 1.0


def test_the_age_of_the_data_is_counted_at_each_scrape(instruments: Instruments) -> None:
    for age_seconds in (0.4, 7.0):
        instruments.scraped(age_seconds)
        found = values(instruments.exposition(openmetrics=False))
    assert found["enphase_ev_scrape_data_age_seconds_count", ()] == 2.0
    assert found["enphase_ev_scrape_data_age_seconds_sum", ()] == 7.4


def test_build_info_has_version_revision_and_python(instruments: Instruments) -> None:
    found = values(instruments.exposition(openmetrics=False))
    ((labels, value),) = [(dict(key), value) for (name, key), value in found.items() if "build_info" in name]
    assert value == 1.0
    assert labels["version"] == "1.2.3"
    assert labels["revision"] == "abc"
    assert labels["python_version"].startswith("3.")


def test_the_process_and_python_are_described(instruments: Instruments) -> None:
    names = {name for name, _ in values(instruments.exposition(openmetrics=False))}
    assert {"process_resident_memory_bytes", "python_info", "python_gc_collections_total"} <= names


def test_the_process_is_read_at_most_once_a_second(clock: Clock, instruments: Instruments) -> None:
    collections = "python_gc_collections_total", (("generation", "2"),)
    before = values(instruments.exposition(openmetrics=False))[collections]
    gc.collect()
    clock.now += 0.9
    assert values(instruments.exposition(openmetrics=False))[collections] == before
    clock.now += 0.1
    assert values(instruments.exposition(openmetrics=False))[collections] > before


@pytest.mark.parametrize("openmetrics", [False, True])
def test_no_created_series_and_no_closing_line(instruments: Instruments, openmetrics: bool) -> None:
    instruments.request_ended("status", 1.0)
    exposition = instruments.exposition(openmetrics)
    assert b"_created" not in exposition
    assert b"# EOF" not in exposition


def test_both_formats_tell_the_same(instruments: Instruments) -> None:
    instruments.request_ended("status", 0.3)
    instruments.scraped(2.0)
    openmetrics = instruments.exposition(openmetrics=True).decode() + "# EOF\n"
    strict = parse_openmetrics(openmetrics)  # type: ignore[no-untyped-call]  # the library's own gap
    found = {(s.name, tuple(sorted(s.labels.items()))): s.value for family in strict for s in family.samples}
    text = values(instruments.exposition(openmetrics=False))
    assert found.keys() == text.keys()
    assert all(text[key] == value for key, value in found.items() if key[0].startswith("enphase_ev_"))


def by_the_library(
    openmetrics: bool, durations: dict[str, list[float]], ages: list[float], problems: list[str]
) -> list[str]:
    """The same instruments as prometheus-client renders them, less the `_created` lines."""
    registry = CollectorRegistry()
    counter = Counter(
        PAYLOAD_PROBLEMS.name, PAYLOAD_PROBLEMS.help, PAYLOAD_PROBLEMS.labels, registry=registry
    )
    for endpoint in PROBLEM_ENDPOINTS:
        for problem in PROBLEMS:
            counter.labels(endpoint, problem)
    for problem in problems:
        counter.labels("status", problem).inc()
    bounds = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
    requests = Histogram(
        REQUEST_DURATION.name,
        REQUEST_DURATION.help,
        REQUEST_DURATION.labels,
        buckets=bounds,
        registry=registry,
    )
    for endpoint, seconds in durations.items():
        for each in seconds:
            requests.labels(endpoint).observe(each)
    age_bounds = (0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300, 600)
    scraped = Histogram(SCRAPE_DATA_AGE.name, SCRAPE_DATA_AGE.help, buckets=age_bounds, registry=registry)
    for age in ages:
        scraped.observe(age)
    if openmetrics:
        rendered: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    else:
        rendered = generate_text(registry)
    lines = rendered.decode().removesuffix("# EOF\n").splitlines()
    return [line for line in lines if "_created" not in line]


def of(instrument: Instrument, exposition: bytes) -> list[str]:
    name = instrument.name.removesuffix("_total")
    return [line for line in exposition.decode().splitlines() if name in line]


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_instruments_are_rendered_as_the_library_renders_them(
    instruments: Instruments, openmetrics: bool
) -> None:
    odd = 'a"b\\c\nd'
    durations = {"status": [0.05, 0.3, 29.9999, 30.0, 31.5], odd: [1e-9, 12_345_678.9], "summary": [0.25] * 3}
    ages, problems = [0.0, 0.5, 7.25, 1e6, 1e12], ["bad_type", "bad_type", odd]
    for endpoint, seconds in durations.items():
        for each in seconds:
            instruments.request_ended(endpoint, each)
            instruments.exposition(openmetrics)  # what was rendered before must not stay
    for age in ages:
        instruments.scraped(age)
    for problem in problems:
        instruments.payload_problem("status", problem)
    rendered = instruments.exposition(openmetrics)
    ours = [line for i in (PAYLOAD_PROBLEMS, REQUEST_DURATION, SCRAPE_DATA_AGE) for line in of(i, rendered)]
    assert ours == by_the_library(openmetrics, durations, ages, problems)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_process_and_python_are_rendered_as_the_library_renders_them(
    instruments: Instruments, openmetrics: bool
) -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    if openmetrics:
        expected: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    else:
        expected = generate_text(registry)
    ours = instruments.exposition(openmetrics).decode().splitlines()
    theirs = expected.decode().removesuffix("# EOF\n").splitlines()
    names = [line.partition(" ")[0] if line[0] != "#" else line for line in theirs]
    assert sorted(names) == sorted(
        line.partition(" ")[0] if line[0] != "#" else line for line in ours if "enphase_ev_" not in line
    )
    steady = ("process_start_time", "process_max_fds", "process_open_fds", "python_info")
    assert {line for line in theirs if line.startswith(steady)} == {
        line for line in ours if line.startswith(steady)
    }


def test_the_numbers_of_the_process_follow_it(clock: Clock, instruments: Instruments) -> None:
    held = bytearray(32 << 20)
    spent = time.process_time() + 0.05
    while time.process_time() < spent:
        held[:] = bytes(len(held))
    clock.now += 1.0
    found = values(instruments.exposition(openmetrics=False))
    expected = {
        sample.name: sample.value
        for family in ProcessCollector(registry=None).collect()
        for sample in family.samples
    }
    for name in (
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_cpu_seconds_total",
    ):
        assert found[name, ()] == pytest.approx(expected[name], rel=0.05)
    assert found["process_resident_memory_bytes", ()] > len(held)
    for generation, stats in enumerate(gc.get_stats()):
        key = "python_gc_objects_collected_total", (("generation", str(generation)),)
        assert found[key] == pytest.approx(stats["collected"], abs=1000)


def test_two_sets_of_instruments_share_nothing(instruments: Instruments) -> None:
    other = Instruments("1.2.3")
    instruments.payload_problem("status", "bad_type")
    key = (("endpoint", "status"), ("problem", "bad_type"))
    assert values(other.exposition(openmetrics=False))["enphase_ev_payload_problems_total", key] == 0.0
