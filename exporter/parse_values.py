"""JSON scalars as the cloud writes them, read as plain numbers, flags, times and texts.

The same field comes as 230, "230", 230.0 or null, depending on the service, the region and the year. Each
reader takes the value, the field's name and the list of problems: null is nothing given and no problem;
something given that cannot be used is None and one problem more.
"""

import ipaddress
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from exporter.model import NetworkAddress, Problem

Problems: TypeAlias = list[Problem]

TEXT_LENGTH_MAX = 128
WORD_LENGTH_MAX = 64
QUOTED_LENGTH_MAX = 40
NETWORK_TEXT_LENGTH_MAX = 16_384

TRUE_WORDS = frozenset({"true", "1", "yes", "y", "enabled", "enable", "on"})
FALSE_WORDS = frozenset({"false", "0", "no", "n", "disabled", "disable", "off"})

DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LONG_FRACTION = re.compile(r"(\.\d{6})\d+")

# No charger reported before the cloud service existed, and milliseconds taken for seconds end up far above.
OLDEST_SECONDS = 1_262_304_000.0  # 2010-01-01
NEWEST_SECONDS = 4_102_444_800.0  # 2100-01-01
MILLISECONDS_ABOVE = 1e12


def kind_of(value: Any) -> str:
    """What a JSON value is, in words that say nothing of what it holds."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"


def note(problems: Problems, kind: str, name: str, value: Any) -> None:
    """Add a problem whose detail is the field and a short, quoted value."""
    if isinstance(value, dict | list):
        shown = kind_of(value)
    else:
        # Cut before quoting too: a number of thousands of digits costs more to write than to ignore.
        shown = repr(value[:QUOTED_LENGTH_MAX] if isinstance(value, str) else value)[:QUOTED_LENGTH_MAX]
    problems.append(Problem(kind, f"{name}={shown}"))


def decimal(value: Any) -> float | None:
    """A finite number from a JSON number or digit text; None for everything else."""
    if value.__class__ is float:  # nearly always
        number = value
    elif isinstance(value, str):
        stripped = value.strip()
        number = float(stripped) if DECIMAL.fullmatch(stripped) else math.nan
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
    else:
        return None
    return number + 0.0 if math.isfinite(number) else None  # + 0.0 makes -0.0 a plain zero


def number(value: Any, name: str, problems: Problems) -> float | None:
    """Any finite number."""
    if value is None:
        return None
    found = decimal(value)
    if found is None:
        note(problems, "bad_type", name, value)
    return found


def amount(value: Any, name: str, problems: Problems) -> float | None:
    """A number that cannot be negative."""
    if value is None:
        return None
    found = decimal(value)
    if found is None or found < 0:
        note(problems, "bad_type", name, value)
        return None
    return found


def kilowatt_hours(watt_hours: float) -> float:
    """The division, without the binary digits it adds: 140.038 Wh is 0.140038 kWh."""
    return round(watt_hours / 1000, 6)


def amperes(value: Any, name: str, problems: Problems) -> float | None:
    """A current; 0 is a placeholder of old firmware and means unknown, not 0 A."""
    return amount(value, name, problems) or None


def flag(value: Any, name: str, problems: Problems) -> bool | None:
    """A boolean, given as one, as 0 or 1, or as a word."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE_WORDS or word in FALSE_WORDS:
            return word in TRUE_WORDS
    elif isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    note(problems, "bad_type", name, value)
    return None


def nonzero(value: Any, name: str, problems: Problems) -> bool | None:
    """A state number of which only 0 means off; booleans and their words do too."""
    if value is None:
        return None
    found = decimal(value)
    return flag(value, name, problems) if found is None else found != 0


def text(value: Any, name: str, problems: Problems, length_max: int = TEXT_LENGTH_MAX) -> str | None:
    """A trimmed text of bounded length; an empty one is None. Numbers are kept as they are written."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip()[:length_max] or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)[:length_max]
    note(problems, "bad_type", name, value)
    return None


def serial_text(value: Any) -> str | None:
    """A serial, which some answers give as a number; None when there is none."""
    if isinstance(value, str):
        return value.strip()[:WORD_LENGTH_MAX] or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)[:WORD_LENGTH_MAX]
    return None


@lru_cache(maxsize=8192)
def iso_seconds(value: str) -> float | None:
    """Epoch seconds of ISO text such as `2026-05-02T18:30:00.000Z[UTC]`; UTC when no zone is given.

    Cached: between two polls nearly every time in an answer is the one it was.
    """
    plain = LONG_FRACTION.sub(r"\1", value.split("[", 1)[0].strip())
    try:
        moment = datetime.fromisoformat(plain)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def seconds(value: Any, name: str, problems: Problems) -> float | None:
    """Epoch seconds from ISO text, or from epoch seconds or milliseconds; zero and below is no time."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.find("-", 1) > 0:
        found = iso_seconds(value) if len(value) <= WORD_LENGTH_MAX else None
    elif isinstance(value, bool | list | dict):
        note(problems, "bad_type", name, value)
        return None
    else:
        found = decimal(value)
        if found is not None and found > MILLISECONDS_ABOVE:
            found /= 1000
    return in_range(found, value, name, problems)


def milliseconds(value: Any, name: str, problems: Problems) -> float | None:
    """Epoch seconds of a field that is in milliseconds whatever its size; ISO text is read as such."""
    if value is None:
        return None
    found = decimal(value)
    if found is None:
        return seconds(value, name, problems)
    return in_range(found / 1000, value, name, problems)


def in_range(found: float | None, value: Any, name: str, problems: Problems) -> float | None:
    """The time when a charger can have written it, else None."""
    if found is not None and OLDEST_SECONDS <= found <= NEWEST_SECONDS:
        return found
    if found is None or found > 0:
        note(problems, "bad_time", name, value)
    return None


def network_address(value: Any) -> NetworkAddress | None:
    """The address in use in `networkConfig`, whichever of its many forms that has; never a failure.

    Seen: text of a list of quoted `key=value` lists, the same cut off before its end, JSON text of a list of
    objects, a real list of objects, one object, null and empty elements among them, "", "[]".
    """
    return known_address(value) if isinstance(value, str) else address_in_use(value)


@lru_cache(maxsize=8192)
def known_address(value: str) -> NetworkAddress | None:
    """The same of a text: it is long, and between two summaries nearly always the one it was."""
    return address_in_use(value)


def address_in_use(value: Any) -> NetworkAddress | None:
    """The address of the first interface in use, else of the first that has one."""
    entries = list(network_entries(value))
    in_use = [entry for entry in entries if nonzero(entry.get("connectionStatus"), "", [])]
    for entry in (*in_use, *entries):
        address = usable_ip(entry.get("ipaddr") or entry.get("ip"))
        if address is not None:
            interface = entry.get("interface_name") or entry.get("interface")
            return NetworkAddress(text(interface, "", [], WORD_LENGTH_MAX) or "", address)
    return None


def network_entries(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every interface named in a networkConfig, as key and value."""
    if isinstance(value, str):
        value = json_or_lines(value[:NETWORK_TEXT_LENGTH_MAX])
    for element in value if isinstance(value, list) else [value]:
        if isinstance(element, dict):
            yield element
        elif isinstance(element, str):
            pairs = (pair.partition("=") for pair in element.split(","))
            yield {key.strip(): given.strip() for key, _, given in pairs}


def json_or_lines(value: str) -> Any:
    """The JSON in a text, or, where it was cut off, the quoted lines before the cut."""
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        lines = re.split(r'"\s*,\s*"|\n', value.strip().strip("[]"))
        return [line.strip().strip(',"') for line in lines]


def usable_ip(value: Any) -> str | None:
    """An IP address in its usual spelling; None for none, for 0.0.0.0 and for anything else."""
    try:
        address = ipaddress.ip_address(value.strip()) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if address is None or address.is_unspecified else str(address)
