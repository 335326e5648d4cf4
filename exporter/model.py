"""What the exporter knows, as frozen values in the units of the metrics.

Every time is epoch seconds, every energy kWh, every current A, every voltage V. None means "the cloud did
not say", which becomes an absent series and never a 0.

Observations (`ChargerStatus`, `ChargerSummary`, …) are what one answer said. `Charger` and `Site` are what is
known after joining them; the metric rows read these. They compare by identity, which makes "did anything
change?" a pointer comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ConnectorStatus(StrEnum):
    """Connector states that get a series of their own; the cloud's spellings."""

    AVAILABLE = "AVAILABLE"
    PREPARING = "PREPARING"
    CHARGING = "CHARGING"
    FINISHING = "FINISHING"
    SUSPENDED = "SUSPENDED"
    SUSPENDED_EV = "SUSPENDED_EV"
    SUSPENDED_EVSE = "SUSPENDED_EVSE"
    RESERVED = "RESERVED"
    UNAVAILABLE = "UNAVAILABLE"
    FAULTED = "FAULTED"
    UNKNOWN = "UNKNOWN"


class ChargeMode(StrEnum):
    """Charge modes that get a series of their own; the scheduler's spellings."""

    MANUAL_CHARGING = "MANUAL_CHARGING"
    SCHEDULED_CHARGING = "SCHEDULED_CHARGING"
    GREEN_CHARGING = "GREEN_CHARGING"
    SMART_CHARGING = "SMART_CHARGING"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a payload that was otherwise read.

    `kind` is the `problem` label, a fixed word: unknown_value, bad_type, bad_time, missing_serial,
    duplicate_serial, implausible_energy. `detail` is for the log: field name and a short, quoted value.
    """

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """The address a charger is reached at on its own network, e.g. eth0 and 192.0.2.10."""

    interface: str
    ip_address: str


@dataclass(frozen=True, slots=True)
class ChargerStatus:
    """One charger in one status answer."""

    serial: str
    name: str | None = None
    connected: bool | None = None
    plugged_in: bool | None = None
    charging: bool | None = None  # reconciled with the connector state: is power flowing
    faulted: bool | None = None
    connector_status: ConnectorStatus | None = None
    connector_status_raw: str | None = None  # set when connector_status is UNKNOWN
    connector_status_reason: str | None = None
    charging_level_amperes: float | None = None
    running_charge_mode: ChargeMode | None = None
    safe_limit_active: bool | None = None
    dlb_active: bool | None = None
    schedule_enabled: bool | None = None
    schedule_mode: str | None = None
    last_reported_seconds: float | None = None
    offline_since_seconds: float | None = None
    session_energy_kwh: float | None = None
    session_energy_other_kwh: float | None = None  # the same figure read in the other unit
    session_start_seconds: float | None = None
    session_plugged_in_seconds: float | None = None
    session_plugged_out_seconds: float | None = None
    session_cost: float | None = None
    retired: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """One status answer: the cloud's own time on it, its chargers, and what was odd about it."""

    timestamp_seconds: float | None
    chargers: tuple[ChargerStatus, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ChargerSummary:
    """One charger in one summary answer."""

    serial: str
    name: str | None = None
    model: str | None = None
    firmware_version: str | None = None
    processor_board_version: str | None = None
    min_amperes: float | None = None
    max_amperes: float | None = None
    granularity_amperes: float | None = None
    rated_amperes: float | None = None
    operating_voltage_volts: float | None = None
    phases: int | None = None
    has_neutral: bool | None = None
    dlb_enabled: bool | None = None
    lifetime_energy_kwh: float | None = None
    connected: bool | None = None
    retired: bool = False
    reporting_interval_seconds: float | None = None
    last_reported_seconds: float | None = None
    network: NetworkAddress | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """One summary answer."""

    timestamp_seconds: float | None
    chargers: tuple[ChargerSummary, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ChargeModePreference:
    """One charge mode answer: what the owner asked for; UNKNOWN when no mode is enabled."""

    mode: ChargeMode
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class SiteEntry:
    """One site the account can see, from site discovery."""

    site_id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class LiveStream:
    """A granted burst of rapid updates."""

    duration_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Charger:
    """What is known of one charger now: the object the CHARGER rows of the metric table read."""

    site_id: str
    serial: str
    name: str | None = None
    model: str | None = None
    firmware_version: str | None = None
    processor_board_version: str | None = None
    connected: bool | None = None
    plugged_in: bool | None = None
    charging: bool | None = None
    faulted: bool | None = None
    connector_status: ConnectorStatus | None = None
    connector_status_raw: str | None = None
    connector_status_reason: str | None = None
    charging_level_amperes: float | None = None
    min_amperes: float | None = None
    max_amperes: float | None = None
    rated_amperes: float | None = None
    operating_voltage_volts: float | None = None
    session_energy_kwh: float | None = None
    session_start_seconds: float | None = None
    session_plugged_in_seconds: float | None = None
    session_plugged_out_seconds: float | None = None
    charge_mode: ChargeMode | None = None
    running_charge_mode: ChargeMode | None = None
    safe_limit_active: bool | None = None
    dlb_active: bool | None = None
    schedule_enabled: bool | None = None
    schedule_mode: str | None = None
    dlb_enabled: bool | None = None
    last_reported_seconds: float | None = None
    network: NetworkAddress | None = None


@dataclass(frozen=True, slots=True)
class EndpointTimes:
    """When one endpoint was last tried, and last answered, for one site."""

    site_id: str
    endpoint: str
    last_attempt_seconds: float | None = None
    last_success_seconds: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """What is known of one site now: the object the SITE rows of the metric table read."""

    site_id: str
    account: str
    name: str | None = None
    up: bool | None = None  # None until the first status poll has ended
    chargers: tuple[Charger, ...] = ()
    status_timestamp_seconds: float | None = None
    poll_interval_seconds: float | None = None
    status_received_monotonic: float | None = None  # when the newest good status arrived, monotonic clock
    endpoints: tuple[EndpointTimes, ...] = ()
    polls: Mapping[tuple[str], int] = field(default_factory=dict)  # (result,) -> count
    error: str | None = None  # why the last status poll failed, in words fit for the page


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of one account now."""

    name: str
    auth_up: bool | None = None
    reauthentication_required: bool = False
    token_expiry_seconds: float | None = None
    blocked_until_seconds: float | None = None
    backoff_seconds: float = 0.0
    request_budget_per_hour: int = 0
    requests_last_hour: int = 0
    requests: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (endpoint, code) -> count
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (endpoint, kind) -> count
    rate_limited: Mapping[tuple[str], int] = field(default_factory=dict)  # (endpoint,) -> count
    logins: Mapping[tuple[str], int] = field(default_factory=dict)  # (result,) -> count
    error: str | None = None  # what a person should do, in words fit for the page


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one scrape shows, published by assignment."""

    sites: tuple[Site, ...] = ()
    accounts: tuple[Account, ...] = ()
    scrape_interval_seconds: float | None = None  # learned from the scrapes
    config_reload_successful: bool | None = None
