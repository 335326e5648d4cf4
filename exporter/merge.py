"""Pure join of what one site's answers said into the Chargers the metrics show.

Each `with_*` folds one answer into a Knowledge; `join` makes Chargers of it. Nothing here knows the time or
the wire: the reference clock is the cloud's own time on the status answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter, is_
from typing import Any, NamedTuple

from exporter.model import (
    ChargeMode,
    ChargeModePreference,
    Charger,
    ChargerStatus,
    ChargerSummary,
    ConnectorStatus,
    Ledger,
    Problem,
    Status,
    Summary,
)
from exporter.session_energy import EnergyReading, read_energy

# For a while after a session problem the cloud lists no charger at all; only the third time in a row counts.
EMPTY_LISTS_TO_BELIEVE = 3

POWER_FLOWS = frozenset({ConnectorStatus.CHARGING, ConnectorStatus.FINISHING})

SUMMARY_FIELDS = tuple(part.name for part in fields(ChargerSummary))
all_values = attrgetter(*(part.name for part in fields(Charger)))


class LifetimeFigure(NamedTuple):
    """A lifetime figure and the charger's report it is of; kept apart, for the next summary may lack it."""

    kwh: float
    reported_seconds: float | None


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What one site has told so far, by serial."""

    status: Mapping[str, ChargerStatus] = field(default_factory=dict)
    summary: Mapping[str, ChargerSummary] = field(default_factory=dict)
    charge_modes: Mapping[str, ChargeMode] = field(default_factory=dict)
    last_reported: Mapping[str, float] = field(default_factory=dict)
    energy: Mapping[str, EnergyReading] = field(default_factory=dict)  # kept over a charger's absence
    told_summary: tuple[ChargerSummary, ...] = ()  # as it came, to know it when it comes again
    lifetime: Mapping[str, LifetimeFigure] = field(default_factory=dict)  # the last that was given
    status_timestamp_seconds: float | None = None
    empty_status_lists: int = 0  # in a row
    empty_summary_lists: int = 0  # in a row


def with_status(k: Knowledge, status: Status) -> Knowledge:
    """Fold in a status answer: it replaces the one before, but for an empty list not yet believed."""
    if not status.chargers and k.empty_status_lists + 1 < EMPTY_LISTS_TO_BELIEVE:
        return replace(
            k,
            empty_status_lists=k.empty_status_lists + 1,
            status_timestamp_seconds=status.timestamp_seconds,
        )
    energy = dict(k.energy)
    for charger in status.chargers:
        summary = k.summary.get(charger.serial)
        before = energy.get(charger.serial)
        energy[charger.serial] = read_energy(before, charger, summary, status.timestamp_seconds)
    return replace(
        k,
        status={charger.serial: charger for charger in status.chargers},
        energy=energy,
        status_timestamp_seconds=status.timestamp_seconds,
        empty_status_lists=0 if status.chargers else k.empty_status_lists + 1,
    )


def with_summary(k: Knowledge, summary: Summary) -> Knowledge:
    """Fold in a summary answer; a field it leaves out for a charger it lists keeps its last value."""
    if not summary.chargers and k.empty_summary_lists + 1 < EMPTY_LISTS_TO_BELIEVE:
        return replace(k, empty_summary_lists=k.empty_summary_lists + 1)
    if summary.chargers and is_told_again(k.told_summary, summary.chargers) and not k.empty_summary_lists:
        return k
    return replace(
        k,
        told_summary=summary.chargers,
        summary={
            charger.serial: completed(charger, k.summary.get(charger.serial)) for charger in summary.chargers
        },
        lifetime={**k.lifetime, **lifetime_figures(summary)},
        empty_summary_lists=0 if summary.chargers else k.empty_summary_lists + 1,
    )


def is_told_again(known: tuple[ChargerSummary, ...], told: tuple[ChargerSummary, ...]) -> bool:
    """Whether an answer holds the very same objects: the parser hands out what it has read before."""
    return len(known) == len(told) and all(map(is_, known, told))


def lifetime_figures(summary: Summary) -> dict[str, LifetimeFigure]:
    """The lifetime figures that a summary gives, by serial."""
    return {
        charger.serial: LifetimeFigure(charger.lifetime_energy_kwh, charger.last_reported_seconds)
        for charger in summary.chargers
        if charger.lifetime_energy_kwh is not None
    }


def completed(charger: ChargerSummary, before: ChargerSummary | None) -> ChargerSummary:
    """A summary with what it leaves out taken from the one before."""
    if before is None:
        return charger
    kept = {name: getattr(before, name) for name in SUMMARY_FIELDS if getattr(charger, name) is None}
    return replace(charger, **kept)


def with_charge_mode(k: Knowledge, serial: str, preference: ChargeModePreference) -> Knowledge:
    """Fold in the charge mode one charger's owner prefers."""
    return replace(k, charge_modes={**k.charge_modes, serial: preference.mode})


def with_last_reported(k: Knowledge, last_reported: Mapping[str, float]) -> Knowledge:
    """Fold in the times of last reports, by serial."""
    return replace(k, last_reported={**k.last_reported, **last_reported})


Made = dict[str, tuple[tuple[Any, ...], Charger]]
"""By serial: what a charger was made of, and the charger."""
NO_LEDGERS: Mapping[str, Ledger] = {}


def join(
    site_id: str,
    k: Knowledge,
    previous: tuple[Charger, ...] = (),
    ledgers: Mapping[str, Ledger] = NO_LEDGERS,
    made: Made | None = None,
) -> tuple[tuple[Charger, ...], tuple[Problem, ...]]:
    """The site's chargers by serial, retired ones left out, and what is wrong with the readings in force.

    A charger in `previous` that did not change is that very object again, and when none changed the tuple is
    `previous` itself. The problems belong to the newest status answer and stay until the next: count them
    once per status answer. `ledgers` are the accounts as they are on disk, by serial. `made` remembers from
    call to call what each charger was made of.
    """
    kept = {charger.serial: charger for charger in previous}
    made = {} if made is None else made
    chargers = []
    for serial in sorted(k.status.keys() | k.summary.keys()):
        status, summary = k.status.get(serial), k.summary.get(serial)
        if (status is not None and status.retired) or (summary is not None and summary.retired):
            continue
        ledger = ledgers.get(serial)
        energy = k.energy[serial].energy_kwh if serial in k.energy else None
        parts = (status, summary, ledger, energy, k.charge_modes.get(serial), k.last_reported.get(serial))
        known = made.get(serial)
        if known is None or known[0] != parts:
            charger = joined(site_id, serial, k, status or ChargerStatus(serial), summary, ledger)
            before = kept.get(serial)
            if before is not None and is_unchanged(before, charger):
                charger = before
            known = made[serial] = (parts, charger)
        chargers.append(known[1])
    same = len(chargers) == len(previous) and all(a is b for a, b in zip(chargers, previous, strict=True))
    return previous if same else tuple(chargers), energy_problems(k)


def is_unchanged(before: Charger, charger: Charger) -> bool:
    """Whether nothing changed; what changes most often is looked at first, since all of it takes longer."""
    return (
        before.last_reported_seconds == charger.last_reported_seconds
        and before.session_energy_kwh == charger.session_energy_kwh
        and all_values(before) == all_values(charger)
    )


def energy_problems(k: Knowledge) -> tuple[Problem, ...]:
    """One problem for each session energy of the newest status that was rejected."""
    return tuple(
        Problem(
            "implausible_energy",
            f"serial={serial!r} session_energy_kwh={k.status[serial].session_energy_kwh!r}",
        )
        for serial in k.status
        if k.energy[serial].implausible
    )


def joined(
    site_id: str,
    serial: str,
    k: Knowledge,
    status: ChargerStatus,
    summary: ChargerSummary | None,
    ledger: Ledger | None,
) -> Charger:
    """One charger from what its status and its summary say, and what its ledger adds up."""
    about = summary or ChargerSummary(serial)
    connected = about.connected if status.connected is None else status.connected
    state = status.connector_status or ConnectorStatus.UNKNOWN
    # The cloud keeps an offline charger's fields as they last were, so power flowing is not a fact any more.
    frozen = connected is False
    reading = k.energy.get(serial) if serial in k.status else None
    return Charger(
        site_id=site_id,
        serial=serial,
        name=about.name or status.name,
        model=about.model,
        firmware_version=about.firmware_version,
        processor_board_version=about.processor_board_version,
        connected=connected,
        plugged_in=status.plugged_in,
        charging=None if frozen and status.charging else status.charging,
        faulted=status.faulted,
        connector_status=ConnectorStatus.UNKNOWN if frozen and state in POWER_FLOWS else state,
        connector_status_raw=status.connector_status_raw,
        connector_status_reason=status.connector_status_reason,
        charging_level_amperes=status.charging_level_amperes,
        min_amperes=about.min_amperes,
        max_amperes=about.max_amperes,
        granularity_amperes=about.granularity_amperes,
        rated_amperes=about.rated_amperes,
        operating_voltage_volts=about.operating_voltage_volts,
        session_energy_kwh=None if reading is None else reading.energy_kwh,
        session_start_seconds=status.session_start_seconds,
        session_plugged_in_seconds=status.session_plugged_in_seconds,
        session_plugged_out_seconds=status.session_plugged_out_seconds,
        charge_mode=k.charge_modes.get(serial),
        running_charge_mode=status.running_charge_mode,
        safe_limit_active=status.safe_limit_active,
        dlb_active=status.dlb_active,
        schedule_enabled=status.schedule_enabled,
        schedule_mode=status.schedule_mode,
        dlb_enabled=about.dlb_enabled,
        last_reported_seconds=newest(
            about.last_reported_seconds, status.last_reported_seconds, k.last_reported.get(serial)
        ),
        network=about.network,
        **(accounts(ledger, connected) if ledger else {}),
    )


def accounts(ledger: Ledger, connected: bool | None) -> dict[str, Any]:
    """What a ledger adds up, by the names of the Charger's fields."""
    watts = ledger.power.watts
    return {
        "energy_kwh": round(ledger.energy_kwh, 6),  # a milliwatt-hour: what is beyond is noise of adding up
        "lifetime_energy_kwh": ledger.lifetime.kwh,
        "sessions": ledger.sessions,
        "faults": ledger.faults,
        "charging_seconds": round(ledger.charging_seconds, 3),
        "plugged_in_seconds": round(ledger.plugged_in_seconds, 3),
        "power_watts": None if watts is None or connected is False else round(watts, 1),
    }


def newest(*times_seconds: float | None) -> float | None:
    """The newest of several accounts of one event: the slower services lag, none runs ahead."""
    return max((time for time in times_seconds if time is not None), default=None)
