"""The configuration as frozen values, a class a section; `config.load` makes and checks them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from exporter.readers import Secret

DEFAULT_TOKEN_NAME = "default"  # noqa: S105 (a name, not a token)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfig:
    """One way to log in and the sites read with it; no sites: every site the account can see."""

    name: str = "default"
    email: str | None = None
    password: Secret | None = None
    e_auth_token: Secret | None = None
    cookie: Secret | None = None
    access_token: Secret | None = None
    sites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PollConfig:
    """How often the cloud is asked."""

    interval_seconds: float = 30.0
    idle_interval_seconds: float = 60.0
    summary_interval_seconds: float = 300.0
    charge_mode_interval_seconds: float = 300.0
    align: Literal["scrape", "clock", "none"] = "scrape"
    request_timeout_seconds: float = 10.0
    stale_after_seconds: float = 300.0
    max_requests_per_hour: int = 600
    live_stream: Literal["never", "on_command", "on_change", "while_charging"] = "on_command"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudConfig:
    """Where the cloud is; no slash at the end."""

    base_url: str = "https://enlighten.enphaseenergy.com"
    entrez_url: str = "https://entrez.enphaseenergy.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateConfig:
    """The state folder; None when neither a setting nor the platform names one."""

    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """Where the exporter listens; `readers.host_and_port` splits an address."""

    listen_addresses: tuple[str, ...] = (":10055",)
    telemetry_path: str = "/metrics"
    config_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlToken:
    """One of several bearer tokens; the log names it with each of its commands."""

    name: str
    token: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """The control API, who may use it, and how much."""

    enabled: bool = False
    token: Secret | None = None
    named_tokens: tuple[ControlToken, ...] = ()
    command_limit: int = 10
    command_limit_window_seconds: float = 600.0
    dry_run: bool = False
    amps_while_charging: Literal["next_session", "restart", "refuse"] = "next_session"

    @property
    def tokens(self) -> tuple[tuple[str, Secret], ...]:
        """Every token with its name; that of `control.token` is `default`."""
        one = () if self.token is None else ((DEFAULT_TOKEN_NAME, self.token),)
        return (*one, *((named.name, named.token) for named in self.named_tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["logfmt", "json"] = "logfmt"


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, checked."""

    accounts: tuple[AccountConfig, ...]
    poll: PollConfig = field(default_factory=PollConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)
    state: StateConfig = field(default_factory=StateConfig)
    web: WebConfig = field(default_factory=WebConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    log: LogConfig = field(default_factory=LogConfig)
