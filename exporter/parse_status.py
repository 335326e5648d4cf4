"""A status answer to model, in any of the three shapes it comes in.

{"data": {"chargers": [{"sn": …, "connectors": [{…}], "session_d": {…}}]}}    the enveloped one of today
{"evChargerData": [{"sn": …, "session_d": {…}}], "ts": 1700000123}             the flat one of old
{"data": {"<serial>": {"connected": …, "lst_rpt_at": …}}}                      the thin one of api/v2
"""

import re
from typing import Any

from exporter.model import ChargeMode, ChargerStatus, ConnectorStatus, Status
from exporter.parse_shapes import (
    NOTHING,
    Fields,
    Remembered,
    answer_seconds,
    decode_object,
    first_given,
    first_text,
    given,
    object_at,
    read_entries,
    refuse_data,
)
from exporter.parse_values import (
    WORD_LENGTH_MAX,
    Problems,
    amount,
    amperes,
    decimal,
    flag,
    kilowatt_hours,
    milliseconds,
    nonzero,
    note,
    number,
    seconds,
    serial_text,
    text,
)

CONNECTOR_STATUSES = {status.value: status for status in ConnectorStatus}
POWER_FLOWS = {
    ConnectorStatus.CHARGING: True,
    ConnectorStatus.FINISHING: True,
    ConnectorStatus.SUSPENDED: False,
    ConnectorStatus.SUSPENDED_EV: False,
    ConnectorStatus.SUSPENDED_EVSE: False,
}

MODE_NUMBERS = {0: ChargeMode.MANUAL_CHARGING, 1: ChargeMode.GREEN_CHARGING}
MODE_WORDS = {
    "MANUAL": ChargeMode.MANUAL_CHARGING,
    "SCHEDULED": ChargeMode.SCHEDULED_CHARGING,
    "GREEN": ChargeMode.GREEN_CHARGING,
    "SMART": ChargeMode.SMART_CHARGING,
}
NOT_MODES = frozenset({"IMMEDIATE", "IDLE"})  # words of sch_d.mode that name a state, not a mode

FLAT_WATT_HOURS_ABOVE = 200  # the flat shape writes Wh above, kWh up to and including this


ENVELOPED: Remembered[ChargerStatus] = Remembered()
FLAT: Remembered[ChargerStatus] = Remembered()


def parse_status(body: bytes) -> Status:
    """Read a status answer in any of its three shapes. No charger listed is a valid answer."""
    answer = decode_object("status", body)
    data = answer.get("data")
    problems: Problems = []
    if not data and isinstance(answer.get("evChargerData"), list):
        entries, in_watt_hours = answer["evChargerData"], False
    else:
        entries, in_watt_hours = enveloped_entries(answer, data), True
    chargers = read_entries(
        entries,
        ENVELOPED if in_watt_hours else FLAT,
        "sn",
        lambda entry: charger_status(entry, in_watt_hours, problems),
        problems,
    )
    return Status(answer_seconds(answer, problems), chargers, tuple(problems))


def enveloped_entries(answer: Fields, data: Any) -> list[Any]:
    """The charger objects of `data`, listed or keyed by serial."""
    if not isinstance(data, dict):
        refuse_data("status", answer, "evChargerData" if "evChargerData" in answer else "data")
    listed = data.get("chargers")
    if isinstance(listed, list):
        return listed
    keyed = not data or any(isinstance(value, dict) for value in data.values())
    if "chargers" in data or "site" in data or not keyed:
        refuse_data("status", data, "chargers")
    return [{**value, "sn": serial} if isinstance(value, dict) else value for serial, value in data.items()]


def charger_status(charger: Fields, in_watt_hours: bool, problems: Problems) -> ChargerStatus | None:
    """Read one charger of a status answer; None without a serial."""
    value = charger.get
    serial = serial_text(value("sn"))
    if serial is None:
        return None
    connectors = value("connectors")
    first = connectors[0] if isinstance(connectors, list) and connectors else None
    connector = first if isinstance(first, dict) else NOTHING
    charging_session = object_at(charger, "session_d", problems)
    schedule = object_at(charger, "sch_d", problems)
    status, raw = connector_status(given(connector, charger, "connectorStatusType"), problems)
    flow = flag(value("charging"), "charging", problems)
    energy_kwh, other_kwh = session_energy(charging_session.get("e_c"), in_watt_hours, problems)
    offered_at = first_given(charger, "lst_rpt_at", "last_reported_at", "lastReportedAt")
    return ChargerStatus(
        serial=serial,
        name=first_text(charger, problems, "displayName", "name"),
        connected=flag(value("connected"), "connected", problems),
        plugged_in=plugged_in(charger, connector, problems),
        charging=POWER_FLOWS.get(status, flow) if status is not None else flow,
        faulted=flag(value("faulted"), "faulted", problems),
        connector_status=status,
        connector_status_raw=raw,
        connector_status_reason=text(
            given(connector, charger, "connectorStatusReason"),
            "connectorStatusReason",
            problems,
            WORD_LENGTH_MAX,
        ),
        charging_level_amperes=charging_level(charger, charging_session, problems),
        running_charge_mode=running_charge_mode(charger, schedule, problems),
        safe_limit_active=nonzero(
            first_given(connector, "safeLimitState", "safe_limit_state", otherwise=value("safeLimitState")),
            "safeLimitState",
            problems,
        ),
        dlb_active=flag(given(connector, charger, "dlbActive"), "dlbActive", problems),
        schedule_enabled=schedule_enabled(schedule, problems),
        schedule_mode=schedule_mode(schedule, problems),
        last_reported_seconds=seconds(offered_at, "lst_rpt_at", problems),
        offline_since_seconds=seconds(value("offlineAt"), "offlineAt", problems),
        session_energy_kwh=energy_kwh,
        session_energy_other_kwh=other_kwh,
        session_start_seconds=session_start(charging_session, problems),
        session_plugged_in_seconds=seconds(charging_session.get("plg_in_at"), "plg_in_at", problems),
        session_plugged_out_seconds=seconds(charging_session.get("plg_out_at"), "plg_out_at", problems),
        session_cost=number(
            first_given(charging_session, "session_cost", "sessionCost"), "session_cost", problems
        ),
        retired=flag(value("isRetired"), "isRetired", problems) is True,
    )


def connector_status(value: Any, problems: Problems) -> tuple[ConnectorStatus | None, str | None]:
    """The connector state and, when that is UNKNOWN, the text it came as."""
    known = CONNECTOR_STATUSES.get(value) if isinstance(value, str) else None
    if known is None:
        word = text(value, "connectorStatusType", problems, WORD_LENGTH_MAX)
        if word is None:
            return None, None
        known = CONNECTOR_STATUSES.get(word.upper())
        if known is None:
            note(problems, "unknown_value", "connectorStatusType", value)
            return ConnectorStatus.UNKNOWN, word
    return known, known.value if known is ConnectorStatus.UNKNOWN else None


def plugged_in(charger: Fields, connector: Fields, problems: Problems) -> bool | None:
    """Charger flag or connector flag: either may lag behind the other."""
    flags = (
        flag(charger.get("pluggedIn"), "pluggedIn", problems),
        flag(connector.get("pluggedIn"), "connectors.pluggedIn", problems),
    )
    return True if True in flags else False if False in flags else None


def charging_level(charger: Fields, charging_session: Fields, problems: Problems) -> float | None:
    """The level asked for, in the order the fields are to be trusted."""
    for name in ("chargingLevel", "charging_level", "charginglevel"):
        if name in charger and (level := amperes(charger[name], name, problems)) is not None:
            return level
    for name in ("chargeLevel", "charge_level", "chargingLevel", "charging_level"):
        if name in charging_session:
            level = amperes(charging_session[name], f"session_d.{name}", problems)
            if level is not None:
                return level
    return None


def running_charge_mode(charger: Fields, schedule: Fields, problems: Problems) -> ChargeMode | None:
    """The mode status itself says is running; nothing is inferred from schedule or flags."""
    for name in ("mode", "chargeMode", "chargingMode", "charge_mode"):
        if name in charger and (mode := charge_mode(charger[name], name, problems)) is not None:
            return mode
    return charge_mode(schedule.get("mode"), "sch_d.mode", problems)


def charge_mode(value: Any, name: str, problems: Problems) -> ChargeMode | None:
    """A charge mode from its number or one of its spellings; None when none is named."""
    if value is None:
        return None
    code = decimal(value)
    if code is not None:
        mode = MODE_NUMBERS.get(int(code)) if code.is_integer() else None
    else:
        word = text(value, name, problems, WORD_LENGTH_MAX)
        if word is None or word.upper() in NOT_MODES:
            return None
        mode = MODE_WORDS.get(re.sub(r"[ _-]", "", word.upper()).removesuffix("CHARGING"))
    if mode is None:
        note(problems, "unknown_value", name, value)
        return ChargeMode.UNKNOWN
    return mode


def schedule_enabled(schedule: Fields, problems: Problems) -> bool | None:
    """`status` is 1 while a policy window is active; the flat shape has `enabled`."""
    if schedule.get("status") is not None:
        return nonzero(schedule["status"], "sch_d.status", problems)
    return flag(schedule.get("enabled"), "sch_d.enabled", problems)


def schedule_mode(schedule: Fields, problems: Problems) -> str | None:
    """The type of the first window, e.g. `greencharging`; the flat shape has `mode`."""
    windows = schedule.get("info")
    if isinstance(windows, list) and windows and isinstance(windows[0], dict):
        return text(windows[0].get("type"), "sch_d.info.type", problems, WORD_LENGTH_MAX)
    word = schedule.get("mode")
    return text(word, "sch_d.mode", [], WORD_LENGTH_MAX)  # its problem is counted with the running mode


def session_energy(value: Any, in_watt_hours: bool, problems: Problems) -> tuple[float | None, float | None]:
    """`e_c` as kWh, and for the flat shape as kWh in the unit it was not taken for."""
    energy = amount(value, "e_c", problems)
    if energy is None:
        return None, None
    if in_watt_hours:
        return kilowatt_hours(energy), None
    readings = (kilowatt_hours(energy), energy)
    return readings if energy > FLAT_WATT_HOURS_ABOVE else (readings[1], readings[0])


def session_start(charging_session: Fields, problems: Problems) -> float | None:
    """When charging began: `start_time` in s or ms, `strt_chrg` always in ms."""
    if charging_session.get("start_time") is not None:
        return seconds(charging_session["start_time"], "start_time", problems)
    return milliseconds(charging_session.get("strt_chrg"), "strt_chrg", problems)
