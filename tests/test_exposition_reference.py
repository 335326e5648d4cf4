"""The fast renderer against prometheus-client's own output of the same table, and against promtool."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector, CollectorRegistry

from exporter.exposition import Exposition, Format
from exporter.instruments import Instruments
from exporter.metrics import METRICS, Metric, samples
from exporter.model import Snapshot
from tests.worlds import SNAPSHOT, histories, large_world

GOLDEN = Path(__file__).parent / "golden"

Families = list[tuple[str, str, str, list[tuple[str, list[tuple[str, str]], str]]]]


class TableCollector(Collector):
    """The reference: the same table and snapshot as families of prometheus-client."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[MetricFamily]:
        return map(empty_family, METRICS)

    def collect(self) -> Iterator[MetricFamily]:
        for metric in METRICS:
            family = empty_family(metric)
            for item in metric.scope.objects(self._snapshot):
                for labels, value in samples(metric, item):
                    family.add_metric([*metric.scope.label_values(item), *labels], value)
            if family.samples:
                yield family


def empty_family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return family(metric.name, metric.help, labels=metric.scope.labels + metric.labels)


def reference(snapshot: Snapshot, form: Format) -> bytes:
    registry = CollectorRegistry()
    registry.register(TableCollector(snapshot))
    if form is Format.TEXT:
        return generate_text(registry)
    openmetrics: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]  # the library's gap
    return openmetrics


def families(body: bytes, form: Format) -> Families:
    """What an official parser reads; numbers as text, because NaN is not equal to itself."""
    parse = parse_text if form is Format.TEXT else parse_openmetrics
    return [
        (
            family.name,
            family.type,
            family.documentation,
            [(s.name, sorted(s.labels.items()), repr(float(s.value))) for s in family.samples],
        )
        for family in parse(body.decode())
    ]


@pytest.mark.parametrize(
    ("form", "file"), [(Format.TEXT, "exposition.txt"), (Format.OPENMETRICS, "exposition.om.txt")]
)
def test_a_fixed_world_is_exposed_as_in_the_golden_file(form: Format, file: str) -> None:
    assert Exposition().render_now(SNAPSHOT, form) == (GOLDEN / file).read_bytes()


@settings(max_examples=80, deadline=None)
@given(histories())
def test_every_scrape_of_any_history_says_what_prometheus_client_says(history: list[Snapshot]) -> None:
    exposition = Exposition()
    for snapshot in history:
        for form in Format:
            body = exposition.render_now(snapshot, form)
            assert families(body, form) == families(reference(snapshot, form), form)


def test_the_fixed_world_says_what_prometheus_client_says() -> None:
    for form in Format:
        body = Exposition().render_now(SNAPSHOT, form)
        assert families(body, form) == families(reference(SNAPSHOT, form), form)


def test_promtool_has_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with Debian's prometheus package"
    instruments = Instruments("1.2.3", "abc")
    instruments.request_ended("status", 0.3)
    instruments.scraped(2.0)
    world = replace(SNAPSHOT, sites=(*SNAPSHOT.sites, *large_world(1, 4).sites))
    body = Exposition().render_now(world, Format.TEXT, extra=instruments.exposition(openmetrics=False))
    check = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def test_the_strict_parser_accepts_everything_together() -> None:
    instruments = Instruments("1.2.3", "abc")
    instruments.request_ended("status", 0.3)
    extra = instruments.exposition(openmetrics=True)
    body = Exposition().render_now(SNAPSHOT, Format.OPENMETRICS, extra=extra)
    names = {name for name, *_ in families(body, Format.OPENMETRICS)}
    assert {"enphase_ev_polls", "enphase_ev_api_request_duration_seconds", "process_open_fds"} <= names
