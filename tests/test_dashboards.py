"""The Grafana dashboards: built from one description, and asking only for what the exporter exposes."""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from dashboards.grafana.build import FOLDER, texts
from exporter.metrics import catalogue
from tests.dashboard_queries import (
    FILES,
    DashboardQuery,
    asked_by,
    dashboard,
    family,
    metrics_used,
    panels,
    queries,
)

NAMES = [path.name for path in FILES]
UIDS = {
    "charger.json": "enphase-ev-charger",
    "fleet.json": "enphase-ev-fleet",
    "exporter.json": "enphase-ev-exporter",
}
# What Prometheus adds to every series, and what prometheus-client says of the process.
FROM_PROMETHEUS = {"instance", "job"}
LIBRARY = {
    "process_cpu_seconds_total": set[str](),
    "process_open_fds": set[str](),
    "process_resident_memory_bytes": set[str](),
    "process_start_time_seconds": set[str](),
}
LABELS = {entry.name: set(entry.labels) for entry in catalogue()} | LIBRARY
# Panels that every Grafana from 10.4 to 12 has.
PANEL_TYPES = {"timeseries", "stat", "state-timeline", "table", "bargauge"}
NUMERIC_WITHOUT_UNIT = {"state-timeline", "table"}  # words; units by column
NOT_ON_A_DASHBOARD: dict[str, str] = {}

EVERY_PANEL = [
    pytest.param(panel, id=f"{name.removesuffix('.json')}: {panel['title']}")
    for name in NAMES
    for panel in panels(name)
]
EVERY_QUERY = [pytest.param(query, id=query.name) for query in queries()]


def test_there_are_three_dashboards_with_stable_uids() -> None:
    assert {name: dashboard(name)["uid"] for name in NAMES} == UIDS


@pytest.mark.parametrize("name", sorted(UIDS))
def test_the_committed_json_is_what_the_script_builds(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == texts()[name]


@pytest.mark.parametrize("query", EVERY_QUERY)
def test_a_query_asks_only_for_metrics_and_labels_that_exist(query: DashboardQuery) -> None:
    asked = asked_by(query.expr)
    assert asked.metrics
    for metric, labels in asked.metrics.items():
        assert labels <= labels_of(metric) | FROM_PROMETHEUS
    known = set[str]().union(*map(labels_of, asked.metrics)) | asked.made | FROM_PROMETHEUS
    assert asked.grouped <= known
    legend = set(re.findall(r"{{(\w+)}}", query.target.get("legendFormat", "")))
    assert legend <= known


def labels_of(metric: str) -> set[str]:
    labels = LABELS[family(metric)]
    return labels | {"le"} if metric.endswith("_bucket") else labels


def test_the_queries_are_read_as_prometheus_reads_them() -> None:
    asked = asked_by(
        'sum by (site_id, le) (rate(a_bucket{job=~"x (y)",le!=""}[5m] offset -1d))'
        " / on (site_id) group_left (name) "
        'label_replace(b{c="d"} == 1, "made", "$1", "e", "(f)") or vector(0) unless up'
    )
    assert asked.metrics == {"a_bucket": {"job", "le"}, "b": {"c"}, "up": set()}
    assert asked.grouped == {"site_id", "le", "name"}
    assert asked.made == {"made"}
    with pytest.raises(ValueError, match="not PromQL"):
        asked_by("up ?")


def test_every_metric_is_on_a_dashboard_or_has_a_reason_not_to_be() -> None:
    absent = {entry.name for entry in catalogue()} - metrics_used()
    assert absent == set(NOT_ON_A_DASHBOARD)


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["type"] in PANEL_TYPES
    assert len(panel["description"]) > 20
    assert panel["description"].rstrip().endswith(".")
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["noValue"]
    is_in_words = panel["type"] in NUMERIC_WITHOUT_UNIT or "mappings" in defaults
    assert is_in_words or defaults["unit"]
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_ids_of_their_own_and_do_not_overlap(name: str) -> None:
    everything = dashboard(name)["panels"]
    ids = [panel["id"] for panel in everything]
    assert len(set(ids)) == len(ids)
    for one, other in combinations([panel["gridPos"] for panel in everything], 2):
        assert are_apart(one, other) or are_apart(other, one)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels(name))
    titles = [panel["title"] for panel in panels(name)]
    assert len(set(titles)) == len(titles)


def are_apart(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether one ends where, or before, the other begins."""
    return one["x"] + one["w"] <= other["x"] or one["y"] + one["h"] <= other["y"]


@pytest.mark.parametrize("name", NAMES)
def test_only_the_variable_says_which_data_source(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert "__inputs" not in text
    assert "__requires" not in text
    uids = re.findall(r'"datasource": {\s*"type": "(\w+)",\s*"uid": "([^"]*)"', text)
    assert set(uids) == {("prometheus", "${datasource}")}
    assert text.count('"datasource": ') == len(uids)
    (variable,) = [one for one in variables(name) if one["type"] == "datasource"]
    assert (variable["name"], variable["query"]) == ("datasource", "prometheus")
    for target in (target for panel in panels(name) for target in panel["targets"]):
        assert "datasource" in target


def variables(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard(name)["templating"]["list"]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_used_and_every_used_one_exists(name: str) -> None:
    used = set(re.findall(r"\$(?:{)?([a-z]\w*)", json.dumps(dashboard(name)).replace("$1", "")))
    assert used == {variable["name"] for variable in variables(name)}


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_depends_only_on_those_before_it(name: str) -> None:
    before: set[str] = set()
    for variable in variables(name):
        used = set(re.findall(r"\$([a-z]+)", variable["query"]))
        assert used <= before
        before.add(variable["name"])


@pytest.mark.parametrize(
    ("variable", "line", "shown", "value"),
    [
        ("site", '{site="Main \\" Site",site_id="1234567"} 1 1795369636000', "Main \\", "1234567"),
        ("site", '{site="Lake House",site_id="1234568"} 1 1795369636000', "Lake House", "1234568"),
        ("charger", '{name="Garage",serial="4825",site_id="12"} 1 1795369636000', "Garage", "4825"),
        ("charger", '{name="",serial="4825",site_id="12"} 1 1795369636000', "", "4825"),
    ],
)
def test_a_variable_shows_the_name_and_stands_for_the_id(
    variable: str, line: str, shown: str, value: str
) -> None:
    (regex,) = [one["regex"] for one in variables("charger.json") if one["name"] == variable]
    match = re.search(regex.strip("/").replace("(?<", "(?P<"), line)
    assert match
    assert (match["text"], match["value"]) == (shown, value)


@pytest.mark.parametrize("name", NAMES)
def test_dashboards_link_to_each_other_with_variables_and_time(name: str) -> None:
    (link,) = dashboard(name)["links"]
    assert link["type"] == "dashboards"
    assert set(link["tags"]) <= set(dashboard(name)["tags"])
    assert (link["includeVars"], link["keepTime"]) == (True, True)


def test_links_to_a_dashboard_lead_to_one_that_exists() -> None:
    everything = "".join((FOLDER / name).read_text(encoding="utf-8") for name in NAMES)
    assert set(re.findall(r'"/d/([\w-]+)', everything)) <= set(UIDS.values())


def test_session_starts_faults_firmware_changes_and_rate_limits_are_marked() -> None:
    marks = {one["name"] for one in dashboard("charger.json")["annotations"]["list"]}
    assert marks == {"Session start", "Fault", "Firmware change", "Rate limiting"}


@pytest.mark.parametrize("query", EVERY_QUERY)
def test_a_rate_looks_back_over_a_window_that_fits_slow_data(query: DashboardQuery) -> None:
    """Over $__rate_interval, which is at least four of the target's steps, or over a whole period."""
    windows = re.findall(r"(?:rate|increase)\([^[]*\[([^\]]+)\]", query.expr)
    assert set(windows) <= {"$__rate_interval", "$__range", "1d", "1w"}
    if query.target.get("range"):
        assert query.target["interval"] in {"1m", "1d", "1w"}
