"""The contract table: bodies as the cloud sends them, and the series that must be there afterwards.

The cases are in payloads/*.yaml. A case gives bodies and what is exposed: `expect` (series and value),
`absent` (series that must not be there), `chargers` (how many), `problems` (what is counted; nothing when
left out), `lifetime`, `raw`; or `refused`, the message of the UnexpectedPayload.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from exporter.errors import UnexpectedPayload
from exporter.exposition import Exposition, Format
from exporter.merge import Knowledge, join, with_charge_mode, with_last_reported, with_status, with_summary
from exporter.metrics import CHARGER, METRICS
from exporter.model import Charger, Problem, Site, Snapshot
from exporter.parse import parse_charge_mode, parse_last_reported, parse_status, parse_summary
from tests.test_parse import status_like, summary_like, wire

SERIAL = "482500000017"
NOW_MILLISECONDS = 1777746675250

Case = Mapping[str, Any]
CASES: list[Case] = [
    {**case, "file": path.stem}
    for path in sorted((Path(__file__).parent / "payloads").glob("*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]

PREFIX = "enphase_ev_"


def exposed(chargers: tuple[Charger, ...]) -> dict[str, float]:
    """What a scrape of these chargers shows: `name{label="value",…}` without the prefix, and values."""
    metrics = tuple(metric for metric in METRICS if metric.scope is CHARGER)
    snapshot = Snapshot(sites=(Site("1", "home", chargers=chargers),))
    text = Exposition(metrics).render_now(snapshot, Format.TEXT).decode()
    series: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            pairs = ",".join(f'{label}="{value}"' for label, value in sample.labels.items())
            key = f"{sample.name.removeprefix(PREFIX)}{{{pairs}}}"
            assert key not in series
            series[key] = sample.value
    return series


def matching(series: Mapping[str, float], wanted: str) -> list[float]:
    """Values of the series of this name that have at least these labels."""
    name, labels = split_series(wanted)
    return [
        value
        for key, value in series.items()
        if split_series(key)[0] == name and labels.items() <= split_series(key)[1].items()
    ]


def split_series(key: str) -> tuple[str, dict[str, str]]:
    return key.partition("{")[0], dict(re.findall(r'(\w+)="([^"]*)"', key))


def body(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def enveloped(charger: Mapping[str, Any]) -> Mapping[str, Any]:
    listed = [{"sn": SERIAL, **charger}]
    return {
        "meta": {"serverTimeStamp": NOW_MILLISECONDS},
        "data": {"site": "1", "chargers": listed},
        "error": {},
    }


def bodies(case: Case, one: str, several: str) -> list[bytes]:
    if several in case:
        return [body(value) for value in case[several]]
    if one == "status" and "charger" in case:
        return [body(enveloped(case["charger"]))]
    if one == "status" and "flat" in case:
        return [body({"evChargerData": [{"sn": SERIAL, **case["flat"]}], "ts": NOW_MILLISECONDS // 1000})]
    if one == "summary" and "about" in case:
        return [body({"data": [{"serialNumber": SERIAL, **case["about"]}], "error": {}})]
    return [body(case[one])] if one in case else []


def learned(case: Case) -> tuple[Knowledge, list[Problem]]:
    known = Knowledge()
    problems: list[Problem] = []
    for sent in bodies(case, "summary", "summaries"):
        summary = parse_summary(sent)
        known = with_summary(known, summary)
        problems += summary.problems
    for sent in bodies(case, "status", "statuses"):
        status = parse_status(sent)
        known = with_status(known, status)
        problems += status.problems
    if "charge_mode" in case:
        preference = parse_charge_mode(body(case["charge_mode"]))
        known = with_charge_mode(known, SERIAL, preference)
        problems += preference.problems
    if "last_reported" in case:
        known = with_last_reported(known, parse_last_reported(body(case["last_reported"])))
    return known, problems


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['file']}: {case['name']}")
def test_what_a_payload_tells_is_what_is_exposed(case: Case) -> None:
    if "refused" in case:
        with pytest.raises(UnexpectedPayload) as refusal:
            learned(case)
        assert str(refusal.value) == case["refused"]
        return
    known, problems = learned(case)
    chargers, doubts = join("1234567", known)
    series = exposed(chargers)
    assert len(chargers) == case.get("chargers", 1)
    assert {name: matching(series, name) for name in case.get("expect", {})} == {
        name: [pytest.approx(value, abs=1e-9)] for name, value in case.get("expect", {}).items()
    }
    assert {name: matching(series, name) for name in case.get("absent", [])} == {
        name: [] for name in case.get("absent", [])
    }
    assert sorted(problem.kind for problem in (*problems, *doubts)) == sorted(case.get("problems", []))
    if "lifetime" in case:
        assert [known.summary[charger.serial].lifetime_energy_kwh for charger in chargers] == [
            case["lifetime"]
        ]
    if "raw" in case:
        assert [charger.connector_status_raw for charger in chargers] == [case["raw"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['file']}: {case['name']}")
def test_a_case_says_where_it_is_from_and_asserts_something(case: Case) -> None:
    known_keys = {"name", "source", "file", "status", "statuses", "charger", "flat", "summary", "summaries"}
    known_keys |= {"about", "charge_mode", "last_reported", "expect", "absent", "chargers", "problems"}
    assert set(case) <= known_keys | {"lifetime", "raw", "refused"}
    assert case["source"]
    assert (
        any(case.get(key) is not None for key in ("expect", "absent", "chargers", "refused"))
        or "lifetime" in case
    )


def test_the_table_is_complete_enough_to_be_a_contract() -> None:
    assert len(CASES) >= 150
    assert len({case["name"] for case in CASES}) == len(CASES)


@given(status_like, summary_like)
@settings(max_examples=150, deadline=None)
def test_no_answer_makes_an_exposition_that_the_official_parsers_refuse(status: Any, summary: Any) -> None:
    known = Knowledge()
    with suppress(UnexpectedPayload):
        known = with_summary(known, parse_summary(wire(summary)))
    with suppress(UnexpectedPayload):
        known = with_status(known, parse_status(wire(status)))
    chargers, _ = join("1234567", known)
    snapshot = Snapshot(sites=(Site("1234567", "home", chargers=chargers),))
    text = Exposition().render_now(snapshot, Format.TEXT).decode()
    openmetrics = Exposition().render_now(snapshot, Format.OPENMETRICS).decode()
    told = {charger.serial for charger in chargers}
    official = openmetrics_families(openmetrics)  # type: ignore[no-untyped-call]  # the library's own gap
    for families in (list(text_string_to_metric_families(text)), list(official)):
        infos = [family for family in families if family.name == f"{PREFIX}charger_info"]
        assert {sample.labels["serial"] for family in infos for sample in family.samples} == told
