"""The login of one account: who we are to the cloud, renewed once for all who wait, never hammered.

Order of ways in: headers captured from a browser, then e-mail and password. After a refusal no login is
tried until the wait of `refusal_wait_seconds` is over, because repeated logins are what locks accounts.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from yarl import URL

from exporter.errors import (
    AuthError,
    BadCredentials,
    CloudError,
    LoginExpired,
    MfaRequired,
    TooManyLogins,
    Unavailable,
)
from exporter.login import (
    MANAGER_COOKIE,
    Surfaces,
    attempt_login,
    common_headers,
    cookie_headers,
    fetch_token,
    rotated,
    session_of,
)
from exporter.parse_auth import LoginOutcome, Token, claims
from exporter.transport import Answer, Transport

log = logging.getLogger(__name__)

LOGIN_RESULTS = ("success", "invalid_credentials", "mfa_required", "blocked", "unavailable")
RENEWAL_REUSED_SECONDS = 30.0
_REFUSED_WAIT_SECONDS = 300.0
_LONG_WAIT_SECONDS = 86_400.0
_REFUSALS_BEFORE_LONG_WAIT = 3
# Upstream's advice is one hour ahead; a token that lives shorter is renewed in its last tenth.
_RENEW_AHEAD_SECONDS = 3_600.0
_RENEW_AHEAD_PAUSE_SECONDS = 300.0
_API_ACCEPT = "application/json, text/javascript, */*; q=0.01"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an account can log in with: e-mail and password, or headers captured from a browser."""

    email: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    e_auth_token: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Login:
    """A login that was accepted: cookies and tokens. Nothing of it prints."""

    cookies: Mapping[str, str] = field(repr=False)
    token: Token | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    obtained_seconds: float = 0.0
    captured: bool = False

    @property
    def expiry_seconds(self) -> float | None:
        """When the access token expires, epoch seconds."""
        return None if self.token is None else self.token.expiry_seconds


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last refused login: why, how often in a row, and until when none is tried again."""

    error: AuthError
    count: int
    until_seconds: float


def refusal_wait_seconds(error: AuthError, count: int) -> float:
    """How long to leave the account alone after its `count`-th refusal in a row."""
    if isinstance(error, (BadCredentials, LoginExpired)) and count < _REFUSALS_BEFORE_LONG_WAIT:
        return _REFUSED_WAIT_SECONDS
    return _LONG_WAIT_SECONDS


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
    ) -> None:
        self.account = account
        self.logins: dict[tuple[str], int] = {(result,): 0 for result in LOGIN_RESULTS}
        self.refusal: Refusal | None = None
        self.works: bool | None = None  # None until the cloud has accepted or refused something
        self.generation = 0  # which login headers were built from; moves when the login is renewed
        self._transport = transport
        self._credentials = credentials
        self._surfaces = surfaces
        self._wall_clock = wall_clock
        self._renewal: asyncio.Task[None] | None = None
        self._proven = True  # the newest login or token has been accepted by a data endpoint
        self._from_password = False  # the newest renewal was a login, not only a new token
        self._ahead_after_seconds = 0.0  # no renewal ahead of time before this moment
        self._headers: dict[tuple[str, bool], Mapping[str, str]] = {}
        self._login = _captured_login(credentials)

    @property
    def token_expiry_seconds(self) -> float | None:
        """When the access token expires, epoch seconds; None when unknown."""
        return None if self._login is None else self._login.expiry_seconds

    @property
    def blocked_until_seconds(self) -> float | None:
        """No login is tried before this moment, epoch seconds; None when free."""
        if self.refusal is None or self.refusal.until_seconds <= self._wall_clock():
            return None
        return self.refusal.until_seconds

    async def headers(self, referer_path: str, *, bearer: bool = False) -> Mapping[str, str]:
        """Headers for one request, logging in first where there is no login; raises CloudError."""
        if self._login is None:
            await self.renew(self.generation)
        elif self._expires_soon(self._login):
            await self._renew_ahead()
        kept = self._headers.get((referer_path, bearer))
        if kept is None:
            kept = self._headers[referer_path, bearer] = self._built_headers(referer_path, bearer=bearer)
        return kept

    def accepted(self, answer: Answer) -> None:
        """Take note that a data endpoint took the login, and of the cookies its answer rotated."""
        if not self.works:
            log.info("the cloud accepts the login", extra={"account": self.account})
        self.works = True
        self._proven = True
        self.refusal = None
        if answer.cookies and self._login is not None and not self._login.captured:
            self._replace(replace(self._login, cookies=rotated(self._login.cookies, answer.cookies)))

    async def renew(self, generation: int) -> None:
        """Renew the login that headers of `generation` were built from: once, for all who wait.

        Raises the AuthError that ended it, or that of the last refusal while its wait lasts; Unavailable,
        Unreachable or RateLimited when a login could not be tried.
        """
        if generation != self.generation:
            return
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(self._renewal_ended)
        # A waiter that is cancelled must not take the login of the others with it.
        await asyncio.shield(self._renewal)

    async def close(self) -> None:
        """Cancel a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renewal_ended(self, renewal: asyncio.Task[None]) -> None:
        self._renewal = None
        if not renewal.cancelled():
            renewal.exception()  # each waiter gets it; asyncio must not complain when there is none left

    async def _renew(self) -> None:
        self.works = False
        if self.refusal is not None and self._wall_clock() < self.refusal.until_seconds:
            raise self.refusal.error
        login = self._login
        if login is not None and self._wall_clock() - login.obtained_seconds < RENEWAL_REUSED_SECONDS:
            raise LoginExpired("login", "refused though renewed moments ago")
        if login is not None and not self._proven and self._from_password:
            # Logging in once more would go on for ever, and is what locks accounts.
            self._refuse(LoginExpired("login", "the cloud refuses the login it has just accepted"))
        if login is not None and self._proven and await self._renew_token(login):
            return
        await self._log_in()

    def _expires_soon(self, login: Login) -> bool:
        expiry, now = login.expiry_seconds, self._wall_clock()
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
        token, cookies = await fetch_token(self._transport, self._surfaces, login.cookies)
        if token is None or (login.token is not None and token.text == login.token.text):
            return False
        self._adopt(replace(login, cookies=cookies, token=token), from_password=False)
        self._ahead_after_seconds = 0.0
        return True

    async def _log_in(self) -> None:
        email, password = self._credentials.email, self._credentials.password
        if not email or not password:
            self._refuse(LoginExpired("login", "the captured headers have expired: capture them again"))
        else:
            try:
                attempt = await attempt_login(self._transport, self._surfaces, email, password)
            except CloudError:
                self.logins["unavailable",] += 1
                raise
            outcome = attempt.answer.outcome
            proven_by_cookie = outcome is LoginOutcome.COOKIE_ONLY and session_of(attempt.cookies)
            if outcome is not LoginOutcome.SUCCESS and not proven_by_cookie:
                self._fail(outcome)
            token, cookies = await fetch_token(self._transport, self._surfaces, attempt.cookies)
            self.logins["success",] += 1
            bearer = attempt.answer.manager_token or (token.text if token else None)
            self._adopt(Login(cookies, token, bearer), from_password=True)
            log.info("logged in", extra={"account": self.account})

    def _fail(self, outcome: LoginOutcome) -> None:
        """Raise what a login that did not succeed means; refusals start a wait."""
        refusals: Mapping[LoginOutcome, AuthError] = {
            LoginOutcome.INVALID_CREDENTIALS: BadCredentials(
                "login", "e-mail or password refused: correct them in the config"
            ),
            LoginOutcome.MFA_REQUIRED: MfaRequired(
                "login", "the account wants a one-time code: give e_auth_token and cookie from a browser"
            ),
            LoginOutcome.BLOCKED: TooManyLogins("login", "the cloud has blocked the account for now"),
            LoginOutcome.TOO_MANY_SESSIONS: TooManyLogins("login", "too many active sessions"),
        }
        if outcome in refusals:
            self._refuse(refusals[outcome])
        self.logins["unavailable",] += 1
        raise Unavailable("login", f"no usable answer ({outcome.value})")

    def _refuse(self, error: AuthError) -> None:
        count = 1 if self.refusal is None else self.refusal.count + 1
        wait = refusal_wait_seconds(error, count)
        self.refusal = Refusal(error, count, self._wall_clock() + wait)
        self.works = False
        self._login = None
        self._headers.clear()
        result = _RESULT_OF.get(type(error))
        if result is not None:
            self.logins[result,] += 1
        log.error(
            "no login", extra={"account": self.account, "why": str(error), "next_try_in_seconds": int(wait)}
        )
        raise error

    def _adopt(self, login: Login, *, from_password: bool) -> None:
        self._replace(replace(login, obtained_seconds=self._wall_clock()))
        self._from_password = from_password
        self._proven = False
        self.generation += 1

    def _replace(self, login: Login) -> None:
        self._login = login
        self._headers.clear()

    def _built_headers(self, referer_path: str, *, bearer: bool) -> Mapping[str, str]:
        login = self._login
        if login is None:
            raise LoginExpired("login", "no login")
        url = self._surfaces.base_url.join(URL(referer_path))
        headers = common_headers(url, _API_ACCEPT if bearer else "*/*") | cookie_headers(login.cookies)
        version = login.cookies.get("appVersion")
        headers["Referer"] = f"{url}?v={version}" if version else str(url)
        if login.token is not None:
            headers["e-auth-token"] = login.token.text
        bearer_token = login.cookies.get(MANAGER_COOKIE) or login.bearer
        if bearer and bearer_token:
            headers["Authorization"] = f"Bearer {bearer_token}"
        return headers


_RESULT_OF: Mapping[type[AuthError], str] = {
    BadCredentials: "invalid_credentials",
    MfaRequired: "mfa_required",
    TooManyLogins: "blocked",
}


def _captured_login(credentials: Credentials) -> Login | None:
    if not credentials.e_auth_token:
        return None
    pairs = (pair.partition("=") for pair in (credentials.cookie or "").split(";"))
    cookies = {name.strip(): value.strip() for name, separator, value in pairs if separator}
    token = Token(credentials.e_auth_token, claims(credentials.e_auth_token).expiry_seconds)
    return Login(cookies, token, credentials.access_token or token.text, captured=True)
