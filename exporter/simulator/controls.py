"""The commands: which ways to ask work, when the cloud refuses, and what it passes on to the charger.

An accepted command is queued: the charger carries it out after `CloudConfig.command_lag_seconds`.
"""

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from exporter.simulator import wire
from exporter.simulator.answer import Answer, empty
from exporter.simulator.charger import SimCharger
from exporter.simulator.orders import Order
from exporter.simulator.services import Asked, Refused, Services
from exporter.simulator.settings import AcceptedAs, CloudConfig
from exporter.simulator.vehicle import MODES, SCHEDULED
from exporter.simulator.world import World

COMMANDS = frozenset({"start_charging", "stop_charging", "trigger_message", "set_charge_mode"})
NOT_PLUGGED = "iqevc_ms-10008"
ALREADY_CHARGING = "iqevc_ms-10012"
NO_SCHEDULES = "iqevc_sch_10031"
TRIGGERS = {
    "Heartbeat",
    "MeterValues",
    "StatusNotification",
    "BootNotification",
    "DiagnosticsStatusNotification",
    "FirmwareStatusNotification",
}
REPORTING_TRIGGERS = {"MeterValues", "StatusNotification"}
BODILESS = {"no_content": 204, "reset_content": 205, "empty": 200}


class Variant(NamedTuple):
    """One way to ask: verb, folder of the path, and the keys of the body (None: the body is not read)."""

    method: str
    folder: str
    keys: frozenset[str] | None


_CAMEL = frozenset({"chargingLevel", "connectorId"})
_SNAKE = frozenset({"charging_level", "connector_id"})
_NO_KEYS: frozenset[str] = frozenset()

STARTS = (
    Variant("POST", "ev_chargers", _CAMEL),
    Variant("PUT", "ev_chargers", _CAMEL),
    Variant("POST", "ev_charger", _CAMEL),
    Variant("POST", "ev_chargers", _SNAKE),
    Variant("POST", "ev_chargers", frozenset({"connectorId"})),
    Variant("POST", "ev_chargers", _NO_KEYS),
    Variant("POST", "ev_charger", _NO_KEYS),
    Variant("POST", "ev_chargers", frozenset({"chargingLevel"})),
)
STOPS = (
    Variant("PUT", "ev_chargers", None),
    Variant("POST", "ev_chargers", None),
    Variant("POST", "ev_charger", None),
)


class Controls:
    """One method per command."""

    def __init__(self, services: Services, world: World, config: CloudConfig) -> None:
        self._services = services
        self._world = world
        self._config = config

    def start(self, asked: Asked) -> Answer:
        """Starts, at a level when one is given; while charging a new level is stored for the next start."""
        _admit_variant(asked, STARTS, self._config.start_variants, self._services)
        charger, level = self._services.charger(asked), self._level(asked)
        self._refuse_start(charger, level)
        order = Order("start", level, in_place=not self._config.levels_need_restart)
        charger.order(order, delay_seconds=self._config.command_lag_seconds)
        shown = charger.amps if level is None else level
        return self._accepted({"status": "accepted", "chargingLevel": shown})

    def stop(self, asked: Asked) -> Answer:
        """Stops; the charger may have been waiting only, for the sun or its schedule."""
        _admit_variant(asked, STOPS, self._config.stop_variants, self._services)
        charger = self._services.charger(asked)
        if charger.connected and not charger.is_to_charge:
            code = None if charger.plugged_in else NOT_PLUGGED
            raise self._refused(self._config.nothing_to_stop_status, "There is nothing to stop", code)
        order = Order("stop", resumes_after_seconds=self._config.green_resumes_after_seconds)
        charger.order(order, delay_seconds=self._config.command_lag_seconds)
        return self._accepted({"status": "accepted"})

    def trigger(self, asked: Asked) -> Answer:
        """An OCPP message; MeterValues and StatusNotification make the charger report."""
        charger, word = self._services.charger(asked), self._config.trigger_word
        message = (_json_object(asked.body) or {}).get("requestedMessage")
        if not isinstance(message, str) or message not in TRIGGERS:
            raise self._refused(400, "Unsupported message")
        if message in REPORTING_TRIGGERS and word.lower() == "accepted":
            charger.order(Order("report"), delay_seconds=self._config.command_lag_seconds)
        own = wire.triggered_flat(word, message, self._world.now())
        is_flat = self._services.shape(asked) == "flat"
        return self._accepted(own, default="seed" if is_flat else "enveloped")

    def set_mode(self, asked: Asked) -> Answer:
        """Changes the preference; the mode already set is a 400, as in the real cloud."""
        charger, mode = self._services.charger(asked), (_json_object(asked.body) or {}).get("mode")
        if mode not in MODES or mode == charger.mode_asked_for:
            raise self._refused(400, "Mode cannot be set")
        if mode == SCHEDULED and not charger.has_schedules:
            raise self._refused(400, "No Schedules enabled", NO_SCHEDULES)
        charger.prefer(mode, delay_seconds=self._config.mode_lag_seconds)
        if self._config.mode_put_400_though_applied:
            raise self._refused(400, "Mode cannot be set")
        return Answer(payload=wire.charge_mode(mode, self._world.now()))

    # small parts

    def _level(self, asked: Asked) -> int | None:
        """The level asked for, in either spelling; raises Refused for what is no whole number."""
        body = _json_object(asked.body) or {}
        connector = body.get("connectorId", body.get("connector_id", 1))
        levels = [body[key] for key in ("chargingLevel", "charging_level") if key in body]
        if connector != 1 or any(type(level) is not int for level in levels):
            raise self._refused(400, "Request parameters are not valid")
        return levels[0] if levels else None

    def _refuse_start(self, charger: SimCharger, level: int | None) -> None:
        """Raises Refused by what the cloud knows; of an offline charger it knows too little to refuse."""
        config, region = self._config, charger.region
        if charger.connected and not charger.plugged_in:
            raise self._refused(config.not_plugged_status, "Charger is not plugged in", NOT_PLUGGED)
        if level is not None and charger.levels_refused:
            raise self._refused(500, "Invalid charge level")
        if level is not None and not region.min_amps <= level <= region.max_amps:
            raise self._refused(400, "Charging level out of range")
        is_charging = charger.connected and charger.charging and charger.is_to_charge
        if is_charging and level in {None, charger.amps}:
            if config.repeated_start_status == 404:
                raise self._refused(404, "No such transaction")
            raise self._refused(400, "Charger is already in charging state", ALREADY_CHARGING)

    def _accepted(self, seed: dict[str, Any], *, default: AcceptedAs = "seed") -> Answer:
        how = self._config.accepted_as or default
        if how == "seed":
            return Answer(payload=seed)
        if how == "enveloped":
            return Answer(payload=wire.envelope({"status": seed["status"]}, self._world.now()))
        if how == "official":
            return Answer(202, {"message": "Request sent successfully"})
        return empty(BODILESS[how])

    def _refused(self, status: int, message: str, code: str | None = None) -> Refused:
        return Refused(self._services.refusal(status, message, code))


def _admit_variant(
    asked: Asked, variants: Sequence[Variant], working: AbstractSet[int], services: Services
) -> None:
    """Raises Refused for a way to ask that does not work: 404 no route, 405 wrong verb, 400 unknown keys."""
    here = [one for index, one in enumerate(variants) if index in working and f"/{one.folder}/" in asked.path]
    if not here:
        raise Refused(wire.no_static_resource(asked.path))
    fitting = [one for one in here if one.method == asked.method]
    if not fitting:
        raise Refused(wire.method_not_allowed(asked.path))
    body = _json_object(asked.body)
    if all(one.keys is not None and (body is None or one.keys != body.keys()) for one in fitting):
        raise Refused(services.refusal(400, "Request body is not valid"))


def _json_object(body: bytes) -> dict[str, Any] | None:
    """No body is an empty object; None when it is something else."""
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
