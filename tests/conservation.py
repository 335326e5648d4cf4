"""A town of chargers whose every watt-hour is known, a cloud that tells of it badly, and an exporter that
hears of it only as JSON bodies: what the conservation tests are made of. No HTTP and no real time.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from exporter.model import FinishedSession, Ledger
from exporter.parse import parse_summary
from exporter.parse_status import parse_status
from exporter.polled import PolledSite
from exporter.simulator import bend, wire
from exporter.simulator.charger import SimCharger
from exporter.simulator.regions import REGIONS, Sky
from exporter.simulator.vehicle import GREEN, MANUAL, SCHEDULED, Habits
from exporter.simulator.world import SimSite

START = 1_800_000_000.0
REPORTING_SECONDS = 300.0
# The flat shape is kWh, or, as the seed has it, Wh above 200 and kWh up to that.
SHAPES: dict[str, Callable[[SimSite, float], dict[str, Any]]] = {
    "enveloped": wire.status_enveloped,
    "flat": wire.status_flat,
    "flat_mixed": wire.status_flat,
    "keyed": wire.status_keyed,
}
COUNTERS = (
    "energy_kwh",
    "lifetime_energy_kwh",
    "sessions",
    "faults",
    "charging_seconds",
    "plugged_in_seconds",
)


@dataclass(frozen=True)
class Troubles:
    """What goes wrong. Probabilities are per poll, and for the glitches per charger and poll."""

    shapes: tuple[str, ...] = ("enveloped",)  # the cloud changes between them
    shape_change: float = 0.0
    lifetime: bool = True
    lifetime_gap: float = 0.0  # begins hours without a lifetime figure, or with 0 for it
    summary_lag_polls: int = 0  # how old a summary may be at most
    poll_seconds: tuple[float, float] = (30.0, 90.0)
    outage: float = 0.0
    outage_seconds: tuple[float, float] = (300.0, 600.0)
    offline_every_seconds: float | None = None
    fault_every_seconds: float | None = None
    restart: float = 0.0  # killed and started again; half of these between reading and writing
    glitch: float = 0.0  # e_c is 0 or an earlier value of the session
    echo: float = 0.0  # e_c is the total of the session before
    gone: float = 0.0  # e_c is missing
    stale_totals: bool = False  # a new session shows the old one's total until it has moved energy
    replay: float = 0.0  # an answer arrives again, after a newer one
    skew: float = 0.0  # the cloud's clock is off for some polls
    skew_seconds: float = 240.0
    stops: float = 0.0  # per poll and charger: the owner stops, or starts again
    modes: tuple[str, ...] = (MANUAL, MANUAL, MANUAL, GREEN, SCHEDULED)
    newcomers: int = 0
    calm_hours: float = 2.0  # before the first outage and gap


@dataclass
class Truth:
    """What one charger really did since the exporter first saw it."""

    charger: SimCharger
    first_wh: float
    first_session: int  # index of the first session that began in the exporter's sight
    since_seconds: float  # sessions that began before are none of the exporter's
    starts: dict[float, float] = field(default_factory=dict)  # Wh of every session by its start

    @property
    def delivered_kwh(self) -> float:
        return (self.charger.lifetime_wh - self.first_wh) / 1000

    @property
    def sessions(self) -> int:
        return len(self.charger.finished_wh) + self.charger.session_open - self.first_session


def _set_apart(charger: SimCharger, wh: float) -> None:
    """A little energy more: where steps and powers are alike, two totals would be equal too often."""
    charger.energy_wh += wh
    charger.lifetime_wh += wh


class Town:
    """The chargers of one site, some of which are still to come; `seconds` is the time there."""

    def __init__(self, rng: Random, chargers: int, habits: Habits, modes: tuple[str, ...]) -> None:
        self.seconds = START
        self._rng, self._habits, self._modes = rng, habits, modes
        region = rng.choice(REGIONS)
        self.site = SimSite("1234567", "Town", region, Sky(region, str(rng.random())), {})
        self.starts: dict[str, dict[float, float]] = {}
        for _ in range(chargers):
            self.add()

    def add(self) -> None:
        number = len(self.site.chargers)
        serial = str(482500000017 + number)
        self.site.chargers[serial] = SimCharger(
            serial,
            "Charger",
            site_id=self.site.site_id,
            region=self.site.region,
            habits=self._habits,
            reporting_interval_seconds=REPORTING_SECONDS,
            mode=self._modes[number % len(self._modes)],
            car_at_start=self._rng.random() < 0.4,
            rng=Random(self._rng.random()),
            start=self.seconds,
            now=lambda: self.seconds,
            solar_watts=self.site.sky.solar_watts,
        )
        self.starts[serial] = {}

    def live(self, seconds: float) -> None:
        """Time goes by; no charging session is so short that it hides between two looks."""
        end = self.seconds + seconds
        while self.seconds < end:
            self.seconds = min(end, self.seconds + 60.0)
            for serial, charger in self.site.chargers.items():
                charger.advance(self.seconds)
                if charger.started_at is not None:
                    if charger.session_open and charger.started_at not in self.starts[serial]:
                        _set_apart(charger, self._rng.uniform(0.05, 3.0))
                    self.starts[serial][charger.started_at] = charger.energy_wh

    def stop_or_start(self, charger: SimCharger) -> None:
        if charger.session_open and charger.energy_wh > 100:
            charger.stop()
        elif charger.plugged_in and charger.connector_status == "SUSPENDED_EVSE":
            charger.start()
        self.live(0.001)

    def quieten(self) -> None:
        """Every car leaves, and nothing more happens."""
        for charger in self.site.chargers.values():
            charger.manual = True
            if not charger.connected:
                charger.come_back()
            if charger.faulted:
                charger.recover()
            if charger.plugged_in:
                charger.unplug()


class Cloud:
    """Tells of a town, and spoils what it tells."""

    def __init__(self, town: Town, rng: Random, troubles: Troubles) -> None:
        self._town, self._rng, self._troubles = town, rng, troubles
        self.shape = troubles.shapes[0]
        self._lifetime_returns_at = 0.0
        self._lifetime_is_zero = False
        self._skew_seconds = 0.0
        self._totals: dict[str, tuple[float | None, float, float]] = {}  # start, its e_c, total before
        self._summaries: list[bytes] = []

    def status(self) -> bytes:
        rng, troubles, now = self._rng, self._troubles, self._town.seconds
        if rng.random() < troubles.shape_change:
            self.shape = rng.choice(troubles.shapes)
        payload = SHAPES[self.shape](self._town.site, now)
        for entry in bend.entries(payload):
            self._spoil(entry)
        if rng.random() < troubles.skew:
            self._skew_seconds = rng.choice((0.0, 1.0, -1.0)) * rng.uniform(1, troubles.skew_seconds)
        if self._skew_seconds:
            payload = bend.clock_skew(payload, {"seconds": self._skew_seconds})
        return json.dumps(payload).encode()

    def _spoil(self, entry: dict[str, Any]) -> None:
        session_d = entry.get("session_d")
        if not session_d:
            return
        rng, troubles, serial = self._rng, self._troubles, entry["sn"]
        seen = self._town.site.chargers[serial].seen()
        is_first = serial not in self._totals
        start, total, before = self._totals.get(serial, (None, 0.0, 0.0))
        if seen.started_at != start:
            before = total or before
        self._totals[serial] = (seen.started_at, seen.energy_wh, before)
        told_wh: float | None = seen.energy_wh
        if troubles.stale_totals and not seen.energy_wh and before:
            told_wh = before
        if not is_first and rng.random() < troubles.glitch:
            told_wh = rng.choice((0.0, rng.random())) * seen.energy_wh
        if rng.random() < troubles.echo and before:
            told_wh = before
        if not is_first and rng.random() < troubles.gone:
            told_wh = None
        session_d["e_c"] = None if told_wh is None else self._spelled(told_wh)

    def _spelled(self, wh: float) -> float:
        if self.shape == "enveloped":
            return round(wh, 2)
        return round(wh) if self.shape == "flat_mixed" and wh > 201 else round(wh / 1000, 3)

    def summary(self) -> bytes:
        """A summary, perhaps an old one."""
        rng, troubles, now = self._rng, self._troubles, self._town.seconds
        is_calm = now < START + troubles.calm_hours * 3600
        if not is_calm and rng.random() < troubles.lifetime_gap:
            self._lifetime_returns_at = now + rng.uniform(600, 6 * 3600)
            self._lifetime_is_zero = rng.random() < 0.5
        payload = wire.summary_list(self._town.site, now, filter_retired=True)
        for entry in payload["data"]:
            if not troubles.lifetime or now < self._lifetime_returns_at:
                entry["lifeTimeConsumption"] = 0 if troubles.lifetime and self._lifetime_is_zero else None
        self._summaries.append(json.dumps(payload).encode())
        del self._summaries[: -1 - troubles.summary_lag_polls]
        return rng.choice(self._summaries)

    def recover(self) -> None:
        """Nothing is wrong any more."""
        self._lifetime_returns_at = self._skew_seconds = 0.0
        self._troubles = Troubles(shapes=(self.shape,), lifetime=self._troubles.lifetime)


class Exporter:
    """The exporter without its sockets: one polled site and a disk of bytes."""

    def __init__(self, site_id: str) -> None:
        self._disk: dict[str, bytes] = {}
        self.records: dict[tuple[str, int], FinishedSession] = {}
        self.site = PolledSite(site_id, "home")
        self._shown: dict[tuple[str, str], float] = {}
        self.restarts = 0

    def restart(self) -> None:
        self.restarts += 1
        kept = {serial: msgspec.json.decode(text, type=Ledger) for serial, text in self._disk.items()}
        self.site = PolledSite(self.site.site_id, "home", ledgers=dict(kept), durable=dict(kept))

    def hear_status(self, body: bytes, wall: float, *, killed: bool = False) -> None:
        """Take in an answer and write; `killed` in between, with nothing written."""
        self.site.status_arrived(parse_status(body), wall, wall, 300.0)
        if killed:
            self.restart()
            return
        unsaved = self.site.unsaved()
        for _, serial, ledger in unsaved:
            self._disk[serial] = msgspec.json.encode(ledger)
        for one in self.site.unsaved_sessions:
            self.records[one.serial, round(one.start_seconds)] = one
        self.site.saved(unsaved, len(self.site.unsaved_sessions))
        self.site.settle()
        self._check_counters()

    def hear_summary(self, body: bytes) -> None:
        self.site.summary_arrived(parse_summary(body))

    def _check_counters(self) -> None:
        for charger in self.site.chargers:
            for counter in COUNTERS:
                value = getattr(charger, counter)
                key = (charger.serial, counter)
                if value is not None:
                    assert value >= self._shown.get(key, value), f"{key} fell"
                    self._shown[key] = value


class Play:
    """One town, its cloud and an exporter, played to the end; then `truths` and the exporter are compared."""

    def __init__(self, seed: int, troubles: Troubles, *, chargers: int = 12, hours: float = 24.0) -> None:
        self._rng = Random(seed)
        self._troubles = troubles
        habits = Habits(
            away_seconds=(300.0, 2400.0),
            needs_wh=(300.0, 4000.0),
            stay_seconds=(900.0, 5400.0),
            linger_seconds=(120.0, 900.0),
            fault_every_seconds=troubles.fault_every_seconds,
            offline_every_seconds=troubles.offline_every_seconds,
        )
        self.town = Town(self._rng, chargers, habits, troubles.modes)
        self._hours = hours
        self.cloud = Cloud(self.town, self._rng, troubles)
        self.exporter = Exporter(self.town.site.site_id)
        self.truths: dict[str, Truth] = {}
        self.most_ahead_kwh = 0.0
        self._heard: list[bytes] = []
        self._polls = 0
        self._first_poll_seconds = 0.0

    def run(self) -> "Play":
        end = START + self._hours * 3600
        arrivals = sorted(
            START + self._rng.random() * self._troubles.calm_hours * 1800
            for _ in range(self._troubles.newcomers)
        )
        while self.town.seconds < end:
            self._step(arrivals)
        self.town.quieten()
        self.cloud.recover()
        for _ in range(45):
            self.town.live(60)
            self._poll()
        return self

    def _step(self, arrivals: list[float]) -> None:
        rng, troubles = self._rng, self._troubles
        self.town.live(rng.uniform(*troubles.poll_seconds))
        is_calm = self.town.seconds < START + troubles.calm_hours * 3600
        if not is_calm and rng.random() < troubles.outage:
            self.town.live(rng.uniform(*troubles.outage_seconds))
        if arrivals and self.town.seconds > arrivals[0]:
            self.town.add()
            del arrivals[0]
        for charger in self.town.site.chargers.values():
            if troubles.stops and rng.random() < troubles.stops:
                self.town.stop_or_start(charger)
        is_restarted = rng.random() < troubles.restart
        self._poll(killed=is_restarted and rng.random() < 0.5)
        if is_restarted:
            self.exporter.restart()
        if self._heard and rng.random() < troubles.replay:
            self.exporter.hear_status(rng.choice(self._heard), self.town.seconds)

    def _poll(self, *, killed: bool = False) -> None:
        body = self.cloud.status()
        self._note_newcomers()
        self.exporter.hear_status(body, self.town.seconds, killed=killed)
        self._heard = [*self._heard[-2:], body]
        self._polls += 1
        if self._polls % 5 == 1 or self.exporter.site.lacks_limits:
            self.exporter.hear_summary(self.cloud.summary())
        for serial, ledger in self.exporter.site.durable.items():
            ahead_kwh = ledger.energy_kwh - self.truths[serial].delivered_kwh
            self.most_ahead_kwh = max(self.most_ahead_kwh, ahead_kwh)

    def _note_newcomers(self) -> None:
        """What a charger's running session brought before counts when it began under the exporter's eyes."""
        is_watched = bool(self.truths)
        if not is_watched:
            self._first_poll_seconds = self.town.seconds
        for serial, charger in self.town.site.chargers.items():
            if serial not in self.truths:
                seen = charger.seen()
                known = len(charger.finished_wh) + charger.session_open
                first_wh = seen.lifetime_wh
                if is_watched and seen.started_at is not None:
                    first_wh -= seen.energy_wh
                    known -= 1
                since = self._first_poll_seconds
                self.truths[serial] = Truth(charger, first_wh, known, since, self.town.starts[serial])

    # -- what came of it

    def energy_kwh(self, serial: str) -> float:
        return self.exporter.site.durable[serial].energy_kwh

    @property
    def delivered_kwh(self) -> float:
        return sum(truth.delivered_kwh for truth in self.truths.values())

    @property
    def counted_kwh(self) -> float:
        return sum(self.energy_kwh(serial) for serial in self.truths)

    @property
    def sessions(self) -> int:
        return sum(truth.sessions for truth in self.truths.values())

    @property
    def worst_kwh(self) -> float:
        """The greatest error of one charger."""
        return max(abs(self.energy_kwh(serial) - t.delivered_kwh) for serial, t in self.truths.items())
