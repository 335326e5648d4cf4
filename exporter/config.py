"""YAML file, environment and flags → one frozen `Config`; every rule that joins settings is here.

Order: flag, environment, file, default. `settings.py` names the keys, `readers.py` understands their text,
`layers.py` finds where it was given.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from exporter import readers
from exporter.errors import ConfigError
from exporter.layers import (
    FILE_VARIABLE,
    FileLayers,
    Given,
    Layer,
    environment_layers,
    file_layers,
    flag_layer,
    readable_by_others,
    shape,
)
from exporter.readers import Secret
from exporter.sections import (
    DEFAULT_TOKEN_NAME,
    AccountConfig,
    CloudConfig,
    Config,
    ControlConfig,
    ControlToken,
    LogConfig,
    PollConfig,
    StateConfig,
    WebConfig,
)
from exporter.settings import (
    ACCOUNT_SETTINGS,
    SECTIONS,
    SETTINGS,
    TOKEN_SETTINGS,
    Setting,
    add_flags,
    config_path_of,
    flags_of,
    variable,
)

__all__ = [
    "AccountConfig",
    "CloudConfig",
    "Config",
    "ControlConfig",
    "LogConfig",
    "PollConfig",
    "Secret",
    "StateConfig",
    "WebConfig",
    "add_flags",
    "config_path_of",
    "flags_of",
    "interval_floor_seconds",
    "load",
    "masked",
    "private_texts",
    "state_folder",
]


def load(
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str | list[str]],
    *,
    accounts_needed: bool = True,
) -> tuple[Config, tuple[str, ...]]:
    """Read all layers; returns the config and warnings for the log. Raises ConfigError.

    `path` is --config.file; None for the file named in the environment, if any. `flags` is of `flags_of`.
    Commands that do not ask the cloud can do without accounts.
    """
    if path is None and environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
    warnings: list[str] = []
    from_file, accounts, tokens = file_layers(path, warnings) if path else FileLayers({}, [], [])
    from_environment, account = environment_layers(environ)
    given = from_file | from_environment | flag_layer(flags)
    cloud = CloudConfig(**_section("cloud", given, warnings))
    config = Config(
        accounts=_accounts(accounts, account, path, warnings, needed=accounts_needed),
        poll=_poll(given, cloud.base_url),
        cloud=cloud,
        state=StateConfig(**{"path": _state_path(environ)} | _section("state", given, warnings)),
        web=_web(given),
        control=_control(given, tokens, path, warnings),
        log=LogConfig(**_section("log", given, warnings)),
    )
    return config, tuple(warnings)


def state_folder(config: Config) -> Path:
    """The folder of the state; raises ConfigError when neither a setting nor the platform names one."""
    if config.state.path is None:
        raise ConfigError("state.path: not given, and no home folder to put it in, expected a folder")
    return config.state.path


def _section(name: str, given: Layer, warnings: list[str]) -> dict[str, Any]:
    chosen = (setting for setting in SETTINGS if setting.key.startswith(f"{name}."))
    return _fields(chosen, given, warnings)


def _fields(settings: Iterable[Setting], given: Layer, warnings: list[str]) -> dict[str, Any]:
    return {s.field: _value(s, given[s.key], warnings) for s in settings if s.key in given}


def _value(setting: Setting, given: Given, warnings: list[str]) -> object:
    if not setting.many:
        return _one(setting, given, warnings)
    if not isinstance(given.raw, list):
        raise ConfigError(f"{given.where}: expected a list in brackets, got {shape(given.raw)}")
    items = [given._replace(where=f"{given.where}[{i}]", raw=raw) for i, raw in enumerate(given.raw)]
    values = tuple(_one(setting, item, warnings) for item in items)
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ConfigError(f'{items[index].where}: "{value}" is listed twice, expected once')
    return values


def _one(setting: Setting, given: Given, warnings: list[str]) -> object:
    if not isinstance(given.raw, str):
        raise ConfigError(f"{given.where}: expected a single value, got {shape(given.raw)}")
    text = _content(given, warnings) if given.holds_path else given.raw
    try:
        value = setting.read(text)
    except ValueError as error:
        got = "" if setting.private else f"got {_quoted(text)}, "
        place = f" in {given.folder / given.raw}" if given.holds_path else ""
        raise ConfigError(f"{given.where}: {got}expected {error}{place}") from None
    return given.folder / value if isinstance(value, Path) else value


def _quoted(text: str) -> str:
    return json.dumps(text[:60], ensure_ascii=False)


def _content(given: Given, warnings: list[str]) -> str:
    path: Path = given.folder / given.raw
    try:
        text = path.read_text(encoding="utf-8")
        warnings += readable_by_others(path)
    except OSError as error:
        if not os.path.lexists(path) and not _is_path_like(given):
            # Not from the error, which holds the text as well.
            raise ConfigError(f"{given.where}: expected the path of a file that holds it") from None
        reason = f"{path} cannot be read ({error.strerror})"
        raise ConfigError(f"{given.where}: {reason}, expected a file that holds the secret") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{given.where}: {path} is not UTF-8, expected one line of text") from None
    return text


def _is_path_like(given: Given) -> bool:
    """False where what names no file may be the secret itself, put where its file belongs: never repeated."""
    name = Path(given.raw)
    if len(name.parts) > 1:  # the Base64 of a token has slashes as well
        return name.is_absolute() or os.path.lexists(given.folder / name.parts[0])
    return name.suffix[1:].isalpha() and len(name.suffix) <= 5


def interval_floor_seconds(base_url: str) -> float:
    """No poll comes sooner after another; a cloud on this machine is a simulated one."""
    return 0.1 if readers.is_loopback(base_url) else 15.0


def _poll(given: Layer, base_url: str) -> PollConfig:
    poll = _section("poll", given, [])
    floor = interval_floor_seconds(base_url)
    least = "100ms" if floor < 1 else "15s (100ms when cloud.base_url is a loopback address)"
    _at_least(poll, given, "interval", floor, least)
    for key in ("idle_interval", "summary_interval", "charge_mode_interval"):
        interval = poll["interval_seconds"]
        _at_least(poll, given, key, interval, f"poll.interval ({readers.duration_text(interval)})")
    twice = 2 * poll["idle_interval_seconds"]
    _at_least(poll, given, "stale_after", twice, f"twice poll.idle_interval ({readers.duration_text(twice)})")
    return PollConfig(**poll)


def _at_least(poll: dict[str, Any], given: Layer, key: str, seconds: float, least: str) -> None:
    """Refuse a value below its floor; a default moves up to it."""
    name = f"{key}_seconds"
    if name not in poll:
        poll[name] = max(getattr(PollConfig(), name), seconds)
    elif poll[name] < seconds:
        where, raw, *_ = given[f"poll.{key}"]
        raise ConfigError(f"{where}: got {_quoted(raw)}, expected at least {least}")


def _web(given: Layer) -> WebConfig:
    web = _section("web", given, [])
    if web.get("listen_addresses") == ():
        raise ConfigError(
            f'{given["web.listen_address"].where}: is empty, expected an address such as ":10055"'
        )
    return WebConfig(**web)


def _control(given: Layer, tokens: list[Layer], path: Path | None, warnings: list[str]) -> ControlConfig:
    section = _section("control", given, warnings)
    given_token = section.get("token")
    named: list[ControlToken] = []
    for index, layer in enumerate(tokens):
        where = f"{path}: control.tokens[{index}]"
        fields = _fields(TOKEN_SETTINGS, layer, warnings)
        for key in ("name", "token"):
            if key not in fields:
                raise ConfigError(f"{where}: expected a name, and token_file or token")
        if fields["name"] in (DEFAULT_TOKEN_NAME, *(token.name for token in named)):
            raise ConfigError(f'{where}.name: "{fields["name"]}" is taken, expected a name of its own')
        if fields["token"] in (given_token, *(token.token for token in named)):
            raise ConfigError(f"{where}: the token of another name, expected one of its own")
        named.append(ControlToken(**fields))
    control = ControlConfig(**section, named_tokens=tuple(named))
    if control.enabled and not control.tokens:
        raise ConfigError(
            f"{given['control.enabled'].where}: control is on without a token, expected control.token_file, "
            "a file with at least 16 characters that nobody can guess"
        )
    return control


def _state_path(environ: Mapping[str, str]) -> Path | None:
    """The folder systemd made (first of a colon-separated list), else the platform's for a user."""
    if environ.get("STATE_DIRECTORY"):
        return Path(environ["STATE_DIRECTORY"].partition(":")[0])
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    if sys.platform == "darwin":
        return home / "Library/Application Support/enphase-ev-exporter" if home else None
    base = environ.get("XDG_STATE_HOME") or (home / ".local/state" if home else None)
    return Path(base) / "enphase-ev-exporter" if base else None


def _accounts(
    in_file: list[Layer], shortcut: Layer, path: Path | None, warnings: list[str], *, needed: bool
) -> tuple[AccountConfig, ...]:
    """The accounts of the file; the variables of the single account complete, or are, the only one."""
    if shortcut and len(in_file) > 1:
        raise ConfigError(
            f"{next(iter(shortcut.values())).where}: is for a single account and {path} has {len(in_file)}, "
            "expected the variable unset or one account in the file"
        )
    layers = [dict(*in_file) | shortcut] if shortcut else in_file
    if not layers and needed:
        raise ConfigError(
            f"{path or 'environment'}: no account to log in with, expected accounts in the file of "
            "--config.file, or ENPHASE_EV_EMAIL and ENPHASE_EV_PASSWORD_FILE, or "
            "ENPHASE_EV_E_AUTH_TOKEN_FILE and ENPHASE_EV_COOKIE_FILE"
        )
    accounts: list[AccountConfig] = []
    for index, given in enumerate(layers):
        account = AccountConfig(**_fields(ACCOUNT_SETTINGS, given, warnings))
        where = f"{path}: accounts[{index}]" if in_file else "environment"
        _check_login(account, where, str if in_file else variable)
        accounts.append(account)
    _check_apart(accounts, path)
    return tuple(accounts)


def _check_apart(accounts: list[AccountConfig], path: Path | None) -> None:
    """No two accounts of one name, and no site read with two."""
    names: set[str] = set()
    read_with: dict[str, str] = {}
    for index, account in enumerate(accounts):
        where = f"{path}: accounts[{index}]"
        if account.name in names:
            raise ConfigError(
                f'{where}.name: "{account.name}" is taken by another account, expected a name of its own'
            )
        names.add(account.name)
        for site_id in account.sites:
            other = read_with.setdefault(site_id, account.name)
            if other != account.name:
                raise ConfigError(
                    f'{where}.sites: "{site_id}" is read with account "{other}", expected one account'
                )


def _check_login(account: AccountConfig, where: str, spelled: Callable[[str], str]) -> None:
    captured = account.e_auth_token, account.cookie
    if any(captured) and not all(captured):
        missing = "cookie_file" if account.e_auth_token else "e_auth_token_file"
        raise ConfigError(f"{where}: half of a captured login, expected {spelled(missing)} too")
    if all(captured) or account.email:  # without a password, the `login` command has to be used
        return
    if account.password:
        raise ConfigError(f"{where}: half of a login, expected {spelled('email')} too")
    raise ConfigError(
        f"{where}: no way to log in, expected {spelled('email')} and {spelled('password_file')}, or "
        f"{spelled('e_auth_token_file')} and {spelled('cookie_file')}"
    )


def private_texts(config: Config) -> tuple[str, ...]:
    """What must never be printed: every secret, every e-mail address; for `logs.conceal`."""
    secrets: list[Secret | None] = [token for _, token in config.control.tokens]
    for account in config.accounts:
        secrets += [account.password, account.e_auth_token, account.cookie, account.access_token]
    emails = [account.email for account in config.accounts if account.email]
    return (*(secret.reveal() for secret in secrets if secret), *emails)


def masked(config: Config) -> dict[str, Any]:
    """The effective config as the file would spell it, fit to be shown to anyone."""
    sections = {
        section: {
            s.key.partition(".")[2]: _shown(getattr(getattr(config, section), s.field))
            for s in SETTINGS
            if s.key.startswith(f"{section}.")
        }
        for section in SECTIONS
    }
    accounts = [
        {s.key: _shown(getattr(account, s.field)) for s in ACCOUNT_SETTINGS} for account in config.accounts
    ]
    for account in accounts:
        if account["email"]:
            account["email"] = f"{account['email'][0]}***@***"
    if config.control.named_tokens:
        sections["control"]["tokens"] = [
            {"name": named.name, "token": str(named.token)} for named in config.control.named_tokens
        ]
    return {"accounts": accounts, **sections}


def _shown(value: object) -> Any:
    match value:
        case tuple():
            return list(value)
        case Secret() | Path():
            return str(value)
        case float():  # every number of the config with a fraction is a duration
            return readers.duration_text(value)
    return value
