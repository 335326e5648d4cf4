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

import msgspec


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


@dataclass(frozen=True, slots=True)
class Login:
    """A login that was accepted: what headers are built from. Nothing of it prints."""

    cookies: Mapping[str, str] = field(repr=False)
    token: str | None = field(default=None, repr=False)
    token_expiry_seconds: float | None = None
    bearer: str | None = field(default=None, repr=False)
    user_id: str | None = field(default=None, repr=False)
    obtained_seconds: float = 0.0
    owner: str = field(default="", repr=False)  # tells, without telling it, whose e-mail it was made with
    captured: bool = False  # headers of a browser: used as given, never renewed


@dataclass(frozen=True, slots=True)
class Guard:
    """Why no login is tried now; kept over restarts, so that a crash loop cannot lock the account.

    `reason` is the label of `enphase_ev_auth_logins_total`, or `expired` for captured headers and
    `unfinished` for a login whose end is not known. Without `until_seconds` only a person can lift it.
    `credentials` tells, without telling them, for which credentials it holds.
    """

    reason: str
    message: str
    refusals: int
    at_seconds: float
    until_seconds: float | None
    credentials: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one status answer, with the newest summary, says of one charger: the input of the ledger.

    `at_seconds` is the cloud's own time on the status answer, the exporter's where it gave none.
    `limit_kilowatts` is what the charger can do at most, `level_kilowatts` what it can do at the level set.
    """

    site_id: str
    serial: str
    at_seconds: float
    limit_kilowatts: float
    level_kilowatts: float
    connected: bool | None = None
    plugged_in: bool | None = None
    charging: bool | None = None
    faulted: bool | None = None
    running_charge_mode: ChargeMode | None = None
    reported_seconds: float | None = None  # the charger's own report behind the status answer
    session_energy_kwh: float | None = None
    session_start_seconds: float | None = None
    session_plugged_in_seconds: float | None = None
    session_plugged_out_seconds: float | None = None
    session_cost: float | None = None
    lifetime_energy_kwh: float | None = None
    lifetime_reported_seconds: float | None = None  # the charger's own report behind the summary


class ChargingSession(msgspec.Struct, frozen=True):
    """One charging session as the ledger follows it: the one going on, or the last one.

    `segment_start_seconds` moves when charging pauses and begins again in one session. `may_reset` says that
    a new segment has begun and the cloud has not yet shown whether its energy goes on or begins at 0;
    `stale_kwh` that it is a new session for which the cloud still shows the energy of the one before.
    """

    start_seconds: float | None = None
    segment_start_seconds: float | None = None
    plugged_in_seconds: float | None = None
    plugged_out_seconds: float | None = None
    end_seconds: float | None = None  # when power was last seen to flow
    energy_kwh: float = 0.0
    stale_kwh: float | None = None
    may_reset: bool = False
    finished: bool = False
    peak_watts: float | None = None
    charging_seconds: float = 0.0
    mode: ChargeMode | None = None
    cost: float | None = None


class Lifetime(msgspec.Struct, frozen=True):
    """The charger's own lifetime figure as it is believed, and one that awaits confirmation."""

    kwh: float | None = None
    reported_seconds: float | None = None
    candidate_kwh: float | None = None
    candidate_first_seconds: float = 0.0  # the reports of the first and of the newest sample of it
    candidate_last_seconds: float = 0.0


class Power(msgspec.Struct, frozen=True):
    """Estimated power, and the reported energy it will be reckoned from next."""

    watts: float | None = None
    base_kwh: float | None = None
    base_seconds: float | None = None


class Ledger(msgspec.Struct, frozen=True):
    """The durable accounts of one charger.

    `session_kwh` adds up all the energy that sessions showed. `anchor_*` tie the lifetime figure to the
    energy account: at lifetime `anchor_lifetime_kwh` the account stood at `anchor_energy_kwh`, and what
    sessions have shown since (`session_kwh` beyond `lifetime_session_kwh`) comes on top.
    """

    watched_since_seconds: float
    energy_kwh: float = 0.0
    sessions: int = 0
    faults: int = 0
    charging_seconds: float = 0.0
    plugged_in_seconds: float = 0.0
    session_kwh: float = 0.0
    session: ChargingSession | None = None
    lifetime: Lifetime = msgspec.field(default_factory=Lifetime)
    anchor_lifetime_kwh: float | None = None
    anchor_energy_kwh: float = 0.0
    lifetime_session_kwh: float = 0.0
    lifetime_awaits_seconds: float | None = None  # the report that status has yet to reach
    reports: tuple[tuple[float, float], ...] = ()  # newest reports: when, and session_kwh then
    power: Power = msgspec.field(default_factory=Power)
    at_seconds: float | None = None
    backward_readings: int = 0  # readings in a row older than the newest: a clock that was set back
    plugged_in: bool | None = None
    charging: bool | None = None
    faulted: bool | None = None


@dataclass(frozen=True, slots=True)
class FinishedSession:
    """One finished charging session, for the record; written again when its energy arrives late."""

    site_id: str
    serial: str
    start_seconds: float
    end_seconds: float | None
    plugged_in_seconds: float | None
    plugged_out_seconds: float | None
    energy_kwh: float
    peak_watts: float | None
    charging_seconds: float
    mode: ChargeMode | None
    cost: float | None


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
    granularity_amperes: float | None = None
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
    energy_kwh: float | None = None  # this and what follows is of the ledger, as it is on disk
    lifetime_energy_kwh: float | None = None
    sessions: int | None = None
    faults: int | None = None
    charging_seconds: float | None = None
    plugged_in_seconds: float | None = None
    power_watts: float | None = None


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
    status_listed: bool = True  # whether the newest good status named a charger; else they are as before it
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
    state_writes_failed: int | None = None
    state_set_aside: bool | None = None
