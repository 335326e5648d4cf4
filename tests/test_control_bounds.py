"""What keeps commands within bounds: the limit, dry runs; and the rapid updates they ask for."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from exporter.command import Action, Outcome, Request, Result
from exporter.errors import (
    CommandError,
    CommandInvalid,
    CommandPostponed,
    CommandRefused,
    CommandUnconfirmed,
    LoginExpired,
    NotOffered,
    RateLimited,
    UnknownCharger,
    Unreachable,
)
from exporter.model import ChargeMode
from tests.commanding import BUSY, CHARGING, OTHER, SERIAL, SITE, STOPPED, commanding, failure

OTHERS: dict[Action, dict[str, Any]] = {
    Action.START: {},
    Action.TRIGGER: {"message": "Heartbeat"},
    Action.CHARGE_MODE: {"mode": ChargeMode.GREEN_CHARGING},
    Action.LIVE_STREAM_START: {"site_id": SITE},
}


# -- the limit ---------------------------------------------------------------------------------------------


async def test_commands_beyond_the_limit_wait_until_the_oldest_leaves_the_window() -> None:
    c = commanding(command_limit=2, command_limit_window_seconds=60)
    await c.run(Action.TRIGGER, message="Heartbeat")
    await c.clock.run_for(10)
    await c.run(Action.START, wait_seconds=0)
    error = await failure(c, Action.TRIGGER, message="Heartbeat")
    assert isinstance(error, CommandPostponed)
    assert error.retry_after_seconds == pytest.approx(49.8)
    assert "more than 2 commands within 60 s; the next is taken in 50 s" in str(error)
    await c.clock.run_for(50)
    await c.run(Action.TRIGGER, message="Heartbeat")
    assert c.kinds == ["trigger", "start", "trigger"]
    assert c.given[2] == ("trigger", "refused")


async def test_commands_given_at_once_cannot_pass_the_limit_together() -> None:
    c = commanding(command_limit=3)
    told = [c.give(Action.TRIGGER, message="Heartbeat") for _ in range(3)]
    surplus = [c.give(Action.TRIGGER, message="Heartbeat") for _ in range(5)]
    with pytest.raises(CommandPostponed):
        await c.clock.finished(*told, *surplus)
    assert len(c.writes.sent) == 3


async def test_what_was_never_sent_does_not_count_against_the_limit() -> None:
    c = commanding(command_limit=1)
    await c.run(Action.START, dry_run=True)
    await failure(c, Action.START, amps=99)
    c.polling.wait_seconds = 5.0
    await failure(c, Action.START)
    c.polling.wait_seconds = 0.0
    await c.run(Action.START, wait_seconds=0)
    assert isinstance(await failure(c, Action.START), CommandPostponed)


# -- the budget of the account -----------------------------------------------------------------------------


async def test_when_commands_have_used_their_part_of_the_budget_only_a_stop_is_sent() -> None:
    c = commanding(BUSY)
    c.polling.share_of_commands = 0.25
    for action, told in OTHERS.items():
        error = await failure(c, action, **told)
        assert isinstance(error, CommandPostponed)
        assert "request budget" in str(error)
    assert c.writes.sent == []
    assert c.polling.streams_asked_seconds == []
    await c.run(Action.STOP, wait_seconds=0)
    assert c.kinds == ["stop"]


async def test_below_that_part_no_command_is_refused() -> None:
    c = commanding()
    c.polling.share_of_commands = 0.24
    await c.run(Action.START, wait_seconds=0)
    assert c.kinds == ["start"]


async def test_a_restart_is_not_left_halfway_for_the_budget() -> None:
    c = commanding(BUSY)
    c.polling.at(1, **STOPPED)
    restart = asyncio.ensure_future(c.give(Action.START, amps=16, restart=True, wait_seconds=0))
    await c.clock.run_for(5)
    c.polling.share_of_commands = 0.25
    await c.clock.run_for(60)
    assert restart.result().result is Result.ACCEPTED
    assert c.kinds == ["stop", "start"]


async def test_a_reload_changes_the_limit_and_forgets_no_command() -> None:
    c = commanding(command_limit=1)
    await c.run(Action.TRIGGER, message="Heartbeat")
    c.control.adopt(replace(c.control._settings, command_limit=2))
    await c.run(Action.TRIGGER, message="Heartbeat")
    assert isinstance(await failure(c, Action.TRIGGER, message="Heartbeat"), CommandPostponed)


# -- rapid updates -----------------------------------------------------------------------------------------


async def test_a_start_that_a_first_look_does_not_show_asks_for_rapid_updates() -> None:
    c = commanding()
    c.polling.at(8, **CHARGING)
    await c.run(Action.START)
    assert c.polling.bursts == [900.0]
    assert c.polling.streams_asked_seconds == pytest.approx([1002.4])


async def test_no_rapid_updates_are_asked_for_once_a_command_is_confirmed() -> None:
    c = commanding()
    c.polling.at(1, **CHARGING)
    await c.run(Action.START)
    assert c.polling.streams_asked_seconds == []


async def test_rapid_updates_that_are_slow_to_come_hold_up_neither_a_look_nor_the_answer() -> None:
    c = commanding(BUSY)
    c.polling.stream_takes_seconds = 10.0
    c.polling.at(4, **STOPPED)
    assert (await c.run(Action.STOP)).confirmed is True
    assert c.polling.asked_at() == [2.1, 5.1]
    assert c.clock() == pytest.approx(1005.4)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_who_does_not_wait_is_answered_without_asking_for_rapid_updates() -> None:
    c = commanding(BUSY)
    c.polling.stream_takes_seconds = 10.0
    await c.run(Action.STOP, wait_seconds=0)
    assert c.clock() == pytest.approx(1000.1)
    assert c.polling.streams_asked_seconds == []


async def test_no_rapid_updates_are_asked_for_where_the_owner_does_not_want_them() -> None:
    c = commanding(live_stream_on_command=False)
    await c.run(Action.START)
    assert c.polling.streams_asked_seconds == []


async def test_no_rapid_updates_are_asked_for_where_they_were_refused_or_would_not_fit() -> None:
    c = commanding()
    c.polling.burst_is_worth_it = False
    await c.run(Action.START)
    assert c.polling.streams_asked_seconds == []
    await c.run(Action.LIVE_STREAM_START, site_id=SITE)
    assert len(c.polling.streams_asked_seconds) == 1


async def test_no_rapid_updates_are_asked_for_by_a_stop_beyond_the_limit_or_one_that_shares() -> None:
    c = commanding(BUSY, command_limit=1)
    await c.run(Action.TRIGGER, message="Heartbeat")
    await c.run(Action.STOP)
    assert c.polling.streams_asked_seconds == []
    c = commanding(BUSY)
    await c.clock.finished(*[c.give(Action.STOP) for _ in range(9)])
    assert len(c.polling.streams_asked_seconds) == 2


async def test_refused_rapid_updates_change_nothing() -> None:
    c = commanding()
    c.polling.stream = NotOffered("live_stream", "HTTP 472", status=472)
    c.polling.at(8, **CHARGING)
    assert (await c.run(Action.START)).confirmed is True
    assert len(c.polling.streams_asked_seconds) == 1
    assert c.polling.bursts == []


async def test_rapid_updates_can_be_asked_for_and_ended() -> None:
    c = commanding()
    begun = await c.run(Action.LIVE_STREAM_START, site_id=SITE)
    assert (begun.result, begun.duration_seconds) == (Result.ACCEPTED, 900.0)
    assert "as far as `poll.live_stream` and the request budget allow" in begun.detail
    assert (await c.run(Action.LIVE_STREAM_STOP, site_id=SITE)).result is Result.ACCEPTED
    assert c.polling.bursts == [900.0, 0.0]
    assert c.given == [("live_stream_start", "accepted"), ("live_stream_stop", "accepted")]


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (
            NotOffered("live_stream", "HTTP 472", status=472),
            CommandRefused,
            {"status": 472, "code": ""},
        ),
        (Unreachable("live_stream", "no answer", kind="timeout"), CommandUnconfirmed, {}),
        (
            RateLimited("live_stream", "HTTP 429", retry_after_seconds=30),
            CommandPostponed,
            {"retry_after_seconds": 30},
        ),
    ],
)
async def test_a_refused_live_stream_is_told_as_a_command_is(
    error: Exception, kind: type[CommandError], told: dict[str, Any]
) -> None:
    c = commanding()
    c.polling.stream = error  # type: ignore[assignment]  # any CloudError
    failed = await failure(c, Action.LIVE_STREAM_START, site_id=SITE)
    assert type(failed) is kind
    assert {name: getattr(failed, name) for name in told} == told
    assert c.given == [("live_stream_start", "failed")]


async def test_live_stream_commands_are_carried_out_in_the_order_given() -> None:
    c = commanding()
    c.polling.stream_takes_seconds = 3.0
    await c.clock.finished(
        c.give(Action.LIVE_STREAM_START, site_id=SITE), c.give(Action.LIVE_STREAM_STOP, site_id=SITE)
    )
    assert c.polling.bursts == [900.0, 0.0]


async def test_a_live_stream_of_an_unknown_site_is_told() -> None:
    c = commanding()
    assert isinstance(await failure(c, Action.LIVE_STREAM_START, site_id=OTHER), UnknownCharger)


async def test_a_live_stream_with_an_expired_login_has_status_renew_it() -> None:
    c = commanding()
    c.polling.stream = LoginExpired("live_stream", "HTTP 401", status=401)
    assert "give the command again" in str(await failure(c, Action.LIVE_STREAM_START, site_id=SITE))
    assert len(c.polling.asked) == 1


# -- dry runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "told", "first"),
    [
        (Action.START, {"amps": 16}, Request(method="POST", path=f"/{SITE}/{SERIAL}/start", body="16")),
        (Action.STOP, {}, Request(method="PUT", path=f"/{SITE}/{SERIAL}/stop")),
        (
            Action.TRIGGER,
            {"message": "Heartbeat"},
            Request(method="POST", path=f"/{SITE}/{SERIAL}/trigger", body="Heartbeat"),
        ),
        (
            Action.CHARGE_MODE,
            {"mode": ChargeMode.GREEN_CHARGING},
            Request(method="PUT", path=f"/{SITE}/{SERIAL}/mode", body="GREEN_CHARGING"),
        ),
        (
            Action.LIVE_STREAM_STOP,
            {"site_id": SITE},
            Request(method="GET", path=f"/service/evse_controller/{SITE}/ev_chargers/stop_live_stream"),
        ),
    ],
)
async def test_a_dry_run_tells_what_would_be_sent_and_sends_nothing(
    action: Action, told: dict[str, Any], first: Request
) -> None:
    c = commanding()
    outcome = await c.run(action, dry_run=True, **told)
    assert outcome == Outcome(result=Result.NOOP, detail="dry run: nothing was sent", would_send=(first,))
    assert c.writes.sent == []
    assert c.polling.asked == []
    assert c.polling.bursts == []
    assert c.control.last(SITE, SERIAL) is None
    assert c.given == [(action.value, "noop")]


async def test_a_dry_run_of_a_restart_tells_both_its_requests() -> None:
    outcome = await commanding(BUSY).run(Action.START, amps=16, restart=True, dry_run=True)
    assert [request.method for request in outcome.would_send] == ["PUT", "POST"]


async def test_the_owner_can_make_every_command_a_dry_run() -> None:
    c = commanding(dry_run=True)
    assert (await c.run(Action.STOP)).detail == "dry run: nothing was sent"
    assert (await c.run(Action.LIVE_STREAM_START, site_id=SITE)).result is Result.NOOP
    assert (c.writes.sent, c.polling.bursts) == ([], [])


async def test_a_dry_run_of_an_invalid_command_is_refused() -> None:
    assert isinstance(await failure(commanding(), Action.START, amps=99, dry_run=True), CommandInvalid)
