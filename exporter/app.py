"""Composition root: builds and wires everything, owns the tasks, the reload and the shutdown."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
from aiohttp import web
from yarl import URL

from exporter import __version__
from exporter.asking import PolledAccount, PollSettings
from exporter.auth import Auth, Credentials
from exporter.client import ENDPOINTS, Client
from exporter.config import AccountConfig, Config, PollConfig, Secret
from exporter.errors import ConfigError, ExporterError
from exporter.instruments import Instruments
from exporter.login import Surfaces
from exporter.model import Snapshot
from exporter.poller import Poller
from exporter.readers import host_and_port
from exporter.schedule import RequestWindow
from exporter.transport import Tally, Transport
from exporter.web import Sources, Web

log = logging.getLogger(__name__)

# One connection serves a site at a time; a fleet's polls are spread so that this many suffice.
_MOST_CONNECTIONS = 256
# A new TLS connection costs six times as much as a request, so one is kept from poll to poll.
_KEEPALIVE_SECONDS = 130.0
_SHUTDOWN_SECONDS = 2.0
# A reload cannot move what is already bound.
_FIXED_SECTIONS = ("web", "state")


@asynccontextmanager
async def cloud_http() -> AsyncIterator[aiohttp.ClientSession]:
    """The one HTTP session to the cloud; cookies are the accounts' own affair."""
    connector = aiohttp.TCPConnector(limit=_MOST_CONNECTIONS, keepalive_timeout=_KEEPALIVE_SECONDS)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield http


def build_account(
    account: AccountConfig, config: Config, http: aiohttp.ClientSession, instruments: Instruments
) -> PolledAccount:
    """Everything that asks the cloud for one account."""
    window = RequestWindow()
    transport = Transport(
        http,
        Tally(ENDPOINTS),
        timeout_seconds=config.poll.request_timeout_seconds,
        sent=lambda: window.note(time.monotonic()),
        timed=instruments.request_ended,
    )
    base_url, entrez_url = (URL(url + "/") for url in (config.cloud.base_url, config.cloud.entrez_url))
    auth = Auth(
        transport,
        Credentials(
            account.email,
            _revealed(account.password),
            _revealed(account.e_auth_token),
            _revealed(account.cookie),
            _revealed(account.access_token),
        ),
        Surfaces(base_url, entrez_url),
        account=account.name,
        wall_clock=time.time,
    )
    return PolledAccount(account.name, Client(transport, auth, base_url), window, account.sites)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def poll_settings(poll: PollConfig) -> PollSettings:
    """The part of the `poll` section that the poller needs."""
    return PollSettings(
        interval_seconds=poll.interval_seconds,
        idle_interval_seconds=poll.idle_interval_seconds,
        summary_interval_seconds=poll.summary_interval_seconds,
        charge_mode_interval_seconds=poll.charge_mode_interval_seconds,
        align=poll.align,
        stale_after_seconds=poll.stale_after_seconds,
        max_requests_per_hour=poll.max_requests_per_hour,
    )


class App:
    """The exporter: listens first, polls then, and stops within seconds when told to."""

    def __init__(self, config: Config, *, load_config: Callable[[], Config] | None = None) -> None:
        """`load_config` reads the config again for a reload and raises ConfigError; None: no reload."""
        self.urls: list[str] = []
        self.listening = asyncio.Event()
        self._config = config
        self._load_config = load_config
        self._reload_succeeded = True
        self._instruments = Instruments(__version__)
        self._stop = asyncio.Event()
        self._http: aiohttp.ClientSession
        self._failure: BaseException | None = None
        self._poller: Poller | None = None
        self._polling: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until `stop`, SIGTERM or SIGINT; raises ListenError, or the bug that ended the polling."""
        self._watch_signals()
        async with cloud_http() as http:
            runner = await self._listen()
            try:
                self._http = http
                self._start_polling(self._config)
                self.listening.set()
                # What is alive now stays alive: the collector need not look at it again.
                gc.collect()
                gc.freeze()
                await self._stop.wait()
            finally:
                await self._stop_polling()
                await runner.cleanup()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask for the end of `run`."""
        self._stop.set()

    # -- listening -----------------------------------------------------------------------------------------

    async def _listen(self) -> web.AppRunner:
        sources = Sources(
            snapshot=self.snapshot,
            scraped=self._scraped,
            data_age=self._instruments.scraped,
            own_metrics=self._instruments.exposition,
            not_ready_because=lambda: self._poller.not_ready_because() if self._poller else ["starting"],
            unhealthy_because=self._unhealthy_because,
            version=__version__,
        )
        application = Web(sources, self._config.web.telemetry_path).application()
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            for address in self._config.web.listen_addresses:
                host, port = host_and_port(address)
                site = web.TCPSite(runner, host or None, port)
                await site.start()
            self.urls = [_url(sockname) for sockname in runner.addresses]
        except OSError as error:
            await runner.cleanup()
            raise ListenError(address, error) from error
        log.info("listening", extra={"url": " ".join(self.urls)})
        return runner

    def snapshot(self) -> Snapshot:
        """What a scrape shows at this moment."""
        published = self._poller.snapshot() if self._poller else Snapshot()
        return replace(published, config_reload_successful=self._reload_succeeded)

    def _scraped(self, source: str, site_ids: Iterable[str]) -> None:
        if self._poller is not None:
            self._poller.scraped(source, site_ids)

    def _unhealthy_because(self) -> list[str]:
        if self._polling is None or self._polling.done():
            return ["polling has stopped"]
        return []

    # -- polling -------------------------------------------------------------------------------------------

    def _start_polling(self, config: Config) -> None:
        former = self._poller
        kept = former.accounts if former else {}
        unchanged = {
            account.name
            for account in config.accounts
            if account in self._config.accounts
            and (config.cloud, config.poll.request_timeout_seconds)
            == (self._config.cloud, self._config.poll.request_timeout_seconds)
        }
        accounts = [
            # An account that did not change keeps its login: a reload must not log in again.
            kept[account.name].renewed()
            if account.name in kept and account.name in unchanged
            else build_account(account, config, self._http, self._instruments)
            for account in config.accounts
        ]
        self._poller = Poller(
            accounts,
            poll_settings(config.poll),
            problem=self._instruments.payload_problem,
            previous=former,
        )
        self._config = config
        self._polling = asyncio.create_task(self._poller.run())
        self._polling.add_done_callback(self._polling_ended)

    def _polling_ended(self, polling: asyncio.Task[None]) -> None:
        if polling.cancelled():
            return
        self._failure = polling.exception() or RuntimeError("polling ended by itself")
        self._stop.set()

    async def _stop_polling(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])
        for account in self._poller.accounts.values() if self._poller else ():
            await account.client.auth.close()

    # -- signals -------------------------------------------------------------------------------------------

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._begin_reload)

    def _begin_reload(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self.reload())

    async def reload(self) -> None:
        """Read the config again and poll by it; a bad one is refused and the old one stays."""
        if self._load_config is None:
            log.warning("nothing to reload: the config is built in")
            return
        try:
            config = self._load_config()
        except ConfigError as error:
            self._reload_succeeded = False
            log.error("config refused, the old one stays: %s", error)
            return
        for section in _FIXED_SECTIONS:
            if getattr(config, section) != getattr(self._config, section):
                log.warning("a change of section %r needs a restart", section)
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])
        self._start_polling(config)
        self._reload_succeeded = True
        log.info("config reloaded", extra={"accounts": len(config.accounts)})


class ListenError(ExporterError):
    """An address that cannot be listened on."""

    def __init__(self, address: str, error: OSError) -> None:
        super().__init__(
            f"cannot listen on {address}: {error.strerror or error}; set web.listen_address to a free one"
        )


def _url(sockname: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host, port = sockname[:2]
    if host in ("0.0.0.0", "::"):  # shown, not bound: a person opens localhost
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
