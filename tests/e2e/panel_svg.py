"""Graphs and timelines as SVG."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, isfinite, log10
from typing import NamedTuple

from tests.e2e.panel_words import TEXT, Config, coloured, mapped, written

_LEFT, _BOTTOM, _TOP = 70.0, 20.0, 6.0
_GRID = "#2c3235"
_DAY_SECONDS = 86400.0


class Line(NamedTuple):
    """One series ready to be drawn: its name, colour and samples."""

    name: str
    colour: str
    samples: list[tuple[float, float]]
    is_dashed: bool = False


class Mark(NamedTuple):
    """An annotation: when, and in which colour."""

    at: float
    colour: str


@dataclass(frozen=True)
class Field:
    """The plane a panel draws on: its size in pixels, its time, the step of its samples."""

    width: float
    height: float
    start: float
    end: float
    step: float

    def x(self, at: float) -> float:
        return _LEFT + (at - self.start) / (self.end - self.start) * (self.width - _LEFT - 8)

    def y(self, value: float, top: float) -> float:
        return self.height - _BOTTOM - value / top * (self.height - _BOTTOM - _TOP)


def graph(field: Field, lines: Sequence[Line], marks: Sequence[Mark], config: Config) -> str:
    """Lines, areas or bars, as the panel's config says."""
    custom = config.get("custom", {})
    is_stacked = custom.get("stacking", {}).get("mode") == "normal"
    shown = _stacked(lines) if is_stacked else [(line, [0.0] * len(line.samples)) for line in lines]
    values = [base + value for line, bases in shown for base, (_, value) in _finite(line, bases)]
    top = _nice(max(values, default=0.0) or 1.0)
    parts = [_axes(field, top, config)]
    for line, bases in reversed(shown):
        if custom.get("drawStyle") == "bars":
            parts.append(_bars(field, line, bases, top, is_centred=custom.get("barAlignment") == 0))
        else:
            opacity = 0.0 if line.is_dashed else custom.get("fillOpacity", 0) / 100
            parts.append(_line(field, line, bases, top, opacity))
    parts += (_mark(field, mark) for mark in marks)
    return _svg(field, parts)


def timeline(field: Field, lines: Sequence[Line], config: Config) -> str:
    """A row of coloured stretches per series."""
    left = 225.0
    height = (field.height - _BOTTOM) / max(len(lines), 1)
    scale = (field.width - left - 8) / (field.end - field.start)
    parts = [_times(field, left)]
    for row, line in enumerate(lines):
        y = row * height + 2
        parts.append(_label(left - 6, y + height / 2 + 3, line.name, "end"))
        for begin, end, value in _stretches(line, field.step):
            x, width = left + (begin - field.start) * scale, max((end - begin) * scale, 1)
            colour = coloured(value, config) or "#888"
            parts.append(_block(x, y, width, height - 4, colour))
            word = mapped(value, config)
            if word and width > 8 * len(word["text"]):
                parts.append(_label(x + 4, y + height / 2 + 3, word["text"], "start", ink_on(colour)))
    return _svg(field, parts)


def ink_on(colour: str) -> str:
    """Black or white, whichever can be read on a colour."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#111217" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"


def _finite(line: Line, bases: Sequence[float]) -> list[tuple[float, tuple[float, float]]]:
    pairs = zip(bases, line.samples, strict=True)
    return [(base, sample) for base, sample in pairs if isfinite(sample[1])]


def _stacked(lines: Sequence[Line]) -> list[tuple[Line, list[float]]]:
    heights: dict[float, float] = {}
    shown = []
    for line in lines:
        shown.append((line, [heights.get(at, 0.0) for at, _ in line.samples]))
        for at, value in line.samples:
            heights[at] = heights.get(at, 0.0) + (value if isfinite(value) else 0.0)
    return shown


def _stretches(line: Line, step: float) -> list[tuple[float, float, float]]:
    """Begin, end and value of every stretch of equal values without a gap."""
    found: list[tuple[float, float, float]] = []
    for at, value in line.samples:
        begin, end, before = found[-1] if found else (at, at, value)
        if found and value == before and at - end < step * 1.5:
            found[-1] = (begin, at + step, value)
        else:
            found.append((at, at + step, value))
    return found


def _line(field: Field, line: Line, bases: Sequence[float], top: float, opacity: float) -> str:
    """In steps, as the panels are set; a gap where samples are missing."""
    parts: list[str] = []
    piece: list[tuple[float, float, float]] = []
    for base, (at, value) in [*_finite(line, bases), (0.0, (float("inf"), 0.0))]:
        if piece and at - piece[-1][0] > field.step * 1.5:
            parts.append(_piece(field, line, piece, top, opacity))
            piece = []
        piece.append((at, base, base + value))
    return "".join(parts)


def _piece(
    field: Field, line: Line, piece: Sequence[tuple[float, float, float]], top: float, opacity: float
) -> str:
    last = (min(piece[-1][0] + field.step, field.end), *piece[-1][1:])
    upper, lower = [], []
    for (at, base, value), (until, _, _) in pairwise([*piece, last]):
        upper += [f"{field.x(x):.1f},{field.y(value, top):.1f}" for x in (at, until)]
        lower += [f"{field.x(x):.1f},{field.y(base, top):.1f}" for x in (at, until)]
    area = " ".join([*upper, *reversed(lower)])
    stroke = 'stroke-width="1" stroke-dasharray="6 6"' if line.is_dashed else 'stroke-width="2"'
    return (
        f'<polygon points="{area}" fill="{line.colour}" fill-opacity="{opacity}"/>'
        f'<polyline points="{" ".join(upper)}" fill="none" stroke="{line.colour}" {stroke}/>'
    )


def _bars(field: Field, line: Line, bases: Sequence[float], top: float, *, is_centred: bool) -> str:
    parts = []
    for base, (at, value) in _finite(line, bases):
        begin = at - field.step / 2 if is_centred else at
        x, width = field.x(begin), max((field.x(begin + field.step) - field.x(begin)) * 0.8, 1)
        y, height = field.y(base + value, top), field.y(base, top) - field.y(base + value, top)
        parts.append(_block(x, y, width, height, line.colour))
    return "".join(parts)


def _mark(field: Field, mark: Mark) -> str:
    x = field.x(mark.at)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{field.height - _BOTTOM}" stroke="{mark.colour}" '
        f'stroke-width="1.5" stroke-dasharray="4 3"/>'
    )


def _axes(field: Field, top: float, config: Config) -> str:
    parts = [_times(field, _LEFT)]
    for tick in range(5):
        value = top * tick / 4
        y = field.y(value, top)
        parts.append(f'<line x1="{_LEFT}" x2="{field.width - 8}" y1="{y}" y2="{y}" stroke="{_GRID}"/>')
        parts.append(_label(_LEFT - 6, y + 4, written(value, config), "end"))
    return "".join(parts)


def _times(field: Field, left: float) -> str:
    span = field.end - field.start
    pattern = "%d %b" if span > 2 * _DAY_SECONDS else "%H:%M:%S"
    count = max(2, int((field.width - left) // 110))
    parts = []
    for tick in range(count):
        at = field.start + span * (tick + 0.5) / count
        x = left + (field.width - left - 8) * (tick + 0.5) / count
        parts.append(_label(x, field.height - 4, time.strftime(pattern, time.gmtime(at)), "middle"))
    return "".join(parts)


def _nice(value: float) -> float:
    """A round number that is not below."""
    size = 10.0 ** floor(log10(value))
    return next(
        step * size for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 5, 6, 8, 10) if step * size >= value * 0.999
    )


def _block(x: float, y: float, width: float, height: float, colour: str) -> str:
    size = f'width="{width:.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{colour}"/>'


def _label(x: float, y: float, text: str, anchor: str, colour: str = TEXT) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(field: Field, parts: Sequence[str]) -> str:
    size = f'width="{ceil(field.width)}" height="{ceil(field.height)}"'
    return f'<svg {size} xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
