"""Composition root: builds and wires everything, owns the tasks, the reload and the shutdown."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from exporter import __version__
from exporter.accounts import build_account, cloud_http, poll_settings
from exporter.bookkeeper import Bookkeeper
from exporter.client import Heard
from exporter.config import Config, state_folder
from exporter.errors import ConfigError
from exporter.instruments import Instruments
from exporter.kept_logins import KeptLogins
from exporter.listening import ListenError, Listening
from exporter.model import Snapshot
from exporter.notify import Supervisor
from exporter.poller import Poller
from exporter.state import State
from exporter.web import Sources, Web

if TYPE_CHECKING:
    from exporter.control_wiring import ControlWiring

log = logging.getLogger(__name__)

# So many requests are under way at once; a fleet's polls are spread so that it suffices.
_MOST_REQUESTS = 256
# How often it is looked whether a person has logged in: soon while no login works.
_LOOK_SOON_SECONDS = 1.0
_LOOK_SECONDS = 30.0
# Start-up is over by then.
_FREEZE_AFTER_SECONDS = 5.0
_SHUTDOWN_SECONDS = 1.0
_SESSIONS_SHOWN = 10
# A reload cannot move what is already bound.
_FIXED_SECTIONS = ("web", "state")


def _freeze() -> None:
    """What is alive now stays alive: the collector need not look at it again."""
    gc.collect()
    gc.freeze()


class App:
    """The exporter: listens first, polls then, and stops within seconds when told to."""

    def __init__(
        self,
        config: Config,
        *,
        load_config: Callable[[], Config] | None = None,
        heard: Heard | None = None,
    ) -> None:
        """`load_config` reads the config again for a reload and raises ConfigError; None: no reload.

        `heard` is told of every payload that is read.

        Raises ConfigError for a web config file that cannot be used.
        """
        self.listening = asyncio.Event()
        self._config = config
        self._load_config = load_config
        self._heard = heard
        self._reload_succeeded = True
        self._instruments = Instruments(__version__, os.environ.get("EXPORTER_REVISION", ""))
        self._listening = Listening(config.web.listen_addresses, config.web.config_file)
        self._control: ControlWiring | None = None
        self._supervisor = Supervisor(os.environ)
        self._stop = asyncio.Event()
        self._slots = asyncio.Semaphore(_MOST_REQUESTS)
        self._http: aiohttp.ClientSession
        self._state: State
        self._books: Bookkeeper
        self._logins: KeptLogins
        self._failure: BaseException | None = None
        self._poller: Poller | None = None
        self._polling: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None

    @property
    def urls(self) -> list[str]:
        """Where to ask; a change of the web config file can change http to https."""
        return self._listening.urls

    async def run(self) -> None:
        """Serve until `stop`, SIGTERM or SIGINT; raises ListenError, or the bug that ended the polling."""
        self._watch_signals()
        state = self._state = State.open(state_folder(self._config))
        try:
            self._books = Bookkeeper(state)
            self._logins = KeptLogins(state, state_folder(self._config))
            async with cloud_http() as http:
                self._http = http
                await self._serve()
        finally:
            await state.close()
        if self._failure is not None:
            raise self._failure

    async def _serve(self) -> None:
        runner = await self._listen()
        try:
            self._start_polling(self._config)
            self.listening.set()
            self._supervisor.ready(self._status())
            if self._supervisor.watchdog_seconds is not None:
                self._pinging = self._kept_alive(self._supervisor.ping(lambda: not self._unhealthy_because()))
            if self._listening.follows:
                self._following = self._kept_alive(self._listening.watch())
            asyncio.get_running_loop().call_later(_FREEZE_AFTER_SECONDS, _freeze)
            # A freed block of this size moves glibc's threshold, and asyncio's 256 KiB receive buffer is no
            # longer mapped and unmapped at every request: three system calls less a scrape.
            bytes(1 << 20)
            self._watching = self._kept_alive(self._watch_logins())
            await self._stop.wait()
        finally:
            self._supervisor.stopping()
            self._listening.stop()
            if self._control is not None:
                self._control.stop()
            await self._stop_polling()
            await runner.cleanup()

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
            known=lambda site_id: self._poller.site(site_id) if self._poller else None,
            history=lambda: self._state.history(_SESSIONS_SHOWN),
            version=__version__,
        )
        application = Web(sources, self._config.web.telemetry_path).application()
        if self._config.control.enabled:
            application.add_routes(self._offer_control())
        self._listening.guard(application)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await self._listening.start(runner)
        except ListenError:
            await runner.cleanup()
            raise
        log.info("listening", extra={"url": " ".join(self.urls)})
        return runner

    def _offer_control(self) -> Iterable[web.RouteDef]:
        from exporter.control_wiring import ControlWiring  # here: most exporters have no control

        self._control = ControlWiring(
            self._config, self._polling_now, self.snapshot, self._state, self._instruments
        )
        return self._control.routes()

    def _polling_now(self) -> Poller:
        """The poller in force; it is there before anything is answered."""
        if self._poller is None:
            raise RuntimeError("polling has not started")
        return self._poller

    def snapshot(self) -> Snapshot:
        """What a scrape shows at this moment."""
        published = self._poller.snapshot() if self._poller else Snapshot()
        return replace(
            published,
            config_reload_successful=self._reload_succeeded,
            state_writes_failed=self._books.writes_failed,
            state_set_aside=self._books.set_aside,
        )

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
        before = {account.name: account for account in self._config.accounts}
        unchanged = {
            account.name
            for account in config.accounts
            if account == before.get(account.name)
            and (config.cloud, config.poll.request_timeout_seconds)
            == (self._config.cloud, self._config.poll.request_timeout_seconds)
        }
        accounts = [
            # An account that did not change keeps its login: a reload must not log in again.
            kept[account.name].renewed()
            if account.name in kept and account.name in unchanged
            else build_account(
                account,
                config,
                self._http,
                self._instruments,
                store=self._logins.store_for(account.name),
                kept=self._logins.of(account.name),
                slots=self._slots,
                heard=self._heard,
            )
            for account in config.accounts
        ]
        self._poller = Poller(
            accounts,
            poll_settings(config),
            save=self._books.save,
            ledgers=self._books.kept(),
            problem=self._instruments.payload_problem,
            previous=former,
        )
        self._config = config
        self._polling = self._kept_alive(self._poller.run())

    def _kept_alive(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task without which the exporter is none: when it ends by itself, `run` ends with its error."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = task.exception() or RuntimeError("a task that never ends has ended")
            self._stop.set()

    async def _watch_logins(self) -> None:
        """Pick up the login that a person has made beside the running exporter."""
        while True:
            accounts = self._poller.accounts if self._poller else {}
            needed = any(account.client.auth.works is not True for account in accounts.values())
            await asyncio.sleep(_LOOK_SOON_SECONDS if needed else _LOOK_SECONDS)
            for name, login in (await self._logins.made_by_person()).items():
                account = self._poller.accounts.get(name) if self._poller else None
                if account is None or self._poller is None:
                    continue
                if login is None:
                    account.client.auth.forget()
                else:
                    account.client.auth.take_over(login)
                    self._poller.wake(name)

    async def _stop_polling(self) -> None:
        for task in (self._watching, self._following, self._pinging, self._polling):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
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
            self._reloading = asyncio.create_task(self._reload_as_told())

    async def _reload_as_told(self) -> None:
        self._supervisor.reloading()
        try:
            await self.reload()
        finally:
            self._supervisor.ready(self._status())

    def _status(self) -> str:
        refused = "" if self._reload_succeeded else "; the new config was refused, the old one stays"
        return f"serving {' '.join(dict.fromkeys(self.urls))}{refused}"

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
        if self._control is None and config.control.enabled:
            log.warning("turning control on needs a restart")
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])
        self._start_polling(config)
        if self._control is not None:
            self._control.adopt(config)
        self._reload_succeeded = True
        log.info("config reloaded", extra={"accounts": len(config.accounts)})
