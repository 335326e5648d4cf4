"""Learns who scrapes `/metrics` from nothing but the times they come.

Arrivals of one source (peer address and user agent) that follow a steady beat make a track. An arrival goes
to the track that expects it; one that nobody expected is a stray. A new track is born when

- the latest arrivals of a source are evenly spaced: a first scraper, or one whose period changed;
- two strays lie one period of an overdue track apart: a scraper that restarted, so only its phase is new;
- strays are evenly spaced although others lie between them: a second scraper behind the same address.

Irregular requests, a person's curl, stay strays and are forgotten. Times are seconds of one monotonic clock.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean, median

# Shares of a period. Where every arrival has 2 % jitter, gaps differ by up to 8 % and predictions fail by up
# to 4 %. Three arrivals prove less than four, so they have to be more even.
EVEN_TOLERANCE = 0.10
EVEN_TOLERANCE_OF_THREE = 0.05
EXPECTED_TOLERANCE = 0.08
CHAIN_TOLERANCE = 0.06

# First guess of how far arrivals stray from their prediction, and the least weight of a new one in the mean.
ASSUMED_JITTER = 0.012
ERROR_WEIGHT = 0.1

# Requests closer together than this are no scraper but a load test or an impatient person.
SHORTEST_PERIOD_SECONDS = 0.2
PATIENCE_MISSES = 3
ESTABLISHED_HITS = 5
MAX_SOURCES = 32
MAX_STRAYS = 16
MAX_TRACKS = 8


@dataclass(frozen=True, slots=True)
class Scraper:
    """One live scraper: its period, when it comes next, and the mean error of such predictions.

    `wander_seconds` is the part of an error that all later scrapes keep.
    """

    period_seconds: float
    next_seconds: float
    jitter_seconds: float
    wander_seconds: float = 0.0


class _Track:
    """The numbered arrivals of one scraper and the straight line through them.

    A scraper keeps either to a fixed grid, each arrival late or early by itself, or counts its period from
    its last arrival. Both predictions are kept, and the one that has been right more often is used.
    """

    def __init__(self, times: Sequence[float], hits: int) -> None:
        self._points = deque(enumerate(times), maxlen=15)
        self.hits = hits
        self.is_doubted = False
        self._grid_error = self._walk_error = ASSUMED_JITTER * fmean(b - a for a, b in pairwise(times))
        self._fit()

    @property
    def last_seconds(self) -> float:
        return self._points[-1][1]

    def is_alive(self, now: float) -> bool:
        patience = 1.5 + min(self.hits - 3, PATIENCE_MISSES)
        return now < self.last_seconds + patience * self.period_seconds

    def is_overdue(self, now: float) -> bool:
        return now > self.last_seconds + (1 + EXPECTED_TOLERANCE) * self.period_seconds

    def miss_seconds(self, now: float) -> float:
        """How far `now` is from the nearest expected arrival."""
        slots = (now - self._expected_seconds) / self.period_seconds
        return abs(slots - round(slots)) * self.period_seconds

    def is_expecting(self, now: float) -> bool:
        return self.miss_seconds(now) <= EXPECTED_TOLERANCE * self.period_seconds

    def scraper(self, now: float) -> Scraper:
        periods = max(0, (now - self._expected_seconds) // self.period_seconds + 1)
        upcoming = self._expected_seconds + periods * self.period_seconds
        wander = 0.0 if self._grid_error <= self._walk_error else self._walk_error
        return Scraper(self.period_seconds, upcoming, min(self._grid_error, self._walk_error), wander)

    def arrived(self, now: float) -> float | None:
        """Takes an expected arrival, or returns it if another one came for the same slot before."""
        slot, last = self._points[-1]
        passed = round((now - self._expected_seconds) / self.period_seconds) + 1
        if passed <= 0:
            return now
        grid, walk = self._line_seconds(slot + passed), last + passed * self.period_seconds
        self.hits += 1
        weight = max(ERROR_WEIGHT, 1 / self.hits)
        self._grid_error += weight * (abs(now - grid) - self._grid_error)
        self._walk_error += weight * (abs(now - walk) / passed**0.5 - self._walk_error)
        self._points.append((slot + passed, now))
        self.is_doubted = False
        self._fit()
        return None

    def _fit(self) -> None:
        """A line that one late arrival does not bend: the median of all slopes, then of all offsets."""
        self.period_seconds = median((b - a) / (j - i) for (i, a), (j, b) in combinations(self._points, 2))
        self._offset_seconds = median(time - slot * self.period_seconds for slot, time in self._points)
        slot, last = self._points[-1]
        is_grid = self._grid_error <= self._walk_error
        self._expected_seconds = self._line_seconds(slot + 1) if is_grid else last + self.period_seconds

    def _line_seconds(self, slot: int) -> float:
        return self._offset_seconds + slot * self.period_seconds


class _Source:
    """What came from one address: its tracks, and the arrivals that belong to none."""

    def __init__(self) -> None:
        self.tracks: list[_Track] = []
        self._recent: deque[float] = deque(maxlen=4)
        self._strays: deque[float] = deque(maxlen=MAX_STRAYS)

    def is_alive(self, now: float) -> bool:
        return any(track.is_alive(now) for track in self.tracks)

    def arrived(self, now: float) -> None:
        self.tracks = [track for track in self.tracks if track.is_alive(now)]
        self._recent.append(now)
        stray = self._assigned(now)
        if stray is not None:
            self._strays.append(stray)
        if self._begin_even(now) or stray is None or self._begin_restarted(stray):
            return
        self._begin_woven()

    def _assigned(self, now: float) -> float | None:
        """Gives an arrival to the track it fits best and that has a place for it; returns it if none has."""
        stray: float | None = now
        for track in sorted(self.tracks, key=lambda one: one.miss_seconds(now)):
            if stray is not None and track.is_expecting(stray):
                stray = track.arrived(stray)
        return stray

    def _begin_even(self, now: float) -> bool:
        """The latest arrivals, whoever they were counted to, are evenly spaced: one scraper, known or new."""
        latest = list(self._recent)
        if not (len(latest) == 4 and _is_even(latest)):
            latest = latest[-3:]
            if self.tracks or len(latest) < 3 or not _is_even(latest, EVEN_TOLERANCE_OF_THREE):
                return False
        period = (latest[-1] - latest[0]) / (len(latest) - 1)
        known = (track for track in self.tracks if track.last_seconds == now)
        if not any(abs(track.period_seconds / period - 1) <= EVEN_TOLERANCE for track in known):
            self.tracks = [
                one for one in self.tracks if one.last_seconds < latest[0] and not one.is_overdue(now)
            ]
            self._begin(latest)
        return True

    def _begin_restarted(self, stray: float) -> bool:
        """An overdue scraper is back at another phase."""
        for track in (one for one in self.tracks if one.hits >= ESTABLISHED_HITS and one.is_overdue(stray)):
            for earlier in self._strays:
                gap = stray - earlier
                if abs(gap / track.period_seconds - 1) <= CHAIN_TOLERANCE:
                    self.tracks.remove(track)
                    self._begin([earlier, stray], track.hits)
                    return True
        return False

    def _begin_woven(self) -> None:
        """A scraper between whose arrivals others lie."""
        strays = sorted(self._strays)
        for earlier in reversed(strays[:-1]):
            chain = _chain(strays, strays[-1] - earlier)
            between = sum(chain[0] < one for one in strays) + 1 - len(chain)
            if len(chain) >= (4 if between == 0 else 5) and between <= len(chain) and _is_even(chain):
                self._begin(chain)
                return

    def _begin(self, times: Sequence[float], hits: int = 0) -> None:
        self._strays = deque((one for one in self._strays if one not in times), maxlen=MAX_STRAYS)
        # Whoever was not heard since may be this scraper with its old period: not served until heard again.
        for track in self.tracks:
            track.is_doubted |= track.last_seconds < times[0]
        self.tracks = [*self.tracks, _Track(times, hits or len(times))][-MAX_TRACKS:]


class ScrapeLearner:
    """Fed with the arrival of every scrape; says who is scraping. Memory is bounded."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def scraped(self, now: float, source: str = "") -> None:
        """Takes one arrival; `source` is whatever tells callers apart, such as address and user agent."""
        known = self._sources.pop(source, None) or _Source()
        known.arrived(now)
        if len(self._sources) >= MAX_SOURCES:
            idle = (name for name, one in self._sources.items() if not one.is_alive(now))
            del self._sources[next(idle, next(iter(self._sources)))]
        self._sources[source] = known

    def scrapers(self, now: float) -> tuple[Scraper, ...]:
        """Those alive at `now`; each one's `next_seconds` lies after it."""
        every = (track for source in self._sources.values() for track in source.tracks)
        alive = [track for track in every if track.is_alive(now) and not track.is_doubted]
        confirmed = [track for track in alive if track.hits > 3]
        return tuple(track.scraper(now) for track in confirmed or alive)

    def period_seconds(self, now: float) -> float | None:
        """The shortest period among the live scrapers, None without any."""
        return min((scraper.period_seconds for scraper in self.scrapers(now)), default=None)


def _is_even(times: Sequence[float], tolerance: float = EVEN_TOLERANCE) -> bool:
    gaps = [b - a for a, b in pairwise(times)]
    return min(gaps) >= SHORTEST_PERIOD_SECONDS and max(gaps) - min(gaps) <= tolerance * fmean(gaps)


def _chain(times: Sequence[float], period: float) -> list[float]:
    """The times, oldest first, that lie one `period` apart when walking back from the last one."""
    chain = [times[-1]]
    if period < SHORTEST_PERIOD_SECONDS:
        return chain
    while True:
        expected = chain[-1] - period
        nearest = min(times, key=lambda one: abs(one - expected))
        if abs(nearest - expected) > CHAIN_TOLERANCE * period:
            return chain[::-1]
        chain.append(nearest)
        period = (chain[0] - nearest) / (len(chain) - 1)
