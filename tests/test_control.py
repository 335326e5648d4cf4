"""What becomes of one command: what is sent, what is read back, what is told, counted and logged."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from exporter.command import Action, Outcome, Result
from exporter.control import Control
from exporter.errors import (
    CommandInvalid,
    CommandPostponed,
    CommandRefused,
    CommandUnconfirmed,
    UnknownCharger,
)
from exporter.lane import LastCommand
from exporter.model import ChargeMode, Charger
from exporter.sending import ControlSettings
from exporter.watching import Polling
from exporter.writes import Reply
from tests.commanding import (
    BUSY,
    CHARGING,
    EPOCH,
    IDLE,
    OTHER,
    SERIAL,
    SITE,
    STOPPED,
    command,
    commanding,
    failure,
)

NOOP = Reply(Result.NOOP, "the cloud says no")
SILENCE = CommandUnconfirmed("no answer came")


# -- which charger -----------------------------------------------------------------------------------------


async def test_an_unknown_charger_is_told_and_nothing_is_sent() -> None:
    c = commanding()
    assert isinstance(await failure(c, Action.STOP, serial="../../x"), UnknownCharger)
    assert isinstance(await failure(c, Action.STOP, serial=None), UnknownCharger)
    assert isinstance(await failure(c, Action.STOP, site_id=OTHER), UnknownCharger)
    assert c.writes.sent == []
    assert c.given == [("stop", "refused")] * 3


async def test_a_charger_of_two_sites_has_to_be_named_with_its_site() -> None:
    c = commanding(BUSY, replace(BUSY, site_id=OTHER))
    assert "(1234567, 1234568): name one with `?site_id=`" in str(await failure(c, Action.STOP))
    await c.run(Action.STOP, site_id=OTHER)
    assert c.control.last(SITE, SERIAL) is None
    assert c.control.last(OTHER, SERIAL) is not None


async def test_a_very_long_name_is_not_repeated_whole() -> None:
    assert len(str(await failure(commanding(), Action.STOP, serial="9" * 5000))) < 100


# -- start -------------------------------------------------------------------------------------------------


async def test_a_start_is_confirmed_by_a_status_that_came_after_it() -> None:
    c = commanding()
    c.polling.at(4, **CHARGING)
    outcome = await c.run(Action.START, amps=32)
    assert c.writes.sent == [("start", 32, False)]
    assert outcome == Outcome(result=Result.ACCEPTED, detail="status confirms it", confirmed=True)
    assert c.polling.asked_at() == [2.1, 5.1]
    assert c.given == [("start", "accepted")]


@pytest.mark.parametrize(
    ("charger", "sent"),
    [
        (IDLE, ("start", 32, True)),
        (replace(IDLE, charge_mode=ChargeMode.GREEN_CHARGING), ("start", None, False)),
        (replace(IDLE, running_charge_mode=ChargeMode.SMART_CHARGING), ("start", None, False)),
        (replace(IDLE, charging_level_amperes=None), ("start", None, False)),
    ],
)
async def test_a_start_without_a_level_repeats_the_last_or_leaves_it_out(
    charger: Any, sent: tuple[Any, ...]
) -> None:
    c = commanding(charger)
    await c.run(Action.START)
    assert c.writes.sent == [sent]


async def test_a_level_given_is_sent_in_green_mode_too_and_never_dropped() -> None:
    c = commanding(replace(IDLE, charge_mode=ChargeMode.GREEN_CHARGING))
    await c.run(Action.START, amps=16, wait_seconds=0)
    assert c.writes.sent == [("start", 16, False)]
    assert c.writes.modes_read == 0


@pytest.mark.parametrize(
    ("charger", "changes"),
    [
        (replace(IDLE, charge_mode=ChargeMode.GREEN_CHARGING), CHARGING),
        (IDLE, CHARGING | {"running_charge_mode": ChargeMode.GREEN_CHARGING}),
        (replace(IDLE, charging_level_amperes=0.0), CHARGING),
        (IDLE, CHARGING | {"charging_level_amperes": None}),
    ],
)
async def test_a_level_that_status_cannot_show_is_not_told_as_confirmed(
    charger: Charger, changes: dict[str, Any]
) -> None:
    c = commanding(charger)
    c.polling.at(1, **changes)
    outcome = await c.run(Action.START, amps=16)
    assert outcome == Outcome(
        result=Result.ACCEPTED, detail="it charges; the level cannot be seen", confirmed=None
    )
    assert c.given == [("start", "accepted")]


async def test_a_level_that_status_contradicts_is_not_confirmed() -> None:
    c = commanding()
    c.polling.at(1, **CHARGING)
    outcome = await c.run(Action.START, amps=16)
    assert outcome.confirmed is False
    assert outcome.detail == ("not confirmed within 90 s: status shows: it is charging at a level of 32 A")


async def test_a_start_that_status_never_shows_is_accepted_and_not_confirmed() -> None:
    c = commanding()
    c.polling.at(1, **STOPPED, connector_status_reason="INSUFFICIENT_SOLAR")
    outcome = await c.run(Action.START)
    assert (outcome.result, outcome.confirmed) == (Result.ACCEPTED, False)
    assert "not confirmed within 90 s: status shows: the charger holds back" in outcome.detail
    assert "not enough sun" in outcome.detail
    assert c.given == [("start", "unconfirmed")]
    assert c.polling.asked_at() == [2.1, 5.1, 10.1, 20.1, 35.1, 50.1, 65.1, 80.1, 87.1]
    assert c.clock() == pytest.approx(1090.1)


async def test_polls_that_fail_confirm_nothing() -> None:
    c = commanding(BUSY)
    c.polling.up = False
    outcome = await c.run(Action.START)
    assert outcome.confirmed is False
    assert outcome.detail == "not confirmed within 90 s: no status has come since"


async def test_a_poller_that_knows_the_site_no_more_ends_the_wait_in_time() -> None:
    c = commanding()
    c.polling.silent = True
    assert (await c.run(Action.START, wait_seconds=30)).confirmed is False
    assert c.clock() == pytest.approx(1030.1)


async def test_who_does_not_wait_is_answered_at_once_and_status_is_asked_once() -> None:
    c = commanding()
    outcome = await c.run(Action.START, wait_seconds=0)
    assert outcome == Outcome(result=Result.ACCEPTED, detail="status was not waited for", confirmed=False)
    assert c.polling.asked_at() == [0.1]


async def test_a_level_for_a_charging_car_is_sent_for_the_next_session_and_that_is_said() -> None:
    c = commanding(BUSY)
    c.polling.at(6, charging_level_amperes=16.0)
    outcome = await c.run(Action.START, amps=16)
    assert c.kinds == ["start"]
    assert outcome.confirmed is True
    assert "takes effect with the next charging session; give `restart: true`" in outcome.detail


async def test_a_level_for_a_charging_car_that_status_cannot_show_is_neither_confirmed_nor_doubted() -> None:
    c = commanding(replace(BUSY, running_charge_mode=ChargeMode.GREEN_CHARGING))
    outcome = await c.run(Action.START, amps=16)
    assert outcome.confirmed is None
    assert "next charging session" in outcome.detail
    assert len(c.polling.asked) == 1
    assert c.given == [("start", "accepted")]


async def test_a_level_for_a_charging_car_is_refused_where_the_owner_wants_that() -> None:
    c = commanding(BUSY, amps_while_charging="refuse")
    error = await failure(c, Action.START, amps=16)
    assert isinstance(error, CommandInvalid)
    assert "give `restart: true`" in str(error)
    assert c.writes.sent == []
    await c.run(Action.START)
    assert c.kinds == ["start"]


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (
            BUSY,
            "the charging level was not changed; give `restart: true` to stop and start again at 16 A",
        ),
        (
            replace(BUSY, charging_level_amperes=16.0),
            "status shows a charging level of 16 A already;"
            " give `restart: true` where the running session began at another",
        ),
        (
            replace(BUSY, charging_level_amperes=16.0, running_charge_mode=ChargeMode.GREEN_CHARGING),
            "the charging level was not changed; give `restart: true` to stop and start again at 16 A",
        ),
        (IDLE, "the charging level was not changed"),
    ],
)
async def test_a_start_that_had_no_effect_says_what_the_level_is_and_promises_none(
    before: Charger, told: str
) -> None:
    c = commanding(before)
    c.writes.answers["start"] = [Reply(Result.NOOP, "already charging")]
    outcome = await c.run(Action.START, amps=16)
    assert (outcome.result, outcome.confirmed) == (Result.NOOP, None)
    assert outcome.detail == f"already charging; {told}"
    assert c.given == [("start", "noop")]
    assert len(c.polling.asked) == 1


@pytest.mark.parametrize("connected", [True, False])
async def test_writes_can_ask_status_afresh_whether_it_charges(connected: bool) -> None:
    c = commanding()
    c.writes.asks_status = True
    c.polling.at(0, connected=connected, **CHARGING)
    await c.run(Action.START)
    assert c.writes.was_charging is connected
    assert c.polling.asked_at()[0] == 0.0


# -- stop --------------------------------------------------------------------------------------------------


async def test_a_stop_is_confirmed_when_status_shows_no_power() -> None:
    c = commanding(BUSY)
    c.polling.at(12, **STOPPED)
    outcome = await c.run(Action.STOP)
    assert outcome == Outcome(result=Result.ACCEPTED, detail="status confirms it", confirmed=True)
    assert c.clock() == pytest.approx(1020.4)


async def test_a_stop_of_a_charger_that_went_offline_is_not_confirmed() -> None:
    c = commanding(BUSY)
    c.polling.at(1, charging=False, connected=False)
    outcome = await c.run(Action.STOP)
    assert outcome.confirmed is False
    assert outcome.detail.endswith("the charger is offline")


async def test_nothing_to_stop_is_believed_when_a_fresh_status_agrees() -> None:
    c = commanding()
    c.writes.answers["stop"] = [NOOP]
    outcome = await c.run(Action.STOP)
    assert (outcome.result, outcome.confirmed) == (Result.NOOP, True)
    assert outcome.detail == "the cloud says no; status shows that it does not charge"
    assert c.polling.asked_at() == [0.1]


async def test_nothing_to_stop_is_doubted_loudly_while_status_shows_charging() -> None:
    c = commanding(BUSY)
    c.writes.answers["stop"] = [NOOP]
    outcome = await c.run(Action.STOP)
    assert (outcome.result, outcome.confirmed) == (Result.NOOP, False)
    assert "ATTENTION: the cloud found nothing to stop, but status still shows charging" in outcome.detail
    assert c.given == [("stop", "unconfirmed")]


async def test_nothing_to_stop_is_doubted_also_for_who_does_not_wait() -> None:
    c = commanding(BUSY)
    c.writes.answers["stop"] = [NOOP]
    outcome = await c.run(Action.STOP, wait_seconds=0)
    assert outcome.confirmed is False
    assert "ATTENTION" in outcome.detail


async def test_nothing_to_stop_is_neither_confirmed_nor_doubted_without_a_fresh_status() -> None:
    c = commanding()
    c.polling.up = False
    c.writes.answers["stop"] = [NOOP]
    outcome = await c.run(Action.STOP)
    assert outcome.confirmed is None
    assert "no fresh status came" in outcome.detail
    assert c.clock() == pytest.approx(1010.1)


async def test_an_empty_list_of_chargers_does_not_show_that_nothing_charges() -> None:
    c = commanding()
    c.polling.lists_chargers = False
    c.writes.answers["stop"] = [NOOP]
    assert "no fresh status came" in (await c.run(Action.STOP)).detail
    c = commanding()
    c.polling.lists_chargers = False
    assert "no status has come since" in (await c.run(Action.STOP)).detail


async def test_nothing_to_stop_is_not_waited_for_by_who_does_not_wait() -> None:
    c = commanding()
    c.writes.answers["stop"] = [NOOP]
    outcome = await c.run(Action.STOP, wait_seconds=0)
    assert (outcome.confirmed, outcome.detail) == (None, "the cloud says no; status was not waited for")
    assert len(c.polling.asked) == 1


async def test_nothing_to_stop_at_a_charger_that_is_offline_is_told() -> None:
    c = commanding(replace(IDLE, connected=False))
    c.writes.answers["stop"] = [NOOP]
    outcome = await c.run(Action.STOP)
    assert outcome.confirmed is None
    assert outcome.detail.endswith("the charger is offline")


# -- messages ----------------------------------------------------------------------------------------------


async def test_a_message_cannot_be_confirmed_and_has_status_asked_once() -> None:
    c = commanding()
    assert await c.run(Action.TRIGGER, message="MeterValues") == Outcome(result=Result.ACCEPTED, detail="")
    assert c.writes.sent == [("trigger", "MeterValues")]
    assert len(c.polling.asked) == 1


# -- what the cloud answers --------------------------------------------------------------------------------


async def test_a_command_without_an_answer_is_looked_for_and_never_sent_again() -> None:
    c = commanding()
    c.writes.answers["start"] = [SILENCE]
    c.polling.at(30, **CHARGING)
    outcome = await c.run(Action.START)
    assert (outcome.result, outcome.confirmed) == (Result.ACCEPTED, True)
    assert outcome.detail == "the cloud gave no answer; status confirms it"
    assert c.kinds == ["start"]


async def test_a_command_without_an_answer_that_status_does_not_show_stays_unconfirmed() -> None:
    c = commanding(BUSY)
    c.writes.answers["stop"] = [SILENCE]
    error = await failure(c, Action.STOP)
    assert isinstance(error, CommandUnconfirmed)
    assert str(error).startswith("no answer came; not confirmed within 90 s: status shows: it is charging")
    assert c.kinds == ["stop"]
    assert c.given == [("stop", "failed")]


@pytest.mark.parametrize("told", [{"wait_seconds": 0}, {"action": Action.TRIGGER, "message": "Heartbeat"}])
async def test_a_command_without_an_answer_that_is_not_waited_for_is_unconfirmed_at_once(
    told: dict[str, Any],
) -> None:
    c = commanding()
    c.writes.answers |= {"start": [SILENCE], "trigger": [SILENCE]}
    assert isinstance(await failure(c, **({"action": Action.START} | told)), CommandUnconfirmed)
    assert c.clock() == pytest.approx(1000.1)
    assert len(c.polling.asked) == 1


async def test_a_refusal_is_passed_on_with_its_status_and_code() -> None:
    c = commanding(BUSY)
    refusal = CommandRefused("HTTP 503", status=503, code="iqevc_ms-10007")
    c.writes.answers["stop"] = [refusal]
    assert await failure(c, Action.STOP) is refusal
    assert c.polling.asked == []
    assert c.polling.bursts == []
    assert c.given == [("stop", "failed")]


async def test_an_expired_login_is_renewed_by_a_status_poll_and_the_command_is_not_repeated() -> None:
    c = commanding()
    c.writes.answers["start"] = [CommandRefused("HTTP 401", status=401)]
    error = await failure(c, Action.START)
    assert isinstance(error, CommandRefused)
    assert error.status == 401
    assert "give the command again in a moment" in str(error)
    assert len(c.polling.asked) == 1
    assert c.kinds == ["start"]


async def test_a_command_that_did_not_go_out_has_status_asked_which_may_log_in() -> None:
    c = commanding(BUSY)
    c.writes.answers["stop"] = [CommandRefused("nothing was done: no login", status=0)]
    assert isinstance(await failure(c, Action.STOP), CommandRefused)
    assert len(c.polling.asked) == 1


async def test_a_429_makes_the_account_wait() -> None:
    c = commanding()
    c.writes.answers["start"] = [CommandPostponed("HTTP 429", retry_after_seconds=77)]
    error = await failure(c, Action.START)
    assert isinstance(error, CommandPostponed)
    assert error.retry_after_seconds == 77
    assert c.polling.rate_limits == [77]
    assert c.given == [("start", "failed")]


async def test_while_the_account_must_wait_only_a_stop_is_sent() -> None:
    c = commanding(BUSY)
    c.polling.wait_seconds = 40.0
    told: dict[Action, dict[str, Any]] = {
        Action.START: {},
        Action.TRIGGER: {"message": "Heartbeat"},
        Action.CHARGE_MODE: {"mode": ChargeMode.GREEN_CHARGING},
        Action.LIVE_STREAM_START: {"site_id": SITE},
    }
    for action, more in told.items():
        error = await failure(c, action, **more)
        assert isinstance(error, CommandPostponed)
        assert error.retry_after_seconds == 40.0
    assert c.writes.sent == []
    assert {result for _, result in c.given} == {"refused"}
    await c.run(Action.STOP)
    assert c.kinds == ["stop"]
    assert c.polling.bursts == []


# -- the account of it -------------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    keys = ("who", "command", "site_id", "serial", "amps", "ocpp_message", "result", "confirmed", "detail")
    return [
        {key: getattr(record, key) for key in keys if hasattr(record, key)}
        for record in caplog.records
        if record.message == "command"
    ]


async def test_every_command_writes_one_line_with_who_what_and_what_became_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "exporter.control")
    c = commanding()
    c.polling.at(1, **CHARGING)
    await c.run(Action.START, amps=32, who="evcc")
    assert lines(caplog) == [
        {
            "who": "evcc",
            "command": "start",
            "site_id": SITE,
            "serial": SERIAL,
            "amps": 32,
            "result": "accepted",
            "confirmed": True,
            "detail": "status confirms it",
        }
    ]


async def test_a_refused_command_writes_a_line_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "exporter.control")
    c = commanding()
    await failure(c, Action.TRIGGER, message="Boot\nNotification" + "x" * 500)
    (line,) = lines(caplog)
    assert (line["result"], line["who"]) == ("refused", "default")
    assert len(line["ocpp_message"]) < 70
    assert "\n" not in line["detail"]


async def test_a_bug_is_counted_and_logged_by_its_kind_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "exporter.control")
    c = commanding()
    c.writes.answers["start"] = [KeyError("who knows what")]
    with pytest.raises(KeyError):
        await c.run(Action.START)
    assert c.given == [("start", "failed")]
    assert [line["detail"] for line in lines(caplog)] == ["KeyError"]


async def test_a_bug_before_anything_was_sent_is_no_refusal() -> None:
    given: list[tuple[str, str]] = []

    def broken() -> Polling:
        raise KeyError

    c = commanding()
    control = Control(
        broken,
        lambda site_id: c.writes,
        ControlSettings(),
        counted=lambda command, result: given.append((command, result)),
    )
    with pytest.raises(KeyError):
        await control.run(command(Action.STOP))
    assert given == [("stop", "failed")]


async def test_the_last_command_of_a_charger_is_kept_with_what_came_of_it() -> None:
    c = commanding()
    c.polling.at(4, **CHARGING)
    await c.run(Action.START, amps=32)
    expected = LastCommand(
        action=Action.START,
        amps=32,
        mode=None,
        result=Result.ACCEPTED,
        confirmed=True,
        at_seconds=EPOCH + 1000,
    )
    assert c.control.last(SITE, SERIAL) == expected
    await failure(c, Action.START, amps=99)
    assert c.control.last(SITE, SERIAL) == expected
    c.writes.answers["stop"] = [CommandRefused("HTTP 503", status=503)]
    await failure(c, Action.STOP)
    last = c.control.last(SITE, SERIAL)
    assert last is not None
    assert (last.action, last.result, last.confirmed) == (Action.STOP, Result.FAILED, None)


async def test_a_command_refused_before_it_was_one_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "exporter.control")
    c = commanding()
    c.control.refused(Action.STOP, "evcc", "", SERIAL, "not\nJSON")
    assert c.given == [("stop", "refused")]
    assert lines(caplog) == [
        {"who": "evcc", "command": "stop", "site_id": "", "serial": SERIAL}
        | {"result": "refused", "detail": "not JSON"}
    ]
    assert c.control.last(SITE, SERIAL) is None


async def test_no_command_is_kept_of_a_charger_that_was_never_told_anything() -> None:
    assert commanding().control.last(SITE, SERIAL) is None
