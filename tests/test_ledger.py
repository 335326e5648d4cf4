from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger import fold, is_worth_saving, opened
from exporter.model import ChargeMode, FinishedSession, Ledger, Reading

START = 1_800_000_000.0
BASE = Reading(
    site_id="1",
    serial="A",
    at_seconds=START,
    limit_kilowatts=22.0,
    level_kilowatts=11.0,
    connected=True,
    plugged_in=True,
    charging=True,
    faulted=False,
    running_charge_mode=ChargeMode.MANUAL_CHARGING,
)


def reading(at: float, energy: float | None = None, start: float | None = 0.0, **more: object) -> Reading:
    """A reading `at` seconds after START, of a session that started `start` seconds after it."""
    began = None if start is None else START + start
    plugged = more.pop("plugged", start)
    given = replace(
        BASE,
        at_seconds=START + at,
        reported_seconds=START + at,
        session_energy_kwh=energy,
        session_start_seconds=began,
        session_plugged_in_seconds=None if plugged is None else START + float(plugged),  # type: ignore[arg-type]
    )
    return replace(given, **more)  # type: ignore[arg-type]


def lifetime(kwh: float, reported: float) -> dict[str, float]:
    return {"lifetime_energy_kwh": kwh, "lifetime_reported_seconds": START + reported}


def folded(
    *readings: Reading, since: float = -100.0, ledger: Ledger | None = None
) -> tuple[Ledger, list[FinishedSession]]:
    ledger = ledger or opened(readings[0], START + since)
    finished: list[FinishedSession] = []
    before = 0.0
    for one in readings:
        ledger, ended = fold(ledger, one)
        finished += ended
        assert ledger.energy_kwh >= before
        before = ledger.energy_kwh
    return ledger, finished


def energies(*readings: Reading, since: float = -100.0) -> list[float]:
    """The account after each reading."""
    ledger = opened(readings[0], START + since)
    totals = []
    for one in readings:
        ledger, _ = fold(ledger, one)
        totals.append(round(ledger.energy_kwh, 6))
    return totals


def test_a_session_that_grows_is_counted_as_it_grows() -> None:
    assert energies(reading(30, 0.1), reading(60, 0.2), reading(90, 0.35)) == [0.1, 0.2, 0.35]


def test_energy_of_a_session_that_began_before_we_watched_counts_only_as_it_grows() -> None:
    assert energies(reading(30, 5.2), reading(60, 5.3), since=10) == [0.0, 0.1]


def test_a_glitch_to_zero_or_an_earlier_value_within_a_session_never_decreases_and_never_counts_twice() -> (
    None
):
    told = [5.2, 0.0, 5.3, 5.1, 5.3, 5.4]
    totals = energies(*(reading(4000 + 30 * n, kwh) for n, kwh in enumerate(told)))
    assert totals == [5.2, 5.2, 5.3, 5.3, 5.3, 5.4]


@pytest.mark.parametrize("plugged", [0.0, 8000.0])
def test_a_new_start_with_less_energy_is_a_new_session(plugged: float) -> None:
    ledger, finished = folded(
        reading(4000, 5.2),
        reading(8100, 0.04, 8050, plugged=plugged),
        reading(8130, 0.09, 8050, plugged=plugged),
    )
    assert ledger.energy_kwh == pytest.approx(5.29)
    assert ledger.sessions == 2
    assert [one.energy_kwh for one in finished] == [5.2]


def test_a_pause_within_one_plug_in_is_one_session() -> None:
    ledger, finished = folded(
        reading(1000, 1.0),
        reading(2000, 1.0, charging=False),
        reading(3000, 1.0, 2900, plugged=0),
        reading(3300, 1.4, 2900, plugged=0),
        reading(3400, 1.4, 2900, plugged=0, plugged_in=False, charging=False),
    )
    assert ledger.energy_kwh == pytest.approx(1.4)
    assert ledger.sessions == 1
    assert [one.energy_kwh for one in finished] == [1.4]


def test_a_new_segment_whose_energy_begins_again_is_a_session_of_its_own() -> None:
    ledger, finished = folded(
        reading(1000, 1.0),
        reading(3000, 1.0, 2900, plugged=0),
        reading(3300, 0.2, 2900, plugged=0),
        reading(3600, 0.5, 2900, plugged=0),
    )
    assert ledger.energy_kwh == pytest.approx(1.5)
    assert ledger.sessions == 2
    assert [one.energy_kwh for one in finished] == [1.0]


def test_the_total_of_the_last_session_shown_for_a_new_one_is_not_counted_again() -> None:
    totals = energies(
        reading(4000, 5.2),
        reading(4100, 5.2, plugged_in=False, charging=False),
        reading(9000, 5.2, 8990),
        reading(9030, 5.2, 8990),
        reading(9300, 0.6, 8990),
        reading(9330, 0.7, 8990),
    )
    assert totals == [5.2, 5.2, 5.2, 5.2, 5.8, 5.9]


def test_a_whole_session_between_two_polls_is_counted_from_what_the_cloud_still_shows() -> None:
    ledger, finished = folded(
        reading(100, 0.2),
        reading(
            20_000, 8.0, 9000, plugged_in=False, charging=False, session_plugged_out_seconds=START + 19_000
        ),
    )
    assert ledger.energy_kwh == pytest.approx(8.2)
    assert ledger.sessions == 2
    assert [one.energy_kwh for one in finished] == [0.2, 8.0]
    assert finished[1].plugged_out_seconds == START + 19_000


def test_a_new_session_cannot_bring_more_than_can_have_flowed_since_it_began() -> None:
    """A start that moves by itself, as with a clock that was set, is no new energy."""
    assert energies(reading(4000, 15.0), reading(4030, 15.1, 3999, plugged=3999))[1] == pytest.approx(15.1)


def test_the_energy_of_a_finished_session_that_arrives_late_is_counted_and_recorded_again() -> None:
    ledger, finished = folded(
        reading(1000, 1.0),
        reading(1100, 1.0, plugged_in=False, charging=False),
        reading(1400, 1.3, plugged_in=False, charging=False),
        reading(1700, 1.3, plugged_in=False, charging=False),
    )
    assert ledger.energy_kwh == pytest.approx(1.3)
    assert [one.energy_kwh for one in finished] == [1.0, 1.3]
    assert len({one.start_seconds for one in finished}) == 1


def test_old_and_repeated_answers_change_nothing() -> None:
    ledger, _ = folded(reading(100, 0.1), reading(200, 0.2), reading(300, 0.3))
    for late in (reading(200, 0.2), reading(100, 0.1), reading(300, 0.3)):
        again, finished = fold(ledger, late)
        assert finished == ()
        assert msgspec.structs.replace(again, backward_readings=0) == ledger


def test_an_answer_of_the_session_before_changes_nothing() -> None:
    ledger, _ = folded(reading(1000, 1.0), reading(3000, 0.1, 2900))
    again, finished = fold(ledger, reading(3030, 1.0, 0))
    assert (again.energy_kwh, again.sessions, finished) == (ledger.energy_kwh, 2, ())


def test_a_clock_that_was_set_back_is_believed_after_three_readings() -> None:
    ledger, _ = folded(
        reading(9000, 1.0), reading(5000, 1.1), reading(5030, 1.2), reading(5060, 1.3), reading(5090, 1.4)
    )
    assert ledger.energy_kwh == pytest.approx(1.4)
    assert ledger.at_seconds == START + 5090


def test_missing_energy_is_nothing_and_comes_back_in_full() -> None:
    assert energies(reading(100, 0.5), reading(200), reading(300), reading(400, 0.9)) == [0.5, 0.5, 0.5, 0.9]


# -- lifetime ------------------------------------------------------------------------------------------------


def test_a_session_that_was_never_shown_is_counted_from_the_lifetime_figure() -> None:
    totals = energies(
        reading(300, 0.5, **lifetime(100.0, 300)),
        reading(600, 1.0, **lifetime(100.5, 600)),
        # two sessions in an outage, of which only the second is shown
        reading(90_000, 3.0, 80_000, plugged_in=False, charging=False, **lifetime(110.5, 90_000)),
    )
    assert totals == [0.5, 1.0, 11.0]


def test_energy_is_counted_once_when_both_figures_tell_of_it() -> None:
    steps = []
    for n in range(1, 20):
        report = 300 * n
        seen = 300 * (n - 1)  # the summary lags one report behind
        steps.append(
            reading(
                report + 10, 0.5 * n, reported_seconds=START + report, **lifetime(100 + 0.5 * (n - 1), seen)
            )
        )
    ledger, _ = folded(*steps)
    assert ledger.energy_kwh == pytest.approx(0.5 * 19)


def test_a_lifetime_figure_that_runs_ahead_of_status_is_not_counted_twice() -> None:
    ledger, _ = folded(
        reading(310, 0.5, reported_seconds=START + 300, **lifetime(100.5, 300)),
        reading(620, 0.5, reported_seconds=START + 300, **lifetime(101.0, 600)),
        reading(640, 1.0, reported_seconds=START + 600, **lifetime(101.0, 600)),
        reading(940, 1.5, reported_seconds=START + 900, **lifetime(101.0, 600)),
        reading(960, 1.5, reported_seconds=START + 900, **lifetime(101.5, 900)),
    )
    assert ledger.energy_kwh == pytest.approx(1.5)


def test_the_first_lifetime_figure_ahead_of_status_loses_nothing() -> None:
    ledger, _ = folded(
        reading(310, 0.5, reported_seconds=START + 300, **lifetime(101.0, 600)),
        reading(640, 1.0, reported_seconds=START + 600, **lifetime(101.0, 600)),
        reading(940, 1.5, reported_seconds=START + 900, **lifetime(101.5, 900)),
    )
    assert ledger.energy_kwh == pytest.approx(1.5)


def test_while_the_lifetime_figure_is_missing_sessions_go_on_counting() -> None:
    told = lifetime(100.5, 300)
    totals = energies(*(reading(300 * n, 0.5 * n, **told) for n in range(1, 9)))
    assert totals == [0.5 * n for n in range(1, 9)]


def test_a_dip_of_the_lifetime_figure_is_held() -> None:
    ledger, _ = folded(
        reading(300, 0.5, **lifetime(100.0, 300)),
        reading(600, 1.0, **lifetime(0.0, 600)),
        reading(900, 1.5, **lifetime(0.0, 900)),
        reading(1200, 2.0, **lifetime(101.5, 1200)),
    )
    assert ledger.lifetime.kwh == 101.5
    assert ledger.energy_kwh == pytest.approx(2.0)


def test_a_replaced_charger_is_believed_when_confirmed_and_its_figure_is_no_energy() -> None:
    ledger, _ = folded(
        reading(300, 0.5, **lifetime(100.0, 300)),
        reading(600, 1.0, **lifetime(0.2, 600)),
        reading(900, 1.5, **lifetime(0.7, 900)),
        reading(1200, 2.0, **lifetime(1.2, 1200)),
    )
    assert ledger.lifetime.kwh == 1.2
    assert ledger.energy_kwh == pytest.approx(2.0)


# -- counters and times --------------------------------------------------------------------------------------


def test_faults_are_counted_as_they_begin() -> None:
    steps = [False, True, True, None, True, False, True]
    ledger, _ = folded(*(reading(30 * n, faulted=state) for n, state in enumerate(steps)))
    assert ledger.faults == 2


def test_a_fault_at_first_sight_is_no_entry() -> None:
    assert folded(reading(0, faulted=True), reading(30, faulted=True))[0].faults == 0


def test_time_in_state_advances_by_what_was_observed() -> None:
    ledger, _ = folded(
        reading(0, plugged_in=False, charging=False),
        reading(60, plugged_in=True, charging=False),
        reading(120, plugged_in=True, charging=True),
        reading(180, plugged_in=True, charging=True),
        reading(240, plugged_in=True, charging=False),
        reading(300, plugged_in=False, charging=False),
        reading(360, plugged_in=False, charging=False),
    )
    assert (ledger.charging_seconds, ledger.plugged_in_seconds) == (120, 240)


def test_a_night_offline_is_not_a_night_charging() -> None:
    ledger, _ = folded(reading(0), reading(8 * 3600))
    assert ledger.charging_seconds == 300
    ledger, _ = folded(
        reading(0), reading(60, charging=None, plugged_in=None, connected=False), reading(8 * 3600)
    )
    assert ledger.charging_seconds == 60


def test_a_finished_session_says_what_it_was() -> None:
    _, finished = folded(
        reading(0, 0.0, plugged=-60, session_cost=0.0),
        reading(300, 0.5, plugged=-60, session_cost=0.15),
        reading(600, 1.0, plugged=-60, session_cost=0.3),
        reading(
            700,
            1.0,
            plugged=-60,
            session_cost=0.3,
            plugged_in=False,
            charging=False,
            session_plugged_out_seconds=START + 690,
        ),
    )
    assert finished == [
        FinishedSession(
            site_id="1",
            serial="A",
            start_seconds=START,
            end_seconds=START + 600,
            plugged_in_seconds=START - 60,
            plugged_out_seconds=START + 690,
            energy_kwh=1.0,
            peak_watts=pytest.approx(6000),  # type: ignore[arg-type]
            charging_seconds=700.0,
            mode=ChargeMode.MANUAL_CHARGING,
            cost=0.3,
        )
    ]


def test_the_plug_out_of_the_session_before_is_not_the_new_ones() -> None:
    ledger, _ = folded(reading(30, 0.1, session_plugged_out_seconds=START - 5000))
    assert ledger.session is not None
    assert ledger.session.plugged_out_seconds is None


# -- durability ----------------------------------------------------------------------------------------------


def test_a_ledger_survives_being_written_and_read() -> None:
    ledger, _ = folded(reading(300, 0.5, **lifetime(100.0, 300)), reading(600, 1.0, **lifetime(100.5, 600)))
    assert msgspec.json.decode(msgspec.json.encode(ledger), type=Ledger) == ledger


def test_what_is_shown_again_after_a_restart_is_not_counted_again() -> None:
    last = reading(600, 1.0, **lifetime(100.5, 600))
    ledger, _ = folded(reading(300, 0.5, **lifetime(100.0, 300)), last)
    restored = msgspec.json.decode(msgspec.json.encode(ledger), type=Ledger)
    again, finished = fold(restored, replace(last, at_seconds=last.at_seconds + 30))
    assert again.energy_kwh == ledger.energy_kwh
    assert finished == ()


def test_an_idle_charger_is_not_worth_a_write_but_any_count_is() -> None:
    idle = [
        reading(30 * n, 1.0, plugged_in=False, charging=False, **lifetime(100.0, 30 * n)) for n in range(3)
    ]
    ledger, _ = folded(*idle[:2])
    after, _ = fold(ledger, idle[2])
    assert not is_worth_saving(ledger, after)
    after, _ = fold(ledger, replace(idle[2], faulted=True))
    assert is_worth_saving(ledger, after)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 600),  # seconds since the reading before
            st.floats(0, 3),  # energy told, as a factor of the true one: glitches of every kind
            st.booleans(),  # charging
            st.booleans(),  # plugged in
            st.sampled_from([None, 0.0, 1.0]),  # lifetime: missing, zero, right
            st.booleans(),  # a new session
        ),
        max_size=40,
    )
)
def test_whatever_is_told_no_account_ever_goes_down(
    steps: list[tuple[float, float, bool, bool, float | None, bool]],
) -> None:
    at, start, energy = 0.0, 0.0, 0.0
    ledger = opened(reading(0))
    for seconds, factor, charging, plugged_in, shown, new in steps:
        at += seconds
        energy += 11 * seconds / 3600
        if new:
            start = at
        told = lifetime(100 + energy, at) if shown == 1.0 else lifetime(0.0, at) if shown == 0.0 else {}
        after, _ = fold(
            ledger, reading(at, energy * factor, start, charging=charging, plugged_in=plugged_in, **told)
        )
        assert after.energy_kwh >= ledger.energy_kwh
        assert after.sessions >= ledger.sessions
        assert after.faults >= ledger.faults
        assert after.charging_seconds >= ledger.charging_seconds
        assert after.plugged_in_seconds >= ledger.plugged_in_seconds
        assert after.power.watts is None or 0 <= after.power.watts <= 11_000
        ledger = after


# -- figures that are not what they seem ---------------------------------------------------------------------


def test_a_figure_missing_at_first_sight_does_not_count_what_came_before() -> None:
    assert energies(reading(1000), reading(1030, 5.2), reading(1060, 5.3), since=900) == [0.0, 0.0, 0.1]


def test_the_total_of_the_session_before_shown_in_mid_session_is_a_glitch() -> None:
    told = [(4000, 5.2, 0), (9000, 0.0, 8990), (9300, 0.6, 8990), (9330, 5.2, 8990), (9600, 1.2, 8990)]
    totals = energies(*(reading(at, kwh, start) for at, kwh, start in told))
    assert totals == [5.2, 5.2, 5.8, 5.8, 6.4]


def test_a_start_that_moves_by_itself_goes_on_counting_growth_only() -> None:
    moved = [reading(4030 + 30 * n, 15.1 + n / 10, 3999, plugged=3999) for n in range(3)]
    assert energies(reading(4000, 15.0), *moved)[1:] == pytest.approx([15.1, 15.2, 15.3])


def test_a_glitch_to_zero_as_charging_resumes_does_not_count_the_session_twice() -> None:
    totals = energies(
        reading(1000, 1.0),
        reading(3000, 0.0, 2990, plugged=0),
        reading(3030, 1.0, 2990, plugged=0),
        reading(3300, 1.3, 2990, plugged=0),
    )
    assert totals == [1.0, 1.0, 1.0, 1.3]


def test_without_plug_in_times_a_car_that_left_makes_the_next_start_a_new_session() -> None:
    ledger, finished = folded(
        reading(1000, 1.0, plugged=None),
        reading(1100, 1.0, plugged=None, plugged_in=False, charging=False),
        reading(9000, 3.0, 7000, plugged=None),
    )
    assert ledger.energy_kwh == pytest.approx(4.0)
    assert ledger.sessions == 2
    assert [one.energy_kwh for one in finished] == [1.0]


def test_a_figure_missing_while_the_lifetime_goes_on_is_not_counted_twice_when_it_returns() -> None:
    hidden = [reading(300 * n, **lifetime(100 + n / 2, 300 * n)) for n in range(3, 20)]
    ledger, _ = folded(
        reading(300, 0.5, **lifetime(100.5, 300)),
        reading(600, 1.0, **lifetime(101.0, 600)),
        *hidden,
        reading(6000, 10.0, **lifetime(109.5, 5700)),
        reading(6300, 10.5, **lifetime(110.0, 6000)),
        reading(6600, 11.0, **lifetime(110.5, 6300)),
    )
    assert ledger.energy_kwh == pytest.approx(11.0)


def test_a_lifetime_of_0_at_first_sight_is_no_figure() -> None:
    ledger, _ = folded(
        reading(300, 0.5, **lifetime(0.0, 300)),
        reading(90_000, 0.5, **lifetime(233.0, 90_000)),
        reading(90_300, 0.5, **lifetime(233.0, 90_300)),
    )
    assert ledger.energy_kwh == 0.5


def test_without_report_times_a_lifetime_figure_of_before_the_session_is_not_tied_to_it() -> None:
    def told(
        at: float, kwh: float, lifetime_kwh: float, reported: float, *, charging: bool = False
    ) -> Reading:
        figure = lifetime(lifetime_kwh, reported)
        return reading(at, kwh, charging=charging, plugged_in=charging, reported_seconds=None, **figure)

    ledger, _ = folded(
        told(300, 0.5, 100.0, -300, charging=True),
        told(9000, 10.0, 100.0, -300),  # the summary stands still
        told(9030, 10.0, 100.0, -300),
        told(10_500, 10.0, 100.0, -300),
        told(12_000, 10.0, 110.0, 11_900),
    )
    assert ledger.energy_kwh == pytest.approx(10.0)


def test_a_figure_in_the_wrong_unit_adds_no_more_than_can_have_flowed_since_the_lifetime_report() -> None:
    ledger, _ = folded(
        reading(300, 0.067, **lifetime(100.067, 300)),
        reading(330, 0.067, **lifetime(100.067, 300)),
        reading(360, 67.0, reported_seconds=START + 360, **lifetime(100.067, 300)),
    )
    assert ledger.energy_kwh < 1.0


@pytest.mark.parametrize("plugged_in", [True, False])
def test_energy_that_comes_after_the_record_is_recorded_whoever_is_plugged_in_by_then(
    plugged_in: bool,
) -> None:
    _, finished = folded(
        reading(1000, 1.0),
        reading(1100, 1.0, plugged_in=False, charging=False),
        reading(1400, 1.3, plugged_in=plugged_in, charging=False),
    )
    assert [one.energy_kwh for one in finished] == [1.0, 1.3]
