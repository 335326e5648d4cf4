"""A day of power as a small SVG picture with its meaning in words, from numbers alone. Pure."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

HEIGHT = 32
# A charger that rests has small readings too; a peak below this must not fill the picture.
_LEAST_SCALE_WATTS = 1000.0


def sparkline(watts: Sequence[float | None], *, label: str) -> str:
    """An SVG whose width is one unit a value; `label` is its accessible name. None is a gap, not a zero.

    >>> _areas([None, 0.0, 500.0, 500.0, None], 0.01)
    'M1 32V32h1V27h2V32z'
    """
    peak = max((value for value in watts if value is not None), default=0.0)
    scale = (HEIGHT - 1) / max(peak, _LEAST_SCALE_WATTS)
    return (
        f'<svg class="day" role="img" aria-label="{escape(label)}" viewBox="0 0 {len(watts)} {HEIGHT}" '
        'preserveAspectRatio="none">'
        f'<path class="quarters" d="{_quarters(len(watts))}"/>'
        f'<path class="power" d="{_areas(watts, scale)}"/></svg>'
    )


def _quarters(width: int) -> str:
    """A line at each quarter of the time."""
    return "".join(f"M{width * part // 4} 0V{HEIGHT}" for part in (1, 2, 3))


def _areas(watts: Sequence[float | None], scale: float) -> str:
    """One closed step figure for each run of known values; equal neighbours share a step."""
    figures, at, is_open = [], 0, False
    for top, run in groupby(None if one is None else HEIGHT - round(one * scale, 1) for one in watts):
        width = sum(1 for _ in run)
        if top is not None:
            figures.append(f"{'' if is_open else f'M{at} {HEIGHT}'}V{top:g}h{width}")
        elif is_open:
            figures.append(f"V{HEIGHT}z")
        at, is_open = at + width, top is not None
    return "".join(figures) + (f"V{HEIGHT}z" if is_open else "")
