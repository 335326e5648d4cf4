"""`/api/v1` over HTTP: who asks, what is asked for, and the answer; what is done is Control's.

Every path below `/api/v1` comes here, because the token is looked at before the path is judged or the body
read.
"""

import asyncio
import hashlib
import hmac
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
from aiohttp import web

from exporter.command import Action, Command, Outcome
from exporter.control_shapes import (
    KnownChargeMode,
    KnownCharger,
    KnownChargers,
    Problem,
    command_answer,
    command_fields,
    known_charger,
)
from exporter.errors import (
    CommandError,
    CommandInvalid,
    CommandPostponed,
    CommandRefused,
    CommandUnconfirmed,
    UnknownCharger,
)
from exporter.lane import LastCommand
from exporter.model import Charger, Site, Snapshot
from exporter.openapi import OPERATIONS, Operation, document
from exporter.readers import Secret

log = logging.getLogger(__name__)

BODY_BYTES = 16 * 1024
_PREFIX = "/api/v1"
_WARNING_INTERVAL_SECONDS = 60.0
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class _Refusal(Exception):
    """A request that is answered with a problem before it becomes a command."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


class _Asked(NamedTuple):
    """A command as it is asked for: what, of which charger or site, by which token."""

    action: Action
    operation: Operation
    named: dict[str, str]
    who: str


class ControlApi:
    """The handlers of `/api/v1` over a Control and what the poller published."""

    def __init__(
        self,
        run: Callable[[Command], Awaitable[Outcome]],
        snapshot: Callable[[], Snapshot],
        last: Callable[[str, str], LastCommand | None],
        tokens: Sequence[tuple[str, Secret]],
        *,
        refused: Callable[[Action, str, str, str | None, str], None],
        body_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`run` may raise CommandError; `last` takes site id and serial; `tokens` are names and secrets.

        A command for a charger or site that `snapshot` does not show goes to `run` as it was asked for, with
        an empty site id when none was named.
        `refused` is told action, token, site id, serial and reason of a command that did not get so far.
        `body_seconds` is how long a request's body may take to arrive.
        """
        self._run = run
        self._snapshot = snapshot
        self._last = last
        self._refused = refused
        self.adopt(tokens)
        self._body_seconds = body_seconds
        self._clock = clock
        self._warned_at: float | None = None
        self._strangers = 0  # since the last warning
        self._reads: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
            "chargers": self._known_chargers,
            "charger": self._known_charger,
            "chargeModeKnown": self._known_charge_mode,
            "openapi": lambda named: document(),
        }

    def adopt(self, tokens: Sequence[tuple[str, Secret]]) -> None:
        """Let these tokens in from now on, and no others; without any there is no API."""
        self._tokens = [(name, _digest(secret.reveal())) for name, secret in tokens]

    def routes(self) -> Iterable[web.RouteDef]:
        """What to add to the application's router."""
        # A dot in a pattern does not match a line feed, and %0A in a path is one.
        return [
            web.route("*", _PREFIX, self.answer),
            web.route("*", _PREFIX + "/{tail:(?s:.*)}", self.answer),
        ]

    async def answer(self, request: web.Request) -> web.Response:
        """The answer to any request below `/api/v1`."""
        if not self._tokens:
            return _problem(HTTPStatus.NOT_FOUND, "control is switched off")
        who = self._who(request)
        if who is None:
            self._note_stranger(request)
            challenge = {"WWW-Authenticate": "Bearer"}
            return _problem(HTTPStatus.UNAUTHORIZED, "a valid control token is needed", challenge)
        failed: dict[str, Any] = {}
        try:
            operation, named = _operation(request)
            if operation.action is None:
                return _answer(
                    HTTPStatus.OK, self._reads[operation.name](named | _queried(request, operation))
                )
            failed = {"result": "failed"}
            return await self._commanded(request, _Asked(operation.action, operation, named, who))
        except _Refusal as refusal:
            return _problem(refusal.status, str(refusal), refusal.headers, **failed)
        except CommandError as error:
            status, headers, more = _told(error)
            return _problem(status, str(error), headers, **failed, **more)

    # -- who asks ------------------------------------------------------------------------------------------

    def _who(self, request: web.Request) -> str | None:
        """The name of the token that came with the request; looks at all tokens, whichever fits."""
        offered = [_digest(text) for text in _offered(request)]
        owner = None
        for name, digest in self._tokens:
            for other in offered:
                if hmac.compare_digest(digest, other):
                    owner = name
        return owner

    def _note_stranger(self, request: web.Request) -> None:
        now = self._clock()
        self._strangers += 1
        if self._warned_at is not None and now - self._warned_at < _WARNING_INTERVAL_SECONDS:
            return
        tail = {"remote": request.remote, "requests": self._strangers}
        log.warning("control request without a valid token", extra=tail)
        self._warned_at, self._strangers = now, 0

    # -- reads ---------------------------------------------------------------------------------------------

    def _known_chargers(self, named: Mapping[str, str]) -> KnownChargers:
        sites = self._snapshot().sites
        return KnownChargers(
            chargers=[self._known(site, charger) for site in sites for charger in site.chargers]
        )

    def _known_charger(self, named: Mapping[str, str]) -> KnownCharger:
        found = _charger_named(self._snapshot(), named)
        if found is None:
            raise UnknownCharger(f"no charger {_quoted(named['serial'])} there; /api/v1/chargers lists them")
        return self._known(*found)

    def _known_charge_mode(self, named: Mapping[str, str]) -> KnownChargeMode:
        known = self._known_charger(named)
        return KnownChargeMode(**{name: getattr(known, name) for name in KnownChargeMode.__struct_fields__})

    def _known(self, site: Site, charger: Charger) -> KnownCharger:
        received = site.status_received_monotonic
        age = None if received is None else round(self._clock() - received, 3)
        last = self._last(site.site_id, charger.serial)
        return known_charger(site, charger, last, status_age_seconds=age)

    # -- commands ------------------------------------------------------------------------------------------

    async def _commanded(self, request: web.Request, asked: _Asked) -> web.Response:
        try:
            command = await self._read_command(request, asked)
        except (_Refusal, CommandError) as error:
            site_id, serial = asked.named.get("site_id", ""), asked.named.get("serial")
            self._refused(asked.action, asked.who, site_id, serial, str(error))
            raise
        outcome = await self._run(command)
        status = HTTPStatus.ACCEPTED if outcome.confirmed is False else HTTPStatus.OK
        return _answer(status, command_answer(command, outcome))

    async def _read_command(self, request: web.Request, asked: _Asked) -> Command:
        site_id, serial = _target(self._snapshot(), asked.named | _queried(request, asked.operation))
        fields = command_fields(await self._read_body(request), asked.operation.body)
        return Command(action=asked.action, who=asked.who, site_id=site_id, serial=serial, **fields)

    async def _read_body(self, request: web.Request) -> bytes:
        """The body, which is JSON; empty when there is none."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a compressed body is not taken")
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds):
                async for piece in request.content.iter_any():
                    body += piece
                    if len(body) > BODY_BYTES:
                        raise _Refusal(
                            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {BODY_BYTES} bytes"
                        )
        except TimeoutError:
            why = f"the body did not arrive within {self._body_seconds:g} s"
            raise _Refusal(HTTPStatus.REQUEST_TIMEOUT, why) from None
        except web.RequestPayloadError:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "the body is not complete") from None
        if body and not _is_json(request):
            raise _Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json in utf-8"
            )
        return bytes(body)


def _digest(text: str) -> bytes:
    """Of fixed length, so that comparing tells nothing of a token's length either."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _offered(request: web.Request) -> Iterator[str]:
    for value in request.headers.getall("Authorization", ()):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            yield token.strip()
    yield from request.headers.getall("X-Control-Token", ())


def _operation(request: web.Request) -> tuple[Operation, dict[str, str]]:
    """What is asked for, and the serial or site id that the path names."""
    parts = [unquote(part) for part in request.rel_url.raw_path.removeprefix(_PREFIX).split("/")]
    there = {
        operation.method: (operation, named)
        for operation in OPERATIONS
        if (named := _named(operation.path.split("/"), parts)) is not None
    }
    if not there:
        raise _Refusal(HTTPStatus.NOT_FOUND, "no such path; /api/v1/openapi.json lists them")
    method = "GET" if request.method == "HEAD" else request.method
    if method not in there:
        allow = ", ".join(sorted({*there, *(["HEAD"] if "GET" in there else [])}))
        raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"allowed here: {allow}", {"Allow": allow})
    return there[method]


def _named(pattern: Sequence[str], parts: Sequence[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    pairs = list(zip(pattern, parts, strict=True))
    if any(expected != part for expected, part in pairs if not expected.startswith("{")):
        return None
    return {expected[1:-1]: part for expected, part in pairs if expected.startswith("{")}


def _queried(request: web.Request, operation: Operation) -> dict[str, str]:
    """The query; a key that is not known must not be passed over, for it may have been meant as a brake."""
    allowed = ["site_id"] if "serial" in operation.names else []
    for key in request.query:
        if key not in allowed:
            what = "site_id only" if allowed else "nothing"
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"the query may hold {what}, not {_quoted(key)}")
    if len(request.query.getall("site_id", ())) > 1:
        raise _Refusal(HTTPStatus.BAD_REQUEST, "the query names site_id more than once")
    return dict(request.query)


def _charger_named(snapshot: Snapshot, named: Mapping[str, str]) -> tuple[Site, Charger] | None:
    """The charger of that serial, at the site that is named; raises CommandInvalid when it is at several."""
    serial, site_id = named["serial"], named.get("site_id")
    known = [
        (site, charger)
        for site in snapshot.sites
        for charger in site.chargers
        if charger.serial == serial and site_id in (None, site.site_id)
    ]
    if len(known) > 1:
        sites = ", ".join(site.site_id for site, _ in known)
        raise CommandInvalid(f"the charger is known at the sites {sites}: say which with ?site_id=")
    return known[0] if known else None


def _target(snapshot: Snapshot, named: Mapping[str, str]) -> tuple[str, str | None]:
    """Site id and serial of a command.

    What the snapshot does not show goes on as it was asked for: Control knows what is too old to be shown,
    and a charger must be stopped then too.
    """
    if "serial" not in named:
        return named["site_id"], None
    found = _charger_named(snapshot, named)
    return found[0].site_id if found else named.get("site_id", ""), named["serial"]


def _is_json(request: web.Request) -> bool:
    return request.content_type == "application/json" and (request.charset or "utf-8").lower() == "utf-8"


def _quoted(text: str) -> str:
    return repr(text[:40])


_Told = tuple[HTTPStatus, Mapping[str, str], Mapping[str, Any]]


def _told(error: CommandError) -> _Told:
    """Status, headers and further members of the problem that tells of a command that was not done."""
    match error:
        case UnknownCharger():
            return HTTPStatus.NOT_FOUND, {}, {}
        case CommandPostponed():
            seconds = max(1, math.ceil(error.retry_after_seconds))
            return HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(seconds)}, {}
        case CommandRefused():
            cloud = {"cloud_status": error.status, "cloud_code": error.code}
            return HTTPStatus.BAD_GATEWAY, {}, {name: value for name, value in cloud.items() if value}
        case CommandUnconfirmed():
            return HTTPStatus.GATEWAY_TIMEOUT, {}, {}
    return HTTPStatus.BAD_REQUEST, {}, {}


def _problem(
    status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> web.Response:
    problem = Problem(type="about:blank", title=status.phrase, status=status, detail=detail, **more)
    return _answer(status, problem, media_type="application/problem+json", headers=headers)


def _answer(
    status: HTTPStatus,
    value: Any,
    *,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(
        status=status, body=body, content_type=media_type, headers=_HEADERS | dict(headers or {})
    )
