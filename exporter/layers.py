"""File, environment and flags, each in its own spelling → {key: Given}; nothing is understood yet.

Scalars of the YAML file stay text, as they are in the environment: `password: 0123` is four characters and
`interval: 30` lacks its unit, in either place.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from exporter.errors import ConfigError
from exporter.settings import (
    ACCOUNT_SETTINGS,
    PREFIX,
    SECTIONS,
    SETTINGS,
    TOKEN_SETTINGS,
    Setting,
    variable,
)

FILE_VARIABLE = "ENPHASE_EV_CONFIG_FILE"

# A Kubernetes Service called enphase-ev-exporter gives pods ENPHASE_EV_EXPORTER_PORT=tcp://… and more.
_SERVICE_LINK = re.compile(
    r"\w+(_SERVICE_(HOST|PORT(_\w+)?)|_PORT_\d+_(TCP|UDP|SCTP)_\w+)=.*|\w+=(tcp|udp|sctp)://.*"
)


class Given(NamedTuple):
    """What one place says about one key, before it is understood."""

    where: str  # file and key, variable, or flag
    raw: Any
    folder: Path = Path()  # where a relative path in it starts
    holds_path: bool = False  # raw is the path of the file with the value


Layer = dict[str, Given]  # by Setting.key


def _mapping(content: object, where: str) -> dict[Any, Any]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected `key: value` lines, got {shape(content)}")
    return content


def shape(raw: object) -> str:
    """What kind of YAML this is, in words."""
    if isinstance(raw, list):
        return "a list"
    return "keys and values" if isinstance(raw, dict) else "a single value"


def _unknown(where: str, word: str, known: Iterable[str]) -> ConfigError:
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)[0]
    return ConfigError(
        f"{where}: is not a setting, expected {nearest} or another one of docs/configuration.md"
    )


class FileLayers(NamedTuple):
    """What the file says: its sections, each of its accounts, each of control's named tokens."""

    settings: Layer
    accounts: list[Layer]
    tokens: list[Layer]


def file_layers(path: Path, warnings: list[str]) -> FileLayers:
    """Everything the file says."""
    from exporter.document import load_document  # with its library a tenth of the start, and often no file

    document = _mapping(load_document(path), str(path))
    accounts = _entries(document, "accounts", path, "accounts", ACCOUNT_SETTINGS)
    tokens: list[Layer] = []
    spelled: Layer = {}
    for section, content in document.items():
        if section not in SECTIONS:
            raise _unknown(f"{path}: {section}", str(section), ("accounts", *SECTIONS))
        fields = dict(_mapping(content, f"{path}: {section}"))
        if section == "control":
            tokens = _entries(fields, "tokens", path, "control.tokens", TOKEN_SETTINGS)
        for key, raw in fields.items():
            spelled[f"{section}.{key}"] = Given(f"{path}: {section}.{key}", raw, path.parent)
    layers = FileLayers(_layer(spelled, SETTINGS), accounts, tokens)
    if any(_holds_secret(layer) for layer in (layers.settings, *accounts, *tokens)):
        warnings += readable_by_others(path)
    return layers


def _entries(
    fields: dict[Any, Any], key: str, path: Path, place: str, settings: Iterable[Setting]
) -> list[Layer]:
    """Take a list of entries out of what holds it."""
    entries = fields.pop(key, None) or []
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: {place}: expected a list, each entry begun with a dash")
    return [_entry_layer(path, f"{place}[{i}]", entry, settings) for i, entry in enumerate(entries)]


def _entry_layer(path: Path, place: str, entry: object, settings: Iterable[Setting]) -> Layer:
    fields = _mapping(entry, f"{path}: {place}").items()
    spelled = {str(key): Given(f"{path}: {place}.{key}", raw, path.parent) for key, raw in fields}
    return _layer(spelled, settings)


def _holds_secret(layer: Layer) -> bool:
    secret = {setting.key for setting in (*SETTINGS, *ACCOUNT_SETTINGS) if setting.secret}
    return any(key in secret and not given.holds_path for key, given in layer.items())


def environment_layers(environ: Mapping[str, str]) -> tuple[Layer, Layer]:
    """What the variables say: of sections, and of the single account; an empty variable says nothing."""
    known = {
        variable(spelling): (setting, spelling)
        for setting in (*SETTINGS, *ACCOUNT_SETTINGS)
        for spelling in setting.spellings
    }
    top: Layer = {}
    account: Layer = {}
    for name, text in environ.items():
        ours = name.startswith(PREFIX) and name != FILE_VARIABLE
        if not ours or not text or _SERVICE_LINK.fullmatch(f"{name}={text}"):
            continue
        if name not in known:
            raise _unknown(name, name, (*known, FILE_VARIABLE))
        setting, spelling = known[name]
        layer = top if "." in spelling else account
        parts = [part.strip() for part in text.split(",") if part.strip()]
        layer[spelling] = Given(name, parts if setting.many else text)
    return _layer(top, SETTINGS), _layer(account, ACCOUNT_SETTINGS)


def flag_layer(flags: Mapping[str, str | list[str]]) -> Layer:
    """What the command line says."""
    names = {setting.spellings[-1]: setting.flag for setting in SETTINGS}
    return _layer({key: Given(names[key], raw) for key, raw in flags.items()}, SETTINGS)


def _layer(spelled: Layer, settings: Iterable[Setting]) -> Layer:
    """Fold the two spellings of a secret into one, drop what is null, refuse what is unknown."""
    known = {spelling: setting for setting in settings for spelling in setting.spellings}
    layer: Layer = {}
    for spelling, given in spelled.items():
        if spelling not in known:
            raise _unknown(given.where, spelling, known)
        key = known[spelling].key
        if given.raw is None:
            continue
        if key in layer:
            raise ConfigError(f"{given.where}: is given beside {layer[key].where}, expected one of the two")
        layer[key] = given._replace(holds_path=spelling != key)
    return layer


def readable_by_others(path: Path) -> list[str]:
    """A warning when a file with a secret can be read by group or world."""
    stat = path.stat()
    mode = stat.st_mode & 0o777
    # Kubernetes mounts secrets as root's, for us to read as a member of the group: that is no other.
    through_group = stat.st_uid != os.geteuid() and stat.st_gid in (os.getegid(), *os.getgroups())
    if not mode & (0o004 if through_group else 0o044):
        return []
    return [f"{path}: holds a secret and others can read it (mode {mode:04o}), expected mode 0600"]
