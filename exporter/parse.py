"""JSON to model: with its parse_* neighbours the only place that knows how the cloud spells things.

Pure functions over bodies as received. Everything but `parse_refusal` raises UnexpectedPayload, and nothing
else, for a body that is none of what it knows; what is odd inside a body that can be read becomes a Problem.
"""

from collections.abc import Mapping
from typing import Any

from exporter.errors import UnexpectedPayload
from exporter.model import ChargeMode, ChargeModePreference, ChargerSummary, LiveStream, SiteEntry, Summary
from exporter.parse_shapes import (
    NOTHING,
    CloudRefusal,
    Fields,
    Remembered,
    answer_seconds,
    decode,
    decode_object,
    first_given,
    first_text,
    object_at,
    parse_refusal,
    read_entries,
    refuse_data,
    refuse_error,
)
from exporter.parse_status import charge_mode, parse_status
from exporter.parse_values import (
    WORD_LENGTH_MAX,
    Problems,
    amount,
    amperes,
    decimal,
    flag,
    kilowatt_hours,
    network_address,
    note,
    seconds,
    serial_text,
)

__all__ = [
    "CloudRefusal",
    "parse_charge_mode",
    "parse_last_reported",
    "parse_live_stream",
    "parse_refusal",
    "parse_sites",
    "parse_status",
    "parse_summary",
]

MODE_BLOCKS = ("smartCharging", "greenCharging", "scheduledCharging", "manualCharging")  # by precedence
OPERATING_VOLTS_MIN, OPERATING_VOLTS_MAX = 90, 500
LIVE_STREAM_SECONDS, FLAT_LIVE_STREAM_SECONDS, LIVE_STREAM_SECONDS_MAX = 900.0, 60.0, 86_400.0


REMEMBERED: Remembered[ChargerSummary] = Remembered()


def parse_summary(body: bytes) -> Summary:
    """Read a summary answer: a list in `data` or `items`, one charger's object in `data`, or a bare list."""
    answer = decode("summary", body)
    if isinstance(answer, list):
        entries: Any = answer
        answer = NOTHING
    else:
        refuse_error("summary", answer)
        entries = first_given(answer, "data", "items")
    if isinstance(entries, dict):
        entries = [entries] if "serialNumber" in entries else entries.get("items")
    if not isinstance(entries, list):
        refuse_data("summary", answer, "data")
    problems: Problems = []
    chargers = read_entries(
        entries, REMEMBERED, "serialNumber", lambda entry: charger_summary(entry, problems), problems
    )
    return Summary(answer_seconds(answer, problems), chargers, tuple(problems))


def charger_summary(charger: Fields, problems: Problems) -> ChargerSummary | None:
    """Read one charger of a summary answer; None without a serial."""
    serial = serial_text(charger.get("serialNumber"))
    if serial is None:
        return None
    levels = object_at(charger, "chargeLevelDetails", problems)
    wiring = object_at(charger, "wiringConfiguration", problems)
    lifetime = amount(charger.get("lifeTimeConsumption"), "lifeTimeConsumption", problems)
    interval = amount(charger.get("reportingInterval"), "reportingInterval", problems)
    rated = amperes(charger.get("maxCurrent"), "maxCurrent", problems)
    return ChargerSummary(
        serial=serial,
        name=first_text(charger, problems, "displayName", "name"),
        model=first_text(charger, problems, "modelName", "model", "modelId", "sku", "partNumber"),
        firmware_version=first_text(charger, problems, "firmwareVersion", "softwareVersion", "systemVersion"),
        processor_board_version=first_text(
            charger, problems, "processorBoardVersion", "hwVersion", "hardwareVersion"
        ),
        min_amperes=amperes(levels.get("min"), "chargeLevelDetails.min", problems),
        max_amperes=amperes(levels.get("max"), "chargeLevelDetails.max", problems),
        granularity_amperes=amperes(levels.get("granularity"), "chargeLevelDetails.granularity", problems),
        rated_amperes=rated or amperes(charger.get("ratedCurrent"), "ratedCurrent", problems),
        operating_voltage_volts=operating_volts(charger.get("operatingVoltage"), problems),
        phases=phases(charger, wiring, problems),
        has_neutral=bool(wiring.get("N")) if wiring else None,
        dlb_enabled=flag(charger.get("dlbEnabled"), "dlbEnabled", problems),
        lifetime_energy_kwh=None if lifetime is None else kilowatt_hours(lifetime),
        connected=flag(charger.get("isConnected"), "isConnected", problems),
        retired=flag(charger.get("isRetired"), "isRetired", problems) is True,
        reporting_interval_seconds=interval or None,
        last_reported_seconds=seconds(charger.get("lastReportedAt"), "lastReportedAt", problems),
        network=network_address(charger.get("networkConfig")),
    )


def operating_volts(value: Any, problems: Problems) -> float | None:
    """The nominal voltage, when it can be one."""
    volts = amount(value, "operatingVoltage", problems)
    if volts is not None and not OPERATING_VOLTS_MIN <= volts <= OPERATING_VOLTS_MAX:
        note(problems, "bad_type", "operatingVoltage", value)
        return None
    return volts


def phases(charger: Fields, wiring: Fields, problems: Problems) -> int | None:
    """`phaseCount`, else `phaseMode` (a number, or a word such as SINGLE), else the lines that are wired."""
    for name in ("phaseCount", "phaseMode"):
        value = charger.get(name)
        count = decimal(value)
        if count in (1, 2, 3):
            return int(count)
        word = value.upper() if isinstance(value, str) else ""
        if "SINGLE" in word or "THREE" in word:
            return 1 if "SINGLE" in word else 3
        if value is not None:
            note(problems, "bad_type", name, value)
    return sum(line in wiring for line in ("L1", "L2", "L3")) or None


def parse_charge_mode(body: bytes) -> ChargeModePreference:
    """Read the preferred charge mode; of several enabled ones smart, green, scheduled, manual wins."""
    answer = decode_object("charge_mode", body)
    data = answer.get("data")
    if not isinstance(data, dict):
        refuse_data("charge_mode", answer, "data")
    modes = data.get("modes")
    if not isinstance(modes, dict):
        refuse_data("charge_mode", data, "modes")
    problems: Problems = []
    for name in (*MODE_BLOCKS, *(name for name in modes if name not in MODE_BLOCKS)):
        block = object_at(modes, name, problems)
        if flag(block.get("enabled"), f"{name[:WORD_LENGTH_MAX]}.enabled", problems):
            spelling = block.get("chargingMode") or name
            mode = charge_mode(spelling, "chargingMode", problems)
            return ChargeModePreference(mode or ChargeMode.UNKNOWN, tuple(problems))
    return ChargeModePreference(ChargeMode.UNKNOWN, tuple(problems))


def parse_last_reported(body: bytes) -> Mapping[str, float]:
    """Read each charger's last report, by serial; entries without a usable time are left out."""
    answer = decode_object("last_reported", body)
    data = answer.get("data")
    if not isinstance(data, dict):
        refuse_data("last_reported", answer, "data")
    times = ((serial_text(serial), seconds(value, "last_reported_at", [])) for serial, value in data.items())
    return {serial: time for serial, time in times if serial is not None and time is not None}


def parse_sites(body: bytes) -> tuple[SiteEntry, ...]:
    """Read the sites an account can see; entries without a numeric id, and repeated ones, are left out."""
    answer = decode("sites", body)
    listed = answer
    if not isinstance(answer, list):
        refuse_error("sites", answer)
        listed = first_given(answer, "sites", "data", "items", "systems")
        if isinstance(listed, dict):
            listed = first_given(listed, "sites", "items", "systems")
    if not isinstance(listed, list):
        refuse_data("sites", answer, "sites")
    sites: dict[str, SiteEntry] = {}
    for entry in listed:
        fields = entry if isinstance(entry, dict) else NOTHING
        site_id = serial_text(first_given(fields, "site_id", "siteId", "id", "system_id"))
        if site_id is not None and site_id.isascii() and site_id.isdigit():
            names = ("name", "site_name", "siteName", "title", "displayName", "display_name")
            sites.setdefault(site_id, SiteEntry(site_id, first_text(fields, [], *names)))
    return tuple(sites.values())


def parse_live_stream(body: bytes) -> LiveStream:
    """Read how long a live stream was granted for; a usual time where the answer does not say."""
    answer = decode_object("live_stream", body)
    data = answer.get("data")
    if "data" in answer and not isinstance(data, dict):
        refuse_data("live_stream", answer, "data")
    told = data if isinstance(data, dict) else answer
    verdict = told.get("status", "accepted")
    if not isinstance(verdict, str) or verdict.strip().lower() != "accepted":
        raise UnexpectedPayload("live_stream", "not accepted")
    granted = decimal(first_given(told, "liveStreamDuration", "duration_s")) or 0.0
    usual = LIVE_STREAM_SECONDS if "data" in answer else FLAT_LIVE_STREAM_SECONDS
    return LiveStream(granted if 0 < granted <= LIVE_STREAM_SECONDS_MAX else usual)
