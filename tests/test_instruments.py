"""The exporter's own instruments, read back from their exposition by prometheus-client's parsers."""

import gc

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.instruments import PROBLEM_ENDPOINTS, PROBLEMS, Instruments


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


def test_two_sets_of_instruments_share_nothing(instruments: Instruments) -> None:
    other = Instruments("1.2.3")
    instruments.payload_problem("status", "bad_type")
    key = (("endpoint", "status"), ("problem", "bad_type"))
    assert values(other.exposition(openmetrics=False))["enphase_ev_payload_problems_total", key] == 0.0
