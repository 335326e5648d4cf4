"""The login of one account: who we are to the cloud, renewed once for all who wait, never hammered.

Order of ways in: the stored login, headers captured from a browser, then e-mail and password. After a refusal
no login is tried before the guard allows it (guard.py); login and guard are written before anything else
happens, so that neither a restart nor a crash loop logs in again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from yarl import URL

from exporter import guard as guards
from exporter.errors import CloudError, LoginExpired, Unavailable, UnexpectedPayload, Unreachable
from exporter.login import (
    MANAGER_COOKIE,
    Attempt,
    Surfaces,
    attempt_login,
    common_headers,
    cookie_headers,
    fetch_token,
    rotated,
)
from exporter.model import Guard, Login
from exporter.parse_auth import LoginOutcome, Token, claims
from exporter.transport import Answer, Transport

log = logging.getLogger(__name__)

LOGIN_RESULTS = ("success", "invalid_credentials", "mfa_required", "blocked", "unavailable")
RENEWAL_REUSED_SECONDS = 30.0
# Upstream's advice is one hour ahead; a token that lives shorter is renewed in its last tenth.
_RENEW_AHEAD_SECONDS = 3_600.0
_RENEW_AHEAD_PAUSE_SECONDS = 300.0
_API_ACCEPT = "application/json, text/javascript, */*; q=0.01"

Store = Callable[[Login | None, Guard | None], Awaitable[None]]
"""Writes login and guard of an account; returns when they are on disk, or cannot be."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an account can log in with: e-mail and password, or headers captured from a browser."""

    email: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    e_auth_token: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)

    def parts(self) -> tuple[str | None, ...]:
        """All of it, for a fingerprint."""
        return (self.email, self.password, self.e_auth_token, self.cookie, self.access_token)


class Auth:
    """Hands out headers for one account and renews the login behind them."""

    def __init__(
        self,
        transport: Transport,
        credentials: Credentials,
        surfaces: Surfaces,
        *,
        account: str,
        wall_clock: Callable[[], float],
        store: Store,
        login: Login | None = None,
        guard: Guard | None = None,
    ) -> None:
        """`login` and `guard` are what was stored; those of other credentials do not count."""
        self.account = account
        self.logins: dict[tuple[str], int] = {(result,): 0 for result in LOGIN_RESULTS}
        self.guard = guard if guard and guards.holds_for(guard, *credentials.parts()) else None
        self.works: bool | None = None  # None until the cloud has accepted or refused something
        self.generation = 0  # which login headers were built from; moves when the login is renewed
        self._transport = transport
        self._credentials = credentials
        self._surfaces = surfaces
        self._wall_clock = wall_clock
        self._store = store
        self._renewal: asyncio.Task[None] | None = None
        self._proven = True  # the newest login or token has been accepted by a data endpoint
        self._from_password = False  # the newest renewal was a login, not only a new token
        self._ahead_after_seconds = 0.0  # no renewal ahead of time before this moment
        self._headers: dict[tuple[str, bool], Mapping[str, str]] = {}
        if login is not None and credentials.email and not guards.is_owner(login.owner, credentials.email):
            login = None
        self._login = login or captured_login(credentials)

    @property
    def token_expiry_seconds(self) -> float | None:
        """When the access token expires, epoch seconds; None when unknown."""
        return None if self._login is None else self._login.token_expiry_seconds

    @property
    def needs_person(self) -> bool:
        """Whether only a person can help: a code, refused credentials, a block, expired captured headers."""
        return self.guard is not None and self.guard.reason != "unfinished"

    @property
    def blocked_until_seconds(self) -> float | None:
        """No login is tried before this moment, epoch seconds; None when free, or until a person helps."""
        return self.guard.until_seconds if self.guard and self._is_shut() else None

    async def headers(self, referer_path: str, *, bearer: bool = False) -> Mapping[str, str]:
        """Headers for one request, logging in first where there is no login; raises CloudError."""
        if self._login is None:
            await self.renew(self.generation)
        elif self._expires_soon(self._login):
            await self._renew_ahead()
        return self.present_headers(referer_path, bearer=bearer)

    def present_headers(self, referer_path: str, *, bearer: bool = False) -> Mapping[str, str]:
        """Headers by the login at hand, however near its end; raises AuthError where there is none."""
        kept = self._headers.get((referer_path, bearer))
        if kept is None:
            kept = self._headers[referer_path, bearer] = self._built_headers(referer_path, bearer=bearer)
        return kept

    async def accepted(self, answer: Answer) -> None:
        """Take note that a data endpoint took the login, and of the cookies its answer rotated."""
        if not self.works:
            log.info("the cloud accepts the login", extra={"account": self.account})
        self.works = True
        self._proven = True
        changed = self.guard is not None
        self.guard = None
        if answer.cookies and self._login is not None and not self._login.captured:
            self._replace(replace(self._login, cookies=rotated(self._login.cookies, answer.cookies)))
            changed = True
        if changed:
            await self._write(self.guard)

    async def renew(self, generation: int) -> None:
        """Renew the login that headers of `generation` were built from: once, for all who wait.

        Raises the AuthError that ended it, or that of the guard while it is shut; Unavailable, Unreachable or
        RateLimited when a login could not be tried.
        """
        if generation != self.generation:
            return
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(self._renewal_ended)
        # A waiter that is cancelled must not take the login of the others with it.
        await asyncio.shield(self._renewal)

    def take_over(self, login: Login) -> None:
        """Go on with a login that a person made elsewhere."""
        self.guard = None
        self._adopt(login, from_password=False)
        log.info("a stored login was picked up", extra={"account": self.account})

    def forget(self) -> None:
        """Drop the login, because a person had it removed."""
        self._login = captured_login(self._credentials)
        self._headers.clear()
        self.generation += 1

    async def close(self) -> None:
        """Cancel a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renewal_ended(self, renewal: asyncio.Task[None]) -> None:
        self._renewal = None
        if not renewal.cancelled():
            renewal.exception()  # each waiter gets it; asyncio must not complain when there is none left

    def _is_shut(self) -> bool:
        return guards.is_shut(self.guard, self._wall_clock())

    async def _renew(self) -> None:
        self.works = False
        login = self._login
        if self.guard is not None and self._is_shut():
            raise guards.error_of(self.guard)
        if login is not None and self._wall_clock() - login.obtained_seconds < RENEWAL_REUSED_SECONDS:
            raise LoginExpired("login", "refused though renewed moments ago")
        if login is not None and not self._proven and self._from_password:
            # Logging in once more would go on for ever, and is what locks accounts.
            await self._refuse("rejected", _REJECTED)
        if login is not None and self._proven and await self._renew_token(login):
            return
        await self._log_in()

    def _expires_soon(self, login: Login) -> bool:
        expiry, now = login.token_expiry_seconds, self._wall_clock()
        if expiry is None or login.captured or now < self._ahead_after_seconds:
            return False
        return now >= expiry - min(_RENEW_AHEAD_SECONDS, (expiry - login.obtained_seconds) / 10)

    async def _renew_ahead(self) -> None:
        """Ask for a new token before the old one runs out; without one, go on until the cloud objects."""
        self._ahead_after_seconds = self._wall_clock() + _RENEW_AHEAD_PAUSE_SECONDS
        if self._login is not None:
            try:
                await self._renew_token(self._login)
            except CloudError as error:
                log.info("no new token yet", extra={"account": self.account, "why": str(error)})

    async def _renew_token(self, login: Login) -> bool:
        """Try to replace only the token, which leaves the account's logins alone."""
        if login.captured:
            return False
        try:
            token, cookies = await fetch_token(self._transport, self._surfaces, login.cookies)
        except LoginExpired:
            return False
        if token is None or token.text == login.token:
            return False
        fresh = replace(login, cookies=cookies, token=token.text, token_expiry_seconds=token.expiry_seconds)
        self._adopt(replace(fresh, obtained_seconds=self._wall_clock()), from_password=False)
        self._ahead_after_seconds = 0.0
        await self._write(self.guard)
        return True

    async def _log_in(self) -> None:
        email, password = self._credentials.email, self._credentials.password
        if not email or not password:
            await self._refuse("expired", self._without_password())
            return
        before = self.guard
        now = self._wall_clock()
        await self._write(guards.unfinished(before, now=now))
        try:
            attempt = await attempt_login(self._transport, self._surfaces, email, password)
            if attempt.answer.outcome is not LoginOutcome.SUCCESS:
                await self._fail(attempt.answer.outcome)
            login = await self._finished(attempt, email, now)
        except CloudError:
            if self.guard is before:  # not refused: the login could not be tried
                self.logins["unavailable",] += 1
                await self._write(self.guard)
            raise
        self.logins["success",] += 1
        self._adopt(login, from_password=True)
        await self._write(self.guard)
        log.info("logged in", extra={"account": self.account})

    async def _finished(self, attempt: Attempt, email: str, now: float) -> Login:
        try:
            return await finished_login(self._transport, self._surfaces, attempt, email, now)
        except LoginExpired:
            self.logins["unavailable",] += 1
            await self._refuse("rejected", _REJECTED)
            raise

    def _without_password(self) -> str:
        if self._credentials.e_auth_token:
            return "the captured headers have expired: capture them again"
        return f"no login and no password: {_RUN_LOGIN.format(account=self.account)}"

    async def _fail(self, outcome: LoginOutcome) -> None:
        """Raise what a login that did not succeed means; refusals shut the guard."""
        if outcome not in _REFUSALS:
            raise Unavailable("login", f"no usable answer ({outcome.value})")
        reason, message = _REFUSALS[outcome]
        self.logins[reason,] += 1
        await self._refuse(reason, message.format(account=self.account))

    async def _refuse(self, reason: str, message: str) -> None:
        now = self._wall_clock()
        # Slow on purpose, so that it tells nothing about a password: not on the event loop.
        fingerprint = await asyncio.to_thread(guards.fingerprint, *self._credentials.parts())
        self.guard = guards.after_refusal(self.guard, reason, message, now=now, credentials=fingerprint)
        self.works = False
        self._login = None
        self._headers.clear()
        await self._write(self.guard)
        until = self.guard.until_seconds
        waits = "until a person helps" if until is None else f"{until - now:.0f}s"
        log.error("no login", extra={"account": self.account, "why": message, "waits": waits})
        raise guards.error_of(self.guard)

    async def _write(self, guard: Guard | None) -> None:
        """Keep the login, unless it is the config's captured headers, and a guard."""
        login = None if self._login is None or self._login.captured else self._login
        await self._store(login, guard)

    def _adopt(self, login: Login, *, from_password: bool) -> None:
        self._replace(login)
        self._from_password = from_password
        self._proven = False
        self.generation += 1

    def _replace(self, login: Login) -> None:
        self._login = login
        self._headers.clear()

    def _built_headers(self, referer_path: str, *, bearer: bool) -> Mapping[str, str]:
        login = self._login
        if login is None and self.guard is not None and self._is_shut():
            raise guards.error_of(self.guard)
        if login is None:
            raise LoginExpired("login", "no login")
        url = self._surfaces.base_url.join(URL(referer_path))
        headers = common_headers(url, _API_ACCEPT if bearer else "*/*") | cookie_headers(login.cookies)
        version = login.cookies.get("appVersion")
        headers["Referer"] = f"{url}?v={version}" if version else str(url)
        if login.token is not None:
            headers["e-auth-token"] = login.token
        bearer_token = login.cookies.get(MANAGER_COOKIE) or login.bearer
        if bearer and bearer_token:
            headers["Authorization"] = f"Bearer {bearer_token}"
        return headers


_RUN_LOGIN = "run `enphase-ev-exporter login --account {account}` with the same --config.file"
_REJECTED = "the cloud refuses the login it has just accepted"
_REFUSALS: Mapping[LoginOutcome, tuple[str, str]] = {
    LoginOutcome.INVALID_CREDENTIALS: (
        "invalid_credentials",
        f"e-mail or password refused: correct them, or {_RUN_LOGIN}",
    ),
    LoginOutcome.MFA_REQUIRED: (
        "mfa_required",
        f"the account wants a one-time code: {_RUN_LOGIN}",
    ),
    LoginOutcome.BLOCKED: ("blocked", "the cloud has blocked the account for now"),
    LoginOutcome.TOO_MANY_SESSIONS: ("blocked", "too many active sessions: log out elsewhere, or wait"),
}


async def finished_login(
    transport: Transport, surfaces: Surfaces, attempt: Attempt, email: str, now: float
) -> Login:
    """The login that an accepted attempt makes, with a token where the cloud has one."""
    try:
        token, cookies = await fetch_token(transport, surfaces, attempt.cookies)
    except (Unreachable, UnexpectedPayload):
        # The login was accepted, and trying again would be another one.
        token, cookies = None, attempt.cookies
    token = token or Token("", None)
    bearer = attempt.answer.manager_token or token.text or None
    return Login(
        cookies=cookies,
        token=token.text or None,
        token_expiry_seconds=token.expiry_seconds,
        bearer=bearer,
        user_id=claims(token.text or bearer or "").user_id,
        obtained_seconds=now,
        owner=guards.owner_of(email),
    )


def captured_login(credentials: Credentials) -> Login | None:
    """The headers captured from a browser as a login; None without any."""
    text = credentials.e_auth_token
    if not text:
        return None
    pairs = (pair.partition("=") for pair in (credentials.cookie or "").split(";"))
    cookies = {name.strip(): value.strip() for name, separator, value in pairs if separator}
    expiry = claims(text).expiry_seconds
    return Login(cookies, text, expiry, credentials.access_token or text, captured=True)
