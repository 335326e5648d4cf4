"""Learning scrapers from arrival times: who is seen, how fast, and who is not taken for one."""

import pickle
from collections.abc import Iterable
from random import Random

import pytest

from exporter.scrapes import MAX_SOURCES, ScrapeLearner, Scraper


def beats(
    rng: Random, period: float, *, start: float, end: float, jitter: float = 0.02, source: str = "prometheus"
) -> list[tuple[float, str]]:
    """Arrivals on a fixed grid from `start` to `end`, each early or late by up to `jitter` of the period."""
    count = int((end - start) / period)
    return [(start + n * period + rng.uniform(-jitter, jitter) * period, source) for n in range(1, count)]


def fed(arrivals: Iterable[tuple[float, str]]) -> ScrapeLearner:
    learner = ScrapeLearner()
    for now, source in sorted(arrivals):
        learner.scraped(now, source)
    return learner


def the_one(learner: ScrapeLearner, now: float) -> Scraper:
    (scraper,) = learner.scrapers(now)
    return scraper


def test_nobody_is_a_scraper_at_first() -> None:
    learner = ScrapeLearner()
    assert learner.scrapers(0.0) == ()
    assert learner.period_seconds(0.0) is None


def test_three_even_arrivals_make_a_scraper_and_two_do_not() -> None:
    assert fed([(10.0, ""), (25.0, "")]).scrapers(26.0) == ()
    scraper = the_one(fed([(10.0, ""), (25.0, ""), (40.0, "")]), 41.0)
    assert (scraper.period_seconds, scraper.next_seconds) == (15.0, 55.0)


@pytest.mark.parametrize("period", [0.5, 15.0, 17.0, 60.0, 120.0])
@pytest.mark.parametrize("seed", range(5))
def test_period_and_phase_are_known_after_five_jittered_scrapes(period: float, seed: int) -> None:
    arrivals = beats(Random(seed), period, start=3.0, end=3.0 + 6.5 * period)
    scraper = the_one(fed(arrivals), arrivals[-1][0])
    assert scraper.period_seconds == pytest.approx(period, rel=0.02)
    assert scraper.next_seconds == pytest.approx(3.0 + 6 * period, abs=0.05 * period)


def test_a_long_watched_scraper_is_predicted_better_than_its_jitter() -> None:
    learner = fed(beats(Random(1), 15.0, start=0.0, end=900.0))
    scraper = the_one(learner, 890.0)
    assert scraper.period_seconds == pytest.approx(15.0, rel=0.002)
    assert scraper.next_seconds == pytest.approx(900.0, abs=0.2)
    assert 0.05 < scraper.jitter_seconds < 0.3
    assert learner.period_seconds(890.0) == scraper.period_seconds


def test_a_period_counted_from_the_last_scrape_is_told_from_a_fixed_grid() -> None:
    rng, now, walking = Random(5), 0.0, []
    for _ in range(60):
        now += 15.0 * rng.uniform(0.98, 1.02)
        walking.append((now, ""))
    scraper = the_one(fed(walking), now)
    assert scraper.wander_seconds > 0.05
    assert scraper.next_seconds == pytest.approx(now + 15.0, abs=0.2)
    assert the_one(fed(beats(rng, 15.0, start=0.0, end=900.0)), 890.0).wander_seconds == 0.0


def test_one_missed_scrape_and_one_late_scrape_change_nothing() -> None:
    times = [15.0 * n for n in range(1, 12) if n != 7]
    times[7] += 4.0
    scraper = the_one(fed((now, "") for now in times), 166.0)
    assert (scraper.period_seconds, scraper.next_seconds) == (15.0, 180.0)


def test_the_next_scrape_is_always_ahead_even_when_the_scraper_is_late() -> None:
    learner = fed((15.0 * n, "") for n in range(1, 11))
    assert the_one(learner, 150.1).next_seconds == 165.0
    assert the_one(learner, 165.5).next_seconds == 180.0
    assert the_one(learner, 181.0).next_seconds == 195.0


def test_a_scraper_is_forgotten_after_some_silent_periods() -> None:
    learner = fed((15.0 * n, "") for n in range(1, 11))
    assert len(learner.scrapers(150.0 + 3.2 * 15.0)) == 1
    assert learner.scrapers(150.0 + 5.0 * 15.0) == ()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("before", "after"), [(15, 15), (15, 20), (20, 15), (15, 30), (30, 15), (60, 20), (120, 15), (15, 120)]
)
def test_a_changed_period_or_phase_is_learned_within_five_scrapes(
    before: float, after: float, seed: int
) -> None:
    rng = Random(seed)
    change = 20.0 * before + rng.uniform(0.2, 0.8) * after
    old = beats(rng, before, start=0.0, end=21.5 * before)
    new = beats(rng, after, start=change, end=change + 30.5 * after)
    for known in (6, 30):
        upcoming = the_one(fed(old + new[: known - 1]), new[known - 2][0])
        assert upcoming.period_seconds == pytest.approx(after, rel=0.03)
        assert upcoming.next_seconds == pytest.approx(change + known * after, abs=0.05 * after)


@pytest.mark.parametrize("seed", range(5))
def test_a_period_that_became_a_fraction_of_itself_is_not_taken_for_two_scrapers(seed: int) -> None:
    rng = Random(seed)
    arrivals = beats(rng, 120.0, start=0.0, end=2521.0) + beats(rng, 15.0, start=2400.0, end=3100.0)
    assert the_one(fed(arrivals), 3085.0).period_seconds == pytest.approx(15.0, rel=0.01)


def test_a_restarted_scraper_is_known_again_after_two_scrapes() -> None:
    restarted = [15.0 * n for n in range(1, 11)] + [172.0, 187.0]
    assert the_one(fed((now, "") for now in restarted), 187.0).next_seconds == pytest.approx(202.0)


def test_jitter_around_a_fixed_grid_is_averaged_out() -> None:
    rng, learner, errors = Random(8), ScrapeLearner(), []
    for now, source in beats(rng, 15.0, start=0.0, end=1500.0):
        learner.scraped(now, source)
        errors += [abs((one.next_seconds + 7.5) % 15.0 - 7.5) for one in learner.scrapers(now) if now > 300.0]
    assert sum(errors) / len(errors) < 0.1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("source", ["prometheus", "another"])
@pytest.mark.parametrize(
    ("period", "phase"), [(15.0, 3.0), (15.0, 9.0), (20.0, 5.0), (60.0, 5.0), (30.0, 10.0)]
)
def test_an_added_scraper_is_learned_within_five_scrapes_even_from_the_same_address(
    period: float, phase: float, source: str, seed: int
) -> None:
    rng = Random(seed)
    arrivals = beats(rng, 15.0, start=0.0, end=300.0 + phase + 6.1 * period)
    arrivals += beats(rng, period, start=300.0 + phase, end=300.0 + phase + 6.1 * period, source=source)
    now = max(arrivals)[0]
    learned = sorted(one.period_seconds for one in fed(arrivals).scrapers(now))
    assert learned == pytest.approx([15.0, period], rel=0.03)


@pytest.mark.parametrize("phase", [2.0, 4.0, 6.0, 9.0, 11.0, 13.0])
def test_a_pair_behind_one_address_is_told_apart_from_the_start(phase: float) -> None:
    rng = Random(4)
    arrivals = beats(rng, 15.0, start=0.0, end=90.0, jitter=0.01)
    arrivals += beats(rng, 15.0, start=phase, end=91.0 + phase, jitter=0.01)
    now = max(arrivals)[0]
    learned = fed(arrivals).scrapers(now)
    assert [one.period_seconds for one in learned] == pytest.approx([15.0, 15.0], rel=0.02)
    assert sorted((one.next_seconds + 0.5) % 15.0 for one in learned) == pytest.approx(
        [0.5, phase + 0.5], abs=0.4
    )


def test_of_a_pair_behind_one_address_the_one_that_goes_is_forgotten() -> None:
    rng = Random(9)
    stays = beats(rng, 15.0, start=0.0, end=600.0)
    goes = beats(rng, 15.0, start=5.0, end=300.0)
    assert len(fed([*(one for one in stays if one[0] < 300.0), *goes]).scrapers(300.0)) == 2
    assert the_one(fed([*stays, *goes]), 590.0).next_seconds == pytest.approx(600.0, abs=0.5)


def test_a_few_irregular_requests_are_never_a_scraper() -> None:
    learner = ScrapeLearner()
    for now in (3.0, 4.5, 19.0, 61.0, 70.0, 300.0, 900.0, 911.0, 914.0):
        learner.scraped(now, "curl")
        assert learner.scrapers(now) == ()


def test_requests_as_fast_as_they_can_be_made_are_no_scraper() -> None:
    assert fed((0.005 * n, "ab") for n in range(200)).scrapers(1.0) == ()


@pytest.mark.parametrize("source", ["prometheus", "curl"])
def test_irregular_requests_hardly_ever_disturb_what_is_known_of_a_scraper(source: str) -> None:
    wrong = total = 0
    for seed in range(10):
        rng, learner = Random(seed), ScrapeLearner()
        arrivals = beats(rng, 15.0, start=0.0, end=900.0)
        arrivals += [(rng.uniform(100.0, 900.0), source) for _ in range(25)]
        for now, who in sorted(arrivals):
            learner.scraped(now, who)
            seen = learner.scrapers(now)
            total += now > 100.0
            wrong += now > 100.0 and [round(one.period_seconds) for one in seen] != [15]
    assert wrong < 0.05 * total


def test_a_crowd_of_callers_does_not_push_out_a_scraper() -> None:
    arrivals = beats(Random(2), 120.0, start=0.0, end=1800.0)
    arrivals += [(700.0 + 1.3 * n, f"curl {n}") for n in range(800)]
    assert the_one(fed(arrivals), 1690.0).period_seconds == pytest.approx(120.0, rel=0.01)


def test_memory_is_bounded_however_many_callers_come() -> None:
    few, many = (
        len(pickle.dumps(fed((0.7 * n + (n * n) % 3, f"curl {n % callers:6}") for n in range(6000))))
        for callers in (MAX_SOURCES, 6000)
    )
    assert many <= few
