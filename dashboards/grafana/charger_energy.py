"""Energy and cost of a charger, by day, week, month and year."""

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from dashboards.grafana.panels import Frame, bars, number, unit_of
from dashboards.grafana.queries import DAY, WEEK, Query, grown, named

ENERGY = "enphase_ev_charger_energy_kwh_total"
_PERIODS = (
    ("Today", "now/d", "since midnight"),
    ("This week", "now/w", "since the week began"),
    ("This month", "now/M", "since the month began"),
    ("This year", "now/y", "since the year began"),
)


def panels() -> list[Builder[dashboard.Panel]]:
    """Totals of the calendar's periods, then bars."""
    totals: list[Builder[dashboard.Panel]] = [_total(*period) for period in _PERIODS]
    return totals + _bars()


def _total(title: str, since: str, words: str) -> stat.Panel:
    energy = f"sum({grown(ENERGY)})"
    frame = Frame(
        title,
        f"Energy of the chosen chargers {words}, in the dashboard's time zone, and what it costs at "
        "the price per kWh above, in that price's currency. It reaches back as far as Prometheus keeps data.",
        "kwatth",
        span=6,
        height=4,
        empty="no data",
        decimals=1,
        since=since,
    )
    queries = Query(energy, "Energy"), Query(f"{energy} * $tariff", "Cost", instant=True)
    return unit_of(number(frame, *queries), "B", "none", 2)


def _bars() -> list[Builder[dashboard.Panel]]:
    # Grafana aligns steps of a day to midnight in the dashboard's time zone.
    by_day = named(grown(ENERGY, window=DAY), window=DAY)
    by_week = named(grown(ENERGY, window=WEEK), window=WEEK)
    days = "A day begins at midnight of the dashboard's time zone; when clocks change it is off by an hour."
    energy = Frame(
        "Energy per day", f"Energy of each day. {days}", "kwatth", span=8, height=9, since="now-30d"
    )
    cost = Frame(
        "Cost per day",
        f"Energy of each day at the price per kWh above, in its currency. {days}",
        "none",
        span=8,
        height=9,
        decimals=2,
        since="now-30d",
    )
    weeks = Frame(
        "Energy per week",
        "Energy of each week from Monday to Sunday. The bar stands around the week's Thursday.",
        "kwatth",
        span=8,
        height=9,
        since="now-26w",
    )
    return [
        bars(energy, Query(by_day, "{{name}}", min_step="1d")),
        bars(cost, Query(f"{by_day} * $tariff", "{{name}}", min_step="1d")),
        bars(weeks, Query(by_week, "{{name}}", min_step="1w"), centred=True),
    ]
