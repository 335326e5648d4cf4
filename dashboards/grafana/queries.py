"""The PromQL that panels share.

Names live on the info series, so that a rename breaks no counter; `named` joins them on. Everything joined is
brought to one series per key first: two exporters, or two jobs, that show the same charger break no panel.
"""

from dataclasses import dataclass

from exporter.model import ChargeMode, ConnectorStatus

CHARGER = '{site_id=~"$site",serial=~"$charger"}'
ANY_SITE = '{site_id!=""}'
SITE = '{site_id=~"$site"}'
ACCOUNT = '{account=~"$account"}'
SILENT_SECONDS = 1800
DAY = "[1d] offset -1d"  # from a step of a day to the next
SHOWN = "[$__range]"  # what the dashboard shows
WEEK = "[1w] offset -4d"  # steps of a week begin on Thursdays, as 1970 did: from Monday to Monday around it
_BY_CHARGER = "site_id, serial"


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    instant: only the value now. min_step: the shortest step that makes sense for data this slow; Grafana
    derives $__rate_interval from it too, four times as long.
    """

    expr: str
    legend: str = ""
    instant: bool = False
    min_step: str = "1m"


def per_charger(metric: str, selector: str = CHARGER) -> str:
    """A metric of chargers, one series each."""
    return f"max by ({_BY_CHARGER}) ({metric}{selector})"


def per_site(metric: str, selector: str = SITE) -> str:
    """A metric of sites, one series each."""
    return f"max by (site_id) ({metric}{selector})"


def grown(metric: str, selector: str = CHARGER, window: str = SHOWN) -> str:
    """By how much a counter of chargers grew in a window."""
    return f"max by ({_BY_CHARGER}) (increase({metric}{selector}{window}))"


def named(expr: str, selector: str = CHARGER, *, window: str = "", keep: str = "") -> str:
    """The same with the charger's name as a label; one without a name goes by its serial.

    window: `[1d] offset -1d` takes the name from anywhere in there, for what is not about a moment.
    keep: labels of `expr` beyond site_id and serial. A result has the order of what stands first, here the
    names: so all panels show chargers in one order.
    """
    return f"{charger_names(selector, window)} * on ({_BY_CHARGER}) group_left ({keep}) ({expr})"


def charger_names(selector: str = CHARGER, window: str = "") -> str:
    """One series of value 1 per charger: site_id, serial, name."""
    inner = selector[1:-1]
    given = _known(f'enphase_ev_charger_info{{{inner},name!=""}}', window)
    nameless = _known(f'enphase_ev_charger_info{{{inner},name=""}}', window)
    by_serial = f'label_replace({nameless}, "name", "$1", "serial", "(.+)")'
    return f"topk by ({_BY_CHARGER}) (1, max by ({_BY_CHARGER}, name) ({given} or {by_serial}))"


def site_named(expr: str, window: str = "") -> str:
    """The same with the site's name as the label `site`; one without a name goes by its id."""
    return f"({expr}) * on (site_id) group_left (site) {site_names(window)}"


def site_names(window: str = "", selector: str = SITE) -> str:
    """One series of value 1 per site: site_id, site."""
    inner = selector[1:-1]
    given = _known(f'enphase_ev_site_info{{{inner},name!=""}}', window)
    nameless = _known(f'enphase_ev_site_info{{{inner},name=""}}', window)
    by_name = f'label_replace({given}, "site", "$1", "name", "(.+)")'
    by_id = f'label_replace({nameless}, "site", "$1", "site_id", "(.+)")'
    return f"topk by (site_id) (1, max by (site_id, site) ({by_name} or {by_id}))"


def _known(selector: str, window: str) -> str:
    return f"last_over_time({selector}{window})" if window else selector


def state(selector: str = CHARGER) -> str:
    """The connector's status as its place in ConnectorStatus, from 1; 0 while the charger is offline."""
    offline = f"max by ({_BY_CHARGER}) (enphase_ev_charger_connected{selector} == 0)"
    status = _numbered("enphase_ev_charger_connector_status", "status", list(ConnectorStatus), selector)
    return f"{offline} or {status}"


def mode(metric: str) -> str:
    """A charge mode as its place in ChargeMode, from 1."""
    return _numbered(metric, "mode", list(ChargeMode), CHARGER)


def _numbered(metric: str, label: str, known: list[ConnectorStatus] | list[ChargeMode], selector: str) -> str:
    inner = selector[1:-1]
    terms = (
        f'{number} * ({metric}{{{inner},{label}="{value}"}} == 1)' for number, value in enumerate(known, 1)
    )
    return f"max by ({_BY_CHARGER}) ({' or '.join(terms)})"


def report_age(selector: str = CHARGER) -> str:
    """Seconds between a charger's last report and the answer that told of it.

    By the cloud's own clock where the answer carries it: else a clock that is off would look like silence.
    """
    reported = per_charger("enphase_ev_charger_last_reported_timestamp_seconds", selector)
    answered = per_site("enphase_ev_status_timestamp_seconds")
    return f"clamp_min({answered} - on (site_id) group_right () {reported} or time() - {reported}, 0)"


def status_age() -> str:
    """Seconds since the exporter last had a usable status of a site."""
    return f"clamp_min(time() - {last_success('status')}, 0)"


def last_success(endpoint: str) -> str:
    """When an endpoint last gave a usable answer, one series per site."""
    selector = f'{{site_id=~"$site",endpoint="{endpoint}"}}'
    return per_site("enphase_ev_last_success_timestamp_seconds", selector)


def session_seconds() -> str:
    """How long the current session has lasted, or the last one did.

    A car that was plugged in after the session began is another one, whose session is yet to begin.
    """
    start = per_charger("enphase_ev_charger_session_start_timestamp_seconds")
    end = per_charger("enphase_ev_charger_session_plugged_out_timestamp_seconds")
    plugged_in = f"{per_charger('enphase_ev_charger_plugged_in')} == 1"
    now = per_site("enphase_ev_status_timestamp_seconds")
    arrival = per_charger("enphase_ev_charger_session_plugged_in_timestamp_seconds")
    begun = f"{start} and {plugged_in} unless {start} + 60 < {arrival}"
    current = f"{now} - on (site_id) group_right () ({begun})"
    return f"clamp_min({current} or {end} - {start} > 0, 0)"


def rose(counter: str, selector: str, by: str) -> str:
    """Where a counter is higher than a step ago, between which it may have been away for up to an hour."""
    before = f"last_over_time({counter}{selector}[1h] offset $__interval)"
    return f"max by ({by}) ({counter}{selector} > {before})"
