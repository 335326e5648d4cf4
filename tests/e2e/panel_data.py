"""Asks Prometheus what a dashboard asks, the way Grafana does: variables filled in, steps aligned."""

import re
from dataclasses import dataclass
from typing import Any

from tests.dashboard_queries import DashboardQuery
from tests.e2e.prometheus_server import Prometheus, Series

_ALL = ".+"
_TARIFF = "0.30"
_DAY_SECONDS = 86400.0
_WEEK_SECONDS = 7 * _DAY_SECONDS
_MIN_STEPS = {"1d": _DAY_SECONDS, "1w": _WEEK_SECONDS}
# What a panel looks back over when it has a time range of its own. Calendar periods are as long as a day: no
# demo lasts longer.
_RANGES = {
    "now/d": _DAY_SECONDS,
    "now/w": _DAY_SECONDS,
    "now/M": _DAY_SECONDS,
    "now/y": _DAY_SECONDS,
    "now-30d": 30 * _DAY_SECONDS,
    "now-26w": 26 * _WEEK_SECONDS,
}


@dataclass(frozen=True)
class View:
    """A dashboard's time range, in epoch seconds. `step_seconds` replaces the panels' own step of a minute.

    The demo's clock runs 240 times real time, so a minute of its life is a quarter of a second here.
    """

    prometheus: Prometheus
    start: float
    end: float
    step_seconds: float

    def answer(self, query: DashboardQuery) -> list[Series]:
        """The series that Grafana would show for one query."""
        if query.target.get("instant") or query.place.startswith("variable"):
            return self._now(self.filled(query))
        return self._over_time(query)

    def filled(self, query: DashboardQuery) -> str:
        """The expression as Prometheus gets it."""
        start, step = self.range_of(query)
        values = {
            "__rate_interval": f"{4 * step + 1:.0f}s",
            "__interval": f"{step:.0f}s",
            "__range": f"{max(self.end - start, 1):.0f}s",
            "site": _ALL,
            "charger": _ALL,
            "account": _ALL,
            "tariff": _TARIFF,
        }
        return re.sub(r"\$(__\w+|[a-z]+)", lambda match: values[match[1]], query.expr)

    def range_of(self, query: DashboardQuery) -> tuple[float, float]:
        """Start in epoch seconds and step in seconds."""
        step = _MIN_STEPS.get(query.target.get("interval", ""), self.step_seconds)
        since = query.panel.get("timeFrom")
        start = self.end - _RANGES[since] if since else self.start
        return start // step * step, step

    def _now(self, expr: str) -> list[Series]:
        result = self.prometheus.ask("query", query=expr, time=f"{self.end:.3f}")["result"]
        return [_series(one["metric"], [one["value"]]) for one in result]

    def _over_time(self, query: DashboardQuery) -> list[Series]:
        start, step = self.range_of(query)
        result = self.prometheus.ask(
            "query_range",
            query=self.filled(query),
            start=f"{start:.3f}",
            end=f"{self.end:.3f}",
            step=f"{step:g}",
        )["result"]
        return [_series(one["metric"], one["values"]) for one in result]


def _series(labels: dict[str, str], samples: list[list[Any]]) -> Series:
    return Series(labels, [(float(at), float(value)) for at, value in samples])


def legend(query: DashboardQuery, series: Series) -> str:
    """What Grafana calls a series."""
    text = query.target.get("legendFormat")
    if not text:
        return ", ".join(f"{name}={value}" for name, value in sorted(series.labels.items())) or "Value"
    return re.sub(r"{{(\w+)}}", lambda match: series.labels.get(match[1], ""), text)
