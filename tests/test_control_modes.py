"""Charge modes: set, read back, and what they mean for the level of a start."""

import asyncio
from dataclasses import replace

import pytest

from exporter.command import Action, Outcome, Result
from exporter.errors import CommandPostponed, CommandRefused
from exporter.model import ChargeMode
from exporter.parse_reply import Meaning, Verdict
from exporter.writes import Reply
from tests.commanding import (
    BUSY,
    CHARGING,
    IDLE,
    SERIAL,
    SITE,
    began,
    commanding,
    failure,
    until_done,
)

GREEN = ChargeMode.GREEN_CHARGING
DOUBT = Verdict(Meaning.READ_BACK, 400, "HTTP 400")


# -- setting one -----------------------------------------------------------------------------------------


async def test_a_charge_mode_is_confirmed_by_reading_it_back() -> None:
    c = commanding()
    c.polling.at(3, charge_mode=ChargeMode.GREEN_CHARGING)
    outcome = await c.run(Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING)
    assert c.writes.sent == [("mode", ChargeMode.GREEN_CHARGING)]
    assert outcome.confirmed is True
    assert {also for _, also in c.polling.asked} == {"charge_mode"}
    assert c.polling.bursts == []


async def test_a_charge_mode_known_from_before_confirms_nothing() -> None:
    c = commanding()
    c.polling.reads_modes_of = ("another charger's",)
    c.writes.mode = ChargeMode.GREEN_CHARGING
    outcome = await c.run(Action.CHARGE_MODE, mode=ChargeMode.MANUAL_CHARGING)
    assert outcome.confirmed is False
    assert outcome.detail.endswith("the charge mode could not be read back")


async def test_a_charge_mode_that_is_set_already_is_done_and_nothing_is_sent() -> None:
    c = commanding()
    outcome = await c.run(Action.CHARGE_MODE, mode=ChargeMode.MANUAL_CHARGING)
    assert outcome == Outcome(result=Result.NOOP, detail="the charge mode is MANUAL_CHARGING already")
    assert c.writes.sent == []


async def test_a_charge_mode_that_cannot_be_read_is_not_sent() -> None:
    c = commanding()
    c.writes.mode = CommandRefused("nothing was done: HTTP 503", status=503)
    assert await failure(c, Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING) is c.writes.mode
    assert c.writes.sent == []
    assert c.given == [("charge_mode", "failed")]
    assert c.control.last(SITE, SERIAL) is None


@pytest.mark.parametrize("taken", [True, False])
async def test_a_doubtful_refusal_of_a_charge_mode_is_read_back(taken: bool) -> None:
    c = commanding()
    c.writes.answers["mode"] = [Reply(Result.ACCEPTED, "", DOUBT)]
    c.polling.at(1, charge_mode=ChargeMode.GREEN_CHARGING)
    running = asyncio.ensure_future(
        c.clock.finished(c.give(Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING))
    )
    await c.clock.settle()
    c.writes.mode = ChargeMode.GREEN_CHARGING if taken else ChargeMode.MANUAL_CHARGING
    if taken:
        assert [outcome.confirmed for outcome in await running] == [True]
        return
    with pytest.raises(CommandRefused, match="HTTP 400"):
        await running
    c.writes.mode = ChargeMode.MANUAL_CHARGING
    await c.run(Action.START, wait_seconds=0)
    assert c.writes.sent[-1] == ("start", 32, True)  # nothing of the mode is still to come


# -- one after the other ---------------------------------------------------------------------------------


async def test_a_stop_does_not_wait_for_the_mode_that_is_read_before_a_command() -> None:
    for action, told in ((Action.CHARGE_MODE, {"mode": GREEN}), (Action.START, {})):
        c = commanding(BUSY)
        c.writes.mode_takes_seconds = 10.0
        first = began(c, action, wait_seconds=0, **told)
        await c.clock.run_for(1)
        stop = began(c, Action.STOP, wait_seconds=0)
        await until_done(c, first, stop)
        first.exception()
        assert c.writes.sent_seconds[0] == 1001.0
        assert c.kinds[0] == "stop"
        assert "start" not in c.kinds


async def test_a_stop_does_not_wait_for_a_charge_mode_to_be_read_back() -> None:
    c = commanding(BUSY)
    c.writes.answers["mode"] = [Reply(Result.ACCEPTED, "", Verdict(Meaning.READ_BACK, 400, "HTTP 400"))]
    mode = began(c, Action.CHARGE_MODE, mode=GREEN, wait_seconds=0)
    await c.clock.run_for(1)
    stop = began(c, Action.STOP, wait_seconds=0)
    await c.clock.run_for(0.5)
    assert stop.done()
    await until_done(c, mode)
    mode.exception()


async def test_a_newer_charge_mode_ends_the_wait_for_the_older_one_but_not_that_of_a_start() -> None:
    c = commanding()
    c.polling.at(60, **CHARGING)
    start = began(c, Action.START)
    older = began(c, Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING)
    await c.clock.run_for(7)
    newer = began(c, Action.CHARGE_MODE, mode=ChargeMode.SMART_CHARGING)
    await until_done(c, start, older, newer)
    assert "superseded" in older.result().detail
    assert start.result().confirmed is True


async def test_a_charge_mode_that_is_shown_is_sent_all_the_same_while_another_may_still_come() -> None:
    c = commanding()
    await c.run(Action.CHARGE_MODE, mode=GREEN, wait_seconds=0)
    c.polling.at(20, charge_mode=GREEN)
    c.polling.at(21.5, charge_mode=ChargeMode.MANUAL_CHARGING)
    outcome = await c.run(Action.CHARGE_MODE, mode=ChargeMode.MANUAL_CHARGING)
    assert c.writes.sent == [("mode", GREEN), ("mode", ChargeMode.MANUAL_CHARGING)]
    assert (outcome.result, outcome.confirmed) == (Result.ACCEPTED, True)
    assert 1020 < c.clock() < 1040  # once the first was seen to come, and the second after it


async def test_a_charge_mode_that_comes_after_the_one_that_was_to_replace_it_is_noticed() -> None:
    c = commanding()
    await c.run(Action.CHARGE_MODE, mode=GREEN, wait_seconds=0)
    outcome = await c.run(Action.CHARGE_MODE, mode=ChargeMode.MANUAL_CHARGING, wait_seconds=60)
    assert outcome.confirmed is False
    assert "another mode sent before may still take effect" in outcome.detail


async def test_a_status_is_seen_before_the_slow_endpoints_and_a_mode_after_them() -> None:
    c = commanding()
    c.polling.slow_endpoints_seconds = 8.0
    c.polling.at(1, **CHARGING, charge_mode=GREEN)
    await c.run(Action.START, amps=32)
    assert c.clock() == pytest.approx(1002.4)
    assert (await c.run(Action.CHARGE_MODE, mode=GREEN)).confirmed is True
    assert c.clock() > 1012


async def test_a_newer_charge_mode_ends_the_reading_back_of_a_doubtful_one() -> None:
    c = commanding()
    c.writes.answers["mode"] = [Reply(Result.ACCEPTED, "", DOUBT)]
    older = began(c, Action.CHARGE_MODE, mode=GREEN)
    await c.clock.run_for(1)
    newer = began(c, Action.CHARGE_MODE, mode=ChargeMode.SMART_CHARGING, wait_seconds=0)
    await c.clock.run_for(1)
    assert newer.done()
    assert "superseded" in older.result().detail


# -- the level of a start --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [ChargeMode.GREEN_CHARGING, ChargeMode.SMART_CHARGING, ChargeMode.UNKNOWN])
async def test_a_start_repeats_no_level_in_a_mode_that_was_chosen_since_the_last_poll(
    mode: ChargeMode,
) -> None:
    c = commanding()
    c.writes.mode = mode
    await c.run(Action.START, wait_seconds=0)
    assert c.writes.sent == [("start", None, False)]
    assert c.writes.modes_read == 1


async def test_a_start_repeats_no_level_when_the_mode_cannot_be_read() -> None:
    c = commanding()
    c.writes.mode = CommandRefused("HTTP 503", status=503)
    await c.run(Action.START, wait_seconds=0)
    assert c.writes.sent == [("start", None, False)]


async def test_a_429_to_the_question_for_the_mode_postpones_the_start() -> None:
    c = commanding()
    c.writes.mode = CommandPostponed("HTTP 429", retry_after_seconds=77)
    assert isinstance(await failure(c, Action.START), CommandPostponed)
    assert c.writes.sent == []
    assert c.polling.rate_limits == [77]
    assert c.given == [("start", "failed")]


async def test_a_start_repeats_no_level_after_a_mode_that_does_not_show_yet() -> None:
    c = commanding()
    await c.run(Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING, wait_seconds=0)
    await c.run(Action.START, wait_seconds=0)
    assert c.writes.sent[1] == ("start", None, False)
    assert c.writes.modes_read == 1  # by the first command
    await c.clock.run_for(100)
    await c.run(Action.START, wait_seconds=0)
    assert c.writes.sent[2] == ("start", 32, True)


async def test_a_start_that_waited_repeats_the_level_of_the_moment_it_is_sent() -> None:
    c = commanding()
    c.writes.takes_seconds = 5.0
    message, start = c.give(Action.TRIGGER, message="Heartbeat"), c.give(Action.START, wait_seconds=0)
    running = asyncio.ensure_future(c.clock.finished(message, start))
    await c.clock.settle()
    c.polling.start_as(replace(IDLE, charging_level_amperes=20.0))
    await running
    assert c.writes.sent[1] == ("start", 20, True)


async def test_a_start_repeats_no_level_after_a_mode_that_was_sent_while_it_asked_for_the_mode() -> None:
    c = commanding()
    c.writes.mode_takes_seconds = 5.0
    start = began(c, Action.START, wait_seconds=0)
    await c.clock.settle()
    c.writes.mode_takes_seconds = 0.0
    mode = began(c, Action.CHARGE_MODE, mode=GREEN, wait_seconds=0)
    await until_done(c, mode, start)
    assert c.writes.sent == [("mode", GREEN), ("start", None, False)]
