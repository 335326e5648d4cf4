"""The shape of a payload: its structure and its types, with every value masked by what it is. Pure.

    {"sn": "482500000017", "e_c": 10542.37, "lst_rpt_at": "2026-05-02T18:30:00.000Z[UTC]"}
    {"sn": "<digits 12>", "e_c": "<decimal>", "lst_rpt_at": "<time ISO .000 Z[UTC]>"}

Only words that this program knows, booleans, null and the names of fields stay as they are.
"""

import re
from typing import Any

import msgspec

from exporter.parse_values import NEWEST_SECONDS, OLDEST_SECONDS
from exporter.scrub import KNOWN_WORDS

_DEEPEST = 20
# A megabyte of shape helps nobody.
_MOST_ELEMENTS = 50
_WORDS = (KNOWN_WORDS - {"0", "1"}) | {
    *("ON_GRID", "NORMAL", "ETHERNET", "WIFI", "CELLULAR", "GREENCHARGING", "CUSTOM", "EVCONNECTED", "OK"),
    *("INSUFFICIENT_SOLAR", "IMMEDIATE", "IDLE", "DISCONNECTED", "CONNECTED", "SINGLE", "THREE", "L1", "L2"),
    *("L3", "N", "SYNCED", "PENDING", "GREEN", "MANUAL", "SCHEDULED", "SMART", "ACCEPTED", "UP"),
}
_FIELD = re.compile(r"[A-Za-z][A-Za-z_]{0,30}[0-9]{0,2}|_[A-Za-z_]{1,30}")
_ISO = re.compile(
    r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?P<clock>[T ][0-9:]+(?P<fraction>[.,][0-9]+)?)?"
    r"(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?(?P<name>\[[A-Z]{3}\])?"
)


def shape_of_body(body: bytes) -> Any:
    """The shape of an answer, whatever it is."""
    try:
        return shape_of(msgspec.json.decode(body))
    except (ValueError, RecursionError):
        kind = "HTML" if b"<html" in body[:2000].lower() else "not JSON"
        return f"<{kind} {len(body)}>" if body.strip() else "<empty>"


def shape_of(value: Any, depth: int = 0) -> Any:
    """The shape of a JSON value; of alike elements of a list only the first is there."""
    if isinstance(value, dict | list) and depth > _DEEPEST:
        return "<deeper>"
    if isinstance(value, dict):
        named = {_name(key): shape_of(one, depth + 1) for key, one in list(value.items())[:_MOST_ELEMENTS]}
        return named if len(named) == len(value) else {**named, "<keys>": len(value)}
    if isinstance(value, list):
        return _shape_of_list(value, depth)
    if isinstance(value, str):
        return _shape_of_text(value)
    if isinstance(value, bool) or value is None:
        return value
    return _shape_of_number(value)


def _shape_of_list(value: list[Any], depth: int) -> list[Any]:
    shapes: list[Any] = []
    for one in value[:_MOST_ELEMENTS]:
        shape = shape_of(one, depth + 1)
        if shape not in shapes:
            shapes.append(shape)
    return shapes if len(shapes) == len(value) else [*shapes, f"<{len(value)} in all>"]


def _name(key: str) -> str:
    """The name of a field; a key that may be a serial or a person's text is masked."""
    return key if _FIELD.fullmatch(key) else _shape_of_text(key)


def _shape_of_text(text: str) -> str:
    core = text.strip()
    if not core or core.upper() in _WORDS:
        return text
    iso = _ISO.fullmatch(core)
    if core.isascii() and core.isdigit():
        return _time_of(int(core[:20])) or f"<digits {len(core)}>"
    if iso is not None:
        return f"<time ISO{_fraction(iso['fraction'])}{_zone(iso['zone'])}{iso['name'] or ''}>"
    if re.fullmatch(r"[+-]?[0-9]*\.?[0-9]+", core):
        return "<decimal text>"
    if core[0] in "[{":
        return f"<text like JSON {len(text)}>"
    if re.fullmatch(r"[^=,]+=[^=]*", core.partition(",")[0]):
        return f"<text key=value {len(text)}>"
    return f"<text {len(text)}>"


def _fraction(text: str | None) -> str:
    return "" if text is None else f" {text[0]}{'0' * (len(text) - 1)}"


def _zone(text: str | None) -> str:
    if text is None:
        return ""
    return " Z" if text == "Z" else f" {re.sub('[0-9]', '0', text)}"


def _shape_of_number(number: float) -> str:
    if isinstance(number, float) and not number.is_integer():
        return "<decimal>"
    return _time_of(number) or ("<number>" if isinstance(number, int) else "<decimal .0>")


def _time_of(number: float) -> str | None:
    for per_second, unit in ((1, "s"), (1000, "ms")):
        if OLDEST_SECONDS * per_second <= number <= NEWEST_SECONDS * per_second:
            return f"<time epoch {unit}>"
    return None
