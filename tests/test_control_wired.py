"""Control with the real poller and the real writes against the simulated cloud, thirty times as fast."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exporter.asking import PolledAccount, PollSettings
from exporter.command import Action, Outcome, Result
from exporter.control import Control
from exporter.errors import CommandRefused
from exporter.model import ChargeMode
from exporter.poller import Poller, sleep_or_wake
from exporter.schedule import RequestWindow
from exporter.sending import ControlSettings
from exporter.simulator.charger import SimCharger
from exporter.simulator.settings import CloudConfig
from tests.commanding import command
from tests.wiring import Commanded, commanded

SPEED = 30.0
PAGE = (Path(__file__).parents[1] / "docs/control-api.md").read_text(encoding="utf-8")


def quick_clock() -> float:
    return time.monotonic() * SPEED


async def quick_sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / SPEED)


async def quick_wait(seconds: float, wake: asyncio.Event) -> None:
    await sleep_or_wake(seconds / SPEED, wake)


async def saved(ledgers: Sequence[object], sessions: Sequence[object]) -> bool:
    return True


@dataclass
class Wired:
    c: Commanded
    control: Control
    charger: SimCharger
    given: list[tuple[str, str]]

    async def run(self, action: Action, **told: Any) -> Outcome:
        serial = None if action.name.startswith("LIVE") else self.c.w.serial
        return await self.control.run(command(action, site_id=self.c.w.site_id, serial=serial, **told))


async def time_passes(c: Commanded) -> None:
    """Let the cloud's clock run as fast."""
    begun, wall = quick_clock(), c.w.wall.seconds
    while True:
        await asyncio.sleep(0.01)
        c.w.wall.seconds = wall + quick_clock() - begun


@asynccontextmanager
async def controlled(folder: Path, config: CloudConfig | None = None) -> AsyncIterator[Wired]:
    """A control of a charger with a car that waits to be charged, once its poller knows all of it."""
    async with commanded(folder, config) as c:
        w = c.w
        charger = w.cloud.world.sites[w.site_id].chargers[w.serial]
        charger.manual = True
        charger.unplug()
        charger.plug()
        charger.stop()
        poller = Poller(
            [PolledAccount("home", w.client, RequestWindow(), (w.site_id,))],
            PollSettings(idle_interval_seconds=30, align="none", max_requests_per_hour=1_000_000),
            save=saved,
            problem=lambda endpoint, kind: None,
            clock=quick_clock,
            wall_clock=w.wall,
            sleep=quick_wait,
        )
        given: list[tuple[str, str]] = []
        control = Control(
            lambda: poller,
            lambda site_id: c.writes,
            ControlSettings(),
            counted=lambda command, result: given.append((command, result)),
            clock=quick_clock,
            wall_clock=w.wall,
            sleep=quick_sleep,
        )
        tasks = [asyncio.create_task(poller.run()), asyncio.create_task(time_passes(c))]
        try:
            async with asyncio.timeout(10):
                while not any(
                    known.charge_mode for site in [poller.site(w.site_id)] if site for known in site.chargers
                ):
                    await asyncio.sleep(0.01)
            yield Wired(c, control, charger, given)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_a_start_and_a_stop_change_the_charger_and_are_confirmed(tmp_path: Path) -> None:
    async with controlled(tmp_path, CloudConfig(command_lag_seconds=8)) as wired:
        started = await wired.run(Action.START, amps=16)
        assert (started.result, started.confirmed) == (Result.ACCEPTED, True)
        assert wired.charger.seen().amps > 15
        stopped = await wired.run(Action.STOP)
        assert (stopped.result, stopped.confirmed) == (Result.ACCEPTED, True)
        assert wired.given == [("start", "accepted"), ("stop", "accepted")]
        assert [entry for entry in wired.c.sent() if "16" in entry[2]] == [
            ("POST", "ev_chargers", '{"chargingLevel":16,"connectorId":1}')
        ]
        assert wired.c.w.cloud.journal.count(endpoint="live_stream") == 1  # it lasts for both


async def test_a_restart_moves_a_running_session_to_another_level(tmp_path: Path) -> None:
    async with controlled(tmp_path, CloudConfig(command_lag_seconds=8, levels_need_restart=True)) as wired:
        await wired.run(Action.START, amps=16)
        outcome = await wired.run(Action.START, amps=10, restart=True)
        assert outcome.confirmed is True
        assert 9 < wired.charger.seen().amps < 11
        assert [(method, body) for method, _, body in wired.c.sent()] == [
            ("POST", '{"chargingLevel":16,"connectorId":1}'),
            ("PUT", ""),
            ("POST", '{"chargingLevel":10,"connectorId":1}'),
        ]


async def test_a_charge_mode_is_set_and_read_back(tmp_path: Path) -> None:
    async with controlled(tmp_path) as wired:
        outcome = await wired.run(Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING)
        assert (outcome.result, outcome.confirmed) == (Result.ACCEPTED, True)
        again = await wired.run(Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING)
        assert again.result is Result.NOOP


async def test_a_start_in_green_mode_sends_no_level_though_no_poll_has_shown_the_mode(tmp_path: Path) -> None:
    async with controlled(tmp_path, CloudConfig(mode_lag_seconds=20)) as wired:
        await wired.run(Action.START, amps=32)
        await wired.run(Action.STOP)
        await wired.run(Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING, wait_seconds=0)
        await wired.run(Action.START, wait_seconds=0)
        assert wired.c.sent()[-1][2] == '{"connectorId":1}'


async def test_a_start_sends_no_level_where_green_mode_was_chosen_in_the_app(tmp_path: Path) -> None:
    async with controlled(tmp_path) as wired:
        await wired.run(Action.START, amps=32)
        await wired.run(Action.STOP)
        wired.charger.mode = "GREEN_CHARGING"
        await wired.run(Action.START, wait_seconds=0)
        assert wired.c.sent()[-1][2] == '{"connectorId":1}'


async def test_a_mode_sent_right_after_another_is_not_lost(tmp_path: Path) -> None:
    async with controlled(tmp_path, CloudConfig(mode_lag_seconds=20)) as wired:
        await wired.run(Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING, wait_seconds=0)
        again = await wired.run(Action.CHARGE_MODE, mode=ChargeMode.MANUAL_CHARGING, wait_seconds=40)
        assert again.result is Result.ACCEPTED
        assert wired.charger.mode == "MANUAL_CHARGING"


async def test_nothing_to_stop_is_confirmed_by_status(tmp_path: Path) -> None:
    async with controlled(tmp_path) as wired:
        outcome = await wired.run(Action.STOP)
        assert (outcome.result, outcome.confirmed) == (Result.NOOP, True)


async def test_an_outage_is_one_request_and_a_failure(tmp_path: Path) -> None:
    async with controlled(tmp_path) as wired:
        wired.c.w.cloud.faults.add("status", endpoint="stop_charging", status=503)
        with pytest.raises(CommandRefused) as refused:
            await wired.run(Action.STOP)
        assert refused.value.status == 503
        assert len(wired.c.sent()) == 1
        assert wired.given == [("stop", "failed")]


async def test_rapid_updates_are_granted_for_as_long_as_the_cloud_says(tmp_path: Path) -> None:
    async with controlled(tmp_path) as wired:
        assert (await wired.run(Action.LIVE_STREAM_START)).duration_seconds == 900
        assert (await wired.run(Action.LIVE_STREAM_STOP)).result is Result.ACCEPTED


async def test_the_answers_to_commands_on_the_page_are_those_that_come(tmp_path: Path) -> None:
    answers = [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    ]
    on_the_page = {
        (answer["command"], answer["result"], answer["confirmed"], answer["detail"])
        for answer in answers
        if "command" in answer
    }
    came = set()
    async with controlled(tmp_path) as w:
        for action, amps in (
            (Action.STOP, None),
            (Action.START, 16),
            (Action.START, 16),
            (Action.STOP, None),
        ):
            outcome = await w.run(action, amps=amps)
            came.add((action.value, outcome.result.value, outcome.confirmed, outcome.detail))
    assert on_the_page == came
