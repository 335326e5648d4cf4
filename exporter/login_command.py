"""The conversation of `enphase-ev-exporter login`: password, one-time code, and what came of it.

The person at the other end is a `Dialogue`, so that the same conversation works in a terminal, over a pipe
and in a test.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from exporter.auth import finished_login
from exporter.errors import (
    AuthError,
    BadCredentials,
    CloudError,
    LoginExpired,
    TooManyLogins,
    Unavailable,
)
from exporter.login import Attempt, Surfaces, attempt_login, resend_code, validate_code
from exporter.model import Login
from exporter.parse_auth import LoginOutcome
from exporter.transport import Transport

RESEND_PAUSE_SECONDS = 30.0
MOST_CODES = 5

_ENDS: dict[LoginOutcome, AuthError] = {
    LoginOutcome.INVALID_CREDENTIALS: BadCredentials("login", "e-mail or password refused"),
    LoginOutcome.BLOCKED: TooManyLogins(
        "login", "the cloud has blocked the account for now: leave it alone for a day"
    ),
    LoginOutcome.TOO_MANY_SESSIONS: TooManyLogins(
        "login", "too many active sessions: log out elsewhere, or wait a day"
    ),
    LoginOutcome.CHALLENGE_GONE: LoginExpired("mfa", "the code can no longer be entered: start again"),
}


class Dialogue(Protocol):
    """Asks a person; `ask` and `ask_secret` raise EOFError when there is no more answer."""

    def ask(self, prompt: str) -> str:
        """One line, shown as it is typed."""

    def ask_secret(self, prompt: str) -> str:
        """One line, not shown."""

    def tell(self, text: str) -> None:
        """One line for the person."""


async def log_in(
    transport: Transport,
    surfaces: Surfaces,
    email: str,
    password: str,
    dialogue: Dialogue,
    *,
    clock: Callable[[], float] = time.monotonic,
    wall_clock: Callable[[], float] = time.time,
    resend_pause_seconds: float = RESEND_PAUSE_SECONDS,
) -> Login:
    """Log in once, with as many codes as it takes up to `MOST_CODES`.

    Raises the AuthError that a refusal means, Unavailable without a usable answer, Unreachable, RateLimited.
    """
    attempt = await attempt_login(transport, surfaces, email, password)
    if attempt.answer.outcome is LoginOutcome.MFA_REQUIRED:
        dialogue.tell("The account wants the one-time code that was sent to its owner.")
        codes = _Codes(transport, surfaces, email, dialogue, clock, resend_pause_seconds, attempt, clock())
        attempt = await codes.answered()
    outcome = attempt.answer.outcome
    if outcome in _ENDS:
        raise _ENDS[outcome]
    if outcome is not LoginOutcome.SUCCESS:
        raise Unavailable("login", f"the cloud gave no usable answer ({outcome.value}): try again later")
    return await finished_login(transport, surfaces, attempt, email, wall_clock())


@dataclass
class _Codes:
    """A challenge, and the person who answers it with codes."""

    transport: Transport
    surfaces: Surfaces
    email: str
    dialogue: Dialogue
    clock: Callable[[], float]
    resend_pause_seconds: float
    challenge: Attempt
    sent_at: float

    async def answered(self) -> Attempt:
        """Ask for codes until one is taken or the cloud has had enough."""
        wrong = 0
        while wrong < MOST_CODES:
            code = self.dialogue.ask("Code (r: send it again): ").strip()
            if code.lower() == "r":
                await self._send_again()
                continue
            attempt = await self._tried(code) if code else None
            if attempt is None:
                continue
            if attempt.answer.outcome is not LoginOutcome.WRONG_CODE:
                return attempt
            wrong += 1
            self.challenge = attempt
            self.dialogue.tell("That code is wrong or has expired.")
        raise LoginExpired("mfa", f"{MOST_CODES} wrong codes: start again with a new one")

    async def _tried(self, code: str) -> Attempt | None:
        """The answer to a code; None when the cloud gave none that can be used."""
        try:
            attempt = await validate_code(self.transport, self.surfaces, self.challenge, self.email, code)
        except CloudError as error:
            self.dialogue.tell(f"{error}; try the code again.")  # it may have arrived, or not
            return None
        if attempt.answer.outcome is LoginOutcome.UNAVAILABLE:
            self.dialogue.tell("The cloud gave no usable answer; the code was not used up.")
            return None
        return attempt

    async def _send_again(self) -> None:
        """Have the code sent again, at most once in a pause; the new challenge replaces the old one."""
        if self.challenge.older_host:
            self.dialogue.tell("This login cannot send a code again: start again for a new one.")
            return
        wait = self.resend_pause_seconds - (self.clock() - self.sent_at)
        if wait > 0:
            self.dialogue.tell(f"A code was sent moments ago; it can be sent again in {wait:.0f} s.")
            return
        try:
            attempt = await resend_code(self.transport, self.surfaces, self.challenge)
        except CloudError as error:
            self.dialogue.tell(f"{error}; no new code was sent.")
            return
        outcome = attempt.answer.outcome
        if outcome in _ENDS:
            raise _ENDS[outcome]
        if outcome is not LoginOutcome.MFA_REQUIRED:
            self.dialogue.tell("The cloud did not send a new code.")
            return
        self.challenge, self.sent_at = attempt, self.clock()
        self.dialogue.tell("A new code is on its way.")
