"""The pretend Enlighten cloud over HTTP: routes, refusals, faults, journal.

One server answers for both hosts (the web site and the older login host).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from aiohttp import web

from exporter.simulator import wire
from exporter.simulator.admin import Admin
from exporter.simulator.answer import LOGIN_PAGE, Answer, Delivery, empty, html, send
from exporter.simulator.controls import COMMANDS, Controls
from exporter.simulator.faults import Faults, Hit, Moment, replace
from exporter.simulator.journal import Entry, Journal
from exporter.simulator.login import LoginRequest, LoginSurface, form_of
from exporter.simulator.logins import Login, Logins
from exporter.simulator.services import Asked, Refused, Services
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import World

__all__ = ["Cloud", "CloudConfig", "RunningCloud", "start_cloud"]

EVC = "/service/evse_controller"
PREFERENCE = "/service/evse_scheduler/api/v1/iqevc/charging-mode/{site}/{serial}/preference"
SHUTDOWN_SECONDS = 0.2

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard(Enum):
    """What a request must show before it is answered; each includes the ones above it."""

    NOTHING = 0
    BROWSER = 1  # a browser-like User-Agent, else 406
    LOGIN = 2  # a valid session
    EV = 3  # no stale e-auth-token beside it
    BEARER = 4  # Authorization


@dataclass(frozen=True, slots=True)
class Route:
    """One thing the cloud answers; `surface` when it belongs to one of the login surfaces."""

    method: str
    path: str
    endpoint: str
    guard: Guard
    answer: Callable[[Asked], Answer]
    surface: str | None = None


class Cloud:
    """The cloud around one world. `clock` is real epoch seconds, by which logins and tokens expire."""

    def __init__(
        self, world: World, config: CloudConfig | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.world = world
        self.config = config or CloudConfig()
        self.journal = Journal(self.config.journal_entries)
        self.faults = Faults()
        self.logins = Logins(self.config, clock)
        self.services = Services(world, self.config)
        self.controls = Controls(self.services, world, self.config)
        self._surface = LoginSurface(self.config, self.logins, next(iter(world.sites), ""))
        self._clock = clock
        self.app = web.Application()
        Admin(world, faults=self.faults, journal=self.journal, logins=self.logins).add_to(self.app)
        for path, routes in groupby(self._routes(), key=lambda route: route.path):
            self._add_resource(path, list(routes))

    def expire_sessions(self) -> None:
        """Every login is over."""
        self.logins.expire_logins()

    def expire_tokens(self) -> None:
        """Every token is worth nothing."""
        self.logins.expire_tokens()

    # routes

    def _routes(self) -> list[Route]:
        """Rows of one path stand together."""
        ev, controls, surface = self.services, self.controls, self._surface
        browser, login, plain, bearer = Guard.BROWSER, Guard.LOGIN, Guard.EV, Guard.BEARER
        chargers = f"{EVC}/{{site}}/ev_chargers"
        charger, api_v2 = f"{chargers}/{{serial}}", f"{EVC}/api/v2/{{site}}/ev_chargers"
        single = f"{EVC}/{{site}}/ev_charger"
        web_login = self._login_route(surface.password)
        return [
            Route("POST", "/login/login.json", "login", browser, web_login, "web"),
            Route("POST", "/login/login", "login", browser, self._login_route(surface.page), "web"),
            Route(
                "POST", "/app-api/validate_login_otp", "mfa", browser, self._login_route(surface.code), "web"
            ),
            Route(
                "POST",
                "/app-api/generate_mfa_login_otp",
                "mfa",
                browser,
                self._login_route(surface.resend),
                "web",
            ),
            Route("GET", "/users/self/token", "token", login, self._token, "web"),
            Route("POST", "/login", "login", browser, web_login, "entrez"),
            Route("GET", "/login", "other", browser, lambda _: html(LOGIN_PAGE)),
            Route("POST", "/login/mfa/verify", "mfa", browser, self._plain_code, "entrez"),
            Route("GET", "/access_token", "token", browser, self._access_token, "entrez"),
            Route("POST", "/access_token", "token", browser, self._access_token, "entrez"),
            Route("GET", "/app-api/search_sites.json", "sites", login, ev.sites),
            Route("GET", "/healthcheck", "healthcheck", Guard.NOTHING, ev.healthcheck),
            Route("GET", f"{chargers}/status", "status", plain, ev.status),
            Route("GET", f"{single}/status", "status", plain, ev.status_singular),
            Route("GET", f"{api_v2}/status", "status", plain, ev.status_keyed),
            Route("GET", f"{chargers}/summary", "summary", plain, ev.summary),
            Route("GET", f"{api_v2}/summary", "summary", plain, ev.summary),
            Route("GET", f"{api_v2}/{{serial}}/summary", "summary", plain, ev.summary_of_one),
            Route("GET", f"{api_v2}/last_reported_at", "last_reported", plain, ev.last_reported),
            Route("GET", f"{chargers}/start_live_stream", "live_stream", plain, ev.start_live_stream),
            Route("GET", f"{chargers}/stop_live_stream", "live_stream", plain, ev.stop_live_stream),
            *(
                Route("*", f"{path}/{name}", name, plain, answer)
                for path in (charger, f"{single}/{{serial}}")
                for name, answer in (("start_charging", controls.start), ("stop_charging", controls.stop))
            ),
            Route("POST", f"{single}/{{serial}}/trigger_message", "trigger_message", plain, controls.trigger),
            Route("GET", PREFERENCE, "charge_mode", bearer, ev.charge_mode),
            Route("PUT", PREFERENCE, "set_charge_mode", bearer, controls.set_mode),
            Route("*", "/{tail:.*}", "other", Guard.NOTHING, _missing),
        ]

    def _add_resource(self, path: str, routes: list[Route]) -> None:
        resource = self.app.router.add_resource(path)
        for route in routes:
            resource.add_route(route.method, self._handler(route))
        if routes[-1].method != "*":
            first = routes[0]
            wrong_verb = Route("*", path, first.endpoint, first.guard, self._wrong_verb, first.surface)
            resource.add_route("*", self._handler(wrong_verb))

    def _handler(self, route: Route) -> Handler:
        async def respond(request: web.Request) -> web.StreamResponse:
            return await self._respond(route, request)

        return respond

    # one request

    async def _respond(self, route: Route, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        entry = self._note(route, request, body)
        plan = self.faults.plan(Hit(route.endpoint, entry.site_id, request.method, request.path, body))
        asked = Asked(
            method=request.method,
            path=request.path,
            parts=request.match_info,
            query=request.query,
            headers=request.headers,
            cookies=request.cookies,
            body=body,
            plan=plan,
        )
        done = self._done(route, asked) if plan.applied else None
        delay_seconds = self.config.latency_seconds + plan.delay_seconds
        if delay_seconds > 0:
            await asyncio.sleep(delay_seconds)
            if route.endpoint in COMMANDS and request.transport is None:
                return web.Response()  # nobody waits for it any more, so nothing is done
        answer = plan.bend(self._answer(route, asked, done))
        entry.status = 0 if answer.delivery is Delivery.RESET else answer.status
        entry.done_monotonic_seconds = time.monotonic()
        skew_seconds = self.config.clock_skew_seconds + plan.skew_seconds
        return await send(answer, request, date_seconds=self._clock() + skew_seconds)

    def _note(self, route: Route, request: web.Request, body: bytes) -> Entry:
        entry = Entry(
            method=request.method,
            path=request.path,
            query=request.query_string,
            endpoint=route.endpoint,
            site_id=request.match_info.get("site"),
            headers=request.headers,
            body=body,
            monotonic_seconds=time.monotonic(),
            simulated_seconds=self.world.now(),
        )
        self.journal.add(entry)
        return entry

    def _answer(self, route: Route, asked: Asked, done: Answer | None) -> Answer:
        """What is sent; `done` is the answer of a request already obeyed."""
        plan = asked.plan
        if plan.replacement is not None:
            return replace(plan.replacement, Moment(self.world.now(), self._clock(), asked.path))
        if plan.delivery is Delivery.RESET and route.endpoint in COMMANDS:
            return empty()
        return done or self._done(route, asked)

    def _done(self, route: Route, asked: Asked) -> Answer:
        """The true answer, the request obeyed."""
        if route.surface not in {None, self.config.surface}:
            return self._closed_surface(asked.path)
        try:
            login = self._admit(route.guard, asked)
            answer = route.answer(asked)
        except Refused as refused:
            return refused.answer
        if login is not None:
            answer.cookies += self.logins.rotate_in_turn(login)
        return answer

    # refusals

    def _admit(self, guard: Guard, asked: Asked) -> Login | None:
        """The login behind a request that may be answered; raises Refused otherwise."""
        if guard.value >= Guard.BROWSER.value and not asked.headers.get("User-Agent", "").startswith(
            "Mozilla/"
        ):
            raise Refused(html("<html><body>406 Not Acceptable</body></html>", 406))
        if guard.value < Guard.LOGIN.value:
            return None
        token = _token_shown(asked)
        login = self.logins.known(asked.cookies, token)
        if login is None:
            raise Refused(self._expired())
        if guard.value >= Guard.EV.value:
            self._admit_token(token)
        if guard is Guard.BEARER:
            bearer = asked.headers.get("Authorization", "").removeprefix("Bearer ")
            if not self.logins.accepts(bearer):
                raise Refused(self._refusal(401, "Bearer token missing or expired"))
        return login

    def _admit_token(self, token: str | None) -> None:
        if token is None:
            if self.config.require_token:
                raise Refused(self._refusal(500, "Internal error"))
        elif not self.logins.accepts(token):
            raise Refused(self._refusal(401, "Token expired"))

    def _expired(self) -> Answer:
        how = self.config.expired_as
        if how == "login_page":
            return html(LOGIN_PAGE)
        if how == "redirect":
            return Answer(302, text="", headers={"Location": "/login"})
        if how == "empty":
            return empty(401)
        return self._refusal(401, "Unauthorized")

    def _refusal(self, status: int, message: str) -> Answer:
        return wire.refusal(status, message, self.world.now())

    def _wrong_verb(self, asked: Asked) -> Answer:
        return wire.method_not_allowed(asked.path)

    def _closed_surface(self, path: str) -> Answer:
        if self.config.wrong_surface_status == 404:
            return wire.no_static_resource(path)
        return self._refusal(self.config.wrong_surface_status, "Not here")

    # login

    def _login_route(self, answer: Callable[[LoginRequest], Answer]) -> Callable[[Asked], Answer]:
        return lambda asked: answer(_login_request(asked))

    def _plain_code(self, asked: Asked) -> Answer:
        return self._surface.code(_login_request(asked), plain=True)

    def _token(self, asked: Asked) -> Answer:
        login = self.logins.known(asked.cookies, _token_shown(asked))
        return self._expired() if login is None else self._surface.token(login)

    def _access_token(self, asked: Asked) -> Answer:
        request = _login_request(asked)
        login_id = request.form.get("session_id", request.query.get("session_id", ""))
        login = self.logins.known(asked.cookies, None) or self.logins.by_id(login_id)
        return self._expired() if login is None else self._surface.access_token(login)


def _missing(asked: Asked) -> Answer:
    return wire.no_static_resource(asked.path)


def _token_shown(asked: Asked) -> str | None:
    """The e-auth-token; the web app's literal `null` is none."""
    token = asked.headers.get("e-auth-token")
    return None if token in {None, "", "null"} else token


def _login_request(asked: Asked) -> LoginRequest:
    form = form_of(asked.body, asked.headers.get("Content-Type", ""))
    return LoginRequest(asked.cookies, asked.query, form, asked.plan.login_outcome)


@dataclass
class RunningCloud:
    """A cloud on a socket."""

    cloud: Cloud
    url: str
    _runner: web.AppRunner

    async def close(self) -> None:
        """Frees the socket; requests still held back are dropped."""
        await self._runner.cleanup()


async def start_cloud(
    world: World,
    config: CloudConfig | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.time,
) -> RunningCloud:
    """Serves `world`; port 0 takes a free one."""
    cloud = Cloud(world, config, clock=clock)
    runner = web.AppRunner(cloud.app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    bound_host, bound_port = runner.addresses[0][:2]
    shown_host = f"[{bound_host}]" if ":" in bound_host else bound_host
    return RunningCloud(cloud, f"http://{shown_host}:{bound_port}", runner)
