"""How a good payload is made strange: pure functions on JSON, one for each kind of oddity.

Each takes the payload and the rule's parameters, may change the payload in place, and returns it.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

Params = Mapping[str, Any]
Bender = Callable[[Any, Params], Any]

SERIAL_KEYS = ("sn", "serialNumber")
STRAY_SERIAL = "482500009999"
NAMED_OFTEN = ("charging", "pluggedIn", "connectors", "chargeLevelDetails", "operatingVoltage", "session_d")


def entries(payload: Any) -> list[dict[str, Any]]:
    """The charger objects of a status or summary answer of any shape, serials included where they are."""
    if not isinstance(payload, dict):
        return []
    data = payload.get("data", payload.get("evChargerData"))
    if isinstance(data, dict) and isinstance(data.get("chargers"), list):
        data = data["chargers"]
    if isinstance(data, list):
        return [entry for entry in data if isinstance(entry, dict)]
    if isinstance(data, dict):
        is_keyed = all(key.isdigit() for key in data)
        return _dicts(list(data.values())) if is_keyed else [data]
    return []


def _chargers_list(payload: Any) -> list[Any]:
    """The list itself, for adding and taking away; an empty stray one where there is none."""
    data = payload.get("data", payload.get("evChargerData")) if isinstance(payload, dict) else None
    if isinstance(data, dict):
        data = data.get("chargers")
    return data if isinstance(data, list) else []


def wrong_types(payload: Any, _params: Params) -> Any:
    """Numbers and booleans become text, numeric text becomes numbers; serials stay."""
    for entry in entries(payload):
        _change_leaves(entry, _other_type)
    return payload


def garbage_values(payload: Any, _params: Params) -> Any:
    """Every leaf becomes something of no use; serials stay."""
    for entry in entries(payload):
        _change_leaves(entry, _garbage)
    return payload


def missing_keys(payload: Any, params: Params) -> Any:
    """Takes `keys` (default: a handful) out of every charger, at any depth."""
    keys = set(params.get("keys", NAMED_OFTEN))
    for entry in entries(payload):
        _drop(entry, keys)
    return payload


def null_fields(payload: Any, params: Params) -> Any:
    """Sets `keys` (default: all but the serial) of every charger to null."""
    keys = params.get("keys")
    for entry in entries(payload):
        for name in list(entry):
            if name not in SERIAL_KEYS and (keys is None or name in keys):
                entry[name] = None
    return payload


def empty_chargers(payload: Any, _params: Params) -> Any:
    """No charger at all, as after a session problem."""
    _chargers_list(payload).clear()
    if (
        isinstance(payload, dict)
        and isinstance(payload.get("data"), dict)
        and "chargers" not in payload["data"]
    ):
        payload["data"] = {}
    return payload


def duplicate_charger(payload: Any, params: Params) -> Any:
    """The first charger appears twice; `changes` are made to the second."""
    chargers = _chargers_list(payload)
    if chargers:
        chargers.append({**copy.deepcopy(chargers[0]), **params.get("changes", {})})
    return payload


def retired_charger(payload: Any, params: Params) -> Any:
    """One more charger, retired long ago."""
    chargers = _chargers_list(payload)
    if chargers:
        stray = copy.deepcopy(chargers[0])
        serial = params.get("serial", STRAY_SERIAL)
        stray.update({name: serial for name in SERIAL_KEYS if name in stray})
        stray["isRetired"] = True
        chargers.append(stray)
    return payload


def unknown_enum(payload: Any, params: Params) -> Any:
    """Words nobody has seen: connector state, reason and modes."""
    word = params.get("word", "WARMING_UP")
    for entry in entries(payload):
        for place in (entry, *_dicts(entry.get("connectors"))):
            for name in ("connectorStatusType", "connectorStatusReason"):
                if name in place:
                    place[name] = word
        if "mode" in entry:
            entry["mode"] = 7
        for block in _dicts(list(_mapping(entry.get("modes")).values())):
            block["chargingMode"] = word
    return payload


def energy_times(factor: float) -> Bender:
    """Session energy in another unit than this shape uses."""

    def scaled(payload: Any, _params: Params) -> Any:
        for entry in entries(payload):
            running = _mapping(entry.get("session_d"))
            if isinstance(running.get("e_c"), int | float):
                running["e_c"] = round(running["e_c"] * factor, 5)
        return payload

    return scaled


def energy_in(unit: str) -> Bender:
    """Session energy in `Wh` or `kWh`, whatever the shape's own unit is."""

    def converted(payload: Any, params: Params) -> Any:
        is_flat = isinstance(payload, dict) and "evChargerData" in payload
        if is_flat and unit == "Wh":
            return energy_times(1000.0)(payload, params)
        if not is_flat and unit == "kWh":
            return energy_times(0.001)(payload, params)
        return payload

    return converted


def fields(payload: Any, params: Params) -> Any:
    """Sets `values` in every charger; a dotted name goes down into objects and first list elements."""
    for entry in entries(payload):
        for dotted, value in params.get("values", {}).items():
            _put(entry, dotted.split("."), value)
    return payload


def clock_skew(payload: Any, params: Params) -> Any:
    """The answer's own time is `seconds` off."""
    seconds = params.get("seconds", 3600)
    if not isinstance(payload, dict):
        return payload
    meta = _mapping(payload.get("meta"))
    if isinstance(meta.get("serverTimeStamp"), int):
        meta["serverTimeStamp"] += int(seconds * 1000)
    if isinstance(payload.get("ts"), int):
        payload["ts"] += int(seconds)
    return payload


BENDERS: dict[str, Bender] = {
    "wrong_types": wrong_types,
    "garbage_values": garbage_values,
    "missing_keys": missing_keys,
    "null_fields": null_fields,
    "empty_chargers": empty_chargers,
    "duplicate_charger": duplicate_charger,
    "retired_charger": retired_charger,
    "unknown_enum": unknown_enum,
    "energy_in_wh": energy_in("Wh"),
    "energy_in_kwh": energy_in("kWh"),
    "fields": fields,
    "clock_skew": clock_skew,
}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _put(place: Any, names: list[str], value: Any) -> None:
    *path, last = names
    for name in path:
        place = place.get(name) if isinstance(place, dict) else None
        if isinstance(place, list):
            place = place[0] if place else None
    if isinstance(place, dict):
        place[last] = value


def _drop(place: Any, keys: set[str]) -> None:
    if isinstance(place, dict):
        for name in keys & place.keys():
            del place[name]
        for value in place.values():
            _drop(value, keys)
    elif isinstance(place, list):
        for value in place:
            _drop(value, keys)


def _change_leaves(place: Any, change: Callable[[Any], Any]) -> None:
    """Replaces every leaf below `place` except serials."""
    items = enumerate(place) if isinstance(place, list) else list(place.items())
    for name, value in items:
        if isinstance(value, dict | list) and value:
            _change_leaves(value, change)
        elif name not in SERIAL_KEYS:
            place[name] = change(value)


def _other_type(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and value.replace(".", "", 1).isdigit():
        return float(value) if "." in value else int(value)
    return value


def _garbage(value: Any) -> Any:
    if isinstance(value, bool):
        return "maybe"
    if isinstance(value, int | float):
        return "abc"
    if isinstance(value, str):
        return {"what": value[:3]}
    return [-1]
