"""What an account will ask an hour, against the schedule that really slows its sites."""

import pytest

from exporter.asking import PollSettings
from exporter.forecast import forecast
from exporter.schedule import HOUR_SECONDS, RequestWindow, SiteLoad, stretched_intervals


def test_a_home_fits_its_budget() -> None:
    plan = forecast([1], PollSettings())
    assert plan.fits
    assert (plan.sites, plan.chargers) == (1, 1)
    assert plan.wanted_idle_per_hour == 60 + 12 + 12
    assert plan.wanted_busy_per_hour == 120 + 12 + 12
    assert (plan.idle_interval_seconds, plan.busy_interval_seconds) == (60, 30)
    assert plan.bursts_fitting is None


def test_a_fleet_is_slowed_until_it_fits() -> None:
    plan = forecast([2] * 20, PollSettings())
    assert not plan.fits
    assert plan.wanted_busy_per_hour == 20 * (120 + 12 + 24)
    assert plan.slow_per_hour == 20 * (12 + 24)
    assert plan.busy_interval_seconds > 30
    assert plan.idle_interval_seconds > 60


def test_the_forecast_is_what_the_schedule_does() -> None:
    settings = PollSettings(max_requests_per_hour=300)
    plan = forecast([1, 3], settings)
    loads = [SiteLoad(30.0, True, 12.0 + chargers * 12.0) for chargers in (1, 3)]
    assert plan.busy_interval_seconds == max(stretched_intervals(loads, 300))
    status = 2 * HOUR_SECONDS / plan.busy_interval_seconds
    assert status + plan.slow_per_hour == pytest.approx(300)


def test_a_slowed_account_asks_no_more_than_its_budget_in_an_hour() -> None:
    settings = PollSettings(max_requests_per_hour=200)
    plan = forecast([1, 1], settings)
    window = RequestWindow()
    for _ in range(2):
        now = 0.0
        while now < HOUR_SECONDS:
            window.note(now)
            now += plan.busy_interval_seconds
    assert window.count(HOUR_SECONDS - 1) + plan.slow_per_hour <= 202


@pytest.mark.parametrize(
    ("live_stream", "budget", "fitting"),
    [("never", 600, None), ("on_command", 600, None), ("on_change", 600, 1), ("while_charging", 2000, 3)],
)
def test_live_streams_have_to_fit_as_well(live_stream: str, budget: int, fitting: int | None) -> None:
    settings = PollSettings(max_requests_per_hour=budget, live_stream=live_stream)
    assert forecast([1, 1, 1], settings).bursts_fitting == fitting


def test_an_account_without_sites_asks_nothing() -> None:
    plan = forecast([], PollSettings())
    assert plan.wanted_busy_per_hour == 0
    assert plan.fits
