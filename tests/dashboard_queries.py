"""What the committed dashboards ask Prometheus for: their queries, and the metrics and labels in them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "dashboards" / "grafana"
FILES = sorted(FOLDER.glob("*.json"))

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<window>\[[^\]]*\])
      | (?P<variable>\$\{?\w+\}?)
      | (?P<number>\d[\w.]*)
      | (?P<word>[A-Za-z_:][\w:]*)
      | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},@])
      | (?P<space>\s+)""",
    re.VERBOSE,
)
_LISTS_LABELS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "start", "end", "inf", "nan"}
_MAKES_LABELS = {"label_replace", "label_join"}


@dataclass
class Asked:
    """What one expression asks for: metrics with the labels matched on each, labels grouped or joined by.

    `made` are the labels that the expression itself makes.
    """

    metrics: dict[str, set[str]] = field(default_factory=dict)
    grouped: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)


def asked_by(expr: str) -> Asked:
    """The metrics and labels of a PromQL expression, Grafana's variables included. Raises ValueError."""
    asked = Asked()
    tokens = list(_tokens(expr))
    place = 0
    while place < len(tokens):
        kind, text = tokens[place]
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        place += 1
        if kind != "word" or text in _WORDS:
            continue
        if text in _LISTS_LABELS:
            if following == "(":
                place = _labels_until_closed(tokens, place + 1, asked.grouped)
        elif following == "(":
            if text in _MAKES_LABELS:
                asked.made.add(_second_argument(tokens, place))
        elif following not in ("by", "without"):  # an aggregation may say so before its argument
            labels = asked.metrics.setdefault(text, set())
            if following == "{":
                place = _matchers(tokens, place + 1, labels)
    return asked


def _tokens(expr: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(expr):
        match = _TOKEN.match(expr, place)
        if match is None:
            raise ValueError(f"not PromQL from here on: {expr[place : place + 40]!r}")
        place = match.end()
        if match.lastgroup != "space":
            yield str(match.lastgroup), match[0]


def _labels_until_closed(tokens: list[tuple[str, str]], place: int, labels: set[str]) -> int:
    while tokens[place][1] != ")":
        if tokens[place][0] == "word":
            labels.add(tokens[place][1])
        place += 1
    return place + 1


def _matchers(tokens: list[tuple[str, str]], place: int, labels: set[str]) -> int:
    while tokens[place][1] != "}":
        if tokens[place][0] == "word":
            labels.add(tokens[place][1])
        place += 1
    return place + 1


def _second_argument(tokens: list[tuple[str, str]], place: int) -> str:
    """The label that a label_replace or label_join, whose ( stands at `place`, makes."""
    depth = 0
    for at in range(place, len(tokens)):
        sign = tokens[at][1]
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(sign, 0)
        if sign == "," and depth == 1:
            return tokens[at + 1][1].strip("\"'")
    raise ValueError("label_replace without a label")


@dataclass(frozen=True)
class DashboardQuery:
    """One query of a dashboard, and where it stands. `panel` is {} for variables and annotations."""

    file: str
    place: str
    ref_id: str
    expr: str
    target: Mapping[str, Any] = field(default_factory=dict)
    panel: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return " / ".join(part for part in (self.file.removesuffix(".json"), self.place, self.ref_id) if part)


@cache
def dashboard(file: str) -> Any:
    """The dashboard of one file."""
    return json.loads((FOLDER / file).read_text(encoding="utf-8"))


def panels(file: str) -> list[dict[str, Any]]:
    """Its panels without the rows."""
    return [panel for panel in dashboard(file)["panels"] if panel["type"] != "row"]


def queries() -> list[DashboardQuery]:
    """Every query of every dashboard: of panels, variables and annotations."""
    return [query for path in FILES for query in _queries_of(path.name)]


def _queries_of(file: str) -> Iterator[DashboardQuery]:
    for panel in panels(file):
        for target in panel["targets"]:
            yield DashboardQuery(file, panel["title"], target["refId"], target["expr"], target, panel)
    for variable in dashboard(file)["templating"]["list"]:
        if variable["type"] == "query":
            yield DashboardQuery(file, f"variable {variable['name']}", "", _variable_expr(variable["query"]))
    for annotation in dashboard(file)["annotations"]["list"]:
        yield DashboardQuery(file, f"annotation {annotation['name']}", "", annotation["expr"])


def _variable_expr(query: str) -> str:
    """The PromQL inside query_result(...), or label_values(metric, label) as a selector."""
    result = re.fullmatch(r"query_result\((.+)\)", query)
    if result:
        return result[1]
    values = re.fullmatch(r"label_values\((\w+(?:{.*})?), *(\w+)\)", query)
    assert values, f"not a query that Grafana's variables know: {query}"
    return f"group by ({values[2]}) ({values[1]})"


def metrics_used() -> set[str]:
    """Every metric that a dashboard asks for, by its name in docs/metrics.md."""
    return {family(metric) for query in queries() for metric in asked_by(query.expr).metrics}


def family(metric: str) -> str:
    """The name of a histogram's family for one of its three series; any other name as it is."""
    return re.sub(r"_(bucket|sum|count)$", "", metric)
