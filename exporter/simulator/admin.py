"""The simulator's own pages under /_sim/: the truth, the faults, the journal. Not part of the cloud."""

import dataclasses
import textwrap
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from exporter.simulator.charger import SimCharger
from exporter.simulator.faults import KINDS, Faults
from exporter.simulator.journal import Journal
from exporter.simulator.login import OUTCOMES
from exporter.simulator.logins import Logins
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import World

ACTIONS = ("plug", "unplug", "start", "stop", "fault", "recover", "go_offline", "come_back", "report")


def _wrapped(words: Iterable[str]) -> str:
    indent = " " * 7
    return textwrap.fill(" ".join(sorted(words)), 100, initial_indent=indent, subsequent_indent=indent)


INDEX = f"""A simulated Enlighten cloud.

GET    /_sim/world     the truth about every charger (Wh, A, W, epoch seconds)
POST   /_sim/chargers/{{serial}}/{{action}}
               {" ".join(ACTIONS)}
GET    /_sim/faults    the fault rules in force
POST   /_sim/faults
               {{"kind": "status", "endpoint": "status", "times": 1, "status": 429, "retry_after": 30}}
               also method, path_contains, body_contains: one way of asking; applied: obeyed all the same
DELETE /_sim/faults
GET    /_sim/journal   the requests so far
DELETE /_sim/journal
POST   /_sim/expire    {{"what": "sessions" | "tokens" | "both"}}

Kinds of faults; their parameters are in exporter/simulator/faults.py:
{_wrapped(KINDS)}

Outcomes of the kind login_outcome, by what exporter/simulator/login.py says of them:
{_wrapped(OUTCOMES)}

A login with a one-time code: the next one asks for it, and it is {CloudConfig.mfa_code}.
POST   /_sim/faults    {{"kind": "login_outcome", "outcome": "mfa_explicit", "times": 1}}
"""


def truth(charger: SimCharger) -> dict[str, Any]:
    """Everything true of one charger, and beside it what it last reported."""
    return {
        "serial": charger.serial,
        "name": charger.name,
        "site_id": charger.site_id,
        "manual": charger.manual,
        "retired": charger.retired,
        "connected": charger.connected,
        "plugged_in": charger.plugged_in,
        "charging": charger.charging,
        "faulted": charger.faulted,
        "connector_status": charger.connector_status,
        "connector_reason": charger.connector_reason,
        "mode": charger.mode,
        "running_mode": charger.running_mode,
        "waiting_orders": charger.waiting_orders,
        "amps": charger.amps,
        "min_amps": charger.region.min_amps,
        "max_amps": charger.region.max_amps,
        "volts": charger.region.volts,
        "phases": charger.region.phases,
        "power_w": charger.power_w,
        "energy_wh": charger.energy_wh,
        "lifetime_wh": charger.lifetime_wh,
        "finished_wh": charger.finished_wh,
        "started_at": charger.started_at,
        "plugged_in_at": charger.plugged_in_at,
        "plugged_out_at": charger.plugged_out_at,
        "offline_at": charger.offline_at,
        "seen": dataclasses.asdict(charger.seen()),
    }


class Admin:
    """Handlers of the /_sim/ pages."""

    def __init__(self, world: World, *, faults: Faults, journal: Journal, logins: Logins) -> None:
        self._world = world
        self._faults = faults
        self._journal = journal
        self._logins = logins

    def add_to(self, app: web.Application) -> None:
        """Adds the routes."""
        app.router.add_routes(
            [
                web.get("/", self.index),
                web.get("/_sim/world", self.world),
                web.post("/_sim/chargers/{serial}/{action}", self.act),
                web.get("/_sim/faults", self.faults),
                web.post("/_sim/faults", self.add_fault),
                web.delete("/_sim/faults", self.clear_faults),
                web.get("/_sim/journal", self.journal),
                web.delete("/_sim/journal", self.clear_journal),
                web.post("/_sim/expire", self.expire),
            ]
        )

    async def index(self, _request: web.Request) -> web.Response:
        """What there is."""
        return web.Response(text=INDEX)

    async def world(self, _request: web.Request) -> web.Response:
        """The truth."""
        self._world.advance()
        chargers = [truth(charger) for charger in self._world.chargers.values()]
        sites = [{"site_id": site.site_id, "name": site.name} for site in self._world.sites.values()]
        speed = self._world.config.speed
        return web.json_response(
            {"now_seconds": self._world.now(), "speed": speed, "sites": sites, "chargers": chargers}
        )

    async def act(self, request: web.Request) -> web.Response:
        """Drives one charger by hand; its automatic life ends."""
        serial, action = request.match_info["serial"], request.match_info["action"]
        if serial not in self._world.chargers or action not in ACTIONS:
            raise web.HTTPNotFound(text="no such charger or action\n")
        charger = self._world.charger(serial)
        charger.manual = True
        getattr(charger, action)()
        return web.json_response(truth(charger))

    async def faults(self, _request: web.Request) -> web.Response:
        """The rules in force."""
        return web.json_response([rule.public() for rule in self._faults.rules])

    async def add_fault(self, request: web.Request) -> web.Response:
        """A new rule."""
        try:
            rule = self._faults.add(**await request.json())
        except (TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        return web.json_response(rule.public(), status=201)

    async def clear_faults(self, _request: web.Request) -> web.Response:
        """No more faults."""
        self._faults.clear()
        return web.json_response([])

    async def journal(self, _request: web.Request) -> web.Response:
        """The requests so far, without header values and bodies."""
        entries = [entry.public() for entry in self._journal]
        return web.json_response({"totals": dict(self._journal.totals), "entries": entries})

    async def clear_journal(self, _request: web.Request) -> web.Response:
        """Forgets the requests so far."""
        self._journal.clear()
        return web.json_response({"totals": {}, "entries": []})

    async def expire(self, request: web.Request) -> web.Response:
        """Ends sessions, tokens or both."""
        what = (await request.json()).get("what", "both") if request.can_read_body else "both"
        if what not in {"sessions", "tokens", "both"}:
            raise web.HTTPBadRequest(text="what: sessions, tokens or both\n")
        if what in {"sessions", "both"}:
            self._logins.expire_logins()
        if what in {"tokens", "both"}:
            self._logins.expire_tokens()
        return web.json_response({"expired": what})
