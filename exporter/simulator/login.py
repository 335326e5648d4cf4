"""The two login surfaces: what each answers, outcome by outcome.

`login_outcome` (of CloudConfig, or of a fault of that kind on endpoint `login`) picks the answer to a login:
    let in       ok  key_variants  session_key  empty_object  empty_text
    one-time     mfa_explicit  mfa_implicit
    turned away  every key of TURNED_AWAY
On endpoint `mfa` it can be a key of TURNED_AWAY, whatever the code; of THIN, a right code without a session
id in the body; thin_bare, without cookies either; text_plain, JSON called text; empty_text, a resend whose
answer is empty.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from exporter.simulator.answer import LOGIN_PAGE, Answer, Cookie, empty, html
from exporter.simulator.logins import (
    MANAGER_COOKIE,
    MAX_WRONG_CODES,
    NONCE_COOKIE,
    XSRF_COOKIE,
    Login,
    Logins,
)
from exporter.simulator.settings import CloudConfig

TOO_MANY = "Too many active sessions.."
LET_IN = {"ok", "key_variants", "session_key", "empty_object", "empty_text", "mfa_explicit", "mfa_implicit"}


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """What a login surface looks at."""

    cookies: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    outcome: str | None  # asked for by a fault


def form_of(body: bytes, content_type: str) -> dict[str, str]:
    """Fields of a form or of a JSON object; empty when it is neither."""
    if "json" in content_type:
        try:
            found = json.loads(body or b"{}")
        except ValueError:
            return {}
        return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


class LoginSurface:
    """Answers logins, one-time codes and token requests."""

    def __init__(self, config: CloudConfig, logins: Logins, first_site: str) -> None:
        self._config = config
        self._logins = logins
        self._first_site = first_site

    def password(self, asked: LoginRequest) -> Answer:
        """POST /login/login.json, and POST /login of the older surface."""
        outcome = asked.outcome or self._config.login_outcome
        if outcome not in LET_IN:
            return TURNED_AWAY[outcome](self._token_for_nobody())
        if not self._is_owner(asked.form):
            return self._refused()
        if self._is_full():
            return TURNED_AWAY["too_many"]("")
        mfa = outcome.removeprefix("mfa_") if outcome.startswith("mfa_") else self._config.mfa
        if mfa is not None:
            return self._challenge("explicit" if mfa == "explicit" else "implicit")
        return self._welcome(self._logins.open(), outcome)

    def page(self, asked: LoginRequest) -> Answer:
        """POST /login/login: a page whatever happens; only cookies tell the outcome."""
        if not self._is_owner(asked.form):
            return html(LOGIN_PAGE, 401)
        if self._is_full():
            return html(f"<html><body>{TOO_MANY}</body></html>")
        answer = html("<!DOCTYPE html><html><body>Welcome</body></html>")
        if self._config.mfa is not None:
            answer.cookies = self._challenge(self._config.mfa).cookies
        else:
            answer.cookies = self._cookies(self._logins.open())
        return answer

    def code(self, asked: LoginRequest, *, plain: bool = False) -> Answer:
        """POST /app-api/validate_login_otp (base64 fields), and POST /login/mfa/verify (`plain`)."""
        login = self._logins.challenged(asked.cookies)
        if asked.outcome is not None and asked.outcome in TURNED_AWAY:
            return TURNED_AWAY[asked.outcome]("")
        if login is None:
            return Answer(401, {"message": "Invalid"})
        if login.wrong_codes >= MAX_WRONG_CODES:
            return Answer(payload={"isValid": False, "isBlocked": True})
        if _code_in(asked.form, plain=plain) != self._config.mfa_code:
            login.wrong_codes += 1
            return Answer(payload={"isValid": False, "isBlocked": login.wrong_codes >= MAX_WRONG_CODES})
        answer = self._welcome(self._logins.finish(login), "ok", valid_number=True)
        if asked.outcome in THIN:
            answer.payload, answer.text = None, THIN[asked.outcome]
            answer.status = 204 if asked.outcome == "thin_204" else 200
        if asked.outcome == "thin_bare":
            return Answer(payload={"isValid": True})
        if asked.outcome == "text_plain":
            answer.content_type = "text/plain"
        answer.cookies.append(Cookie(NONCE_COOKIE, "", max_age_seconds=0))
        return answer

    def resend(self, asked: LoginRequest) -> Answer:
        """POST /app-api/generate_mfa_login_otp: a new code, and a new challenge."""
        if asked.outcome is not None and asked.outcome in TURNED_AWAY:
            return TURNED_AWAY[asked.outcome]("")
        login = self._logins.challenged(asked.cookies)
        if login is None:
            return Answer(401, {"success": False})
        if asked.outcome == "empty_text":
            return empty()
        self._logins.renew_nonce(login)
        return Answer(
            payload={"success": True, "isBlocked": False},
            cookies=[Cookie(NONCE_COOKIE, login.nonce, http_only=True)],
        )

    def token(self, login: Login) -> Answer:
        """GET /users/self/token; the session cookie is rotated."""
        token, expires_at = self._logins.new_token(login)
        return Answer(payload={"token": token, "expires_at": expires_at}, cookies=self._logins.rotate(login))

    def access_token(self, login: Login) -> Answer:
        """GET or POST /access_token of the older surface."""
        token, _ = self._logins.new_token(login)
        return Answer(payload={"access_token": token})

    def _is_owner(self, form: Mapping[str, str]) -> bool:
        email = form.get("user[email]", form.get("email", form.get("username")))
        password = form.get("user[password]", form.get("password"))
        return (email, password) == (self._config.email, self._config.password)

    def _is_full(self) -> bool:
        most = self._config.max_logins
        return most is not None and self._logins.active >= most

    def _refused(self) -> Answer:
        style = self._config.refusal
        return TURNED_AWAY["refused_200" if style == "200" else f"invalid_{style}"]("")

    def _challenge(self, style: str) -> Answer:
        login = self._logins.open(pending=True)
        bodies: dict[str, Any] = {
            "explicit": {"requires_mfa": True},
            "implicit": {"success": True, "isBlocked": False},
        }
        nonce = Cookie(NONCE_COOKIE, login.nonce, http_only=True)
        return Answer(payload=bodies[style], cookies=[nonce, self._logins.login_cookie(login)])

    def _welcome(self, login: Login, outcome: str, *, valid_number: bool = False) -> Answer:
        manager_token, _ = self._logins.new_token(login)
        login_key = {"key_variants": "sessionId", "session_key": "session"}.get(outcome, "session_id")
        token_key = "managerToken" if outcome == "key_variants" else "manager_token"
        body: dict[str, Any] = {
            "message": "success",
            login_key: login.login_id,
            token_key: manager_token,
            "is_consumer": True,
            "system_id": self._first_site,
            "redirect_url": "",
        }
        if valid_number:
            body["isValidMobileNumber"] = True
        answer = (
            empty() if outcome == "empty_text" else Answer(payload={} if outcome == "empty_object" else body)
        )
        answer.cookies = self._cookies(login, manager_token)
        return answer

    def _cookies(self, login: Login, manager_token: str | None = None) -> list[Cookie]:
        manager = manager_token or self._logins.new_token(login)[0]
        return [
            self._logins.login_cookie(login),
            Cookie(MANAGER_COOKIE, manager),
            Cookie(XSRF_COOKIE, f'"{login.login_id[:12]}%3D%3D"'),
            Cookie("locale", "en"),
        ]

    def _token_for_nobody(self) -> str:
        return self._logins.new_token(Login("0" * 32, 0.0))[0]


def _code_in(form: Mapping[str, str], *, plain: bool) -> str | None:
    if plain:
        return next((form[name] for name in ("otp", "code", "mfa_code") if name in form), None)
    try:
        return base64.b64decode(form.get("otp", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


TURNED_AWAY: dict[str, Callable[[str], Answer]] = {
    "success_bare": lambda _: Answer(payload={"success": True}),
    "invalid_401": lambda _: Answer(401, {"message": "Invalid"}),
    "invalid_403": lambda _: Answer(403, {"message": "Invalid"}),
    "refused_200": lambda _: Answer(payload={"success": False}),
    "blocked": lambda _: Answer(payload={"isBlocked": True}),
    "blocked_refused": lambda _: Answer(payload={"success": False, "isBlocked": True}),
    "token_only": lambda token: Answer(payload={"manager_token": token}),
    "too_many": lambda _: Answer(403, {"message": TOO_MANY}),
    "too_many_200": lambda _: Answer(payload={"message": TOO_MANY.upper()}),
    "too_many_text": lambda _: Answer(422, text=TOO_MANY, content_type="text/plain"),
    "too_many_escaped": lambda _: Answer(payload=json.dumps({"message": TOO_MANY})),
    "not_acceptable": lambda _: html("<html><body>406 Not Acceptable</body></html>", 406),
    "server_error": lambda _: Answer(503, text="upstream connect error", content_type="text/plain"),
    "html": lambda _: html(LOGIN_PAGE),
    "unmatched": lambda _: Answer(payload={"message": "welcome"}),
    "throttled": lambda _: Answer(429, {"message": "slow down"}, headers={"Retry-After": "60"}),
}
THIN = {
    "thin": "",
    "thin_204": "",
    "thin_message": '{"message":"success"}',
    "thin_success": '{"success":true}',
    "thin_valid": '{"isValid":true}',
}
OUTCOMES = {*LET_IN, *TURNED_AWAY, *THIN, "thin_bare", "text_plain"}
