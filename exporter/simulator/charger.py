"""One simulated charger and the car at it, moved in fixed steps so that reading it changes nothing.

    AVAILABLE ─ plug ─► PREPARING ─ start ─► CHARGING ─► FINISHING ─► SUSPENDED_EV ─ unplug ─► AVAILABLE
                                              │    ▲      tail of the charge; current still flows
                                              ▼    │
                                         SUSPENDED_EVSE   schedule, no sun, or stopped by the owner

FAULTED replaces any of them until the charger recovers. Energies are Wh, currents A, times epoch seconds.
"""

import random
from collections.abc import Callable

from exporter.simulator.orders import Order, Orders
from exporter.simulator.regions import Region, local_hour
from exporter.simulator.vehicle import GREEN, MANUAL, SCHEDULED, SMART, Car, Habits, Seen

STEP_SECONDS = 10.0
SCHEDULE_HOURS = (22.0, 6.0)


class SimCharger:
    """The truth about one charger.

    Automatic life goes on unless `manual` is set; then only the methods plug, unplug, start, stop, fault,
    recover, go_offline, come_back and report change it (and energy still flows while it charges).
    `energy_wh` is the running or last charging session; `finished_wh` lists the closed ones, so that always
    lifetime_wh == initial_lifetime_wh + sum(finished_wh) + (energy_wh if session_open else 0).
    `amps` is the level stored, which the next start charges at; `mode` is the owner's preference, which a
    start at a level overrides in green mode until charging is stopped. levels_refused: an old model that
    takes no level. has_schedules: SCHEDULED_CHARGING can be chosen.
    """

    def __init__(
        self,
        serial: str,
        name: str,
        *,
        site_id: str,
        region: Region,
        habits: Habits,
        reporting_interval_seconds: float,
        mode: str,
        car_at_start: bool,
        rng: random.Random,
        start: float,
        now: Callable[[], float],
        solar_watts: Callable[[float], float],
    ) -> None:
        self.serial = serial
        self.name = name
        self.site_id = site_id
        self.region = region
        self.manual = False
        self.retired = False
        self.connected = True
        self.plugged_in = False
        self.charging = False
        self.faulted = False
        self.dlb_active = False
        self.safe_limit = False
        self.connector_reason = ""
        self.mode = mode
        self.amps = rng.choice([amps for amps in (16, 20, 24, 32, 40, 48) if amps <= region.max_amps])
        self.levels_refused = False
        self.has_schedules = True
        self.power_w = 0.0
        self.energy_wh = 0.0
        self.initial_lifetime_wh = round(rng.uniform(50_000, 4_000_000), 2)
        self.lifetime_wh = self.initial_lifetime_wh
        self.finished_wh: list[float] = []
        self.session_open = False
        self.started_at: float | None = None
        self.plugged_in_at: float | None = None
        self.plugged_out_at: float | None = None
        self.offline_at: float | None = None
        self.car: Car | None = None
        self.reporting_interval_seconds = max(reporting_interval_seconds, STEP_SECONDS)
        self.reported_energy_wh = 0.0
        self.reported_lifetime_wh = self.lifetime_wh
        self.last_reported = start - rng.uniform(0, self.reporting_interval_seconds)
        self._next_report = self.last_reported + self.reporting_interval_seconds
        self._at = start
        self._now = now
        self._rng = rng
        self._habits = habits
        self._solar_watts = solar_watts
        self._status = "AVAILABLE"
        self._status_by_hand: str | None = None
        self._wanted = False  # the owner's consent to charge, given at start and taken at stop
        self._stopped = False
        self._amps_in_use = self.amps
        self._overridden = False
        self._orders = Orders()
        self._mode_to_come: tuple[float, str] | None = None
        self._resumes_at: float | None = None
        self._frozen: Seen | None = None
        self._fault_turns_at = start + self._wait(habits.fault_every_seconds)
        self._outage_turns_at = start + self._wait(habits.offline_every_seconds)
        self._arrives_at = start if car_at_start else start + rng.uniform(*habits.away_seconds)
        self._starts_at = start
        if car_at_start:
            self._arrive(start)
            self._begin()
            self._settle(start)

    # what others read

    @property
    def connector_status(self) -> str:
        """The connector's state in the cloud's spelling; may be set by hand until the next event."""
        return self._status_by_hand or self._status

    @connector_status.setter
    def connector_status(self, status: str) -> None:
        self._status_by_hand = status

    @property
    def running_mode(self) -> str:
        """The mode that decides now; it differs from the preference while that is overridden."""
        return MANUAL if self._overridden else self.mode

    @property
    def mode_asked_for(self) -> str:
        """The preference once every accepted change of it is in effect."""
        return self._mode_to_come[1] if self._mode_to_come else self.mode

    @property
    def is_to_charge(self) -> bool:
        """Whether the last word, carried out or still waiting, was a start and not a stop."""
        asked_for = self._orders.asks_for_charging
        return self._wanted if asked_for is None else asked_for

    @property
    def waiting_orders(self) -> int:
        """How many accepted commands have not been carried out."""
        return len(self._orders)

    def seen(self) -> Seen:
        """What the cloud can say about this charger."""
        if self._frozen is not None:
            return self._frozen
        return Seen(
            plugged_in=self.plugged_in,
            charging=self.charging,
            faulted=self.faulted,
            connector_status=self.connector_status,
            connector_reason=self.connector_reason,
            amps=self.amps,
            mode=self.running_mode,
            safe_limit=self.safe_limit,
            dlb_active=self.dlb_active,
            schedule_holds=self.running_mode == SCHEDULED and self._held(self._at),
            energy_wh=self.reported_energy_wh,
            lifetime_wh=self.reported_lifetime_wh,
            started_at=self.started_at,
            plugged_in_at=self.plugged_in_at,
            plugged_out_at=self.plugged_out_at,
            last_reported=self.last_reported,
        )

    # what others do to it

    def plug(self, car: Car | None = None) -> None:
        """A car is plugged in; it does not charge before `start`."""
        at = self._present()
        self.car = car or Car(40_000, 60_000, self.region.max_amps, self.region.phases)
        self._plug(at)
        self._settle(at)

    def unplug(self) -> None:
        """The car leaves; a running charging session ends."""
        at = self._present()
        self._leave(at)
        self._settle(at)

    def start(self, amps: int | None = None) -> None:
        """Charging is asked for, at `amps` or at the level set before."""
        at = self._present()
        if amps is not None:
            self.amps = amps
        self._begin()
        self._settle(at)

    def stop(self) -> None:
        """Charging is ended by the owner; the car stays plugged in."""
        at = self._present()
        self._end()
        self._settle(at)

    def order(self, order: Order, *, delay_seconds: float = 0.0) -> None:
        """The cloud accepted a command: it is carried out after the delay, but never while offline."""
        now = self._now()
        self.advance(now)
        self._orders.put(order, now + delay_seconds)
        self._obey(now)

    def prefer(self, mode: str, *, delay_seconds: float = 0.0) -> None:
        """Another mode is preferred, after the delay; what was overridden is so no longer."""
        now = self._now()
        self.advance(now)
        self._mode_to_come = (now + delay_seconds, mode)
        self._obey(now)

    def fault(self) -> None:
        """The charger reports a fault; no power flows until it recovers."""
        at = self._present()
        self.faulted = True
        self._settle(at)

    def recover(self) -> None:
        """The fault goes away, and what was going on goes on."""
        at = self._present()
        self.faulted = False
        self._settle(at)

    def go_offline(self) -> None:
        """The cloud stops hearing from the charger, which itself goes on."""
        self._lose_cloud(self._present())

    def come_back(self) -> None:
        """The cloud hears from the charger again."""
        self._find_cloud(self._present())

    def report(self) -> None:
        """The charger reports its meter now."""
        self.advance(self._now())
        self._tell(self._now())

    def advance(self, until: float) -> None:
        """Lives through every whole step up to `until`."""
        while self._at + STEP_SECONDS <= until:
            self._obey(self._at + STEP_SECONDS)
            self._step()
        self._obey(until)

    # commands from the cloud

    def _obey(self, until: float) -> None:
        if self._mode_to_come is not None and self._mode_to_come[0] <= until:
            at, self.mode = self._mode_to_come
            self._mode_to_come = self._resumes_at = None
            self._overridden = False
            self._settle(at)
        if self.connected:
            for due, order in self._orders.take(until):
                self._carry_out(order, max(due, self._at, self.last_reported))

    def _carry_out(self, order: Order, at: float) -> None:
        if order.kind == "report":
            self._tell(at)
            return
        if order.kind == "stop":
            self._stop_as_told(order, at)
        else:
            self._start_as_told(order)
        self._settle(at)

    def _stop_as_told(self, order: Order, at: float) -> None:
        if not self.plugged_in:
            return
        self._status_by_hand = None
        self._end()
        if order.resumes_after_seconds is not None and self.mode in {GREEN, SMART}:
            self._resumes_at = at + order.resumes_after_seconds

    def _start_as_told(self, order: Order) -> None:
        if order.amps is not None:
            self.amps = order.amps
        if self.charging and not order.in_place:
            return
        self._status_by_hand = None
        self._begin()
        self._overridden = self.mode == GREEN and order.amps is not None

    # physics

    def _present(self) -> float:
        at = self._now()
        self.advance(at)
        self._status_by_hand = None
        return at

    def _step(self) -> None:
        if self.power_w > 0.0:
            self._draw()
        self._at += STEP_SECONDS
        if not self.manual:
            self._live(self._at)
        if self._resumes_at is not None and self._at >= self._resumes_at:
            self._begin()
        if self.plugged_in or self.faulted or self._status != "AVAILABLE":
            self._settle(self._at)
        if self._at >= self._next_report:
            self._next_report += self.reporting_interval_seconds
            self._tell(self._at)

    def _draw(self) -> None:
        car = self.car
        if car is None:
            return
        energy_wh = min(self.power_w * STEP_SECONDS / 3600.0, car.needs_wh)
        car.needs_wh -= energy_wh
        self.energy_wh += energy_wh
        self.lifetime_wh += energy_wh

    def _settle(self, at: float) -> None:
        """Decides whether power flows and what the connector says; a change is reported at once."""
        before = (self._status, self.connector_reason)
        self._status, self.connector_reason = self._verdict(at)
        self.charging = self._status in {"CHARGING", "FINISHING"}
        self.power_w = self._power_w(at) if self.charging else 0.0
        if self.charging and not self.session_open:
            self.session_open = True
            self.started_at = at
            self.energy_wh = 0.0
        if before != (self._status, self.connector_reason):
            self._tell(at)

    def _verdict(self, at: float) -> tuple[str, str]:
        if self.faulted:
            return "FAULTED", ""
        if not self.plugged_in or self.car is None:
            return "AVAILABLE", ""
        if not self._wanted:
            return ("SUSPENDED_EVSE" if self._stopped else "PREPARING"), ""
        if self._held(at):
            return "SUSPENDED_EVSE", "INSUFFICIENT_SOLAR" if self.running_mode == GREEN else ""
        if self.car.needs_wh <= 0.0:
            return "SUSPENDED_EV", ""
        return ("FINISHING" if self.car.is_nearly_full else "CHARGING"), ""

    def _held(self, at: float) -> bool:
        if self.running_mode == GREEN:
            return self._solar_amps(at) < self.region.min_amps
        if self.running_mode == SCHEDULED:
            begin, end = SCHEDULE_HOURS
            return end <= local_hour(self.region, at) < begin
        return False

    def _solar_amps(self, at: float) -> float:
        return self._solar_watts(at) / (self.region.volts * self.region.phases)

    def _power_w(self, at: float) -> float:
        car = self.car
        if car is None:
            return 0.0
        amps = min(self.region.min_amps if self.safe_limit else self._amps_in_use, car.max_amps)
        if self.running_mode == GREEN:
            amps = min(amps, self._solar_amps(at))
        return amps * self.region.volts * min(self.region.phases, car.phases) * car.appetite

    def _plug(self, at: float) -> None:
        self.plugged_in = True
        self.plugged_in_at = at
        self.plugged_out_at = None

    def _begin(self) -> None:
        self._wanted = self.plugged_in
        self._stopped = self._overridden = False
        self._resumes_at = None
        self._amps_in_use = self.amps

    def _end(self) -> None:
        self._wanted = self._overridden = False
        self._stopped = True
        self._close_session()

    def _leave(self, at: float) -> None:
        if self.plugged_in:
            self.plugged_out_at = at
        self.plugged_in = False
        self._wanted = self._stopped = self._overridden = False
        self._resumes_at = None
        self.car = None
        self._close_session()
        self._arrives_at = at + self._rng.uniform(*self._habits.away_seconds)

    def _close_session(self) -> None:
        if self.session_open:
            self.finished_wh.append(self.energy_wh)
        self.session_open = False

    def _lose_cloud(self, at: float) -> None:
        if self.connected:
            self._frozen = self.seen()
            self.connected = False
            self.offline_at = at

    def _find_cloud(self, at: float) -> None:
        self._frozen = None
        self.connected = True
        self._tell(at)

    def _tell(self, at: float) -> None:
        if self.connected:
            self.reported_energy_wh = self.energy_wh
            self.reported_lifetime_wh = self.lifetime_wh
            self.last_reported = at

    # automatic life

    def _live(self, at: float) -> None:
        if at >= self._fault_turns_at:
            self.faulted = not self.faulted
            mean = self._habits.fault_every_seconds
            self._fault_turns_at = at + (self._rng.uniform(300, 1800) if self.faulted else self._wait(mean))
        if at >= self._outage_turns_at:
            self._turn_outage(at)
        if self.car is None:
            if at >= self._arrives_at:
                self._arrive(at)
            return
        if not self._wanted and not self._stopped and at >= self._starts_at:
            self._begin()
        if self.car.needs_wh <= 0.0:
            self.car.leaves_at = min(self.car.leaves_at, at + self.car.linger_seconds)
        if at >= self.car.leaves_at:
            self._leave(at)

    def _turn_outage(self, at: float) -> None:
        if self.connected:
            self._lose_cloud(at)
            self._outage_turns_at = at + self._rng.uniform(300, 2700)
        else:
            self._find_cloud(at)
            self._outage_turns_at = at + self._wait(self._habits.offline_every_seconds)

    def _arrive(self, at: float) -> None:
        rng, habits = self._rng, self._habits
        capacity_wh = rng.choice((40_000.0, 58_000.0, 77_000.0))
        self.car = Car(
            needs_wh=min(rng.uniform(*habits.needs_wh), capacity_wh),
            capacity_wh=capacity_wh,
            max_amps=rng.choice((16.0, 32.0, 32.0, 48.0)),
            phases=rng.choice((1, 3, 3)),
            leaves_at=at + rng.uniform(*habits.stay_seconds),
            linger_seconds=rng.uniform(*habits.linger_seconds),
        )
        self._starts_at = at + rng.uniform(20, 90)
        self._plug(at)

    def _wait(self, mean_seconds: float | None) -> float:
        return float("inf") if not mean_seconds else self._rng.expovariate(1.0 / mean_seconds)
