"""What the EV services answer once a request is let in: reads of the world, and the live stream."""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.simulator import wire
from exporter.simulator.answer import Answer
from exporter.simulator.charger import SimCharger
from exporter.simulator.faults import Plan
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import SimSite, World

LIVE_STREAM_SECONDS = 900
FLAT_LIVE_STREAM_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as far as an answer depends on it."""

    method: str
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
        entry = wire.summary_entry(self.charger(asked), self._world.now())
        return Answer(payload=wire.envelope(entry, self._world.now()))

    def last_reported(self, asked: Asked) -> Answer:
        """When each charger was last heard of."""
        return Answer(payload=wire.last_reported(self._site(asked), self._world.now()))

    def charge_mode(self, asked: Asked) -> Answer:
        """The scheduler's preference."""
        return Answer(payload=wire.charge_mode(self.charger(asked).mode, self._world.now()))

    def healthcheck(self, _asked: Asked) -> Answer:
        """Needs no login."""
        return Answer(payload={"STATUS": "UP", "VERSION": "26.3.2", "ENVIRONMENT": "production"})

    # live stream

    def start_live_stream(self, asked: Asked) -> Answer:
        """Grants a live stream; status gets no fresher by it, as in the real cloud."""
        site, now = self._streaming_site(asked), self._world.now()
        is_flat = self.shape(asked) == "flat"
        usual = FLAT_LIVE_STREAM_SECONDS if is_flat else LIVE_STREAM_SECONDS
        configured = self._config.live_stream_seconds
        seconds = usual if configured is None else configured
        self.live_streams[site.site_id] = now + seconds
        if is_flat:
            return Answer(payload=wire.live_stream_flat(site.chargers, seconds))
        return Answer(payload=wire.live_stream(site.chargers, seconds, now))

    def stop_live_stream(self, asked: Asked) -> Answer:
        """`data: null` is success here."""
        self.live_streams.pop(self._streaming_site(asked).site_id, None)
        if self.shape(asked) == "flat":
            return Answer(payload={"status": "accepted"})
        return Answer(payload=wire.envelope(None, self._world.now()))

    # for the commands too

    def charger(self, asked: Asked) -> SimCharger:
        """The charger asked about, up to date; raises Refused when there is none."""
        charger = self._site(asked).chargers.get(asked.parts["serial"])
        if charger is None:
            raise Refused(self.refusal(404, "Charger not found"))
        return charger

    def shape(self, asked: Asked) -> str:
        """The shape to answer in: flat, enveloped or keyed."""
        return asked.plan.shape or self._config.shape

    def refusal(self, status: int, message: str, code: str | None = None) -> Answer:
        """A refusal in the envelope, now."""
        return wire.refusal(status, message, self._world.now(), code)

    # small parts

    def _status(self, site: SimSite, asked: Asked) -> Answer:
        makers = {"flat": wire.status_flat, "keyed": wire.status_keyed}
        make = makers.get(self.shape(asked), wire.status_enveloped)
        return Answer(payload=make(site, self._world.now()))

    def _site(self, asked: Asked) -> SimSite:
        site = self._world.site(asked.parts["site"])
        if site is None:
            raise Refused(self.refusal(self._config.unknown_site_status, "Invalid site"))
        return site

    def _streaming_site(self, asked: Asked) -> SimSite:
        site, status = self._site(asked), self._config.live_stream_status
        if status != 200:
            raise Refused(self.refusal(status, "Live stream is not available"))
        return site
