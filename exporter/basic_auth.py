"""What a request passes before it is answered: the rate limit, then who asks. The aiohttp middleware of both.

Passwords are compared by bcrypt on a thread, a result is remembered under a key of this process, and an
unknown user costs as much time as a wrong password.
"""

import asyncio
import base64
import hmac
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from aiohttp import web

from exporter.readers import Secret
from exporter.web_config import RateLimit, WebFile, healthcheck_proof

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="enphase-ev-exporter", charset="UTF-8"'}
_API = "/api/v1"
# Each keeps a core busy for its time; more at once would hold up the scrapes.
_MOST_AT_ONCE = 2
_MOST_REMEMBERED = 256
# bcrypt reads no further; Go's compares what is longer by this much, the bcrypt package refuses it.
_BCRYPT_BYTES = 72


class Gate:
    """Lets requests through by one web config file."""

    def __init__(
        self, web_file: WebFile, former: "Gate | None" = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """A gate after another one goes on counting under the same rate limit, and remembers nobody."""
        limit = web_file.rate_limit
        self._passwords = Passwords(web_file.users)
        self._bucket: Bucket | None = Bucket(limit, clock) if limit else None
        if former is not None and former._bucket is not None and former._bucket.limit == limit:
            self._bucket = former._bucket
        self._proofs = [healthcheck_proof(web_file.content)]

    def saw(self, content: bytes) -> None:
        """Let the health check prove itself by a newer file, too: it may be refused, or not read in yet."""
        self._proofs[1:] = [healthcheck_proof(content)]

    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 429 or 401, or let the request through."""
        if self._is_healthcheck(request):
            return await handler(request)
        wait_seconds = self._bucket.take() if self._bucket else 0.0
        if wait_seconds:
            headers = {"Retry-After": str(math.ceil(wait_seconds))}
            return web.Response(status=429, text="too many requests\n", headers=headers)
        if await self._may(request):
            return await handler(request)
        return web.Response(status=401, text="unauthorized\n", headers=_CHALLENGE)

    def _is_healthcheck(self, request: web.Request) -> bool:
        scheme, proof = _authorization(request)
        if scheme != "healthcheck" or route_of(request) != "/-/healthy":
            return False
        return any(hmac.compare_digest(proof.encode(), known.encode()) for known in self._proofs)

    async def _may(self, request: web.Request) -> bool:
        if not self._passwords.users:
            return True
        scheme, value = _authorization(request)
        if scheme == "bearer":
            # The control API checks its own token, and answers a wrong one itself.
            return f"{route_of(request)}/".startswith(f"{_API}/")
        return scheme == "basic" and await self._passwords.fit(value)


def route_of(request: web.Request) -> str:
    """The path of the route that will answer, as it was declared; empty when none will: 404 and 405."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def _authorization(request: web.Request) -> tuple[str, str]:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower(), value.strip()


class Passwords:
    """Users and their bcrypt hashes; `comparisons` is how many bcrypt made so far."""

    def __init__(self, users: Mapping[str, Secret]) -> None:
        self.users = users
        self.comparisons = 0
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self._key = secrets.token_bytes(32)
        # Apart, so that guesses never push out who has been let in.
        self._right: dict[bytes, None] = {}
        self._wrong: dict[bytes, None] = {}
        self._nobodys = nobodys_hash(users)

    async def fit(self, credentials: str) -> bool:
        """Whether this base64 of `user:password` is of a user; False for anything that is none."""
        pair = decoded(credentials)
        if pair is None:
            return False
        hashed = self.users.get(pair.user)
        password_hash = hashed.reveal().encode() if hashed else self._nobodys
        mark = hmac.digest(
            self._key, b"\0".join((password_hash, pair.user.encode(), pair.password)), "sha256"
        )
        if not self._is_known(mark):
            async with self._slots:
                if not self._is_known(mark):  # by another request that came with it meanwhile
                    same = await self._compared(pair.password, password_hash)
                    _remember(self._right if same and hashed is not None else self._wrong, mark)
        return mark in self._right

    def _is_known(self, mark: bytes) -> bool:
        return mark in self._right or mark in self._wrong

    async def _compared(self, password: bytes, password_hash: bytes) -> bool:
        import bcrypt  # here, because only this feature needs the library

        self.comparisons += 1
        return await asyncio.to_thread(bcrypt.checkpw, password[:_BCRYPT_BYTES], password_hash)


def _remember(marks: dict[bytes, None], mark: bytes) -> None:
    marks[mark] = None
    if len(marks) > _MOST_REMEMBERED:
        del marks[next(iter(marks))]


class Pair(NamedTuple):
    """A user's name and password as they were sent."""

    user: str
    password: bytes

    def __repr__(self) -> str:
        return "Pair(…)"


def decoded(credentials: str) -> Pair | None:
    """`dXNlcjpwYXNz` → user, pass; None for what is not base64 of UTF-8 with a colon."""
    try:
        user, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:  # binascii's and UTF-8's errors are both
        return None
    return Pair(user, password.encode()) if colon else None


def nobodys_hash(users: Mapping[str, Secret]) -> bytes:
    """A hash of the highest cost among the users', to compare with where there is no such user."""
    cost = max((hashed.reveal()[4:6] for hashed in users.values()), default="10")
    return f"$2b${cost}$".encode() + b"." * 53


class Bucket:
    """The tokens of one rate limit."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._tokens = float(limit.burst)
        self._counted_at = clock()

    def take(self) -> float:
        """Take a token; seconds until there is one again when there is none, else 0."""
        now = self._clock()
        earned = (now - self._counted_at) / self.limit.interval_seconds
        self._tokens = min(self._tokens + earned, self.limit.burst)
        self._counted_at = now
        if self._tokens < 1:
            return (1 - self._tokens) * self.limit.interval_seconds
        self._tokens -= 1
        return 0.0
