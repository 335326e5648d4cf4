"""The listener follows its web config file: certificates, client rules, users, nobody refused meanwhile."""

import asyncio
import logging
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from exporter.errors import ConfigError
from exporter.listening import ListenError, Listening, load_rules
from tests.certificates import (
    OWNER,
    USERS,
    Certificate,
    Served,
    application,
    authority,
    client_context,
    issued,
    served,
    text_of,
    write,
)

CHECKED = "client_auth_type: RequireAndVerifyClientCert"


class Raw:
    """A connection that is used request by request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, *lines: str) -> str:
        """What comes until the content's end, or the connection's, as a browser reads."""
        self.writer.write("\r\n".join(("GET /metrics HTTP/1.1", "Host: x", *lines, "", "")).encode())
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        return (head + await asyncio.wait_for(self.reader.readexactly(length), 5)).decode()

    async def ends(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 5) == b""


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


async def test_without_a_web_config_file_it_listens_plainly_and_loads_no_code_for_one() -> None:
    listening = Listening(("127.0.0.1:0", "[::1]:0"))
    app = application()
    before = len(app.middlewares)
    listening.guard(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await listening.start(runner)
    try:
        assert not listening.follows
        assert len(app.middlewares) == before
        assert [url.rpartition(":")[0] for url in listening.urls] == ["http://127.0.0.1", "http://[::1]"]
        async with aiohttp.ClientSession() as http:
            for url in listening.urls:
                async with http.get(url + "/metrics") as response:
                    assert response.status == 200
    finally:
        listening.stop()
        await runner.cleanup()


async def test_the_listener_alone_imports_neither_bcrypt_nor_the_modules_of_the_web_config() -> None:
    program = "import sys, exporter.listening; print(*sys.modules)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    loaded = set((await process.communicate())[0].decode().split())
    assert "exporter.listening" in loaded
    assert not loaded & {"bcrypt", "yaml", "exporter.tls", "exporter.basic_auth", "exporter.web_config"}


async def test_an_address_that_is_taken_is_told_and_the_others_are_let_go() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listening = Listening(("127.0.0.1:0", f"127.0.0.1:{port}"))
        runner = web.AppRunner(application())
        await runner.setup()
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: .*; set web.listen_address"):
            await listening.start(runner)
        assert listening.urls == []
        await runner.cleanup()


async def test_an_address_of_another_machine_is_not_called_taken() -> None:
    listening = Listening(("192.0.2.1:10055",))
    runner = web.AppRunner(application())
    await runner.setup()
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:10055: .* to an address of this machine"):
        await listening.start(runner)
    await runner.cleanup()


def test_a_name_that_is_not_known_is_not_called_taken() -> None:
    error = ListenError("nohost.invalid:1", socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert str(error) == (
        "cannot listen on nohost.invalid:1: Name or service not known; "
        "set web.listen_address to an address of this machine, or only a port, as :10055"
    )


def test_a_bad_file_is_refused_before_anything_listens(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", "tls_server_config: {cert_file: a, key_file: b}")
    with pytest.raises(ConfigError, match=r"web.yml: tls_server_config.cert_file: .*a cannot be read"):
        Listening((":0",), path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rules(tmp_path / "missing.yml")


async def test_a_new_certificate_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    old, new = authority(tmp_path, "old"), authority(tmp_path, "new")
    first, second = issued(old, tmp_path, "first"), issued(new, tmp_path, "second")
    async with served(tmp_path, text_of(first)) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert (await server.ask(context=client_context(old.cert))).status == 200
        # As a renewal does: other files in the place of those the config names.
        second.cert.replace(first.cert)
        await server.listening.look()  # between the two: the key does not belong to the certificate
        assert (await server.ask(context=client_context(old.cert))).status == 200
        second.key.replace(first.key)
        await server.listening.look()
        assert (await server.ask(context=client_context(new.cert))).status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await server.ask(context=client_context(old.cert))


async def test_certificates_behind_links_that_are_swapped_as_kubernetes_does_are_noticed(
    tmp_path: Path,
) -> None:
    old, new = authority(tmp_path, "old"), authority(tmp_path, "new")
    for folder, ca in (("v1", old), ("v2", new)):
        (tmp_path / folder).mkdir()
        issued(ca, tmp_path / folder, "tls")
    (tmp_path / "..data").symlink_to("v1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    linked = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    async with served(tmp_path, text_of(linked)) as server:
        assert (await server.ask(context=client_context(old.cert))).status == 200
        (tmp_path / "..data_tmp").symlink_to("v2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        await server.listening.look()
        assert (await server.ask(context=client_context(new.cert))).status == 200


async def test_nobody_is_refused_while_certificates_change_again_and_again(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    shown = [issued(ca, tmp_path, name) for name in ("one", "two")]
    async with served(tmp_path, text_of(shown[0])) as server:
        statuses: list[int] = []
        over = asyncio.Event()

        async def keep_asking() -> None:
            context = client_context(ca.cert)
            while not over.is_set():
                statuses.append((await server.ask(context=context)).status)

        askers = [asyncio.create_task(keep_asking()) for _ in range(4)]
        async with asyncio.timeout(20):
            for turn in range(1, 7):
                seen = len(statuses)
                await server.rewrite(text_of(shown[turn % 2]))
                while len(statuses) < seen + 4:
                    await asyncio.sleep(0.005)
        over.set()
        await asyncio.gather(*askers)
    assert set(statuses) == {200}


async def test_tls_is_switched_on_and_off_by_editing_the_file(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    shown = issued(ca, tmp_path, "server")
    async with served(tmp_path, "") as server:
        port = server.port
        assert (await server.ask()).status == 200
        await server.rewrite(text_of(shown))
        assert server.url == f"https://127.0.0.1:{port}"
        assert (await server.ask(context=client_context(ca.cert))).status == 200
        async with connected(port) as plain:
            assert (await plain.ask()).startswith("HTTP/1.1 400 ")
        await server.rewrite("{}")
        assert server.url == f"http://127.0.0.1:{port}"
        assert (await server.ask()).status == 200


async def test_a_plain_request_to_a_tls_port_is_told_so(tmp_path: Path) -> None:
    shown = issued(authority(tmp_path), tmp_path, "server")
    async with served(tmp_path, text_of(shown)) as server, connected(server.port) as plain:
        answer = await plain.ask()
    assert answer.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert "HTTPS" in answer
    assert "page" not in answer


async def test_a_bad_new_file_keeps_the_old_one_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path, USERS) as server:
        await server.rewrite("basic_auth_users: {owner: plaintext-canary}")
        await server.listening.look()
        assert (await server.ask()).status == 401
        assert (await server.ask(Authorization=OWNER)).status == 200
        server.path.unlink()
        await server.listening.look()
        assert (await server.ask()).status == 401
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 2
    assert "basic_auth_users.owner: expected a bcrypt hash" in errors[0]
    assert "cannot be read" in errors[1]
    assert "plaintext-canary" not in caplog.text


async def test_a_file_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    async with served(tmp_path, USERS) as server:
        assert (await server.ask(Authorization=OWNER)).status == 200
        before = server.path.stat()
        write(server.path, USERS.replace("owner", "other"))
        os.utime(server.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        await server.listening.look()
        assert (await server.ask(Authorization=OWNER)).status == 401


async def test_a_file_that_an_editor_has_emptied_protects_as_before(tmp_path: Path) -> None:
    async with served(tmp_path, USERS) as server:
        await server.rewrite("\n")
        assert (await server.ask()).status == 401
        await server.rewrite("{}")
        assert (await server.ask()).status == 200


async def test_a_file_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", USERS)
    listening = Listening((), path, look_seconds=0.05)
    app = application()
    listening.guard(app)
    watching = asyncio.create_task(listening.watch())

    def users() -> set[str]:
        return set(listening.in_force.users) if listening.in_force else set()

    for length in range(60):  # a byte more at every glance, and never two looks that find the same
        path.write_text("# " + "x" * length + "\nhttp_server_config: {headers: {X-XSS-Protection: '0'}}\n")
        await asyncio.sleep(0.01)
        assert users() == {"owner"}
    async with asyncio.timeout(5):
        while users():
            await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.wait([watching])


async def test_a_file_named_before_it_is_there_is_taken_once_it_is(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    shown = issued(ca, tmp_path, "server")
    hidden = shown.key.rename(tmp_path / "elsewhere.key")
    async with served(tmp_path, USERS) as server:
        await server.rewrite(text_of(shown))
        assert server.url.startswith("http:")
        assert (await server.ask()).status == 401
        hidden.rename(shown.key)
        await server.listening.look()
        assert server.url.startswith("https:")


async def test_users_headers_and_limits_take_effect_on_open_connections_too(tmp_path: Path) -> None:
    async with served(tmp_path, "") as server, aiohttp.ClientSession() as http:

        async def ask(**headers: str) -> tuple[int, str | None, str | None]:
            async with http.get(server.url + "/", headers=headers) as answer:
                policy = answer.headers.get("Content-Security-Policy")
                return answer.status, answer.headers.get("X-Frame-Options"), policy

        assert await ask() == (200, None, "own")
        headers = "{X-Frame-Options: deny, Content-Security-Policy: theirs}"
        await server.rewrite(f"{USERS}http_server_config: {{headers: {headers}}}")
        assert await ask() == (401, "deny", "theirs")
        assert await ask(Authorization=OWNER) == (200, "deny", "theirs")
        await server.rewrite("rate_limit: {interval: 1h, burst: 1}")
        assert [(await ask())[0] for _ in range(2)] == [200, 429]
        assert len(http.connector._conns) == 1  # type: ignore[union-attr]  # the one connection all came over


async def test_a_connection_from_before_needs_the_users_of_both_files_and_ends_with_its_answer(
    tmp_path: Path,
) -> None:
    shown = issued(authority(tmp_path), tmp_path, "server")
    async with (
        served(tmp_path, USERS) as server,
        connected(server.port) as no_one,
        connected(server.port) as owner,
    ):
        assert (await no_one.ask()).startswith("HTTP/1.1 401 ")
        assert (await owner.ask(f"Authorization: {OWNER}")).startswith("HTTP/1.1 200 ")
        await server.rewrite(
            text_of(shown)
        )  # without users: alone, it would let the plain connections ask freely
        assert (await no_one.ask()).startswith("HTTP/1.1 401 ")
        answer = await owner.ask(f"Authorization: {OWNER}")
        assert answer.startswith("HTTP/1.1 200 ")
        assert "Connection: close" in answer
        assert await owner.ends()
        assert await no_one.ends()


async def test_a_connection_from_before_does_not_outlive_a_user(tmp_path: Path) -> None:
    shown = issued(authority(tmp_path), tmp_path, "server")
    async with served(tmp_path, USERS) as server, connected(server.port) as owner:
        assert (await owner.ask(f"Authorization: {OWNER}")).startswith("HTTP/1.1 200 ")
        await server.rewrite(text_of(shown) + USERS.replace("owner", "other"))
        assert (await owner.ask(f"Authorization: {OWNER}")).startswith("HTTP/1.1 401 ")


async def test_a_connection_from_two_rules_ago_is_not_answered(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    shown = [issued(ca, tmp_path, name) for name in ("one", "two", "three")]
    context = client_context()
    async with served(tmp_path, text_of(shown[0])) as server, connected(server.port, context) as old:
        assert (await old.ask()).startswith("HTTP/1.1 200 ")
        await server.rewrite(text_of(shown[1]))
        await server.rewrite(text_of(shown[2]))
        assert (await old.ask()).startswith("HTTP/1.1 421 ")
        assert await old.ends()


async def test_clients_without_a_certificate_of_the_ca_are_refused_with_an_alert_and_one_debug_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ca, other = authority(tmp_path), authority(tmp_path, "other")
    shown = issued(ca, tmp_path, "server")
    good = issued(ca, tmp_path, "prometheus", usage="clientAuth")
    foreign = issued(other, tmp_path, "foreign", usage="clientAuth")
    async with served(tmp_path, text_of(shown, ca, CHECKED)) as server:
        assert (await server.ask(context=client_context(ca.cert, good))).status == 200
        for client, alert in ((None, "certificate required"), (foreign, "unknown ca")):
            with pytest.raises(aiohttp.ClientError, match=f"(?i){alert}"):
                await server.ask(context=client_context(ca.cert, client))
        with pytest.raises(aiohttp.ClientError):
            await server.ask(context=client_context(ca.cert, shown))  # is for servers only
    failed = [record for record in caplog.records if record.getMessage() == "TLS handshake failed"]
    assert len(failed) >= 3  # the client tries a connection that broke a second time
    assert {(record.levelno, record.exc_info) for record in failed} == {(logging.DEBUG, None)}
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_another_client_ca_is_asked_for_without_a_restart(tmp_path: Path) -> None:
    ca, other = authority(tmp_path), authority(tmp_path, "other")
    shown = issued(ca, tmp_path, "server")
    before = client_context(ca.cert, issued(ca, tmp_path, "before", usage="clientAuth"))
    after = client_context(ca.cert, issued(other, tmp_path, "after", usage="clientAuth"))
    async with served(tmp_path, text_of(shown, ca, CHECKED)) as server:
        assert (await server.ask(context=before)).status == 200
        await server.rewrite(text_of(shown, other, CHECKED))
        assert (await server.ask(context=after)).status == 200
        with pytest.raises(aiohttp.ClientError):
            await server.ask(context=before)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x00\x05hello", b"\0" * 4000, b"SSH-2.0-scan\r\n"])
async def test_what_scanners_send_leaves_no_word_above_debug(
    sent: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = issued(authority(tmp_path), tmp_path, "server")
    async with served(tmp_path, text_of(shown)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        writer.close()
        await writer.wait_closed()
        assert (await server.ask(context=client_context())).status == 200
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_the_file_is_looked_at_all_by_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", "")
    listening = Listening(("127.0.0.1:0",), path, look_seconds=0.02)
    app = application()
    listening.guard(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await listening.start(runner)
    assert listening.follows
    watching = asyncio.create_task(listening.watch())
    try:
        server = Served(listening, path)
        assert (await server.ask()).status == 200
        write(path, USERS)
        async with asyncio.timeout(5):
            while (await server.ask()).status != 401:
                await asyncio.sleep(0.01)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        listening.stop()
        await runner.cleanup()


async def test_a_key_that_others_can_read_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown = issued(authority(tmp_path), tmp_path, "server")
    shown.key.chmod(0o644)
    async with served(tmp_path, text_of(shown)):
        assert f"{shown.key}: holds a secret and others can read it" in caplog.text
