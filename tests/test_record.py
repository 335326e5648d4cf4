"""What `record` writes parses to the same model, up to what was replaced, and holds nothing private."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from exporter import invented
from exporter.errors import UnexpectedPayload
from exporter.model import (
    ChargeModePreference,
    ChargerStatus,
    ChargerSummary,
    NetworkAddress,
    SiteEntry,
    Status,
    Summary,
)
from exporter.parse import (
    parse_charge_mode,
    parse_last_reported,
    parse_sites,
    parse_status,
    parse_summary,
)
from exporter.parse_values import NEWEST_SECONDS, OLDEST_SECONDS
from exporter.record import Recording, case_text, random_days, written
from exporter.scrub import DAY_SECONDS, Scrubber
from exporter.simulator import wire
from exporter.simulator.bend import BENDERS
from exporter.simulator.world import World, WorldConfig
from tests import test_payloads
from tests.commands import cloud_with, command, environment_for
from tests.test_parse import status_like, summary_like
from tests.test_parse import wire as sloppy_json
from tests.test_payloads import CASES, Case, bodies

DAYS = 100
SHIFT = DAYS * DAY_SECONDS
NOW = 1777746675.0
PARSERS: dict[str, Callable[[bytes], Any]] = {
    "status": parse_status,
    "summary": parse_summary,
    "charge_mode": parse_charge_mode,
    "last_reported": parse_last_reported,
    "sites": parse_sites,
}


class Translated:
    """What the model of a scrubbed body must be, made from the model of the original."""

    def __init__(self, scrubber: Scrubber) -> None:
        self.made = scrubber.invented

    def model(self, value: Any) -> Any:
        match value:
            case Status():
                chargers = tuple(self.charger(one) for one in value.chargers)
                return replace(
                    value,
                    chargers=chargers,
                    timestamp_seconds=self.time(value.timestamp_seconds),
                    problems=(),
                )
            case Summary():
                about = tuple(self.about(one) for one in value.chargers)
                return replace(
                    value, chargers=about, timestamp_seconds=self.time(value.timestamp_seconds), problems=()
                )
            case ChargeModePreference():
                return replace(value, problems=())
            case tuple():
                return tuple(self.site(one) for one in value)
            case dict():
                return {self.serial(serial): self.time(seconds) for serial, seconds in value.items()}
        raise AssertionError(value)

    def serial(self, serial: str) -> str:
        return self.made.word("serial", serial)

    def time(self, seconds: float | None) -> Any:
        if seconds is None or seconds - SHIFT < OLDEST_SECONDS:
            return seconds
        return pytest.approx(seconds - SHIFT, abs=0.01)

    def name(self, name: str | None) -> str | None:
        return None if name is None else self.made.name(name)

    def site(self, site: SiteEntry) -> SiteEntry:
        return SiteEntry(self.made.word("site", site.site_id), self.name(site.name))

    def charger(self, one: ChargerStatus) -> ChargerStatus:
        times: dict[str, Any] = {
            name: self.time(getattr(one, name))
            for name in (
                "last_reported_seconds",
                "offline_since_seconds",
                "session_start_seconds",
                "session_plugged_in_seconds",
                "session_plugged_out_seconds",
            )
        }
        return replace(one, serial=self.serial(one.serial), name=self.name(one.name), **times)

    def about(self, one: ChargerSummary) -> ChargerSummary:
        network = one.network
        if network is not None:
            address = self.made.address(network.ip_address)
            assert address is not None
            network = NetworkAddress(network.interface, address)
        return replace(
            one,
            serial=self.serial(one.serial),
            name=self.name(one.name),
            network=network,
            last_reported_seconds=self.time(one.last_reported_seconds),
        )


def outcome(parse: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return parse(body)
    except UnexpectedPayload as refusal:
        return str(refusal)


def kinds(model: Any) -> list[str]:
    return [problem.kind for problem in getattr(model, "problems", ())]


def assert_same_model(endpoint: str, body: bytes) -> None:
    scrubber = Scrubber(DAYS)
    before, after = (outcome(PARSERS[endpoint], one) for one in (body, scrubber.body(endpoint, body)))
    if isinstance(before, str):
        assert after == before
        return
    assert kinds(after) == kinds(before)
    expected = Translated(scrubber).model(before)
    assert (replace(after, problems=()) if hasattr(after, "problems") else after) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['file']}: {case['name']}")
def test_every_payload_of_the_table_parses_to_the_same_model_when_scrubbed(case: Case) -> None:
    for endpoint, several in (("status", "statuses"), ("summary", "summaries")):
        for body in bodies(case, endpoint, several):
            assert_same_model(endpoint, body)
    for endpoint in ("charge_mode", "last_reported"):
        if endpoint in case:
            assert_same_model(endpoint, test_payloads.body(case[endpoint]))


def simulated() -> dict[str, tuple[str, Any]]:
    """Every answer of the simulator that is data, in every shape."""
    world = World(WorldConfig(sites=2, chargers=2, start_seconds=NOW - 40_000), clock=lambda: NOW)
    site = next(iter(world.sites.values()))
    charger = next(iter(site.chargers.values()))
    return {
        "enveloped": ("status", wire.status_enveloped(site, NOW)),
        "flat": ("status", wire.status_flat(site, NOW)),
        "keyed": ("status", wire.status_keyed(site, NOW)),
        "summary": ("summary", wire.summary_list(site, NOW, filter_retired=False)),
        "summary of one": ("summary", wire.envelope(wire.summary_entry(charger, NOW), NOW)),
        "last reported": ("last_reported", wire.last_reported(site, NOW)),
        "charge mode": ("charge_mode", wire.charge_mode("GREEN_CHARGING", NOW)),
        "a refusal": ("status", wire.refusal_payload(404, "Invalid site", NOW)),
        "sites": ("sites", {"sites": [{"id": 1234567, "path": "/web/1234567", "title": "Main"}]}),
    }


SIMULATED = simulated()


@pytest.mark.parametrize("name", SIMULATED)
def test_every_shape_of_the_simulator_parses_to_the_same_model_when_scrubbed(name: str) -> None:
    endpoint, payload = SIMULATED[name]
    assert_same_model(endpoint, json.dumps(payload).encode())


@pytest.mark.parametrize("kind", sorted(BENDERS))
@pytest.mark.parametrize("name", ["enveloped", "flat", "summary"])
def test_bent_shapes_parse_to_the_same_model_when_scrubbed(name: str, kind: str) -> None:
    endpoint, payload = simulated()[name]
    bent = BENDERS[kind](payload, {})
    assert_same_model(endpoint, json.dumps(bent).encode())


@given(status_like, summary_like)
@settings(max_examples=100, deadline=None)
def test_no_payload_breaks_the_scrubbing(status: Any, summary: Any) -> None:
    for endpoint, payload in (("status", status), ("summary", summary)):
        body = sloppy_json(payload)
        scrubbed = Scrubber(DAYS).body(endpoint, body)
        before, after = outcome(PARSERS[endpoint], body), outcome(PARSERS[endpoint], scrubbed)
        assert isinstance(before, str) == isinstance(after, str)
        if not isinstance(before, str):
            assert len(before.chargers) == len(after.chargers)


CANARIES = {
    "sn": "482512345678",
    "name": "Canary Garage",
    "evManufacturerName": "CanaryMotors",
    "auth_token": "canarytoken99",
    "auth_id": "0451CANARY",
    "ownerName": "Caroline Canary",
    "address": {"street": "Canary Lane 7", "zip": "90210-1234", "lat": 52.516274, "userId": 98765432},
    "wifiConfig": "connectionStatus=1, SSID=CanaryNet, status=connected",
    "networkConfig": '["mac_addr=a4:cf:12:9b:33:7e,ipaddr=192.168.77.21,gateway=192.168.77.1"]',
    "modelName": "mail canary@example.org",
    "note": "call +49 170 1234567",
    "mode": "192.168.77.99",
    "tz": "Pacific/Canary",
    "fe80": "fe80::a6cf:12ff:fe9b:337e",
}


def test_nothing_private_is_left_in_a_scrubbed_payload() -> None:
    body = json.dumps({"data": {"site": "7654321", "chargers": [CANARIES]}, "error": {}}).encode()
    text = Scrubber(DAYS).body("status", body).decode()
    for private in (
        *(
            "482512345678",
            "anary",
            "0451",
            "Caroline",
            "90210",
            "52.51",
            "98765432",
            "a4:cf",
            "192.168",
            "1234567",
        ),
        *("7654321", "example.org", "fe80::"),
    ):
        assert private not in text, private
    assert "connectionStatus=1, SSID=xxxxxxxxx, status=connected" in text


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("CanaryHome", "xxxxxxxxxx"),
        ("[...]", "[...]"),
        ("Canary: ipaddr=10.1.2.3, Lane 7", "xxxxxx: ipaddr=192.0.2.1, xxxx 9"),
        ('["SSID=My,Home 5"]', '["SSID=xx,xxxx 9"]'),
        (
            '[{"ipaddr": "10.1.2.3", "connectionStatus": "1"}]',
            '[{"ipaddr": "192.0.2.1", "connectionStatus": "1"}]',
        ),
        (
            '["mac_addr=A4-CF-12-9B-33-7E,ipaddr=10.1.2.3,interf',
            '["mac_addr=02:00:00:00:00:01,ipaddr=192.0.2.1,xxxxxx',
        ),
        ("ipaddr=0.0.0.0,gateway=", "ipaddr=0.0.0.0,gateway="),
    ],
)
def test_a_network_in_a_text_keeps_its_keys_and_nothing_else(text: str, scrubbed: str) -> None:
    body = json.dumps({"data": [{"serialNumber": "A", "networkConfig": text}]}).encode()
    made = json.loads(Scrubber(DAYS).body("summary", body))["data"][0]["networkConfig"]
    assert made == scrubbed


def test_the_end_of_an_overlong_serial_is_masked() -> None:
    made = invented.Invented().word("serial", " " + "7" * 64 + "-canary-1 ")
    assert made.endswith("-xxxxxx-9 ")
    assert made.startswith(" 1")


def test_what_belongs_together_still_does() -> None:
    scrubber = Scrubber(DAYS)
    status = scrubber.body("status", b'{"data":{"chargers":[{"sn":"482512345678"}]}}')
    summary = scrubber.body("summary", b'{"data":[{"serialNumber":482512345678}]}')
    (serial,) = (one.serial for one in parse_status(status).chargers)
    assert [one.serial for one in parse_summary(summary).chargers] == [serial]
    assert len(serial) == 12
    assert isinstance(json.loads(summary)["data"][0]["serialNumber"], int)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-05-02T18:30:00.000Z[UTC]", "2026-01-22T18:30:00.000Z[UTC]"),
        ("2025-08-11T10:02:03.805264449Z[UTC]", "2025-05-03T10:02:03.805264449Z[UTC]"),
        ("2026-05-02 18:30:00+02:00", "2026-01-22 18:30:00+02:00"),
        ("20260502T183000Z", "20260122T183000Z"),
        ("1777746675250", "1769106675250"),
        (1777746675, 1769106675),
        (1777746675250, 1769106675250),
        ("1999-05-02T18:30:00Z", "1999-05-02T18:30:00Z"),
        (1262304001, 1262304001),
    ],
)
def test_a_time_moves_by_whole_days_in_its_own_spelling(before: object, after: object) -> None:
    body = json.dumps({"data": {"chargers": [{"sn": "A", "lst_rpt_at": before}]}}).encode()
    scrubbed = json.loads(Scrubber(DAYS).body("status", body))
    assert scrubbed["data"]["chargers"][0]["lst_rpt_at"] == after


def test_days_are_random_and_whole() -> None:
    days = {random_days() for _ in range(40)}
    assert len(days) > 10
    assert min(days) >= 30
    assert NOW - max(days) * DAY_SECONDS > OLDEST_SECONDS
    assert NEWEST_SECONDS > NOW


def test_two_serials_never_become_one() -> None:
    made = invented.Invented()
    words = [*map(str, range(40)), "A", "B", "-5", "---", "EV1234567890", "EV1234567891", "x" * 70, "x" * 65]
    stand_ins = [made.word("serial", word) for word in words]
    assert len({one[:64] for one in stand_ins}) == len({word[:64] for word in words})
    assert all(one != word for one, word in zip(stand_ins, words, strict=True))


def test_a_recorded_case_is_one_of_the_payload_table(tmp_path: Path) -> None:
    recording = Recording()
    for name in ("sites", "enveloped", "summary", "last reported", "charge mode"):
        endpoint, payload = SIMULATED[name]
        recording.heard(endpoint, json.dumps(payload).encode())
    paths = written(recording, tmp_path / "new", Scrubber(DAYS))
    assert [path.name for path in paths] == ["recorded-sites-1.json", "recorded-1.yaml"]
    (case,) = yaml.safe_load(paths[1].read_text())
    case["file"] = "recorded"
    test_payloads.test_a_case_says_where_it_is_from_and_asserts_something(case)
    test_payloads.test_what_a_payload_tells_is_what_is_exposed(case)
    assert case["chargers"] == 2
    assert parse_sites(paths[0].read_bytes()) == (SiteEntry("1000001", "Name 1"),)


def test_a_recorded_refusal_is_a_case_too() -> None:
    body = Scrubber(DAYS).body("status", json.dumps(SIMULATED["a refusal"][1]).encode())
    (case,) = yaml.safe_load(case_text(1, [("status", body)]))
    assert case["refused"] == "status: answer carries an error (iqevc_ms-10404)"
    test_payloads.test_what_a_payload_tells_is_what_is_exposed(case)


async def test_the_command_writes_files_and_asks_to_look_at_them(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings_ = environment_for(cloud.url, tmp_path / "state")
        said = await command(settings_, "record", str(tmp_path / "new"))
        assert said.code == 0, said.err
        assert "Look through every file before you share it" in said.out
        text = "".join(path.read_text() for path in (tmp_path / "new").iterdir())
        for private in ("482500000017", "1234567", "IQ EV Charger", "192.0.2.19", "_enlighten", "eyJ"):
            assert private not in text, private
        for endpoint in ("status", "summary", "last_reported", "charge_mode"):
            assert f"  {endpoint}: |" in text
        again = await command(settings_, "record", str(tmp_path / "new"))
        assert (again.code, "is not empty" in again.err) == (2, True)


async def test_a_recording_that_is_refused_says_so_and_writes_nothing(tmp_path: Path) -> None:
    async with cloud_with(email="somebody@else.example") as cloud:
        said = await command(environment_for(cloud.url, tmp_path / "state"), "record", str(tmp_path / "new"))
        assert said.code == 1
        assert "not recorded: login: e-mail or password refused" in said.err
        assert not list((tmp_path / "new").iterdir())
