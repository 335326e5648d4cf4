"""Finished charging sessions as a table for people, CSV for spreadsheets and JSON for programs."""

import csv
import io
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import msgspec

from exporter.model import FinishedSession

FORMATS = ("table", "csv", "json")
_UNIT_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_BACK = re.compile(r"(?:\d{1,6}[wdhms])+", re.ASCII)
_HEAD = ("start", "end", "site", "serial", "seen charging", "kWh", "peak kW", "mode", "cost")
_RIGHT = {"seen charging", "kWh", "peak kW", "cost"}
_CSV_HEAD = (
    "site_id",
    "serial",
    "start",
    "end",
    "plugged_in",
    "plugged_out",
    "zone",
    "charging_seconds",
    "energy_kwh",
    "peak_watts",
    "mode",
    "cost",
)


def sessions_text(
    sessions: Sequence[FinishedSession], form: str, zone: tzinfo | None, *, serial: str | None = None
) -> str:
    """What the `sessions` command prints, newline at its end included; `form` is one of FORMATS.

    `serial` is the charger that was asked for, None for all of them.
    A `zone` of None, here and below, is the local zone of the machine.
    """
    if form == "table":
        return table(sessions, zone, serial=serial) + "\n"
    return csv_text(sessions, zone) if form == "csv" else json_text(sessions, zone) + "\n"


def parse_moment(text: str, zone: tzinfo | None, *, wall_clock: Callable[[], float] = time.time) -> float:
    """`2026-05-01`, `2026-05-01 18:30`, the same with an offset, or back from now: `7d`, `24h`, `1h30m`.

    Gives epoch seconds; a moment without an offset is one in `zone`. Raises ValueError fit to be shown.
    """
    text = text.strip()
    if _BACK.fullmatch(text):
        parts = re.findall(r"(\d+)([wdhms])", text)
        return wall_clock() - sum(int(count) * _UNIT_SECONDS[unit] for count, unit in parts)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo or zone is None else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(
            f"{text!r} is no moment; write 2026-05-01, '2026-05-01 18:30', 2026-05-01T18:30+02:00, "
            "or a time back from now such as 7d or 24h"
        ) from error


def table(
    sessions: Sequence[FinishedSession],
    zone: tzinfo | None,
    *,
    totals: bool = True,
    serial: str | None = None,
) -> str:
    """The sessions as aligned columns, and a line with their number, energy and cost."""
    if not sessions:
        return f"No finished charging sessions{f' of charger {_visible(serial)}' if serial else ''}."
    rows = [_HEAD, *(_cells(one, zone) for one in sessions)]
    if totals:
        rows.append(_totals(sessions))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [_line(row, widths) for row in rows]
    if totals:
        lines.insert(-1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _cells(one: FinishedSession, zone: tzinfo | None) -> tuple[str, ...]:
    return (
        _minute(one.start_seconds, zone),
        _minute(one.end_seconds, zone),
        _visible(one.site_id),
        _visible(one.serial),
        duration(one.charging_seconds),
        f"{one.energy_kwh:.3f}",
        "" if one.peak_watts is None else f"{one.peak_watts / 1000:.2f}",
        one.mode or "",
        "" if one.cost is None else f"{one.cost:.2f}",
    )


def _totals(sessions: Sequence[FinishedSession]) -> tuple[str, ...]:
    """A sum of costs that some sessions lack says how many it stands for."""
    costs = [one.cost for one in sessions if one.cost is not None]
    cost = f"{sum(costs):.2f}" if costs else ""
    if 0 < len(costs) < len(sessions):
        cost += f" ({len(costs)} of {len(sessions)})"
    return (
        f"{len(sessions)} session{'s' if len(sessions) > 1 else ''}",
        *("", "", ""),
        duration(sum(one.charging_seconds for one in sessions)),
        f"{sum(one.energy_kwh for one in sessions):.3f}",
        *("", ""),
        cost,
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = (
        cell.rjust(width) if head in _RIGHT else cell.ljust(width)
        for head, cell, width in zip(_HEAD, row, widths, strict=True)
    )
    return "  ".join(cells).rstrip()


def _visible(text: str) -> str:
    """Text of the cloud that cannot move a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)


def duration(seconds: float) -> str:
    """40s, 5m, 2h05m, 140h00m."""
    if seconds < 60:
        return f"{seconds:.0f}s" if round(seconds) < 60 else "1m"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m"


def _minute(seconds: float | None, zone: tzinfo | None) -> str:
    return "" if seconds is None else f"{_moment(seconds, zone):%Y-%m-%d %H:%M}"


def _moment(seconds: float, zone: tzinfo | None) -> datetime:
    """In `zone`, to whole seconds; None is the local zone with the offset it had then."""
    return datetime.fromtimestamp(round(seconds), UTC).astimezone(zone)


def csv_text(sessions: Sequence[FinishedSession], zone: tzinfo | None) -> str:
    """RFC 4180: commas, points, CRLF, a header.

    All times of a row have the offset in its `zone` column, the one in force when it began, so that
    differences are right on the days the clocks change. Excel takes UTF-8 for what it is only behind a byte
    order mark, which in turn troubles scripts: it is there when the text is not plain ASCII.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_CSV_HEAD)
    writer.writerows(_csv_row(one, zone) for one in sessions)
    text = out.getvalue()
    return text if text.isascii() else "\ufeff" + text


def _csv_row(one: FinishedSession, zone: tzinfo | None) -> tuple[str, ...]:
    offset = _moment(one.start_seconds, zone).utcoffset() or timedelta(0)
    fixed = timezone(offset)  # in print: UTC, UTC+02:00
    times = (one.start_seconds, one.end_seconds, one.plugged_in_seconds, one.plugged_out_seconds)
    return (
        _harmless(one.site_id),
        _harmless(one.serial),
        *("" if seconds is None else f"{_moment(seconds, fixed):%Y-%m-%d %H:%M:%S}" for seconds in times),
        str(fixed),
        _number(one.charging_seconds, 0),
        _number(one.energy_kwh, 6),
        _number(one.peak_watts, 0),
        _harmless(one.mode or ""),
        _number(one.cost, 4),
    )


def _harmless(text: str) -> str:
    """Text that a spreadsheet does not run as a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def json_text(sessions: Sequence[FinishedSession], zone: tzinfo | None) -> str:
    """A list of objects with the units of the metrics; times are ISO 8601 with their offset."""
    return msgspec.json.format(msgspec.json.encode([_object(one, zone) for one in sessions])).decode()


def _object(one: FinishedSession, zone: tzinfo | None) -> dict[str, object]:
    times = {
        "start": one.start_seconds,
        "end": one.end_seconds,
        "plugged_in": one.plugged_in_seconds,
        "plugged_out": one.plugged_out_seconds,
    }
    return {
        "site_id": one.site_id,
        "serial": one.serial,
        **{key: None if at is None else _moment(at, zone).isoformat() for key, at in times.items()},
        "charging_seconds": round(one.charging_seconds, 3),
        "energy_kwh": round(one.energy_kwh, 6),
        "peak_watts": one.peak_watts,
        "mode": one.mode,
        "cost": one.cost,
    }
