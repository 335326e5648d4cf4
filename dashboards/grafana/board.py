"""What the dashboards have in common: variables, links to each other, annotations, rows, ids."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from dashboards.grafana.panels import DATASOURCE
from dashboards.grafana.queries import ANY_SITE, CHARGER, SHOWN, SITE, charger_names, named, rose, site_names
from dashboards.grafana.states import BLUE, ORANGE, PURPLE, VERMILION

TAG = "enphase-ev"
_ANNOTATION_STEP = "1m"
_ALL = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
# Fields of Grafana's schema that mean nothing for the kind of variable at hand.
_NOISE = ("auto", "auto_count", "auto_min", "id", "skipUrlSync")

Row = tuple[str, Iterable[Builder[dashboard.Panel]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """Marks on every graph where `expr` is above 0."""

    name: str
    colour: str
    expr: str
    title: str
    text: str
    tags: str


def charger_annotations(selector: str = CHARGER) -> tuple[Annotation, ...]:
    """Session start, fault and firmware change of chargers."""
    info = f'enphase_ev_charger_info{{{selector[1:-1]},firmware_version!=""}}'
    by_firmware = f"max by (site_id, serial, name, firmware_version) ({info})"
    before = f"last_over_time({info}[1h] offset $__interval)"
    is_new = f"unless on (site_id, serial, firmware_version) {before}"
    was_there = f"and on (site_id, serial) {before}"
    return (
        Annotation(
            name="Session start",
            colour=BLUE,
            expr=_named_event("enphase_ev_charger_sessions_total", selector),
            title="Session begun",
            text="{{name}}",
            tags="site_id,serial",
        ),
        Annotation(
            name="Fault",
            colour=VERMILION,
            expr=_named_event("enphase_ev_charger_faults_total", selector),
            title="Fault",
            text="{{name}}",
            tags="site_id,serial",
        ),
        Annotation(
            name="Firmware change",
            colour=PURPLE,
            expr=f"{by_firmware} {is_new} {was_there}",
            title="New firmware",
            text="{{name}}: {{firmware_version}}",
            tags="site_id,serial",
        ),
    )


def _named_event(counter: str, selector: str) -> str:
    """Named by what is known at the end of the time shown: asked once, where each step would ask again."""
    events = rose(counter, selector, "site_id, serial")
    return named(events, selector, window=f"{SHOWN} @ end()")


def rate_limit_annotation(selector: str = "") -> Annotation:
    """429 answers of the cloud."""
    return Annotation(
        name="Rate limiting",
        colour=ORANGE,
        expr=rose("enphase_ev_api_rate_limited_total", selector, "account, endpoint"),
        title="Rate limited by the cloud",
        text="{{account}}: {{endpoint}}",
        tags="account,endpoint",
    )


def datasource_variable() -> board.DatasourceVariable:
    """Which Prometheus; the only place that says so."""
    return board.DatasourceVariable("datasource").label("Data source").type("prometheus")


def site_variable() -> board.QueryVariable:
    """Sites by name. One that is not reported any more stays as long as the time shown holds it."""
    query = _now_or_before(site_names(selector=ANY_SITE), site_names(SHOWN, ANY_SITE))
    regex = '/[{,]site="(?<text>[^"]*)".*site_id="(?<value>[^"]*)"/'
    return _names("site", "Site", query, regex)


def charger_variable() -> board.QueryVariable:
    """Chargers of the sites by name."""
    query = _now_or_before(charger_names(SITE), charger_names(SITE, SHOWN))
    regex = '/[{,]name="(?<text>[^"]*)".*serial="(?<value>[^"]*)"/'
    return _names("charger", "Charger", query, regex)


def account_variable() -> board.QueryVariable:
    """Accounts, which have no other name."""
    return _names("account", "Account", "label_values(enphase_ev_api_request_budget_per_hour, account)", "")


def tariff_variable() -> board.TextBoxVariable:
    """The price of a kWh in whatever currency."""
    variable = board.TextBoxVariable("tariff").label("Price per kWh").default_value("0.30")
    return variable.description("With a decimal point, without a currency: 0.30")


def _now_or_before(names: str, names_before: str) -> str:
    return f"query_result({names} or {names_before})"


def _names(name: str, label: str, query: str, regex: str) -> board.QueryVariable:
    variable = board.QueryVariable(name).label(label).query(query).regex(regex).datasource(DATASOURCE)
    variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True)
    return (
        variable.all_value(".+").current(_ALL).sort(dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One dashboard before it is written."""

    uid: str
    title: str
    text: str
    hours: int
    variables: tuple[Builder[dashboard.VariableModel], ...]
    annotations: tuple[Annotation, ...]
    rows: tuple[Row, ...]


def json_text(description: Description) -> str:
    """The dashboard as the text of its file."""
    builder = (
        board.Dashboard(description.title)
        .uid(description.uid)
        .description(description.text)
        .tags([TAG])
        .time(f"now-{description.hours}h", "now")
        .refresh("1m")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .editable()
        .link(_links())
        .variables(list(description.variables))
    )
    for title, panels in description.rows:
        builder.with_row(board.Row(title))
        for panel in panels:
            builder.with_panel(panel)
    built: dict[str, Any] = json.loads(json.dumps(builder.build(), cls=JSONEncoder))
    built["annotations"] = {"list": [_annotation(one) for one in description.annotations]}
    del built["style"]  # Grafana has given it up
    for number, panel in enumerate(built["panels"], 1):
        panel["id"] = number
    for variable in built["templating"]["list"]:
        for name in _NOISE:
            variable.pop(name, None)
    return json.dumps(built, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _links() -> board.DashboardLink:
    """All dashboards with the tag, this one too; variables and time go along."""
    link = board.DashboardLink("Enphase EV").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.include_vars(True).keep_time(True).as_dropdown(False)


def _annotation(annotation: Annotation) -> dict[str, Any]:
    """As Prometheus annotations are stored by Grafana 10 and still read by 12: the SDK lacks half of it."""
    return {
        "name": annotation.name,
        "datasource": DATASOURCE.to_json(),
        "enable": True,
        "hide": False,
        "iconColor": annotation.colour,
        "expr": annotation.expr,
        "step": _ANNOTATION_STEP,
        "titleFormat": annotation.title,
        "textFormat": annotation.text,
        "tagKeys": annotation.tags,
        "useValueForTime": False,
    }
