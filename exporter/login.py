"""The login conversation with either surface: what is posted where, and what came back.

Knows neither waiting nor state; auth.py decides when a login may be tried at all. Logins go around the
limit of concurrent reads, because the reads that hold its places may be the ones waiting for the login.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlencode

from yarl import URL

from exporter.errors import LoginExpired, RateLimited
from exporter.parse_auth import (
    LoginAnswer,
    LoginOutcome,
    Token,
    claims,
    parse_code,
    parse_login,
    parse_resend,
    parse_token,
)
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
_FORM = "application/x-www-form-urlencoded; charset=UTF-8"
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
    older_host: bool = False


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
        attempt = replace(await _post(transport, surfaces.entrez_url / "login", older), older_host=True)
    return proven(attempt, before={})


async def validate_code(
    transport: Transport, surfaces: Surfaces, challenge: Attempt, email: str, code: str
) -> Attempt:
    """Answer a challenge with a one-time code; the surface that asked gets it. Raises Unreachable."""
    if challenge.older_host:
        url, form = surfaces.entrez_url / "login/mfa/verify", {"otp": code.strip()}
    else:
        url = surfaces.base_url / "app-api/validate_login_otp"
        form = {
            "email": _base64(email),
            "otp": _base64(code),
            "xhrFields[withCredentials]": "true",
        }
    answer = await _post_challenged(transport, url, form, challenge)
    cookies = rotated(challenge.cookies, answer.cookies)
    attempt = replace(challenge, answer=parse_code(answer.status, answer.body), cookies=cookies)
    attempt = proven(attempt, before=challenge.cookies)
    if attempt.answer.outcome is not LoginOutcome.SUCCESS:
        return attempt
    return replace(attempt, cookies=rotated(attempt.cookies, {MFA_COOKIE: None}))


async def resend_code(transport: Transport, surfaces: Surfaces, challenge: Attempt) -> Attempt:
    """Have the code sent again; the challenge that comes back replaces the one before. Raises Unreachable."""
    url = surfaces.base_url / "app-api/generate_mfa_login_otp"
    answer = await _post_challenged(transport, url, {"locale": "en"}, challenge)
    outcome = parse_resend(answer.status, answer.body)
    # The old nonce is worth nothing once a new one came.
    return replace(challenge, answer=LoginAnswer(outcome), cookies=rotated(challenge.cookies, answer.cookies))


def proven(attempt: Attempt, *, before: Mapping[str, str]) -> Attempt:
    """The attempt, decided where only a cookie can prove success: by a session that was not there before."""
    if attempt.answer.outcome is not LoginOutcome.COOKIE_ONLY:
        return attempt
    session_id = session_of(attempt.cookies)
    is_new = session_id is not None and session_id != session_of(before)
    outcome = LoginOutcome.SUCCESS if is_new else LoginOutcome.UNEXPECTED
    return replace(attempt, answer=replace(attempt.answer, outcome=outcome))


async def _post_challenged(
    transport: Transport, url: URL, form: Mapping[str, str], challenge: Attempt
) -> Answer:
    headers = common_headers(url, _JSON) | cookie_headers(challenge.cookies)
    headers["Content-Type"] = _FORM
    request = Request("mfa", "POST", url, headers, urlencode(form).encode())
    return transport.counted(request, await transport.send(request))


def _base64(text: str) -> str:
    return base64.b64encode(text.strip().encode()).decode()


async def fetch_token(
    transport: Transport, surfaces: Surfaces, cookies: Mapping[str, str]
) -> tuple[Token | None, Mapping[str, str]]:
    """Ask each source of tokens in turn; return the token, if any has one, and the rotated cookies.

    A login survives without a token: the cloud takes cookies alone for most endpoints. Raises LoginExpired
    where the web host does not take the cookies, Unreachable without an answer.
    """
    for url in (surfaces.base_url / "users/self/token", surfaces.entrez_url / "access_token"):
        headers = common_headers(url, _JSON) | cookie_headers(cookies)
        request = Request("token", "GET", url, headers)
        answer = transport.counted(request, await transport.send(request))
        if answer.status == 200:
            return parse_token(answer.body), rotated(cookies, answer.cookies)
        if answer.status in (401, 403) and url.path.endswith("self/token"):
            raise LoginExpired("token", f"HTTP {answer.status}: the login is not taken", status=answer.status)
        if answer.status not in (400, 404, 405, 422):
            break
    return None, cookies


async def _post(transport: Transport, url: URL, form: Mapping[str, str], *, accept: str = "*/*") -> Attempt:
    headers = common_headers(url, accept) | {
        "Content-Type": _FORM,
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
