"""The `diagnostics` command: one JSON file about an exporter that can be attached to a public issue.

No value in it comes from outside without having been masked: settings are shown where they are durations,
counts, switches or choices, the rest by kind; payloads by shape; serials, sites, names and addresses as
pseudonyms. It needs neither a running exporter nor the cloud, and says what it has not seen.
"""

import asyncio
import json
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from exporter import __version__, readers
from exporter.check import check_offline
from exporter.config import CloudConfig, Config, masked
from exporter.doctor import Finding, of_cloud
from exporter.doctor_disk import is_state_held, state_facts
from exporter.errors import ExporterError
from exporter.layers import FileLayers, environment_layers, file_layers, flag_layer
from exporter.pseudonyms import Pseudonyms
from exporter.recent_errors import read_recent
from exporter.running import Running, Sample, ask_running, why_another
from exporter.seen import Seen
from exporter.settings import SETTINGS, Setting
from exporter.shapes_of import shape_of_body

# Labels that hold words of this program or numbers of HTTP, never anything of an owner.
_OPEN_LABELS = frozenset(
    {"endpoint", "code", "kind", "result", "status", "problem", "command", "version", "revision", "le"}
    | {"python_version", "implementation", "major", "minor", "patchlevel", "generation"}
)
_PSEUDONYMS = {
    "site_id": "site",
    "serial": "charger",
    "account": "account",
    "name": "name",
    "ip_address": "ip",
}
# Of a charger only what it is and does: figures and times would tell when its owner is at home.
_CHARGER_FAMILIES = ("info", "connected", "connector_status", "charge_mode", "running_charge_mode")
_CHARGER = "enphase_ev_charger_"
_SHOWN_AT_ZERO = frozenset({"enphase_ev_up", "enphase_ev_auth_up", "enphase_ev_charger_connected"})
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,4}[a-z]{0,4}[0-9]{0,2}")
_OPEN_READERS = (readers.duration, readers.count, readers.switch, readers.choice)


def diagnostics(
    config: Config,
    given: Mapping[str, str],
    warnings: Sequence[str],
    *,
    online: bool,
) -> str:
    """The file's text. `given` is of `given_settings`; `warnings` are those of loading the config."""
    bodies: dict[str, bytes] = {}
    names = Pseudonyms()
    _know_config(names, config)
    running = ask_running(config)
    seen = asyncio.run(_look(config, bodies)) if online else None
    is_another = bool(why_another(running, config, is_state_held(config.state.path)))
    if running is not None and not is_another:
        _know_samples(names, running.samples)
    findings = [*check_offline(config, warnings).findings]
    if isinstance(seen, Seen):
        _know_seen(names, seen)
        findings += of_cloud(seen, time.time())
    document = {
        "about": "made by `enphase-ev-exporter diagnostics`; look through it before you share it",
        "version": __version__,
        "python": platform.python_version(),
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "container": Path("/.dockerenv").exists() or "KUBERNETES_SERVICE_HOST" in os.environ,
        },
        "config": _config(config, given),
        "accounts": [_account(account) for account in masked(config)["accounts"]],
        "state": _state(config, names),
        "findings": [_finding(one, names) for one in findings],
        "exporter": _another() if is_another else _running(running, names),
        "payload_shapes": _shapes(seen, bodies, names),
        "recent_errors": _recent(config, names),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


async def _look(config: Config, bodies: dict[str, bytes]) -> Seen | ExporterError:
    from exporter.once import look

    try:
        return await look(config, heard=bodies.__setitem__, everything=True)
    except ExporterError as error:
        return error


# -- what is private ---------------------------------------------------------------------------------------


def _know_config(names: Pseudonyms, config: Config) -> None:
    for account in config.accounts:
        names.of("account", account.name)
        names.of("email", account.email or "")
        for site_id in account.sites:
            names.of("site", site_id)
    default = CloudConfig()
    for url, usual in (
        (config.cloud.base_url, default.base_url),
        (config.cloud.entrez_url, default.entrez_url),
    ):
        if url != usual:
            names.of("host", urlsplit(url).hostname or "")
    for address in config.web.listen_addresses:
        names.of("host", readers.host_and_port(address)[0])
    for token, _ in config.control.tokens:
        names.of("token", token)
    if config.state.path is not None:
        names.of("folder", str(config.state.path))
    if config.web.config_file is not None:
        names.of("file", str(config.web.config_file))


def _know_seen(names: Pseudonyms, seen: Seen) -> None:
    for account in seen.accounts:
        for entry in account.visible or ():
            names.of("site", entry.site_id)
            names.of("name", entry.name or "")
    for _, charger in seen.chargers():
        names.of("charger", charger.serial)
        names.of("name", charger.name or "")
        if charger.network is not None:
            names.of("ip", charger.network.ip_address)


def _know_samples(names: Pseudonyms, samples: Sequence[Sample]) -> None:
    for sample in samples:
        for label, kind in _PSEUDONYMS.items():
            names.of(kind, sample.labels.get(label, ""))


# -- config and state --------------------------------------------------------------------------------------


def given_settings(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, str | list[str]]
) -> dict[str, str]:
    """Where each key that was given came from: file, environment or flag. Raises ConfigError."""
    in_file = file_layers(path, []) if path else FileLayers({}, [], [])
    from_environment, account = environment_layers(environ)
    given = dict.fromkeys(in_file.settings, "file") | dict.fromkeys(from_environment, "environment")
    given |= {f"accounts[{i}].{key}": "file" for i, layer in enumerate(in_file.accounts) for key in layer}
    given |= {f"accounts[0].{key}": "environment" for key in account}
    return given | dict.fromkeys(flag_layer(flags), "flag")


def _config(config: Config, given: Mapping[str, str]) -> dict[str, Any]:
    """Every key that was given: from where, and its value or its kind."""
    effective = masked(config)
    rows = {setting.key: setting for setting in SETTINGS}
    shown = {}
    for key, where in given.items():
        section, _, name = key.partition(".")
        value = _shown(rows[key], effective[section][name]) if key in rows else "given"
        shown[key] = {"from": where, "value": value}
    shown["cloud"] = {"from": "effective", "value": _cloud(config)}
    return shown


def _shown(setting: Setting, value: object) -> object:
    read = getattr(setting.read, "func", setting.read)
    if read in _OPEN_READERS:
        return value
    if isinstance(value, list):
        return f"list of {len(value)}"
    return "secret" if setting.secret else "given"


def _cloud(config: Config) -> str:
    if config.cloud == CloudConfig():
        return "the default"
    return "a loopback address" if readers.is_loopback(config.cloud.base_url) else "another host"


def _account(fields: Mapping[str, object]) -> dict[str, object]:
    """The keys of an account that have a value; of its sites, how many."""
    return {
        key: f"list of {len(value)}" if isinstance(value, list) else "given"
        for key, value in fields.items()
        if value
    }


def _state(config: Config, names: Pseudonyms) -> dict[str, Any]:
    if config.state.path is None:
        return {"folder": "none"}
    try:
        facts = asdict(state_facts(config.state.path))
        refusal = facts.pop("refusal")
    except OSError as error:
        return {"folder": "unreadable", "why": error.strerror}
    return {
        **facts,
        "is_writable": not refusal,
        "refusal": os.strerror(refusal) if refusal else "",
        "damage": names.scrubbed(facts["damage"]),
        "owner_is_caller": None if facts["owner_uid"] is None else facts["owner_uid"] == os.geteuid(),
    }


def _finding(one: Finding, names: Pseudonyms) -> dict[str, str]:
    return {
        "level": one.level.value,
        "subject": names.scrubbed(one.subject),
        "words": names.scrubbed(one.words),
    }


# -- what runs and what was received -----------------------------------------------------------------------


def _another() -> dict[str, Any]:
    return {"asked": True, "why": "another exporter answered; its counters are left out"}


def _running(running: Running | None, names: Pseudonyms) -> dict[str, Any]:
    if running is None:
        return {"asked": False, "why": "its port is chosen by the system"}
    told = {"asked": True, "status": running.status, "ready": running.is_ready}
    if running.status == 0:
        return {**told, "why": names.scrubbed(running.why)}
    return {
        **told,
        "why_not_ready": [names.scrubbed(line) for line in running.ready.splitlines()],
        "samples": [line for sample in running.samples if (line := _sample(sample, names))],
    }


def _sample(sample: Sample, names: Pseudonyms) -> str | None:
    """One series as text; None for those that are left out."""
    name = sample.name
    if name.startswith(_CHARGER) and not name.removeprefix(_CHARGER).startswith(_CHARGER_FAMILIES):
        return None
    if name.endswith("_bucket") or (not sample.value and name not in _SHOWN_AT_ZERO):
        return None
    labels = ",".join(f'{key}="{_label(key, text, names)}"' for key, text in sample.labels.items())
    return f"{name}{{{labels}}} {sample.value:.12g}"


def _label(key: str, text: str, names: Pseudonyms) -> str:
    if key in _PSEUDONYMS:
        return names.of(_PSEUDONYMS[key], text)
    if key in _OPEN_LABELS or (key.endswith("_version") and _VERSION.fullmatch(text)):
        return text
    return names.plain(text)


def _shapes(seen: Seen | ExporterError | None, bodies: Mapping[str, bytes], names: Pseudonyms) -> object:
    if seen is None:
        return "not asked for: run with --online, or see the shapes with the recent errors"
    if isinstance(seen, ExporterError):
        return f"not asked for: {names.scrubbed(str(seen))}"
    errors = [names.scrubbed(str(one.error)) for one in seen.accounts if one.error is not None]
    return {**{endpoint: shape_of_body(body) for endpoint, body in bodies.items()}, "errors": errors}


def _recent(config: Config, names: Pseudonyms) -> list[dict[str, Any]]:
    if config.state.path is None:
        return []
    try:
        return [_entry(entry, names) for entry in read_recent(config.state.path)]
    except OSError as error:
        return [{"msg": f"they cannot be read: {error.strerror}"}]


def _entry(entry: Mapping[str, Any], names: Pseudonyms) -> dict[str, Any]:
    return {key: _field(key, value, names) for key, value in entry.items()}


def _field(key: str, value: Any, names: Pseudonyms) -> Any:
    if key in ("ts", "level", "logger", "shape", "shape_of"):
        return value
    if key in _PSEUDONYMS and isinstance(value, str):
        return names.of(_PSEUDONYMS[key], value)
    if key in ("exc", "stack"):
        return names.traceback(str(value))
    return names.scrubbed(value) if isinstance(value, str) else value
