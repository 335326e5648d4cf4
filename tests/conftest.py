"""What every test has: a network that ends at this machine, and an aioresponses that fits our aiohttp."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from aiohttp import ClientResponse

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("repeatable" if os.environ.get("CI") else "local")


class OutsideConnection(AssertionError):
    """A test reached for something that is not this machine; no OSError, which code under test may expect."""


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a Unix socket's path
        return True
    host = str(address[0]).partition("%")[0]
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _needs_no_name_server(host: Any) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        return bool(ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host))
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def outside_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse every address but loopback, and fail the test even when the refusal was swallowed."""
    refused: list[str] = []

    def refuse(target: object) -> None:
        refused.append(str(target))
        raise OutsideConnection(f"tests talk to this machine only, not to {target}")

    for name in ("connect", "connect_ex"):
        real = getattr(socket.socket, name)

        def guarded(self: socket.socket, address: Any, real: Any = real) -> Any:
            if not _is_local(address):
                refuse(address)
            return real(self, address)

        monkeypatch.setattr(socket.socket, name, guarded)

    real_sendto = socket.socket.sendto
    real_getaddrinfo = socket.getaddrinfo

    def sendto(self: socket.socket, data: bytes, *rest: Any) -> int:
        if not _is_local(rest[-1]):
            refuse(rest[-1])
        return real_sendto(self, data, *rest)

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        if not _needs_no_name_server(host):
            refuse(host)
        return real_getaddrinfo(host, *rest, **more)

    monkeypatch.setattr(socket.socket, "sendto", sendto)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield refused
    if refused:
        pytest.fail(f"reached for {', '.join(refused)}, which is not this machine")


class _CannedResponse(ClientResponse):
    """aioresponses 0.7.9 builds a ClientResponse without the `stream_writer` that aiohttp 3.14 asks for.

    Of the writer of a request that is already sent, aiohttp reads nothing but how much was sent.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"stream_writer": SimpleNamespace(output_size=0)} | kwargs)


@pytest.fixture(autouse=True, scope="session")
def canned_responses_fit_aiohttp() -> Iterator[None]:
    """Let aioresponses build our class; gone when its own call passes `stream_writer`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aioresponses.core.ClientResponse", _CannedResponse)
        yield
