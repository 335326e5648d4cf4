"""The demo: the simulated cloud and the exporter in one process, wired as a user would wire them."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from tempfile import TemporaryDirectory

from exporter.app import App
from exporter.config import Config, load
from exporter.simulator.cloud import RunningCloud, start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import World, demo_world_config

Announce = Callable[[str], None]

# As the cloud's users know it: a charger obeys some time after the command was accepted.
_COMMAND_LAG_SECONDS = 10.0

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


def demo_config(cloud_url: str, state_folder: str, flags: Mapping[str, str | list[str]]) -> Config:
    """The demo's config, read the way every config is; flags still win."""
    environment = _ENVIRONMENT | {
        "ENPHASE_EV_STATE_PATH": state_folder,
        "ENPHASE_EV_CLOUD_BASE_URL": cloud_url,
        "ENPHASE_EV_CLOUD_ENTREZ_URL": cloud_url,
    }
    config, _ = load(None, environment, flags)
    return replace(config, accounts=(replace(config.accounts[0], name="demo"),))


async def serve_demo(
    flags: Mapping[str, str | list[str]], seed: int, speed: float, announce: Announce
) -> None:
    """Run both until stopped; announce the addresses to open."""
    world = World(replace(demo_world_config(seed), speed=speed))
    cloud = await start_cloud(world, CloudConfig(command_lag_seconds=_COMMAND_LAG_SECONDS))
    try:
        with TemporaryDirectory(prefix="enphase-ev-demo-") as folder:
            app = App(demo_config(cloud.url, folder, flags))
            running = asyncio.create_task(app.run())
            listening = asyncio.create_task(app.listening.wait())
            await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
            listening.cancel()
            if not running.done():
                _announce_demo(app.urls[0], cloud, world, speed, announce)
            await running
    finally:
        await cloud.close()


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
    announce(f"The simulated cloud: {cloud.url}/")
    announce(f"Log in with {CloudConfig.email} and the password {CloudConfig.password!r}.")
    await stop.wait()
    await cloud.close()
