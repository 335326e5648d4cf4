import asyncio
import socket

import aiohttp
import pytest
from aioresponses import aioresponses

REFUSED = "this machine only"


async def test_a_canned_answer_reaches_an_aiohttp_client() -> None:
    with aioresponses() as canned:
        canned.get("https://cloud.invalid/status", payload={"evChargerData": []}, headers={"ETag": "7"})
        async with aiohttp.ClientSession() as http, http.get("https://cloud.invalid/status") as answer:
            assert answer.status == 200
            assert answer.headers["ETag"] == "7"
            assert await answer.json() == {"evChargerData": []}


def test_a_connection_to_an_outside_address_is_refused(outside_connections: list[str]) -> None:
    with socket.socket() as outside, pytest.raises(AssertionError, match=REFUSED):
        outside.connect(("192.0.2.1", 443))
    with socket.socket() as outside, pytest.raises(AssertionError, match=REFUSED):
        outside.connect_ex(("192.0.2.1", 443))
    with socket.socket(type=socket.SOCK_DGRAM) as outside, pytest.raises(AssertionError, match=REFUSED):
        outside.sendto(b"?", ("192.0.2.1", 53))
    assert len(outside_connections) == 3
    outside_connections.clear()


async def test_a_host_name_is_not_looked_up(outside_connections: list[str]) -> None:
    with pytest.raises(AssertionError, match=REFUSED):
        await asyncio.get_running_loop().getaddrinfo("enlighten.enphaseenergy.com", 443)
    assert outside_connections == ["enlighten.enphaseenergy.com"]
    outside_connections.clear()


async def test_a_refusal_that_the_code_swallowed_is_remembered(outside_connections: list[str]) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(AssertionError, match=REFUSED):
            await http.get("http://192.0.2.1/")
    assert len(outside_connections) == 1
    outside_connections.clear()


async def test_a_loopback_connection_is_let_through() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "localhost", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
