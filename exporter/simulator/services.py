"""What the EV services answer once a request is let in: reads of the world, and commands that change it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.simulator import wire
from exporter.simulator.answer import Answer
from exporter.simulator.charger import SimCharger
from exporter.simulator.faults import Plan
from exporter.simulator.settings import CloudConfig
from exporter.simulator.vehicle import MODES
from exporter.simulator.world import SimSite, World

LIVE_STREAM_SECONDS = 900
TRIGGERS = {
    "Heartbeat",
    "MeterValues",
    "StatusNotification",
    "BootNotification",
    "DiagnosticsStatusNotification",
    "FirmwareStatusNotification",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as far as an answer depends on it."""

    path: str
    parts: Mapping[str, str]  # site, serial
    query: Mapping[str, str]
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    body: bytes
    plan: Plan


class Refused(Exception):
    """The request ends here with `answer`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Services:
    """One method per endpoint; `live_streams` is site id to the simulated time its live stream ends."""

    def __init__(self, world: World, config: CloudConfig) -> None:
        self._world = world
        self._config = config
        self.live_streams: dict[str, float] = {}

    # reads

    def sites(self, _asked: Asked) -> Answer:
        """Site search."""
        found = [
            {
                "id": int(site.site_id),
                "path": f"/web/{site.site_id}?v=3.4.0",
                "title": site.name,
                "favourite": False,
            }
            for site in self._world.sites.values()
        ]
        return Answer(payload={"sites": found})

    def status(self, asked: Asked) -> Answer:
        """Status on the plural path, in the shape configured or asked for by a fault."""
        site = self._site(asked)
        if self._config.singular_status:
            return wire.no_static_resource(asked.path)
        return self._status(site, asked)

    def status_singular(self, asked: Asked) -> Answer:
        """Status on the singular path, which is dead unless configured."""
        site = self._site(asked)
        if not self._config.singular_status:
            return wire.no_static_resource(asked.path)
        return self._status(site, asked)

    def status_keyed(self, asked: Asked) -> Answer:
        """The thin api/v2 status."""
        return Answer(payload=wire.status_keyed(self._site(asked), self._world.now()))

    def summary(self, asked: Asked) -> Answer:
        """Summary of a site."""
        filter_retired = asked.query.get("filter_retired", "").lower() == "true"
        payload = wire.summary_list(self._site(asked), self._world.now(), filter_retired=filter_retired)
        return Answer(payload=payload)

    def summary_of_one(self, asked: Asked) -> Answer:
        """Summary of one charger."""
        entry = wire.summary_entry(self._charger(asked), self._world.now())
        return Answer(payload=wire.envelope(entry, self._world.now()))

    def last_reported(self, asked: Asked) -> Answer:
        """When each charger was last heard of."""
        return Answer(payload=wire.last_reported(self._site(asked), self._world.now()))

    def charge_mode(self, asked: Asked) -> Answer:
        """The scheduler's preference."""
        return Answer(payload=wire.charge_mode(self._charger(asked), self._world.now()))

    def healthcheck(self, _asked: Asked) -> Answer:
        """Needs no login."""
        return Answer(payload={"STATUS": "UP", "VERSION": "26.3.2", "ENVIRONMENT": "production"})

    # commands

    def start_live_stream(self, asked: Asked) -> Answer:
        """Grants a live stream; status gets no fresher by it, as in the real cloud."""
        site, now = self._site(asked), self._world.now()
        self.live_streams[site.site_id] = now + LIVE_STREAM_SECONDS
        topics = [f"v1/evse/prod/live-stream/{serial}" for serial in site.chargers]
        data = {"liveStreamTopicList": topics, "liveStreamDuration": LIVE_STREAM_SECONDS}
        return Answer(payload=wire.envelope(data, now))

    def stop_live_stream(self, asked: Asked) -> Answer:
        """`data: null` is success here."""
        self.live_streams.pop(self._site(asked).site_id, None)
        return Answer(payload=wire.envelope(None, self._world.now()))

    def start_charging(self, asked: Asked) -> Answer:
        """Starts, at a level when one is given."""
        charger, asked_for = self._charger(asked), _json_object(asked.body)
        level = asked_for.get("chargingLevel", asked_for.get("charging_level"))
        if not charger.plugged_in:
            return self._refusal(400, "Charger is not plugged in", "iqevc_ms-10008")
        if charger.charging and level is None:
            return self._refusal(400, "Charger is already in charging state", "iqevc_ms-10012")
        if level is not None and not charger.region.min_amps <= int(level) <= charger.region.max_amps:
            return self._refusal(400, "Charging level out of range")
        charger.start(None if level is None else int(level))
        return Answer(payload={"status": "accepted", "chargingLevel": charger.amps})

    def stop_charging(self, asked: Asked) -> Answer:
        """Stops; nothing to stop is a 400."""
        charger = self._charger(asked)
        if not charger.plugged_in:
            return self._refusal(400, "Charger is not plugged in", "iqevc_ms-10008")
        charger.stop()
        return Answer(payload={"status": "accepted"})

    def trigger_message(self, asked: Asked) -> Answer:
        """An OCPP message; MeterValues makes the charger report now."""
        charger = self._charger(asked)
        message = _json_object(asked.body).get("requestedMessage")
        if message not in TRIGGERS:
            return self._refusal(400, "Unsupported message")
        if message == "MeterValues":
            charger.report()
        return Answer(payload=wire.envelope({"status": "accepted"}, self._world.now()))

    def set_charge_mode(self, asked: Asked) -> Answer:
        """Changes the preference; the mode already set is a 400, as in the real cloud."""
        charger, mode = self._charger(asked), _json_object(asked.body).get("mode")
        if mode not in MODES or mode == charger.mode:
            return self._refusal(400, "Mode cannot be set")
        charger.mode = mode
        return Answer(payload=wire.charge_mode(charger, self._world.now()))

    # small parts

    def _status(self, site: SimSite, asked: Asked) -> Answer:
        shape = asked.plan.shape or self._config.shape
        make = {"flat": wire.status_flat, "keyed": wire.status_keyed}.get(shape, wire.status_enveloped)
        return Answer(payload=make(site, self._world.now()))

    def _site(self, asked: Asked) -> SimSite:
        site = self._world.site(asked.parts["site"])
        if site is None:
            raise Refused(self._refusal(self._config.unknown_site_status, "Invalid site"))
        return site

    def _charger(self, asked: Asked) -> SimCharger:
        charger = self._site(asked).chargers.get(asked.parts["serial"])
        if charger is None:
            raise Refused(self._refusal(404, "Charger not found"))
        return charger

    def _refusal(self, status: int, message: str, code: str | None = None) -> Answer:
        return wire.refusal(status, message, self._world.now(), code)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
