"""The tables of docs/configuration.md, made of the settings: `make docs` writes them into the page.

A table stands between `<!-- settings: NAME -->` and `<!-- end -->`; what is around them is written by hand.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from exporter.config import masked
from exporter.sections import AccountConfig, Config
from exporter.settings import ACCOUNT_SETTINGS, SETTINGS, TOKEN_SETTINGS, Setting, variable

_TABLE = re.compile(r"(?<=<!-- settings: )(?P<name>[a-z, ]+) -->\n.*?(?=<!-- end -->)", re.DOTALL)
_HEAD = "| key | variable | flag | default | meaning |\n| --- | --- | --- | --- | --- |\n"

_ACCOUNTS = "accounts[]."
_TOKENS = "control.tokens[]."
_A_FILE_WITH_IT = "a file with it"

# What a default depends on, or is where the value itself is none.
_DEFAULTS = {
    "poll.idle_interval": ", or `poll.interval` if that is longer",
    "poll.summary_interval": ", or `poll.interval` if that is longer",
    "poll.charge_mode_interval": ", or `poll.interval` if that is longer",
    "poll.stale_after": ", or twice `poll.idle_interval` if that is longer",
    "state.path": ": `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/enphase-ev-exporter`, else "
    "`~/.local/state/enphase-ev-exporter`",
}

MEANINGS = {
    "accounts[].name": "the `account` label; has no `@`, so that it is no e-mail address",
    "accounts[].email": "the Enlighten login",
    "accounts[].password": "its password",
    "accounts[].e_auth_token": "captured `e-auth-token` header",
    "accounts[].cookie": "captured `Cookie` header, the whole of it",
    "accounts[].access_token": "captured bearer token; may be left out",
    "accounts[].sites": "site ids, digits only; none: every site the account can see",
    "poll.interval": "between status requests while a car is plugged in; at least `15s`, or `100ms` "
    "when `cloud.base_url` is a loopback address",
    "poll.idle_interval": "the same while no car is plugged in",
    "poll.summary_interval": "between summary requests",
    "poll.charge_mode_interval": "between charge mode requests",
    "poll.align": "`scrape`: polls land just before Prometheus asks; `clock`: on the wall clock's multiples "
    "of the interval; `none`: an interval after the last one",
    "poll.request_timeout": "limit of one request, `1s` to `2m`",
    "poll.stale_after": "without a good status for so long, a site's charger series go away; at least twice "
    "`poll.idle_interval`",
    "poll.max_requests_per_hour": "budget of one account, shared by its sites; intervals stretch to fit",
    "poll.live_stream": "when to ask for a burst of rapid updates: `never`, `on_command`, `on_change`, "
    "`while_charging`",
    "cloud.base_url": "address of the cloud; `http://` only on a loopback address",
    "cloud.entrez_url": "address of its older login surface",
    "state.path": "folder for what outlives a restart ([state.md](state.md))",
    "web.listen_address": "one or more addresses: `:10055`, `127.0.0.1:10055`, `[::1]:10055`; port 0 is any "
    "free one",
    "web.telemetry_path": "path of the metrics",
    "web.config_file": "TLS, client certificates and passwords ([web-config.md](web-config.md))",
    "control.enabled": "offers `/api/v1` ([control-api.md](control-api.md)); needs a token",
    "control.token": "bearer token of the control API, 16 characters or more; the log calls it `default`",
    "control.command_limit": "so many commands to one charger in a window; a stop goes through while the "
    "charger may be charging",
    "control.command_limit_window": "that window",
    "control.dry_run": "commands are checked and answered with what would be sent; nothing is",
    "control.amps_while_charging": "what new amps do while a car charges: `next_session`: sent, and the "
    "answer says that they count from the next charging session; `restart`: stop, wait, start; `refuse`",
    "control.tokens[].name": "what the log calls a command that came with this token",
    "control.tokens[].token": "a token like `control.token`",
    "log.level": "`debug`, `info`, `warning`, `error`",
    "log.format": "`logfmt`, `json`",
}


def rewritten(page: str) -> str:
    """The page with every table as the settings have it now; KeyError for a table of no setting."""
    return _TABLE.sub(lambda match: f"{match['name']} -->\n{_HEAD}{_rows_of(match['name'])}", page)


def _rows_of(name: str) -> str:
    groups = {"accounts": _account_rows, "tokens": _token_rows}
    if name in groups:
        return "".join(groups[name]())
    sections = {section: list(_section_rows(section)) for section in name.split(", ")}
    if empty := [section for section, rows in sections.items() if not rows]:
        raise KeyError(empty[0])
    return "".join(row for rows in sections.values() for row in rows)


def _section_rows(section: str) -> Iterable[str]:
    shown = masked(Config((AccountConfig(),)))
    for setting in SETTINGS:
        here, _, key = setting.key.partition(".")
        if here == section:
            default = _default_text(shown[section][key]) + _DEFAULTS.get(setting.key, "")
            yield from _setting_rows(setting, default)


def _account_rows() -> Iterable[str]:
    account = masked(Config((AccountConfig(),)))["accounts"][0]
    for setting in ACCOUNT_SETTINGS:
        yield from _setting_rows(setting, _default_text(account[setting.key]), _ACCOUNTS, has_flag=False)


def _token_rows() -> Iterable[str]:
    for setting in TOKEN_SETTINGS:
        for spelling in setting.spellings:
            meaning = _meaning(_TOKENS + setting.key, is_file=spelling != setting.key)
            yield f"| `{_TOKENS}{spelling}` | | | none | {meaning} |\n"


def _setting_rows(
    setting: Setting, default: str, prefix: str = "", *, has_flag: bool = True
) -> Iterable[str]:
    """A row for the key, and one for the key of its file where it has one: the flag belongs to the last."""
    for spelling in setting.spellings:
        flag = f"`{setting.flag}` |" if has_flag and spelling == setting.spellings[-1] else "|"
        meaning = _meaning(prefix + setting.key, is_file=spelling != setting.key)
        cells = f"| `{prefix}{spelling}` | `{variable(spelling)}` | {flag}"
        yield f"{cells} {'none' if spelling != setting.key else default} | {meaning} |\n"


def _meaning(key: str, *, is_file: bool) -> str:
    return _A_FILE_WITH_IT if is_file else MEANINGS[key]


def _default_text(value: object) -> str:
    """A default as the page shows it: 'none' where there is none."""
    match value:
        case None | []:
            return "none"
        case str():
            return f"`{value}`"
        case list():
            return ", ".join(f"`{item}`" for item in value)
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
