"""The dashboard of the exporter and the cloud: requests, limits, age of the data, login, the process."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from dashboards.grafana import cloud_requests
from dashboards.grafana.board import (
    Description,
    account_variable,
    datasource_variable,
    rate_limit_annotation,
    site_variable,
)
from dashboards.grafana.panels import Column, Columns, Frame, graph, listing, number, ranking
from dashboards.grafana.queries import ACCOUNT, Query, per_site
from dashboards.grafana.states import GOOD, NEEDED, ORANGE, VERMILION, YES_NO, steps

_OURS = "and on (instance, job) enphase_ev_exporter_build_info"


def description() -> Description:
    """The whole dashboard."""
    return Description(
        uid="enphase-ev-exporter",
        title="Enphase EV / Exporter and cloud",
        text="How the exporter gets on with the cloud: requests, errors, limits, age of the data, login.",
        hours=6,
        variables=(datasource_variable(), account_variable(), site_variable()),
        annotations=(rate_limit_annotation(ACCOUNT),),
        rows=(
            ("Now", [*_login(), *_health()]),
            ("Requests", cloud_requests.requests()),
            ("Pace", cloud_requests.pace()),
            ("Age of the data", cloud_requests.ages()),
            ("Login and answers", cloud_requests.answers()),
            ("Control", _control()),
            ("Process", _process()),
        ),
    )


def _account(metric: str) -> str:
    return f"max by (account) ({metric}{ACCOUNT})"


def _login() -> list[Builder[dashboard.Panel]]:
    works = Frame(
        "Login works", "Whether the cloud accepts the account's login.", span=3, height=4, empty="not tried"
    )
    person = Frame(
        "Person needed",
        "YES while only a person can restore the login: a one-time code, a wrong password, a block. Run "
        "`enphase-ev-exporter login`.",
        span=3,
        height=4,
        empty="not tried",
    )
    expiry = Frame(
        "Token expires",
        "When the access token expires. It is renewed before that; a time in the past means that it was not.",
        "dateTimeFromNow",
        span=4,
        height=4,
        empty="no token",
    )
    blocked = Frame(
        "Logins blocked until",
        "No login is tried before this moment, to keep the account from being locked.",
        "dateTimeFromNow",
        span=4,
        height=4,
        empty="not blocked",
    )
    token = f"{_account('enphase_ev_auth_token_expiry_timestamp_seconds')} * 1000"
    until = f"{_account('enphase_ev_auth_blocked_until_timestamp_seconds')} * 1000"
    return [
        number(works, Query(_account("enphase_ev_auth_up"), "{{account}}"), words=YES_NO),
        number(
            person,
            Query(_account("enphase_ev_auth_reauthentication_required"), "{{account}}"),
            words=NEEDED,
        ),
        number(expiry, Query(token, "{{account}}")),
        number(blocked, Query(until, "{{account}}")),
    ]


def _health() -> list[Builder[dashboard.Panel]]:
    failing = Frame(
        "Sites failing",
        "Sites whose last status poll did not work.",
        "none",
        span=3,
        height=4,
        empty="no data",
        decimals=0,
    )
    budget = Frame(
        "Budget used",
        "Requests of the last hour, as a part of what the account may send in an hour. Near 100 % the poll "
        "intervals stretch.",
        "percentunit",
        span=3,
        height=4,
        empty="no data",
        decimals=0,
    )
    backoff = Frame(
        "Backing off",
        "Seconds until the account's requests resume; 0 while it is not backing off.",
        "s",
        span=4,
        height=4,
        empty="no data",
        decimals=0,
    )
    budgeted = _account("enphase_ev_api_request_budget_per_hour")
    used = f"{_account('enphase_ev_api_requests_last_hour')} / {budgeted}"
    return [
        number(
            failing,
            Query(f"sum(1 - {per_site('enphase_ev_up')})"),
            limits=steps(GOOD, (1, VERMILION)),
        ),
        number(
            budget,
            Query(used, "{{account}}"),
            limits=steps(GOOD, (0.8, ORANGE), (1, VERMILION)),
        ),
        number(
            backoff,
            Query(_account("enphase_ev_api_backoff_seconds"), "{{account}}"),
            limits=steps(GOOD, (1, ORANGE), (300, VERMILION)),
        ),
    ]


def _control() -> list[Builder[dashboard.Panel]]:
    metric = "enphase_ev_control_commands_total"
    off = "No commands: control is off unless the configuration switches it on."
    total = Frame(
        "Commands in the time shown",
        "Commands by result: accepted, unconfirmed (accepted, not seen in the status), noop, failed, refused "
        "(by the exporter).",
        "none",
        height=6,
        empty=off,
        decimals=0,
    )
    lately = Frame("Commands lately", "Commands of the last minutes by result.", "none", height=6, empty=off)
    return [
        ranking(
            total,
            Query(
                f"sum by (command, result) (increase({metric}[$__range])) > 0",
                "{{command}}: {{result}}",
            ),
        ),
        graph(lately, Query(f"sum by (result) (increase({metric}[$__rate_interval]))", "{{result}}")),
    ]


def _process() -> list[Builder[dashboard.Panel]]:
    empty = "No data: Prometheus does not reach the exporter."
    cpu = Frame(
        "CPU", "Processor time the exporter's process uses.", "percentunit", span=6, height=7, empty=empty
    )
    memory = Frame(
        "Memory",
        "Resident memory of the process. Flat is right; a slope over days is a leak.",
        "bytes",
        span=6,
        height=7,
        empty=empty,
    )
    files = Frame(
        "Open files",
        "File descriptors in use, and how many there may be.",
        "none",
        span=6,
        height=7,
        empty=empty,
        decimals=0,
    )
    rate = "rate(process_cpu_seconds_total[$__rate_interval])"
    return [
        graph(cpu, Query(f"{rate} {_OURS}", "{{instance}}")),
        graph(memory, Query(f"process_resident_memory_bytes {_OURS}", "{{instance}}")),
        graph(files, Query(f"process_open_fds {_OURS}", "{{instance}}: open")),
        *_builds(),
    ]


def _builds() -> list[Builder[dashboard.Panel]]:
    frame = Frame(
        "Build",
        "Version of the exporter and of its Python, and since when it runs.",
        span=6,
        height=7,
        empty="-",
    )
    columns = Columns(
        (
            Column("instance", "Instance"),
            Column("version", "Version"),
            Column("python_version", "Python"),
            Column("Value #B", "Started", "dateTimeFromNow"),
        ),
        ("Time", "Value #A"),
    )
    build = "max by (instance, version, python_version) (enphase_ev_exporter_build_info)"
    started = f"max by (instance) (process_start_time_seconds {_OURS}) * 1000"
    return [listing(frame, columns, Query(build), Query(started))]
