"""Who is logged in: session cookies, pending one-time codes and tokens, on the real clock."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jwt

from exporter.simulator.answer import Cookie
from exporter.simulator.settings import CloudConfig

LOGIN_COOKIE = "_enlighten_4_session"
OLD_LOGIN_COOKIE = "_enlighten_session"  # the name the older login surface uses
MANAGER_COOKIE = "enlighten_manager_token_production"
NONCE_COOKIE = "login_otp_nonce"
XSRF_COOKIE = "XSRF-TOKEN"

SIGNING_KEY = "simulated-enlighten-cloud-signing-key-of-no-value"
USER_ID = "7654321"
NONCE_LIFETIME_SECONDS = 600.0
ROTATION_GRACE_SECONDS = 30.0
MAX_WRONG_CODES = 5


@dataclass(eq=False)
class Login:
    """One login; `login_id` is the newest value of its session cookie."""

    login_id: str
    expires_at: float
    pending: bool = False  # waits for a one-time code
    nonce: str = ""
    nonce_expires_at: float = 0.0
    wrong_codes: int = 0
    answers: int = 0


class Logins:
    """Every login and token given out. `clock` is real epoch seconds."""

    def __init__(self, config: CloudConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._by_cookie: dict[str, tuple[Login, float]] = {}
        self._tokens: dict[str, float] = {}
        self._captured = Login("captured", float("inf"))

    @property
    def active(self) -> int:
        """Finished logins that have not expired."""
        now = self._clock()
        logins = {id(login): login for login, until in self._by_cookie.values() if until > now}
        return sum(1 for login in logins.values() if not login.pending and login.expires_at > now)

    def open(self, *, pending: bool = False) -> Login:
        """A new login, not yet finished while `pending`."""
        login = Login(secrets.token_hex(16), self._clock() + self._config.session_lifetime_seconds, pending)
        self._by_cookie[login.login_id] = (login, float("inf"))
        if pending:
            self.renew_nonce(login)
        return login

    def renew_nonce(self, login: Login) -> None:
        """A new challenge; the old one is worth nothing from now on."""
        login.nonce = secrets.token_hex(8)
        login.nonce_expires_at = self._clock() + NONCE_LIFETIME_SECONDS

    def challenged(self, cookies: Mapping[str, str]) -> Login | None:
        """The pending login whose challenge these cookies hold."""
        nonce = cookies.get(NONCE_COOKIE, "")
        now = self._clock()
        for login, _ in self._by_cookie.values():
            if login.pending and nonce and login.nonce == nonce and login.nonce_expires_at > now:
                return login
        return None

    def finish(self, login: Login) -> Login:
        """The code was right: a fresh login replaces the pending one."""
        del self._by_cookie[login.login_id]
        return self.open()

    def known(self, cookies: Mapping[str, str], e_auth_token: str | None) -> Login | None:
        """The finished login a request belongs to."""
        if cookies and e_auth_token and e_auth_token in self._config.captured_tokens:
            return self._captured
        now = self._clock()
        for name in (LOGIN_COOKIE, OLD_LOGIN_COOKIE):
            login, until = self._by_cookie.get(cookies.get(name, ""), (None, 0.0))
            if login is not None and until > now and login.expires_at > now and not login.pending:
                return login
        return None

    def by_id(self, login_id: str) -> Login | None:
        """The finished login of a session id given by value."""
        return self.known({LOGIN_COOKIE: login_id}, None)

    def rotate(self, login: Login) -> list[Cookie]:
        """A new session cookie; the old value works a little longer, for requests under way."""
        if login is self._captured:
            return []
        self._by_cookie[login.login_id] = (login, self._clock() + ROTATION_GRACE_SECONDS)
        login.login_id = secrets.token_hex(16)
        self._by_cookie[login.login_id] = (login, float("inf"))
        return [self.login_cookie(login)]

    def rotate_in_turn(self, login: Login) -> list[Cookie]:
        """Counts an answer, and rotates when the configured number is reached."""
        login.answers += 1
        every = self._config.rotate_every
        return self.rotate(login) if every and login.answers % every == 0 else []

    def login_cookie(self, login: Login) -> Cookie:
        """The session cookie under the surface's name."""
        is_web = self._config.surface == "web"
        return Cookie(LOGIN_COOKIE if is_web else OLD_LOGIN_COOKIE, login.login_id, http_only=True)

    def new_token(self, login: Login) -> tuple[str, int]:
        """A JWT and its expiry in epoch seconds."""
        now = self._clock()
        expires_at = now + self._config.token_lifetime_seconds
        claims = {
            "iat": int(now),
            "exp": int(expires_at),
            "jti": secrets.token_hex(4),
            "user_id": USER_ID,
            "session_id": login.login_id,
        }
        token = jwt.encode(claims, SIGNING_KEY, algorithm="HS256")
        self._tokens[token] = expires_at
        return token, int(expires_at)

    def accepts(self, token: str | None) -> bool:
        """Whether a token was given out (or captured) and has not expired."""
        if token is None:
            return False
        return token in self._config.captured_tokens or self._tokens.get(token, 0.0) > self._clock()

    def expire_logins(self) -> None:
        """Every session cookie is worth nothing from now on."""
        self._by_cookie.clear()

    def expire_tokens(self) -> None:
        """Every token given out is worth nothing from now on."""
        self._tokens.clear()
