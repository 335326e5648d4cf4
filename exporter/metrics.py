"""The metric table: one row per metric; labels belong to the scope, the value is one reader of one object.

A row computes nothing: units are converted before an object is made. None means no sample. Names are whole
literals, so that a search finds them everywhere.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from itertools import chain
from operator import attrgetter
from typing import Any

from exporter.instruments import INSTRUMENTS
from exporter.model import Account, ChargeMode, Charger, ConnectorStatus, EndpointTimes, Site, Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What a group of rows is about: which objects of a snapshot, and the labels each of them carries."""

    title: str
    labels: tuple[str, ...]
    objects: Callable[[Snapshot], tuple[Any, ...]]
    label_values: Callable[[Any], tuple[str, ...]]


class Shape(Enum):
    """How the value a row reads becomes samples."""

    NUMBER = "one sample"
    STATES = "one sample per known state, 1 for the current one"
    INFO = "one sample of value 1 whose labels are the value"
    COUNTS = "one sample per label set"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One row. `kind` is the exposition's TYPE, `labels` are those beyond the scope's.

    `states` holds the known states of Shape.STATES and is empty for the other shapes.
    """

    scope: Scope
    shape: Shape
    kind: str
    name: str
    help: str
    read: Callable[[Any], Any]
    labels: tuple[str, ...] = ()
    states: tuple[StrEnum, ...] = ()


def gauge(scope: Scope, name: str, help_text: str, read: Callable[[Any], float | None]) -> Metric:
    """A number, or a flag exposed as 0 or 1."""
    return Metric(scope, Shape.NUMBER, "gauge", name, help_text, read)


def counter(scope: Scope, name: str, help_text: str, read: Callable[[Any], float | None]) -> Metric:
    """A number that only grows; it is kept over restarts."""
    return Metric(scope, Shape.NUMBER, "counter", name, help_text, read)


def states(
    scope: Scope,
    name: str,
    help_text: str,
    label: str,
    known: type[StrEnum],
    read: Callable[[Any], StrEnum | None],
) -> Metric:
    """One 0/1 sample per member of `known`; exactly one is 1."""
    return Metric(scope, Shape.STATES, "gauge", name, help_text, read, (label,), tuple(known))


def info(scope: Scope, name: str, help_text: str, labels: tuple[str, ...]) -> Metric:
    """Always 1, for every object; `labels` are attribute names too, and a missing one is empty."""
    return Metric(scope, Shape.INFO, "gauge", name, help_text, attrgetter(*labels), labels)


def info_while_known(
    scope: Scope,
    name: str,
    help_text: str,
    labels: tuple[str, ...],
    read: Callable[[Any], tuple[str | None, ...] | None],
) -> Metric:
    """Like `info`, with no sample while there is nothing to tell."""
    return Metric(scope, Shape.INFO, "gauge", name, help_text, read, labels)


def counters(
    scope: Scope,
    name: str,
    help_text: str,
    labels: tuple[str, ...],
    read: Callable[[Any], Mapping[Any, int]],
) -> Metric:
    """Counts by label values; they grow with sites and accounts, so they live on those, not in a registry."""
    return Metric(scope, Shape.COUNTS, "counter", name, help_text, read, labels)


def _chargers(snapshot: Snapshot) -> tuple[Charger, ...]:
    return tuple(chain.from_iterable(site.chargers for site in snapshot.sites))


def _endpoints(snapshot: Snapshot) -> tuple[EndpointTimes, ...]:
    return tuple(chain.from_iterable(site.endpoints for site in snapshot.sites))


def _site_labels(site: Site) -> tuple[str, ...]:
    return (site.site_id,)


def _account_labels(account: Account) -> tuple[str, ...]:
    return (account.name,)


def _charger_count(site: Site) -> int:
    return len(site.chargers)


def _reason(charger: Charger) -> tuple[str | None, ...] | None:
    return (charger.connector_status_reason,) if charger.connector_status_reason else None


def _schedule(charger: Charger) -> tuple[str | None, ...] | None:
    return (charger.schedule_mode,) if charger.schedule_mode else None


def _network(charger: Charger) -> tuple[str | None, ...] | None:
    network = charger.network
    return (network.interface, network.ip_address) if network else None


CHARGER = Scope("Chargers", ("site_id", "serial"), _chargers, attrgetter("site_id", "serial"))
SITE = Scope("Sites", ("site_id",), attrgetter("sites"), _site_labels)
SITE_ENDPOINT = Scope(
    "Sites, by endpoint", ("site_id", "endpoint"), _endpoints, attrgetter("site_id", "endpoint")
)
ACCOUNT = Scope("Accounts: cloud API and login", ("account",), attrgetter("accounts"), _account_labels)
EXPORTER = Scope("Exporter", (), lambda snapshot: (snapshot,), lambda _: ())


METRICS: tuple[Metric, ...] = (
    info(
        CHARGER,
        "enphase_ev_charger_info",
        "Identity of a charger, always 1; a label the cloud did not give is empty.",
        ("name", "model", "firmware_version", "processor_board_version"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_connected",
        "1 while the cloud says it can reach the charger, else 0.",
        attrgetter("connected"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_plugged_in",
        "1 while a vehicle is plugged in, else 0.",
        attrgetter("plugged_in"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_charging",
        "1 while power flows to the vehicle; 0 also while charging is suspended.",
        attrgetter("charging"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_faulted",
        "1 while the charger reports a fault, else 0.",
        attrgetter("faulted"),
    ),
    states(
        CHARGER,
        "enphase_ev_charger_connector_status",
        "1 for the connector's current status, 0 for the others; one not listed is UNKNOWN.",
        "status",
        ConnectorStatus,
        attrgetter("connector_status"),
    ),
    info_while_known(
        CHARGER,
        "enphase_ev_charger_connector_status_reason",
        "Why the connector is in its status, in the cloud's word; always 1, absent while no reason is given.",
        ("reason",),
        _reason,
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_charging_level_amperes",
        "Charging current asked of the charger, in amperes; not a measurement.",
        attrgetter("charging_level_amperes"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_min_amperes",
        "Lowest charging current that can be asked for, in amperes.",
        attrgetter("min_amperes"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_max_amperes",
        "Highest charging current that can be asked for, in amperes.",
        attrgetter("max_amperes"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_rated_amperes",
        "Rated maximum current of the charger, in amperes.",
        attrgetter("rated_amperes"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_operating_voltage_volts",
        "Nominal operating voltage in volts; not a measurement.",
        attrgetter("operating_voltage_volts"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_session_energy_kwh",
        "Energy of the current charging session, or of the last one when none is under way, in kWh.",
        attrgetter("session_energy_kwh"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_session_start_timestamp_seconds",
        "When the current or last charging session began, in epoch seconds.",
        attrgetter("session_start_seconds"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_session_plugged_in_timestamp_seconds",
        "When the vehicle of the current or last charging session was plugged in, in epoch seconds.",
        attrgetter("session_plugged_in_seconds"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_session_plugged_out_timestamp_seconds",
        "When the vehicle of the last charging session was unplugged, in epoch seconds.",
        attrgetter("session_plugged_out_seconds"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_power_watts",
        "Estimated power in W, from the energy between the charger's own reports; absent until known.",
        attrgetter("power_watts"),
    ),
    counter(
        CHARGER,
        "enphase_ev_charger_energy_kwh_total",
        "Energy delivered in kWh, as accounted by the exporter; kept over restarts.",
        attrgetter("energy_kwh"),
    ),
    counter(
        CHARGER,
        "enphase_ev_charger_lifetime_energy_kwh_total",
        "The charger's own lifetime figure in kWh; dips and jumps are held until they are confirmed.",
        attrgetter("lifetime_energy_kwh"),
    ),
    counter(
        CHARGER,
        "enphase_ev_charger_sessions_total",
        "Charging sessions begun; kept over restarts.",
        attrgetter("sessions"),
    ),
    counter(
        CHARGER,
        "enphase_ev_charger_faults_total",
        "Entries into the faulted state; kept over restarts.",
        attrgetter("faults"),
    ),
    counter(
        CHARGER,
        "enphase_ev_charger_charging_seconds_total",
        "Observed time with power flowing, in seconds; kept over restarts.",
        attrgetter("charging_seconds"),
    ),
    counter(
        CHARGER,
        "enphase_ev_charger_plugged_in_seconds_total",
        "Observed time with a car plugged in, in seconds; kept over restarts.",
        attrgetter("plugged_in_seconds"),
    ),
    states(
        CHARGER,
        "enphase_ev_charger_charge_mode",
        "1 for the charge mode preferred in the scheduler, 0 for the others; one not listed is UNKNOWN.",
        "mode",
        ChargeMode,
        attrgetter("charge_mode"),
    ),
    states(
        CHARGER,
        "enphase_ev_charger_running_charge_mode",
        "1 for the charge mode the status says is in force now, 0 for the others.",
        "mode",
        ChargeMode,
        attrgetter("running_charge_mode"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_safe_limit_active",
        "1 while the charger says it is at its safe fallback current, else 0; 1 is also seen while idle.",
        attrgetter("safe_limit_active"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_dlb_active",
        "1 while dynamic load balancing limits the current now, else 0.",
        attrgetter("dlb_active"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_schedule_enabled",
        "1 while a charging schedule is switched on, else 0.",
        attrgetter("schedule_enabled"),
    ),
    info_while_known(
        CHARGER,
        "enphase_ev_charger_schedule_info",
        "Mode of the charging schedule in the cloud's word; always 1, absent while none is given.",
        ("mode",),
        _schedule,
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_dlb_enabled",
        "1 while dynamic load balancing is switched on, else 0.",
        attrgetter("dlb_enabled"),
    ),
    gauge(
        CHARGER,
        "enphase_ev_charger_last_reported_timestamp_seconds",
        "When the charger last reported to the cloud, in epoch seconds.",
        attrgetter("last_reported_seconds"),
    ),
    info_while_known(
        CHARGER,
        "enphase_ev_charger_network_info",
        "Where the charger is on its own network; always 1, absent while the cloud does not say.",
        ("interface", "ip_address"),
        _network,
    ),
    gauge(
        SITE,
        "enphase_ev_up",
        "1 if the last status poll of the site succeeded, 0 if it failed; absent before the first.",
        attrgetter("up"),
    ),
    info(
        SITE,
        "enphase_ev_site_info",
        "Name of a site and the account it is read with, always 1.",
        ("name", "account"),
    ),
    gauge(SITE, "enphase_ev_chargers", "Chargers of the site that are exposed now.", _charger_count),
    gauge(
        SITE,
        "enphase_ev_status_timestamp_seconds",
        "The cloud's own time on the newest status answer, in epoch seconds.",
        attrgetter("status_timestamp_seconds"),
    ),
    gauge(
        SITE,
        "enphase_ev_poll_interval_seconds",
        "Interval between status polls in force now, after backoff and request budget, in seconds.",
        attrgetter("poll_interval_seconds"),
    ),
    counters(
        SITE,
        "enphase_ev_polls_total",
        "Status polls of the site that have ended, by result.",
        ("result",),
        attrgetter("polls"),
    ),
    gauge(
        SITE_ENDPOINT,
        "enphase_ev_last_attempt_timestamp_seconds",
        "When the endpoint was last asked for the site, in epoch seconds.",
        attrgetter("last_attempt_seconds"),
    ),
    gauge(
        SITE_ENDPOINT,
        "enphase_ev_last_success_timestamp_seconds",
        "When the endpoint last gave a usable answer for the site, in epoch seconds.",
        attrgetter("last_success_seconds"),
    ),
    counters(
        ACCOUNT,
        "enphase_ev_api_requests_total",
        "Requests sent to the cloud, by HTTP status code; code 0 is no answer.",
        ("endpoint", "code"),
        attrgetter("requests"),
    ),
    counters(
        ACCOUNT,
        "enphase_ev_api_errors_total",
        "Requests to the cloud that did not give what was asked for, by kind of failure.",
        ("endpoint", "kind"),
        attrgetter("errors"),
    ),
    counters(
        ACCOUNT,
        "enphase_ev_api_rate_limited_total",
        "Answers of the cloud with status 429, too many requests.",
        ("endpoint",),
        attrgetter("rate_limited"),
    ),
    gauge(
        ACCOUNT,
        "enphase_ev_api_backoff_seconds",
        "Seconds until requests of the account resume; 0 while it is not backing off.",
        attrgetter("backoff_seconds"),
    ),
    gauge(
        ACCOUNT,
        "enphase_ev_api_request_budget_per_hour",
        "Requests per hour the account may send, as configured.",
        attrgetter("request_budget_per_hour"),
    ),
    gauge(
        ACCOUNT,
        "enphase_ev_api_requests_last_hour",
        "Requests the account sent in the last hour.",
        attrgetter("requests_last_hour"),
    ),
    gauge(
        ACCOUNT,
        "enphase_ev_auth_up",
        "1 while the cloud accepts the account's login, else 0; absent before it was first tried.",
        attrgetter("auth_up"),
    ),
    gauge(
        ACCOUNT,
        "enphase_ev_auth_reauthentication_required",
        "1 while only a person can restore the login (one-time code, wrong password, block), else 0.",
        attrgetter("reauthentication_required"),
    ),
    gauge(
        ACCOUNT,
        "enphase_ev_auth_token_expiry_timestamp_seconds",
        "When the account's access token expires, in epoch seconds.",
        attrgetter("token_expiry_seconds"),
    ),
    gauge(
        ACCOUNT,
        "enphase_ev_auth_blocked_until_timestamp_seconds",
        "No login is tried before this moment, in epoch seconds; absent while logins are free.",
        attrgetter("blocked_until_seconds"),
    ),
    counters(
        ACCOUNT, "enphase_ev_auth_logins_total", "Logins tried, by result.", ("result",), attrgetter("logins")
    ),
    gauge(
        EXPORTER,
        "enphase_ev_scrape_interval_seconds",
        "Interval between scrapes as learned from them, in seconds; absent until known.",
        attrgetter("scrape_interval_seconds"),
    ),
    gauge(
        EXPORTER,
        "enphase_ev_config_last_reload_successful",
        "1 when the last reload of the configuration was accepted, 0 when it was refused.",
        attrgetter("config_reload_successful"),
    ),
    counter(
        EXPORTER,
        "enphase_ev_state_writes_failed_total",
        "Writes of the accounts that failed; what was not written is not shown and is tried again.",
        attrgetter("state_writes_failed"),
    ),
    gauge(
        EXPORTER,
        "enphase_ev_state_set_aside",
        "1 when the state file was damaged at the start and the accounts began anew, else 0.",
        attrgetter("state_set_aside"),
    ),
)


def samples(metric: Metric, item: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    """The samples of one object by one row, as (values of `metric.labels`, value).

    This is what a row means; exposition.py is a fast way to say the same and is held to it by tests.
    """
    value = metric.read(item)
    if value is None:
        return
    match metric.shape:
        case Shape.NUMBER:
            yield (), float(value)
        case Shape.STATES:
            yield from (((state.value,), float(state is value)) for state in metric.states)
        case Shape.INFO:
            yield tuple(text or "" for text in value), 1.0
        case Shape.COUNTS:
            yield from ((key, float(count)) for key, count in value.items())


@dataclass(frozen=True, slots=True)
class Entry:
    """One metric as the documentation lists it, with all its labels."""

    section: str
    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def catalogue() -> tuple[Entry, ...]:
    """Every `enphase_ev_` metric: the rows of the table, then the exporter's own instruments."""
    rows = (Entry(m.scope.title, m.name, m.kind, m.scope.labels + m.labels, m.help) for m in METRICS)
    own = (Entry(EXPORTER.title, i.name, i.kind, i.labels, i.help) for i in INSTRUMENTS)
    return (*rows, *own)


_INTRODUCTION = """\
# Metrics

Written by `enphase-ev-exporter metrics-doc`; do not edit by hand.

A value the cloud did not give is an absent series, never 0. No sample carries a timestamp. Energy is in kWh.
"""

_LIBRARY = """\
`process_*` (CPU, memory, file descriptors, start time), `python_info` and `python_gc_*` describe the
exporter's own process; they are prometheus-client's and are read at most once a second.
"""


def markdown() -> str:
    """The text of docs/metrics.md."""
    entries = catalogue()
    sections = dict.fromkeys(entry.section for entry in entries)
    tables = (
        _table(section, [entry for entry in entries if entry.section == section]) for section in sections
    )
    return "\n".join((_INTRODUCTION, *tables, _LIBRARY))


def _table(section: str, entries: list[Entry]) -> str:
    lines = [f"## {section}", "", "| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for entry in entries:
        labels = ", ".join(f"`{label}`" for label in entry.labels)
        lines.append(f"| `{entry.name}` | {entry.kind} | {labels} | {entry.help} |")
    return "\n".join((*lines, ""))
