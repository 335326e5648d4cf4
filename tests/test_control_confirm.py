"""What status must show before a command counts as confirmed, and how it is told what it shows instead."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.command import Action
from exporter.confirm import Aim, aim_of, instead, is_shown
from exporter.model import ChargeMode, Charger, ConnectorStatus
from tests.commanding import BUSY, IDLE, STOPPED, command

GREEN = ChargeMode.GREEN_CHARGING


@pytest.mark.parametrize(
    ("action", "told", "charger", "aim"),
    [
        (Action.START, {}, IDLE, Aim(charging=True)),
        (Action.START, {}, BUSY, Aim(charging=True)),
        (Action.START, {"amps": 16}, IDLE, Aim(charging=True, amps=16)),
        (Action.START, {"amps": 16}, BUSY, Aim(amps=16)),
        (Action.START, {"amps": 16}, replace(BUSY, charging_level_amperes=0.0), None),
        (Action.START, {"amps": 16}, replace(BUSY, running_charge_mode=GREEN), None),
        (Action.STOP, {}, BUSY, Aim(charging=False)),
        (Action.CHARGE_MODE, {"mode": GREEN}, BUSY, Aim(mode=GREEN)),
        (Action.TRIGGER, {"message": "Heartbeat"}, BUSY, None),
    ],
)
def test_each_command_has_something_that_status_will_show_or_nothing(
    action: Action, told: dict[str, Any], charger: Charger, aim: Aim | None
) -> None:
    assert aim_of(command(action, **told), charger) == aim


@pytest.mark.parametrize(
    ("aim", "charger", "shown"),
    [
        (Aim(charging=True), BUSY, True),
        (Aim(charging=True), IDLE, False),
        (Aim(charging=True), replace(BUSY, charging=None), False),
        (Aim(charging=False), IDLE, True),
        (Aim(charging=False), BUSY, False),
        (Aim(charging=False), replace(IDLE, charging=None), False),
        (Aim(charging=False), replace(IDLE, connected=False), False),
        (Aim(charging=True, amps=32), BUSY, True),
        (Aim(charging=True, amps=16), BUSY, False),
        (Aim(charging=True, amps=16), replace(BUSY, charging_level_amperes=0.0), True),
        (Aim(charging=True, amps=16), replace(BUSY, charging_level_amperes=None), True),
        (Aim(charging=True, amps=16), replace(BUSY, charge_mode=GREEN), True),
        (Aim(amps=32), BUSY, True),
        (Aim(amps=16), BUSY, False),
        (Aim(amps=16), replace(BUSY, charging_level_amperes=None), False),
        (Aim(charging=True, amps=16), replace(IDLE, charging_level_amperes=None), False),
        (Aim(mode=GREEN), BUSY, False),
        (Aim(mode=GREEN), replace(BUSY, charge_mode=GREEN, connected=False), True),
    ],
)
def test_the_aim_is_shown_by_what_the_charger_does_now(aim: Aim, charger: Charger, shown: bool) -> None:
    assert is_shown(aim, charger) is shown


@pytest.mark.parametrize(
    ("charger", "words"),
    [
        (replace(IDLE, connected=False), "offline"),
        (
            replace(IDLE, connector_status=ConnectorStatus.SUSPENDED_EV),
            "the car takes no power, as when it is full",
        ),
        (replace(IDLE, **STOPPED), "the charger holds back"),
        (replace(IDLE, **STOPPED, connector_status_reason="INSUFFICIENT_SOLAR"), "(not enough sun)"),
        (replace(IDLE, **STOPPED, connector_status_reason="GRID"), "(GRID)"),
        (replace(IDLE, connector_status=ConnectorStatus.AVAILABLE), "no charging session is open"),
        (replace(IDLE, faulted=True), "in fault"),
        (
            replace(IDLE, connector_status=ConnectorStatus.UNKNOWN, connector_status_raw="READY"),
            "it is not charging, connector state READY",
        ),
        (replace(IDLE, connector_status=None, charging=None), "whether it charges is not known"),
        (None, "no status has come since"),
    ],
)
def test_what_status_shows_instead_is_told_in_words(charger: Charger | None, words: str) -> None:
    assert words in instead(Aim(charging=True), charger)


def test_a_reason_that_is_none_is_not_told() -> None:
    assert instead(Aim(charging=True), replace(IDLE, connector_status_reason="OK")) == (
        "status shows: a car is plugged in and does not charge yet"
    )


def test_a_level_that_differs_is_told() -> None:
    assert instead(Aim(charging=True, amps=16), BUSY) == "status shows: it is charging at a level of 32 A"


def test_a_mode_that_differs_is_told() -> None:
    assert instead(Aim(mode=GREEN), IDLE) == "the preferred mode read back is MANUAL_CHARGING"
    assert instead(Aim(mode=GREEN), replace(IDLE, charge_mode=None)).endswith("UNKNOWN")


def test_every_known_state_has_words() -> None:
    told = {
        instead(Aim(charging=True), replace(IDLE, connector_status=state))
        for state in ConnectorStatus
        if state is not ConnectorStatus.UNKNOWN
    }
    assert len(told) == len(ConnectorStatus) - 1
    assert not [words for words in told if "connector state" in words]
