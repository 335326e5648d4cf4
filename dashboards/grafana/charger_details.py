"""The lower half of the charger's dashboard: sessions, settings, freshness."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from dashboards.grafana.charger_energy import ENERGY
from dashboards.grafana.panels import Column, Columns, Frame, graph, listing, timeline
from dashboards.grafana.queries import (
    CHARGER,
    Query,
    charger_names,
    grown,
    mode,
    named,
    per_charger,
    report_age,
    status_age,
)
from dashboards.grafana.states import FAULT, MODES, ON_OFF

_NAME = Column("name", "Charger")
_MILLISECONDS = 1000  # Grafana's dates


def sessions() -> list[Builder[dashboard.Panel]]:
    """The session at hand, what happened in the time shown, and its energy as it grew."""
    current = Frame(
        "Current or last session",
        "When the car was plugged in, when its session began, and when it was unplugged; empty where the "
        "cloud does not say. A session that began before the car was plugged in is the one before: the "
        "car waits.",
        height=7,
        empty="-",
    )
    shown = Frame(
        "In the time shown",
        "Sessions begun, energy, time with a car plugged in, time with power flowing, and entries into the "
        "fault state, all within the dashboard's time range. Counters are the exporter's own and durable.",
        height=7,
        empty="-",
    )
    growth = Frame(
        "Session energy over time",
        "Energy of the current session as it grows, back to 0 with the next one.",
        "kwatth",
        span=24,
        height=8,
    )
    return [
        listing(current, _SESSION, _named_table(), *_session_times()),
        listing(shown, _RANGE, _named_table(), *(Query(grown(counter)) for counter in _COUNTERS)),
        graph(growth, Query(named(per_charger("enphase_ev_charger_session_energy_kwh")), "{{name}}")),
    ]


_SESSION = Columns(
    (
        _NAME,
        Column("Value #B", "Plugged in", "dateTimeAsIso"),
        Column("Value #C", "Charging since", "dateTimeAsIso"),
        Column("Value #D", "Unplugged", "dateTimeAsIso"),
        Column("Value #E", "Energy", "kwatth", decimals=1),
    ),
    ("Time", "site_id", "serial", "Value #A"),
    "Charger",
)
_COUNTERS = (
    "enphase_ev_charger_sessions_total",
    ENERGY,
    "enphase_ev_charger_plugged_in_seconds_total",
    "enphase_ev_charger_charging_seconds_total",
    "enphase_ev_charger_faults_total",
)
_RANGE = Columns(
    (
        _NAME,
        Column("Value #B", "Sessions", "none", decimals=0),
        Column("Value #C", "Energy", "kwatth", decimals=1),
        Column("Value #D", "Plugged in", "dtdurations", decimals=0),
        Column("Value #E", "Charging", "dtdurations", decimals=0),
        Column("Value #F", "Faults", "none", decimals=0),
    ),
    ("Time", "site_id", "serial", "Value #A"),
    "Charger",
)


def _named_table() -> Query:
    return Query(charger_names())


def _session_times() -> list[Query]:
    times = (
        "enphase_ev_charger_session_plugged_in_timestamp_seconds",
        "enphase_ev_charger_session_start_timestamp_seconds",
        "enphase_ev_charger_session_plugged_out_timestamp_seconds",
    )
    queries = [Query(f"{per_charger(time)} * {_MILLISECONDS}") for time in times]
    return [*queries, Query(per_charger("enphase_ev_charger_session_energy_kwh"))]


def settings() -> list[Builder[dashboard.Panel]]:
    """Modes and switches over time, and what the charger is."""
    modes = Frame(
        "Charge mode",
        "The mode preferred in the scheduler, and the mode that the status says is in force. They "
        "differ for a moment after a change, or when the cloud does not do as it was told.",
        height=10,
    )
    flags = Frame(
        "Switches and limits",
        "Whether the charger is plugged in, follows a schedule, balances its load with the house "
        "(enabled, and limiting now), and is at its safe fallback current, which is also seen while idle.",
        height=10,
    )
    identity = Frame(
        "Chargers",
        "What the chargers are: model, firmware, board, mains, where they are on their own network, "
        "the mode of the schedule, and the reason the connector gives for its state. Empty: the "
        "cloud does not say.",
        span=24,
        height=6,
        empty="-",
    )
    return [
        timeline(modes, *_modes(), words=MODES),
        timeline(flags, *_flags(), words=ON_OFF),
        listing(identity, _IDENTITY, *_identity()),
    ]


def _modes() -> list[Query]:
    return [
        Query(named(mode("enphase_ev_charger_charge_mode")), "{{name}}: preferred"),
        Query(named(mode("enphase_ev_charger_running_charge_mode")), "{{name}}: in force"),
    ]


def _flags() -> list[Query]:
    words = {
        "enphase_ev_charger_plugged_in": "plugged in",
        "enphase_ev_charger_schedule_enabled": "schedule",
        "enphase_ev_charger_dlb_enabled": "load balancing",
        "enphase_ev_charger_dlb_active": "load balancing limits",
        "enphase_ev_charger_safe_limit_active": "safe current",
    }
    return [Query(named(per_charger(metric)), f"{{{{name}}}}: {text}") for metric, text in words.items()]


_IDENTITY = Columns(
    (
        _NAME,
        Column("serial", "Serial"),
        Column("model", "Model"),
        Column("firmware_version", "Firmware"),
        Column("processor_board_version", "Board"),
        Column("Value #B", "Mains", "volt"),
        Column("Value #F", "Lowest", "amp"),
        Column("Value #G", "Highest", "amp"),
        Column("Value #H", "Rated", "amp"),
        Column("interface", "Interface"),
        Column("ip_address", "Address"),
        Column("mode", "Schedule"),
        Column("reason", "Reason"),
    ),
    ("Time", "site_id", "Value #A", "Value #C", "Value #D", "Value #E"),
    "Charger",
)


def _identity() -> list[Query]:
    return [
        _labels("enphase_ev_charger_info", "name, model, firmware_version, processor_board_version"),
        Query(per_charger("enphase_ev_charger_operating_voltage_volts")),
        _labels("enphase_ev_charger_network_info", "interface, ip_address"),
        _labels("enphase_ev_charger_schedule_info", "mode"),
        _labels("enphase_ev_charger_connector_status_reason", "reason"),
        Query(per_charger("enphase_ev_charger_min_amperes")),
        Query(per_charger("enphase_ev_charger_max_amperes")),
        Query(per_charger("enphase_ev_charger_rated_amperes")),
    ]


def _labels(metric: str, labels: str) -> Query:
    return Query(f"max by (site_id, serial, {labels}) ({metric}{CHARGER})")


def freshness() -> list[Builder[dashboard.Panel]]:
    """How old what is shown is, and the two meters beside each other."""
    ages = Frame(
        "Age of the data",
        "Two clocks: how old the charger's own report was when the cloud last told of it, and how "
        "long ago the exporter last had a usable status. Only the first high: the charger is silent. "
        "Only the second: the cloud or the exporter.",
        "s",
    )
    faults = Frame(
        "Faults",
        "When the charger reported a fault. The kind of fault is not told by the cloud; its app may "
        "know more.",
        span=6,
    )
    meters = Frame(
        "Meters",
        "Energy as the exporter accounts for it since it first saw the charger, and the charger's "
        "own lifetime figure, where the cloud gives one.",
        span=6,
        empty="-",
    )
    lifetime = "enphase_ev_charger_lifetime_energy_kwh_total"
    return [
        graph(
            ages,
            Query(named(report_age()), "{{name}}: report"),
            Query(status_age(), "status of site {{site_id}}"),
        ),
        listing(meters, _METERS, _named_table(), Query(per_charger(ENERGY)), Query(per_charger(lifetime))),
        timeline(faults, Query(named(per_charger("enphase_ev_charger_faulted")), "{{name}}"), words=FAULT),
    ]


_METERS = Columns(
    (
        _NAME,
        Column("Value #B", "Accounted", "kwatth", decimals=1),
        Column("Value #C", "Lifetime", "kwatth", decimals=1),
    ),
    ("Time", "site_id", "serial", "Value #A"),
    "Charger",
)
