"""Worlds to expose: one that is always the same, random ones, large ones."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from exporter.model import (
    Account,
    ChargeMode,
    Charger,
    ConnectorStatus,
    EndpointTimes,
    NetworkAddress,
    Site,
    Snapshot,
)

GARAGE = Charger(
    site_id="4100001",
    serial="202412345678",
    name='Garage "left" \\ Straße\n2',
    model="IQ-EVSE-60R",
    firmware_version="25.37.1.13",
    processor_board_version="2.0.713.0",
    connected=True,
    plugged_in=True,
    charging=True,
    faulted=False,
    connector_status=ConnectorStatus.CHARGING,
    charging_level_amperes=32,
    min_amperes=6.0,
    max_amperes=40.0,
    rated_amperes=48.0,
    operating_voltage_volts=240,
    session_energy_kwh=3.071,
    session_start_seconds=1760000000.25,
    session_plugged_in_seconds=1759999900,
    charge_mode=ChargeMode.GREEN_CHARGING,
    running_charge_mode=ChargeMode.MANUAL_CHARGING,
    safe_limit_active=False,
    dlb_active=True,
    schedule_enabled=True,
    schedule_mode="custom",
    dlb_enabled=True,
    last_reported_seconds=1760003600.0,
    network=NetworkAddress("eth0", "192.0.2.10"),
    energy_kwh=1234.567891,
    lifetime_energy_kwh=4321.5,
    sessions=87,
    faults=0,
    charging_seconds=360000.5,
    plugged_in_seconds=1500000.0,
    power_watts=7360.0,
)
CARPORT = Charger(
    site_id="4100001",
    serial="202487654321",
    connected=False,
    connector_status=ConnectorStatus.SUSPENDED_EVSE,
    connector_status_reason="INSUFFICIENT_SOLAR",
    session_energy_kwh=float("nan"),
    charging_level_amperes=float("inf"),
)
HOME = Site(
    "4100001",
    "home",
    name="Home",
    up=True,
    chargers=(GARAGE, CARPORT),
    status_timestamp_seconds=1760003605.0,
    poll_interval_seconds=30.0,
    endpoints=(
        EndpointTimes("4100001", "status", 1760003605.5, 1760003605.5),
        EndpointTimes("4100001", "summary", 1760003405.5),
    ),
    polls={("success",): 120, ("rate_limited",): 1},
)
SNAPSHOT = Snapshot(
    sites=(HOME, Site("4100002", "home")),
    accounts=(
        Account(
            "home",
            auth_up=True,
            token_expiry_seconds=1760090000.0,
            request_budget_per_hour=600,
            requests_last_hour=121,
            requests={("status", "200"): 120, ("status", "429"): 1},
            errors={("status", "rate_limited"): 1},
            rate_limited={("status",): 1},
            logins={("success",): 1},
        ),
        Account("work", auth_up=False, reauthentication_required=True, blocked_until_seconds=1760009999.0),
    ),
    scrape_interval_seconds=15.0,
    config_reload_successful=True,
)


# Random worlds.

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', "\\n", "\n", "a\\"]
)
NUMBERS = st.none() | st.floats() | st.integers(0, 100) | st.integers(2**53, 2**70)
TALLIES = st.none() | st.floats(0, 1e18) | st.integers(0, 2**70)  # counters: never negative, always numbers
FLAGS = st.none() | st.booleans()
TEXT_FIELDS = "name model firmware_version processor_board_version connector_status_reason schedule_mode"
FLAG_FIELDS = (
    "connected plugged_in charging faulted safe_limit_active dlb_active schedule_enabled dlb_enabled"
)
NUMBER_FIELDS = (
    "charging_level_amperes min_amperes max_amperes rated_amperes operating_voltage_volts session_energy_kwh"
    " session_start_seconds session_plugged_in_seconds session_plugged_out_seconds last_reported_seconds"
    " power_watts"
)
TALLY_FIELDS = "energy_kwh lifetime_energy_kwh sessions faults charging_seconds plugged_in_seconds"
CHARGER_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(TEXT_FIELDS.split(), st.none() | TEXTS),
    **dict.fromkeys(FLAG_FIELDS.split(), FLAGS),
    **dict.fromkeys(NUMBER_FIELDS.split(), NUMBERS),
    **dict.fromkeys(TALLY_FIELDS.split(), TALLIES),
    "connector_status": st.none() | st.sampled_from(ConnectorStatus),
    "charge_mode": st.none() | st.sampled_from(ChargeMode),
    "running_charge_mode": st.none() | st.sampled_from(ChargeMode),
    "network": st.none() | st.builds(NetworkAddress, TEXTS, TEXTS),
}
CHARGERS = st.fixed_dictionaries({}, optional=CHARGER_FIELDS)
COUNTS = st.integers(0, 10**20)
ENDPOINTS = st.sampled_from(["status", "summary", 'o"dd'])


@st.composite
def sites(draw: st.DrawFn) -> tuple[Site, ...]:
    """Sites with their chargers; labels are unique as the poller keeps them."""
    found = []
    for site_id in draw(st.lists(TEXTS, unique=True, max_size=3)):
        serials = draw(st.lists(st.sampled_from(["a", "b", 'c"']), unique=True))
        found.append(
            Site(
                site_id,
                draw(TEXTS),
                name=draw(st.none() | TEXTS),
                up=draw(FLAGS),
                chargers=tuple(Charger(site_id, serial, **draw(CHARGERS)) for serial in serials),
                status_timestamp_seconds=draw(NUMBERS),
                poll_interval_seconds=draw(NUMBERS),
                endpoints=tuple(
                    EndpointTimes(site_id, endpoint, draw(NUMBERS), draw(NUMBERS))
                    for endpoint in draw(st.lists(ENDPOINTS, unique=True))
                ),
                polls=draw(st.dictionaries(st.tuples(TEXTS), COUNTS, max_size=2)),
            )
        )
    return tuple(found)


ACCOUNTS = st.builds(
    Account,
    name=TEXTS,
    auth_up=FLAGS,
    token_expiry_seconds=NUMBERS,
    blocked_until_seconds=NUMBERS,
    backoff_seconds=st.floats(),
    requests=st.dictionaries(st.tuples(ENDPOINTS, TEXTS), COUNTS, max_size=3),
    logins=st.dictionaries(st.tuples(TEXTS), COUNTS, max_size=3),
)
SNAPSHOTS = st.builds(
    Snapshot,
    sites=sites(),
    accounts=st.lists(ACCOUNTS, unique_by=lambda account: account.name, max_size=2).map(tuple),
    scrape_interval_seconds=NUMBERS,
    config_reload_successful=FLAGS,
    state_writes_failed=st.none() | COUNTS,
    state_set_aside=FLAGS,
)


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    """Snapshots that follow each other: some parts new, some the very objects of before, some gone."""
    history = [draw(SNAPSHOTS)]
    for _ in range(draw(st.integers(0, 3))):
        before, new = history[draw(st.integers(0, len(history) - 1))], draw(SNAPSHOTS)
        kept = [site for site in before.sites if draw(st.booleans())]
        added = [site for site in new.sites if site.site_id not in {site.site_id for site in kept}]
        changed = [
            with_one_charger_changed(site, draw(CHARGERS)) if draw(st.booleans()) else site for site in kept
        ]
        accounts = draw(st.sampled_from([before.accounts, new.accounts]))
        history.append(replace(new, sites=(*changed, *added), accounts=accounts))
    return history


def with_one_charger_changed(site: Site, fields: dict[str, Any]) -> Site:
    if not site.chargers:
        return site
    first, *others = site.chargers
    return replace(site, chargers=(Charger(first.site_id, first.serial, **fields), *others))


def large_world(mark: int, chargers: int = 400) -> Snapshot:
    """About 3.5 kB a charger, two chargers a site; `mark` changes every one of them."""
    made = [
        replace(GARAGE, site_id=str(4100000 + n // 2), serial=f"2024{n:08d}", session_energy_kwh=mark + n / 7)
        for n in range(chargers)
    ]
    pairs = zip(made[::2], made[1::2], strict=True)
    return Snapshot(tuple(Site(pair[0].site_id, "home", up=True, chargers=pair) for pair in pairs))
