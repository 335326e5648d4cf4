"""One account's writes to the cloud: the ways to ask for each command in their order, and what comes of it.

The cloud differs from region to region, so a start and a stop have several spellings. The one that worked is
remembered and tried first; what an answer means, and whether another may be tried, is said by parse_reply.py.
Nothing is ever sent again: without an answer a command may have been applied.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporter.client import Client, path_part
from exporter.command import Action, Request, Result
from exporter.errors import (
    CloudError,
    CommandError,
    CommandInvalid,
    CommandPostponed,
    CommandRefused,
    CommandUnconfirmed,
    NotSent,
    RateLimited,
    UnexpectedPayload,
)
from exporter.kept_variants import KeptVariants
from exporter.model import ChargeMode
from exporter.parse import parse_charge_mode
from exporter.parse_reply import Meaning, Verdict, read_reply
from exporter.transport import Answer

# A 429 often names no time. Upstream waits this long after the first failure of a core endpoint.
POSTPONED_SECONDS = 60.0
READ_BACKS, READ_BACK_SECONDS = 6, 2.0
SUPERSEDED = "superseded by a newer command"
ENDPOINTS = {
    Action.START: "start_charging",
    Action.STOP: "stop_charging",
    Action.TRIGGER: "trigger_message",
    Action.CHARGE_MODE: "set_charge_mode",
}

_PLURAL = "/service/evse_controller/{site}/ev_chargers/{serial}/"
_SINGULAR = "/service/evse_controller/{site}/ev_charger/{serial}/"
_PREFERENCE = "/service/evse_scheduler/api/v1/iqevc/charging-mode/{site}/{serial}/preference"
_MESSAGE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}", re.ASCII)


class Variant(NamedTuple):
    """One way to ask; `%d` in the body is the charging level."""

    method: str
    path: str
    body: str | None = None

    @property
    def has_level(self) -> bool:
        """Whether it carries a charging level."""
        return self.body is not None and "%d" in self.body


# The state keeps positions in these two: rows are added at the end, and never moved.
_START = (
    Variant("POST", _PLURAL + "start_charging", '{"chargingLevel":%d,"connectorId":1}'),
    Variant("PUT", _PLURAL + "start_charging", '{"chargingLevel":%d,"connectorId":1}'),
    Variant("POST", _SINGULAR + "start_charging", '{"chargingLevel":%d,"connectorId":1}'),
    Variant("POST", _PLURAL + "start_charging", '{"charging_level":%d,"connector_id":1}'),
    Variant("POST", _PLURAL + "start_charging", '{"connectorId":1}'),
    Variant("POST", _PLURAL + "start_charging"),
    Variant("POST", _SINGULAR + "start_charging"),
    Variant("POST", _PLURAL + "start_charging", '{"chargingLevel":%d}'),
)
_STOP = (
    Variant("PUT", _PLURAL + "stop_charging"),
    Variant("POST", _PLURAL + "stop_charging"),
    Variant("POST", _SINGULAR + "stop_charging"),
)
_WITH_LEVEL, _WITHOUT_LEVEL, _STOPPING = "start-with-level", "start-without-level", "stop"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a command: ACCEPTED or NOOP, and what the cloud said about it, "" when nothing more."""

    result: Result
    detail: str
    doubt: Verdict | None = None  # the refusal of a charge mode that may have been taken all the same


class Way(NamedTuple):
    """One variant, filled in. `chain` and `position` are what is remembered of it, nothing where "" is."""

    request: Request
    chain: str = ""
    position: int = 0


class Writes:
    """The commands of one account.

    Every command raises CommandRefused for an answer that means not done, CommandPostponed when the cloud
    asks to wait, and CommandUnconfirmed when no answer came, or none that can be read.
    """

    def __init__(
        self,
        client: Client,
        kept: KeptVariants,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._kept = kept
        self._sleep = sleep

    async def start_charging(
        self,
        site_id: str,
        serial: str,
        *,
        level_amperes: int | None,
        may_drop_level: bool,
        is_charging: Callable[[], Awaitable[bool]],
        still_wanted: Callable[[], bool] = lambda: True,
    ) -> Reply:
        """Start, at a level where one is given; without one the charger's stored level applies.

        `may_drop_level`: variants without a level may be tried too. `is_charging` asks status afresh, at most
        once, and may raise CloudError. `still_wanted` is asked before each further way.
        """
        ways = self._ways_to_start(site_id, serial, level_amperes, may_drop_level)
        return await self._ask(Action.START, site_id, ways, is_charging, still_wanted)

    async def stop_charging(self, site_id: str, serial: str) -> Reply:
        """Stop charging."""
        return await self._ask(Action.STOP, site_id, self._ways_to_stop(site_id, serial))

    async def trigger_message(self, site_id: str, serial: str, message: str) -> Reply:
        """Have the charger send an OCPP message; raises CommandInvalid for what cannot be the name of one."""
        return await self._ask(Action.TRIGGER, site_id, [Way(_trigger(site_id, serial, message))])

    async def charge_mode(self, site_id: str, serial: str) -> ChargeMode:
        """The preferred charge mode, asked for now; raises as for a command that never went out."""
        try:
            return (await self._client.fetch_charge_mode(site_id, serial)).mode
        except CloudError as error:
            raise _unsent(error) from error

    async def set_charge_mode(self, site_id: str, serial: str, mode: ChargeMode) -> Reply:
        """Set the preferred charge mode; raises CommandInvalid for UNKNOWN.

        A reply with a `doubt` is for `read_back` to decide on.
        """
        answer = await self._send(Action.CHARGE_MODE, site_id, _charge_mode(site_id, serial, mode))
        verdict = read_reply(Action.CHARGE_MODE, answer.status, answer.body)
        if verdict.meaning is Meaning.READ_BACK:
            return Reply(Result.ACCEPTED, "", verdict)
        if verdict.meaning is Meaning.ACCEPTED:
            return Reply(Result.ACCEPTED, _other_mode(answer, mode))
        return _concluded(verdict, answer)

    def planned_start(
        self, site_id: str, serial: str, *, level_amperes: int | None, may_drop_level: bool
    ) -> tuple[Request, ...]:
        """The requests a start may make, in their order."""
        ways = self._ways_to_start(site_id, serial, level_amperes, may_drop_level)
        return tuple(way.request for way in ways)

    def planned_stop(self, site_id: str, serial: str) -> tuple[Request, ...]:
        """The requests a stop may make, in their order."""
        return tuple(way.request for way in self._ways_to_stop(site_id, serial))

    def planned_trigger(self, site_id: str, serial: str, message: str) -> tuple[Request, ...]:
        """The request of a trigger."""
        return (_trigger(site_id, serial, message),)

    def planned_charge_mode(self, site_id: str, serial: str, mode: ChargeMode) -> tuple[Request, ...]:
        """The request that sets a charge mode; the current one is read before it."""
        return (_charge_mode(site_id, serial, mode),)

    def _ways_to_start(
        self, site_id: str, serial: str, level_amperes: int | None, may_drop_level: bool
    ) -> list[Way]:
        with_level = level_amperes is not None
        without_level = may_drop_level or not with_level
        chains = {True: _WITH_LEVEL if with_level else "", False: _WITHOUT_LEVEL if without_level else ""}
        rows = [(chains[variant.has_level], index, variant) for index, variant in enumerate(_START)]
        return self._ways(site_id, serial, [row for row in rows if row[0]], level_amperes)

    def _ways_to_stop(self, site_id: str, serial: str) -> list[Way]:
        rows = [(_STOPPING, index, variant) for index, variant in enumerate(_STOP)]
        return self._ways(site_id, serial, rows, None)

    def _ways(
        self, site_id: str, serial: str, rows: Sequence[tuple[str, int, Variant]], level_amperes: int | None
    ) -> list[Way]:
        """The rows in their order, but what worked before ahead of the others of its chain."""
        ways = [
            Way(_filled_in(variant, site_id, serial, level_amperes), chain, index)
            for chain, index, variant in rows
        ]
        first = {way.chain: way.position for way in reversed(ways)}

        def place(way: Way) -> float:
            worked = self._kept.of(site_id, way.chain) == way.position
            return first[way.chain] - 0.5 if worked else way.position

        return sorted(ways, key=place)

    async def _ask(
        self,
        action: Action,
        site_id: str,
        ways: Sequence[Way],
        is_charging: Callable[[], Awaitable[bool]] | None = None,
        still_wanted: Callable[[], bool] = lambda: True,
    ) -> Reply:
        """Ask in one way after the other until an answer says what became of the command."""
        left, tried = list(ways), 0
        while True:
            if tried and not still_wanted():
                raise CommandRefused(f"{SUPERSEDED}: nothing was done", status=0)
            way = left.pop(0)
            answer = await self._send(action, site_id, way.request)
            verdict = read_reply(action, answer.status, answer.body)
            if verdict.meaning is Meaning.LEVEL_REFUSED and way.chain == _WITH_LEVEL:
                left = [other for other in left if other.chain == _WITHOUT_LEVEL]
            elif verdict.meaning is Meaning.ASK_STATUS and is_charging is not None:
                if await _shows_charging(is_charging, verdict):
                    return Reply(Result.NOOP, f"already charging, and nothing was changed ({verdict.detail})")
                is_charging = None
            elif verdict.meaning not in (Meaning.NEXT, Meaning.ASK_STATUS):
                reply = _concluded(verdict, answer)
                if reply.result is Result.ACCEPTED and way.chain:
                    await self._kept.remember(site_id, way.chain, way.position)
                return reply
            tried += 1
            if not left:
                raise _refused(verdict, tried)

    async def _send(self, action: Action, site_id: str, request: Request) -> Answer:
        try:
            return await self._client.write(
                ENDPOINTS[action], site_id, request.method, request.path, request.body
            )
        except NotSent as error:
            raise _unsent(error) from error
        except CloudError as error:
            raise CommandUnconfirmed(
                f"no answer that can be read ({error}); the cloud may have taken the command"
            ) from error

    async def read_back(self, site_id: str, serial: str, mode: ChargeMode, verdict: Verdict) -> Reply:
        """Whether a charge mode that was refused by `verdict` shows all the same; takes READ_BACKS reads."""
        failure: CloudError | None = None
        for attempt in range(READ_BACKS):
            if attempt:
                await self._sleep(READ_BACK_SECONDS)
            try:
                known = await self._client.fetch_charge_mode(site_id, serial)
            except CloudError as error:
                failure = error
                if isinstance(error, RateLimited):
                    break
                continue
            if known.mode is mode:
                return Reply(Result.ACCEPTED, f"the charge mode is {mode} now, though {verdict.detail}")
            failure = None
        if failure is not None:
            raise CommandUnconfirmed(f"{verdict.detail}, and the charge mode cannot be read back ({failure})")
        raise CommandRefused(
            f"{verdict.detail}; the charge mode is still another",
            status=verdict.status,
            code=verdict.code,
        )


def _filled_in(variant: Variant, site_id: str, serial: str, level_amperes: int | None) -> Request:
    body = variant.body
    if body is not None and level_amperes is not None and variant.has_level:
        body = body % level_amperes
    path = variant.path.format(site=path_part(site_id), serial=path_part(serial))
    return Request(method=variant.method, path=path, body=body)


def _trigger(site_id: str, serial: str, message: str) -> Request:
    if not _MESSAGE.fullmatch(message):
        raise CommandInvalid("the name of a message is a letter, then up to 63 letters and digits")
    variant = Variant("POST", _SINGULAR + "trigger_message", f'{{"requestedMessage":"{message}"}}')
    return _filled_in(variant, site_id, serial, None)


def _charge_mode(site_id: str, serial: str, mode: ChargeMode) -> Request:
    if mode is ChargeMode.UNKNOWN:
        raise CommandInvalid("UNKNOWN is no charge mode that can be set")
    return _filled_in(Variant("PUT", _PREFERENCE, f'{{"mode":"{mode}"}}'), site_id, serial, None)


async def _shows_charging(is_charging: Callable[[], Awaitable[bool]], verdict: Verdict) -> bool:
    try:
        return await is_charging()
    except CloudError as error:
        message = f"{verdict.detail}, and status cannot tell whether it is charging ({error})"
        raise CommandRefused(message, status=verdict.status, code=verdict.code) from error


def _concluded(verdict: Verdict, answer: Answer) -> Reply:
    """What the caller is told when nothing more is tried."""
    if verdict.meaning is Meaning.ACCEPTED:
        return Reply(Result.ACCEPTED, verdict.detail)
    if verdict.meaning is Meaning.NOOP:
        return Reply(Result.NOOP, verdict.detail)
    if verdict.meaning is Meaning.UNCLEAR:
        raise CommandUnconfirmed(verdict.detail)
    if verdict.meaning is Meaning.POSTPONED:
        raise _postponed(verdict.detail, answer.retry_after_seconds)
    raise _refused(verdict)


def _refused(verdict: Verdict, tried: int = 1) -> CommandRefused:
    many = f"none of {tried} ways to ask worked, the last: " if tried > 1 else ""
    return CommandRefused(many + verdict.detail, status=verdict.status, code=verdict.code)


def _postponed(message: str, retry_after_seconds: float | None) -> CommandPostponed:
    seconds = POSTPONED_SECONDS if retry_after_seconds is None else retry_after_seconds
    return CommandPostponed(message, retry_after_seconds=seconds)


def _unsent(error: CloudError) -> CommandError:
    """The error of a command before which something failed, so that it never went out."""
    message = f"nothing was done: {error}"
    if isinstance(error, RateLimited):
        return _postponed(message, error.retry_after_seconds)
    return CommandRefused(message, status=error.status)


def _other_mode(answer: Answer, mode: ChargeMode) -> str:
    """What to say of an accepted answer that shows another mode; it mirrors a read, or is empty."""
    try:
        shown = parse_charge_mode(answer.body).mode
    except UnexpectedPayload:
        return ""
    return "" if shown in (mode, ChargeMode.UNKNOWN) else f"the cloud still shows {shown}"
