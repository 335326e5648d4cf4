"""Fleets of any size as snapshots, and the same series as labelled objects of prometheus-client."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from exporter.instruments import PROBLEM_ENDPOINTS, PROBLEMS, Instruments
from exporter.metrics import METRICS, Metric, Shape
from exporter.model import (
    Account,
    ChargeMode,
    Charger,
    ConnectorStatus,
    EndpointTimes,
    NetworkAddress,
    Site,
    Snapshot,
)

SERIES_PER_CHARGER = 48  # two chargers a site, its site series included
STATUSES = tuple(ConnectorStatus)
MODES = tuple(ChargeMode)


def fleet(series: int, step: int = 0) -> Snapshot:
    """About `series` series, two chargers a site; from step to step every number, flag and state differs."""
    sites = max(1, series // SERIES_PER_CHARGER // 2)
    return Snapshot(
        sites=tuple(_site(n, step) for n in range(sites)),
        accounts=(Account("home", auth_up=True, requests={("status", "200"): step}),),
        scrape_interval_seconds=15.0,
    )


def partly(before: Snapshot, after: Snapshot, share: float) -> Snapshot:
    """`before` with every so manieth site as in `after`."""
    pairs = enumerate(zip(before.sites, after.sites, strict=True))
    sites = tuple(new if int(n * share) != int((n + 1) * share) else old for n, (old, new) in pairs)
    return replace(after, sites=sites)


def polled(before: Snapshot, after: Snapshot) -> Snapshot:
    """`before` after one poll: all chargers reported, 30 % changed state, nobody changed a fuse."""
    mixed = partly(before, after, 0.3)
    return replace(mixed, sites=tuple(map(_polled_site, before.sites, mixed.sites, after.sites)))


def polls(first: Snapshot, count: int = 4) -> list[Snapshot]:
    """A cycle of snapshots, each one poll after the one before."""
    series = len(first.sites) * 2 * SERIES_PER_CHARGER
    cycle_of = [first]
    for step in range(1, count):
        cycle_of.append(polled(cycle_of[-1], fleet(series, step)))
    return cycle_of


def _polled_site(before: Site, mixed: Site, after: Site) -> Site:
    chargers = zip(before.chargers, mixed.chargers, after.chargers, strict=True)
    return replace(after, chargers=tuple(_polled_charger(*trio) for trio in chargers))


def _polled_charger(before: Charger, mixed: Charger, after: Charger) -> Charger:
    return replace(
        before,
        charging=mixed.charging,
        plugged_in=mixed.plugged_in,
        connector_status=mixed.connector_status,
        running_charge_mode=mixed.running_charge_mode,
        charging_level_amperes=mixed.charging_level_amperes,
        session_start_seconds=mixed.session_start_seconds,
        session_plugged_in_seconds=mixed.session_plugged_in_seconds,
        session_energy_kwh=after.session_energy_kwh,
        last_reported_seconds=after.last_reported_seconds,
    )


def _site(number: int, step: int) -> Site:
    site_id = str(4100000 + number)
    now = 1760000000.0 + 30 * step + number % 30
    return Site(
        site_id,
        "home",
        name=f"Site {number}",
        up=bool(step % 2),
        chargers=(_charger(site_id, 2 * number, step, now), _charger(site_id, 2 * number + 1, step, now)),
        status_timestamp_seconds=now,
        status_received_monotonic=now,
        poll_interval_seconds=30.0 + step,
        endpoints=(EndpointTimes(site_id, "status", now, now), EndpointTimes(site_id, "summary", now, now)),
        polls={("success",): step, ("error",): step},
    )


def _charger(site_id: str, number: int, step: int, now: float) -> Charger:
    on = bool((number + step) % 2)
    return Charger(
        site_id,
        f"2024{number:08d}",
        name=f"Charger {number}",
        model="IQ-EVSE-60R",
        firmware_version="25.37.1.13",
        processor_board_version="2.0.713.0",
        connected=on,
        plugged_in=on,
        charging=on,
        faulted=not on,
        connector_status=STATUSES[(number + step) % len(STATUSES)],
        connector_status_reason="INSUFFICIENT_SOLAR",
        charging_level_amperes=6.0 + (number + step) % 34,
        min_amperes=6.0 + step,
        max_amperes=40.0 + step,
        rated_amperes=48.0 + step,
        operating_voltage_volts=230.0 + step,
        session_energy_kwh=round((number * 37 % 1000 + step) / 13, 3),
        session_start_seconds=now - 3600 - number % 1000,
        session_plugged_in_seconds=now - 3700 - number % 1000,
        session_plugged_out_seconds=now - 90000 - number % 1000,
        charge_mode=MODES[(number + step) % len(MODES)],
        running_charge_mode=MODES[(number + 2 * step) % len(MODES)],
        safe_limit_active=on,
        dlb_active=on,
        schedule_enabled=on,
        schedule_mode="custom",
        dlb_enabled=on,
        last_reported_seconds=now - number % 60,
        network=NetworkAddress("eth0", f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"),
    )


class Labelled:
    """The usual way: one labelled Gauge or Counter object for each series."""

    def __init__(self, metrics: Sequence[Metric] = METRICS) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own gap
        self.registry = CollectorRegistry()
        self._parents: list[tuple[Metric, Any]] = [
            (
                metric,
                (Counter if metric.kind == "counter" else Gauge)(
                    metric.name, metric.help, metric.scope.labels + metric.labels, registry=self.registry
                ),
            )
            for metric in metrics
        ]

    def show(self, snapshot: Snapshot) -> None:
        """Store a snapshot as an exporter would that keeps its values in the objects."""
        for metric, parent in self._parents:
            for item in metric.scope.objects(snapshot):
                _store(metric, parent, metric.scope.label_values(item), metric.read(item))

    def with_own_instruments(self) -> "Labelled":
        """Carry what a process exposes of itself, as ours does."""
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        Gauge("build_info", "Build.", ["version"], registry=self.registry).labels("0").set(1)
        Histogram("age_seconds", "Age.", registry=self.registry, buckets=range(1, 12)).observe(1)
        problems = Counter("problems", "Problems.", ["endpoint", "problem"], registry=self.registry)
        for endpoint in PROBLEM_ENDPOINTS:
            for problem in PROBLEMS:
                problems.labels(endpoint, problem)
        duration = Histogram(
            "duration_seconds", "Duration.", ["endpoint"], registry=self.registry, buckets=range(1, 10)
        )
        for endpoint in PROBLEM_ENDPOINTS:
            duration.labels(endpoint).observe(1)
        return self


def _store(metric: Metric, parent: Any, labels: tuple[str, ...], value: Any) -> None:
    if value is None:
        return
    match metric.shape:
        case Shape.NUMBER:
            (parent.labels(*labels) if labels else parent).set(value)
        case Shape.STATES:
            for state in metric.states:
                parent.labels(*labels, state.value).set(state is value)
        case Shape.INFO:
            parent.labels(*labels, *(text or "" for text in value)).set(1)
        case Shape.COUNTS:
            for key, count in value.items():
                child = parent.labels(*labels, *key)
                child.reset()
                child.inc(count)


def own_instruments() -> Instruments:
    """Instruments in which as much has happened as in `Labelled.with_own_instruments`."""
    instruments = Instruments("0")
    for endpoint in PROBLEM_ENDPOINTS:
        instruments.request_ended(endpoint, 1.0)
    return instruments


def source_of(snapshots: Sequence[Snapshot]) -> Callable[[], Snapshot]:
    """A poller that has something new at every scrape."""
    return cycle(snapshots).__next__
