from dataclasses import replace

import pytest

from exporter.model import Power, Reading
from exporter.power import fold_power

CHARGING = Reading("1", "A", 0.0, limit_kilowatts=22.0, level_kilowatts=11.0, connected=True, charging=True)
BASE = Power(None, 10.0, 1000.0)


def test_half_a_kilowatt_hour_in_300_seconds_is_6_kilowatts() -> None:
    assert fold_power(BASE, CHARGING, 10.5, 1300.0, began=False).watts == pytest.approx(6000)


def test_power_is_reckoned_by_the_chargers_reports_and_stays_until_the_next() -> None:
    known = Power(6000.0, 10.5, 1300.0)
    assert fold_power(known, CHARGING, 10.5, 1300.0, began=False) == known
    assert fold_power(known, CHARGING, 10.6, 1300.0, began=False) == known


def test_power_is_absent_until_two_reports_are_known() -> None:
    first = fold_power(Power(), CHARGING, 10.0, 1000.0, began=False)
    assert (first.watts, first.base_seconds) == (None, 1000.0)
    assert fold_power(Power(), CHARGING, 10.0, None, began=False).watts is None


@pytest.mark.parametrize("charging", [False, None])
def test_no_power_flows_when_the_charger_says_so_and_none_is_known_when_it_does_not(
    charging: bool | None,
) -> None:
    after = fold_power(
        Power(6000.0, 10.5, 1300.0), replace(CHARGING, charging=charging), 10.5, 1300.0, began=False
    )
    assert after == Power(0.0 if charging is False else None)


def test_an_offline_charger_has_no_power_not_even_none() -> None:
    offline = replace(CHARGING, connected=False, charging=False)
    assert fold_power(Power(6000.0, 10.5, 1300.0), offline, 10.5, 1300.0, began=False).watts is None


def test_a_session_that_begins_starts_from_its_own_base() -> None:
    after = fold_power(Power(0.0, 3.0, 100.0), CHARGING, 10.0, 1000.0, began=True)
    assert after == Power(None, 10.0, 1000.0)
    assert fold_power(after, CHARGING, 10.1, 1060.0, began=False).watts == pytest.approx(6000)


def test_power_is_clamped_to_what_volts_amperes_and_phases_allow() -> None:
    assert fold_power(BASE, CHARGING, 20.0, 1300.0, began=False).watts == 11_000


def test_a_report_without_energy_is_no_news_and_the_next_reckons_from_the_last_that_had_some() -> None:
    known = Power(6000.0, 10.5, 1300.0)
    after = fold_power(known, CHARGING, 10.5004, 1600.0, began=False)
    assert after == known
    assert fold_power(after, CHARGING, 11.0, 1900.0, began=False).watts == pytest.approx(3000)
