"""The sockets the exporter listens on, and the web config file they follow without a restart."""

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from exporter.errors import ConfigError, ExporterError
from exporter.readers import host_and_port

if TYPE_CHECKING:  # loaded only where there is a web config file
    from exporter.basic_auth import Gate
    from exporter.tls import ServerContext
    from exporter.web_config import WebFile

log = logging.getLogger(__name__)

# A change is taken over when two looks in a row find the same: an editor may still be writing at the first.
_LOOK_SECONDS = 1.0
_BACKLOG = 128
# A client that is slower than this to greet, or to say goodbye, is let go.
_HANDSHAKE_SECONDS = 10.0
_GOODBYE_SECONDS = 2.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Stamps = dict[Path, tuple[int, int, int, int] | None]


class ListenError(ExporterError):
    """An address that cannot be listened on."""

    def __init__(self, address: str, error: OSError) -> None:
        # A name that is not known, or an address of another machine, for which newer asyncio gives no number.
        is_elsewhere = isinstance(error, socket.gaierror) or error.errno in (errno.EADDRNOTAVAIL, None)
        remedy = "an address of this machine, or only a port, as :10055" if is_elsewhere else "a free one"
        super().__init__(
            f"cannot listen on {address}: {error.strerror or error}; set web.listen_address to {remedy}"
        )


@dataclass(frozen=True)
class Rules:
    """A web config file that was read with all it names, and found good."""

    web_file: "WebFile"
    context: "ServerContext | None"
    warnings: tuple[str, ...]


def load_rules(path: Path) -> Rules:
    """Read a web config file and every file it names. Raises ConfigError; `check` needs no more."""
    from exporter.web_config import load_web_file

    return _completed(load_web_file(path))


def _completed(web_file: "WebFile") -> Rules:
    from exporter.tls import server_context
    from exporter.web_config import permission_warnings

    context = server_context(web_file)
    try:
        return Rules(web_file, context, tuple(permission_warnings(web_file)))
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read ({error.strerror}), expected a file") from error


@dataclass(frozen=True)
class InForce:
    """Rules, with what answers by them."""

    context: "ServerContext | None"
    gate: "Gate"
    rules: Rules


class Listening:
    """Listens on every address, and follows the web config file if there is one.

    Order: `guard` the application, set up its runner, `start`, run `watch` where `follows`, `stop`, clean up.
    A connection lives by the TLS rules it was made under. One made under the rules before must pass the users
    of both files, and is closed with its next answer; an older one is not answered at all.
    """

    def __init__(
        self, addresses: Sequence[str], web_file: Path | None = None, *, look_seconds: float = _LOOK_SECONDS
    ) -> None:
        """Raises ConfigError for a web config file that cannot be used."""
        self._addresses = addresses
        self._path = web_file
        self._look_seconds = look_seconds
        self._servers: list[asyncio.Server] = []
        self._runner: web.AppRunner
        self._stamps: Stamps = {}
        self._current: InForce | None = None
        self._former: InForce | None = None
        if web_file is not None:
            self._stamps = _stamps([web_file])
            self._take(self._load(web_file))

    @property
    def follows(self) -> bool:
        """Whether there is a file to `watch`."""
        return self._path is not None

    @property
    def in_force(self) -> "WebFile | None":
        """The web config file it goes by now, which need not be what is on disk."""
        return self._current.rules.web_file if self._current else None

    @property
    def urls(self) -> list[str]:
        """Where to ask; for people, so a wildcard address is localhost."""
        scheme = "https" if self._context else "http"
        names = [sock.getsockname() for server in self._servers for sock in server.sockets]
        return list(dict.fromkeys(_url(scheme, name) for name in names))  # a wildcard is two sockets

    @property
    def _context(self) -> "ServerContext | None":
        return self._current.context if self._current else None

    # -- sockets -------------------------------------------------------------------------------------------

    async def start(self, runner: web.AppRunner) -> None:
        """Listen; the runner is set up. Raises ListenError, and listens nowhere then."""
        self._runner = runner
        for address in self._addresses:
            host, port = host_and_port(address)
            try:
                self._servers.append(await self._listen(host=host or None, port=port))
            except OSError as error:
                self.stop()
                raise ListenError(address, error) from error

    def stop(self) -> None:
        """Take no further connection; those that are open are the runner's."""
        for server in self._servers:
            server.close()
        self._servers = []

    async def _listen(self, **where: Any) -> asyncio.Server:
        """Serve by the context in force; `where` is host and port, or a socket that is bound."""
        if self._context:
            where |= {
                "ssl": self._context,
                "ssl_handshake_timeout": _HANDSHAKE_SECONDS,
                "ssl_shutdown_timeout": _GOODBYE_SECONDS,
            }
        assigned = self._runner.server
        if assigned is None:
            raise RuntimeError("the runner is not set up")
        return await asyncio.get_running_loop().create_server(assigned, backlog=_BACKLOG, **where)

    async def _listen_anew(self, sockets: list[socket.socket]) -> None:
        """Serve by the new context on the same ports; the new servers take over before the old ones go."""
        former, fresh = self._servers, list[asyncio.Server]()
        try:
            for sock in sockets:
                fresh.append(await self._listen(sock=sock))
        finally:
            self._servers = fresh
            await _closed_politely(former)

    # -- the web config file -------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look at the file and those it names, again and again."""
        seen: Stamps = {}
        while True:
            await asyncio.sleep(self._look_seconds)
            before, seen = seen, _stamps(self._stamps)
            if seen == before:
                await self.look()

    async def look(self) -> None:
        """Take over what has changed; a file that cannot be used is told once, and the old one stays."""
        stamps = _stamps(self._stamps)
        if self._path is None or stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            rules = self._load(self._path)
            # Copied before anything changes, because this can fail: a process has only so many files.
            sockets = self._copied_sockets() if rules.context is not self._context else []
        except ConfigError as error:
            log.error("web config refused, the old one stays: %s", error)
            return
        except OSError as error:
            log.error("web config not taken over, tried again soon: %s", error.strerror or error)
            self._stamps = dict.fromkeys(stamps)
            return
        self._take(rules)
        if sockets:
            await self._listen_anew(sockets)
        log.info("web config reloaded", extra={"url": " ".join(self.urls)})

    def _load(self, path: Path) -> Rules:
        """Read the file, and watch from now on every file that must change for another outcome."""
        from exporter.web_config import load_web_file

        if self._current is not None:
            with suppress(OSError):
                self._current.gate.saw(path.read_bytes())
        web_file = load_web_file(path)
        if self._current is not None and not web_file.content.strip():
            raise ConfigError(f"{path}: is empty, expected {{}} where nothing is to be protected any more")
        self._stamps |= _stamps(file for file in web_file.files if file not in self._stamps)
        rules = _completed(web_file)
        unchanged = self._context and rules.context and self._context.made_from == rules.context.made_from
        return replace(rules, context=self._context) if unchanged else rules

    def _copied_sockets(self) -> list[socket.socket]:
        return [sock.dup() for server in self._servers for sock in server.sockets]

    def _take(self, rules: Rules) -> None:
        from exporter.basic_auth import Gate

        for warning in rules.warnings:
            log.warning("%s", warning)
        before = self._current
        self._current = InForce(rules.context, Gate(rules.web_file, before.gate if before else None), rules)
        if before is not None and before.context is not rules.context:
            self._former = before
        self._stamps = {path: self._stamps[path] for path in rules.web_file.files}

    # -- requests ------------------------------------------------------------------------------------------

    def guard(self, application: web.Application) -> None:
        """Put the file's users, rate limit and headers before everything the application answers."""
        if self._current is not None:
            application.middlewares.insert(0, self._check)
            application.on_response_prepare.append(self._finish)

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        current, former = self._current, self._former
        made_under = _context_of(request)
        if current is not None and made_under is current.context:
            return await current.gate.check(request, handler)
        if current is not None and former is not None and made_under is former.context:
            return await former.gate.check(request, partial(current.gate.check, handler=handler))
        return web.Response(status=421, text="the rules of this address have changed, connect again\n")

    async def _finish(self, request: web.Request, response: web.StreamResponse) -> None:
        if self.in_force is not None:
            response.headers.update(self.in_force.headers)
        if _context_of(request) is not self._context:
            response.headers["Connection"] = "close"
            response.force_close()


async def _closed_politely(servers: Sequence[asyncio.Server]) -> None:
    """Close servers without losing who has just come.

    asyncio forgets, without closing it, a connection that was accepted but not begun when its server is
    closed. So they accept no more, and one turn of the loop begins what was accepted.
    """
    loop = asyncio.get_running_loop()
    for server in servers:
        for sock in server.sockets:
            loop.remove_reader(sock.fileno())
    await asyncio.sleep(0)
    for server in servers:
        server.close()


def _context_of(request: web.Request) -> object:
    return request.transport.get_extra_info("sslcontext") if request.transport else None


def _stamps(paths: Iterable[Path]) -> Stamps:
    """What tells a file from its next version, also one that was moved or linked into its place."""
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _url(scheme: str, sockname: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host, port = sockname[:2]
    if host in ("0.0.0.0", "::"):  # shown, not bound: a person opens localhost
        host = "localhost"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
