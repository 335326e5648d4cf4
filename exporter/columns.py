"""One family of the metric table as bytes, column by column. Pure.

The cost of a scrape is here, so the loops over objects run in C wherever they can: one call reads a column,
one formats it, one joins it with the label texts. `repr` of a float alone would cost six times as much.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import compress
from typing import Any

import msgspec

from exporter.metrics import Metric, Scope, Shape

_encode_json = msgspec.json.Encoder().encode


class Labels:
    """The label texts of a scope's objects, made once and shared by all families of the scope.

    `closed` are complete: `{site_id="1"} `; `opened` take more labels: `{site_id="1",`. A changed object with
    the same labels leaves both lists the same objects, so that a family can tell by identity.
    """

    __slots__ = ("_read", "_template", "_values", "closed", "opened")

    def __init__(self, scope: Scope) -> None:
        self._read = scope.label_values
        self._template = "{" + "".join(f'{label}="%s",' for label in scope.labels)
        self._values: list[tuple[str, ...]] = []
        self.opened: list[bytes] = []
        self.closed: list[bytes] = []

    def update(self, objects: Sequence[Any]) -> bool:
        """Follow the objects of a new snapshot; whether a label changed."""
        values = list(map(self._read, objects))
        if values == self._values:
            return False
        self.opened = [_label_text(self._template, labels) for labels in values]
        self.closed = [text[:-1] + b"} " if text != b"{" else b" " for text in self.opened]
        self._values = values
        return True


def read_column(metric: Metric, objects: Sequence[Any]) -> list[Any]:
    """What the row reads of each object; counts as tuples, so that two columns can be compared."""
    if metric.shape is Shape.COUNTS:
        return [tuple(counts.items()) for counts in map(metric.read, objects)]
    return list(map(metric.read, objects))


def render(metric: Metric, labels: Labels, column: Sequence[Any]) -> bytes:
    """The sample lines of one family; empty when no object gives a sample."""
    return _RENDERERS[metric.shape](metric, labels, column)


def _numbers(metric: Metric, labels: Labels, column: Sequence[Any]) -> bytes:
    texts: Sequence[bytes] = labels.closed
    numbers = _formatted(column)
    if numbers is None:
        present = [value is not None for value in column]
        texts = list(compress(texts, present))
        given = list(compress(column, present))
        numbers = _formatted(given) or list(map(_exact, given))
    if not numbers:
        return b""
    name = metric.name.encode()
    pieces = [b"\n" + name] * (3 * len(numbers))
    pieces[0] = name
    pieces[1::3] = texts
    pieces[2::3] = numbers
    pieces.append(b"\n")
    return b"".join(pieces)


def _formatted(values: Sequence[Any]) -> list[bytes] | None:
    """Each value as text, or None when JSON has no way to say one of them."""
    if not values:
        return []
    text = _encode_json(values)
    if b"null" in text:  # an absent value, NaN or an infinity
        return None
    if b"e" in text:
        text = text.replace(b"true", b"1").replace(b"false", b"0")
    return text[1:-1].split(b",")


def _exact(value: float) -> bytes:
    number = float(value)
    if math.isnan(number):
        return b"NaN"
    if math.isinf(number):
        return b"+Inf" if number > 0 else b"-Inf"
    return repr(number).encode()


def _states(metric: Metric, labels: Labels, column: Sequence[Any]) -> bytes:
    texts: Iterable[bytes] = labels.opened
    if None in column:
        present = [value is not None for value in column]
        texts = compress(texts, present)
        column = list(compress(column, present))
    fragments = map(_state_fragments(metric).__getitem__, map(id, column))
    return b"".join(map(bytes.join, texts, fragments))


@cache
def _state_fragments(metric: Metric) -> dict[int, tuple[bytes, ...]]:
    """For each current state what stands around the label texts in the lines of one object.

    Keyed by the identity of the enum member: hashing a member runs Python code, for each object.
    """
    return {id(current): _fragments_of(metric, current) for current in metric.states}


def _fragments_of(metric: Metric, current: str) -> tuple[bytes, ...]:
    name = metric.name.encode()
    (label,) = metric.labels
    ends = [f'{label}="{state}"}} {int(state is current)}\n'.encode() for state in metric.states]
    return (name, *(end + name for end in ends[:-1]), ends[-1])


def _infos(metric: Metric, labels: Labels, column: Sequence[Any]) -> bytes:
    name = metric.name.encode()
    template = ",".join(f'{label}="%s"' for label in metric.labels) + "} 1\n"
    pieces: list[bytes] = []
    for text, values in zip(labels.opened, column, strict=True):
        if values is not None:
            pieces += (name, text, _label_text(template, values))
    return b"".join(pieces)


def _counts(metric: Metric, labels: Labels, column: Sequence[Any]) -> bytes:
    name = metric.name.encode()
    template = ",".join(f'{label}="%s"' for label in metric.labels) + "} "
    known: dict[tuple[str, ...], bytes] = {}
    pieces: list[bytes] = []
    for text, counts in zip(labels.opened, column, strict=True):
        for key, count in counts:
            more = known.get(key)
            if more is None:
                more = known[key] = _label_text(template, key)
            pieces += (name, text, more, b"%d\n" % count)
    return b"".join(pieces)


_RENDERERS: dict[Shape, Callable[[Metric, Labels, Sequence[Any]], bytes]] = {
    Shape.NUMBER: _numbers,
    Shape.STATES: _states,
    Shape.INFO: _infos,
    Shape.COUNTS: _counts,
}


def _label_text(template: str, values: tuple[str | None, ...]) -> bytes:
    # A lone surrogate, which JSON can carry, has no UTF-8: it must cost its own letter and not the scrape.
    return (template % tuple(map(_escaped, values))).encode("utf-8", "replace")


def _escaped(value: str | None) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"") if value else ""
