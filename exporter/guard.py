"""When a login may be tried again after one was refused. Pure.

Owners were locked out for a day by software that logged in again at every 401. So: one attempt, then a
wait. Credentials that were refused wait 300 s, and a day from the third time on; a block, or too many active
sessions, a day; a one-time code and expired captured headers wait for a person. What lifts a guard early is a
successful `enphase-ev-exporter login`, or other credentials.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping

from exporter.errors import AuthError, BadCredentials, LoginExpired, MfaRequired, TooManyLogins
from exporter.model import Guard

REFUSED_WAIT_SECONDS = 300.0
LONG_WAIT_SECONDS = 86_400.0
REFUSALS_BEFORE_LONG_WAIT = 3
# A login that a crash cut off may have been counted by the cloud all the same.
UNFINISHED_WAIT_SECONDS = 60.0

_ERRORS: Mapping[str, type[AuthError]] = {
    "invalid_credentials": BadCredentials,
    "mfa_required": MfaRequired,
    "blocked": TooManyLogins,
    "expired": LoginExpired,
    "unfinished": LoginExpired,
    "rejected": LoginExpired,
}


def after_refusal(before: Guard | None, reason: str, message: str, *, now: float, credentials: str) -> Guard:
    """The guard after one more refusal; `reason` is a key of the table of errors."""
    refusals = 1 if before is None else before.refusals + 1
    return Guard(reason, message, refusals, now, _until(reason, refusals, now), credentials)


def _until(reason: str, refusals: int, now: float) -> float | None:
    if reason in ("mfa_required", "expired"):
        return None
    if reason == "blocked" or refusals >= REFUSALS_BEFORE_LONG_WAIT:
        return now + LONG_WAIT_SECONDS
    return now + REFUSED_WAIT_SECONDS


def unfinished(before: Guard | None, *, now: float) -> Guard:
    """The guard while a login is under way, which holds should its end never be written.

    It holds whatever the credentials, for a minute is soon over.
    """
    refusals = 0 if before is None else before.refusals
    until = now + UNFINISHED_WAIT_SECONDS
    return Guard("unfinished", "a login was cut off moments ago", refusals, now, until)


def is_shut(guard: Guard | None, now: float) -> bool:
    """Whether no login may be tried at this moment."""
    return guard is not None and (guard.until_seconds is None or now < guard.until_seconds)


def holds_for(guard: Guard, *credentials: str | None) -> bool:
    """Whether a stored guard concerns these credentials; one of an unfinished login concerns all."""
    return guard.reason == "unfinished" or is_same(guard.credentials, *credentials)


def error_of(guard: Guard) -> AuthError:
    """The error that a guard stands for."""
    return _ERRORS.get(guard.reason, LoginExpired)("login", guard.message)


def _hashed(joined: bytes, salt: bytes) -> str:
    return hashlib.scrypt(joined, salt=salt, n=2**12, r=8, p=1, dklen=16).hex()


def fingerprint(*credentials: str | None, salt: bytes | None = None) -> str:
    """A text that tells whether credentials are the same, and nothing else about them."""
    salt = os.urandom(16) if salt is None else salt
    joined = "\0".join(text or "" for text in credentials).encode()
    return f"{salt.hex()}${_hashed(joined, salt)}"


def owner_of(email: str, salt: str | None = None) -> str:
    """A text that tells whether an e-mail address is the same; quick, for it is no secret worth guessing."""
    salt = os.urandom(8).hex() if salt is None else salt
    return f"{salt}${hashlib.sha256((salt + email).encode()).hexdigest()[:32]}"


def is_owner(known: str, email: str) -> bool:
    """Whether a login was made with this address."""
    return known == owner_of(email, known.partition("$")[0])


def is_same(known: str, *credentials: str | None) -> bool:
    """Whether a fingerprint is of these credentials."""
    salt, _, _ = known.partition("$")
    try:
        found = fingerprint(*credentials, salt=bytes.fromhex(salt))
        return hmac.compare_digest(known.encode(), found.encode())
    except ValueError:
        return False
