"""The dashboard of many sites: who charges, who needs somebody, where the energy goes."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from dashboards.grafana.board import (
    Description,
    charger_annotations,
    datasource_variable,
    rate_limit_annotation,
    site_variable,
)
from dashboards.grafana.charger_energy import ENERGY
from dashboards.grafana.panels import (
    Column,
    Columns,
    Frame,
    bars,
    graph,
    listing,
    number,
    ranking,
    stacked,
    tiles,
)
from dashboards.grafana.queries import (
    DAY,
    SILENT_SECONDS,
    SITE,
    Query,
    grown,
    named,
    per_charger,
    per_site,
    report_age,
    site_named,
    site_names,
    state,
    status_age,
)
from dashboards.grafana.states import GOOD, STATES, STATUS_WORDS, VERMILION, YES_NO, steps

_OPEN_CHARGER = (
    "/d/enphase-ev-charger?var-datasource=${datasource}&var-site=$__all"
    "&var-charger=${__data.fields.Serial}&${__url_time_range}"
)
_SERIAL = Column("serial", "Serial", link=_OPEN_CHARGER)


def description() -> Description:
    """The whole dashboard."""
    return Description(
        uid="enphase-ev-fleet",
        title="Enphase EV / Fleet",
        text="All chargers of all sites: who charges, who is at fault, offline or silent, energy by site.",
        hours=24,
        variables=(datasource_variable(), site_variable()),
        annotations=(*charger_annotations(SITE), rate_limit_annotation()),
        rows=(
            ("Now", _counts()),
            ("States", [*_states(), _attention()]),
            ("Energy", _energy()),
            ("Sites", [_sites(), *_ages()]),
        ),
    )


def _by_site(expr: str) -> str:
    return f"sum by (site_id) ({expr})"


def _charger(metric: str) -> str:
    return per_charger(metric, SITE)


_CONNECTED = _charger("enphase_ev_charger_connected")
_COUNTS = (
    ("Sites answering", "Sites whose last status poll worked.", f"sum({per_site('enphase_ev_up')})"),
    (
        "Sites failing",
        "Sites whose last status poll did not work; their chargers vanish from here after poll.stale_after.",
        f"sum(1 - {per_site('enphase_ev_up')})",
    ),
    ("Chargers", "Chargers that are reported now.", f"sum({per_site('enphase_ev_chargers')})"),
    ("Plugged in", "Chargers with a car plugged in.", f"sum({_charger('enphase_ev_charger_plugged_in')})"),
    ("Charging", "Chargers with power flowing now.", f"sum({_charger('enphase_ev_charger_charging')})"),
    ("Faulted", "Chargers that report a fault.", f"sum({_charger('enphase_ev_charger_faulted')})"),
    (
        "Offline",
        "Chargers that the cloud cannot reach.",
        f"sum(1 - {_CONNECTED})",
    ),
    (
        "Silent",
        "Chargers whose own last report is older than 30 minutes although the cloud can reach them.",
        f"sum(({report_age(SITE)} > bool {SILENT_SECONDS}) * on (site_id, serial) {_CONNECTED})",
    ),
)
_BAD = ("Sites failing", "Faulted", "Offline", "Silent")


def _counts() -> list[Builder[dashboard.Panel]]:
    return [_count(*words) for words in _COUNTS]


def _count(title: str, text: str, expr: str) -> Builder[dashboard.Panel]:
    limits = steps(GOOD, (1, VERMILION)) if title in _BAD else ()
    frame = Frame(title, text, "none", span=3, height=4, empty="no data", decimals=0)
    return number(frame, Query(expr), limits=limits)


def _states() -> list[Builder[dashboard.Panel]]:
    states = Frame(
        "Map of states",
        "A tile per charger in the colour of its state. For more than some hundred chargers choose "
        "sites above.",
        height=10,
    )
    counts = Frame(
        "Chargers by state",
        "How many chargers were in each state, by the connector's status. Less in sum than before: chargers "
        "are not reported any more.",
        "none",
        height=10,
    )
    # Nine in ten of these series are 0 and go before anything is made of them: a sixth of the time for many.
    by_charger = f"max by (site_id, serial, status) (enphase_ev_charger_connector_status{SITE} == 1)"
    names = {status.value: words for status, words in STATUS_WORDS.items()}
    return [
        tiles(states, Query(named(state(SITE), SITE), "{{name}}"), STATES),
        stacked(counts, Query(f"count by (status) ({by_charger})", "{{status}}"), words=names),
    ]


def _attention() -> Builder[dashboard.Panel]:
    frame = Frame(
        "Needs attention",
        "Chargers that are at fault, else offline, else silent (no report of their own for 30 "
        "minutes while the cloud answers), with the age of that report. An empty list is good news, "
        "unless sites fail.",
        span=24,
        height=6,
        empty="no charger is at fault, offline or silent",
    )
    columns = Columns(
        (
            Column("site", "Site"),
            Column("name", "Charger"),
            _SERIAL,
            Column("problem", "Problem"),
            Column("Value #B", "Last report", "dtdurations", decimals=0),
        ),
        ("Time", "site_id", "Value #A"),
        "Site",
    )
    problems = _problems()
    age = f"{report_age(SITE)} and on (site_id, serial) ({problems})"
    return listing(frame, columns, Query(site_named(named(problems, SITE, keep="problem"))), Query(age))


def _problems() -> str:
    """One series of value 1 per charger that needs somebody; the gravest problem is its label."""
    kinds = {
        "fault": f"{_charger('enphase_ev_charger_faulted')} == 1",
        "offline": f"1 - ({_CONNECTED} == 0)",
        "silent": f"{report_age(SITE)} > bool {SILENT_SECONDS} == 1",
    }
    labelled = (f'label_replace({expr}, "problem", "{kind}", "", "")' for kind, expr in kinds.items())
    return " or on (site_id, serial) ".join(labelled)


def _energy() -> list[Builder[dashboard.Panel]]:
    in_range = _by_site(grown(ENERGY, SITE))
    by_day = _by_site(grown(ENERGY, SITE, DAY))
    power = _by_site(_charger("enphase_ev_charger_power_watts"))
    sessions = _by_site(grown("enphase_ev_charger_sessions_total", SITE, DAY))
    top = f"topk(10, {grown(ENERGY, SITE)})"
    days = "A day begins at midnight of the dashboard's time zone."
    return [
        stacked(
            Frame("Power by site", "Estimated power of the chargers of each site, upon each other.", "watt"),
            Query(site_named(power), "{{site}}"),
        ),
        bars(
            Frame("Energy per day", f"Energy of each day by site. {days}", "kwatth", since="now-30d"),
            Query(site_named(by_day, DAY), "{{site}}", min_step="1d"),
        ),
        ranking(
            Frame("Energy by site", "Energy in the time shown.", "kwatth", span=8, height=9, decimals=1),
            Query(f"sort_desc({site_named(in_range)})", "{{site}}"),
        ),
        ranking(
            Frame("Top chargers", "The ten with most energy in the time shown.", "kwatth", 8, 9, decimals=1),
            Query(f"sort_desc({named(top, SITE)})", "{{name}}"),
        ),
        bars(
            Frame(
                "Sessions per day",
                f"Sessions begun, by site. {days}",
                "none",
                8,
                9,
                since="now-30d",
            ),
            Query(site_named(sessions, DAY), "{{site}}", min_step="1d"),
        ),
    ]


_SITE_COLUMNS = Columns(
    (
        Column("site", "Site"),
        Column("site_id", "Id"),
        Column("account", "Account"),
        Column("Value #B", "Answering", words=YES_NO),
        Column("Value #C", "Chargers", "none", decimals=0),
        Column("Value #D", "Charging", "none", decimals=0),
        Column("Value #E", "Power", "watt"),
        Column("Value #F", "Energy", "kwatth", decimals=1),
        Column("Value #G", "Status age", "dtdurations", decimals=0),
    ),
    ("Time", "Value #A"),
    "Site",
)


def _sites() -> Builder[dashboard.Panel]:
    frame = Frame(
        "Sites",
        "Every site: the account it is read with, whether its last status poll worked, its chargers, their "
        "estimated power now, the energy in the time shown, and how old its status is.",
        span=24,
        height=7,
        empty="-",
    )
    account = f"max by (site_id, account) (enphase_ev_site_info{SITE})"
    named_site = f"{account} * on (site_id) group_left (site) {site_names()}"
    return listing(
        frame,
        _SITE_COLUMNS,
        Query(named_site),
        Query(per_site("enphase_ev_up")),
        Query(per_site("enphase_ev_chargers")),
        Query(_by_site(_charger("enphase_ev_charger_charging"))),
        Query(_by_site(_charger("enphase_ev_charger_power_watts"))),
        Query(_by_site(grown(ENERGY, SITE))),
        Query(status_age()),
    )


def _ages() -> list[Builder[dashboard.Panel]]:
    status = Frame(
        "Age of the status",
        "How long ago the exporter last had a usable status of each site. It should stay below twice "
        "the poll interval; a slope is a cloud or an exporter that is down.",
        "s",
    )
    report = Frame(
        "Oldest report",
        "Age of the oldest report of each site's chargers when the cloud last told of it. A slope is "
        "a silent charger.",
        "s",
    )
    oldest = f"max by (site_id) ({report_age(SITE)})"
    return [
        graph(status, Query(site_named(status_age()), "{{site}}")),
        graph(report, Query(site_named(oldest), "{{site}}")),
    ]
