"""Finished sessions as table, CSV and JSON, and moments as people write them."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from time import tzset

import pytest

from exporter.model import ChargeMode, FinishedSession
from exporter.session_report import csv_text, duration, json_text, parse_moment, sessions_text, table


class Berlin(tzinfo):
    """Berlin in 2026, also where no time zone database is installed."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1) + self.dst(moment)

    def dst(self, moment: datetime | None) -> timedelta:
        assert moment
        summer = datetime(2026, 3, 29, 2) <= moment.replace(tzinfo=None) < datetime(2026, 10, 25, 3)  # noqa: DTZ001
        return timedelta(hours=int(summer))

    def tzname(self, moment: datetime | None) -> str:
        return "CE(S)T"


BERLIN = Berlin()


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


SPRING = FinishedSession(
    site_id="1234567",
    serial="482512001234",
    start_seconds=seconds("2026-05-02T07:33:20+02:00"),
    end_seconds=seconds("2026-05-02T10:03:20+02:00"),
    plugged_in_seconds=seconds("2026-05-02T07:30:00+02:00"),
    plugged_out_seconds=seconds("2026-05-02T10:30:00+02:00"),
    energy_kwh=3.52,
    peak_watts=7400.4,
    charging_seconds=8800.0,
    mode=ChargeMode.GREEN_CHARGING,
    cost=1.25,
)
CLOCK_CHANGE = FinishedSession(
    site_id="1234567",
    serial="482512001234",
    start_seconds=seconds("2026-10-25T01:30:00+02:00"),
    end_seconds=seconds("2026-10-25T04:30:00+01:00"),
    plugged_in_seconds=None,
    plugged_out_seconds=None,
    energy_kwh=0.140038,
    peak_watts=None,
    charging_seconds=39.0,
    mode=None,
    cost=None,
)


TABLE = """
start             end               site  serial  seen charging    kWh  peak kW  mode                     cost
2026-05-02 07:33  2026-05-02 10:03  7     A               2h27m  3.520     7.40  GREEN_CHARGING           1.25
2026-10-25 01:30  2026-10-25 04:30  7     A                 39s  0.140
--------------------------------------------------------------------------------------------------------------
2 sessions                                                2h27m  3.660                           1.25 (1 of 2)
"""


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_table_lists_sessions_and_adds_them_up() -> None:
    sessions = [replace(one, site_id="7", serial="A") for one in (SPRING, CLOCK_CHANGE)]
    assert table(sessions, BERLIN) == TABLE.strip()


def test_the_table_can_do_without_totals() -> None:
    head, *lines = table([SPRING], UTC, totals=False).splitlines()
    assert head.startswith("start ")
    assert len(lines) == 1


def test_costs_add_up_without_a_remark_when_every_session_has_one_and_not_at_all_when_none_has() -> None:
    assert table([SPRING, SPRING], UTC).endswith(" 2.50")
    assert table([CLOCK_CHANGE], UTC).splitlines()[-1].split() == ["1", "session", "39s", "0.140"]


def test_a_table_of_nothing_says_so() -> None:
    assert table([], UTC) == "No finished charging sessions."


def test_a_table_of_nothing_names_the_serial_that_was_asked_for() -> None:
    assert (
        sessions_text([], "table", UTC, serial="no\x1bsuch")
        == "No finished charging sessions of charger no?such.\n"
    )
    assert sessions_text([], "csv", UTC, serial="nosuch") == csv_text([], UTC)


def test_the_table_keeps_control_characters_from_the_terminal() -> None:
    assert "\x1b" not in table([replace(SPRING, serial="\x1b[2J", site_id="\x07")], UTC)


@pytest.mark.parametrize(
    ("length", "text"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m"), (60, "1m"), (3569, "59m"), (3571, "1h00m"), (504000, "140h00m")],
)
def test_durations_are_short(length: float, text: str) -> None:
    assert duration(length) == text


def test_csv_is_what_spreadsheets_read() -> None:
    assert csv_text([SPRING], BERLIN) == (
        "site_id,serial,start,end,plugged_in,plugged_out,zone,charging_seconds,energy_kwh,peak_watts,mode,cost\r\n"
        "1234567,482512001234,2026-05-02 07:33:20,2026-05-02 10:03:20,"
        "2026-05-02 07:30:00,2026-05-02 10:30:00,UTC+02:00,8800,3.52,7400,GREEN_CHARGING,1.25\r\n"
    )


def test_csv_leaves_unknown_cells_empty() -> None:
    (row,) = csv_rows(csv_text([replace(CLOCK_CHANGE, end_seconds=None)], UTC))
    empty = {"end", "plugged_in", "plugged_out", "peak_watts", "mode", "cost"}
    assert {name for name, cell in row.items() if not cell} == empty
    assert row["zone"] == "UTC"
    assert row["energy_kwh"] == "0.140038"


def test_times_of_a_csv_row_subtract_on_the_day_the_clocks_change() -> None:
    (row,) = csv_rows(csv_text([CLOCK_CHANGE], BERLIN))
    start, end = (datetime.strptime(row[name], "%Y-%m-%d %H:%M:%S") for name in ("start", "end"))  # noqa: DTZ007
    assert row["zone"] == "UTC+02:00"
    assert end - start == timedelta(hours=4)


def test_csv_has_a_byte_order_mark_only_when_excel_needs_one() -> None:
    plain = csv_text([SPRING], UTC)
    accented = csv_text([replace(SPRING, site_id="Köln")], UTC)
    assert plain.isascii()
    assert accented.startswith("\ufeffsite_id,")
    assert "Köln" in accented


@pytest.mark.parametrize("text", ['=HYPERLINK("x")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_a_csv_is_a_formula(text: str) -> None:
    (row,) = csv_rows(csv_text([replace(SPRING, site_id=text, serial=text)], UTC))
    assert [row["site_id"], row["serial"]] == ["'" + text] * 2


def test_a_csv_cell_with_commas_quotes_and_lines_stays_one_cell() -> None:
    odd = 'a,"b"\r\nc'
    (row,) = csv_rows(csv_text([replace(SPRING, serial=odd)], UTC))
    assert row["serial"] == odd


@pytest.mark.parametrize(("energy_kwh", "cell"), [(0.0, "0"), (10.0, "10"), (1e-7, "0"), (100.5, "100.5")])
def test_csv_numbers_are_plain(energy_kwh: float, cell: str) -> None:
    (row,) = csv_rows(csv_text([replace(SPRING, energy_kwh=energy_kwh)], UTC))
    assert row["energy_kwh"] == cell


def test_json_is_a_list_of_objects_whose_times_carry_their_offset() -> None:
    first, second = json.loads(json_text([SPRING, CLOCK_CHANGE], BERLIN))
    assert first == {
        "site_id": "1234567",
        "serial": "482512001234",
        "start": "2026-05-02T07:33:20+02:00",
        "end": "2026-05-02T10:03:20+02:00",
        "plugged_in": "2026-05-02T07:30:00+02:00",
        "plugged_out": "2026-05-02T10:30:00+02:00",
        "charging_seconds": 8800.0,
        "energy_kwh": 3.52,
        "peak_watts": 7400.4,
        "mode": "GREEN_CHARGING",
        "cost": 1.25,
    }
    assert [second["start"], second["end"]] == ["2026-10-25T01:30:00+02:00", "2026-10-25T04:30:00+01:00"]
    assert second["mode"] is second["cost"] is second["plugged_in"] is None
    assert json.loads(json_text([], UTC)) == []


@pytest.fixture
def local_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Berlin: summer and winter have different offsets."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        tzset()
        yield
    tzset()


@pytest.mark.usefixtures("local_zone")
def test_the_local_zone_has_the_offset_of_each_day() -> None:
    winter = replace(SPRING, start_seconds=seconds("2026-01-10T12:00:00+00:00"))
    summer = replace(SPRING, start_seconds=seconds("2026-07-10T12:00:00+00:00"))
    rows = csv_rows(csv_text([winter, summer], None))
    assert [row["start"][11:] for row in rows] == ["13:00:00", "14:00:00"]
    assert [row["zone"] for row in rows] == ["UTC+01:00", "UTC+02:00"]
    assert parse_moment("2026-01-10", None) == seconds("2026-01-10T00:00:00+01:00")
    assert parse_moment("2026-07-10", None) == seconds("2026-07-10T00:00:00+02:00")


@pytest.mark.parametrize(
    ("text", "zone", "iso"),
    [
        ("2026-05-01", UTC, "2026-05-01T00:00:00+00:00"),
        ("2026-05-01", BERLIN, "2026-05-01T00:00:00+02:00"),
        ("2026-01-01", BERLIN, "2026-01-01T00:00:00+01:00"),
        (" 2026-05-01 18:30 ", BERLIN, "2026-05-01T18:30:00+02:00"),
        ("2026-05-01T18:30:15", timezone(timedelta(hours=-7)), "2026-05-01T18:30:15-07:00"),
        ("2026-05-01T18:30-07:00", BERLIN, "2026-05-01T18:30:00-07:00"),
        ("2026-05-01T18:30Z", BERLIN, "2026-05-01T18:30:00+00:00"),
    ],
)
def test_moments_are_read_in_the_zone_unless_they_bring_their_own(text: str, zone: tzinfo, iso: str) -> None:
    assert parse_moment(text, zone) == seconds(iso)


@pytest.mark.parametrize(
    ("text", "back_seconds"),
    [("7d", 604800), ("24h", 86400), ("1h30m", 5400), ("90s", 90), ("2w", 1209600), ("0d", 0)],
)
def test_a_duration_counts_back_from_now(text: str, back_seconds: float) -> None:
    assert parse_moment(text, UTC, wall_clock=lambda: 2e9) == 2e9 - back_seconds


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "7y", "-7d", "1.5h", "2026-13-01", "18:30", "2026-02-30"]
)
def test_other_texts_are_no_moment(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"is no moment; write 2026-05-01, .* or a time back from now such as 7d"
    ):
        parse_moment(text, BERLIN)


def test_the_command_prints_each_form_with_a_newline_at_its_end() -> None:
    sessions = [SPRING, CLOCK_CHANGE]
    assert sessions_text(sessions, "table", UTC) == table(sessions, UTC) + "\n"
    assert sessions_text(sessions, "csv", BERLIN) == csv_text(sessions, BERLIN)
    assert sessions_text(sessions, "json", UTC) == json_text(sessions, UTC) + "\n"
