"""The dashboard of one charger, or of the few of a home: now, lately, and what it cost."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from dashboards.grafana import charger_details, charger_energy
from dashboards.grafana.board import (
    Description,
    charger_annotations,
    charger_variable,
    datasource_variable,
    rate_limit_annotation,
    site_variable,
    tariff_variable,
)
from dashboards.grafana.panels import Frame, dashed, graph, number, timeline
from dashboards.grafana.queries import Query, named, per_charger, report_age, session_seconds, state
from dashboards.grafana.states import GOOD, ORANGE, STATES, VERMILION, steps

_NONE = "no report"


def description() -> Description:
    """The whole dashboard."""
    return Description(
        uid="enphase-ev-charger",
        title="Enphase EV / Charger",
        text="What a charger does and did lately: state, power, sessions, energy, cost, limits, freshness.",
        hours=24,
        variables=(datasource_variable(), site_variable(), charger_variable(), tariff_variable()),
        annotations=(*charger_annotations(), rate_limit_annotation()),
        rows=(
            ("Now", _now()),
            ("Lately", _lately()),
            ("Energy and cost", charger_energy.panels()),
            ("Sessions", charger_details.sessions()),
            ("Settings and limits", charger_details.settings()),
            ("Freshness and meters", charger_details.freshness()),
        ),
    )


def _now() -> list[Builder[dashboard.Panel]]:
    state_now = Frame(
        "State",
        "What the connector does, in the charger's word; Offline while the cloud cannot reach the charger.",
        span=5,
        height=5,
        empty=_NONE,
    )
    report = Frame(
        "Last report",
        "Age of the charger's own last report when the cloud last told of it. Orange from 15 "
        "minutes, red from 30: the charger is silent although the cloud answers.",
        "dtdurations",
        span=4,
        height=5,
        empty=_NONE,
        decimals=0,
    )
    ages = steps(GOOD, (900, ORANGE), (1800, VERMILION))
    return [
        number(state_now, Query(named(state()), "{{name}}"), words=STATES),
        *_numbers_now(),
        number(report, Query(named(report_age()), "{{name}}"), limits=ages),
    ]


def _numbers_now() -> list[Builder[dashboard.Panel]]:
    power = Frame(
        "Power now",
        "Estimated from the energy that moved between the charger's own reports, so it follows the car by up "
        "to a report.",
        "watt",
        span=5,
        height=5,
        empty=_NONE,
    )
    energy = Frame(
        "Session energy",
        "Energy of the current session, or of the last one when none is under way.",
        "kwatth",
        span=4,
        height=5,
        empty=_NONE,
        decimals=1,
    )
    duration = Frame(
        "Session time",
        "How long the current session has lasted; once the car has left, how long the last one did.",
        "dtdurations",
        span=3,
        height=5,
        empty=_NONE,
        decimals=0,
    )
    current = Frame(
        "Asked for",
        "The charging current asked of the charger. A request, not a measurement.",
        "amp",
        span=3,
        height=5,
        empty=_NONE,
    )
    return [
        number(power, _of("enphase_ev_charger_power_watts")),
        number(energy, _of("enphase_ev_charger_session_energy_kwh")),
        number(duration, Query(named(session_seconds()), "{{name}}")),
        number(current, _of("enphase_ev_charger_charging_level_amperes")),
    ]


def _lately() -> list[Builder[dashboard.Panel]]:
    states = Frame(
        "State over time",
        "The connector's state. A gap is a time without data: the exporter was down, or the cloud gave no "
        "status for longer than poll.stale_after.",
        span=24,
        height=7,
    )
    power = Frame(
        "Power",
        "Estimated from the energy between the charger's reports: steps and no curve, because that is all "
        "that is known. Absent until two reports were seen.",
        "watt",
        height=9,
    )
    current = Frame(
        "Current: asked for and allowed",
        "The current asked for, and dashed the highest that can be asked for. Neither is a measurement.",
        "amp",
        height=9,
    )
    return [
        timeline(states, Query(named(state()), "{{name}}"), words=STATES),
        graph(power, _of("enphase_ev_charger_power_watts")),
        dashed(
            graph(
                current,
                _of("enphase_ev_charger_charging_level_amperes", "{{name}}: asked for"),
                _of("enphase_ev_charger_max_amperes", "{{name}}: highest"),
            ),
            "/: highest$/",
        ),
    ]


def _of(metric: str, legend: str = "{{name}}") -> Query:
    return Query(named(per_charger(metric)), legend)
