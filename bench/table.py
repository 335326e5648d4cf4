"""One row of the target table, and the table in print."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isinf, isnan


@dataclass(frozen=True, slots=True)
class Limit:
    """What a value is held against: at most (or, for `at_least`, not less than) `value`."""

    value: float
    at_least: bool = False
    unit: str = "x"

    def holds(self, value: float) -> bool:
        return value >= self.value if self.at_least else value <= self.value

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return "-" if isinf(self.value) else f"{sign} {self.value:g}{self.unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """A measured row. `row` is its number in docs/performance.md; `note` are the absolute values behind."""

    row: str
    what: str
    measured_here: str
    value: float
    target: Limit
    stretch: Limit
    note: str = ""

    @property
    def number(self) -> int:
        return int(self.row.rstrip("abcdefgh"))

    @property
    def verdict(self) -> str:
        if isnan(self.value):
            return "not measured"
        if isinf(self.target.value) and isinf(self.stretch.value):
            return "-"
        if self.stretch.holds(self.value):
            return "stretch"
        if isinf(self.target.value):
            return "no stretch"
        return "target" if self.target.holds(self.value) else "MISSED"

    @property
    def is_missed(self) -> bool:
        return self.verdict == "MISSED"

    @property
    def cells(self) -> tuple[str, ...]:
        shown = f"{self.value:,.0f}" if abs(self.value) >= 100 else f"{self.value:.3g}"
        this_run = f"{shown}{self.target.unit}" + (f" ({self.note})" if self.note else "")
        limits = (str(self.target), str(self.stretch))
        return (self.row, self.what, self.measured_here, this_run, *limits, self.verdict)


_HEAD = ("row", "what", "measured here", "this run", "target", "stretch", "verdict")


def table(rows: Iterable[Row]) -> str:
    """The rows in their order as a table that is Markdown too."""
    ordered = sorted(rows, key=lambda row: (row.number, row.row))
    lines = [_HEAD, *(row.cells for row in ordered)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    text = [_line(line, widths) for line in lines]
    return "\n".join([text[0], _line(["-" * width for width in widths], widths), *text[1:]])


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
