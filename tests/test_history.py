import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.history import SLOT_SECONDS, SLOTS, Slot, mean_watts, note, read_slots
from exporter.model import Ledger

HERE = ("1234567", "482500000017")


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE history (site_id TEXT, serial TEXT, slot INTEGER, energy_kwh REAL, charging INTEGER, "
        "PRIMARY KEY (site_id, serial, slot)) WITHOUT ROWID"
    )
    yield connection
    connection.close()


def ledger(slot: float, energy_kwh: float, *, charging: bool = True) -> Ledger:
    at = slot * SLOT_SECONDS
    return Ledger(watched_since_seconds=0.0, energy_kwh=energy_kwh, at_seconds=at, charging=charging)


def test_the_last_that_was_written_in_a_slot_is_what_it_shows(database: sqlite3.Connection) -> None:
    for slot, energy_kwh, charging in ((100.1, 1.0, True), (100.9, 2.0, False), (101.0, 3.0, True)):
        note(database, [(*HERE, ledger(slot, energy_kwh, charging=charging))])
    note(database, [("7", "other", ledger(100, 9.0))])
    assert read_slots(database) == {
        HERE: [Slot(100, 2.0, False), Slot(101, 3.0, True)],
        ("7", "other"): [Slot(100, 9.0, True)],
    }


def test_a_ledger_without_a_time_leaves_no_row(database: sqlite3.Connection) -> None:
    note(database, [(*HERE, Ledger(watched_since_seconds=0.0))])
    assert read_slots(database) == {}


def test_only_the_day_and_the_row_before_it_are_kept(database: sqlite3.Connection) -> None:
    for slot in (1, 5, 200, 201):
        note(database, [(*HERE, ledger(slot, float(slot)))])
    assert [slot.number for slot in read_slots(database)[HERE]] == [5, 200, 201]
    note(database, [(*HERE, ledger(201 + SLOTS, 999.0))])
    assert [slot.number for slot in read_slots(database)[HERE]] == [201, 201 + SLOTS]


def test_mean_power_is_the_energy_that_moved_within_a_slot() -> None:
    slots = [Slot(10, 0.0, True), Slot(11, 1.0, True), Slot(12, 3.0, False)]
    assert mean_watts(slots, 13 * SLOT_SECONDS)[-4:] == (None, 4000.0, 8000.0, 0.0)


def test_energy_of_a_silent_cloud_is_spread_over_the_silence_if_power_flowed_before() -> None:
    assert mean_watts([Slot(10, 0.0, True), Slot(14, 4.0, True)], 14 * SLOT_SECONDS)[-5:] == (
        None,
        *(4 * (4000.0,)),
    )


def test_energy_after_a_rest_belongs_to_the_slot_that_shows_it() -> None:
    assert mean_watts([Slot(10, 0.0, False), Slot(14, 1.0, True)], 14 * SLOT_SECONDS)[-5:] == (
        None,
        0.0,
        0.0,
        0.0,
        4000.0,
    )


def test_a_charger_that_rests_for_days_shows_zero_and_one_never_seen_shows_nothing() -> None:
    assert mean_watts([Slot(10, 5.0, False)], 1000 * SLOT_SECONDS) == (0.0,) * SLOTS
    assert mean_watts([], 1000 * SLOT_SECONDS) == (None,) * SLOTS


@given(
    st.lists(
        st.tuples(st.integers(0, SLOTS - 1), st.floats(0, 20), st.booleans()),
        min_size=2,
        max_size=20,
        unique_by=lambda row: row[0],
    )
)
def test_the_shown_power_adds_up_to_the_energy_that_moved(rows: list[tuple[int, float, bool]]) -> None:
    energy_kwh, slots = 0.0, []
    for number, moved_kwh, charging in sorted(rows):
        energy_kwh += moved_kwh
        slots.append(Slot(number, energy_kwh, charging))
    watts = mean_watts(slots, (SLOTS - 1) * SLOT_SECONDS)
    assert len(watts) == SLOTS
    shown_kwh = sum(one or 0.0 for one in watts) * SLOT_SECONDS / 3_600_000
    assert shown_kwh == pytest.approx(slots[-1].energy_kwh - slots[0].energy_kwh, abs=1e-6)
