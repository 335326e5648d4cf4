"""Commands to one charger that meet: who is sent, in which order, and who is told what."""

import asyncio
from dataclasses import replace

import pytest

from exporter.command import Action, Command, Outcome, Result
from exporter.errors import CommandRefused, CommandUnconfirmed
from exporter.lane import Lane, Turn
from exporter.model import ChargeMode
from exporter.writes import Reply
from tests.commanding import (
    BUSY,
    CHARGING,
    IDLE,
    OTHER,
    SERIAL,
    SITE,
    STOPPED,
    began,
    command,
    commanding,
    failure_of,
    until_done,
)

GREEN = ChargeMode.GREEN_CHARGING
NOOP = Reply(Result.NOOP, "nothing to stop")


# -- the order of what is sent -----------------------------------------------------------------------------


async def test_commands_to_one_charger_are_sent_one_after_the_other_in_the_order_given() -> None:
    c = commanding()
    c.writes.takes_seconds = 3.0
    await c.clock.finished(
        c.give(Action.START, wait_seconds=0),
        c.give(Action.TRIGGER, message="Heartbeat"),
        c.give(Action.STOP, wait_seconds=0),
    )
    assert c.kinds == ["start", "trigger", "stop"]
    assert c.writes.sent_seconds == [1000.0, 1003.0, 1006.0]


async def test_commands_to_two_chargers_do_not_wait_for_each_other() -> None:
    c = commanding(IDLE, replace(IDLE, site_id=OTHER))
    c.writes.takes_seconds = 3.0
    await c.clock.finished(
        c.give(Action.START, site_id=SITE, wait_seconds=0),
        c.give(Action.START, site_id=OTHER, wait_seconds=0),
    )
    assert c.writes.sent_seconds == [1000.0, 1000.0]


async def test_a_stop_does_not_wait_for_a_start_to_be_confirmed() -> None:
    c = commanding()
    start = began(c, Action.START)
    await c.clock.run_for(7)
    stop = began(c, Action.STOP)
    await c.clock.run_for(1)
    assert start.done()
    assert start.result().result is Result.ACCEPTED
    assert start.result().confirmed is False
    assert "superseded by a newer command" in start.result().detail
    assert c.writes.sent_seconds == [1000.0, 1007.0]
    await until_done(c, stop)
    assert c.given == [("start", "unconfirmed"), ("stop", "accepted")]


async def test_a_start_that_waits_for_its_turn_is_not_sent_after_a_stop_was_given() -> None:
    c = commanding()
    c.writes.takes_seconds = 3.0
    first = began(c, Action.TRIGGER, message="Heartbeat")
    await c.clock.settle()
    start = began(c, Action.START)
    await c.clock.settle()
    stop = began(c, Action.STOP, wait_seconds=0)
    await until_done(c, first, start, stop)
    assert c.kinds == ["trigger", "stop"]
    assert "it was not sent" in str(await failure_of(start))
    assert ("start", "refused") in c.given


async def test_a_stop_passes_the_limit_to_overtake_a_start_that_waits_for_its_turn() -> None:
    c = commanding(command_limit=2)
    c.writes.takes_seconds = 3.0
    first = began(c, Action.TRIGGER, message="Heartbeat")
    start = began(c, Action.START)
    await c.clock.settle()
    stop = began(c, Action.STOP, wait_seconds=0)
    await until_done(c, first, start, stop)
    assert c.kinds == ["trigger", "stop"]
    assert isinstance(await failure_of(start), CommandRefused)


async def test_a_stop_does_not_wait_for_the_status_that_a_start_asks_for() -> None:
    c = commanding()
    c.polling.silent = True
    c.writes.asks_status = True
    start = began(c, Action.START, wait_seconds=0)
    await c.clock.run_for(1)
    stop = began(c, Action.STOP, wait_seconds=0)
    await until_done(c, start, stop)
    assert "superseded" in str(await failure_of(start))
    assert c.writes.sent_seconds == [1001.0]
    assert c.kinds == ["stop"]


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_start_is_still_wanted_until_a_stop_is_given(stopped: bool) -> None:
    c = commanding()
    c.writes.takes_seconds = 5.0
    start = began(c, Action.START, wait_seconds=0)
    await c.clock.run_for(1)
    tasks = [start, began(c, Action.STOP, wait_seconds=0)] if stopped else [start]
    await until_done(c, *tasks)
    assert c.writes.was_still_wanted is not stopped


async def test_a_start_after_a_stop_is_sent_after_it() -> None:
    c = commanding(BUSY)
    stop = began(c, Action.STOP)
    await c.clock.settle()
    start = began(c, Action.START)
    await until_done(c, stop, start)
    assert c.kinds == ["stop", "start"]
    assert "superseded" in stop.result().detail


async def test_a_message_does_not_end_the_wait_of_a_start() -> None:
    c = commanding()
    c.polling.at(15, **CHARGING)
    start = began(c, Action.START)
    await c.clock.run_for(7)
    await c.run(Action.TRIGGER, message="Heartbeat")
    await until_done(c, start)
    assert start.result().confirmed is True


async def test_the_last_command_is_the_one_that_was_sent_last() -> None:
    c = commanding()
    start = began(c, Action.START)
    await c.clock.run_for(7)
    stop = began(c, Action.STOP)
    await c.clock.run_for(1)
    assert start.done()
    last = c.control.last(SITE, SERIAL)
    assert last is not None
    assert last.action is Action.STOP
    await until_done(c, stop)


async def test_a_command_confirmed_late_is_not_the_last_one_again() -> None:
    c = commanding()
    c.polling.at(15, **CHARGING)
    start = began(c, Action.START)
    await c.clock.run_for(7)
    await c.run(Action.TRIGGER, message="Heartbeat")
    await until_done(c, start)
    last = c.control.last(SITE, SERIAL)
    assert last is not None
    assert last.action is Action.TRIGGER


async def test_a_command_awaiting_its_confirmation_is_kept_as_not_confirmed() -> None:
    c = commanding()
    start = began(c, Action.START)
    await c.clock.run_for(7)
    last = c.control.last(SITE, SERIAL)
    assert last is not None
    assert (last.action, last.result, last.confirmed) == (Action.START, Result.ACCEPTED, False)
    await until_done(c, start)


# -- what is queued in the cloud may still come ------------------------------------------------------------


async def test_a_stop_is_not_confirmed_while_a_start_sent_before_may_still_come() -> None:
    c = commanding()
    await c.run(Action.START, wait_seconds=10)
    stop = began(c, Action.STOP)
    await until_done(c, stop)
    assert stop.result().confirmed is True
    assert c.clock() == pytest.approx(1000.1 + 90 + 0.3)


async def test_a_start_that_comes_after_its_stop_was_sent_is_noticed() -> None:
    c = commanding()
    await c.run(Action.START, wait_seconds=10)
    c.polling.at(30, **CHARGING)
    stop = began(c, Action.STOP)
    await until_done(c, stop)
    assert stop.result().confirmed is False
    assert "status shows: it is charging" in stop.result().detail


async def test_a_start_that_was_seen_to_come_holds_up_its_stop_no_longer() -> None:
    c = commanding()
    await c.run(Action.START, wait_seconds=10)
    c.polling.at(3, **CHARGING)
    c.polling.at(15, **STOPPED)
    assert (await c.run(Action.STOP)).confirmed is True
    assert c.clock() < 1035


async def test_a_confirmed_start_does_not_hold_up_a_stop() -> None:
    c = commanding()
    c.polling.at(1, **CHARGING)
    await c.run(Action.START)
    c.polling.at(1, **STOPPED)
    assert (await c.run(Action.STOP)).confirmed is True
    assert c.clock() < 1010


async def test_a_start_confirmed_where_charging_was_not_known_before_does_not_hold_up_a_stop() -> None:
    c = commanding(replace(IDLE, charging=None))
    c.polling.at(1, **CHARGING)
    await c.run(Action.START)
    c.polling.at(1, **STOPPED)
    assert (await c.run(Action.STOP)).confirmed is True
    assert c.clock() < 1010


async def test_a_car_that_charged_already_does_not_show_that_a_start_has_come() -> None:
    c = commanding(BUSY)
    await c.run(Action.START, wait_seconds=0)
    c.polling.at(8, **STOPPED)
    outcome = await c.run(Action.STOP, wait_seconds=60)
    assert outcome.confirmed is False
    assert "a start sent before may still take effect" in outcome.detail


def test_a_state_that_was_not_known_before_does_not_show_that_a_command_has_come() -> None:
    lane = Lane()
    lane.sending(True, 1000.0, None)
    lane.answered(True, 1001.0, None)
    lane.observed(True)
    assert lane.settled_seconds(False) == 1091.0


def test_a_command_that_is_over_is_let_go() -> None:
    lane, start = Lane(), Turn(command(Action.START), SITE)
    lane.take(start)
    lane.leave(start)
    lane.let_in(Turn(command(Action.STOP), SITE))
    assert not start.superseded


async def test_nothing_is_kept_of_commands_that_are_over() -> None:
    c = commanding()
    for _ in range(3):
        await c.run(Action.TRIGGER, message="Heartbeat")
    assert not c.control._lanes[SITE, SERIAL]._waiting


def test_a_status_from_before_a_stop_was_answered_does_not_show_that_it_has_come() -> None:
    lane = Lane()
    lane.sending(False, 1000.0, True)
    lane.observed(False)
    lane.answered(False, 1001.0, True)
    assert lane.settled_seconds(True) == 1091.0
    lane.observed(False)
    assert lane.settled_seconds(True) < 0


@pytest.mark.parametrize("answer", [CommandRefused("HTTP 504", status=504), CommandRefused("", status=500)])
async def test_a_start_that_a_gateway_may_have_passed_on_holds_up_a_stop(answer: Exception) -> None:
    c = commanding()
    c.writes.answers["start"] = [answer]
    await until_done(c, start := began(c, Action.START))
    assert await failure_of(start) is answer
    c.polling.at(12, **CHARGING)
    assert (await c.run(Action.STOP)).confirmed is False


async def test_a_start_that_had_no_effect_is_doubted_while_a_stop_may_still_come() -> None:
    c = commanding(BUSY)
    await c.run(Action.STOP, wait_seconds=0)
    c.writes.answers["start"] = [Reply(Result.NOOP, "already charging")]
    outcome = await c.run(Action.START)
    assert (outcome.result, outcome.confirmed) == (Result.NOOP, False)
    assert outcome.detail == "already charging; a stop sent before may still take effect"
    assert c.given[1] == ("start", "unconfirmed")


@pytest.mark.parametrize(
    "answer", [CommandRefused("HTTP 404", status=404), Reply(Result.NOOP, "not plugged in")]
)
async def test_a_start_without_effect_does_not_hold_up_a_stop(answer: Exception | Reply) -> None:
    c = commanding()
    c.writes.answers["start"] = [answer]
    await until_done(c, start := began(c, Action.START))
    start.exception()
    assert (await c.run(Action.STOP)).confirmed is True
    assert c.clock() < 1010


async def test_a_start_without_effect_leaves_the_one_before_it_to_come() -> None:
    c = commanding()
    c.writes.answers["start"] = [Reply(Result.ACCEPTED, ""), Reply(Result.NOOP, "not plugged in")]
    await c.run(Action.START, wait_seconds=0)
    await c.run(Action.START)
    outcome = await c.run(Action.STOP, wait_seconds=60)
    assert outcome.confirmed is False
    assert "a start sent before may still take effect" in outcome.detail


async def test_nothing_to_stop_is_not_believed_while_a_start_may_still_come() -> None:
    c = commanding()
    c.writes.answers |= {"start": [CommandUnconfirmed("no answer came")], "stop": [NOOP]}
    await until_done(c, start := began(c, Action.START, wait_seconds=0))
    assert isinstance(await failure_of(start), CommandUnconfirmed)
    outcome = await c.run(Action.STOP)
    assert (outcome.result, outcome.confirmed) == (Result.NOOP, False)
    assert "a start sent before may still take effect" in outcome.detail


async def test_a_start_is_not_confirmed_by_the_charging_that_a_stop_before_it_will_end() -> None:
    c = commanding(BUSY)
    await c.run(Action.STOP, wait_seconds=0)
    c.polling.at(25, **STOPPED)
    c.polling.at(60, **CHARGING)
    assert (await c.run(Action.START)).confirmed is True
    assert c.clock() > 1060


# -- callers that go away ----------------------------------------------------------------------------------


async def cancelled(task: "asyncio.Task[Outcome]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_caller_that_goes_away_while_it_is_sent_leaves_the_charger_free_for_the_next() -> None:
    c = commanding(BUSY, command_limit=5)
    c.writes.takes_seconds = 5.0
    start = began(c, Action.START)
    await c.clock.run_for(1)
    await cancelled(start)
    assert c.given == [("start", "unconfirmed")]
    await c.run(Action.STOP, wait_seconds=0)
    assert c.kinds == ["start", "stop"]


async def test_a_start_whose_caller_went_away_while_it_was_sent_may_still_come() -> None:
    c = commanding()
    start = began(c, Action.START)
    await c.clock.settle()
    await cancelled(start)
    outcome = await c.run(Action.STOP, wait_seconds=60)
    assert outcome.confirmed is False
    assert "a start sent before may still take effect" in outcome.detail


async def test_a_caller_that_goes_away_before_its_turn_sends_nothing_and_uses_no_limit() -> None:
    c = commanding(command_limit=2)
    c.writes.takes_seconds = 5.0
    first = began(c, Action.TRIGGER, message="Heartbeat")
    await c.clock.run_for(1)
    waiting = began(c, Action.TRIGGER, message="Heartbeat")
    await c.clock.settle()
    await cancelled(waiting)
    await until_done(c, first)
    await c.run(Action.TRIGGER, message="MeterValues")
    assert c.writes.sent == [("trigger", "Heartbeat"), ("trigger", "MeterValues")]
    assert c.given[0] == ("trigger", "refused")


async def test_a_caller_that_goes_away_in_the_pause_of_a_restart_leaves_it_stopped() -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    restart = began(c, Action.START, amps=16, restart=True)
    await c.clock.run_for(15)
    await cancelled(restart)
    await c.clock.run_for(120)
    assert c.kinds == ["stop"]
    assert c.given == [("start", "unconfirmed")]
    assert len(c.given) == 1


async def test_no_task_is_left_behind() -> None:
    c = commanding()
    start = began(c, Action.START)
    await c.clock.run_for(7)
    stop = began(c, Action.STOP)
    await until_done(c, start, stop)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_every_command_is_counted_once_in_a_crowd() -> None:
    c = commanding(command_limit=20)
    c.writes.takes_seconds = 1.0
    tasks = [began(c, Action.STOP if n % 3 == 2 else Action.START, wait_seconds=5) for n in range(9)]
    await until_done(c, *tasks)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(c.given) == 9
    assert c.kinds[-1] == "stop"


async def test_a_command_cannot_be_changed_on_its_way() -> None:
    with pytest.raises(AttributeError):
        Command(action=Action.STOP, who="default", site_id="").site_id = SITE  # type: ignore[misc]
