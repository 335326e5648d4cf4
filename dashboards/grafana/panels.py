"""The kinds of panels the dashboards are made of; each has a description and says what emptiness means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.grafana.queries import Query
from dashboards.grafana.states import Words, mapping

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
STALE = "No data: the charger is not reported now. See Freshness, and the dashboard Exporter and cloud."

AnyPanel = TypeVar("AnyPanel", timeseries.Panel, stat.Panel, table.Panel, statetimeline.Panel, bargauge.Panel)


@dataclass(frozen=True, slots=True)
class Frame:
    """What every panel has. `span` and `height` are in cells of Grafana's grid, 24 wide."""

    title: str
    description: str
    unit: str = ""
    span: int = 12
    height: int = 8
    empty: str = STALE
    decimals: int | None = None
    since: str = ""  # a time range of the panel's own, as Grafana writes it: now/w, now-30d


def graph(frame: Frame, *queries: Query) -> timeseries.Panel:
    """Lines in steps: a value stays until the next one comes, as it does with what is asked now and then."""
    return (
        _framed(timeseries.Panel(), frame, queries)
        .line_interpolation(options.LineInterpolation.STEP_AFTER)
        .line_width(2)
        .fill_opacity(8)
        .show_points(options.VisibilityMode.NEVER)
        .min(0)
        .color_scheme(_coloured(dashboard.FieldColorModeId.PALETTE_CLASSIC))
        .legend(_legend())
        .tooltip(_tooltip())
    )


def dashed(panel: timeseries.Panel, legends: str) -> timeseries.Panel:
    """Draws the series whose legends match a regex as thin dashes: limits beside what they limit."""
    style = {"fill": "dash", "dash": [6, 6]}
    looks = {"custom.lineStyle": style, "custom.lineWidth": 1, "custom.fillOpacity": 0}
    return panel.override_by_regexp(legends, [_property(name, value) for name, value in looks.items()])


def stacked(
    frame: Frame, *queries: Query, words: Mapping[str, tuple[str, str]] | None = None
) -> timeseries.Panel:
    """Areas upon each other; `words` gives a legend other words and its colour."""
    panel = graph(frame, *queries).fill_opacity(65).line_width(1).stacking(_stacking())
    for legend, (text, colour) in (words or {}).items():
        look = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_name(legend, [_property("displayName", text), _property("color", look)])
    return panel


def bars(frame: Frame, *queries: Query, centred: bool = False) -> timeseries.Panel:
    """Bars upon each other, one for each step; they stand after their time, or `centred` on it."""
    alignment = options.BarAlignment.CENTER if centred else options.BarAlignment.AFTER
    return (
        graph(frame, *queries)
        .draw_style(options.GraphDrawStyle.BARS)
        .bar_alignment(alignment)
        .bar_width_factor(0.8)
        .fill_opacity(80)
        .line_width(0)
        .stacking(_stacking())
    )


def number(
    frame: Frame,
    *queries: Query,
    words: Words | None = None,
    limits: Sequence[dashboard.Threshold] = (),
) -> stat.Panel:
    """The value now, in big; with `words` or `limits` on a ground of their colour.

    Queries are asked for this moment only: the last value of a range would still be shown when it is stale.
    """
    panel = _framed(stat.Panel(), frame, [replace(query, instant=True) for query in queries])
    mode = options.BigValueColorMode
    if words:
        panel.mappings(mapping(words))
    if limits:
        panel.thresholds(_thresholds(limits))
    return (
        panel.color_mode(mode.BACKGROUND_SOLID if words or limits else mode.NONE)
        .graph_mode(options.BigValueGraphMode.NONE)
        .text_mode(_text_mode(queries))
        .justify_mode(options.BigValueJustifyMode.CENTER)
        .reduce_options(_last())
    )


def tiles(frame: Frame, query: Query, words: Words) -> stat.Panel:
    """One tile per series, with its name, in the colour of its state."""
    panel = number(frame, query, words=words).text_mode(options.BigValueTextMode.VALUE_AND_NAME)
    return panel.text(common.VizTextDisplayOptions().title_size(14).value_size(16))


def timeline(frame: Frame, *queries: Query, words: Words) -> statetimeline.Panel:
    """States over time, a line per series."""
    return (
        _framed(statetimeline.Panel(), frame, queries)
        .mappings(mapping(words))
        .merge_values(True)
        .show_value(options.VisibilityMode.AUTO)
        .fill_opacity(90)
        .line_width(0)
        .color_scheme(_coloured(dashboard.FieldColorModeId.THRESHOLDS))
        .legend(_legend())
        .tooltip(_tooltip())
    )


def ranking(frame: Frame, query: Query) -> bargauge.Panel:
    """Horizontal bars, one per series, of this moment."""
    return (
        _framed(bargauge.Panel(), frame, [replace(query, instant=True)])
        .orientation(options.VizOrientation.HORIZONTAL)
        .display_mode(options.BarGaugeDisplayMode.BASIC)
        .value_mode(options.BarGaugeValueMode.TEXT)
        .min(0)
        .color_scheme(_coloured(dashboard.FieldColorModeId.PALETTE_CLASSIC))
        .reduce_options(_last())
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the field it is made of, how it is called, and how its values are written.

    `link` is the address a cell leads to.
    """

    source: str
    title: str
    unit: str = ""
    words: Words | None = None
    decimals: int | None = None
    width: int | None = None
    link: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table in their order, what is left out, and by which it is sorted."""

    shown: tuple[Column, ...]
    hidden: tuple[str, ...] = ("Time",)
    sorted_by: str = ""
    descending: bool = field(default=False)


def listing(frame: Frame, columns: Columns, *queries: Query) -> table.Panel:
    """A table with a row per label set; its queries are joined on the labels they share."""
    panel = _framed(table.Panel(), frame, queries)
    organised = {
        "excludeByName": dict.fromkeys(columns.hidden, True),
        "indexByName": {column.source: place for place, column in enumerate(columns.shown)},
        "renameByName": {column.source: column.title for column in columns.shown},
    }
    if len(queries) > 1:
        panel.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organised))
    for column in columns.shown:
        if properties := _column_properties(column):
            panel.override_by_name(column.title, properties)
    if columns.sorted_by:
        sort = common.TableSortByFieldState().display_name(columns.sorted_by).desc(columns.descending)
        panel.sort_by([sort])
    return panel.show_header(True)


def unit_of(panel: stat.Panel, ref_id: str, unit: str, decimals: int) -> stat.Panel:
    """Gives one query of a panel a unit of its own."""
    return panel.override_by_query(ref_id, [_property("unit", unit), _property("decimals", decimals)])


def _framed(panel: AnyPanel, frame: Frame, queries: Sequence[Query]) -> AnyPanel:
    panel.title(frame.title).description(frame.description).datasource(DATASOURCE)
    panel.span(frame.span).height(frame.height).no_value(frame.empty)
    if frame.unit:
        panel.unit(frame.unit)
    if frame.decimals is not None:
        panel.decimals(frame.decimals)
    if frame.since:
        panel.time_from(frame.since)
    is_table = isinstance(panel, table.Panel)
    for ref_id, query in zip("ABCDEFGHIJKLMNOP", queries, strict=False):
        panel.with_target(_target(query, ref_id, is_table))
    return panel


def _target(query: Query, ref_id: str, is_table: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(ref_id).datasource(DATASOURCE)
    target.format(PromQueryFormat.TABLE if is_table else PromQueryFormat.TIME_SERIES)
    if query.legend:
        target.legend_format(query.legend)
    if is_table or query.instant:
        return target.instant()
    return target.range().interval(query.min_step)


def _column_properties(column: Column) -> list[dashboard.DynamicConfigValue]:
    properties = []
    if column.unit:
        properties.append(_property("unit", column.unit))
    if column.decimals is not None:
        properties.append(_property("decimals", column.decimals))
    if column.width is not None:
        properties.append(_property("custom.width", column.width))
    if column.words:
        properties.append(_property("mappings", mapping(column.words)))
        properties.append(_property("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    if column.link:
        link = {"title": "Open this charger", "url": column.link, "targetBlank": False}
        properties.append(_property("links", [link]))
    return properties


def _property(name: str, value: object) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val=name, value=value)


def _text_mode(queries: Sequence[Query]) -> options.BigValueTextMode:
    has_names = any(query.legend for query in queries)
    return options.BigValueTextMode.VALUE_AND_NAME if has_names else options.BigValueTextMode.VALUE


def _coloured(mode: dashboard.FieldColorModeId) -> board.FieldColor:
    return board.FieldColor().mode(mode)


def _thresholds(limits: Sequence[dashboard.Threshold]) -> board.ThresholdsConfig:
    return board.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(list(limits))


def _stacking() -> common.StackingConfig:
    return common.StackingConfig().mode(options.StackingMode.NORMAL).group("A")


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().values(False).calcs(["lastNotNull"]).fields("")


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(options.LegendDisplayMode.LIST)
    return legend.placement(options.LegendPlacement.BOTTOM).show_legend(True).calcs([])


def _tooltip() -> common.VizTooltipOptions:
    return (
        common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING)
    )
