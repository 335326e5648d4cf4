"""Certificates made for one test by the openssl program, and a server of the listener's own kind."""

import base64
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from exporter.listening import Listening

PASSWORD = "right password"
# Of the least cost there is; of PASSWORD.
HASH = "$2b$04$RNufURbnq9S/SPkUgaK55OvWoHgI1xt564yeablAzcUEdK.r3pVJG"
OWNER = "Basic " + base64.b64encode(f"owner:{PASSWORD}".encode()).decode()
USERS = f"basic_auth_users:\n  owner: {HASH}\n"


def openssl(*arguments: str | Path) -> None:
    """Run openssl; fails the test when it is not installed."""
    found = shutil.which("openssl")
    if found is None:
        pytest.fail("openssl is missing; on Debian: apt-get install openssl", pytrace=False)
    subprocess.run([found, *map(str, arguments)], check=True, capture_output=True)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key on disk, both PEM."""

    cert: Path
    key: Path


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def authority(folder: Path, name: str = "ca") -> Certificate:
    """A CA of its own."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    openssl("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", made.key, "-out", made.cert)
    made.key.chmod(0o600)
    return made


def issued(
    ca: Certificate,
    folder: Path,
    name: str,
    *,
    sans: str = "DNS:localhost,IP:127.0.0.1",
    usage: str | None = None,
    constraints: str = "CA:FALSE",
) -> Certificate:
    """A certificate of that CA, of a server where `usage` is not given; all as openssl spells them."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    extensions = [f"subjectAltName={sans}", f"basicConstraints=critical,{constraints}"]
    if usage or constraints == "CA:FALSE":
        extensions.append(f"extendedKeyUsage={usage or 'serverAuth'}")
    options = [text for extension in extensions for text in ("-addext", extension)]
    files = ("-CA", ca.cert, "-CAkey", ca.key, "-keyout", made.key, "-out", made.cert)
    openssl("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", *options, *files)
    made.key.chmod(0o600)
    return made


def client_context(ca: Path | None = None, shown: Certificate | None = None) -> ssl.SSLContext:
    """A client that believes this CA, or everybody, and shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(ca)
    if shown is not None:
        context.load_cert_chain(shown.cert, shown.key)
    return context


def text_of(shown: Certificate, client_ca: Certificate | None = None, *more: str) -> str:
    """A web config with this certificate, for clients of that CA; `more` lines of `tls_server_config`."""
    lines = [f"cert_file: {shown.cert}", f"key_file: {shown.key}", *more]
    if client_ca is not None:
        lines.append(f"client_ca_file: {client_ca.cert}")
    return "\n  ".join(["tls_server_config:", *lines]) + "\n"


@dataclass
class Served:
    """A small application behind the listener."""

    listening: Listening
    path: Path

    @property
    def url(self) -> str:
        return self.listening.urls[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def rewrite(self, text: str) -> None:
        """Replace the web config file as an editor does, and let the listener look."""
        write(self.path, text)
        await self.listening.look()

    async def ask(
        self, path: str = "/metrics", *, context: ssl.SSLContext | None = None, **headers: str
    ) -> aiohttp.ClientResponse:
        """One request over a connection of its own, read to its end."""
        connector = aiohttp.TCPConnector(force_close=True)
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.get(self.url + path, headers=spelled, ssl=context or True) as response,
        ):
            await response.read()
            return response


def write(path: Path, text: str) -> Path:
    """Write by rename, so that it is another file even within one tick of the clock."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.chmod(0o600)
    fresh.replace(path)
    return path


def application() -> web.Application:
    """Pages at the paths of the exporter that matter here."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=f"page {request.path}\n", headers={"Content-Security-Policy": "own"})

    app = web.Application()
    for path in (
        "/",
        "/metrics",
        "/-/healthy",
        "/-/ready",
        "/api/v1",
        "/api/v1/chargers/{tail:.*}",
        "/api/v1x",
    ):
        app.router.add_get(path, page)
    return app


@asynccontextmanager
async def served(folder: Path, text: str, *addresses: str) -> AsyncIterator[Served]:
    """The application behind a web config file with this text."""
    path = write(folder / "web.yml", text)
    listening = Listening(addresses or ("127.0.0.1:0",), path)
    app = application()
    listening.guard(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await listening.start(runner)
        yield Served(listening, path)
    finally:
        listening.stop()
        await runner.cleanup()
