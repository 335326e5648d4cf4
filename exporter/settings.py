"""Every key of the configuration, once: its variable, its flag and its reader follow from the row."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from exporter import readers

PREFIX = "ENPHASE_EV_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the configuration: `poll.interval`, or `email` for a key of an account."""

    key: str
    field: str  # of the section's dataclass
    read: Callable[[str], object]
    help: str = ""
    many: bool = False
    secret: bool = False  # also spelled key_file: the path of a file that holds it
    private: bool = False  # its value stays out of messages

    @property
    def spellings(self) -> tuple[str, ...]:
        """The keys that give this setting."""
        return (self.key, f"{self.key}_file") if self.secret else (self.key,)

    @property
    def flag(self) -> str:
        """The flag that gives this setting; of a secret only its file, as command lines are public."""
        if self.key == "web.config_file":
            return "--web.config.file"  # as every program with exporter-toolkit's web config calls it
        return "--" + self.spellings[-1].replace("_", "-")

    @property
    def placeholder(self) -> str:
        """What stands for the flag's value in the help: its kind, or the words it may be."""
        if self.secret:
            return "FILE"
        if isinstance(self.read, partial) and "of" in self.read.keywords:
            return f"{{{','.join(self.read.keywords['of'])}}}"
        return _PLACEHOLDERS[self.read]


def variable(spelling: str) -> str:
    """The environment variable of a key."""
    return PREFIX + spelling.replace(".", "_").upper()


_duration = readers.duration
_timeout = partial(readers.duration, least=1.0, most=120.0)
_align = partial(readers.choice, of=("scrape", "clock", "none"))
_stream = partial(readers.choice, of=("never", "on_command", "on_change", "while_charging"))
_amps = partial(readers.choice, of=("next_session", "restart", "refuse"))
_level = partial(readers.choice, of=("debug", "info", "warning", "error"))
_form = partial(readers.choice, of=("logfmt", "json"))

_PLACEHOLDERS: Mapping[Callable[[str], object], str] = {
    _duration: "DURATION",
    _timeout: "DURATION",
    readers.count: "N",
    readers.url: "URL",
    readers.folder: "FOLDER",
    readers.listen_address: "ADDRESS",
    readers.telemetry_path: "PATH",
    readers.web_config_file: "FILE",
}

SETTINGS = (
    Setting("poll.interval", "interval_seconds", _duration, "between polls while a car is plugged in"),
    Setting("poll.idle_interval", "idle_interval_seconds", _duration, "between polls while none is"),
    Setting("poll.summary_interval", "summary_interval_seconds", _duration, "between summary requests"),
    Setting("poll.charge_mode_interval", "charge_mode_interval_seconds", _duration, "between mode requests"),
    Setting("poll.align", "align", _align, "what times polls"),
    Setting("poll.request_timeout", "request_timeout_seconds", _timeout, "limit of one request"),
    Setting("poll.stale_after", "stale_after_seconds", _duration, "age at which charger series go away"),
    Setting("poll.max_requests_per_hour", "max_requests_per_hour", readers.count, "budget of one account"),
    Setting("poll.live_stream", "live_stream", _stream, "when to ask for bursts"),
    Setting("cloud.base_url", "base_url", readers.url, "address of the cloud", private=True),
    Setting("cloud.entrez_url", "entrez_url", readers.url, "its older login surface", private=True),
    Setting("state.path", "path", readers.folder, "folder for what outlives a restart"),
    Setting("web.listen_address", "listen_addresses", readers.listen_address, "repeatable", many=True),
    Setting("web.telemetry_path", "telemetry_path", readers.telemetry_path, "path of the metrics"),
    Setting("web.config_file", "config_file", readers.web_config_file, "file with TLS and users"),
    Setting("control.enabled", "enabled", readers.switch, "offer the control API"),
    Setting("control.token", "token", readers.token, "bearer token of control", secret=True, private=True),
    Setting("control.command_limit", "command_limit", readers.count, "commands to one charger in a window"),
    Setting("control.command_limit_window", "command_limit_window_seconds", _duration, "that window"),
    Setting("control.dry_run", "dry_run", readers.switch, "answer what would be sent, and send nothing"),
    Setting("control.amps_while_charging", "amps_while_charging", _amps, "what new amps do to a session"),
    Setting("log.level", "level", _level, "debug, info, warning or error"),
    Setting("log.format", "format", _form, "logfmt or json"),
)
ACCOUNT_SETTINGS = (
    Setting("name", "name", readers.account_name, private=True),
    Setting("email", "email", readers.email, private=True),
    Setting("password", "password", readers.secret, secret=True, private=True),
    Setting("e_auth_token", "e_auth_token", readers.secret, secret=True, private=True),
    Setting("cookie", "cookie", readers.secret, secret=True, private=True),
    Setting("access_token", "access_token", readers.secret, secret=True, private=True),
    Setting("sites", "sites", readers.site_id, many=True),
)
TOKEN_SETTINGS = (
    Setting("name", "name", readers.token_name),
    Setting("token", "token", readers.token, secret=True, private=True),
)
SECTIONS = tuple(dict.fromkeys(setting.key.partition(".")[0] for setting in SETTINGS))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add --config.file and a flag for every key that is neither a secret nor part of an account."""
    quiet: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument(
        "--config.file", dest="config.file", metavar="FILE", help="YAML file to read", **quiet
    )
    for setting in SETTINGS:
        if setting.read is readers.switch:
            more: dict[str, Any] = {"action": argparse.BooleanOptionalAction} | quiet
        else:
            more = {"metavar": setting.placeholder} | quiet
        if setting.many:
            more["action"] = "append"
        parser.add_argument(setting.flag, dest=setting.spellings[-1], help=setting.help, **more)


def config_path_of(namespace: argparse.Namespace) -> Path | None:
    """The file named with --config.file."""
    name = getattr(namespace, "config.file", None)
    return Path(name) if name else None


def flags_of(namespace: argparse.Namespace) -> dict[str, str | list[str]]:
    """The flags that were given, by key, as `load` wants them."""
    keys = {setting.spellings[-1] for setting in SETTINGS}
    given = {key: raw for key, raw in vars(namespace).items() if key in keys}
    return {key: str(raw).lower() if isinstance(raw, bool) else raw for key, raw in given.items()}
