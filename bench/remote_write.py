"""Prometheus' remote write, as far as the bench needs it: expositions of past moments into its storage.

It is the one door through which Prometheus takes in what is past. The message is protobuf in snappy; what is
written here is one literal of snappy, which every reader takes.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from http.client import HTTPConnection

_SERIES_A_REQUEST = 5_000
_SAMPLE = b"\x12\x10\x09"  # a sample of 16 bytes follows, first its value as a double
# A NaN that Prometheus knows: the series has ended.
_STALE = struct.pack("<Q", 0x7FF0000000000002)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


class RemoteWriter:
    """Collects the series of expositions, oldest first, and writes them; `labels` are the target's."""

    def __init__(self, address: str, labels: Mapping[str, str]) -> None:
        self._connection = HTTPConnection(address, timeout=60)
        self._labels = dict(labels)
        self._heads: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, bytearray] = {}
        self._before: dict[bytes, bytes] = {}

    def add(self, body: bytes, times: Iterable[float]) -> None:
        """One exposition without timestamps, as scraped at each of `times`, epoch seconds."""
        lines = [line for line in body.splitlines() if not line.startswith(b"#")]
        values = dict(line.rsplit(b" ", 1) for line in lines)
        stamps = [_stamp(at) for at in times]
        waiting = self._waiting
        for key, value in values.items():
            packed = _packed(value)
            samples = waiting.get(key)
            if samples is None:
                samples = waiting[key] = bytearray()
            for stamp in stamps:
                samples += packed + stamp
        for key in self._before.keys() - values.keys():
            waiting.setdefault(key, bytearray()).extend(_SAMPLE + _STALE + stamps[0])
        self._before = values

    def taken(self) -> list[bytes]:
        """What has been collected since the last time, as messages to `write`."""
        series = [_field(1, self._head(key) + bytes(samples)) for key, samples in self._waiting.items()]
        self._waiting = {}
        starts = range(0, len(series), _SERIES_A_REQUEST)
        return [b"".join(series[start : start + _SERIES_A_REQUEST]) for start in starts]

    def write(self, messages: Iterable[bytes]) -> None:
        """Send; fit for a thread beside the one that collects. Raises RuntimeError when refused."""
        for message in messages:
            self._post(message)

    def _post(self, message: bytes) -> None:
        body = _varint(len(message)) + b"\xfc" + struct.pack("<I", len(message) - 1) + message
        self._connection.request("POST", "/api/v1/write", body, _HEADERS)
        response = self._connection.getresponse()
        said = response.read()
        if response.status >= 300:
            raise RuntimeError(f"Prometheus refuses what is written: {response.status} {said[:500]!r}")

    def _head(self, key: bytes) -> bytes:
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = b"".join(_labels(key.decode(), self._labels))
        return head


def _labels(key: str, more: Mapping[str, str]) -> Iterator[bytes]:
    """The labels of `name{label="value"}` and `more`, in the order that Prometheus wants."""
    name, _, text = key.partition("{")
    labels = {"__name__": name, **more}
    for label, value in _LABEL.findall(text):
        labels[label] = _ESCAPED.sub(lambda match: {"n": "\n"}.get(match[1], match[1]), value)
    for label, value in sorted(labels.items()):
        if value:
            yield _field(1, _field(1, label.encode()) + _field(2, value.encode()))


@cache
def _packed(value: bytes) -> bytes:
    return _SAMPLE + struct.pack("<d", float(value))


def _stamp(at: float) -> bytes:
    """Milliseconds, always six bytes long in this age."""
    return b"\x10" + _varint(round(at * 1000))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
