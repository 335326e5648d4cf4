"""One HTTP exchange with the cloud: throttle, time-out, status → error, counts; never retries.

No write is sent twice: aiohttp by itself repeats a PUT whose connection was lost, and is kept from it.

Redirects are not followed: a redirect is an answer like any other, and following one would carry cookies
and tokens to wherever it points.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from exporter.errors import (
    CloudError,
    LoginExpired,
    NotOffered,
    NotSent,
    RateLimited,
    Rejected,
    Unavailable,
    UnexpectedPayload,
    Unreachable,
)

ERROR_KINDS = (
    "timeout", "connection", "unauthorized", "rate_limited",
    "client_error", "server_error", "login_page", "invalid_payload",
)  # fmt: skip

# A status answer is about 1 kB a charger; nothing this client reads comes near a megabyte.
MAX_BODY_BYTES = 4 * 1024 * 1024
# At most two reads of one account at a time: what the vendor's own client was found to tolerate.
CONCURRENT_READS = 2

_HTML_MARKERS = (b"<!doctype html", b"<html")
_LOGIN_MARKERS = (b"/login/login", b'type="password"', b"window.optanonwrapper", b"var otlang", b"one trust")
# Outage pages may carry one of these too; only together do they mean the login page.
_WEAK_LOGIN_MARKERS = (b"x-ua-compatible", b"enphaseenergy.com")


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask: `endpoint` is the metric label; 403/404 on an `optional` one is no failure."""

    endpoint: str
    method: str
    url: URL
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `cookies` maps each cookie that was set to its value, None for a removed one."""

    status: int
    body: bytes = field(repr=False)
    cookies: Mapping[str, str | None] = field(repr=False)
    location: str = ""
    retry_after_seconds: float | None = None


@dataclass(slots=True)
class Tally:
    """Requests and errors of one account, counted since the start; known label sets start at 0."""

    endpoints: tuple[str, ...]
    requests: dict[tuple[str, str], int] = field(init=False)
    errors: dict[tuple[str, str], int] = field(init=False)
    rate_limited: dict[tuple[str], int] = field(init=False)

    def __post_init__(self) -> None:
        self.requests = {(endpoint, "200"): 0 for endpoint in self.endpoints}
        self.errors = {(endpoint, kind): 0 for endpoint in self.endpoints for kind in ERROR_KINDS}
        self.rate_limited = {(endpoint,): 0 for endpoint in self.endpoints}

    def answered(self, endpoint: str, status: int) -> None:
        """Count a request; status 0 when there was no answer."""
        key = (endpoint, str(status))
        self.requests[key] = self.requests.get(key, 0) + 1

    def failed(self, endpoint: str, kind: str) -> None:
        """Count an error, and a 429 in its own counter as well."""
        key = (endpoint, kind)
        self.errors[key] = self.errors.get(key, 0) + 1
        if kind == RateLimited.reason:
            self.rate_limited[endpoint,] = self.rate_limited.get((endpoint,), 0) + 1


class Transport:
    """The exchanges of one account over a shared aiohttp session."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        tally: Tally,
        *,
        timeout_seconds: float,
        sent: Callable[[], None],
        timed: Callable[[str, float], None],
        slots: asyncio.Semaphore | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`sent` is told of each request before it goes out, `timed` its endpoint and duration after.

        `slots` bounds the requests under way of all accounts; waiting for one is no time-out of the cloud's.
        """
        self.tally = tally
        self._http = http
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._sent = sent
        self._timed = timed
        self._clock = clock
        self._wall_clock = wall_clock
        self._reads = asyncio.Semaphore(CONCURRENT_READS)
        self._slots = slots or asyncio.Semaphore(CONCURRENT_READS + 1)

    async def read(self, request: Request) -> Answer:
        """Exchange within the limit of concurrent reads; raise the CloudError that the answer means."""
        async with self._reads:
            return self.checked(request, await self.send(request))

    async def send(self, request: Request) -> Answer:
        """Exchange outside the limit and return any answer as it is; raise Unreachable without one."""
        async with self._slots:
            return await self._timed_exchange(request)

    async def write(self, request: Request) -> Answer:
        """Exchange outside every limit, as a stop must not wait for slow reads; return any answer as it is.

        Raises NotSent; without an answer, or with one too large to read, Unreachable or UnexpectedPayload.
        """
        return self.counted(request, await self._timed_exchange(request))

    async def _timed_exchange(self, request: Request) -> Answer:
        self._sent()
        started = self._clock()
        try:
            answer = await self._exchange(request)
        except UnexpectedPayload as error:
            self.tally.answered(request.endpoint, error.status)
            self.tally.failed(request.endpoint, error.kind)
            raise
        except TimeoutError as error:
            self._unanswered(request.endpoint, "timeout")
            raise Unreachable(request.endpoint, "no answer in time", kind="timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            self._unanswered(request.endpoint, "connection")
            # The class says what happened; the text of the error may hold an address with a query.
            lost = NotSent if isinstance(error, aiohttp.ClientConnectorError) else Unreachable
            raise lost(request.endpoint, f"no connection ({type(error).__name__})") from None
        self._timed(request.endpoint, self._clock() - started)
        self.tally.answered(request.endpoint, answer.status)
        return answer

    async def _exchange(self, request: Request) -> Answer:
        async with self._http.request(
            request.method,
            request.url,
            headers=request.headers,
            data=request.body,
            timeout=self._timeout,
            allow_redirects=False,
            # Else aiohttp names the type of a body that is not there.
            skip_auto_headers=("Content-Type",) if request.body is None else None,
            middlewares=() if request.method == "GET" else (_only_once,),
        ) as response:
            body = await _limited_body(request.endpoint, response)
            return Answer(
                response.status,
                body,
                _cookies_of(response),
                response.headers.get("Location", ""),
                self._retry_after(response) if response.status in (429, 503) else None,
            )

    def counted(self, request: Request, answer: Answer) -> Answer:
        """Count the error that an answer means, if any, and return the answer as it is."""
        error = error_of(request, answer)
        if error is not None:
            self.tally.failed(request.endpoint, error.kind)
        return answer

    def checked(self, request: Request, answer: Answer) -> Answer:
        """Return the answer when it can hold what was asked for; else count and raise what it means."""
        error = error_of(request, answer)
        if error is None:
            return answer
        self.tally.failed(request.endpoint, error.kind)
        raise error

    def _unanswered(self, endpoint: str, kind: str) -> None:
        self.tally.answered(endpoint, 0)
        self.tally.failed(endpoint, kind)

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        now = _http_date(response.headers.get("Date", "")) or self._wall_clock()
        return retry_after_seconds(response.headers.get("Retry-After", ""), now)


def error_of(request: Request, answer: Answer) -> CloudError | None:
    """What an answer to a read means: None, or the error it stands for."""
    endpoint, status = request.endpoint, answer.status
    if 200 <= status < 300:
        return _html_error(endpoint, answer)
    if 300 <= status < 400:
        if "/login" in answer.location:
            return LoginExpired(endpoint, "redirected to the login page", kind="login_page", status=status)
        return Unavailable(endpoint, f"redirected with HTTP {status}", status=status)
    if status == 401:
        return LoginExpired(endpoint, "HTTP 401: the login has expired", status=status)
    if status == 429:
        return RateLimited(endpoint, "HTTP 429", retry_after_seconds=answer.retry_after_seconds)
    if status in (403, 404) and request.optional:
        return NotOffered(endpoint, f"HTTP {status}", status=status)
    # 466 to 473 are the vendor's own; ints throughout, for http.HTTPStatus knows neither them nor 550.
    if 400 <= status < 500:
        return Rejected(endpoint, f"HTTP {status}", status=status)
    return Unavailable(endpoint, f"HTTP {status}", status=status)


def _html_error(endpoint: str, answer: Answer) -> CloudError | None:
    head = answer.body.lstrip()[:1]
    if head in (b"{", b"[", b""):
        return None
    text = answer.body.lower()
    if not any(marker in text for marker in _HTML_MARKERS):
        return None
    if is_login_page(text):
        return LoginExpired(
            endpoint, "the login page in place of data", kind="login_page", status=answer.status
        )
    return Unavailable(endpoint, "a page of HTML in place of data", status=answer.status)


def is_login_page(text: bytes) -> bool:
    """Whether lower-cased HTML is the login page, not an outage page that merely names the vendor."""
    return any(marker in text for marker in _LOGIN_MARKERS) or all(
        marker in text for marker in _WEAK_LOGIN_MARKERS
    )


def retry_after_seconds(value: str, now: float) -> float | None:
    """Read Retry-After, seconds or an HTTP date against `now` (epoch); None when it cannot be used."""
    text = value.strip()
    if text.lstrip("-").isascii() and text.lstrip("-").isdigit():
        return float(max(0, int(text[:12])))
    date = _http_date(text)
    return None if date is None else max(0.0, date - now)


def _http_date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date.replace(tzinfo=date.tzinfo or UTC).timestamp()


async def _only_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Turn the errors on which aiohttp sends a PUT or DELETE again into one on which it does not."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(type(error).__name__) from error


async def _limited_body(endpoint: str, response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            response.close()
            raise UnexpectedPayload(
                endpoint, f"a body of more than {MAX_BODY_BYTES} bytes", status=response.status
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _cookies_of(response: aiohttp.ClientResponse) -> Mapping[str, str | None]:
    if "Set-Cookie" not in response.headers:
        return {}
    return {
        name: None if morsel["max-age"] == "0" or not morsel.value else morsel.value
        for name, morsel in response.cookies.items()
    }
