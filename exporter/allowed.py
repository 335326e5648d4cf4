"""What may be asked of a charger. Pure: nothing is sent for a command that does not pass here."""

import math
import re
from typing import NamedTuple

from exporter.command import CONFIRM_SECONDS, Action, Command
from exporter.errors import CommandInvalid
from exporter.model import ChargeMode, Charger

MESSAGES = ("Heartbeat", "MeterValues", "StatusNotification")
MESSAGES_WHEN_SURE = ("BootNotification", "DiagnosticsStatusNotification", "FirmwareStatusNotification")
MODES = tuple(mode for mode in ChargeMode if mode is not ChargeMode.UNKNOWN)
# The charger sets its own level in these, so a level sent along would override sun and tariff.
MODES_WITHOUT_LEVEL = frozenset({ChargeMode.GREEN_CHARGING, ChargeMode.SMART_CHARGING})
MODES_WITH_LEVEL = frozenset({ChargeMode.MANUAL_CHARGING, ChargeMode.SCHEDULED_CHARGING})
# IEC 61851: a charger cannot offer a car less than this.
_LEAST_AMPERES = 6.0
_MESSAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")


class Limits(NamedTuple):
    """The levels a charger takes, A: from `lowest` to `highest` in steps of `step`."""

    lowest: float
    highest: float
    step: float

    def __str__(self) -> str:
        return f"{self.lowest:g} to {self.highest:g} in steps of {self.step:g}"


def limits_of(charger: Charger) -> Limits | None:
    """The levels a charger takes; None while its summary has not told."""
    lowest, highest = charger.min_amperes or _LEAST_AMPERES, charger.max_amperes or charger.rated_amperes
    if highest is None or lowest > highest:
        return None
    return Limits(lowest, highest, charger.granularity_amperes or 1.0)


def check(command: Command, charger: Charger) -> None:
    """Raise CommandInvalid, saying what is allowed, for what this charger cannot be asked."""
    check_wait(command.wait_seconds)
    if command.action is Action.START:
        check_amps(command, charger)
    elif command.action is Action.TRIGGER:
        check_message(command.message, sure=command.sure)
    elif command.action is Action.CHARGE_MODE and command.mode not in MODES:
        raise CommandInvalid(f"mode: expected one of {', '.join(MODES)}")


def check_wait(seconds: object) -> None:
    """Raise CommandInvalid for a wait that is no number of seconds, or longer than status can lag."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= CONFIRM_SECONDS:  # type: ignore[operator]  # a number, as just seen
        raise CommandInvalid(f"wait_seconds: expected 0 to {CONFIRM_SECONDS:g}")


def check_amps(command: Command, charger: Charger) -> None:
    """Raise CommandInvalid for a level off the charger's grid, or a restart without a level to restart at."""
    amps, limits = command.amps, limits_of(charger)
    if amps is None:
        if command.restart:
            raise CommandInvalid("restart: expected together with `amps`, the level to restart at")
        return
    if limits is None:
        raise CommandInvalid(
            "amps: the limits of this charger are not known yet;"
            " give the command again in a few minutes, or without `amps`"
        )
    if type(amps) is not int or not is_on_grid(amps, limits):
        raise CommandInvalid(f"amps: expected a whole number, {limits}")


def is_on_grid(amps: float, limits: Limits) -> bool:
    """Whether a charger with these limits takes this level."""
    steps = (amps - limits.lowest) / limits.step
    return limits.lowest <= amps <= limits.highest and math.isclose(steps, round(steps), abs_tol=1e-6)


def check_message(message: object, *, sure: bool) -> None:
    """Raise CommandInvalid for an OCPP message that is not triggered, or not without `sure`."""
    if isinstance(message, str) and _MESSAGE_NAME.fullmatch(message):
        if message in MESSAGES or (sure and message in MESSAGES_WHEN_SURE):
            return
        if message in MESSAGES_WHEN_SURE:
            raise CommandInvalid(f"message: {message} is sent only with `sure: true`")
    allowed, unusual = ", ".join(MESSAGES), ", ".join(MESSAGES_WHEN_SURE)
    raise CommandInvalid(f"message: expected one of {allowed}; with `sure: true` also {unusual}")


def start_level(command: Command, charger: Charger) -> tuple[int | None, bool]:
    """The level to start with, and whether the start may be sent without it."""
    if command.amps is not None:
        return command.amps, False
    level = level_to_repeat(charger)
    return level, level is not None


def level_to_repeat(charger: Charger) -> int | None:
    """The level to send with a start that names none: the last one, moved onto the charger's grid.

    None, so that the charger uses the level it has stored, in the modes that set their own level and where
    level, limits or mode are not known.
    """
    level, limits = level_reported(charger), limits_of(charger)
    modes = {charger.charge_mode, charger.running_charge_mode}
    if level is None or limits is None or sets_own_level(charger) or not modes & MODES_WITH_LEVEL:
        return None
    steps = math.floor((min(max(level, limits.lowest), limits.highest) - limits.lowest) / limits.step + 1e-6)
    amps = limits.lowest + steps * limits.step
    return int(amps) if amps.is_integer() else None


def level_reported(charger: Charger) -> float | None:
    """The level the cloud tells; old firmware writes 0 for unknown."""
    return charger.charging_level_amperes or None


def sets_own_level(charger: Charger) -> bool:
    """Whether the charger chooses its level by itself: the one reported is then nobody's setting."""
    return bool({charger.charge_mode, charger.running_charge_mode} & MODES_WITHOUT_LEVEL)
