"""When to ask the cloud: aligned to the scrapers, within the budget, after a pause when it fails.

Pure: every clock is an argument. Times are seconds of one monotonic clock; `wall_offset_seconds` added to
such a time gives the wall clock.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil, floor, inf

from exporter.scrapes import Scraper

HOUR_SECONDS = 3600.0
MOST_IDLE_STRETCH = 4.0
LONGEST_BURST_SECONDS = 900.0
SHORTEST_BURST_PERIOD_SECONDS = 60.0

# Shares of the interval. CLOCK_SLIP: a poll this late for its wall clock multiple still belongs to it.
# SLIP_TOLERANCE: whole scrape periods this close to whole intervals count as equal to them.
CLOCK_SLIP = 0.05
SLIP_TOLERANCE = 0.05
MOST_MARGIN = 0.11
LEAST_JITTER = 0.008

# Chosen by simulating jittered scrapers, see the tests: multiples of the jitter by which a scrape may come
# early, of the wander by which a poll may be late; cycles a margin should last when each loses some of it.
EARLY_JITTERS = 3.2
LATE_WANDERS = 3.8
SLIP_CYCLES = 40

# With several scrapers: the most room before each, as it makes the answer older for the others; how far to
# look ahead; starts that are not worth telling apart.
SHARED_MARGIN = 0.07
HORIZON_INTERVALS = 16
MAX_DEMANDS = 40
SAME_START = 0.02


def plan_poll(
    *,
    now: float,
    last_poll_seconds: float | None,
    interval_seconds: float,
    lead_seconds: float,
    scrapers: Sequence[Scraper],
    align: str,
    wall_offset_seconds: float,
) -> float:
    """When to start the next status request, on the monotonic clock; never before `now`.

    `lead_seconds` is how long before a scrape a request has to start so that its answer is there in time.
    `align` is "scrape", "clock" or "none". Two polls are never closer than the interval. When that makes the
    poll for a scrape start a little late, the margin before the scrape is used up first, over many scrapes;
    then one scrape goes without a fresh answer and the next gets the whole margin again.
    """
    if last_poll_seconds is None:
        return now
    earliest = max(now, last_poll_seconds + interval_seconds)
    if align == "none":
        return earliest
    if align == "clock" or not scrapers:
        return _on_the_clock(earliest, interval_seconds, wall_offset_seconds)
    if len(scrapers) > 1:
        chosen = _for_several(earliest, interval_seconds, lead_seconds, scrapers)
        if chosen is not None:
            return chosen
    soonest = min(scrapers, key=lambda one: one.next_seconds)
    return _for_one(last_poll_seconds, earliest, interval_seconds, lead_seconds, soonest)


def _on_the_clock(earliest: float, interval: float, wall_offset: float) -> float:
    wall = earliest + wall_offset
    multiple = ceil(wall / interval - CLOCK_SLIP) * interval
    return max(earliest, multiple - wall_offset)


@dataclass(frozen=True, slots=True)
class _Margin:
    """How long before a scrape the answer should be there.

    `best` is aimed at; below `safe` a poll on the way is left out; below `least` the scrape is given up.
    """

    best_seconds: float
    safe_seconds: float
    least_seconds: float


def _margin(scraper: Scraper, interval: float) -> _Margin:
    """Room for scrapes that come early, and for polls that the interval makes late.

    Where whole periods hardly differ from whole intervals, each poll may have to start a bit later than the
    one before, until a poll or a scrape has to be left out. The more room, the rarer that is.
    """
    period = scraper.period_seconds
    jitter = max(scraper.jitter_seconds, LEAST_JITTER * interval)
    room = EARLY_JITTERS * jitter
    spare = round(interval / period) * period - interval
    if period > interval:
        spare = period - round(period / interval) * interval
    if abs(spare) < SLIP_TOLERANCE * interval:
        late = max(
            LATE_WANDERS * max(scraper.wander_seconds, jitter / 2),
            SLIP_CYCLES * (-spare - scraper.wander_seconds / 8),
        )
        room = max(room, min(room + late, MOST_MARGIN * interval))
    return _Margin(room, 2 * jitter, jitter / 2)


def _for_one(last_poll: float, earliest: float, interval: float, lead: float, scraper: Scraper) -> float:
    """Before the first scrape that can be reached; polls on the way there are spread evenly."""
    margin = _margin(scraper, interval)
    first_start = scraper.next_seconds - lead
    skipped = max(0, ceil((earliest + margin.least_seconds - first_start) / scraper.period_seconds))
    start = first_start + skipped * scraper.period_seconds
    on_the_way = max(0, floor((start - margin.safe_seconds - earliest) / interval))
    target = max(start - margin.best_seconds, earliest + on_the_way * interval)
    return max(earliest, last_poll + (target - last_poll) / (on_the_way + 1))


@dataclass(frozen=True, slots=True)
class _Demand:
    """One coming scrape as seen by the request for it: the start aimed at, the latest, the one of age 0."""

    best_seconds: float
    latest_seconds: float
    ideal_seconds: float
    weight: float


@dataclass(frozen=True, slots=True)
class _Path:
    """A series of polls: its last start, what its answers' ages cost so far, its first start."""

    start_seconds: float
    cost: float
    first_seconds: float


class _AgeCost:
    """Sum of squared ages at the scrapes that are served by one poll."""

    def __init__(self, demands: Sequence[_Demand]) -> None:
        self._latest = [one.latest_seconds for one in demands]
        self._weight, self._linear, self._square = (
            list(accumulate((one.weight * one.ideal_seconds**power for one in demands), initial=0.0))
            for power in range(3)
        )

    def between(self, start: float, following: float) -> float:
        """The cost of the scrapes that see the poll at `start` because the `following` one comes too late."""
        a, b = bisect_left(self._latest, start), bisect_left(self._latest, following)
        weight, linear, square = (sums[b] - sums[a] for sums in (self._weight, self._linear, self._square))
        return square - 2 * start * linear + start * start * weight


def _for_several(earliest: float, interval: float, lead: float, scrapers: Sequence[Scraper]) -> float | None:
    """The first poll of the series whose answers are youngest over the next scrapes of everybody.

    Any series can be pushed later, poll by poll, without an answer getting older, until each poll lands just
    before a scrape or starts one interval before the next poll. Only such starts are candidates, and going
    through them once in order finds the best series. In it, no gap has room for another poll.
    """
    demands = _demands(earliest, interval, lead, scrapers)
    cost = _AgeCost(demands)
    paths = [_Path(-interval, 0.0, 0.0)]
    oldest = 0
    for start, slack in _candidates(demands, interval):
        while oldest < len(paths) and paths[oldest].start_seconds + 2 * interval <= start:
            oldest += 1
        before = (path for path in paths[oldest:] if path.start_seconds + interval <= start + slack)
        options = [_extended(path, start, interval, cost) for path in before]
        if options:
            paths.append(min(options, key=lambda path: path.cost))
    if len(paths) == 1:
        return None
    chosen = min(paths[1:], key=lambda path: path.cost + cost.between(path.start_seconds, inf))
    return earliest + chosen.first_seconds


def _extended(path: _Path, start: float, interval: float, cost: _AgeCost) -> _Path:
    reached = max(start, path.start_seconds + interval)
    first = path.first_seconds if path.start_seconds >= 0 else reached
    return _Path(reached, path.cost + cost.between(path.start_seconds, reached), first)


def _demands(earliest: float, interval: float, lead: float, scrapers: Sequence[Scraper]) -> list[_Demand]:
    """The scrapes of the next while, in order, relative to the earliest start."""
    longest = max(scraper.period_seconds for scraper in scrapers)
    horizon = min(max(HORIZON_INTERVALS * interval, 3 * longest), 2 * HORIZON_INTERVALS * interval)
    horizon = min(horizon, MAX_DEMANDS / sum(1 / scraper.period_seconds for scraper in scrapers))
    demands: list[_Demand] = []
    for scraper in scrapers:
        margin = _margin(scraper, interval)
        room = min(margin.best_seconds, max(margin.safe_seconds, SHARED_MARGIN * interval))
        period = scraper.period_seconds
        ideal = scraper.next_seconds - lead - earliest
        ideal += max(0, ceil((margin.least_seconds - ideal) / period)) * period
        while ideal - margin.least_seconds < horizon:
            best, latest = ideal - room, ideal - margin.least_seconds
            demands.append(_Demand(best, latest, ideal, period))
            ideal += period
    return sorted(demands, key=lambda one: one.latest_seconds)


def _candidates(demands: Sequence[_Demand], interval: float) -> list[tuple[float, float]]:
    """(start, how much later it may be): just before each scrape, and whole intervals before that."""
    found = sorted(
        (one.best_seconds - count * interval, one.latest_seconds - one.best_seconds)
        for one in demands
        for count in range(floor(one.latest_seconds / interval) + 1)
    )
    distinct: list[tuple[float, float]] = []
    for start, slack in found:
        if not distinct or start - distinct[-1][0] > SAME_START * interval:
            distinct.append((start, slack))
    return distinct


class AnswerTime:
    """How long answers take: longer than most of the latest, but the few slowest count for nothing.

    Waiting for those would make the answer old at every scrape to have it fresh at a few more.
    """

    def __init__(self, assumed_seconds: float = 1.0) -> None:
        self._assumed_seconds = assumed_seconds
        self._latest: deque[float] = deque(maxlen=20)

    def observe(self, seconds: float) -> None:
        """Takes the duration of one request that was answered."""
        self._latest.append(seconds)

    def lead_seconds(self) -> float:
        """How long before it is needed a request should start; the assumed time before the first answer."""
        if not self._latest:
            return self._assumed_seconds
        count = len(self._latest)
        return sorted(self._latest)[min(count * 17 // 20, count - 2) if count > 3 else -1]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Failures in a row, and the moment before which nothing is asked. The first success makes a new one."""

    failures: int = 0
    until_seconds: float = 0.0


def backoff_after(
    backoff: Backoff,
    *,
    now: float,
    interval_seconds: float,
    rate_limited: bool,
    retry_after_seconds: float | None,
    random: Callable[[], float],
    rejected: bool = False,
) -> Backoff:
    """The pause after one more failure; `random` gives numbers from 0 up to 1.

    Full jitter below a ceiling that grows from one interval: twice per failure up to 15 min when the cloud
    says 429, more gently and up to 5 min for outages. `rejected` is a 4xx that asking again will not change:
    15 min. What Retry-After wants is honoured up to an hour. Never less than one interval.
    """
    growth, most = (2.0, 900.0) if rate_limited else (1.5, 300.0)
    exponent = min(backoff.failures, 64)
    delay = 900.0 if rejected else random() * min(interval_seconds * growth**exponent, most)
    delay = max(delay, min(retry_after_seconds or 0.0, HOUR_SECONDS), interval_seconds)
    return Backoff(backoff.failures + 1, now + delay)


@dataclass(frozen=True, slots=True)
class SiteLoad:
    """What one site wants of its account: a status interval, and its slower requests."""

    interval_seconds: float
    active: bool
    other_requests_per_hour: float


def stretched_intervals(loads: Sequence[SiteLoad], budget_per_hour: float) -> tuple[float, ...]:
    """Status intervals that fit the account's hourly budget, in the order of `loads`; none gets shorter.

    Sites without a car are stretched first, up to four times; if that does not do, all are, evenly. The
    slower requests are served first, but at least a quarter of the budget is left for status.
    """
    others = sum(load.other_requests_per_hour for load in loads)
    available = max(budget_per_hour - others, budget_per_hour / 4)
    active = sum(HOUR_SECONDS / load.interval_seconds for load in loads if load.active)
    idle = sum(HOUR_SECONDS / load.interval_seconds for load in loads if not load.active)
    idle_stretch = 1.0
    if active + idle > available and idle:
        needed = idle / (available - active) if available > active else MOST_IDLE_STRETCH
        idle_stretch = min(needed, MOST_IDLE_STRETCH)
    stretch = max(1.0, (active + idle / idle_stretch) / available)
    return tuple(load.interval_seconds * stretch * (1.0 if load.active else idle_stretch) for load in loads)


@dataclass(frozen=True, slots=True)
class Burst:
    """A while in which a site is polled faster because the cloud granted a live stream."""

    began_seconds: float
    until_seconds: float
    granted_seconds: float
    while_charging: bool = False  # it is over as soon as nothing charges

    def load(self, ordinary: SiteLoad, interval_seconds: float) -> SiteLoad:
        """What its site wants meanwhile: faster polls, and a start and a stop for each grant."""
        period = max(self.granted_seconds, SHORTEST_BURST_PERIOD_SECONDS)
        return replace(
            ordinary,
            interval_seconds=min(ordinary.interval_seconds, interval_seconds),
            other_requests_per_hour=ordinary.other_requests_per_hour + 2 * HOUR_SECONDS / period,
        )


def granted(burst: Burst | None, now: float, seconds: float, *, while_charging: bool = False) -> Burst:
    """The burst after one more grant: a new one, or the one under way made longer and never shorter."""
    seconds = min(seconds, LONGEST_BURST_SECONDS)
    if burst is None or burst.until_seconds <= now:
        return Burst(now, now + seconds, seconds, while_charging)
    until = max(burst.until_seconds, now + seconds)
    return Burst(burst.began_seconds, until, seconds, while_charging and burst.while_charging)


def bursts_that_fit(
    loads: Sequence[SiteLoad], bursts: Sequence[tuple[int, SiteLoad]], budget_per_hour: float
) -> frozenset[int]:
    """Which bursts, (place among the loads, load meanwhile), fit into what the budget leaves.

    Those named first are served first. None makes an interval of its account stretch.
    """
    left = budget_per_hour - sum(map(_requests_per_hour, loads))
    fitting = set()
    for place, load in bursts:
        more = _requests_per_hour(load) - _requests_per_hour(loads[place])
        if more <= left:
            fitting.add(place)
            left -= more
    return frozenset(fitting)


def _requests_per_hour(load: SiteLoad) -> float:
    return HOUR_SECONDS / load.interval_seconds + load.other_requests_per_hour


class RequestWindow:
    """The requests of one account in the last hour: the hard guard behind the stretched intervals."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def note(self, now: float) -> None:
        """Takes the start of one request."""
        self._forget(now)
        self._times.append(now)

    def count(self, now: float) -> int:
        """Requests within the hour before `now`."""
        self._forget(now)
        return len(self._times)

    def free_at(self, now: float, budget: int) -> float:
        """When the next request fits `budget` per hour: `now`, or later."""
        surplus = self.count(now) - budget
        return now if surplus < 0 else self._times[surplus] + HOUR_SECONDS

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] + HOUR_SECONDS <= now:
            self._times.popleft()
