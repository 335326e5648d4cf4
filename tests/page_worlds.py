"""What the page has to show, by name: each state of the exporter, the cloud and the chargers."""

from dataclasses import replace
from datetime import UTC

from exporter.history import SLOT_SECONDS, SLOTS, History, Slot
from exporter.model import (
    Account,
    ChargeMode,
    Charger,
    ConnectorStatus,
    FinishedSession,
    Site,
    Snapshot,
)
from exporter.page import View
from exporter.page_words import Moment

WALL = 1_777_730_700.0  # Sat 2 May 2026 14:05 UTC
AT = Moment(monotonic=1000.0, wall=WALL, zone=UTC)
HOSTILE_NAME = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>&amp;'`"
TURNING_NAME = "left \u202egnp.exe\u2066 \x1b[2J\x00 right"
RIGHT_TO_LEFT_NAME = "מטען שמאל (2)"
LONG_NAME = "Stellplatzladestation" * 6

FREE = Charger(
    "1234567",
    "482500000017",
    name="Left garage",
    model="IQ-EVSE-NA-1060-0110-0304",
    firmware_version="25.37.1.13",
    connected=True,
    plugged_in=False,
    charging=False,
    faulted=False,
    connector_status=ConnectorStatus.AVAILABLE,
    charging_level_amperes=32,
    min_amperes=6,
    max_amperes=40,
    rated_amperes=48,
    operating_voltage_volts=240,
    session_energy_kwh=11.72,
    session_start_seconds=WALL - 30_000,
    charge_mode=ChargeMode.MANUAL_CHARGING,
    running_charge_mode=ChargeMode.MANUAL_CHARGING,
    last_reported_seconds=WALL - 90,
    energy_kwh=1234.567,
    power_watts=0.0,
)
CHARGING = replace(
    FREE,
    plugged_in=True,
    charging=True,
    connector_status=ConnectorStatus.CHARGING,
    session_energy_kwh=14.31,
    session_start_seconds=WALL - 7500,
    power_watts=7210.0,
)
WAITING = replace(
    FREE,
    serial="482500000018",
    name="Right garage",
    plugged_in=True,
    connector_status=ConnectorStatus.SUSPENDED_EVSE,
    connector_status_reason="INSUFFICIENT_SOLAR",
    charge_mode=ChargeMode.GREEN_CHARGING,
    session_energy_kwh=2.4,
    session_start_seconds=WALL - 14_000,
    energy_kwh=987.2,
)
FAULTED = replace(
    FREE,
    serial="482500000019",
    name="Carport",
    faulted=True,
    plugged_in=True,
    connector_status=ConnectorStatus.FAULTED,
    power_watts=None,
    energy_kwh=310.0,
)
OFFLINE = replace(FREE, serial="482500000020", name="Guests", connected=False, power_watts=None)
UNKNOWN = Charger("1234567", "482500000021")

ACCOUNT = Account("home", auth_up=True, request_budget_per_hour=600, requests_last_hour=171)
SITE = Site(
    "1234567",
    "home",
    name="Sunny Lane",
    up=True,
    chargers=(CHARGING, WAITING),
    status_timestamp_seconds=WALL - 10,
    poll_interval_seconds=30.0,
    status_received_monotonic=992.0,
)


def day(peak_kilowatts: float, *, hours: tuple[int, int], known: int = SLOTS) -> list[Slot]:
    """A day's slots of a charger that charged between two hours before now; `known`: how many it has."""
    last = int(WALL // SLOT_SECONDS)
    first, end = (last - hour * 4 for hour in hours)
    energy_kwh, slots = 100.0, []
    for number in range(last - known, last + 1):
        charges = first < number <= end
        ramp = min(1.0, (end - number + 1) / 6) if hours[1] else 1.0  # a car nearly full takes less and less
        energy_kwh += peak_kilowatts / 4 * ramp if charges else 0.0
        slots.append(Slot(number, energy_kwh, charges))
    return slots


def finished(hours_ago: float, energy_kwh: float, serial: str = FREE.serial) -> FinishedSession:
    start = WALL - hours_ago * 3600
    return FinishedSession(
        site_id="1234567",
        serial=serial,
        start_seconds=start,
        end_seconds=start + 7000,
        plugged_in_seconds=start,
        plugged_out_seconds=start + 9000,
        energy_kwh=energy_kwh,
        peak_watts=7310.0,
        charging_seconds=6900.0,
        mode=ChargeMode.GREEN_CHARGING,
        cost=None,
    )


HISTORY = History(
    slots={
        ("1234567", CHARGING.serial): day(7.2, hours=(2, 0)),
        ("1234567", WAITING.serial): day(3.6, hours=(9, 4)),
        ("1234567", FAULTED.serial): day(9.0, hours=(21, 17), known=88),
        ("1234567", OFFLINE.serial): day(9.0, hours=(21, 17), known=12),
    },
    sessions=[
        finished(8, 11.72),
        finished(21, 24.06, WAITING.serial),
        finished(31, 7.4),
        finished(400 * 24, 31.5, "482500000099"),
    ],
)


def of_site(*chargers: Charger, **changes: object) -> Snapshot:
    """The site with these chargers, and the account."""
    return Snapshot(sites=(replace(SITE, chargers=chargers, **changes),), accounts=(ACCOUNT,))  # type: ignore[arg-type]


def view(snapshot: Snapshot, history: History = HISTORY, **more: object) -> View:
    return View(snapshot, "/metrics", "1.2.3", history=history, **more)  # type: ignore[arg-type]


def account(**changes: object) -> Snapshot:
    """The usual site, and what is wrong with its account."""
    return replace(of_site(CHARGING, WAITING), accounts=(replace(ACCOUNT, **changes),))  # type: ignore[arg-type]


def stale(error: str = "status: HTTP 503", age_seconds: float = 2400.0) -> View:
    """A cloud that has been down for so long that scrapes no longer show the chargers."""
    chargers = tuple(
        replace(charger, last_reported_seconds=WALL - age_seconds - 90) for charger in SITE.chargers
    )
    known = replace(
        SITE,
        up=False,
        error=error,
        chargers=chargers,
        status_received_monotonic=1000.0 - age_seconds,
        status_timestamp_seconds=WALL - age_seconds - 2,
    )
    return view(
        Snapshot(sites=(replace(known, chargers=()),), accounts=(ACCOUNT,)), known={SITE.site_id: known}
    )


def crowd(count: int) -> View:
    """Many chargers at four sites, in all states, some with a day behind them."""
    kinds = (FREE, CHARGING, FREE, WAITING, FREE, OFFLINE, FREE, CHARGING, FREE, FAULTED, FREE, FREE)
    made = [
        replace(
            kinds[number % len(kinds)],
            site_id=str(4100000 + number % 4),
            serial=f"4825{number:08d}",
            name=f"Bay {number + 1}",
            last_reported_seconds=WALL - 40 - number,
        )
        for number in range(count)
    ]
    sites = tuple(
        replace(
            SITE,
            site_id=site_id,
            name=f"Depot {site_id[-1]}",
            chargers=tuple(c for c in made if c.site_id == site_id),
        )
        for site_id in sorted({charger.site_id for charger in made})
    )
    slots = {
        (one.site_id, one.serial): day(3 + number % 7, hours=(20 - number % 12, 12 - number % 12))
        for number, one in enumerate(made)
    }
    sessions = [replace(finished(2 + n, 5.0 + n, made[n].serial), site_id=made[n].site_id) for n in range(10)]
    return view(Snapshot(sites, (ACCOUNT,)), History(slots, sessions))


MFA = (
    "the account wants a one-time code: "
    "run `enphase-ev-exporter login --account home` with the same --config.file"
)

VIEWS = {
    "healthy": view(of_site(FREE, replace(WAITING, connector_status_reason=None, power_watts=0.0))),
    "charging": view(of_site(CHARGING, WAITING)),
    "faulted": view(of_site(CHARGING, WAITING, FAULTED, OFFLINE, UNKNOWN)),
    "login_needed": view(account(auth_up=False, reauthentication_required=True, error=MFA)),
    "cloud_down": stale(),
    "rate_limited": view(account(backoff_seconds=312.0, requests_last_hour=600)),
    "crowd": crowd(100),
    "nothing_yet": view(
        Snapshot(accounts=(replace(ACCOUNT, auth_up=None, requests_last_hour=0),)), History()
    ),
    "hostile": view(
        replace(
            of_site(
                replace(CHARGING, name=HOSTILE_NAME),
                replace(WAITING, name=TURNING_NAME),
                replace(FAULTED, name=RIGHT_TO_LEFT_NAME),
                replace(
                    OFFLINE,
                    name=LONG_NAME,
                    connected=True,
                    connector_status=ConnectorStatus.UNKNOWN,
                    connector_status_raw=HOSTILE_NAME,
                    firmware_version="<b>'\"",
                ),
                name=HOSTILE_NAME,
                error="<u>status</u>",
                up=False,
            ),
            accounts=(replace(ACCOUNT, name="<s>", backoff_seconds=1.0),),
        )
    ),
    "exporter": view(
        replace(of_site(FREE), config_reload_successful=False, state_writes_failed=3, state_set_aside=True),
        history_error="state.sqlite3: disk I/O error",
    ),
}
