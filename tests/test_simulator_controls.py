"""The commands of the pretend cloud: every way to ask, every refusal, and what becomes of the charger."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from exporter.simulator.vehicle import GREEN, MANUAL, SCHEDULED, SMART
from tests.visitor import CHARGER, EVC, NOON, PREFERENCE, SERIAL, SITE, STATUS, Open, Reply, Visitor, visits

SINGLE = CHARGER.replace("ev_chargers", "ev_charger")
START, STOP = f"{CHARGER}/start_charging", f"{CHARGER}/stop_charging"
TRIGGER = f"{SINGLE}/trigger_message"
LIVE = f"{EVC}/{SITE}/ev_chargers"
HOUR = 3600.0
MIDNIGHT_SECONDS = 12 * HOUR  # from the visitor's noon

STARTS: list[tuple[str, str, Any]] = [
    ("POST", START, {"chargingLevel": 16, "connectorId": 1}),
    ("PUT", START, {"chargingLevel": 16, "connectorId": 1}),
    ("POST", f"{SINGLE}/start_charging", {"chargingLevel": 16, "connectorId": 1}),
    ("POST", START, {"charging_level": 16, "connector_id": 1}),
    ("POST", START, {"connectorId": 1}),
    ("POST", START, None),
    ("POST", f"{SINGLE}/start_charging", None),
    ("POST", START, {"chargingLevel": 16}),
]
STOPS = [("PUT", STOP), ("POST", STOP), ("POST", f"{SINGLE}/stop_charging")]


@pytest.fixture
async def visit() -> AsyncIterator[Open]:
    async with visits() as open_cloud:
        yield open_cloud


async def start(visitor: Visitor, level: Any = 16) -> Reply:
    body = {"connectorId": 1} if level is None else {"chargingLevel": level, "connectorId": 1}
    return await visitor.ask("POST", START, json=body)


async def stop(visitor: Visitor) -> Reply:
    return await visitor.ask("PUT", STOP)


async def prefer(visitor: Visitor, mode: str) -> Reply:
    return await visitor.ask("PUT", PREFERENCE, json={"mode": mode})


async def preferred(visitor: Visitor) -> list[str]:
    modes = (await visitor.read(PREFERENCE)).json()["data"]["modes"]
    return [block["chargingMode"] for block in modes.values() if block["enabled"]]


async def entry(visitor: Visitor) -> Any:
    return (await visitor.read(STATUS)).json()["data"]["chargers"][0]


def error_of(answer: Reply) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["errorMessageCode"]


async def plugged(visit: Open, **settings: Any) -> Visitor:
    visitor = await visit(logged_in=True, **settings)
    visitor.charger.plug()
    return visitor


async def charging(visit: Open, **settings: Any) -> Visitor:
    visitor = await plugged(visit, **settings)
    visitor.charger.start(16)
    return visitor


def watts(visitor: Visitor, amps: int) -> float:
    region = visitor.charger.region
    return amps * region.volts * region.phases


# which ways to ask work


@pytest.mark.parametrize("index", range(8))
async def test_only_the_start_variant_that_works_starts(visit: Open, index: int) -> None:
    visitor = await plugged(visit, start_variants={index})
    for other, (method, path, body) in enumerate(STARTS):
        if other != index:
            refused = await visitor.ask(method, path, json=body) if body else await visitor.ask(method, path)
            assert refused.status in {400, 404, 405}
    assert not visitor.charger.charging
    method, path, body = STARTS[index]
    accepted = await visitor.ask(method, path, json=body) if body else await visitor.ask(method, path)
    assert (accepted.status, visitor.charger.charging) == (200, True)
    assert visitor.cloud.journal.count(endpoint="start_charging") == 8


@pytest.mark.parametrize("index", range(3))
async def test_only_the_stop_variant_that_works_stops(visit: Open, index: int) -> None:
    visitor = await charging(visit, stop_variants={index})
    for other, (method, path) in enumerate(STOPS):
        if other != index:
            assert (await visitor.ask(method, path)).status in {404, 405}
    assert visitor.charger.charging
    assert (await visitor.ask(*STOPS[index])).status == 200
    assert not visitor.charger.charging
    assert visitor.cloud.journal.count(endpoint="stop_charging") == 3


async def test_a_start_that_does_not_work_fails_by_verb_route_or_keys(visit: Open) -> None:
    visitor = await plugged(visit, start_variants={0})
    answers = [
        await visitor.ask(method, path, json=body) if body else await visitor.ask(method, path)
        for method, path, body in STARTS[1:]
    ]
    assert [answer.status for answer in answers] == [405, 404, 400, 400, 400, 404, 400]
    assert answers[1].json()["detail"].startswith("No static resource service/")
    visitor.cloud.config.start_variants = frozenset()
    assert "No static resource" in (await start(visitor)).text


@pytest.mark.parametrize(
    "body",
    [
        {"chargingLevel": "16", "connectorId": 1},
        {"chargingLevel": 16.5, "connectorId": 1},
        {"chargingLevel": True, "connectorId": 1},
        {"chargingLevel": None, "connectorId": 1},
        {"chargingLevel": 16, "connectorId": 2},
        {"amps": 16},
        [16],
    ],
)
async def test_a_start_with_a_body_that_makes_no_sense_is_refused(visit: Open, body: Any) -> None:
    visitor = await plugged(visit)
    assert (await visitor.ask("POST", START, json=body)).status == 400
    assert not visitor.charger.charging


@pytest.mark.parametrize(
    ("accepted_as", "status", "text"),
    [
        ("seed", 200, '{"status":"accepted","chargingLevel":16}'),
        (
            "enveloped",
            200,
            '{"meta":{"serverTimeStamp":1777723200000},"data":{"status":"accepted"},"error":{}}',
        ),
        ("official", 202, '{"message":"Request sent successfully"}'),
        ("no_content", 204, ""),
        ("reset_content", 205, ""),
        ("empty", 200, ""),
    ],
)
async def test_a_start_is_accepted_in_every_shape_seen(
    visit: Open, accepted_as: str, status: int, text: str
) -> None:
    visitor = await plugged(visit, accepted_as=accepted_as)
    answer = await start(visitor)
    assert (answer.status, answer.text, visitor.charger.charging) == (status, text, True)
    assert (await stop(visitor)).status == status
    assert not visitor.charger.charging


# refusals of a start


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_a_start_without_a_car_is_refused(visit: Open, status: int) -> None:
    visitor = await visit(logged_in=True, not_plugged_status=status)
    assert error_of(await start(visitor)) == (status, "iqevc_ms-10008")


@pytest.mark.parametrize("level", [None, 16])
async def test_a_start_while_charging_is_refused_as_already_charging(visit: Open, level: int | None) -> None:
    visitor = await charging(visit)
    answer = await start(visitor, level)
    assert error_of(answer) == (400, "iqevc_ms-10012")
    assert "already in charging state" in answer.text


async def test_a_repeated_start_can_be_not_found_without_a_missing_route(visit: Open) -> None:
    visitor = await charging(visit, repeated_start_status=404)
    answer = await start(visitor)
    assert (answer.status, "No static resource" in answer.text) == (404, False)


@pytest.mark.parametrize("level", [5, 33])
async def test_a_level_out_of_range_is_refused(visit: Open, level: int) -> None:
    visitor = await plugged(visit)
    assert (await start(visitor, level)).status == 400
    assert not visitor.charger.charging


async def test_an_old_model_refuses_any_level_and_starts_without(visit: Open) -> None:
    visitor = await plugged(visit)
    visitor.charger.levels_refused = True
    answer = await start(visitor)
    assert (answer.status, "Invalid charge level" in answer.text) == (500, True)
    assert not visitor.charger.charging
    assert (await start(visitor, None)).status == 200
    assert visitor.charger.charging


async def test_what_an_offline_charger_is_told_waits_until_it_is_back(visit: Open) -> None:
    visitor = await plugged(visit)
    visitor.charger.go_offline()
    assert (await start(visitor, 10)).json() == {"status": "accepted", "chargingLevel": 10}
    visitor.clock.seconds += HOUR + 7
    assert (visitor.charger.charging, (await entry(visitor))["charging"]) == (False, False)
    visitor.charger.come_back()
    assert (visitor.charger.charging, visitor.charger.started_at) == (True, NOON + HOUR + 7)
    assert visitor.charger.last_reported == NOON + HOUR + 7


@pytest.mark.parametrize("has_car", [False, True])
async def test_of_an_offline_charger_the_cloud_refuses_no_start_and_no_stop(
    visit: Open, has_car: bool
) -> None:
    visitor = await charging(visit)
    if not has_car:
        visitor.charger.unplug()
    visitor.charger.go_offline()
    assert [(await start(visitor)).status, (await stop(visitor)).status] == [200, 200]


# levels


@pytest.mark.parametrize("level", [6, 10, 32])
async def test_a_level_set_is_the_current_that_flows(visit: Open, level: int) -> None:
    visitor = await plugged(visit)
    await start(visitor, level)
    assert visitor.charger.power_w == pytest.approx(watts(visitor, level))
    assert (await entry(visitor))["session_d"]["charge_level"] == level


async def test_a_level_set_while_charging_is_told_at_once_and_flows_after_a_restart(visit: Open) -> None:
    visitor = await charging(visit)
    assert (await start(visitor, 10)).json() == {"status": "accepted", "chargingLevel": 10}
    visitor.clock.seconds += 60
    assert visitor.charger.power_w == pytest.approx(watts(visitor, 16))
    assert (await entry(visitor))["session_d"]["charge_level"] == 10
    await stop(visitor)
    await start(visitor, None)
    assert visitor.charger.power_w == pytest.approx(watts(visitor, 10))


async def test_a_cloud_that_needs_no_restart_changes_the_current_in_place(visit: Open) -> None:
    visitor = await charging(visit, levels_need_restart=False)
    started_at = visitor.charger.started_at
    visitor.clock.seconds += 60
    await start(visitor, 10)
    assert visitor.charger.power_w == pytest.approx(watts(visitor, 10))
    assert (visitor.charger.started_at, visitor.charger.finished_wh) == (started_at, [])


# green mode


async def green(visit: Open, **settings: Any) -> Visitor:
    """Midnight, a car plugged in, and no sun."""
    visitor = await plugged(visit, **settings)
    await prefer(visitor, GREEN)
    visitor.clock.seconds += MIDNIGHT_SECONDS
    return visitor


async def test_a_start_without_a_level_in_green_mode_waits_for_the_sun(visit: Open) -> None:
    visitor = await green(visit)
    assert (await start(visitor, None)).status == 200
    assert (visitor.charger.charging, visitor.charger.connector_reason) == (False, "INSUFFICIENT_SOLAR")
    assert (await entry(visitor))["mode"] == 1


async def test_a_start_at_a_level_in_green_mode_charges_from_the_grid_until_stopped(visit: Open) -> None:
    visitor = await green(visit)
    await start(visitor, 16)
    assert visitor.charger.power_w == pytest.approx(watts(visitor, 16))
    assert ((await entry(visitor))["mode"], await preferred(visitor)) == (0, [GREEN])
    await stop(visitor)
    assert (await entry(visitor))["mode"] == 1
    await start(visitor, None)
    assert (visitor.charger.power_w, (await entry(visitor))["mode"]) == (0.0, 1)


async def test_a_start_at_a_level_does_not_override_a_schedule(visit: Open) -> None:
    visitor = await plugged(visit)
    await prefer(visitor, SCHEDULED)
    assert (await start(visitor, 16)).status == 200
    assert (visitor.charger.running_mode, visitor.charger.charging) == (SCHEDULED, False)


async def test_a_stop_in_green_mode_can_wear_off(visit: Open) -> None:
    visitor = await green(visit, green_resumes_after_seconds=600)
    await start(visitor, None)
    assert (await stop(visitor)).status == 200
    visitor.clock.seconds += 599
    assert visitor.charger.connector_reason == ""
    visitor.clock.seconds += 11
    assert visitor.charger.connector_reason == "INSUFFICIENT_SOLAR"


async def test_a_stop_in_manual_mode_lasts(visit: Open) -> None:
    visitor = await charging(visit, green_resumes_after_seconds=600)
    await stop(visitor)
    visitor.clock.seconds += HOUR
    assert not visitor.charger.charging


# refusals of a stop


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_a_stop_with_nothing_to_stop_is_refused(visit: Open, status: int) -> None:
    visitor = await visit(logged_in=True, nothing_to_stop_status=status)
    assert error_of(await stop(visitor)) == (status, "iqevc_ms-10008")
    visitor.charger.plug()
    answer = await stop(visitor)
    assert (answer.status, "No static resource" in answer.text) == (status, False)


async def test_a_car_held_back_by_its_schedule_can_be_stopped(visit: Open) -> None:
    visitor = await charging(visit)
    await prefer(visitor, SCHEDULED)
    assert visitor.charger.connector_status == "SUSPENDED_EVSE"
    assert [(await stop(visitor)).status for _ in range(2)] == [200, 400]


# the lag of commands


async def test_an_accepted_command_has_its_effect_after_the_lag(visit: Open) -> None:
    visitor = await plugged(visit, command_lag_seconds=25)
    assert (await start(visitor, 10)).json()["chargingLevel"] == 10
    visitor.clock.seconds += 24
    assert (visitor.charger.charging, visitor.charger.waiting_orders) == (False, 1)
    visitor.clock.seconds += 1
    assert (visitor.charger.charging, visitor.charger.started_at) == (True, NOON + 25)


async def test_a_stop_overtakes_no_start(visit: Open) -> None:
    visitor = await plugged(visit, command_lag_seconds=30)
    await start(visitor)
    visitor.cloud.config.command_lag_seconds = 0
    assert (await stop(visitor)).status == 200
    visitor.clock.seconds += 29
    assert visitor.charger.waiting_orders == 2
    visitor.clock.seconds += HOUR
    assert (visitor.charger.waiting_orders, visitor.charger.charging) == (0, False)
    assert visitor.charger.started_at == NOON + 30


async def test_a_start_follows_a_stop_that_has_no_effect_yet(visit: Open) -> None:
    visitor = await charging(visit, command_lag_seconds=30)
    assert [(await stop(visitor)).status, (await stop(visitor)).status] == [200, 400]
    assert (await start(visitor, 16)).status == 200
    visitor.clock.seconds += 60
    assert (visitor.charger.charging, len(visitor.charger.finished_wh)) == (True, 1)


async def test_a_lagging_command_comes_to_the_same_however_often_anybody_looks(visit: Open) -> None:
    energies_wh = set()
    for look_every in (1.0, 7.0, 600.0):
        visitor = await plugged(visit, command_lag_seconds=17)
        await start(visitor)
        while visitor.clock.seconds < NOON + 600:
            visitor.clock.seconds = min(NOON + 600, visitor.clock.seconds + look_every)
            visitor.world.advance()
        energies_wh.add(visitor.charger.energy_wh)
    assert len(energies_wh) == 1
    assert energies_wh.pop() > 0


async def test_the_world_page_tells_orders_that_wait_and_the_mode_that_runs(visit: Open) -> None:
    visitor = await green(visit)
    await start(visitor, 16)
    visitor.cloud.config.command_lag_seconds = 30
    await stop(visitor)
    truth = (await visitor.read("/_sim/world")).json()["chargers"][0]
    assert (truth["mode"], truth["running_mode"], truth["waiting_orders"]) == (GREEN, MANUAL, 1)


async def test_a_car_that_left_before_the_stop_came_can_be_followed_by_another(visit: Open) -> None:
    visitor = await charging(visit, command_lag_seconds=30)
    await stop(visitor)
    visitor.charger.unplug()
    visitor.clock.seconds += 60
    visitor.charger.plug()
    assert visitor.charger.connector_status == "PREPARING"


# triggers


@pytest.mark.parametrize("message", ["MeterValues", "StatusNotification"])
async def test_a_trigger_makes_the_charger_report_after_the_lag(visit: Open, message: str) -> None:
    visitor = await visit(logged_in=True, command_lag_seconds=10)
    visitor.clock.seconds += 12
    answer = await visitor.ask("POST", TRIGGER, json={"requestedMessage": message})
    assert answer.json()["data"] == {"status": "accepted"}
    visitor.clock.seconds += 10
    assert visitor.charger.last_reported == NOON + 22


@pytest.mark.parametrize(
    "message", ["LogStatusNotification", "TransactionEvent", "DisplayMessages", None, ["MeterValues"]]
)
async def test_some_triggers_are_refused(visit: Open, message: Any) -> None:
    visitor = await visit(logged_in=True)
    assert (await visitor.ask("POST", TRIGGER, json={"requestedMessage": message})).status == 400


async def test_a_trigger_has_no_plural_path(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    answer = await visitor.ask("POST", f"{CHARGER}/trigger_message", json={"requestedMessage": "MeterValues"})
    assert (answer.status, "No static resource" in answer.text) == (404, True)


async def test_a_trigger_is_answered_the_old_way_in_the_flat_shape(visit: Open) -> None:
    visitor = await visit(logged_in=True, shape="flat")
    answer = await visitor.ask("POST", TRIGGER, json={"requestedMessage": "MeterValues"})
    body = answer.json()
    assert (body["status"], body["message"]) == ("accepted", "MeterValues")
    assert body["details"]["initiatedAt"] == "2026-05-02T12:00:00.000Z"


@pytest.mark.parametrize("word", ["Rejected", "NotImplemented"])
async def test_a_trigger_the_charger_turns_down_does_nothing(visit: Open, word: str) -> None:
    visitor = await visit(logged_in=True, trigger_word=word)
    before = visitor.charger.last_reported
    visitor.clock.seconds += 5
    answer = await visitor.ask("POST", TRIGGER, json={"requestedMessage": "MeterValues"})
    assert (answer.status, answer.json()["data"]) == (200, {"status": word})
    assert visitor.charger.last_reported == before


# charge mode


async def test_the_mode_set_decides_whether_power_flows(visit: Open) -> None:
    visitor = await charging(visit)
    assert (await prefer(visitor, SCHEDULED)).json()["data"]["modes"]["scheduledCharging"]["enabled"]
    assert (visitor.charger.connector_status, visitor.charger.power_w) == ("SUSPENDED_EVSE", 0.0)
    await prefer(visitor, MANUAL)
    assert visitor.charger.power_w == pytest.approx(watts(visitor, 16))


@pytest.mark.parametrize("mode", [MANUAL, "TURBO", None])
async def test_a_mode_that_is_set_already_or_unknown_is_refused(visit: Open, mode: Any) -> None:
    visitor = await visit(logged_in=True)
    assert (await prefer(visitor, mode)).status == 400
    assert await preferred(visitor) == [MANUAL]


async def test_a_charger_without_schedules_cannot_charge_by_them(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    visitor.charger.has_schedules = False
    assert error_of(await prefer(visitor, SCHEDULED)) == (400, "iqevc_sch_10031")
    assert await preferred(visitor) == [MANUAL]


async def test_a_change_of_mode_can_be_answered_400_and_taken(visit: Open) -> None:
    visitor = await visit(logged_in=True, mode_put_400_though_applied=True)
    assert (await prefer(visitor, SMART)).status == 400
    assert await preferred(visitor) == [SMART]


async def test_a_change_of_mode_shows_after_its_lag(visit: Open) -> None:
    visitor = await visit(logged_in=True, mode_lag_seconds=6)
    assert [(await prefer(visitor, GREEN)).status, (await prefer(visitor, GREEN)).status] == [200, 400]
    visitor.clock.seconds += 5
    assert await preferred(visitor) == [MANUAL]
    visitor.clock.seconds += 1
    assert await preferred(visitor) == [GREEN]


async def test_a_change_of_mode_ends_an_override(visit: Open) -> None:
    visitor = await green(visit)
    await start(visitor, 16)
    await prefer(visitor, SCHEDULED)
    visitor.clock.seconds += 12 * HOUR
    assert (visitor.charger.running_mode, visitor.charger.charging) == (SCHEDULED, False)


# live stream


async def test_the_live_stream_is_granted_the_old_way_in_the_flat_shape(visit: Open) -> None:
    visitor = await visit(logged_in=True, shape="flat")
    granted = (await visitor.read(f"{LIVE}/start_live_stream")).json()
    assert granted == {"status": "accepted", "topics": [f"evse/{SERIAL}/status"], "duration_s": 60}
    assert (await visitor.read(f"{LIVE}/stop_live_stream")).json() == {"status": "accepted"}


async def test_the_live_stream_lasts_as_long_as_configured(visit: Open) -> None:
    visitor = await visit(logged_in=True, live_stream_seconds=30)
    assert (await visitor.read(f"{LIVE}/start_live_stream")).json()["data"]["liveStreamDuration"] == 30
    assert visitor.cloud.services.live_streams == {SITE: NOON + 30}


@pytest.mark.parametrize(
    ("status", "word"), [(472, "LIVE_STREAM_NOT_SUPPORTED"), (473, "IQ_GATEWAY_NOT_REPORTING")]
)
async def test_a_live_stream_can_be_refused(visit: Open, status: int, word: str) -> None:
    visitor = await visit(logged_in=True, live_stream_status=status)
    for name in ("start_live_stream", "stop_live_stream"):
        answer = await visitor.read(f"{LIVE}/{name}")
        assert (answer.status, answer.json()["error"]["status"]) == (status, word)
    assert visitor.cloud.services.live_streams == {}


# commands whose answer misbehaves


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize(
    ("kind", "params", "status"),
    [
        ("status", {"status": 503, "code": "iqevc_ms-10007"}, 503),
        ("html_outage", {}, 503),
        ("no_route", {}, 404),
        ("empty_body", {"status": 204}, 204),
    ],
)
async def test_a_replaced_answer_means_nothing_was_done_unless_it_was_applied(
    visit: Open, kind: str, params: dict[str, Any], status: int, applied: bool
) -> None:
    visitor = await charging(visit)
    visitor.cloud.faults.add(kind, endpoint="stop_charging", applied=applied, **params)
    assert (await stop(visitor)).status == status
    assert visitor.charger.charging is not applied


@pytest.mark.parametrize("applied", [False, True])
async def test_a_command_whose_answer_never_came_was_done_only_if_applied(visit: Open, applied: bool) -> None:
    visitor = await charging(visit)
    visitor.cloud.faults.add("reset", endpoint="stop_charging", applied=applied)
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await stop(visitor)
    assert visitor.charger.charging is not applied


@pytest.mark.parametrize("applied", [False, True])
async def test_a_slow_command_that_nobody_waited_for_was_done_only_if_applied(
    visit: Open, applied: bool
) -> None:
    visitor = await charging(visit)
    visitor.cloud.faults.add("slow", endpoint="stop_charging", seconds=0.05, applied=applied)
    impatient = asyncio.create_task(stop(visitor))
    while not visitor.cloud.journal.count(endpoint="stop_charging"):
        await asyncio.sleep(0.001)
    impatient.cancel()
    await asyncio.sleep(0.15)
    assert visitor.charger.charging is not applied


async def test_a_slow_command_that_is_waited_for_is_done(visit: Open) -> None:
    visitor = await charging(visit)
    visitor.cloud.faults.add("slow", endpoint="stop_charging", seconds=0.05)
    assert (await stop(visitor)).status == 200
    assert not visitor.charger.charging


async def test_a_fault_can_meet_one_way_to_stop_only(visit: Open) -> None:
    visitor = await charging(visit, stop_variants={0, 2})
    visitor.cloud.faults.add("status", status=405, method="PUT", path_contains="/ev_chargers/")
    assert [(await visitor.ask(*variant)).status for variant in STOPS] == [405, 405, 200]
    told = [(e.method, e.status) for e in visitor.cloud.journal.select(endpoint="stop_charging")]
    assert told == [("PUT", 405), ("POST", 405), ("POST", 200)]
