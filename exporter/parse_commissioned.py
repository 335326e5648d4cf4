"""Which chargers a status or summary answer calls not commissioned; for the doctor, no metric needs it.

status: "commissioned": 0, also `isCommissioned`, or that of the first connector; summary:
"commissioningStatus": 0. 1, booleans and their words occur; what is not given is commissioned.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from exporter.errors import UnexpectedPayload
from exporter.parse_shapes import Fields, decode, first_given, given
from exporter.parse_values import nonzero, serial_text


def parse_not_commissioned(body: bytes) -> frozenset[str]:
    """The serials of a status or summary answer, of any shape; none where it cannot be read."""
    with suppress(UnexpectedPayload):
        return frozenset(
            serial
            for entry in _entries(decode("status", body))
            if _is_commissioned(entry) is False
            and (serial := serial_text(first_given(entry, "sn", "serialNumber"))) is not None
        )
    return frozenset()


def _is_commissioned(entry: Fields) -> bool | None:
    connectors = entry.get("connectors")
    first = connectors[0] if isinstance(connectors, list) and connectors else None
    told = first_given(entry, "commissioned", "isCommissioned", "commissioningStatus")
    if told is None and isinstance(first, dict):
        told = given(first, {}, "commissioned")
    return nonzero(told, "commissioned", [])


def _entries(answer: Any) -> Iterator[Fields]:
    """Every charger object, wherever the shape of the answer has them."""
    if isinstance(answer, dict):
        data = first_given(answer, "data", "items", "evChargerData")
        answer = data.get("chargers", [data]) if isinstance(data, dict) else data
    yield from (entry for entry in answer or () if isinstance(entry, dict))
