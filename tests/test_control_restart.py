"""Restarts: a stop, a pause, a start at another level, and what may come between."""

import pytest

from exporter.command import Action
from exporter.errors import CommandError, CommandPostponed, CommandRefused, CommandUnconfirmed
from tests.commanding import (
    BUSY,
    CHARGING,
    IDLE,
    STOPPED,
    began,
    commanding,
    failure_of,
    until_done,
)


async def test_a_restart_stops_waits_for_it_and_starts_at_the_new_level() -> None:
    c = commanding(BUSY)
    c.polling.at(8, **STOPPED)
    c.polling.at(35, **CHARGING, charging_level_amperes=16.0)
    outcome = await c.run(Action.START, amps=16, restart=True)
    assert c.writes.sent == [("stop",), ("start", 16, False)]
    assert c.writes.sent_seconds == [1000.0, pytest.approx(1030.1)]
    assert outcome.confirmed is True
    assert outcome.detail == "charging was stopped first, to start at 16 A; status confirms it"
    assert c.given == [("start", "accepted")]


async def test_a_restart_waits_longer_for_a_charger_that_takes_longer_to_stop() -> None:
    c = commanding(BUSY, amps_while_charging="restart")
    c.polling.at(47, **STOPPED)
    await c.run(Action.START, amps=16)
    assert c.writes.sent_seconds == [1000.0, pytest.approx(1050.4)]


async def test_a_restart_of_a_car_that_does_not_charge_is_a_start() -> None:
    c = commanding(IDLE, amps_while_charging="restart")
    await c.run(Action.START, amps=16, restart=True, wait_seconds=0)
    assert c.kinds == ["start"]


async def test_a_restart_whose_stop_is_not_seen_does_not_start() -> None:
    c = commanding(BUSY)
    await until_done(c, restart := began(c, Action.START, amps=16, restart=True))
    error = await failure_of(restart)
    assert isinstance(error, CommandRefused)
    assert "the start was not sent: not confirmed within 90 s: status shows: it is charging" in str(error)
    assert c.kinds == ["stop"]
    assert c.given == [("start", "failed")]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (CommandRefused("HTTP 503", status=503), CommandRefused),
        (CommandPostponed("HTTP 429", retry_after_seconds=9), CommandPostponed),
        (CommandUnconfirmed("no answer came"), CommandUnconfirmed),
    ],
)
async def test_a_restart_whose_stop_fails_does_not_start(answer: Exception, kind: type[CommandError]) -> None:
    c = commanding(BUSY)
    c.writes.answers["stop"] = [answer]
    await until_done(c, restart := began(c, Action.START, amps=16, restart=True))
    error = await failure_of(restart)
    assert type(error) is kind
    assert "the start was not sent" in str(error)
    assert c.kinds == ["stop"]


@pytest.mark.parametrize(
    "answer", [CommandRefused("HTTP 503", status=503), CommandUnconfirmed("no answer came")]
)
async def test_a_restart_whose_start_fails_says_that_the_charger_was_stopped(answer: Exception) -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    c.writes.answers["start"] = [answer]
    await until_done(c, restart := began(c, Action.START, amps=16, restart=True))
    error = await failure_of(restart)
    assert type(error) is type(answer)
    assert "charging was stopped for the restart, but the start: " in str(error)


async def test_a_restart_whose_start_is_postponed_is_not_told_as_if_nothing_was_done() -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    c.writes.answers["start"] = [CommandPostponed("HTTP 429", retry_after_seconds=59.5)]
    await until_done(c, restart := began(c, Action.START, amps=16, restart=True))
    error = await failure_of(restart)
    assert isinstance(error, CommandRefused)
    assert str(error) == (
        "charging was stopped for the restart, but the start: HTTP 429; give it again in 60 s"
    )


async def test_a_stop_during_the_pause_of_a_restart_is_sent_at_once_and_ends_it() -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    restart = began(c, Action.START, amps=16, restart=True)
    await c.clock.run_for(15)
    stop = began(c, Action.STOP)
    await until_done(c, restart, stop)
    await c.clock.run_for(120)
    assert c.kinds == ["stop", "stop"]
    assert c.writes.sent_seconds == [1000.0, 1015.0]
    assert "the start was not sent: superseded" in str(await failure_of(restart))


async def test_a_stop_during_the_stop_of_a_restart_ends_it_too() -> None:
    c = commanding(BUSY)
    c.writes.takes_seconds = 5.0
    restart = began(c, Action.START, amps=16, restart=True)
    await c.clock.run_for(2)
    stop = began(c, Action.STOP)
    await c.clock.run_for(4)
    assert restart.done()
    await until_done(c, restart, stop)
    await c.clock.run_for(120)
    assert c.kinds == ["stop", "stop"]


async def test_a_stop_given_at_the_moment_a_restart_goes_on_leaves_the_charger_stopped() -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    restart = began(c, Action.START, amps=16, restart=True)
    await c.clock.run_for(30.1)
    stop = began(c, Action.STOP)
    await until_done(c, stop)
    await until_done(c, restart)
    restart.exception()
    assert c.kinds[-1] == "stop"


async def test_a_newer_start_ends_a_restart_too() -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    restart = began(c, Action.START, amps=16, restart=True)
    await c.clock.run_for(15)
    newer = began(c, Action.START, amps=20, wait_seconds=0)
    await until_done(c, restart, newer)
    assert c.writes.sent == [("stop",), ("start", 20, False)]


async def test_a_newer_start_that_waits_before_the_start_of_a_restart_is_the_one_that_counts() -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    restart = began(c, Action.START, amps=16, restart=True)
    await c.clock.run_for(28)
    c.writes.takes_seconds = 5.0
    message = began(c, Action.TRIGGER, message="Heartbeat")
    await c.clock.run_for(1)
    newer = began(c, Action.START, amps=20, wait_seconds=0)
    await until_done(c, restart, message, newer)
    assert c.writes.sent == [("stop",), ("trigger", "Heartbeat"), ("start", 20, False)]
    assert "charging was stopped for the restart, but the start: superseded" in str(await failure_of(restart))


async def test_a_restart_is_not_confirmed_by_its_level_alone() -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    c.polling.at(35, charging_level_amperes=16.0)
    assert (await c.run(Action.START, amps=16, restart=True)).confirmed is False


async def test_a_message_does_not_end_a_restart() -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    restart = began(c, Action.START, amps=16, restart=True, wait_seconds=0)
    await c.clock.run_for(15)
    await c.run(Action.TRIGGER, message="Heartbeat")
    await until_done(c, restart)
    assert c.kinds == ["stop", "trigger", "start"]


async def test_a_restart_counts_as_the_two_commands_it_sends() -> None:
    c = commanding(BUSY, command_limit=2)
    c.polling.at(1, **STOPPED)
    await c.run(Action.START, amps=16, restart=True, wait_seconds=0)
    await until_done(c, third := began(c, Action.TRIGGER, message="Heartbeat"))
    assert isinstance(await failure_of(third), CommandPostponed)
