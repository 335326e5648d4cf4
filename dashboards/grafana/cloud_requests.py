"""The exporter's requests to the cloud, their pace, what came back and how old it is."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from dashboards.grafana.panels import Frame, graph, number, stacked
from dashboards.grafana.queries import ACCOUNT, SITE, Query, per_site, site_named, status_age
from dashboards.grafana.states import GOOD, NEEDED, VERMILION, YES_NO, steps

_EMPTY = "No data: Prometheus does not reach the exporter, or it has not asked the cloud yet."


def _per_minute(metric: str, by: str, selector: str = ACCOUNT) -> str:
    return f"60 * sum by ({by}) (rate({metric}{selector}[$__rate_interval]))"


def _lately(metric: str, by: str, selector: str = "") -> str:
    return f"sum by ({by}) (increase({metric}{selector}[$__rate_interval]))"


def _account(metric: str) -> str:
    return f"max by (account) ({metric}{ACCOUNT})"


def _since_last(metric: str) -> str:
    return f"clamp_min(max by (endpoint) (time() - {metric}{SITE}), 0)"


def requests() -> list[Builder[dashboard.Panel]]:
    """What was asked, and what went wrong."""
    by_endpoint = Frame(
        "Requests by endpoint", "Requests sent to the cloud per minute.", "reqpm", empty=_EMPTY
    )
    by_code = Frame(
        "Answers by status code",
        "HTTP status codes per minute; 0 is a request without an answer.",
        "reqpm",
        empty=_EMPTY,
    )
    errors = Frame(
        "Errors by kind",
        "Requests that did not give what was asked for, in the last minutes. login_page and unauthorized are "
        "cured by a renewed token; rate_limited by waiting; connection, timeout and server_error are the "
        "network or the cloud.",
        "none",
        empty=_EMPTY,
        decimals=1,
    )
    limited = Frame(
        "Rate limited (429)",
        "Answers 429, too many requests, in the last minutes. Others that use the same account count too.",
        "none",
        empty=_EMPTY,
        decimals=1,
    )
    limits = _lately("enphase_ev_api_rate_limited_total", "account, endpoint", ACCOUNT)
    return [
        stacked(by_endpoint, Query(_per_minute("enphase_ev_api_requests_total", "endpoint"), "{{endpoint}}")),
        stacked(by_code, Query(_per_minute("enphase_ev_api_requests_total", "code"), "{{code}}")),
        graph(errors, Query(_lately("enphase_ev_api_errors_total", "kind", ACCOUNT), "{{kind}}")),
        graph(limited, Query(limits, "{{account}}: {{endpoint}}")),
    ]


def pace() -> list[Builder[dashboard.Panel]]:
    """How fast it asks, and what slows it down."""
    budget = Frame(
        "Requests in an hour and their budget",
        "Requests of the last hour and how many there may be. When the budget does not suffice, poll "
        "intervals stretch evenly.",
        "none",
        span=8,
        empty=_EMPTY,
    )
    interval = Frame(
        "Intervals",
        "The interval between status polls in force now, after backoff and budget, and the interval between "
        "scrapes as the exporter has learned it.",
        "s",
        span=8,
        empty=_EMPTY,
    )
    backoff = Frame(
        "Backoff",
        "Seconds until the account's requests resume, after a 429 or an outage.",
        "s",
        span=8,
        empty=_EMPTY,
    )
    polls = per_site("enphase_ev_poll_interval_seconds")
    return [
        graph(
            budget,
            Query(_account("enphase_ev_api_requests_last_hour"), "{{account}}: sent"),
            Query(_account("enphase_ev_api_request_budget_per_hour"), "{{account}}: budget"),
        ),
        graph(
            interval,
            Query(site_named(polls), "{{site}}: polls"),
            Query("max(enphase_ev_scrape_interval_seconds)", "scrapes"),
        ),
        graph(backoff, Query(_account("enphase_ev_api_backoff_seconds"), "{{account}}")),
    ]


def ages() -> list[Builder[dashboard.Panel]]:
    """How old the data was when it was stored, and how long each endpoint took."""
    at_scrape = Frame(
        "Age of the status when scraped",
        "How old the newest status was when Prometheus took it: what half of the scrapes got, and "
        "all but one in twenty. With scrape and poll intervals alike it should be about one answer's time.",
        "s",
        empty=_EMPTY,
    )
    since = Frame(
        "Since the last answer",
        "How long ago each endpoint was last asked, and last gave a usable answer, for the site "
        "where that is longest. Only the second rising: the cloud. Both: the exporter waits or is stuck.",
        "s",
        empty=_EMPTY,
    )
    durations = Frame(
        "How long requests took",
        "The time that all but one in twenty requests took at most, by endpoint, as far as the "
        "histogram tells.",
        "s",
        empty=_EMPTY,
    )
    polls = Frame(
        "Polls per minute by result",
        "Status polls that ended. internal is a bug of the exporter: see its log.",
        "none",
        empty=_EMPTY,
        decimals=1,
    )
    age = "sum by (le) (rate(enphase_ev_scrape_data_age_seconds_bucket[$__rate_interval]))"
    took = "sum by (endpoint, le) (rate(enphase_ev_api_request_duration_seconds_bucket[$__rate_interval]))"
    return [
        graph(
            at_scrape,
            Query(f"histogram_quantile(0.5, {age})", "half of them"),
            Query(f"histogram_quantile(0.95, {age})", "19 of 20"),
        ),
        graph(
            since,
            Query(_since_last("enphase_ev_last_attempt_timestamp_seconds"), "{{endpoint}}: asked"),
            Query(_since_last("enphase_ev_last_success_timestamp_seconds"), "{{endpoint}}: answered"),
        ),
        graph(durations, Query(f"histogram_quantile(0.95, {took})", "{{endpoint}}")),
        stacked(polls, Query(_per_minute("enphase_ev_polls_total", "result", SITE), "{{result}}")),
    ]


def answers() -> list[Builder[dashboard.Panel]]:
    """Logins, oddities in the answers, and what the exporter has to say about itself."""
    logins = Frame(
        "Logins by result", "Logins tried in the last minutes. A healthy account rarely needs one.", "none"
    )
    problems = Frame(
        "Oddities in the answers",
        "Things in the cloud's answers that were not as known, in the last minutes; the rest of the "
        "answer was used. unknown_value after an update of the cloud is worth an issue, "
        "implausible_energy was left out.",
        "none",
        empty=_EMPTY,
    )
    return [
        graph(logins, Query(_lately("enphase_ev_auth_logins_total", "result", ACCOUNT), "{{result}}")),
        graph(problems, Query(_lately("enphase_ev_payload_problems_total", "problem"), "{{problem}}")),
        *_own(),
    ]


def _own() -> list[Builder[dashboard.Panel]]:
    reload = Frame(
        "Configuration accepted",
        "Whether the last reload was accepted. If not, the one before stays in force; the log says why.",
        span=6,
        height=4,
        empty="no data",
    )
    writes = Frame(
        "State writes failed",
        "Writes of the accounts that failed in the time shown: a full or read-only disk. They are "
        "tried again.",
        "none",
        span=6,
        height=4,
        empty="no data",
        decimals=0,
    )
    aside = Frame(
        "State set aside",
        "YES when the state file was damaged at the start and the accounts began anew; it is kept beside.",
        span=6,
        height=4,
        empty="no data",
    )
    age = Frame(
        "Oldest status",
        "How old the status of the site is that waits longest.",
        "dtdurations",
        span=6,
        height=4,
        empty="no data",
        decimals=0,
    )
    failed = "sum(increase(enphase_ev_state_writes_failed_total[$__range]))"
    limits = steps(GOOD, (300, VERMILION))
    return [
        number(reload, Query("min(enphase_ev_config_last_reload_successful)"), words=YES_NO),
        number(writes, Query(failed), limits=steps(GOOD, (1, VERMILION))),
        number(aside, Query("max(enphase_ev_state_set_aside)"), words=NEEDED),
        number(age, Query(f"max({status_age()})"), limits=limits),
    ]
