"""Draws a dashboard with the real results of its queries: a page laid out by the panels' grid.

No picture of Grafana: a way to see whether panels say something, whether words fit, and what is missing.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tests.dashboard_queries import DashboardQuery, dashboard, queries
from tests.e2e.panel_data import View, legend
from tests.e2e.panel_svg import Field, Line, Mark, graph, ink_on, timeline
from tests.e2e.panel_words import coloured, mapped, palette, written
from tests.e2e.prometheus_server import Series

WIDTH = 1400
_CELL, _ROW, _GAP = WIDTH / 24, 32, 8
_STYLE = """
body { margin: 0; background: #111217; color: #ccccdc; font: 12px/1.3 sans-serif }
.panel, .row { position: absolute; box-sizing: border-box; overflow: hidden }
.panel { background: #181b1f; border: 1px solid #2c3235; border-radius: 2px; padding: 6px 8px }
.row { font-weight: bold; font-size: 14px; padding: 8px 4px }
h2 { font-size: 13px; margin: 0 0 4px; font-weight: 500 }
svg text { font-size: 11px }
.legend span { margin-right: 12px; white-space: nowrap } .legend i { display: inline-block; width: 12px;
 height: 4px; margin-right: 4px; vertical-align: middle }
.tiles { display: grid; gap: 4px; grid-auto-flow: row; position: absolute; inset: 28px 6px 6px }
.tile { text-align: center; display: flex; flex-direction: column; justify-content: center;
 overflow: hidden; border-radius: 2px } .tile b { font-weight: 500 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: 5px 8px;
 border-bottom: 1px solid #2c3235; white-space: nowrap } th { color: #6e9fff; font-weight: 500 }
.empty { position: absolute; inset: 40% 10px auto; text-align: center; color: #8e8e99 }
.gauge { display: grid; grid-template-columns: 170px 1fr 90px; gap: 8px; align-items: center; margin: 6px 0 }
.gauge i { display: block; height: 18px } h1 { font-size: 18px; margin: 10px 8px; font-weight: 500 }
"""

Config = Mapping[str, Any]
Answers = Sequence[tuple[DashboardQuery, list[Series]]]


def page(view: View, file: str) -> str:
    """The whole dashboard as HTML without scripts or other files."""
    asked = [query for query in queries() if query.file == file]
    marks = [mark for query in asked if query.place.startswith("annotation") for mark in _marks(view, query)]
    panels = [_placed(view, panel, asked, marks) for panel in dashboard(file)["panels"]]
    title = escape(dashboard(file)["title"])
    return (
        f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1>{''.join(panels)}"
    )


def height_of(file: str) -> int:
    """The page's height in pixels."""
    grids = [panel["gridPos"] for panel in dashboard(file)["panels"]]
    return _top(max(grid["y"] + grid["h"] for grid in grids))


def _top(row: int) -> int:
    return 44 + row * _ROW


def _marks(view: View, query: DashboardQuery) -> list[Mark]:
    annotations = dashboard(query.file)["annotations"]["list"]
    colours = {f"annotation {one['name']}": one["iconColor"] for one in annotations}
    found = view.answer(query)
    return [Mark(at, colours[query.place]) for one in found for at, value in one.samples if value > 0]


def _placed(view: View, panel: dict[str, Any], asked: Sequence[DashboardQuery], marks: Sequence[Mark]) -> str:
    grid = panel["gridPos"]
    width, height = grid["w"] * _CELL - _GAP, grid["h"] * _ROW - _GAP
    style = f"left:{grid['x'] * _CELL + _GAP / 2:.0f}px;top:{_top(grid['y'])}px;width:{width:.0f}px"
    if panel["type"] == "row":
        return f'<div class="row" style="{style}">{escape(panel["title"])}</div>'
    answers = [(query, view.answer(query)) for query in asked if query.panel is panel]
    inside = _drawn(view, panel, answers, marks, (width - 18, height - 34))
    heading = f"<h2>{escape(panel['title'])}</h2>"
    return f'<div class="panel" style="{style};height:{height}px">{heading}{inside}</div>'


def _drawn(
    view: View,
    panel: dict[str, Any],
    answers: Answers,
    marks: Sequence[Mark],
    size: tuple[float, float],
) -> str:
    if not any(series for _, series in answers):
        return f'<div class="empty">{escape(panel["fieldConfig"]["defaults"]["noValue"])}</div>'
    match panel["type"]:
        case "stat":
            return _tiles(panel, answers, size)
        case "table":
            return _table(panel, answers)
        case "bargauge":
            return _gauges(panel, answers)
    start, step = view.range_of(answers[0][0])
    lines = _lines(panel, answers)
    config = panel["fieldConfig"]["defaults"]
    if panel["type"] == "state-timeline":
        return timeline(Field(size[0], size[1], start, view.end, step), lines, config)
    # A step of a day or a week stands for what follows it.
    end = max(view.end, start + step * ((view.end - start) // step + 1)) if step > 3600 else view.end
    field = Field(size[0], size[1] - 18 * _legend_rows(lines, size[0]), start, end, step)
    shown = [mark for mark in marks if start <= mark.at <= view.end and step < 3600]
    return graph(field, lines, shown, config) + _legend(lines)


def _lines(panel: dict[str, Any], answers: Answers) -> list[Line]:
    lines: list[Line] = []
    for query, found in answers:
        for series in found:
            lines.append(_line(panel, legend(query, series), palette(len(lines)), series))
    return lines


def _line(panel: dict[str, Any], name: str, colour: str, series: Series) -> Line:
    """The series as the panel's overrides make it look."""
    properties = _overrides(panel, name)
    shown_colour = properties.get("color", {}).get("fixedColor", colour)
    is_dashed = "custom.lineStyle" in properties
    return Line(properties.get("displayName", name), shown_colour, series.samples, is_dashed)


def _overrides(panel: dict[str, Any], name: str, ref_id: str = "") -> dict[str, Any]:
    """What the panel sets for a field of that name or of that query."""
    return {
        one["id"]: one["value"]
        for override in panel["fieldConfig"]["overrides"]
        if _is_meant(override["matcher"], name, ref_id)
        for one in override["properties"]
    }


def _is_meant(matcher: dict[str, str], name: str, ref_id: str) -> bool:
    wanted = matcher["options"]
    match matcher["id"]:
        case "byName":
            return wanted == name
        case "byRegexp":
            return re.search(wanted.strip("/"), name) is not None
        case "byFrameRefID":
            return wanted == ref_id
    raise ValueError(f"a matcher that is not known here: {matcher}")


def _legend_rows(lines: Sequence[Line], width: float) -> int:
    return max(1, round(sum(len(line.name) * 6.2 + 30 for line in lines) / width + 0.5))


def _legend(lines: Sequence[Line]) -> str:
    spans = (f'<span><i style="background:{line.colour}"></i>{escape(line.name)}</span>' for line in lines)
    return f'<div class="legend">{" ".join(spans)}</div>'


def _tiles(panel: dict[str, Any], answers: Answers, size: tuple[float, float]) -> str:
    found = [(query, series) for query, one in answers for series in one]
    columns = len(found) if size[0] / len(found) > 110 or len(found) == 1 else 1
    if len(found) > 1 and columns == 1 and size[0] > 400:
        columns = 4
    width, height = size[0] / columns, size[1] / -(-len(found) // columns)
    tiles = "".join(_tile(panel, query, series, (width, height)) for query, series in found)
    return f'<div class="tiles" style="grid-template-columns:repeat({columns},1fr)">{tiles}</div>'


def _tile(panel: dict[str, Any], query: DashboardQuery, series: Series, size: tuple[float, float]) -> str:
    config = panel["fieldConfig"]["defaults"] | _overrides(panel, "", query.ref_id)
    text = written(series.value, config)
    is_filled = panel["options"]["colorMode"].startswith("background")
    colour = coloured(series.value, config) if is_filled else ""
    name = f"<small>{escape(legend(query, series))}</small>" if query.target.get("legendFormat") else ""
    pixels = max(11, min(30, size[1] * 0.42, 1.6 * size[0] / max(len(text), 1)))
    style = f"background:{colour};color:{ink_on(colour)}" if colour else ""
    return f'<div class="tile" style="{style}">{name}<b style="font-size:{pixels:.0f}px">{text}</b></div>'


def _gauges(panel: dict[str, Any], answers: Answers) -> str:
    found = [(legend(query, series), series.value) for query, one in answers for series in one]
    top = max(value for _, value in found) or 1.0
    config = panel["fieldConfig"]["defaults"]
    return "".join(
        f'<div class="gauge"><span>{escape(name)}</span>'
        f'<i style="background:{palette(place)};width:{100 * value / top:.1f}%"></i>'
        f"<span>{written(value, config)}</span></div>"
        for place, (name, value) in enumerate(found)
    )


def _table(panel: dict[str, Any], answers: Answers) -> str:
    rows = _joined(answers)
    organised = next(one["options"] for one in panel["transformations"] if one["id"] == "organize")
    hidden, renamed, order = organised["excludeByName"], organised["renameByName"], organised["indexByName"]
    present = {name for row in rows for name in row} - set(hidden)
    columns = sorted(present, key=lambda name: order.get(name, len(order)))
    head = "".join(f"<th>{escape(renamed.get(name, name))}</th>" for name in columns)
    sort = next((one["displayName"] for one in panel["options"].get("sortBy", [])), "")
    source = next((name for name, title in renamed.items() if title == sort), "")
    rows.sort(key=lambda row: str(row.get(source, "")))
    body = "".join(
        f"<tr>{''.join(_cell(panel, renamed.get(name, name), row.get(name)) for name in columns)}</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _joined(answers: Answers) -> list[dict[str, Any]]:
    """Rows of all queries, joined on the labels they share, as Grafana's merge does."""
    rows: list[dict[str, Any]] = []
    column = "Value #{}" if len(answers) > 1 else "Value"
    for query, found in answers:
        for series in found:
            cells = series.labels | {column.format(query.ref_id): series.value}
            fits = [row for row in rows if all(row[key] == cells[key] for key in row.keys() & cells.keys())]
            if fits:
                fits[0].update(cells)
            else:
                rows.append(cells)
    return rows


def _cell(panel: dict[str, Any], title: str, value: Any) -> str:
    config = panel["fieldConfig"]["defaults"] | _overrides(panel, title)
    if value is None:
        return f"<td>{escape(config['noValue'])}</td>"
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    word = mapped(value, config)
    style = f' style="background:{word["color"]};color:{ink_on(word["color"])}"' if word else ""
    return f"<td{style}>{escape(written(value, config))}</td>"
