"""Triggers and charge modes: every row of their tables of answers, against the simulated cloud."""

from pathlib import Path
from typing import Any

import pytest

from exporter.command import Result
from exporter.errors import CloudError, CommandInvalid, CommandPostponed, CommandRefused, CommandUnconfirmed
from exporter.model import ChargeMode
from exporter.simulator import wire
from exporter.simulator.settings import CloudConfig
from exporter.writes import Reply
from tests.wiring import Commanded, commanded

GREEN, MANUAL, SCHEDULED = (
    ChargeMode.GREEN_CHARGING,
    ChargeMode.MANUAL_CHARGING,
    ChargeMode.SCHEDULED_CHARGING,
)


async def trigger(c: Commanded, message: str = "MeterValues") -> Reply:
    return await c.writes.trigger_message(c.w.site_id, c.w.serial, message)


async def set_mode(c: Commanded, mode: ChargeMode = GREEN) -> Reply:
    """Send it, and read it back where the answer leaves doubt."""
    writes = c.writes
    reply = await writes.set_charge_mode(c.w.site_id, c.w.serial, mode)
    if reply.doubt is None:
        return reply
    return await writes.read_back(c.w.site_id, c.w.serial, mode, reply.doubt)


def requests(c: Commanded) -> list[tuple[str, str]]:
    """Every request so far: method and body."""
    return [(entry.method, entry.body.decode()) for entry in c.w.cloud.journal]


READ, PUT_GREEN = ("GET", ""), ("PUT", '{"mode":"GREEN_CHARGING"}')


@pytest.mark.parametrize("shape", ["enveloped", "flat"])
@pytest.mark.parametrize("word", ["accepted", "Accepted", "ACCEPTED"])
async def test_a_trigger_is_one_post_to_the_singular_path(tmp_path: Path, shape: Any, word: str) -> None:
    async with commanded(tmp_path, CloudConfig(shape=shape, trigger_word=word)) as c:
        planned = c.writes.planned_trigger(c.w.site_id, c.w.serial, "MeterValues")
        assert (await trigger(c)).result is Result.ACCEPTED
        assert c.sent() == [("POST", "ev_charger", '{"requestedMessage":"MeterValues"}')]
        assert [(one.method, one.path, one.body) for one in planned] == [
            ("POST", c.w.cloud.journal[0].path, '{"requestedMessage":"MeterValues"}')
        ]


@pytest.mark.parametrize("shape", ["enveloped", "flat"])
@pytest.mark.parametrize("word", ["Rejected", "rejected", "NotImplemented", "NOTIMPLEMENTED"])
async def test_a_trigger_the_charger_refuses_is_a_refusal(tmp_path: Path, shape: Any, word: str) -> None:
    async with commanded(tmp_path, CloudConfig(shape=shape, trigger_word=word)) as c:
        with pytest.raises(CommandRefused, match=word) as caught:
            await trigger(c)
        assert caught.value.status == 200
        assert len(c.sent()) == 1


async def test_a_message_the_cloud_does_not_know_is_a_refusal(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        with pytest.raises(CommandRefused, match="Unsupported message") as caught:
            await trigger(c, "TransactionEvent")
        assert caught.value.status == 400
        assert len(c.sent()) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 466, 468, 472, 473, 500, 503, 550])
async def test_a_refused_trigger_is_one_request(tmp_path: Path, status: int) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("status", endpoint="trigger_message", status=status)
        with pytest.raises(CommandRefused) as caught:
            await trigger(c)
        assert caught.value.status == status
        assert len(c.w.cloud.journal) == 1


async def test_a_trigger_without_a_route_is_a_refusal(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("no_route", endpoint="trigger_message")
        with pytest.raises(CommandRefused, match="No static resource"):
            await trigger(c)
        assert len(c.sent()) == 1


@pytest.mark.parametrize("status", [409, 422])
async def test_a_charger_that_is_not_ready_for_a_trigger_is_a_noop(tmp_path: Path, status: int) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("status", endpoint="trigger_message", status=status)
        assert (await trigger(c)).result is Result.NOOP


@pytest.mark.parametrize("kind", ["reset", "cut", "not_json"])
async def test_a_trigger_whose_answer_is_lost_is_unconfirmed(tmp_path: Path, kind: str) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add(kind, endpoint="trigger_message")
        with pytest.raises(CommandUnconfirmed):
            await trigger(c)
        assert len(c.sent()) == 1


@pytest.mark.parametrize("message", ["", "1Heartbeat", 'A"', "Meter Values", "A\n", "Ä", "A" * 65, "../x"])
async def test_what_cannot_be_a_message_is_never_sent(tmp_path: Path, message: str) -> None:
    async with commanded(tmp_path) as c:
        with pytest.raises(CommandInvalid):
            await trigger(c, message)
        with pytest.raises(CommandInvalid):
            c.writes.planned_trigger(c.w.site_id, c.w.serial, message)
        assert len(c.w.cloud.journal) == 0


async def test_a_charge_mode_is_put_with_the_bearer_token(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        planned = c.writes.planned_charge_mode(c.w.site_id, c.w.serial, GREEN)
        assert await set_mode(c) == Reply(Result.ACCEPTED, "")
        assert requests(c) == [PUT_GREEN]
        put = c.w.cloud.journal[0]
        assert put.headers["Authorization"].startswith("Bearer ")
        assert put.headers["Content-Type"] == "application/json"
        assert [(one.method, one.path, one.body) for one in planned] == [("PUT", put.path, put.body.decode())]
        assert c.w.cloud.world.charger(c.w.serial).mode == "GREEN_CHARGING"


async def test_the_mode_that_is_set_is_read_with_the_bearer_token(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        assert await c.writes.charge_mode(c.w.site_id, c.w.serial) is MANUAL
        assert requests(c) == [READ]
        assert c.w.cloud.journal[0].headers["Authorization"].startswith("Bearer ")


async def test_a_400_to_a_mode_that_was_taken_all_the_same_is_accepted(tmp_path: Path) -> None:
    async with commanded(tmp_path, CloudConfig(mode_put_400_though_applied=True)) as c:
        reply = await set_mode(c)
        assert reply.result is Result.ACCEPTED
        assert "HTTP 400" in reply.detail
        assert requests(c) == [PUT_GREEN, READ]
        assert c.slept == []


async def test_a_400_to_a_mode_is_read_back_six_times_two_seconds_apart_before_it_fails(
    tmp_path: Path,
) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("status", endpoint="set_charge_mode", status=400, code="iqevc_sch_10099")
        with pytest.raises(CommandRefused) as caught:
            await set_mode(c)
        assert (caught.value.status, caught.value.code) == (400, "iqevc_sch_10099")
        assert requests(c) == [PUT_GREEN, *[READ] * 6]
        assert c.slept == [2.0] * 5


async def test_a_mode_that_shows_late_after_a_400_is_accepted(tmp_path: Path) -> None:
    async with commanded(tmp_path, CloudConfig(mode_put_400_though_applied=True, mode_lag_seconds=3)) as c:
        assert (await set_mode(c)).result is Result.ACCEPTED
        assert requests(c) == [PUT_GREEN, READ, READ, READ]
        assert c.slept == [2.0, 2.0]


@pytest.mark.parametrize("status", [401, 503])
async def test_a_400_that_cannot_be_read_back_is_unconfirmed(tmp_path: Path, status: int) -> None:
    async with commanded(tmp_path, CloudConfig(mode_put_400_though_applied=True)) as c:
        c.w.cloud.faults.add("status", endpoint="charge_mode", status=status)
        with pytest.raises(CommandUnconfirmed, match="cannot be read back"):
            await set_mode(c)
        assert requests(c) == [PUT_GREEN, *[READ] * 6]
        assert c.w.logins() == 0


async def test_a_cloud_that_asks_to_wait_is_not_asked_again_for_the_mode(tmp_path: Path) -> None:
    async with commanded(tmp_path, CloudConfig(mode_put_400_though_applied=True)) as c:
        c.w.cloud.faults.add("status", endpoint="charge_mode", status=429)
        with pytest.raises(CommandUnconfirmed, match="cannot be read back"):
            await set_mode(c)
        assert requests(c) == [PUT_GREEN, READ]


async def test_one_read_back_that_fails_is_made_up_for_by_the_next(tmp_path: Path) -> None:
    async with commanded(tmp_path, CloudConfig(mode_put_400_though_applied=True)) as c:
        c.w.cloud.faults.add("status", endpoint="charge_mode", times=1, status=503)
        assert (await set_mode(c)).result is Result.ACCEPTED
        assert requests(c) == [PUT_GREEN, READ, READ]


async def test_a_read_back_that_failed_once_still_tells_that_a_mode_was_refused(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("status", endpoint="set_charge_mode", status=400)
        c.w.cloud.faults.add("status", endpoint="charge_mode", times=1, status=503)
        with pytest.raises(CommandRefused):
            await set_mode(c)
        assert requests(c) == [PUT_GREEN, *[READ] * 6]


async def test_an_accepted_mode_that_the_answer_does_not_show_is_accepted_and_said(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        manual = wire.charge_mode("MANUAL_CHARGING", c.w.wall.seconds)
        c.w.cloud.faults.add("not_object", endpoint="set_charge_mode", value=manual)
        assert await set_mode(c) == Reply(Result.ACCEPTED, "the cloud still shows MANUAL_CHARGING")


@pytest.mark.parametrize("kind", ["login_page", "error_with_200"])
async def test_a_mode_whose_answer_is_no_success_is_refused(tmp_path: Path, kind: str) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add(kind, endpoint="set_charge_mode")
        with pytest.raises(CommandRefused):
            await set_mode(c)
        assert requests(c) == [PUT_GREEN]


@pytest.mark.parametrize("how", ["code", "text"])
async def test_scheduled_charging_without_a_schedule_is_refused_at_once_in_plain_words(
    tmp_path: Path, how: str
) -> None:
    async with commanded(tmp_path) as c:
        refusal = {"code": "iqevc_sch_10031"} if how == "code" else {"message": "No Schedules enabled"}
        c.w.cloud.faults.add("status", endpoint="set_charge_mode", status=400, **refusal)  # type: ignore[arg-type]
        with pytest.raises(CommandRefused, match="no schedule is enabled for this charger") as caught:
            await set_mode(c, SCHEDULED)
        assert caught.value.status == 400
        assert len(c.w.cloud.journal) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (500, "x"),
        (502, "x"),
        (503, "x"),
        (504, "x"),
        (400, "iqevc-scheduler is not there"),
        (400, "Error of Scheduler MS"),
        (401, "x"),
        (403, "x"),
        (404, "x"),
    ],
)
async def test_an_outage_or_refusal_of_the_scheduler_is_a_failure_without_a_read_back(
    tmp_path: Path, status: int, message: str
) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("status", endpoint="set_charge_mode", status=status, message=message)
        with pytest.raises(CommandRefused) as caught:
            await set_mode(c)
        assert caught.value.status == status
        assert requests(c) == [PUT_GREEN]
        assert c.w.logins() == 0


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_a_mode_that_cannot_be_read_is_told_as_a_command_that_was_not_sent(
    tmp_path: Path, status: int
) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("status", endpoint="charge_mode", status=status)
        with pytest.raises(CommandRefused, match="nothing was done") as caught:
            await c.writes.charge_mode(c.w.site_id, c.w.serial)
        assert caught.value.status == status
        assert requests(c) == [READ]


async def test_too_many_requests_postpone_a_change_of_mode(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        for endpoint in ("charge_mode", "set_charge_mode"):
            c.w.cloud.faults.add("status", endpoint=endpoint, status=429, retry_after=9)
        with pytest.raises(CommandPostponed) as caught:
            await c.writes.charge_mode(c.w.site_id, c.w.serial)
        assert caught.value.retry_after_seconds == 9
        with pytest.raises(CommandPostponed) as caught:
            await set_mode(c)
        assert caught.value.retry_after_seconds == 9


@pytest.mark.parametrize("applied", [True, False])
async def test_a_lost_answer_to_a_change_of_mode_is_unconfirmed_and_not_put_again(
    tmp_path: Path, applied: bool
) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("reset", endpoint="set_charge_mode", applied=applied)
        with pytest.raises(CommandUnconfirmed):
            await set_mode(c)
        assert requests(c) == [PUT_GREEN]


@pytest.mark.parametrize(
    ("status", "result"), [(204, Result.ACCEPTED), (409, Result.NOOP), (422, Result.NOOP)]
)
async def test_other_answers_to_a_change_of_mode(tmp_path: Path, status: int, result: Result) -> None:
    async with commanded(tmp_path) as c:
        kind = "empty_body" if status == 204 else "status"
        c.w.cloud.faults.add(kind, endpoint="set_charge_mode", status=status)
        assert (await set_mode(c)).result is result
        assert requests(c) == [PUT_GREEN]


async def test_an_unknown_mode_is_never_sent(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        with pytest.raises(CommandInvalid):
            await set_mode(c, ChargeMode.UNKNOWN)
        assert len(c.w.cloud.journal) == 0


@pytest.mark.parametrize("name", ["a/b", "..", "a/../../b", "a?b=c#d", "%2e%2e"])
async def test_a_site_or_serial_of_any_spelling_stays_one_segment_of_every_path(
    tmp_path: Path, name: str
) -> None:
    async with commanded(tmp_path) as c:
        client = c.w.client
        asked = (
            client.fetch_status(name),
            client.fetch_summary(name),
            client.fetch_last_reported(name),
            client.start_live_stream(name),
            client.stop_live_stream(name),
            client.fetch_charge_mode(name, name),
        )
        for one in asked:
            with pytest.raises(CloudError):
                await one
        with pytest.raises(CommandRefused):
            await c.writes.trigger_message(name, name, "Heartbeat")
        assert {entry.site_id for entry in c.w.cloud.journal} == {name}
        assert not c.w.cloud.journal.count(endpoint="other")
