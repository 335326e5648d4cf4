"""The exporter killed again and again while the world lives on: nothing is lost, nothing counted twice."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp
import msgspec
import pytest

from exporter.model import Ledger
from exporter.simulator.charger import SimCharger
from exporter.simulator.cloud import start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.vehicle import MANUAL
from exporter.simulator.world import World, WorldConfig
from exporter.state import read_sessions
from exporter.state_file import NAME, connect_to_read

KILLS = 55
SPEED = 1200.0  # a poll every 100 ms is one every two minutes there
START = 1_800_000_000.0
COUNTERS = ("energy_kwh_total", "sessions_total", "faults_total", "charging_seconds_total")

# Everything is imported once; for each line read, a fork of it is an exporter like any other.
NURSERY = """
import asyncio, gc, os, sys
from exporter.app import App
from exporter.config import load
config, _ = load(None, os.environ, {})
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        asyncio.run(App(config).run())
        os._exit(0)
    try:
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("gone", flush=True)
    except BrokenPipeError:  # the test has failed and reads no more
        os._exit(0)
"""


@dataclass
class HandClock:
    """Real seconds that stand still until told to run."""

    run_since: float | None = None
    stood_at: float = 0.0

    def __call__(self) -> float:
        if self.run_since is None:
            return self.stood_at
        return self.stood_at + asyncio.get_running_loop().time() - self.run_since

    def run(self) -> None:
        self.run_since = asyncio.get_running_loop().time()

    def stop(self) -> None:
        self.stood_at, self.run_since = self(), None


class Nursery:
    """Starts exporters on one state folder and one port, one at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._pid = 0

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    async def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("one more\n")
        self._process.stdin.flush()
        self._pid = int(await asyncio.to_thread(self._line))

    async def kill(self) -> None:
        self.end()
        assert await asyncio.to_thread(self._line) == "gone"

    def end(self) -> None:
        """SIGKILL to the exporter that runs, if one does."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = 0


@contextmanager
def nursery(url: str, folder: Path, port: int) -> Iterator[Nursery]:
    environment = {
        **os.environ,
        "ENPHASE_EV_STATE_PATH": str(folder),
        "ENPHASE_EV_EMAIL": CloudConfig.email,
        "ENPHASE_EV_PASSWORD": CloudConfig.password,
        "ENPHASE_EV_CLOUD_BASE_URL": url,
        "ENPHASE_EV_CLOUD_ENTREZ_URL": url,
        "ENPHASE_EV_WEB_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "ENPHASE_EV_POLL_INTERVAL": "100ms",
        "ENPHASE_EV_POLL_IDLE_INTERVAL": "100ms",
        "ENPHASE_EV_POLL_SUMMARY_INTERVAL": "200ms",
        "ENPHASE_EV_POLL_ALIGN": "none",
        "ENPHASE_EV_POLL_MAX_REQUESTS_PER_HOUR": "1000000",
    }
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    ) as process:
        exporters = Nursery(process)
        try:
            yield exporters
        finally:
            exporters.end()
            assert process.stdin is not None
            process.stdin.close()


def kept(folder: Path) -> dict[str, Ledger]:
    """The ledgers on disk, by serial."""
    if not (folder / NAME).exists():
        return {}
    with closing(connect_to_read(folder / NAME)) as database:
        rows = database.execute("SELECT serial, ledger FROM ledgers").fetchall()
    return {serial: msgspec.json.decode(text, type=Ledger) for serial, text in rows}


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.02)


async def scraped(http: aiohttp.ClientSession, port: int) -> dict[str, float]:
    """The counters of the chargers on /metrics; nothing while the exporter is not up yet."""
    try:
        async with http.get(f"http://127.0.0.1:{port}/metrics") as response:
            text = await response.text()
    except aiohttp.ClientError:
        return {}
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("enphase_ev_charger_"))
    return {
        series: float(value)
        for series, value in samples
        if series.split("{")[0].removeprefix("enphase_ev_charger_") in COUNTERS
    }


def check_exposed(exposed: dict[str, float], ledgers: dict[str, Ledger]) -> None:
    """What a scrape saw was on the disk already."""
    for series, value in exposed.items():
        if series.startswith("enphase_ev_charger_energy_kwh_total"):
            serial = series.split('serial="')[1].split('"')[0]
            assert ledgers[serial].energy_kwh >= value - 1e-6


def quieten(chargers: list[SimCharger]) -> None:
    for charger in chargers:
        charger.manual = True
        if charger.plugged_in:
            charger.unplug()


async def test_killed_again_and_again_the_exporter_counts_what_the_world_delivered(tmp_path: Path) -> None:
    clock, rng = HandClock(), Random(7)
    config = WorldConfig(
        seed=3,
        sites=2,
        chargers=10,
        speed=SPEED,
        start_seconds=START,
        busy=True,
        modes=(MANUAL,),
        fault_every_seconds=None,
        offline_every_seconds=None,
    )
    world = World(config, clock=clock)
    chargers = list(world.chargers.values())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cloud = await start_cloud(world)
    shown: dict[str, float] = {}
    try:
        with nursery(cloud.url, tmp_path, port) as exporters:
            async with aiohttp.ClientSession() as http:
                await exporters.start()
                await until(
                    lambda: (
                        len(kept(tmp_path)) == len(chargers)
                        and all(ledger.lifetime.kwh is not None for ledger in kept(tmp_path).values())
                    )
                )
                first_wh = {charger.serial: charger.seen().lifetime_wh for charger in chargers}
                clock.run()
                for _ in range(KILLS):
                    await asyncio.sleep(rng.uniform(0.05, 0.4))
                    exposed = await scraped(http, port)
                    await exporters.kill()
                    check_exposed(exposed, kept(tmp_path))
                    assert all(value >= shown.get(series, 0.0) for series, value in exposed.items())
                    shown |= exposed
                    await exporters.start()
                quieten(chargers)
                await asyncio.sleep(1800 / SPEED)
                clock.stop()
                await asyncio.sleep(1.0)
                await exporters.kill()
    finally:
        await cloud.close()
    ledgers = kept(tmp_path)
    assert len(shown) == len(chargers) * len(COUNTERS)
    delivered = {c.serial: (c.lifetime_wh - first_wh[c.serial]) / 1000 for c in chargers}
    finished = sum(len(charger.finished_wh) for charger in chargers)
    assert sum(delivered.values()) > 100
    assert finished > len(chargers)
    for serial, kwh in delivered.items():
        assert ledgers[serial].energy_kwh == pytest.approx(kwh, abs=0.001)
    assert sum(ledger.sessions for ledger in ledgers.values()) == finished
    for charger in chargers:
        recorded = [one.energy_kwh for one in read_sessions(tmp_path, serial=charger.serial)]
        assert recorded == pytest.approx([wh / 1000 for wh in charger.finished_wh], abs=0.001)
