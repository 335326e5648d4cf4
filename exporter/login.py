"""The login conversation with either surface: what is posted where, and what came back.

Knows neither waiting nor state; auth.py decides when a login may be tried at all. Logins go around the
limit of concurrent reads, because the reads that hold its places may be the ones waiting for the login.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlencode

from yarl import URL

from exporter.errors import RateLimited
from exporter.parse_auth import LoginAnswer, LoginOutcome, Token, claims, parse_login, parse_token
from exporter.transport import Answer, Request, Transport, error_of

# Library-default agents are answered 406 since spring 2026.
USER_AGENT = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/26.3.1 Safari/605.1.15"
)
MANAGER_COOKIE = "enlighten_manager_token_production"
MFA_COOKIE = "login_otp_nonce"
_SESSION_COOKIES = ("_enlighten_4_session", "enlighten_session", "_enlighten_session")
_XSRF_COOKIES = ("xsrf-token", "bp-xsrf-token")
_JSON = "application/json, text/plain, */*"
_PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@dataclass(frozen=True, slots=True)
class Surfaces:
    """Where to log in: the web host first, the older login host where that answers 404 or 405."""

    base_url: URL
    entrez_url: URL


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one login attempt ended, and the cookies it left."""

    answer: LoginAnswer
    cookies: Mapping[str, str] = field(repr=False)


async def attempt_login(transport: Transport, surfaces: Surfaces, email: str, password: str) -> Attempt:
    """Try the web login, its form page on 406, and the older host on 404 or 405.

    Raises RateLimited on 429 and Unreachable without an answer.
    """
    form = {"user[email]": email, "user[password]": password}
    attempt = await _post(transport, surfaces.base_url / "login/login.json", form)
    if attempt.answer.outcome is LoginOutcome.NOT_ACCEPTABLE:
        attempt = await _post(transport, surfaces.base_url / "login/login", form, accept=_PAGE)
    if attempt.answer.outcome is LoginOutcome.NO_SUCH_SURFACE:
        older = {"email": email, "password": password}
        attempt = await _post(transport, surfaces.entrez_url / "login", older)
    return attempt


async def fetch_token(
    transport: Transport, surfaces: Surfaces, cookies: Mapping[str, str]
) -> tuple[Token | None, Mapping[str, str]]:
    """Ask each source of tokens in turn; return the token, if any has one, and the rotated cookies.

    A login survives without a token: the cloud takes cookies alone for most endpoints.
    """
    for url in (surfaces.base_url / "users/self/token", surfaces.entrez_url / "access_token"):
        headers = common_headers(url, _JSON) | cookie_headers(cookies)
        request = Request("token", "GET", url, headers)
        answer = transport.counted(request, await transport.send(request))
        if answer.status == 200:
            return parse_token(answer.body), rotated(cookies, answer.cookies)
        if answer.status not in (400, 404, 405, 422):
            break
    return None, cookies


async def _post(transport: Transport, url: URL, form: Mapping[str, str], *, accept: str = "*/*") -> Attempt:
    headers = common_headers(url, accept) | {
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "Origin": str(url.origin()),
    }
    request = Request("login", "POST", url, headers, urlencode(form).encode())
    answer = transport.counted(request, await transport.send(request))
    cookies = rotated({}, answer.cookies)
    # A browser would follow a redirect; the cookies are set by now, and they alone tell how the login went.
    redirected = _stays_at_home(url, answer)
    parsed = parse_login(
        200 if redirected else answer.status,
        answer.body,
        has_mfa_challenge=MFA_COOKIE in cookies,
        by_cookies=redirected or accept == _PAGE,
    )
    error = error_of(request, answer)
    if isinstance(error, RateLimited):
        raise error
    return Attempt(parsed, cookies)


def _stays_at_home(url: URL, answer: Answer) -> bool:
    if not 300 <= answer.status < 400 or not answer.location:
        return False
    return url.join(URL(answer.location)).origin() == url.origin()


def session_of(cookies: Mapping[str, str]) -> str | None:
    """The session id that cookies prove, in the cloud's own order of preference."""
    for name in _SESSION_COOKIES:
        if cookies.get(name):
            return cookies[name]
    return claims(cookies.get(MANAGER_COOKIE, "")).session_id


def rotated(cookies: Mapping[str, str], changes: Mapping[str, str | None]) -> Mapping[str, str]:
    """Cookies after an answer: set, replaced, or (None) removed."""
    merged = {**cookies, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def common_headers(url: URL, accept: str) -> dict[str, str]:
    """What every request carries to look like the vendor's own page."""
    return {
        "Accept": accept,
        "Referer": f"{url.origin()}/",
        "User-Agent": USER_AGENT,
        "X-Requested-With": "XMLHttpRequest",
    }


def cookie_headers(cookies: Mapping[str, str]) -> dict[str, str]:
    """The Cookie header, and the CSRF token that goes with it; its cookie may be quoted and encoded."""
    if not cookies:
        return {}
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    for name, value in cookies.items():
        if name.lower() in _XSRF_COOKIES:
            headers["X-CSRF-Token"] = unquote(value.strip('"'))
            break
    return headers
