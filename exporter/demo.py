"""The demo: the simulated cloud and the exporter in one process, wired as a user would wire them."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from exporter import logs
from exporter.app import App
from exporter.config import Config, load, private_texts
from exporter.errors import ConfigError
from exporter.layers import FILE_VARIABLE, environment_layers
from exporter.simulator.cloud import RunningCloud, start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import World, demo_world_config

log = logging.getLogger(__name__)

Announce = Callable[[str], None]

# As the cloud's users know it: a charger obeys some time after the command was accepted.
_COMMAND_LAG_SECONDS = 10.0

# Account, cloud, polls and state are the demo's own; how it is reached and what it logs is the user's.
_SECTIONS_OF_THE_USER = ("web.", "control.", "log.")

# The pretend owner polls faster than any real one may: the demo's day passes in minutes.
_ENVIRONMENT = {
    "ENPHASE_EV_EMAIL": CloudConfig.email,
    "ENPHASE_EV_PASSWORD": CloudConfig.password,
    "ENPHASE_EV_POLL_INTERVAL": "1s",
    "ENPHASE_EV_POLL_IDLE_INTERVAL": "1s",
    "ENPHASE_EV_POLL_SUMMARY_INTERVAL": "5s",
    "ENPHASE_EV_POLL_CHARGE_MODE_INTERVAL": "5s",
    "ENPHASE_EV_POLL_STALE_AFTER": "10m",  # of the cloud's time: two polls lie four of its minutes apart
    "ENPHASE_EV_POLL_MAX_REQUESTS_PER_HOUR": "36000",
}


class Variables(NamedTuple):
    """The exporter's variables as the demo sees them: those it takes, and the names of those it leaves."""

    taken: dict[str, str]
    ignored: tuple[str, ...]


def variables_of(environ: Mapping[str, str]) -> Variables:
    """Sort the environment; raises ConfigError for a variable that is no setting."""
    sections, account = environment_layers(environ)
    taken = {
        given.where: environ[given.where]
        for key, given in sections.items()
        if key.startswith(_SECTIONS_OF_THE_USER)
    }
    given = [one.where for one in (*sections.values(), *account.values())]
    given += [FILE_VARIABLE] if environ.get(FILE_VARIABLE) else []
    return Variables(taken, tuple(sorted(set(given) - taken.keys())))


def demo_config(
    cloud_url: str, state_folder: str, flags: Mapping[str, str | list[str]], taken: Mapping[str, str]
) -> tuple[Config, tuple[str, ...]]:
    """The demo's config and its warnings, read the way every config is; flags still win."""
    environment = {
        **taken,
        **_ENVIRONMENT,
        "ENPHASE_EV_STATE_PATH": state_folder,
        "ENPHASE_EV_CLOUD_BASE_URL": cloud_url,
        "ENPHASE_EV_CLOUD_ENTREZ_URL": cloud_url,
    }
    config, warnings = load(None, environment, flags)
    return replace(config, accounts=(replace(config.accounts[0], name="demo"),)), warnings


async def serve_demo(
    flags: Mapping[str, str | list[str]],
    seed: int,
    speed: float,
    announce: Announce,
    *,
    environ: Mapping[str, str] = os.environ,
    config_path: Path | None = None,
) -> None:
    """Run both until stopped; announce the addresses to open. Raises ConfigError."""
    if config_path is not None:
        raise ConfigError(
            "--config.file: the demo has its own account and cloud and reads no file, expected flags or"
            " variables, or the command run"
        )
    variables = variables_of(environ)
    world = World(replace(demo_world_config(seed), speed=speed))
    cloud = await start_cloud(world, CloudConfig(command_lag_seconds=_COMMAND_LAG_SECONDS))
    try:
        with TemporaryDirectory(prefix="enphase-ev-demo-") as folder:
            config, warnings = demo_config(cloud.url, folder, flags, variables.taken)
            _configure_log(config, variables, warnings)
            app = App(config)
            running = asyncio.create_task(app.run())
            listening = asyncio.create_task(app.listening.wait())
            await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
            listening.cancel()
            if not running.done():
                _announce_demo(app.urls[0], cloud, world, speed, announce)
            await running
    finally:
        await cloud.close()


def _configure_log(config: Config, variables: Variables, warnings: tuple[str, ...]) -> None:
    logs.configure(config.log.level, config.log.format, sys.stderr)
    for text in private_texts(config):
        logs.conceal(text)
    if variables.ignored:
        log.warning(
            "the demo has its own account, cloud and polls: it ignores %s", ", ".join(variables.ignored)
        )
    for warning in warnings:
        log.warning("%s", warning)


def _announce_demo(url: str, cloud: RunningCloud, world: World, speed: float, announce: Announce) -> None:
    site_id = next(iter(world.sites))
    announce(f"The demo runs at {speed:g} times real time: a day passes in {86400 / speed / 60:.3g} minutes.")
    for name, address in (
        ("page", f"{url}/"),
        ("metrics", f"{url}/metrics"),
        ("one site", f"{url}/probe?target={site_id}"),
        ("discovery", f"{url}/sd"),
        ("the simulated cloud", f"{cloud.url}/"),
    ):
        announce(f"  {name + ':':<21}{address}")
    announce("Ctrl-C stops it.")


async def serve_cloud(host: str, port: int, seed: int, speed: float, announce: Announce) -> None:
    """Run the simulated cloud alone until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    world = World(replace(demo_world_config(seed), speed=speed))
    config = CloudConfig(command_lag_seconds=_COMMAND_LAG_SECONDS)
    cloud = await start_cloud(world, config, host=host, port=port)
    _announce_cloud(cloud.url, config, announce)
    await stop.wait()
    await cloud.close()


def _announce_cloud(url: str, config: CloudConfig, announce: Announce) -> None:
    announce(f"The simulated cloud: {url}/")
    announce(f"Log in with {config.email} and the password {config.password!r}.")
    announce(f"Where a login is made to ask for a one-time code, it is {config.mfa_code}.")
    announce("An exporter finds it by these settings:")
    announce(f"  ENPHASE_EV_CLOUD_BASE_URL={url}")
    announce(f"  ENPHASE_EV_CLOUD_ENTREZ_URL={url}")
    announce("To poll it every few seconds, give a larger poll.max_requests_per_hour too.")
