"""The metric table and a snapshot, as the bytes of a scrape.

prometheus-client needs 5 to 10 us for a series, this below 0.1 us: columns.py renders a whole family at
once, and a family is rendered, and compressed, again only when its values changed. All lines of a family must
stand together, so what is kept is kept by family (in slices of many chargers), never by charger.

    # HELP enphase_ev_charger_connected 1 while the cloud says it can reach the charger, else 0.
    # TYPE enphase_ev_charger_connected gauge
    enphase_ev_charger_connected{site_id="4100001",serial="202412345678"} 1
"""

import asyncio
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from exporter.columns import Labels, read_column, render
from exporter.metrics import METRICS, Metric, Scope
from exporter.model import Snapshot

_SLICE_OBJECTS = 1000  # bounds what is rendered without a pause, whatever the size of the fleet
_YIELD_BYTES = 1 << 19  # about half a millisecond of rendering
_READ_BYTES = 25  # reading and comparing a value costs about as much as rendering so many bytes
_LABEL_BYTES = 1000  # and making the label texts of an object, as so many
_BLOCK_BYTES = 256 * 1024
_LARGE_BYTES = 64 * 1024
_DEFLATE_BYTES = 1024  # below this a stored block is cheaper than a compressor

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"  # deflate, no name, no time, fastest, any system
_LAST_BLOCK = b"\x03\x00"  # empty, with the final bit


class Format(Enum):
    """The two formats of a scrape; the value is the Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Body:
    """The answer to a scrape in pieces; `length` is their sum, the Content-Length."""

    format: Format
    gzipped: bool
    pieces: tuple[bytes, ...]
    length: int

    def blocks(self, size_bytes: int = _BLOCK_BYTES) -> Iterator[bytes | memoryview]:
        """The same in blocks worth a write each: small pieces joined, large ones cut."""
        small: list[bytes] = []
        small_bytes = 0
        for piece in self.pieces:
            if small_bytes + len(piece) > size_bytes and small:
                yield b"".join(small)
                small, small_bytes = [], 0
            if len(piece) > size_bytes:
                whole = memoryview(piece)
                yield from (whole[start : start + size_bytes] for start in range(0, len(piece), size_bytes))
            else:
                small.append(piece)
                small_bytes += len(piece)
        if small:
            yield b"".join(small)


class Exposition:
    """Renders snapshots by a table and keeps what did not change from one to the next."""

    def __init__(self, metrics: Sequence[Metric] = METRICS) -> None:
        scopes = dict.fromkeys(metric.scope for metric in metrics)
        self._groups = [_Group(scope, [row for row in metrics if row.scope is scope]) for scope in scopes]
        self._snapshot: Snapshot | None = None
        self._lock = asyncio.Lock()

    async def render(
        self, snapshot: Snapshot, form: Format, *, gzipped: bool = False, extra: bytes = b""
    ) -> Body:
        """The whole body for one scrape; `extra` are families rendered elsewhere in the same format.

        Long work is cut into pieces between which the loop is free; scrapes that come together share it.
        """
        async with self._lock:
            work = 0
            for cost in self._refresh(snapshot):
                work += cost
                if work >= _YIELD_BYTES:
                    work = 0
                    await asyncio.sleep(0)
            pieces = self._pieces(form, extra)
            if gzipped:
                pieces = await self._gzip(form, extra, pieces)
        return Body(form, gzipped, pieces, sum(map(len, pieces)))

    def render_now(self, snapshot: Snapshot, form: Format, *, extra: bytes = b"") -> bytes:
        """The same in one go, where no loop runs."""
        for _ in self._refresh(snapshot):
            pass
        return b"".join(self._pieces(form, extra))

    def _refresh(self, snapshot: Snapshot) -> Iterator[int]:
        """Bring all families up to the snapshot; yields the cost of each step.

        A scraper that hangs up may end it between two steps, so nothing is marked as seen before it is done.
        """
        if snapshot is self._snapshot:
            return
        self._snapshot = None
        for group in self._groups:
            yield from group.refresh(snapshot)
        self._snapshot = snapshot

    def _families(self) -> Iterator[tuple[Metric, "list[_Column]"]]:
        """The metrics that have samples, with these."""
        for group in self._groups:
            yield from group.families()

    def _pieces(self, form: Format, extra: bytes) -> tuple[bytes, ...]:
        pieces: list[bytes] = []
        for metric, columns in self._families():
            pieces += (_header(metric, form), *(column.body for column in columns))
        return (*pieces, extra, _end(form))

    async def _gzip(self, form: Format, extra: bytes, plain: tuple[bytes, ...]) -> tuple[bytes, ...]:
        length = sum(map(len, plain))
        if length < _LARGE_BYTES:
            return (zlib.compress(b"".join(plain), 1, 31),)
        changed = [column for _, columns in self._families() for column in columns if not column.deflated]
        bodies = [*(column.body for column in changed), extra]
        checksum, *halves = await asyncio.gather(
            asyncio.to_thread(_checksum, plain),
            asyncio.to_thread(_all_deflated, bodies[::2]),
            asyncio.to_thread(_all_deflated, bodies[1::2]),
        )
        bodies[::2], bodies[1::2] = halves
        for column, deflated in zip(changed, bodies, strict=False):
            column.deflated = deflated
        pieces = [_GZIP_HEADER]
        for metric, columns in self._families():
            pieces += (_stored(_header(metric, form)), *(column.deflated for column in columns))
        trailer = struct.pack("<II", checksum, length & 0xFFFFFFFF)
        return (*pieces, bodies[-1], _stored(_end(form)), _LAST_BLOCK, trailer)


class _Group:
    """The families of one scope, in slices of its objects."""

    __slots__ = ("_metrics", "_scope", "_slices")

    def __init__(self, scope: Scope, metrics: Sequence[Metric]) -> None:
        self._scope = scope
        self._metrics = metrics
        self._slices: list[_Slice] = []

    def refresh(self, snapshot: Snapshot) -> Iterator[int]:
        objects = self._scope.objects(snapshot)
        starts = range(0, len(objects), _SLICE_OBJECTS)
        del self._slices[len(starts) :]
        self._slices += (_Slice(self._scope, self._metrics) for _ in starts[len(self._slices) :])
        for start, part in zip(starts, self._slices, strict=True):
            yield from part.refresh(objects[start : start + _SLICE_OBJECTS])

    def families(self) -> Iterator[tuple[Metric, "list[_Column]"]]:
        for number, metric in enumerate(self._metrics):
            columns = [part.columns[number] for part in self._slices if part.columns[number].body]
            if columns:
                yield metric, columns


class _Slice:
    """Some objects of a scope, their label texts, and a column of each family."""

    __slots__ = ("_labels", "_objects", "columns")

    def __init__(self, scope: Scope, metrics: Sequence[Metric]) -> None:
        self._labels = Labels(scope)
        self._objects: tuple[Any, ...] | None = None
        self.columns = [_Column(metric) for metric in metrics]

    def refresh(self, objects: tuple[Any, ...]) -> Iterator[int]:
        if objects == self._objects:
            return
        self._objects = None
        if self._labels.update(objects):
            yield len(objects) * _LABEL_BYTES
        for column in self.columns:
            yield column.refresh(self._labels, objects)
        self._objects = objects


class _Column:
    """What is kept of a family in a slice: values, lines, and these compressed once somebody asked for it."""

    __slots__ = ("_label_texts", "_metric", "_values", "body", "deflated")

    def __init__(self, metric: Metric) -> None:
        self.body = b""
        self.deflated = b""
        self._metric = metric
        self._values: list[Any] = []
        self._label_texts: list[bytes] = []

    def refresh(self, labels: Labels, objects: Sequence[Any]) -> int:
        """Follow the objects; gives what it cost."""
        values = read_column(self._metric, objects)
        cost = len(values) * _READ_BYTES
        if values == self._values and labels.closed is self._label_texts:
            return cost
        self.body = render(self._metric, labels, values)
        self.deflated = b""
        self._values, self._label_texts = values, labels.closed
        return cost + len(self.body)


@cache
def _header(metric: Metric, form: Format) -> bytes:
    name, help_text = metric.name, metric.help.replace("\\", r"\\").replace("\n", r"\n")
    if form is Format.OPENMETRICS:
        help_text = help_text.replace('"', r"\"")
        if metric.kind == "counter":
            name = name.removesuffix("_total")
    return f"# HELP {name} {help_text}\n# TYPE {name} {metric.kind}\n".encode()


def _end(form: Format) -> bytes:
    return b"# EOF\n" if form is Format.OPENMETRICS else b""


def _checksum(pieces: Iterable[bytes]) -> int:
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return checksum


def _all_deflated(bodies: Iterable[bytes]) -> list[bytes]:
    """Runs in a thread: zlib leaves the loop and the other half free."""
    return list(map(_deflated, bodies))


def _deflated(body: bytes) -> bytes:
    """A body as blocks that refer to nothing before them and end on a byte, so that they can stand anywhere.

    Gzip members of their own would be simpler, but curl and browsers stop after the first.
    """
    if len(body) < _DEFLATE_BYTES:
        return _stored(body)
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush(zlib.Z_FULL_FLUSH)


def _stored(body: bytes) -> bytes:
    """Less than 64 KiB as one uncompressed deflate block."""
    return struct.pack("<BHH", 0, len(body), len(body) ^ 0xFFFF) + body


def negotiate(accept: str) -> Format:
    """The format to answer an Accept header with: the acceptable one of highest weight."""
    wishes = [(_format_of(media), weight) for media, weight in _weighted(accept)]
    known = [(form, weight) for form, weight in wishes if form and weight > 0]
    return max(known, key=lambda wish: wish[1])[0] if known else Format.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    weights = {coding.partition(";")[0]: weight for coding, weight in _weighted(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _format_of(media: str) -> Format | None:
    kind, _, parameters = media.partition(";")
    if kind == "application/openmetrics-text":
        version = [text.removeprefix("version=") for text in parameters.split(";") if text[:8] == "version="]
        return Format.OPENMETRICS if not version or version[0] in {"0.0.1", "1.0.0"} else None
    return Format.TEXT if kind in {"text/plain", "text/*", "*/*"} else None


def _weighted(header: str) -> Iterator[tuple[str, float]]:
    """The elements of an Accept header, in lower case and without blanks, each with its q."""
    for element in header.lower().replace(" ", "").split(","):
        parts = element.split(";")
        weights = [part[2:] for part in parts if part.startswith("q=")]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            weight = 0.0
        yield ";".join(part for part in parts if not part.startswith("q=")), weight
