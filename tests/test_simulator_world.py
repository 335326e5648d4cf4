"""The physics of the simulated world, on a clock moved by hand."""

import dataclasses
from collections.abc import Callable

import pytest

from exporter.simulator.charger import STEP_SECONDS
from exporter.simulator.vehicle import GREEN, MANUAL, SCHEDULED
from exporter.simulator.world import Car, SimCharger, World, WorldConfig, demo_world_config

MAY_EVENING = 1777746600.0  # 2026-05-02T18:30:00Z
HOUR = 3600.0
DAY = 24 * HOUR
CALM = WorldConfig(
    sites=1,
    chargers=1,
    start_seconds=MAY_EVENING,
    modes=(MANUAL,),
    fault_every_seconds=None,
    offline_every_seconds=None,
)
EVENTFUL = WorldConfig(
    seed=3,
    sites=3,
    chargers=2,
    start_seconds=MAY_EVENING,
    busy=True,
    fault_every_seconds=6 * HOUR,
    offline_every_seconds=6 * HOUR,
)


class HandClock:
    """Real time that moves only when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def world_of(config: WorldConfig = CALM) -> tuple[World, HandClock]:
    clock = HandClock()
    return World(config, clock), clock


def by_hand(config: WorldConfig = CALM) -> tuple[World, HandClock, SimCharger]:
    """A world with one charger that does only what the test does."""
    world, clock = world_of(config)
    charger = next(iter(world.chargers.values()))
    charger.manual = True
    charger.unplug()
    return world, clock, charger


def life(config: WorldConfig, *, until: float, look_every: float) -> dict[str, tuple[object, ...]]:
    world, clock = world_of(config)
    begin = clock.seconds
    while clock.seconds < begin + until:
        clock.seconds = min(clock.seconds + look_every, begin + until)
        world.advance()
    return {
        serial: (c.seen(), c.energy_wh, c.lifetime_wh, tuple(c.finished_wh), c.connected, c.offline_at)
        for serial, c in world.chargers.items()
    }


def test_simulated_time_runs_at_the_configured_speed_from_the_configured_start() -> None:
    world, clock = world_of(dataclasses.replace(CALM, speed=240.0))
    clock.seconds += 60.0
    assert world.now() == MAY_EVENING + 60 * 240


def test_a_world_without_a_start_begins_now() -> None:
    world, clock = world_of(dataclasses.replace(CALM, start_seconds=None))
    assert world.now() == clock.seconds


def test_sites_and_chargers_are_as_many_as_configured() -> None:
    world, _ = world_of(WorldConfig(sites=5, chargers=(1, 2)))
    assert [len(site.chargers) for site in world.sites.values()] == [1, 2, 1, 2, 1]
    assert all(site_id.isdigit() for site_id in world.sites)
    assert len(world.chargers) == 7


def test_one_number_of_chargers_is_for_every_site() -> None:
    world, _ = world_of(WorldConfig(sites=3, chargers=4))
    assert [len(site.chargers) for site in world.sites.values()] == [4, 4, 4]


def test_regions_are_mixed() -> None:
    world, _ = world_of(WorldConfig(sites=3, chargers=1))
    mains = {(c.region.volts, c.region.phases, "N" in c.region.wiring) for c in world.chargers.values()}
    assert mains == {(230.0, 1, False), (230.0, 3, True), (240.0, 1, False)}


def test_the_same_seed_gives_the_same_life_however_often_it_is_read() -> None:
    often = life(EVENTFUL, until=DAY, look_every=7.0)
    assert often == life(EVENTFUL, until=DAY, look_every=DAY)
    assert any(finished for _, _, _, finished, _, _ in often.values())


def test_the_same_seed_gives_the_same_weather_and_schedule() -> None:
    config = dataclasses.replace(EVENTFUL, modes=(GREEN, SCHEDULED))
    assert life(config, until=DAY, look_every=911.0) == life(config, until=DAY, look_every=DAY)


def test_the_same_seed_gives_the_same_life_whichever_charger_is_read_first() -> None:
    world, clock = world_of(EVENTFUL)
    for hour in range(12):
        clock.seconds = 1000.0 + hour * HOUR
        world.charger(list(world.chargers)[hour % 6])
    clock.seconds = 1000.0 + DAY
    world.advance()
    assert {s: c.lifetime_wh for s, c in world.chargers.items()} == {
        s: values[2] for s, values in life(EVENTFUL, until=DAY, look_every=DAY).items()
    }


def test_another_seed_gives_another_life() -> None:
    other = dataclasses.replace(EVENTFUL, seed=4)
    assert life(EVENTFUL, until=DAY, look_every=DAY) != life(other, until=DAY, look_every=DAY)


def test_lifetime_energy_is_the_sum_of_the_charging_sessions() -> None:
    world, clock = world_of(EVENTFUL)
    for _ in range(3 * 24):
        clock.seconds += HOUR
        world.advance()
        for charger in world.chargers.values():
            running = charger.energy_wh if charger.session_open else 0.0
            total = charger.initial_lifetime_wh + sum(charger.finished_wh) + running
            assert charger.lifetime_wh == pytest.approx(total)
    assert all(len(charger.finished_wh) >= 3 for charger in world.chargers.values())


@pytest.mark.parametrize(
    ("seed", "amps", "car_amps", "car_phases", "power_w"),
    [
        (1, 16, 32.0, 3, 16 * 230 * 3),
        (1, 32, 16.0, 3, 16 * 230 * 3),
        (1, 32, 32.0, 1, 32 * 230),
        (3, 32, 32.0, 3, 32 * 230),
        (2, 24, 48.0, 1, 24 * 240),
    ],
)
def test_power_is_the_lesser_current_times_volts_times_phases(
    seed: int, amps: int, car_amps: float, car_phases: int, power_w: float
) -> None:
    world, clock, charger = by_hand(dataclasses.replace(CALM, seed=seed))
    charger.plug(Car(needs_wh=50_000, capacity_wh=60_000, max_amps=car_amps, phases=car_phases))
    charger.start(amps)
    clock.seconds += HOUR
    world.advance()
    assert charger.energy_wh == pytest.approx(power_w)


def test_energy_flows_in_whole_steps_and_never_ahead_of_time() -> None:
    world, clock, charger = by_hand()
    charger.plug()
    charger.start(16)
    clock.seconds += STEP_SECONDS - 1
    world.advance()
    assert charger.energy_wh == 0.0
    clock.seconds += 1
    world.advance()
    assert charger.energy_wh == pytest.approx(charger.power_w * STEP_SECONDS / HOUR)


def test_a_car_tapers_finishes_and_is_then_suspended_by_itself() -> None:
    world, clock, charger = by_hand()
    charger.plug(Car(needs_wh=8_000, capacity_wh=50_000, max_amps=32, phases=1))
    charger.start(32)
    full_power_w = charger.power_w
    seen: list[str] = []
    powers: list[float] = []
    while charger.connector_status != "SUSPENDED_EV":
        seen.append(charger.connector_status)
        powers.append(charger.power_w)
        clock.seconds += STEP_SECONDS
        world.advance()
    assert list(dict.fromkeys(seen)) == ["CHARGING", "FINISHING"]
    assert powers == sorted(powers, reverse=True)
    assert 0 < powers[-1] < 0.3 * full_power_w
    assert (charger.charging, charger.plugged_in, charger.power_w) == (False, True, 0.0)
    assert charger.energy_wh == pytest.approx(8_000)


def test_a_plugged_car_waits_for_start_and_a_stopped_one_for_another() -> None:
    _, clock, charger = by_hand()
    charger.plug()
    assert (charger.connector_status, charger.charging) == ("PREPARING", False)
    charger.start(16)
    assert (charger.connector_status, charger.charging) == ("CHARGING", True)
    clock.seconds += HOUR
    charger.stop()
    assert (charger.connector_status, charger.charging) == ("SUSPENDED_EVSE", False)
    first_wh = charger.energy_wh
    charger.start()
    assert (charger.energy_wh, charger.finished_wh[-1]) == (0.0, first_wh)
    charger.unplug()
    assert (charger.connector_status, charger.plugged_in) == ("AVAILABLE", False)
    assert charger.plugged_out_at == MAY_EVENING + HOUR


def test_session_energy_of_the_last_car_stays_until_the_next_one_charges() -> None:
    _, clock, charger = by_hand()
    charger.plug()
    charger.start(16)
    clock.seconds += HOUR
    charger.unplug()
    energy_wh = charger.energy_wh
    clock.seconds += HOUR
    charger.plug()
    assert charger.energy_wh == energy_wh > 0
    charger.start()
    assert charger.energy_wh == 0.0
    assert charger.started_at == MAY_EVENING + 2 * HOUR


def test_a_fault_stops_the_power_and_recovery_goes_on_with_the_same_session() -> None:
    world, clock, charger = by_hand()
    charger.plug()
    charger.start(16)
    clock.seconds += HOUR
    charger.fault()
    energy_wh = charger.energy_wh
    assert (charger.connector_status, charger.faulted, charger.charging) == ("FAULTED", True, False)
    clock.seconds += HOUR
    world.advance()
    assert charger.energy_wh == energy_wh
    charger.recover()
    clock.seconds += HOUR
    world.advance()
    assert charger.energy_wh > energy_wh
    assert charger.started_at == MAY_EVENING


def test_a_green_charger_holds_the_car_while_the_sun_is_too_weak() -> None:
    config = dataclasses.replace(CALM, modes=(GREEN,))
    world, clock, charger = by_hand(config)
    solar_watts = next(iter(world.sites.values())).sky.solar_watts
    charger.plug(Car(needs_wh=1e9, capacity_wh=1e9, max_amps=32, phases=charger.region.phases))
    charger.start(32)
    least_watts = charger.region.min_amps * charger.region.volts * charger.region.phases
    statuses = set()
    for _ in range(24 * 12):
        clock.seconds += 300
        world.advance()
        sun_watts = solar_watts(clock.seconds - 1000.0 + MAY_EVENING)
        statuses.add((charger.connector_status, charger.connector_reason))
        assert charger.charging == (sun_watts >= least_watts)
        assert charger.power_w <= sun_watts + 1e-6
    assert statuses == {("CHARGING", ""), ("SUSPENDED_EVSE", "INSUFFICIENT_SOLAR")}


def test_a_scheduled_charger_charges_at_night_only() -> None:
    world, clock, charger = by_hand(dataclasses.replace(CALM, modes=(SCHEDULED,)))
    charger.plug(Car(needs_wh=1e9, capacity_wh=1e9, max_amps=32, phases=1))
    charger.start(32)
    charging_hours = 0
    for _ in range(24):
        clock.seconds += HOUR
        world.advance()
        assert charger.connector_status in {"CHARGING", "SUSPENDED_EVSE"}
        charging_hours += charger.charging
    assert charging_hours == 8


def test_the_safe_limit_lowers_the_current_to_the_least() -> None:
    world, clock, charger = by_hand()
    charger.plug()
    charger.start(32)
    charger.safe_limit = True
    clock.seconds += STEP_SECONDS
    world.advance()
    assert charger.power_w == pytest.approx(
        charger.region.min_amps * charger.region.volts * charger.region.phases
    )


def test_meter_values_move_at_reports_only() -> None:
    world, clock, charger = by_hand()
    charger.plug()
    charger.start(16)
    told = set()
    for _ in range(120):
        clock.seconds += STEP_SECONDS
        world.advance()
        seen = charger.seen()
        told.add((seen.last_reported, seen.energy_wh, seen.lifetime_wh))
    assert len({last for last, _, _ in told}) == len(told)
    assert 4 <= len(told) <= 6  # 20 minutes at a report every 5
    assert charger.energy_wh > max(energy for _, energy, _ in told)


def test_a_change_of_state_is_reported_at_once() -> None:
    _, clock, charger = by_hand()
    charger.plug()
    charger.start(16)
    clock.seconds += 95.0
    charger.stop()
    assert charger.seen().last_reported == MAY_EVENING + 95
    assert charger.seen().energy_wh == charger.energy_wh > 0


def test_an_offline_charger_stays_as_it_was_last_seen_while_it_goes_on() -> None:
    world, clock, charger = by_hand()
    charger.plug()
    charger.start(16)
    clock.seconds += HOUR
    charger.go_offline()
    frozen = charger.seen()
    assert frozen.charging
    clock.seconds += HOUR
    charger.unplug()
    world.advance()
    assert charger.seen() == frozen
    assert (charger.connected, charger.offline_at) == (False, MAY_EVENING + HOUR)
    assert charger.last_reported == frozen.last_reported
    charger.come_back()
    assert charger.connected
    assert charger.seen().last_reported == MAY_EVENING + 2 * HOUR
    assert charger.seen().lifetime_wh > frozen.lifetime_wh
    assert not charger.seen().plugged_in


def test_a_status_set_by_hand_lasts_until_the_next_event() -> None:
    world, clock, charger = by_hand()
    charger.connector_status = "RESERVED"
    clock.seconds += HOUR
    world.advance()
    charger.report()
    assert charger.seen().connector_status == "RESERVED"
    charger.plug()
    assert charger.connector_status == "PREPARING"


def test_a_charger_driven_by_hand_has_no_life_of_its_own() -> None:
    world, clock, charger = by_hand(dataclasses.replace(CALM, busy=True, fault_every_seconds=HOUR))
    clock.seconds += 10 * DAY
    world.advance()
    assert (charger.plugged_in, charger.faulted, charger.connected) == (False, False, True)


def test_troubles_come_and_go_by_themselves() -> None:
    world, clock = world_of(EVENTFUL)
    seen: set[tuple[bool, bool]] = set()
    for _ in range(3 * 24 * 12):
        clock.seconds += 300
        world.advance()
        seen |= {(c.connected, c.faulted) for c in world.chargers.values()}
    assert seen >= {(True, False), (False, False), (True, True)}
    assert any(c.connected and c.offline_at for c in world.chargers.values())


def statuses_over_three_minutes(
    start_seconds: float, look: Callable[[SimCharger], str]
) -> dict[str, list[str]]:
    world, clock = world_of(dataclasses.replace(demo_world_config(), start_seconds=start_seconds))
    story: dict[str, list[str]] = {serial: [] for serial in world.chargers}
    for _ in range(181):
        world.advance()
        for serial, charger in world.chargers.items():
            story[serial].append(look(charger))
        clock.seconds += 1.0
    return story


@pytest.mark.parametrize("hour_of_day", range(0, 24, 3))
def test_in_the_demo_a_car_comes_charges_and_leaves_within_three_minutes(hour_of_day: int) -> None:
    story = statuses_over_three_minutes(
        MAY_EVENING + hour_of_day * HOUR, lambda charger: charger.seen().connector_status
    )
    assert len(story) == 3
    assert any("CHARGING" in statuses[:60] for statuses in story.values())
    whole_lives = 0
    for statuses in story.values():
        if "AVAILABLE" in statuses:
            after = statuses[statuses.index("AVAILABLE") :]
            charged = after.index("CHARGING") if "CHARGING" in after else len(after)
            whole_lives += "FINISHING" in after[charged:] and "AVAILABLE" in after[charged:]
    assert whole_lives >= 1
