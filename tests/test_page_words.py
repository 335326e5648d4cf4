from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest

from exporter.model import ChargeMode, Charger, ConnectorStatus, Site
from exporter.page_words import (
    Moment,
    Tone,
    ago,
    amperes_in_words,
    count_in_words,
    duration,
    energy_in_words,
    limits_in_words,
    mode_in_words,
    most_pressing_first,
    power_in_words,
    state_in_words,
    sum_in_words,
    tone,
)
from tests.page_worlds import AT, CHARGING, FAULTED, FREE, OFFLINE, SITE, UNKNOWN, WAITING, WALL


@pytest.mark.parametrize(
    ("charger", "words", "expected"),
    [
        (FREE, "available", Tone.FREE),
        (replace(FREE, plugged_in=True), "available, plugged in", Tone.WAITING),
        (CHARGING, "charging", Tone.CHARGING),
        (WAITING, "held back by the charger, not enough sun", Tone.WAITING),
        (FAULTED, "faulted, plugged in", Tone.FAULT),
        (replace(CHARGING, faulted=True), "charging, faulted", Tone.FAULT),
        (OFFLINE, "offline", Tone.OFFLINE),
        (replace(FAULTED, connected=False), "offline", Tone.OFFLINE),
        (UNKNOWN, "unknown", Tone.UNKNOWN),
        (replace(FREE, connector_status=ConnectorStatus.UNAVAILABLE), "unavailable", Tone.WAITING),
        (
            replace(FREE, connector_status=ConnectorStatus.UNKNOWN, connector_status_raw="DANCING"),
            "DANCING",
            Tone.UNKNOWN,
        ),
        (
            replace(WAITING, connector_status_reason="MOON_PHASE"),
            "held back by the charger, MOON_PHASE",
            Tone.WAITING,
        ),
    ],
)
def test_a_state_has_words_and_a_tone(charger: Charger, words: str, expected: Tone) -> None:
    assert (state_in_words(charger), tone(charger)) == (words, expected)


@pytest.mark.parametrize("status", ConnectorStatus)
def test_every_state_has_words_of_its_own(status: ConnectorStatus) -> None:
    words = state_in_words(Charger("1", "a", connector_status=status))
    assert words == words.lower()
    assert "_" not in words


def test_faulted_and_charging_come_first_and_numbers_in_names_count() -> None:
    bays = [replace(FREE, name=name) for name in ("Bay 10", "Bay 2", "")]
    chargers = [*bays, OFFLINE, WAITING, CHARGING, FAULTED, UNKNOWN]
    names = [charger.name for charger in most_pressing_first(chargers)]
    assert names == ["Carport", "Left garage", "Right garage", "", "Bay 2", "Bay 10", "Guests", None]


@pytest.mark.parametrize(
    ("preferred", "running", "words"),
    [
        (None, None, "not known"),
        (ChargeMode.SCHEDULED_CHARGING, None, "by schedule"),
        (None, ChargeMode.SMART_CHARGING, "smart"),
        (ChargeMode.MANUAL_CHARGING, ChargeMode.MANUAL_CHARGING, "manual"),
        (
            ChargeMode.GREEN_CHARGING,
            ChargeMode.MANUAL_CHARGING,
            "green (own solar power); running now: manual",
        ),
    ],
)
def test_the_running_mode_is_told_where_it_is_not_the_preferred_one(
    preferred: ChargeMode | None, running: ChargeMode | None, words: str
) -> None:
    assert mode_in_words(replace(FREE, charge_mode=preferred, running_charge_mode=running)) == words


def test_power_is_called_an_estimate_and_what_is_not_known_is_said_to_be() -> None:
    assert power_in_words(7210.0) == "about 7.2 kW (estimated)"
    assert power_in_words(849.6) == "about 850 W (estimated)"
    assert power_in_words(999.0) == "about 1.0 kW (estimated)"
    assert power_in_words(0.0) == "none"
    assert power_in_words(None) == energy_in_words(None) == amperes_in_words(None) == "not known"


def test_energy_and_current_have_their_units() -> None:
    assert (energy_in_words(0.0), energy_in_words(3.071)) == ("0.00 kWh", "3.07 kWh")
    assert energy_in_words(1234.567) == "1,234.6 kWh"
    assert (amperes_in_words(16.0), amperes_in_words(13.5)) == ("16 A", "13.5 A")


@pytest.mark.parametrize(
    ("low", "high", "rated", "volts", "words"),
    [
        (6, 40, 48, 240, "6 to 40 A, rated 48 A, 240 V"),
        (6, 32, 32, None, "6 to 32 A"),
        (None, 32, None, 230, "up to 32 A, 230 V"),
        (6, None, None, None, "from 6 A"),
        (None, None, 32, None, "rated 32 A"),
        (None, None, None, None, "not known"),
    ],
)
def test_limits_say_what_is_known_of_them(
    low: float | None, high: float | None, rated: float | None, volts: float | None, words: str
) -> None:
    charger = Charger(
        "1", "a", min_amperes=low, max_amperes=high, rated_amperes=rated, operating_voltage_volts=volts
    )
    assert limits_in_words(charger) == words


def test_a_sum_says_for_how_many_it_does_not_stand() -> None:
    assert sum_in_words([7000.0, 500.0], "power") == "about 7.5 kW (estimated)"
    assert sum_in_words([7000.0, None], "power") == "about 7.0 kW (estimated); 1 of 2 not known"
    assert sum_in_words([None, None], "energy") == sum_in_words([], "energy") == "not known"
    assert sum_in_words([1.5, 2.0], "energy") == "3.50 kWh"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3560, "59 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (47 * 3600 + 3599, "2 days"),
        (400 * 86400, "400 days"),
    ],
)
def test_a_duration_is_told_as_people_tell_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_ages_and_counts_read_like_sentences() -> None:
    assert (ago(2), ago(180)) == ("just now", "3 min ago")
    assert (count_in_words(1, "site"), count_in_words(1200, "site")) == ("1 site", "1,200 sites")


def test_a_time_names_its_zone_and_its_day_when_it_is_another() -> None:
    zone = timezone(timedelta(hours=2), "CEST")
    at = Moment(0.0, WALL, zone)
    assert at.clock_time(WALL) == "16:05 CEST"
    assert AT.clock_time(WALL) == "14:05 UTC"
    assert at.clock_time(WALL - 86_400) == "Fri 1 May 16:05 CEST"
    assert at.clock_time(WALL - 400 * 86_400) == "Fri 28 Mar 2025 16:05 CEST"
    assert at.clock_time(WALL + 8 * 3600) == "Sun 3 May 00:05 CEST"


def test_ages_are_reckoned_by_the_clouds_clock() -> None:
    fast = replace(SITE, status_timestamp_seconds=WALL + 86_400, status_received_monotonic=AT.monotonic - 20)
    assert AT.status_age_seconds(fast) == 20
    assert AT.cloud_seconds(fast) == WALL + 86_420
    assert AT.cloud_seconds(Site("1", "home")) == WALL
    assert AT.zone is UTC
