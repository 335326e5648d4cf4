"""The `healthcheck` command against a listener by the same config, and against what is none."""

import asyncio
import hmac
import socket
import sys
from pathlib import Path

import pytest

from exporter.config import Config, WebConfig
from exporter.errors import ConfigError
from exporter.healthcheck import healthcheck
from tests.certificates import USERS, Served, authority, issued, served, text_of, write


async def checked(
    *addresses: str,
    web_file: Path | None = None,
    within_seconds: float = 5.0,
    again_after_seconds: float = 0.0,
) -> tuple[int, str]:
    config = Config((), web=WebConfig(listen_addresses=addresses, config_file=web_file))
    return await asyncio.to_thread(
        healthcheck, config, within_seconds=within_seconds, again_after_seconds=again_after_seconds
    )


async def check(server: Served) -> tuple[int, str]:
    return await checked(f"127.0.0.1:{server.port}", web_file=server.path)


PAGE = (0, "page /-/healthy")


@pytest.mark.parametrize(
    ("listened", "asked"),
    [
        ("127.0.0.1:0", "127.0.0.1:{port}"),
        ("127.0.0.1:0", ":{port}"),
        ("127.0.0.1:0", "0.0.0.0:{port}"),
        ("127.0.0.1:0", "localhost:{port}"),
        ("[::1]:0", "[::1]:{port}"),
        ("[::1]:0", "[::]:{port}"),
    ],
)
async def test_it_asks_where_the_exporter_listens(listened: str, asked: str, tmp_path: Path) -> None:
    async with served(tmp_path, "", listened) as server:
        assert await checked(asked.format(port=server.port)) == PAGE
        assert await checked(asked.format(port=server.port), "127.0.0.1:9") == PAGE


async def test_without_a_listener_it_fails_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, text = await checked(f"127.0.0.1:{port}")
    assert code == 1
    assert text.startswith(f"no answer from 127.0.0.1:{port}: ")


async def test_a_port_that_is_not_known_cannot_be_asked() -> None:
    with pytest.raises(ConfigError, match=r'web\.listen_address: got "127\.0\.0\.1:0", expected a port'):
        await checked("127.0.0.1:0")


async def test_what_does_not_answer_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert await checked(address, within_seconds=0.2) == (1, f"no answer from {address} within 0.2 s")


async def test_an_answer_that_never_ends_is_given_up_in_time() -> None:
    over, closed = asyncio.Event(), asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not over.is_set():
            writer.write(b"H")
            await asyncio.sleep(0.02)
        writer.close()
        await writer.wait_closed()
        closed.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert await checked(address, within_seconds=0.3) == (1, f"no answer from {address} within 0.3 s")
    over.set()
    await closed.wait()
    server.close()
    await server.wait_closed()


async def test_an_unhealthy_exporter_is_unhealthy() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 12\r\n\r\nhealthy: no\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await checked(f"127.0.0.1:{port}") == (1, "healthy: no")
    server.close()
    await server.wait_closed()


async def test_with_users_it_shows_that_it_can_read_the_file(tmp_path: Path) -> None:
    async with served(tmp_path, USERS) as server:
        assert (await server.ask("/-/healthy")).status == 401
        assert await check(server) == PAGE
        other = write(tmp_path / "other.yml", USERS + "\n")
        code, text = await checked(f"127.0.0.1:{server.port}", web_file=other)
        assert (code, text) == (1, "unauthorized")


async def test_it_speaks_tls_and_shows_the_servers_own_certificate(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    both = issued(ca, tmp_path, "both", sans="DNS:elsewhere.example.net", usage="serverAuth,clientAuth")
    async with served(tmp_path, text_of(both) + USERS) as server:
        assert await check(server) == PAGE
        await server.rewrite(text_of(both, ca, "client_auth_type: RequireAndVerifyClientCert") + USERS)
        assert await check(server) == PAGE


@pytest.mark.parametrize("more", ["", "max_version: TLS12"])
async def test_where_its_certificate_is_no_clients_the_refusal_shows_a_listener_alive(
    more: str, tmp_path: Path
) -> None:
    ca, other = authority(tmp_path), authority(tmp_path, "other")
    for name, issuer, usage, alert in (
        ("servers-only", ca, "serverAuth", "UNSUPPORTED_CERTIFICATE"),
        ("foreign", other, "serverAuth,clientAuth", "UNKNOWN_CA"),
    ):
        shown = issued(issuer, tmp_path, name, usage=usage)
        lines = ("client_auth_type: RequireAndVerifyClientCert", *([more] if more else []))
        async with served(tmp_path, text_of(shown, ca, *lines)) as server:
            code, text = await check(server)
        assert code == 0
        assert f"127.0.0.1:{server_port(text)} is listening: it serves TLS and refused" in text
        assert alert in text
        assert "/-/healthy itself was not asked" in text


def server_port(text: str) -> str:
    return text.partition(":")[2].partition(" ")[0]


async def test_where_its_names_are_not_allowed_the_refusal_shows_a_listener_alive(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    both = issued(ca, tmp_path, "both", usage="serverAuth,clientAuth")
    lines = ("client_auth_type: RequireAndVerifyClientCert", "client_allowed_sans: [prometheus]")
    async with served(tmp_path, text_of(both, ca, *lines)) as server:
        code, text = await check(server)
    assert code == 0
    assert "No name of the client certificate is allowed here" in text


async def test_an_edit_that_the_exporter_has_not_seen_yet_is_waited_for(tmp_path: Path) -> None:
    shown = issued(authority(tmp_path), tmp_path, "server")
    async with served(tmp_path, USERS) as server:
        for text in (USERS + "\n", text_of(shown), USERS):
            write(server.path, text)
            assert (await check(server))[0] == 1
            asking = asyncio.create_task(
                checked(f"127.0.0.1:{server.port}", web_file=server.path, again_after_seconds=0.5)
            )
            await asyncio.sleep(0.15)
            await server.listening.look()
            assert await asking == PAGE


@pytest.mark.parametrize("with_tls", [False, True])
async def test_a_bad_edit_does_not_make_an_exporter_unhealthy_that_goes_by_the_old_file(
    with_tls: bool, tmp_path: Path
) -> None:
    text = USERS
    if with_tls:
        text += text_of(issued(authority(tmp_path), tmp_path, "server"))
    async with served(tmp_path, text) as server:
        await server.rewrite("basic_auth_users: [oops]\n")
        code, said = await check(server)
    assert code == 0
    assert said.startswith("page /-/healthy\n")
    assert f"{server.path}: basic_auth_users: expected" in said


async def test_a_broken_key_does_not_make_an_exporter_unhealthy_that_goes_by_the_old_one(
    tmp_path: Path,
) -> None:
    ca = authority(tmp_path)
    shown = issued(ca, tmp_path, "server")
    text = text_of(shown, ca, "client_auth_type: RequireAndVerifyClientCert")
    async with served(tmp_path, text) as server:
        shown.key.write_text("oops")
        await server.listening.look()
        code, said = await check(server)
    assert code == 0
    assert "TLSV13_ALERT_CERTIFICATE_REQUIRED" in said
    assert f"{shown.key} has no PRIVATE KEY" in said


async def test_it_shows_no_certificate_where_none_is_needed(tmp_path: Path) -> None:
    ca, other = authority(tmp_path), authority(tmp_path, "other")
    shown = issued(ca, tmp_path, "server")
    async with served(tmp_path, text_of(shown, other, "client_auth_type: VerifyClientCertIfGiven")) as server:
        assert await check(server) == PAGE


async def test_a_file_it_cannot_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none.yml"
    assert await checked("127.0.0.1:9", web_file=path) == (
        1,
        f"{path}: cannot be read (No such file or directory)",
    )


async def test_it_loads_little_without_a_web_config_file() -> None:
    program = "import sys, exporter.healthcheck; print(*sys.modules)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    loaded = set((await process.communicate())[0].decode().split())
    assert "exporter.healthcheck" in loaded
    assert not loaded & {"aiohttp", "asyncio", "bcrypt", "yaml", "exporter.tls", "exporter.web_config"}


async def test_the_proof_is_not_the_file_nor_a_hash_of_it(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    path = write(tmp_path / "web.yml", USERS)
    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    assert await checked(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", web_file=path) == (0, "ok")
    server.close()
    await server.wait_closed()
    proof = hmac.digest(USERS.encode(), b"/-/healthy", "sha256").hex()
    assert f"\r\nAuthorization: Healthcheck {proof}\r\n".encode() in heads[0]
