"""A stop goes through where other commands do not, but not any number of them."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from exporter.command import Action, Result
from exporter.errors import CommandPostponed, CommandRefused
from exporter.model import Charger
from exporter.writes import Reply
from tests.commanding import BUSY, IDLE, STOPPED, commanding, failure

UNPLUGGED = replace(IDLE, plugged_in=False)


# -- past the limit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charger", "status"),
    [
        (BUSY, {}),
        (IDLE, {}),  # a schedule, or the app, may have begun to charge since
        (replace(IDLE, plugged_in=None), {}),
        (replace(UNPLUGGED, connected=False), {}),
        (UNPLUGGED, {"age_seconds": 60.0}),
        (UNPLUGGED, {"age_seconds": None}),
        (UNPLUGGED, {"lists_chargers": False}),
    ],
)
async def test_a_stop_passes_the_limit_wherever_a_car_may_be_charging(
    charger: Charger, status: dict[str, Any]
) -> None:
    c = commanding(charger, command_limit=1)
    for name, value in status.items():
        setattr(c.polling, name, value)
    c.polling.poll_now()
    await c.run(Action.TRIGGER, message="Heartbeat")
    await c.run(Action.STOP, wait_seconds=0)
    assert c.kinds == ["trigger", "stop"]


async def test_a_stop_passes_the_limit_while_a_start_may_still_come() -> None:
    c = commanding(UNPLUGGED, command_limit=1)
    await c.run(Action.START, wait_seconds=0)
    await c.run(Action.STOP, wait_seconds=0)
    assert c.kinds == ["start", "stop"]


async def test_a_stop_passes_the_limit_after_a_start_that_a_gateway_may_have_passed_on() -> None:
    c = commanding(UNPLUGGED, command_limit=1)
    c.writes.answers["start"] = [CommandRefused("HTTP 504", status=504)]
    await failure(c, Action.START)
    await c.run(Action.STOP, wait_seconds=0)
    assert c.kinds == ["start", "stop"]


async def test_a_stop_where_no_car_is_plugged_in_keeps_to_the_limit() -> None:
    c = commanding(UNPLUGGED, command_limit=1)
    await c.run(Action.TRIGGER, message="Heartbeat")
    assert isinstance(await failure(c, Action.STOP), CommandPostponed)
    assert c.kinds == ["trigger"]


# -- how many, and how often -------------------------------------------------------------------------------


async def test_stops_given_at_once_share_the_one_that_waited_for_its_turn() -> None:
    c = commanding(BUSY)
    c.polling.at(4, **STOPPED)
    told = await c.clock.finished(*[c.give(Action.STOP) for _ in range(20)])
    assert c.kinds == ["stop", "stop"]
    assert {(outcome.confirmed, outcome.detail) for outcome in told} == {(True, "status confirms it")}
    assert c.given == [("stop", "accepted")] * 20


async def test_stops_that_share_an_answer_share_a_refusal_too() -> None:
    c = commanding(BUSY)
    refused = CommandRefused("HTTP 503", status=503, code="iqevc_ms-10007")
    c.writes.answers["stop"] = [Reply(Result.ACCEPTED, ""), refused]
    stops = [asyncio.ensure_future(c.give(Action.STOP, wait_seconds=0)) for _ in range(3)]
    await c.clock.run_for(1)
    assert stops[0].result().result is Result.ACCEPTED
    for stop in stops[1:]:
        error = stop.exception()
        assert isinstance(error, CommandRefused)
        assert (str(error), error.status, error.code) == ("HTTP 503", 503, "iqevc_ms-10007")
    assert c.kinds == ["stop", "stop"]


async def test_a_stop_given_after_another_was_sent_is_sent_itself() -> None:
    c = commanding(BUSY)
    await c.clock.finished(c.give(Action.STOP, wait_seconds=0))
    await c.clock.finished(c.give(Action.STOP, wait_seconds=0))
    assert c.kinds == ["stop", "stop"]


async def test_a_stop_is_sent_when_the_one_it_would_have_shared_was_given_up() -> None:
    c = commanding(BUSY)
    c.writes.takes_seconds = 3.0
    first, given_up, last = (asyncio.ensure_future(c.give(Action.STOP, wait_seconds=0)) for _ in range(3))
    await c.clock.run_for(1)
    given_up.cancel()
    await c.clock.run_for(10)
    assert (first.result().result, last.result().result) == (Result.ACCEPTED, Result.ACCEPTED)
    assert c.writes.sent_seconds == [1000.0, 1003.0]


async def test_stops_beyond_the_limit_are_sent_five_seconds_apart() -> None:
    c = commanding(BUSY, command_limit=2)
    stops = []
    for _ in range(60):
        stops.append(asyncio.ensure_future(c.give(Action.STOP, wait_seconds=0)))
        await c.clock.run_for(0.5)
    await c.clock.run_for(10)
    assert len(c.writes.sent) == 2 + 6
    sent = c.writes.sent_seconds[1:]
    assert {round(b - a, 1) for a, b in pairwise(sent)} == {5.0}
    assert {stop.result().result for stop in stops} == {Result.ACCEPTED}


async def test_a_stop_beyond_the_limit_does_not_wait_where_a_start_was_sent_since_the_last_one() -> None:
    c = commanding(BUSY, command_limit=2)
    await c.run(Action.STOP, wait_seconds=0)
    await c.run(Action.START, wait_seconds=0)
    await c.run(Action.STOP, wait_seconds=0)
    assert c.writes.sent_seconds == pytest.approx([1000.0, 1000.1, 1000.2])


async def test_a_start_given_after_a_stop_that_waits_is_sent_after_it() -> None:
    c = commanding(BUSY, command_limit=2, command_limit_window_seconds=3)
    for _ in range(2):
        await c.run(Action.STOP, wait_seconds=0)
    extra = asyncio.ensure_future(c.give(Action.STOP, wait_seconds=0))
    await c.clock.run_for(4)
    start = asyncio.ensure_future(c.give(Action.START, wait_seconds=0))
    await c.clock.run_for(10)
    assert (extra.done(), start.done()) == (True, True)
    assert c.kinds == ["stop", "stop", "stop", "start"]


async def test_while_the_account_must_wait_a_stop_is_sent_once_a_minute() -> None:
    c = commanding(BUSY)
    c.polling.wait_seconds = 600.0
    c.writes.answers["stop"] = [CommandPostponed("HTTP 429", retry_after_seconds=600) for _ in range(9)]
    errors = []
    for _ in range(60):
        errors.append(await failure(c, Action.STOP, wait_seconds=0))
        await c.clock.run_for(1.9)
    assert len(c.writes.sent) == 2
    assert all(isinstance(error, CommandPostponed) for error in errors)
    assert "once a minute" in str(errors[1])
    assert errors[1].retry_after_seconds == pytest.approx(58.0, abs=0.2)  # type: ignore[attr-defined]  # postponed
    assert c.given[1] == ("stop", "refused")


async def test_a_start_before_the_account_had_to_wait_can_be_stopped_at_once() -> None:
    c = commanding(BUSY)
    await c.run(Action.STOP, wait_seconds=0)
    await c.run(Action.START, wait_seconds=0)
    c.polling.wait_seconds = 600.0
    await c.run(Action.STOP, wait_seconds=0)
    assert c.kinds == ["stop", "start", "stop"]
