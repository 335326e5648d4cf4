"""One answer of the pretend cloud, as plain data that faults can bend before it is sent."""

import json
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from typing import Any

from aiohttp import web

JSON_TYPE = "application/json"
HTML_TYPE = "text/html"
CHUNK_BYTES = 256 * 1024

LOGIN_PAGE = (
    '<!DOCTYPE html><html><head><title>Enlighten</title><meta http-equiv="X-UA-Compatible" content="IE=edge">'
    "<script>window.OptanonWrapper=function(){};</script></head><body>"
    '<form action="/login/login" method="post"><input name="user[email]" type="text">'
    '<input name="user[password]" type="password"></form></body></html>'
)
OUTAGE_PAGE = (
    "<!DOCTYPE html><html><head><title>Be right back</title></head>"
    "<body><h1>We are down for maintenance</h1><p>Please try again later.</p></body></html>"
)


class Delivery(Enum):
    """How the bytes travel."""

    WHOLE = "whole"
    CHUNKED = "chunked"  # without a Content-Length
    CUT = "cut"  # the connection closes halfway through the promised length
    RESET = "reset"  # the connection closes without an answer


@dataclass
class Cookie:
    """One Set-Cookie; the value goes out as it is, quotes and percent signs included."""

    name: str
    value: str
    http_only: bool = False
    max_age_seconds: int | None = None

    def header(self) -> str:
        """The header's value. No Domain, so that it works on any address."""
        age = "" if self.max_age_seconds is None else f"; Max-Age={self.max_age_seconds}"
        return f"{self.name}={self.value}; Path=/{age}{'; HttpOnly' if self.http_only else ''}"


@dataclass
class Answer:
    """Status, headers and a body: either `payload`, sent as JSON, or `text`."""

    status: int = 200
    payload: Any = None
    text: str | bytes | None = None
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)
    cookies: list[Cookie] = field(default_factory=list)
    delivery: Delivery = Delivery.WHOLE

    def body(self) -> bytes:
        """The bytes on the wire."""
        if isinstance(self.text, bytes):
            return self.text
        if self.text is not None:
            return self.text.encode()
        return json.dumps(self.payload, separators=(",", ":")).encode()


def html(text: str, status: int = 200) -> Answer:
    """A page."""
    return Answer(status, text=text, content_type=HTML_TYPE)


def empty(status: int = 200) -> Answer:
    """No body at all."""
    return Answer(status, text="")


async def send(answer: Answer, request: web.Request, *, date_seconds: float) -> web.StreamResponse:
    """Puts the answer on the wire; `date_seconds` is what the Date header says."""
    transport = request.transport
    if answer.delivery is Delivery.RESET:
        if transport is not None:
            transport.abort()
        return web.Response()
    headers = {"Date": formatdate(date_seconds, usegmt=True), **answer.headers}
    body = answer.body()
    if answer.delivery is Delivery.WHOLE:
        whole = web.Response(status=answer.status, body=body, headers=headers)
        _dress(whole, answer)
        return whole
    response = web.StreamResponse(status=answer.status, headers=headers)
    _dress(response, answer)
    if answer.delivery is Delivery.CUT:
        response.content_length = max(len(body), 2)
        body = body[: len(body) // 2]
    await response.prepare(request)
    for begin in range(0, len(body), CHUNK_BYTES):
        await response.write(body[begin : begin + CHUNK_BYTES])
    if answer.delivery is Delivery.CUT and transport is not None:
        transport.close()
    return response


def _dress(response: web.StreamResponse, answer: Answer) -> None:
    if answer.text != "" or answer.content_type != JSON_TYPE:
        response.content_type = answer.content_type
        response.charset = "utf-8"
    for cookie in answer.cookies:
        response.headers.add("Set-Cookie", cookie.header())
