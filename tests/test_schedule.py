"""Planning polls: simulated scrapers and an answering cloud for the ages, properties for the bounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from math import ceil
from random import Random
from statistics import median, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.schedule import (
    AnswerTime,
    Backoff,
    RequestWindow,
    SiteLoad,
    backoff_after,
    plan_poll,
    stretched_intervals,
)
from exporter.scrapes import ScrapeLearner, Scraper

Arrival = tuple[float, str]


@dataclass(frozen=True)
class Run:
    """What a simulation saw: (time, age of the newest answer) per scrape, and the start of each poll."""

    ages: list[tuple[float, float]]
    polls: list[float]

    def since(self, seconds: float) -> list[float]:
        return [age for now, age in self.ages if now >= seconds]


def simulated(
    arrivals: Sequence[Arrival],
    *,
    interval: float = 15.0,
    answer_seconds: Callable[[], float] = lambda: 0.5,
    wall_offset: Callable[[float], float] = lambda _now: 7.0,
    measured: str | None = None,
    replanned: bool = True,
) -> Run:
    """Plays scrapes against polls that start a little late, as timers do.

    Plans are made after each poll and, if `replanned`, after each scrape. Ages are those at scrapes of the
    source `measured`, or at all.
    """
    learner, answers, rng = ScrapeLearner(), AnswerTime(), Random(0)
    polls: list[float] = []
    landings = [-1000.0]
    ages: list[tuple[float, float]] = []
    upcoming = 0.0

    def plan(now: float) -> float:
        return plan_poll(
            now=now,
            last_poll_seconds=polls[-1],
            interval_seconds=interval,
            lead_seconds=answers.lead_seconds(),
            scrapers=learner.scrapers(now),
            align="scrape",
            wall_offset_seconds=wall_offset(now),
        )

    for now, source in sorted(arrivals):
        while upcoming <= now:
            started, took = upcoming + rng.uniform(0.0, 0.002), answer_seconds()
            polls.append(started)
            landings.append(started + took)
            answers.observe(took)
            upcoming = plan(started)
        if measured in (None, source):
            ages.append((now, now - max(landed for landed in landings[-3:] if landed <= now)))
        learner.scraped(now, source)
        if replanned:
            upcoming = plan(now)
    assert all(later - earlier >= interval for earlier, later in pairwise(polls))
    return Run(ages, polls)


def between(rng: Random, least: float, most: float) -> Callable[[], float]:
    return lambda: rng.uniform(least, most)


def on_a_grid(
    rng: Random, period: float, *, start: float, end: float, jitter: float = 0.02, source: str = "prometheus"
) -> list[Arrival]:
    count = int((end - start) / period)
    return [(start + n * period + rng.uniform(-jitter, jitter) * period, source) for n in range(1, count)]


def from_the_last(
    rng: Random, period: float, *, start: float, end: float, jitter: float = 0.02, source: str = "prometheus"
) -> list[Arrival]:
    arrivals, now = [], start
    while (now := now + period * rng.uniform(1 - jitter, 1 + jitter)) < end:
        arrivals.append((now, source))
    return arrivals


def assert_fresh(ages: Sequence[float], interval: float) -> None:
    """The quality asked for: the median age below 10 % of the interval, the 95th percentile below 20 %."""
    assert median(ages) < 0.10 * interval
    assert quantiles(ages, n=20)[-1] < 0.20 * interval


@pytest.mark.parametrize("scrapes", [on_a_grid, from_the_last])
@pytest.mark.parametrize("answer", [0.1, 0.5, 1.5])
@pytest.mark.parametrize(
    ("interval", "period"),
    [(15, 15), (15, 15.03), (15, 17), (15, 30), (15, 60), (15, 120), (30, 30), (30, 60), (30, 120), (60, 60)],
)
def test_answers_are_fresh_at_jittered_scrapes_from_the_sixth_on(
    interval: float, period: float, answer: float, scrapes: Callable[..., list[Arrival]]
) -> None:
    ages = []
    for seed in range(3):
        rng = Random(seed)
        arrivals = scrapes(rng, period, start=rng.uniform(0.0, period), end=100 * period)
        run = simulated(arrivals, interval=interval, answer_seconds=between(rng, 0.8 * answer, 1.2 * answer))
        ages += run.since(arrivals[5][0])
    assert_fresh(ages, max(interval, period))


def test_answers_that_take_a_tenth_of_a_second_or_one_and_a_half_are_still_fresh() -> None:
    ages = []
    for seed in range(4):
        rng = Random(seed)
        arrivals = on_a_grid(rng, 15.0, start=2.0, end=1800.0)
        ages += simulated(arrivals, answer_seconds=between(rng, 0.1, 1.5)).since(arrivals[5][0])
    assert_fresh(ages, 15.0)


def test_a_real_prometheus_and_a_plan_made_only_after_polls_give_steady_freshness() -> None:
    arrivals = on_a_grid(Random(1), 15.0, start=2.0, end=7200.0, jitter=0.0002)
    ages = simulated(arrivals, replanned=False).since(arrivals[5][0])
    assert max(ages[:100]) < 1.5
    assert quantiles(ages, n=100)[-1] < 1.5


@pytest.mark.parametrize("period", [14.98, 14.995, 15.005])
def test_a_period_hardly_shorter_than_the_interval_costs_single_scrapes_not_every_second(
    period: float,
) -> None:
    arrivals = on_a_grid(Random(1), period, start=2.0, end=6 * 3600.0, jitter=0.001)
    run = simulated(arrivals)
    assert_fresh(run.since(100.0), 15.0)
    assert sum(age > 3.0 for age in run.since(100.0)) < 0.027 * len(run.ages)
    assert len(run.polls) > 0.95 * len(run.ages)


@pytest.mark.parametrize(("period", "every"), [(5.0, 3), (7.0, 3), (10.0, 2), (15.0, 1), (8.0, 2), (7.49, 2)])
def test_scrapes_closer_than_the_interval_get_every_nth_one_fresh(period: float, every: int) -> None:
    arrivals = on_a_grid(Random(3), period, start=2.0, end=3000.0, jitter=0.001)
    run = simulated(arrivals)
    assert len(run.polls) == pytest.approx(len(arrivals) / every, rel=0.04)
    fresh = sum(age < 1.5 for age in run.since(100.0))
    assert fresh == pytest.approx(len(run.since(100.0)) / every, rel=0.06)


@pytest.mark.parametrize(("period", "polls"), [(31.0, 2), (60.0, 4), (50.0, 3), (120.0, 8), (29.0, 1)])
def test_scrapes_further_apart_have_polls_spread_evenly_between_them(period: float, polls: int) -> None:
    arrivals = on_a_grid(Random(3), period, start=2.0, end=2.0 + 60 * period, jitter=0.0)
    run = simulated(arrivals)
    gaps = [later - earlier for earlier, later in pairwise(run.polls) if earlier > 10 * period]
    assert median(gaps) == pytest.approx(period / polls, rel=0.01)
    assert quantiles(gaps, n=20)[-1] < 1.05 * period / polls
    assert max(run.since(10 * period)) < 0.03 * max(period, 30.0)


def test_a_short_stall_of_the_scraper_neither_bunches_nor_stops_the_polls() -> None:
    arrivals = [one for one in on_a_grid(Random(3), 15.0, start=2.0, end=3000.0) if not 900 < one[0] < 1500]
    run = simulated(arrivals, replanned=False)
    gaps = [later - earlier for earlier, later in pairwise(run.polls) if earlier > 60.0]
    assert max(gaps) < 32.0
    assert median(gaps) == pytest.approx(15.0, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_missed_scrapes_leave_the_others_fresh(seed: int) -> None:
    rng = Random(seed)
    arrivals = on_a_grid(rng, 15.0, start=2.0, end=1800.0)
    kept = [one for index, one in enumerate(arrivals) if index < 5 or rng.random() > 0.15]
    assert_fresh(simulated(kept).since(arrivals[5][0]), 15.0)


@pytest.mark.parametrize("source", ["prometheus", "curl"])
def test_somebodys_curl_leaves_the_scrapes_of_prometheus_fresh(source: str) -> None:
    ages = []
    for seed in range(6):
        rng = Random(seed)
        regular = on_a_grid(rng, 15.0, start=2.0, end=1800.0)
        curls = [(rng.uniform(0.0, 1800.0), source) for _ in range(40)]
        when = {now for now, _ in regular}
        run = simulated(regular + curls)
        ages += [age for now, age in run.ages if now in when and now > regular[5][0]]
    assert_fresh(ages, 15.0)


@pytest.mark.parametrize(
    ("before", "after"), [(15, 15), (15, 20), (20, 15), (15, 30), (30, 15), (60, 20), (120, 15), (15, 120)]
)
def test_after_a_change_of_period_or_phase_the_sixth_scrape_is_fresh_again(
    before: float, after: float
) -> None:
    ages = []
    for seed in range(6):
        rng = Random(seed)
        change = 20.0 * before + rng.uniform(0.2, 0.8) * after
        then = on_a_grid(rng, after, start=change, end=change + 30 * after)
        run = simulated(on_a_grid(rng, before, start=0.0, end=21.5 * before) + then)
        ages += run.since(then[5][0])
    assert_fresh(ages, max(15.0, after))


@cache
def least_older_age(interval: float, period: float, phase: float) -> float:
    """By trying every set of whole seconds: the least that the oldest age at any scrape of a cycle can be.

    With whole seconds for everything nothing is lost, as the best polls end at a scrape or one interval
    before another poll.
    """
    cycle = period * ceil(interval / period)
    scrapes = [n * period + offset for n in range(int(cycle / period)) for offset in (0.0, phase)]
    best = cycle
    for polls in combinations(range(int(cycle)), int(cycle // interval)):
        if all(b - a >= interval for a, b in pairwise([*polls, polls[0] + cycle])):
            best = min(best, max(min((one - poll) % cycle for poll in polls) for one in scrapes))
    return best


def oldest_per_cycle(run: Run, cycle: float, since: float) -> list[float]:
    cycles: dict[int, list[float]] = {}
    for now, age in run.ages:
        if now > since:
            cycles.setdefault(int((now - 0.5) / cycle), []).append(age)
    return [max(ages) for ages in list(cycles.values())[1:-1]]


@pytest.mark.parametrize(("second", "jitter"), [("another", 0.02), ("prometheus", 0.001)])
@pytest.mark.parametrize(
    ("interval", "period"), [(15, 15), (15, 20), (15, 30), (15, 40), (30, 30), (30, 60), (30, 15), (15, 45)]
)
def test_with_two_scrapers_of_any_phase_the_older_age_is_nearly_the_best_possible(
    interval: float, period: float, second: str, jitter: float
) -> None:
    cycle = period * ceil(interval / period)
    for eighth in (1, 2, 4, 5, 7):
        phase = round(period * eighth / 8)
        rng = Random(eighth)
        arrivals = on_a_grid(rng, period, start=1.0 - cycle, end=40 * cycle, jitter=jitter)
        arrivals += on_a_grid(
            rng, period, start=1.0 - cycle + phase, end=40 * cycle + phase, jitter=jitter, source=second
        )
        run = simulated([one for one in arrivals if one[0] > 0], interval=interval)
        oldest = oldest_per_cycle(run, cycle, 10 * cycle)
        assert median(oldest) <= least_older_age(interval, period, phase) + 0.1 * interval


def test_when_one_of_two_scrapers_goes_the_other_is_served_alone() -> None:
    ages = []
    for phase in (2.0, 5.0, 9.0, 13.0):
        rng = Random(2)
        stays = on_a_grid(rng, 15.0, start=2.0, end=1800.0)
        goes = on_a_grid(rng, 15.0, start=2.0 + phase, end=600.0, source="another")
        ages += simulated(stays + goes).since(690.0)
    assert_fresh(ages, 15.0)


def test_scrapers_of_different_periods_are_both_kept_from_the_oldest_answers() -> None:
    for phase in (1, 5, 9, 13):
        rng = Random(phase)
        often = on_a_grid(rng, 15.0, start=2.0, end=2400.0, jitter=0.002)
        seldom = on_a_grid(rng, 60.0, start=2.0 + phase, end=2400.0, jitter=0.002, source="another")
        both = simulated(often + seldom).since(600.0)
        assert quantiles(both, n=20)[-1] < min(phase, 15 - phase) + 1.5


def test_many_sites_with_places_in_a_queue_are_all_fresh() -> None:
    for place in range(0, 12, 2):
        arrivals = on_a_grid(Random(place), 30.0, start=2.0, end=2400.0, jitter=0.002)
        run = simulated(
            arrivals, interval=30.0, answer_seconds=between(Random(1), 0.7 * place + 0.2, 0.7 * place + 0.4)
        )
        assert_fresh(run.since(arrivals[5][0]), 30.0)


def test_steps_of_the_wall_clock_do_not_move_polls_that_follow_scrapes() -> None:
    arrivals = on_a_grid(Random(3), 15.0, start=2.0, end=1800.0)
    stepped = simulated(arrivals, wall_offset=lambda now: 1.7e9 + 3600.0 * (now // 300.0))
    assert_fresh(stepped.since(arrivals[5][0]), 15.0)


def planned(
    now: float,
    last: float | None,
    *,
    interval: float = 15.0,
    lead: float = 0.5,
    scrapers: Sequence[Scraper] = (),
    align: str = "scrape",
    wall_offset: float = 0.0,
) -> float:
    return plan_poll(
        now=now,
        last_poll_seconds=last,
        interval_seconds=interval,
        lead_seconds=lead,
        scrapers=scrapers,
        align=align,
        wall_offset_seconds=wall_offset,
    )


@pytest.mark.parametrize("align", ["scrape", "clock", "none"])
def test_the_first_poll_starts_at_once(align: str) -> None:
    assert planned(3.0, None, align=align, scrapers=[Scraper(15.0, 9.0, 0.1)]) == 3.0


@pytest.mark.parametrize("align", ["scrape", "clock"])
def test_without_scrapers_polls_start_on_wall_clock_multiples_of_the_interval(align: str) -> None:
    assert planned(3.0, 1.0, align=align, wall_offset=1000.0) == 20.0
    assert planned(20.002, 20.001, align=align, wall_offset=1000.0) == pytest.approx(35.001)
    assert planned(20.9, 20.8, align=align, wall_offset=1000.0) == 50.0


def test_clock_alignment_does_not_look_at_scrapers() -> None:
    assert planned(1.0, 0.0, align="clock", scrapers=[Scraper(15.0, 7.0, 0.1)]) == 15.0


def test_without_alignment_polls_follow_each_other_at_the_interval() -> None:
    assert planned(3.0, 1.0, align="none", scrapers=[Scraper(15.0, 7.0, 0.1)]) == 16.0
    assert planned(40.0, 1.0, align="none") == 40.0


def test_a_step_of_the_wall_clock_neither_bunches_nor_stalls_polls_on_the_clock() -> None:
    last = 0.0
    for step in (0.0, 3600.1, -86400.7, 7.5, 1e9, -1e9):
        upcoming = planned(last, last, wall_offset=step)
        assert 15.0 <= upcoming - last < 30.0
        last = upcoming


scraper_strategy = st.builds(
    Scraper,
    period_seconds=st.floats(0.5, 600.0),
    next_seconds=st.just(0.0),
    jitter_seconds=st.floats(0.0, 1.0),
    wander_seconds=st.floats(0.0, 1.0),
)


@given(
    now=st.floats(0.0, 1e6),
    since=st.floats(0.0, 1000.0),
    interval=st.floats(0.1, 600.0),
    lead=st.floats(0.0, 30.0),
    kinds=st.lists(st.tuples(scraper_strategy, st.floats(0.001, 1.0)), max_size=4),
    align=st.sampled_from(["scrape", "clock", "none"]),
    wall_offset=st.floats(-1e9, 1e9),
)
def test_a_poll_is_never_early_never_past_and_never_far(
    now: float,
    since: float,
    interval: float,
    lead: float,
    kinds: list[tuple[Scraper, float]],
    align: str,
    wall_offset: float,
) -> None:
    scrapers = [
        Scraper(one.period_seconds, now + share * one.period_seconds, one.jitter_seconds, one.wander_seconds)
        for one, share in kinds
    ]
    last = now - since
    start = planned(
        now, last, interval=interval, lead=lead, scrapers=scrapers, align=align, wall_offset=wall_offset
    )
    earliest = max(now, last + interval)
    longest = max((one.period_seconds for one in scrapers), default=0.0)
    assert earliest <= start <= earliest + max(2 * interval, longest) + 1.0


def test_the_lead_is_the_assumed_time_until_an_answer_was_measured() -> None:
    answers = AnswerTime(2.0)
    assert answers.lead_seconds() == 2.0
    answers.observe(0.3)
    assert answers.lead_seconds() == 0.3


def test_one_slow_answer_does_not_lengthen_the_lead_but_slower_answers_do() -> None:
    answers = AnswerTime()
    for seconds in (0.3, 0.4, 0.3, 0.4, 9.0):
        answers.observe(seconds)
    assert answers.lead_seconds() == 0.4
    for _ in range(20):
        answers.observe(1.2)
    assert answers.lead_seconds() == 1.2


def failed(
    times: int, *, rate_limited: bool = True, jitter: float = 0.999, retry_after: float | None = None
) -> Backoff:
    backoff = Backoff()
    for _ in range(times):
        backoff = backoff_after(
            backoff,
            now=0.0,
            interval_seconds=30.0,
            rate_limited=rate_limited,
            retry_after_seconds=retry_after,
            random=lambda: jitter,
        )
    return backoff


def test_rate_limits_double_the_ceiling_from_one_interval_to_fifteen_minutes() -> None:
    waits = [failed(times).until_seconds for times in range(1, 8)]
    assert waits == pytest.approx([30, 60, 120, 240, 480, 900, 900], rel=0.002)
    assert failed(5000).until_seconds == pytest.approx(900, rel=0.002)


def test_outages_back_off_more_gently_and_up_to_five_minutes() -> None:
    waits = [failed(times, rate_limited=False).until_seconds for times in (1, 2, 3, 4, 20)]
    assert waits == pytest.approx([30, 45, 67.5, 101.25, 300], rel=0.002)


def test_the_whole_pause_is_jittered_but_never_shorter_than_an_interval() -> None:
    assert failed(6, jitter=0.5).until_seconds == 450.0
    assert failed(6, jitter=0.0).until_seconds == 30.0


def test_retry_after_is_honoured_when_longer_and_capped_at_an_hour() -> None:
    assert failed(1, retry_after=120.0).until_seconds == 120.0
    assert failed(6, retry_after=120.0).until_seconds == pytest.approx(900, rel=0.002)
    assert failed(1, retry_after=1e9).until_seconds == 3600.0
    assert failed(1, rate_limited=False, retry_after=200.0).until_seconds == 200.0


def test_what_asking_again_will_not_change_waits_a_quarter_of_an_hour() -> None:
    once = backoff_after(
        Backoff(),
        now=100.0,
        interval_seconds=30.0,
        rate_limited=False,
        retry_after_seconds=None,
        random=lambda: 0.0,
        rejected=True,
    )
    assert once == Backoff(1, 1000.0)


@given(
    failures=st.integers(0, 10_000),
    now=st.floats(0.0, 1e6),
    interval=st.floats(0.1, 7200.0),
    rate_limited=st.booleans(),
    rejected=st.booleans(),
    retry_after=st.none() | st.floats(0.0, 1e12),
    jitter=st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_pause_lies_between_one_interval_and_one_hour(
    failures: int,
    now: float,
    interval: float,
    rate_limited: bool,
    rejected: bool,
    retry_after: float | None,
    jitter: float,
) -> None:
    after = backoff_after(
        Backoff(failures, 0.0),
        now=now,
        interval_seconds=interval,
        rate_limited=rate_limited,
        retry_after_seconds=retry_after,
        random=lambda: jitter,
        rejected=rejected,
    )
    assert after.failures == failures + 1
    assert now + interval <= after.until_seconds <= now + max(interval, 3600.0)
    assert after.until_seconds >= now + min(retry_after or 0.0, 3600.0)


def test_intervals_that_fit_the_budget_stay_as_they_are() -> None:
    loads = [SiteLoad(30.0, True, 24.0), SiteLoad(60.0, False, 24.0)]
    assert stretched_intervals(loads, 600.0) == (30.0, 60.0)


def test_idle_sites_give_way_before_active_ones() -> None:
    loads = [SiteLoad(15.0, True, 0.0), SiteLoad(15.0, False, 0.0), SiteLoad(15.0, False, 0.0)]
    assert stretched_intervals(loads, 480.0) == (15.0, 30.0, 30.0)


def test_when_idle_sites_are_stretched_four_times_all_are_stretched_evenly() -> None:
    loads = [SiteLoad(15.0, True, 60.0), SiteLoad(15.0, False, 0.0)]
    assert stretched_intervals(loads, 210.0) == (30.0, 120.0)
    assert stretched_intervals(loads, 310.0) == (18.0, 72.0)


def test_slower_requests_never_starve_status() -> None:
    assert stretched_intervals([SiteLoad(15.0, True, 5000.0)], 400.0) == (36.0,)


load_strategy = st.builds(SiteLoad, st.floats(0.1, 3600.0), st.booleans(), st.floats(0.0, 10.0))


@given(loads=st.lists(load_strategy, max_size=30), budget=st.floats(500.0, 1e5))
def test_stretched_intervals_fit_the_budget_and_are_never_shorter_than_wanted(
    loads: list[SiteLoad], budget: float
) -> None:
    intervals = stretched_intervals(loads, budget)
    wanted = [load.interval_seconds for load in loads]
    requests = sum(3600.0 / one for one in intervals) + sum(one.other_requests_per_hour for one in loads)
    assert all(one >= least for one, least in zip(intervals, wanted, strict=True))
    assert requests <= budget * (1 + 1e-9)
    free = sum(3600.0 / one for one in wanted) + sum(one.other_requests_per_hour for one in loads) <= budget
    assert not free or list(intervals) == wanted


def test_an_hour_later_a_request_counts_no_more() -> None:
    window = RequestWindow()
    for now in (0.0, 10.0, 20.0):
        window.note(now)
    assert (window.count(20.0), window.free_at(20.0, 3), window.free_at(20.0, 2)) == (3, 3600.0, 3610.0)
    assert (window.count(3600.0), window.free_at(3600.0, 3)) == (2, 3600.0)


@given(waits=st.lists(st.floats(0.0, 1000.0), max_size=60), budget=st.integers(1, 10))
def test_requests_that_wait_until_free_never_exceed_the_budget_in_any_hour(
    waits: list[float], budget: int
) -> None:
    window, now, starts = RequestWindow(), 0.0, []
    for wait in waits:
        now = window.free_at(now + wait, budget)
        window.note(now)
        starts.append(now)
        assert window.count(now) <= budget
    assert all(later >= earlier + 3600.0 for earlier, later in zip(starts, starts[budget:], strict=False))
