"""A month of the account's life on a stepped clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from exporter.asking import PollSettings
from exporter.simulator.settings import CloudConfig
from tests.test_poller import SITE, Running, running
from tests.wiring import Time, Wired

HOUR = 3600.0
DAY = 24 * HOUR
POLL = 600.0
SETTINGS = PollSettings(
    interval_seconds=POLL,
    idle_interval_seconds=POLL,
    summary_interval_seconds=6 * HOUR,
    charge_mode_interval_seconds=24 * HOUR,
    align="none",
    stale_after_seconds=3 * POLL,
)
# Sessions of a week, tokens of a day, and a new session cookie with every fifth answer.
ROUGH = CloudConfig(
    token_lifetime_seconds=DAY,
    session_lifetime_seconds=7 * DAY,
    rotate_every=5,
    expired_as="login_page",
    journal_entries=100_000,
)


@dataclass
class Month:
    """What happens when, and what was seen."""

    run: Running
    plan: list[tuple[float, Callable[[Wired], object]]] = field(default_factory=list)
    down: list[float] = field(default_factory=list)

    def at(self, seconds: float, change: Callable[[Wired], object]) -> None:
        self.plan.append((seconds, change))

    def outage(self, begin: float, seconds: float, kind: str, **more: object) -> None:
        self.at(begin, lambda w: w.cloud.faults.add(kind, **more))  # type: ignore[arg-type]
        self.at(begin + seconds, lambda w: w.cloud.faults.clear())

    async def pass_by(self, days: float) -> None:
        now = 0.0
        for moment, change in [*sorted(self.plan, key=lambda entry: entry[0]), (days * DAY, lambda w: None)]:
            while now < moment:
                step = min(POLL, moment - now)
                await self.run.run_for(step)
                now += step
                if not self.run.site().up:
                    self.down.append(now)
            change(self.run.w)

    def down_within(self, begin: float, end: float) -> float:
        """Share of the polls of a span that failed."""
        polls = [seconds for seconds in self.down if begin < seconds <= end]
        return len(polls) * POLL / (end - begin)

    def down_outside(self, *spans: tuple[float, float]) -> list[float]:
        return [
            seconds / DAY for seconds in self.down if not any(begin < seconds <= end for begin, end in spans)
        ]


def run_day(simulated_seconds: float) -> float:
    return (simulated_seconds - Time.seconds) / DAY


async def test_a_month_of_outages_expiries_and_a_block_logs_in_as_often_as_the_rules_allow() -> None:
    async with running(SETTINGS, ROUGH, site_ids=(SITE,), tasks=1) as run:
        month = Month(run)
        month.outage(3.0 * DAY, 4 * HOUR, "status", status=503)
        month.outage(5.0 * DAY, 6 * HOUR, "html_outage", status=200)
        month.outage(9.0 * DAY, 2 * HOUR, "reset")
        month.outage(11.0 * DAY, 3 * HOUR, "status", endpoint="token", status=500)
        month.outage(16.0 * DAY, 12 * HOUR, "status", endpoint="charge_mode", status=401)
        month.at(18.0 * DAY, lambda w: setattr(w.cloud.config, "login_outcome", "blocked"))
        month.at(18.5 * DAY, lambda w: setattr(w.cloud.config, "login_outcome", "ok"))
        # The cloud forgets everybody in the middle of an outage.
        month.outage(25.0 * DAY, 2 * HOUR, "status", status=502)
        month.at(25.0 * DAY + HOUR, lambda w: w.cloud.expire_sessions())
        await month.pass_by(30)

        journal = run.w.cloud.journal
        logins = [run_day(entry.simulated_seconds) for entry in journal.select(endpoint="login")]
        assert logins == pytest.approx(
            [
                0.0,
                7.0,  # the session of a week is over
                9.1,  # answers that were lost held rotated cookies
                11.05,  # a token ran out while the token service was down
                18.05,  # a week later: blocked
                19.05,  # not before a day has passed
                25.1,  # the cloud forgot everybody during an outage: one login, and after it
            ],
            abs=0.05,
        )
        assert run.w.auth.logins == {
            ("success",): 6,
            ("blocked",): 1,
            ("invalid_credentials",): 0,
            ("mfa_required",): 0,
            ("unavailable",): 0,
        }
        block = (18.04 * DAY, 19.05 * DAY + 2 * POLL)
        outages = [
            (3.0 * DAY, 3.0 * DAY + 4 * HOUR),
            (5.0 * DAY, 5.0 * DAY + 6 * HOUR),
            (9.0 * DAY, 9.0 * DAY + 2 * HOUR),
            (25.0 * DAY, 25.0 * DAY + 2 * HOUR),
        ]
        for span in (block, *outages):
            assert month.down_within(*span) > 0.8
        assert month.down_outside(block, *((begin, end + 2 * POLL) for begin, end in outages)) == []
        assert run.site().up
        # Tokens of a day: one a day and one for each login, but no more.
        assert 25 <= journal.totals["token"] <= 50
        assert run.w.transport.tally.errors["status", "unauthorized"] == 1
        assert run.w.transport.tally.errors["status", "login_page"] == 4
        assert run.w.transport.tally.errors["charge_mode", "unauthorized"] >= 10
        cookies = {entry.headers["Cookie"] for entry in journal.select(endpoint="status")}
        assert len(cookies) > 500
        assert len(run.w.stored) > 500
