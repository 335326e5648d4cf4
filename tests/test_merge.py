"""Joining what a site's answers told, and settling what its session energy means."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.merge import Knowledge, join, with_charge_mode, with_last_reported, with_status, with_summary
from exporter.model import (
    ChargeMode,
    ChargeModePreference,
    Charger,
    ChargerStatus,
    ChargerSummary,
    ConnectorStatus,
    Status,
    Summary,
)

PLUG = 1_777_700_000.0
STATUS = ChargerStatus(
    "A", connected=True, plugged_in=True, charging=True, connector_status=ConnectorStatus.CHARGING
)


def status_of(*chargers: ChargerStatus, at: float | None = PLUG + 3600) -> Status:
    return Status(at, chargers)


def flat(figure: float, *, start: float | None = PLUG, plug: float | None = None) -> ChargerStatus:
    """A charger of the flat shape, as parse.py hands it over."""
    readings = (figure / 1000, figure) if figure > 200 else (figure, figure / 1000)
    return replace(
        STATUS,
        session_energy_kwh=readings[0],
        session_energy_other_kwh=readings[1],
        session_start_seconds=start,
        session_plugged_in_seconds=plug,
    )


def enveloped(
    energy_kwh: float | None, *, start: float | None = PLUG, plug: float | None = None
) -> ChargerStatus:
    return replace(
        STATUS,
        session_energy_kwh=energy_kwh,
        session_start_seconds=start,
        session_plugged_in_seconds=plug,
    )


def energies(*told: tuple[float | None, ChargerStatus], known: Knowledge | None = None) -> list[float | None]:
    """The energy exposed after each of these statuses, each told at so many seconds after plug-in."""
    known = known or Knowledge()
    exposed = []
    for elapsed, charger in told:
        known = with_status(known, status_of(charger, at=None if elapsed is None else PLUG + elapsed))
        exposed.append(join("1", known)[0][0].session_energy_kwh)
    return exposed


def only(known: Knowledge) -> Charger:
    chargers, _ = join("1", known)
    assert len(chargers) == 1
    return chargers[0]


def test_nothing_known_joins_to_nothing() -> None:
    assert join("1", Knowledge()) == ((), ())


def test_chargers_are_sorted_by_serial_and_carry_their_site() -> None:
    known = with_status(Knowledge(), status_of(ChargerStatus("B"), ChargerStatus("A")))
    chargers, _ = join("1234567", known)
    assert [(charger.site_id, charger.serial) for charger in chargers] == [("1234567", "A"), ("1234567", "B")]


def test_a_charger_that_did_not_change_is_the_same_object_and_so_is_the_tuple() -> None:
    known = with_status(Knowledge(), status_of(STATUS, ChargerStatus("B", connected=True)))
    before, _ = join("1", known)
    again, _ = join("1", with_status(known, status_of(STATUS, ChargerStatus("B", connected=True))), before)
    changed, _ = join("1", with_status(known, status_of(STATUS, ChargerStatus("B", connected=False))), before)
    assert again is before
    assert changed is not before
    assert changed[0] is before[0]
    assert changed[1].connected is False


@pytest.mark.parametrize(
    "change", [{"last_reported_seconds": PLUG}, {"session_energy_kwh": 1.0}, {"faulted": True}]
)
def test_a_charger_that_changed_is_another_object(change: dict[str, float]) -> None:
    known = with_status(Knowledge(), status_of(STATUS))
    before, _ = join("1", known)
    after, _ = join("1", with_status(known, status_of(replace(STATUS, **change))), before)  # type: ignore[arg-type]
    assert after[0] is not before[0]


def test_a_charger_gone_from_status_stays_while_summary_lists_it() -> None:
    known = with_summary(Knowledge(), Summary(None, (ChargerSummary("A", name="Garage"),)))
    known = with_status(known, status_of(enveloped(1.0)))
    assert only(known).session_energy_kwh == 1.0
    gone = join("1", with_status(known, status_of(replace(STATUS, serial="B"))))[0][0]
    assert (gone.name, gone.plugged_in, gone.session_energy_kwh) == ("Garage", None, None)
    assert gone.connector_status is ConnectorStatus.UNKNOWN


def test_three_empty_summaries_in_a_row_are_believed() -> None:
    known = with_summary(Knowledge(), Summary(None, (ChargerSummary("A"),)))
    for expected in (1, 1, 0):
        known = with_summary(known, Summary(None, ()))
        assert len(join("1", known)[0]) == expected


def test_an_empty_status_still_tells_the_time() -> None:
    known = with_status(with_status(Knowledge(), status_of(STATUS)), Status(PLUG + 7200, ()))
    assert known.status_timestamp_seconds == PLUG + 7200


def test_a_summary_field_told_as_false_replaces_one_told_as_true() -> None:
    known = with_summary(Knowledge(), Summary(None, (ChargerSummary("A", dlb_enabled=True, min_amperes=6),)))
    charger = only(with_summary(known, Summary(None, (ChargerSummary("A", dlb_enabled=False),))))
    assert (charger.dlb_enabled, charger.min_amperes) == (False, 6)


def test_a_charge_mode_belongs_to_its_charger() -> None:
    known = with_status(Knowledge(), status_of(STATUS, ChargerStatus("B")))
    known = with_charge_mode(known, "B", ChargeModePreference(ChargeMode.GREEN_CHARGING))
    assert [charger.charge_mode for charger in join("1", known)[0]] == [None, ChargeMode.GREEN_CHARGING]


def test_the_newest_account_of_the_last_report_counts() -> None:
    known = with_status(Knowledge(), status_of(replace(STATUS, last_reported_seconds=PLUG + 1)))
    assert only(known).last_reported_seconds == PLUG + 1
    known = with_last_reported(known, {"A": PLUG + 2})
    assert only(known).last_reported_seconds == PLUG + 2
    known = with_summary(known, Summary(None, (ChargerSummary("A", last_reported_seconds=PLUG + 3),)))
    assert only(known).last_reported_seconds == PLUG + 3


def test_an_enveloped_energy_is_taken_as_it_is() -> None:
    assert energies((60, enveloped(0.02)), (120, enveloped(0.1)), (180, enveloped(None))) == [0.02, 0.1, None]


def test_an_implausible_energy_is_absent_and_told_until_the_next_status() -> None:
    known = with_status(Knowledge(), status_of(enveloped(50.0), at=PLUG + 60))
    chargers, problems = join("1", known)
    assert chargers[0].session_energy_kwh is None
    assert [problem.kind for problem in problems] == ["implausible_energy"]
    assert join("1", with_status(known, status_of(enveloped(0.1), at=PLUG + 120)))[1] == ()


def test_a_full_rate_session_is_never_implausible() -> None:
    told = [(hours * 3600.0, enveloped(22.08 * hours)) for hours in (0.01, 0.1, 1, 3)]
    limits = ChargerSummary("A", rated_amperes=32, operating_voltage_volts=230, phases=3, has_neutral=True)
    known = with_summary(Knowledge(), Summary(None, (limits,)))
    assert energies(*told, known=known) == [charger.session_energy_kwh for _, charger in told]


def test_three_phases_without_neutral_count_by_the_voltage_between_lines() -> None:
    limits = ChargerSummary("A", rated_amperes=16, operating_voltage_volts=208, phases=3, has_neutral=False)
    known = with_summary(Knowledge(), Summary(None, (limits,)))
    assert energies((7200, enveloped(13.0)), (7200, enveloped(18.0)), known=known) == [13.0, None]


def test_the_time_of_a_session_counts_from_plug_in_when_charging_began_anew() -> None:
    assert energies((7200, enveloped(20.0, start=PLUG + 7100, plug=PLUG))) == [20.0]


def test_a_finished_session_is_bounded_by_its_own_end() -> None:
    finished = replace(flat(150), plugged_in=False, session_plugged_out_seconds=PLUG + 3600)
    assert energies((86400, finished)) == [0.15]
    assert energies((86400, replace(finished, session_plugged_out_seconds=PLUG - 60))) == [150]
    assert energies((86400, replace(finished, plugged_in=True))) == [150]


def test_without_a_time_to_measure_by_nothing_is_implausible() -> None:
    assert energies((None, enveloped(500.0)), (60, enveloped(500.0, start=None))) == [500.0, 500.0]


def test_a_flat_session_in_watt_hours_never_jumps_by_a_thousand() -> None:
    told = [(60.0 * minute, flat(figure)) for minute, figure in enumerate((20, 150, 180, 210, 350), 1)]
    assert energies(*told) == [0.02, 0.15, 0.18, 0.21, 0.35]


def test_a_flat_session_in_kilowatt_hours_never_jumps_by_a_thousand() -> None:
    told = [(3600.0 * hour, flat(figure)) for hour, figure in enumerate((3.5, 10, 20, 30), 1)]
    assert energies(*told) == [3.5, 10, 20, 30]


def test_a_flat_unit_mistaken_at_first_is_put_right_by_physics() -> None:
    assert energies((30, flat(3)), (90, flat(60)), (150, flat(80))) == [3, 0.06, 0.08]


def test_a_zero_in_mid_session_changes_no_unit() -> None:
    told = ((7200, flat(30.0)), (7230, flat(0.0)), (7260, flat(30.2)))
    assert energies(*told) == [30.0, 0.0, 30.2]
    in_watt_hours = ((7200, flat(150)), (7230, flat(0.0)), (7260, flat(190)))
    assert energies((300, flat(90)), *in_watt_hours) == [0.09, 0.15, 0.0, 0.19]
    without_start = ((60, flat(250, start=None)), (120, flat(0, start=None)), (180, flat(190, start=None)))
    assert energies(*without_start) == [0.25, 0.0, 0.19]


def test_a_first_figure_of_zero_settles_no_unit() -> None:
    assert energies((60, flat(0, start=None)), (120, flat(3520, start=None))) == [0.0, 3.52]


def test_a_flat_charger_may_have_another_unit_in_the_next_session() -> None:
    later = PLUG + 86400
    assert energies((600, flat(120)), (86400 + 3600, flat(5.0, start=later))) == [0.12, 5.0]


def test_the_unit_outlasts_a_pause_in_charging() -> None:
    told = ((600, flat(120, plug=PLUG)), (36000, flat(160, start=PLUG + 35000, plug=PLUG)))
    assert energies(*told) == [0.12, 0.16]


def test_an_old_total_told_in_a_new_session_is_not_read_in_the_other_unit() -> None:
    later = PLUG + 86400
    told = ((7200, flat(10.0)), (86430, flat(10.0, start=later)), (86490, flat(0.2, start=later)))
    assert energies(*told) == [10.0, None, 0.2]


def test_flat_units_are_followed_without_any_session_start() -> None:
    told = ((60, flat(3.4, start=None)), (120, flat(3450, start=None)), (180, flat(3.5, start=None)))
    assert energies(*told) == [3.4, 3.45, 3.5]


maybe_time = st.none() | st.floats(min_value=PLUG - 1e6, max_value=PLUG + 1e6)
maybe_kwh = st.none() | st.sampled_from([0.0, 0.15, 10.0]) | st.floats(min_value=0, max_value=1e305)
chargers = st.builds(
    ChargerStatus,
    serial=st.sampled_from("ABC"),
    connected=st.none() | st.booleans(),
    charging=st.none() | st.booleans(),
    plugged_in=st.none() | st.booleans(),
    connector_status=st.none() | st.sampled_from(ConnectorStatus),
    last_reported_seconds=maybe_time,
    session_energy_kwh=maybe_kwh,
    session_energy_other_kwh=maybe_kwh,
    session_start_seconds=maybe_time,
    session_plugged_in_seconds=maybe_time,
    session_plugged_out_seconds=maybe_time,
    retired=st.booleans(),
)
summaries = st.builds(
    ChargerSummary,
    serial=st.sampled_from("ABC"),
    rated_amperes=st.none() | st.floats(min_value=1, max_value=1e305),
    operating_voltage_volts=st.none() | st.floats(min_value=90, max_value=500),
    phases=st.none() | st.integers(min_value=1, max_value=3),
    has_neutral=st.none() | st.booleans(),
    retired=st.booleans(),
)
answers = st.builds(Status, maybe_time, st.lists(chargers, max_size=3).map(tuple)) | st.builds(
    Summary, maybe_time, st.lists(summaries, max_size=3).map(tuple)
)


@given(st.lists(answers, max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_answers_break_the_join_and_unchanged_chargers_stay_themselves(
    told: list[Status | Summary],
) -> None:
    known = Knowledge()
    previous: tuple[Charger, ...] = ()
    for answer in told:
        known = with_status(known, answer) if isinstance(answer, Status) else with_summary(known, answer)
        fresh, _ = join("1", known)
        previous, _ = join("1", known, previous)
        assert [charger.serial for charger in fresh] == sorted({charger.serial for charger in fresh})
        assert [repr(charger) for charger in fresh] == [repr(charger) for charger in previous]
        assert join("1", known, previous)[0] is previous
        assert not any(charger.charging and charger.connected is False for charger in fresh)


def test_the_limits_of_the_summary_are_the_chargers() -> None:
    about = ChargerSummary(
        "A", min_amperes=6.0, max_amperes=32.0, granularity_amperes=2.0, rated_amperes=40.0
    )
    known = with_summary(with_status(Knowledge(), status_of(STATUS)), Summary(None, (about,)))
    charger = join("1", known)[0][0]
    assert (charger.min_amperes, charger.max_amperes) == (6.0, 32.0)
    assert (charger.granularity_amperes, charger.rated_amperes) == (2.0, 40.0)
