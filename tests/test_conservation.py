"""What the world delivered is what the exporter counted: whole towns, played on a fast clock."""

import json
from typing import Any

import pytest

from exporter.model import Ledger
from exporter.parse_status import parse_status
from exporter.polled import PolledSite
from tests.conservation import START, Play, Troubles

# The flat shape rounds every figure to 1 Wh; two of them make a difference.
ROUNDING_KWH = 0.002
HARD_TIMES: dict[str, Any] = {
    "restart": 0.05,
    "glitch": 0.05,
    "echo": 0.02,
    "stale_totals": True,
    "replay": 0.1,
    "newcomers": 3,
}

ALL_SEEN = {
    "nothing goes wrong": Troubles(),
    "without a lifetime figure": Troubles(
        **HARD_TIMES, gone=0.05, lifetime=False, skew=0.02, fault_every_seconds=20_000
    ),
    "with owners who stop and start": Troubles(
        lifetime=False, restart=0.05, replay=0.1, skew=0.02, stops=0.01, newcomers=3
    ),
    "in the flat shape, without a lifetime figure": Troubles(shapes=("flat",), lifetime=False, restart=0.05),
}
OUTAGES = {
    "with a lifetime figure": Troubles(
        **HARD_TIMES,
        gone=0.05,
        outage=0.01,
        outage_seconds=(300, 90_000),
        summary_lag_polls=3,
        lifetime_gap=0.02,
        offline_every_seconds=20_000,
        fault_every_seconds=20_000,
    ),
    "in the flat shape, which has no report times": Troubles(
        **HARD_TIMES,
        shapes=("flat",),
        calm_hours=10,
        outage=0.01,
        outage_seconds=(3600, 40_000),
        summary_lag_polls=3,
        lifetime_gap=0.01,
    ),
    "in every shape, with everything at once": Troubles(
        **HARD_TIMES,
        shapes=("enveloped", "enveloped", "enveloped", "flat", "flat_mixed", "keyed"),
        shape_change=0.02,
        gone=0.05,
        calm_hours=6,
        outage=0.01,
        outage_seconds=(300, 90_000),
        summary_lag_polls=3,
        lifetime_gap=0.02,
        offline_every_seconds=20_000,
        fault_every_seconds=20_000,
        skew=0.02,
        skew_seconds=4000,
        stops=0.005,
    ),
}


@pytest.mark.parametrize("troubles", ALL_SEEN.values(), ids=ALL_SEEN.keys())
@pytest.mark.parametrize("seed", range(2))
def test_where_every_charging_session_is_seen_energy_and_sessions_are_the_worlds(
    troubles: Troubles, seed: int
) -> None:
    play = Play(seed, troubles, hours=18).run()
    assert play.sessions > 100
    assert play.counted_kwh == pytest.approx(play.delivered_kwh, rel=0.001)
    assert play.worst_kwh < ROUNDING_KWH
    assert play.most_ahead_kwh < ROUNDING_KWH
    for serial, truth in play.truths.items():
        assert play.exporter.site.durable[serial].sessions == truth.sessions
        recorded = [
            one.energy_kwh
            for (of, _), one in sorted(play.exporter.records.items())
            if of == serial and one.start_seconds >= truth.since_seconds
        ]
        assert recorded == pytest.approx(
            [wh / 1000 for wh in truth.charger.finished_wh[truth.first_session :]], abs=ROUNDING_KWH
        )


@pytest.mark.parametrize("troubles", OUTAGES.values(), ids=OUTAGES.keys())
@pytest.mark.parametrize("seed", range(4))
def test_through_outages_the_lifetime_figure_loses_nothing_and_no_session_is_invented(
    troubles: Troubles, seed: int
) -> None:
    play = Play(seed, troubles, hours=36).run()
    assert play.sessions > 150
    assert play.counted_kwh == pytest.approx(play.delivered_kwh, rel=0.001)
    assert play.worst_kwh < ROUNDING_KWH
    for serial, truth in play.truths.items():
        assert play.exporter.site.durable[serial].sessions <= truth.sessions
    starts = {(serial, round(at)) for serial, t in play.truths.items() for at in t.starts}
    for serial, start in play.exporter.records:
        assert {(serial, start), (serial, start + 1)} & starts, "a session that never was"


# -- the documented figures, from JSON to the account --------------------------------------------------------


def flat(energy: float, at: float, start: float = START) -> bytes:
    told = {"e_c": energy, "start_time": int(start)}
    charger = {"sn": "A", "connected": True, "pluggedIn": True, "charging": True, "session_d": told}
    return json.dumps({"evChargerData": [charger], "ts": int(at)}).encode()


def enveloped(energy: float, at: float, start: float = START) -> bytes:
    told = {"e_c": energy, "strt_chrg": int(start * 1000), "plg_in_at": None}
    charger = {"sn": "A", "connected": True, "pluggedIn": True, "charging": True, "session_d": told}
    return json.dumps(
        {"meta": {"serverTimeStamp": int(at * 1000)}, "data": {"chargers": [charger]}, "error": {}}
    ).encode()


def accounts(*bodies: bytes) -> list[Ledger]:
    """The ledger after each answer, of a charger whose site was watched before."""
    known = Ledger(watched_since_seconds=START - 60)
    site = PolledSite("1", "home", ledgers={"A": known}, durable={"A": known})
    ledgers = []
    for body in bodies:
        site.status_arrived(parse_status(body), 0.0, 0.0, 300.0)
        ledgers.append(site.ledgers["A"])
    return ledgers


def energies(*bodies: bytes) -> list[float]:
    return [round(ledger.energy_kwh, 6) for ledger in accounts(*bodies)]


SEED_SAMPLE = b"""{
  "evChargerData": [
    {
      "sn": "EV1234567890",
      "name": "Sample Charger",
      "connected": true,
      "pluggedIn": true,
      "charging": false,
      "faulted": false,
      "connectorStatusType": "AVAILABLE",
      "connectorStatusReason": "INSUFFICIENT_SOLAR",
      "chargingLevel": 32,
      "session_d": {"e_c": 3.52, "start_time": 1700000000, "plg_in_at": 1699999900, "plg_out_at": null},
      "sch_d": {"enabled": false, "mode": "IMMEDIATE"}
    }
  ],
  "ts": 1700000123
}"""


def test_the_seeds_own_example_is_3_52_kwh() -> None:
    known = Ledger(watched_since_seconds=1_699_999_000.0)
    site = PolledSite("1", "home", ledgers={"EV1234567890": known})
    site.status_arrived(parse_status(SEED_SAMPLE), 0.0, 0.0, 300.0)
    assert site.ledgers["EV1234567890"].energy_kwh == 3.52
    assert site.ledgers["EV1234567890"].sessions == 1


def test_the_enveloped_example_is_0_140038_kwh() -> None:
    assert energies(enveloped(140.038, START + 300)) == [0.140038]


def test_150_180_and_210_watt_hours_in_one_flat_session_never_jump_by_a_thousand() -> None:
    told = energies(flat(150, START + 300), flat(180, START + 330), flat(210, START + 360))
    assert told == [0.15, 0.18, 0.21]


def test_5200_0_5300_with_one_start_never_decreases() -> None:
    told = energies(*(enveloped(e, START + 3000 + 30 * n) for n, e in enumerate((5200, 0, 5300))))
    assert told == [5.2, 5.2, 5.3]


def test_5200_and_then_40_with_a_new_start_begins_a_session() -> None:
    *_, last = accounts(enveloped(5200, START + 3000), enveloped(40, START + 3700, START + 3600))
    assert last.sessions == 2
    assert last.energy_kwh == pytest.approx(5.24)
