"""What is known of a site → what its ledgers take in, one Reading a charger. Pure."""

from exporter.merge import Knowledge
from exporter.model import ChargerStatus, Reading
from exporter.session_energy import level_kilowatts, power_limit_kilowatts


def readings(site_id: str, k: Knowledge, wall_seconds: float) -> tuple[Reading, ...]:
    """What the newest status answer says of each charger; `wall_seconds` is for a cloud without a clock."""
    at_seconds = wall_seconds if k.status_timestamp_seconds is None else k.status_timestamp_seconds
    return tuple(
        reading(site_id, k, status, at_seconds) for status in k.status.values() if not status.retired
    )


def reading(site_id: str, k: Knowledge, status: ChargerStatus, at_seconds: float) -> Reading:
    """What status and summary say of one charger; of an offline one nothing is known of its state."""
    summary, lifetime = k.summary.get(status.serial), k.lifetime.get(status.serial)
    connected = summary.connected if status.connected is None and summary else status.connected
    is_known = connected is not False
    limit_kilowatts = power_limit_kilowatts(summary)
    return Reading(
        site_id=site_id,
        serial=status.serial,
        at_seconds=at_seconds,
        limit_kilowatts=limit_kilowatts,
        level_kilowatts=level_kilowatts(summary, status.charging_level_amperes, limit_kilowatts),
        connected=connected,
        plugged_in=status.plugged_in if is_known else None,
        charging=status.charging if is_known else None,
        faulted=status.faulted if is_known else None,
        running_charge_mode=status.running_charge_mode,
        reported_seconds=status.last_reported_seconds,
        session_energy_kwh=k.energy[status.serial].energy_kwh,
        session_start_seconds=status.session_start_seconds,
        session_plugged_in_seconds=status.session_plugged_in_seconds,
        session_plugged_out_seconds=status.session_plugged_out_seconds,
        session_cost=status.session_cost,
        lifetime_energy_kwh=lifetime.kwh if lifetime else None,
        lifetime_reported_seconds=lifetime.reported_seconds if lifetime else None,
    )
