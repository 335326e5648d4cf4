"""What may be asked of a charger, and the level a start without one repeats."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.allowed import check, level_to_repeat, limits_of
from exporter.command import Action
from exporter.errors import CommandInvalid
from exporter.model import ChargeMode, Charger
from tests.commanding import IDLE, command

UNLIMITED = replace(IDLE, min_amperes=None, max_amperes=None, granularity_amperes=None)
UNKNOWN = replace(UNLIMITED, rated_amperes=None)
COARSE = replace(IDLE, min_amperes=8.0, max_amperes=40.0, granularity_amperes=16.0)


def refusal(charger: Charger, action: Action, **told: Any) -> str:
    with pytest.raises(CommandInvalid) as refused:
        check(command(action, **told), charger)
    return str(refused.value)


@pytest.mark.parametrize("amps", [6, 16, 32])
def test_a_level_within_the_limits_is_allowed(amps: int) -> None:
    check(command(Action.START, amps=amps), IDLE)


@pytest.mark.parametrize("amps", [0, -6, 5, 33, 16.0, 16.5, True, "16", float("nan"), [16]])
def test_another_level_is_refused_with_those_allowed(amps: object) -> None:
    assert refusal(IDLE, Action.START, amps=amps) == "amps: expected a whole number, 6 to 32 in steps of 1"


@pytest.mark.parametrize(("amps", "allowed"), [(8, True), (24, True), (40, True), (16, False), (9, False)])
def test_levels_lie_on_the_grid_that_starts_at_the_least(amps: int, allowed: bool) -> None:
    if allowed:
        check(command(Action.START, amps=amps), COARSE)
    else:
        assert "8 to 40 in steps of 16" in refusal(COARSE, Action.START, amps=amps)


def test_without_limits_the_rated_current_is_the_highest_and_6_the_least() -> None:
    check(command(Action.START, amps=40), UNLIMITED)
    assert "6 to 40 in steps of 1" in refusal(UNLIMITED, Action.START, amps=41)


def test_limits_of_zero_are_not_limits() -> None:
    limits = limits_of(replace(IDLE, min_amperes=0.0, max_amperes=0.0, granularity_amperes=0.0))
    assert str(limits) == "6 to 40 in steps of 1"


def test_without_any_limit_a_level_is_refused_with_what_to_do() -> None:
    assert "again in a few minutes, or without `amps`" in refusal(UNKNOWN, Action.START, amps=16)
    check(command(Action.START), UNKNOWN)


def test_limits_that_contradict_each_other_allow_no_level() -> None:
    assert "not known" in refusal(replace(IDLE, min_amperes=40.0), Action.START, amps=32)


def test_a_restart_needs_a_level() -> None:
    assert "together with `amps`" in refusal(IDLE, Action.START, restart=True)


@pytest.mark.parametrize("message", ["Heartbeat", "MeterValues", "StatusNotification"])
def test_a_usual_message_is_allowed(message: str) -> None:
    check(command(Action.TRIGGER, message=message), IDLE)


@pytest.mark.parametrize(
    "message", ["BootNotification", "DiagnosticsStatusNotification", "FirmwareStatusNotification"]
)
def test_an_unusual_message_has_to_be_meant(message: str) -> None:
    assert (
        refusal(IDLE, Action.TRIGGER, message=message) == f"message: {message} is sent only with `sure: true`"
    )
    check(command(Action.TRIGGER, message=message, sure=True), IDLE)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "LogStatusNotification",
        "meterValues",
        "MeterValues\n",
        "1Heartbeat",
        "../status",
        "A" * 65,
        None,
        7,
    ],
)
def test_any_other_message_is_refused_even_when_sure(message: object) -> None:
    told = refusal(IDLE, Action.TRIGGER, message=message, sure=True)
    assert "Heartbeat, MeterValues, StatusNotification; with `sure: true` also BootNotification" in told


@pytest.mark.parametrize("mode", [None, ChargeMode.UNKNOWN])
def test_a_charge_mode_is_one_of_the_four(mode: ChargeMode | None) -> None:
    assert refusal(IDLE, Action.CHARGE_MODE, mode=mode) == (
        "mode: expected one of MANUAL_CHARGING, SCHEDULED_CHARGING, GREEN_CHARGING, SMART_CHARGING"
    )
    check(command(Action.CHARGE_MODE, mode=ChargeMode.SMART_CHARGING), IDLE)


@pytest.mark.parametrize("seconds", [-1, 90.1, float("nan"), float("inf"), True, "5", None])
def test_a_wait_is_no_longer_than_status_can_lag(seconds: object) -> None:
    assert refusal(IDLE, Action.STOP, wait_seconds=seconds) == "wait_seconds: expected 0 to 90"


@pytest.mark.parametrize("seconds", [0, 90, 1.5])
def test_a_wait_within_that_is_allowed(seconds: float) -> None:
    check(command(Action.STOP, wait_seconds=seconds), IDLE)


@pytest.mark.parametrize(
    ("charger", "level"),
    [
        (IDLE, 32),
        (replace(IDLE, charge_mode=ChargeMode.SCHEDULED_CHARGING, running_charge_mode=None), 32),
        (replace(IDLE, charge_mode=None), 32),
        (replace(IDLE, charge_mode=ChargeMode.GREEN_CHARGING), None),
        (replace(IDLE, charge_mode=ChargeMode.SMART_CHARGING, running_charge_mode=None), None),
        (replace(IDLE, running_charge_mode=ChargeMode.GREEN_CHARGING), None),
        (replace(IDLE, charge_mode=ChargeMode.UNKNOWN, running_charge_mode=None), None),
        (replace(IDLE, charge_mode=None, running_charge_mode=None), None),
        (replace(IDLE, charging_level_amperes=None), None),
        (replace(IDLE, charging_level_amperes=0.0), None),
        (replace(IDLE, charging_level_amperes=48.0), 32),
        (replace(IDLE, charging_level_amperes=2.0), 6),
        (replace(IDLE, charging_level_amperes=15.7), 15),
        (replace(COARSE, charging_level_amperes=39.0), 24),
        (UNKNOWN, None),
        (replace(IDLE, min_amperes=6.5), None),
    ],
)
def test_a_start_without_a_level_repeats_the_last_one_where_the_owner_sets_it(
    charger: Charger, level: int | None
) -> None:
    assert level_to_repeat(charger) == level
