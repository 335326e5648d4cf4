"""What parsing promises beyond the payload table: small answers, refusals, and that nothing breaks it."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import UnexpectedPayload
from exporter.model import ConnectorStatus, SiteEntry
from exporter.parse import (
    CloudRefusal,
    parse_charge_mode,
    parse_last_reported,
    parse_live_stream,
    parse_refusal,
    parse_sites,
    parse_status,
    parse_summary,
)
from exporter.parse_values import flag, iso_seconds, network_address, number, seconds, text

PARSERS: list[Callable[[bytes], object]] = [
    parse_status,
    parse_summary,
    parse_charge_mode,
    parse_last_reported,
    parse_sites,
    parse_live_stream,
    parse_refusal,
]

# Every key of the payload table, so that random values land in fields that are read.
PAYLOADS = Path(__file__).parent / "payloads"
WIRE_KEYS = sorted(
    {key for path in PAYLOADS.glob("*.yaml") for key in re.findall(r"(\w+)\"?:", path.read_text())}
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=0, max_value=2 * 10**12)
    | st.just(10**307)
    | st.floats(allow_nan=True)
    | st.text(max_size=40)
    | st.text(alphabet=st.characters(), max_size=300)
    | st.sampled_from(
        ["1", "true", "", "NaN", "1e999", "9" * 400, "2026-05-02T18:30:00.000Z[UTC]", "-", "[", '["a=1']
    )
    | st.sampled_from(
        [
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            "CHARGING",
            "192.0.2.1",
            "\u0000",
            "\uff11",
        ]
    )
)


def json_objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(WIRE_KEYS) | st.text(max_size=5)
    return st.lists(values, max_size=4) | st.dictionaries(keys, values, max_size=8)


any_json = st.recursive(scalars, json_objects, max_leaves=30)
some_json = scalars | json_objects(scalars | json_objects(scalars))
charger = st.tuples(
    st.text(max_size=3) | scalars, st.dictionaries(st.sampled_from(WIRE_KEYS), some_json, max_size=12)
).map(lambda parts: {**parts[1], "sn": parts[0]})
status_like = st.lists(charger, max_size=3).flatmap(
    lambda chargers: st.sampled_from(
        [
            {"data": {"chargers": chargers}},
            {"evChargerData": chargers, "ts": 1777746675},
            {"data": {f"key{position}": charger for position, charger in enumerate(chargers)}},
        ]
    )
)
summary_like = st.lists(charger, max_size=3).map(
    lambda chargers: {"data": [{**charger, "serialNumber": charger["sn"]} for charger in chargers]}
)


def wire(value: Any) -> bytes:
    """JSON as sloppy servers write it: NaN and Infinity as bare words, lone surrogates as escapes."""
    return json.dumps(value).encode()


def texts_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple | list):
        return [found for element in value for found in texts_in(element)]
    if isinstance(value, dict):
        return [found for pair in value.items() for found in texts_in(pair)]
    if hasattr(value, "__dataclass_fields__"):
        return [found for part in fields(value) for found in texts_in(getattr(value, part.name))]
    return []


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, float):
        return [value]
    if isinstance(value, tuple):
        return [found for element in value for found in numbers_in(element)]
    if hasattr(value, "__dataclass_fields__"):
        return [found for part in fields(value) for found in numbers_in(getattr(value, part.name))]
    return []


def assert_every_parser_copes(body: bytes) -> None:
    for parse in PARSERS:
        try:
            result = parse(body)
        except UnexpectedPayload as refusal:
            assert parse is not parse_refusal
            result = str(refusal)
        for found in texts_in(result):
            found.encode()
            assert len(found) <= 400
        for found_number in numbers_in(result):
            assert abs(found_number) < float("inf")


@given(any_json)
@settings(max_examples=150, deadline=None)
def test_no_json_value_makes_parsing_raise_anything_but_unexpected_payload(value: Any) -> None:
    assert_every_parser_copes(wire(value))


@given(status_like)
@settings(max_examples=150, deadline=None)
def test_no_charger_in_status_makes_parsing_raise_anything(value: Any) -> None:
    body = wire(value)
    assert_every_parser_copes(body)


@given(summary_like)
@settings(max_examples=100, deadline=None)
def test_no_charger_in_summary_makes_parsing_raise_anything(value: Any) -> None:
    assert_every_parser_copes(wire(value))


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_bytes_make_parsing_raise_anything_but_unexpected_payload(body: bytes) -> None:
    assert_every_parser_copes(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"data":' * 100_000,
        b'{"data": {"chargers": [{"sn": "A", "mode": 1e400}]}}',
        b'{"data": {"chargers": [{"sn": "A", "mode": ' + b"9" * 5000 + b"}]}}",
        b'{"data": {"chargers": [{"sn": "\\ud800"}]}}',
        b'{"data": {"chargers": [{"sn": "\xff"}]}}',
        b'{"data": {"chargers": []}} trailing',
    ],
    ids=[
        "deep list",
        "deep object",
        "huge float",
        "huge integer",
        "lone surrogate",
        "not UTF-8",
        "two values",
    ],
)
def test_hostile_json_is_an_unexpected_payload(body: bytes) -> None:
    with pytest.raises(UnexpectedPayload, match="status: body is not JSON"):
        parse_status(body)


def test_an_integer_too_large_for_a_float_is_a_bad_type() -> None:
    status = parse_status(b'{"data": {"chargers": [{"sn": "A", "session_d": {"e_c": ' + b"9" * 309 + b"}}]}}")
    assert status.chargers[0].session_energy_kwh is None
    assert [problem.kind for problem in status.problems] == ["bad_type"]


def test_texts_are_cut_to_what_a_label_can_bear() -> None:
    long = "x" * 100_000
    charger = {"sn": long, "name": long, "connectorStatusType": long, "connectorStatusReason": long}
    status = parse_status(wire({"data": {"chargers": [{**charger, "sch_d": {"info": [{"type": long}]}}]}}))
    assert {len(found) for found in texts_in(status.chargers)} <= {7, 64, 128}
    assert all(len(problem.detail) < 100 for problem in status.problems)


def test_a_problem_names_the_field_and_quotes_no_object() -> None:
    status = parse_status(
        wire({"data": {"chargers": [{"sn": "A", "faulted": {"token": "secret"}, "mode": 9}]}})
    )
    details = [(problem.kind, problem.detail) for problem in status.problems]
    assert details == [("bad_type", "faulted=an object"), ("unknown_value", "mode=9")] or details == [
        ("unknown_value", "mode=9"),
        ("bad_type", "faulted=an object"),
    ]


def test_an_unexpected_payload_never_quotes_the_body() -> None:
    for body in (
        b'"secret"',
        b'{"data": "secret"}',
        b'{"error": {"code": "se cret", "displayMessage": "secret"}}',
    ):
        for parse in PARSERS[:-1]:
            with pytest.raises(UnexpectedPayload) as refusal:
                parse(body)
            assert "cret" not in str(refusal.value)


def test_the_cloud_time_comes_from_the_envelope_or_from_ts() -> None:
    stamps = [
        parse_status(wire({**answer, "data": {"chargers": []}})).timestamp_seconds
        for answer in (
            {"meta": {"serverTimeStamp": 1777746675250}},
            {"meta": {"serverTimeStamp": "2026-05-02T18:30:00.000+00:00"}},
            {"ts": 1777746675},
            {"meta": None, "ts": None},
            {},
        )
    ]
    assert stamps == [1777746675.25, 1777746600.0, 1777746675.0, None, None]


def test_a_flat_energy_comes_with_its_other_reading_and_an_enveloped_one_alone() -> None:
    flat = parse_status(wire({"evChargerData": [{"sn": "A", "session_d": {"e_c": 3520}}]})).chargers[0]
    small = parse_status(wire({"evChargerData": [{"sn": "A", "session_d": {"e_c": 3.52}}]})).chargers[0]
    nested = parse_status(wire({"data": {"chargers": [{"sn": "A", "session_d": {"e_c": 3520}}]}})).chargers[0]
    assert (flat.session_energy_kwh, flat.session_energy_other_kwh) == (3.52, 3520.0)
    assert (small.session_energy_kwh, small.session_energy_other_kwh) == (3.52, 0.00352)
    assert (nested.session_energy_kwh, nested.session_energy_other_kwh) == (3.52, None)


def test_what_no_series_shows_is_read_all_the_same() -> None:
    body = wire(
        {
            "data": {
                "chargers": [
                    {
                        "sn": "A",
                        "offlineAt": "2026-05-02T18:30:00Z[UTC]",
                        "session_d": {"sessionCost": "-0.5"},
                        "connectorStatusType": "UNKNOWN",
                    }
                ]
            }
        }
    )
    status = parse_status(body)
    assert status.chargers[0].offline_since_seconds == 1777746600
    assert status.chargers[0].session_cost == -0.5
    assert status.chargers[0].connector_status is ConnectorStatus.UNKNOWN
    assert status.problems == ()


@pytest.mark.parametrize(
    ("told", "phases", "has_neutral"),
    [
        ({"phaseCount": 3, "phaseMode": 1}, 3, None),
        ({"phaseCount": "1"}, 1, None),
        ({"phaseMode": 3}, 3, None),
        ({"phaseMode": "SINGLE"}, 1, None),
        ({"phaseMode": "three_phase"}, 3, None),
        ({"wiringConfiguration": {"L1": "L1"}}, 1, False),
        ({"wiringConfiguration": {"L1": "L1", "L2": "L2", "L3": "L3", "N": "N"}}, 3, True),
        ({"wiringConfiguration": {}}, None, None),
        ({}, None, None),
    ],
)
def test_phases_come_from_count_mode_or_wiring(
    told: Any, phases: int | None, has_neutral: bool | None
) -> None:
    summary = parse_summary(wire({"data": [{"serialNumber": "A", **told}]}))
    assert (summary.chargers[0].phases, summary.chargers[0].has_neutral) == (phases, has_neutral)
    assert summary.problems == ()


def test_granularity_and_reporting_interval_are_read_as_numbers() -> None:
    told = {"serialNumber": "A", "reportingInterval": "300", "chargeLevelDetails": {"granularity": "16"}}
    charger = parse_summary(wire({"data": [told]})).chargers[0]
    assert (charger.reporting_interval_seconds, charger.granularity_amperes) == (300.0, 16.0)


def test_last_reports_without_a_usable_time_are_left_out() -> None:
    body = wire(
        {"data": {"A": 1769999900000, "B": "2026-05-02T18:30:00Z", "C": None, "D": "soon", "": 1769999900}}
    )
    assert parse_last_reported(body) == {"A": 1769999900.0, "B": 1777746600.0}


@pytest.mark.parametrize("wrapper", ["sites", "data", "items", "systems", None])
def test_sites_are_found_in_every_wrapper(wrapper: str | None) -> None:
    listed = [{"id": 1234567, "title": "Main Site", "favourite": False}]
    answer = listed if wrapper is None else {wrapper: listed}
    assert parse_sites(wire(answer)) == (SiteEntry("1234567", "Main Site"),)


def test_sites_are_known_by_any_spelling_of_id_and_name() -> None:
    listed = [
        {"site_id": "1", "name": "a"},
        {"siteId": 2, "site_name": "b"},
        {"id": "3", "siteName": "c"},
        {"system_id": 4, "display_name": "d"},
        {"id": 5, "displayName": " "},
    ]
    sites = parse_sites(wire({"sites": listed}))
    assert [(site.site_id, site.name) for site in sites] == [
        ("1", "a"),
        ("2", "b"),
        ("3", "c"),
        ("4", "d"),
        ("5", None),
    ]


def test_sites_without_a_numeric_id_and_repeated_ones_are_left_out() -> None:
    listed = [
        {"id": 1, "name": "a"},
        {"id": "1", "name": "b"},
        {"id": "Main Site"},
        {"name": "c"},
        None,
        {"id": "\uff11"},
    ]
    assert parse_sites(wire(listed)) == (SiteEntry("1", "a"),)


def test_a_site_search_without_a_list_is_an_unexpected_payload() -> None:
    with pytest.raises(UnexpectedPayload, match="sites: sites is missing"):
        parse_sites(b"{}")


@pytest.mark.parametrize(
    ("answer", "duration_seconds"),
    [
        (
            {
                "data": {"liveStreamTopicList": ["v1/evse/prod/live-stream/1"], "liveStreamDuration": 600},
                "error": {},
            },
            600,
        ),
        ({"data": {"liveStreamTopicList": []}, "error": {}}, 900),
        ({"data": {"liveStreamDuration": "soon"}}, 900),
        ({"data": {"liveStreamDuration": -1}}, 900),
        ({"status": "accepted", "topics": ["evse/1/status"], "duration_s": 30}, 30),
        ({"status": "accepted", "topics": [], "duration_s": None}, 60),
        ({"status": "Accepted"}, 60),
    ],
)
def test_a_live_stream_is_granted_in_both_shapes(answer: Any, duration_seconds: float) -> None:
    assert parse_live_stream(wire(answer)).duration_seconds == duration_seconds


def test_a_live_stream_that_is_not_accepted_is_not_granted() -> None:
    with pytest.raises(UnexpectedPayload, match="live_stream: not accepted"):
        parse_live_stream(b'{"status": "rejected", "duration_s": 60}')


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (
            b'{"meta":{},"data":null,"error":{"displayMessage":"Already charging","code":"400",'
            b'"errorMessageCode":"iqevc_ms-10012","additionalInfo":null,"status":"BAD_REQUEST"}}',
            CloudRefusal("400", "iqevc_ms-10012", "Already charging"),
        ),
        (b'{"data":null,"error":{"code":503}}', CloudRefusal("503", None, "")),
        (
            b'{"type":"about:blank","title":"Not Found","status":404,"detail":"No static resource a/b"}',
            CloudRefusal("404", None, "No static resource a/b"),
        ),
        (b'{"title":"Not Found","status":404}', CloudRefusal("404", None, "Not Found")),
        (b'{"message":"Invalid"}', CloudRefusal("", None, "Invalid")),
        (b'{"error":"No static resource"}', CloudRefusal("", None, "No static resource")),
        (b'"Too many active sessions"', CloudRefusal("", None, "Too many active sessions")),
        (b"  already in\ncharging state ", CloudRefusal("", None, "already in charging state")),
        (b"x" * 10_000, CloudRefusal("", None, "x" * 200)),
        (b"<!DOCTYPE html><html></html>", None),
        (b'{"status":"accepted"}', None),
        (b'{"meta":{},"data":{"status":"accepted"},"error":{}}', None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_a_refusal_is_read_in_every_form(body: bytes, refusal: CloudRefusal | None) -> None:
    assert parse_refusal(body) == refusal


@pytest.mark.parametrize("value", ["1_000", "0x10", "\u0661", "1,5", "--1", "1e", "", "inf", [], {}, True])
def test_what_only_looks_like_a_number_is_none(value: Any) -> None:
    problems: list[Any] = []
    assert number(value, "field", problems) is None
    assert len(problems) == 1


def test_a_negative_zero_is_a_plain_zero() -> None:
    assert str(number("-0.0", "field", [])) == "0.0"


def test_a_number_kept_as_text_is_as_it_was_written() -> None:
    assert text(25.37, "firmwareVersion", []) == "25.37"


@pytest.mark.parametrize("value", [0.0, 1.0, "Y", "ENABLE", "Off"])
def test_every_spelling_of_a_flag_is_read(value: Any) -> None:
    assert flag(value, "field", []) is (value in (1.0, "Y", "ENABLE"))


def test_seconds_and_milliseconds_part_at_ten_to_the_twelve() -> None:
    problems: list[Any] = []
    assert seconds(1e12, "field", problems) is None
    assert seconds(1_262_304_000_001, "field", problems) == 1_262_304_000.001
    assert [problem.kind for problem in problems] == ["bad_time"]


def test_iso_text_without_a_zone_is_utc_wherever_the_exporter_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        assert iso_seconds("2026-05-02T18:30:00.25") == 1777746600.25
    time.tzset()


def test_iso_text_out_of_the_calendar_is_none() -> None:
    assert iso_seconds("2026-02-30T00:00:00Z") is None


def test_an_unspecified_address_is_no_address() -> None:
    assert network_address([{"ipaddr": "0.0.0.0", "connectionStatus": 1}]) is None
