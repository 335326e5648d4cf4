"""Wires the control API to the poller, the cloud and the state; nothing of it exists while control is off."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from aiohttp import web

from exporter.command import COUNTED_RESULTS, Action, Command, Outcome
from exporter.config import Config
from exporter.control import Control
from exporter.control_api import ControlApi
from exporter.errors import CommandRefused, CommandUnconfirmed
from exporter.instruments import Instruments
from exporter.kept_variants import KeptVariants
from exporter.model import Snapshot
from exporter.poller import Poller
from exporter.sending import ControlSettings
from exporter.state import State
from exporter.writes import Writes


class ControlWiring:
    """The control API of one running exporter."""

    def __init__(
        self,
        config: Config,
        poller: Callable[[], Poller],
        snapshot: Callable[[], Snapshot],
        state: State,
        instruments: Instruments,
    ) -> None:
        """`poller` gives the one in force: a reload brings another. Blocks; raises StateError."""
        self._poller = poller
        self._snapshot = snapshot
        self._kept = KeptVariants(state)
        instruments.offer_control([action.value for action in Action], COUNTED_RESULTS)
        self._control = Control(
            poller, self._writes, control_settings(config), counted=instruments.command_ended
        )
        self._stopping = asyncio.Event()
        self._api = ControlApi(
            self._run,
            self._known,
            self._control.last,
            config.control.tokens,
            refused=self._control.refused,
        )

    def routes(self) -> Iterable[web.RouteDef]:
        """What to add to the web application."""
        return self._api.routes()

    def adopt(self, config: Config) -> None:
        """Go on with a reloaded config; where it turns control off, no token opens the API any more."""
        self._control.adopt(control_settings(config))
        self._api.adopt(config.control.tokens if config.control.enabled else ())

    def stop(self) -> None:
        """Tell those who wait for a command at once that nobody will look what became of it."""
        self._stopping.set()

    async def _run(self, command: Command) -> Outcome:
        """Carry out a command, unless the exporter stops; raises CommandError."""
        work = asyncio.create_task(self._control.run(command))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, stopping):
                task.cancel()
            await asyncio.wait((work, stopping))
        if not work.cancelled():
            return work.result()
        raise CommandUnconfirmed(
            "the exporter stops: what became of the command is not known, so look at the charger"
        )

    def _known(self) -> Snapshot:
        """What is known, however old: a charger must be stopped also when its data is stale."""
        snapshot, poller = self._snapshot(), self._poller()
        return replace(snapshot, sites=tuple(poller.site(site.site_id) or site for site in snapshot.sites))

    def _writes(self, site_id: str) -> Writes:
        client = self._poller().client_of(site_id)
        if client is None:  # a reload in the middle of a command can take its site away
            raise CommandRefused(f"site {site_id} is polled no more: nothing was sent", status=0)
        return Writes(client, self._kept)


def control_settings(config: Config) -> ControlSettings:
    """The part of the config that commands need."""
    control = config.control
    return ControlSettings(
        command_limit=control.command_limit,
        command_limit_window_seconds=control.command_limit_window_seconds,
        dry_run=control.dry_run,
        amps_while_charging=control.amps_while_charging,
        live_stream_on_command=config.poll.live_stream == "on_command",
    )
