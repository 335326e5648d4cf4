"""Values as a panel writes them: units, words for states, colours."""

import time
from collections.abc import Mapping
from typing import Any

TEXT = "#ccccdc"
_PALETTE = (
    "#73BF69",
    "#F2CC0C",
    "#8AB8FF",
    "#FF780A",
    "#F2495C",
    "#5794F2",
    "#B877D9",
    "#705DA0",
    "#37872D",
    "#FADE2A",
)
_SUFFIXES = {"kwatth": " kWh", "amp": " A", "volt": " V", "reqpm": " req/min", "s": " s", "none": ""}
_DURATIONS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))

Config = Mapping[str, Any]


def palette(index: int) -> str:
    """The colour of the n-th series."""
    return _PALETTE[index % len(_PALETTE)]


def written(value: float, config: Config) -> str:
    """A value with its unit, or the words that stand for it."""
    word = mapped(value, config)
    return word["text"] if word else _with_unit(value, config.get("unit", ""), config.get("decimals"))


def mapped(value: float, config: Config) -> Mapping[str, str] | None:
    """The words and colour of a state; None where there are none for it."""
    for mapping in config.get("mappings", ()):
        found: Mapping[str, str] | None = mapping["options"].get(f"{value:.0f}")
        if found:
            return found
    return None


def coloured(value: float, config: Config) -> str:
    """The colour of a state or of the threshold a value is above; empty without either."""
    word = mapped(value, config)
    if word:
        return word["color"]
    steps = config.get("thresholds", {}).get("steps", ())
    reached = [step["color"] for step in steps if step.get("value") is None or value >= step["value"]]
    return reached[-1] if reached else ""


def _with_unit(value: float, unit: str, decimals: int | None) -> str:
    if unit == "dtdurations":
        return _duration(value)
    if unit == "dateTimeFromNow":
        ahead = value / 1000 - time.time()
        return f"in {_duration(ahead)}" if ahead > 0 else f"{_duration(-ahead)} ago"
    if unit == "dateTimeAsIso":
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(value / 1000))
    if unit == "percentunit":
        return f"{_digits(value * 100, decimals)}%"
    if unit in ("watt", "bytes"):
        return _prefixed(value, "W" if unit == "watt" else "B")
    return _digits(value, decimals) + _SUFFIXES[unit or "none"]


def _digits(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _prefixed(value: float, unit: str) -> str:
    size, prefix = next(((size, prefix) for size, prefix in _PREFIXES if abs(value) >= size), (1.0, ""))
    return f"{value / size:.3g} {prefix}{unit}"


def _duration(seconds: float) -> str:
    """The two greatest parts."""
    parts: list[str] = []
    for size, name in _DURATIONS:
        if seconds >= size or (size == 1.0 and not parts):
            parts.append(f"{int(seconds // size)} {name}")
            seconds %= size
    return " ".join(parts[:2])
