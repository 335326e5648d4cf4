"""What status must show before a command counts as confirmed, and what it shows instead. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.allowed import level_reported, sets_own_level
from exporter.command import Action, Command
from exporter.model import ChargeMode, Charger, ConnectorStatus

_STATES: Mapping[ConnectorStatus, str] = {
    ConnectorStatus.AVAILABLE: "no charging session is open",
    ConnectorStatus.PREPARING: "a car is plugged in and does not charge yet",
    ConnectorStatus.CHARGING: "it is charging",
    ConnectorStatus.FINISHING: "charging is coming to its end",
    ConnectorStatus.SUSPENDED: "charging is suspended",
    ConnectorStatus.SUSPENDED_EV: "the car takes no power, as when it is full or waits for its own timer",
    ConnectorStatus.SUSPENDED_EVSE: "the charger holds back: a schedule, a limit or too little sun",
    ConnectorStatus.RESERVED: "the charger is reserved",
    ConnectorStatus.UNAVAILABLE: "the charger is out of service",
    ConnectorStatus.FAULTED: "the charger is in fault",
}
_REASONS: Mapping[str, str] = {"INSUFFICIENT_SOLAR": "not enough sun"}
_NO_REASONS = frozenset({"", "OK"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a command is to bring about; None for what it leaves alone."""

    charging: bool | None = None
    amps: int | None = None
    mode: ChargeMode | None = None


def aim_of(command: Command, charger: Charger) -> Aim | None:
    """What status will show once the command has worked on this charger; None when it cannot show it."""
    match command.action:
        case Action.START if changes_running_session(command, charger):
            return None if hides_level(charger) else Aim(amps=command.amps)
        case Action.START:
            return Aim(charging=True, amps=command.amps)
        case Action.STOP:
            return Aim(charging=False)
        case Action.CHARGE_MODE:
            return Aim(mode=command.mode)
        case _:
            return None


def changes_running_session(command: Command, charger: Charger) -> bool:
    """Whether a start asks for a level while the car is charging already."""
    return command.amps is not None and charger.charging is True


def is_shown(aim: Aim, charger: Charger) -> bool:
    """Whether status shows what the command was to bring about.

    A level that it cannot show does not hold up a start.
    """
    if aim.mode is not None:
        return charger.charge_mode is aim.mode
    if charger.connected is False:
        return False
    if aim.charging is not None and charger.charging is not aim.charging:
        return False
    if aim.amps is None or (aim.charging and hides_level(charger)):
        return True
    return level_reported(charger) == aim.amps


def hides_level(charger: Charger) -> bool:
    """Whether status cannot show a level that was asked for: none is reported, or the charger's own."""
    return level_reported(charger) is None or sets_own_level(charger)


def charging_now(charger: Charger) -> bool | None:
    """Whether it charges; what an offline charger did last says nothing of what it does now."""
    return None if charger.connected is False else charger.charging


def instead(aim: Aim, charger: Charger | None) -> str:
    """What status shows in place of the aim, in words; `charger` is None when no status came."""
    if charger is None:
        return "no status has come since"
    if aim.mode is not None:
        return f"the preferred mode read back is {charger.charge_mode or ChargeMode.UNKNOWN}"
    if charger.connected is False:
        return "status shows: the charger is offline"
    level = level_reported(charger)
    at_level = f" at a level of {level:g} A" if aim.amps is not None and level is not None else ""
    return f"status shows: {state_of(charger)}{at_level}{_reason_of(charger)}"


def level_left(command: Command, charger: Charger | None) -> str:
    """What a command without effect has left of the level it asked for, in words; "" for none."""
    if command.amps is None:
        return ""
    if charger is None or not charging_now(charger):
        return "the charging level was not changed"
    if not hides_level(charger) and level_reported(charger) == command.amps:
        shown = f"status shows a charging level of {command.amps} A already"
        return f"{shown}; give `restart: true` where the running session began at another"
    again = f"give `restart: true` to stop and start again at {command.amps} A"
    return f"the charging level was not changed; {again}"


def state_of(charger: Charger) -> str:
    """The connector state in words."""
    if charger.faulted:
        return _STATES[ConnectorStatus.FAULTED]
    if charger.connector_status is not None and charger.connector_status in _STATES:
        return _STATES[charger.connector_status]
    power = {True: "it is charging", False: "it is not charging", None: "whether it charges is not known"}
    return f"{power[charger.charging]}, connector state {charger.connector_status_raw or 'unknown'}"


def _reason_of(charger: Charger) -> str:
    reason = charger.connector_status_reason or ""
    return "" if reason in _NO_REASONS else f" ({_REASONS.get(reason, reason)})"
