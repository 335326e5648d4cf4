"""Answers of the login surfaces → values, pure. Knows both surfaces' spellings and nothing else.

An answer to a login means one of the outcomes of `LoginOutcome`; the HTTP status, the body and whether a
one-time-code challenge cookie was set decide together, because the cloud reports most refusals with 200.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec


class LoginOutcome(Enum):
    """What became of a login attempt."""

    SUCCESS = "success"
    COOKIE_ONLY = "cookie_only"  # accepted without a session id: only a cookie can prove it
    MFA_REQUIRED = "mfa_required"
    INVALID_CREDENTIALS = "invalid_credentials"
    BLOCKED = "blocked"
    TOO_MANY_SESSIONS = "too_many_sessions"
    WRONG_CODE = "wrong_code"  # the challenge stands: another code may be tried
    CHALLENGE_GONE = "challenge_gone"  # the code can no longer be entered: log in again from the start
    NO_SUCH_SURFACE = "no_such_surface"  # 404, 405: this cloud speaks the other surface
    NOT_ACCEPTABLE = "not_acceptable"  # 406: the form page may still take us
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """Outcome of a login attempt and, on success, what it handed out."""

    outcome: LoginOutcome
    session_id: str | None = field(default=None, repr=False)
    manager_token: str | None = field(default=None, repr=False)
    system_id: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and when it expires, epoch seconds; None when nothing says so."""

    text: str = field(repr=False)
    expiry_seconds: float | None


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a JWT this client uses; read without verifying, for only the cloud can."""

    expiry_seconds: float | None = None
    user_id: str | None = field(default=None, repr=False)
    session_id: str | None = field(default=None, repr=False)


SESSION_KEYS = ("session_id", "sessionId", "session")
_STATUS_OUTCOMES = {
    401: LoginOutcome.INVALID_CREDENTIALS,
    403: LoginOutcome.INVALID_CREDENTIALS,
    404: LoginOutcome.NO_SUCH_SURFACE,
    405: LoginOutcome.NO_SUCH_SURFACE,
    406: LoginOutcome.NOT_ACCEPTABLE,
    429: LoginOutcome.RATE_LIMITED,
}


def parse_login(
    status: int, body: bytes, *, has_mfa_challenge: bool, by_cookies: bool = False
) -> LoginAnswer:
    """Read the answer of a login request.

    `has_mfa_challenge` says whether a challenge cookie is held; `by_cookies` that the body is a page for a
    browser, so that only cookies tell the outcome of a 2xx.
    """
    # Seen as plain text, as a message, and as JSON escaped inside a string, with 200 and with 4xx.
    if status < 500 and b"too many active sessions" in body.lower():
        return LoginAnswer(LoginOutcome.TOO_MANY_SESSIONS)
    if status in _STATUS_OUTCOMES:
        return LoginAnswer(_STATUS_OUTCOMES[status])
    if status >= 500:
        return LoginAnswer(LoginOutcome.UNAVAILABLE)
    if not 200 <= status < 300:
        return LoginAnswer(LoginOutcome.UNEXPECTED)
    if by_cookies or not body.strip():
        return _cookie_only(has_mfa_challenge)
    document = _json(body)
    if not isinstance(document, dict):
        return LoginAnswer(LoginOutcome.UNAVAILABLE)  # HTML with 200 is an outage, not a bad password
    return _parse_login_object(document, has_mfa_challenge=has_mfa_challenge)


def _parse_login_object(document: dict[str, Any], *, has_mfa_challenge: bool) -> LoginAnswer:
    session_id = _first_text(document, SESSION_KEYS)
    manager_token = _first_text(document, ("manager_token", "managerToken"))
    if _is_true(document, "isBlocked"):
        return LoginAnswer(LoginOutcome.BLOCKED)
    if _is_true(document, "requires_mfa"):
        return LoginAnswer(LoginOutcome.MFA_REQUIRED)
    if session_id:
        return LoginAnswer(
            LoginOutcome.SUCCESS, session_id, manager_token, _first_text(document, ("system_id", "systemId"))
        )
    if document.get("success") is False or manager_token:
        return LoginAnswer(LoginOutcome.INVALID_CREDENTIALS)
    if _is_true(document, "success"):
        # The cloud says "success" when it has merely sent a code.
        return LoginAnswer(
            LoginOutcome.MFA_REQUIRED if has_mfa_challenge else LoginOutcome.INVALID_CREDENTIALS
        )
    if not document:
        return _cookie_only(has_mfa_challenge)
    return LoginAnswer(LoginOutcome.UNEXPECTED)


def _cookie_only(has_mfa_challenge: bool) -> LoginAnswer:
    return LoginAnswer(LoginOutcome.MFA_REQUIRED if has_mfa_challenge else LoginOutcome.COOKIE_ONLY)


_CODE_STATUS_OUTCOMES = {
    400: LoginOutcome.WRONG_CODE,
    404: LoginOutcome.WRONG_CODE,
    409: LoginOutcome.WRONG_CODE,
    422: LoginOutcome.WRONG_CODE,
    401: LoginOutcome.CHALLENGE_GONE,
    403: LoginOutcome.CHALLENGE_GONE,
    429: LoginOutcome.BLOCKED,
}


def parse_code(status: int, body: bytes) -> LoginAnswer:
    """Read the answer to a one-time code; COOKIE_ONLY when only a new session cookie can prove success."""
    if status < 500 and b"too many active sessions" in body.lower():
        return LoginAnswer(LoginOutcome.TOO_MANY_SESSIONS)
    if not 200 <= status < 300:
        return LoginAnswer(_CODE_STATUS_OUTCOMES.get(status, LoginOutcome.UNAVAILABLE))
    if not body.strip():
        return LoginAnswer(LoginOutcome.COOKIE_ONLY)
    document = _json(body)
    if not isinstance(document, dict):
        return LoginAnswer(LoginOutcome.UNAVAILABLE)
    if _is_true(document, "isBlocked"):
        return LoginAnswer(LoginOutcome.BLOCKED)
    if document.get("isValid") is False or document.get("success") is False:
        return LoginAnswer(LoginOutcome.WRONG_CODE)
    session_id = _first_text(document, SESSION_KEYS)
    return LoginAnswer(
        LoginOutcome.SUCCESS if session_id else LoginOutcome.COOKIE_ONLY,
        session_id,
        _first_text(document, ("manager_token", "managerToken")),
    )


def parse_resend(status: int, body: bytes) -> LoginOutcome:
    """Read the answer to "send the code again": MFA_REQUIRED when one was sent."""
    if status == 429:
        return LoginOutcome.BLOCKED
    if status in (401, 403):
        return LoginOutcome.CHALLENGE_GONE
    if not 200 <= status < 300:
        return LoginOutcome.UNAVAILABLE
    if not body.strip():
        return LoginOutcome.MFA_REQUIRED
    document = _json(body)
    if not isinstance(document, dict):
        return LoginOutcome.UNAVAILABLE
    if _is_true(document, "isBlocked"):
        return LoginOutcome.BLOCKED
    refused = document.get("success") is False
    return LoginOutcome.UNEXPECTED if refused else LoginOutcome.MFA_REQUIRED


def parse_token(body: bytes) -> Token | None:
    """Read a token answer; None when it holds no token."""
    document = _json(body)
    if not isinstance(document, dict):
        return None
    text = _first_text(document, ("token", "auth_token", "access_token"))
    if text is None:
        return None
    return Token(
        text, _first_time(document, ("expires_at", "expiresAt", "expiration")) or claims(text).expiry_seconds
    )


def claims(token: str) -> Claims:
    """Read the claims of a JWT, at top level or under `data`; an unreadable token has none."""
    import jwt  # here, because a start with stored headers need not pay for it

    try:
        payload: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return Claims()
    nested = payload.get("data")
    merged = {**(nested if isinstance(nested, dict) else {}), **payload}
    return Claims(
        _first_time(merged, ("exp",)),
        _first_text(merged, ("user_id", "userId", "userid")),
        _first_text(merged, SESSION_KEYS),
    )


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_true(document: dict[str, Any], key: str) -> bool:
    value = document.get(key)
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _first_text(document: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = document.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def _first_time(document: dict[str, Any], keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value = document.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e15:
            return float(value) / 1000 if value > 1e12 else float(value)
        if isinstance(value, str) and value.strip().isdigit():
            return _first_time({"": int(value.strip()[:15])}, ("",))
    return None
