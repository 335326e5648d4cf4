"""One file about an exporter: what is in it, what never is, and where the recent errors come from."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import recent_errors
from exporter.config import load
from exporter.diagnostics import given_settings
from exporter.pseudonyms import Pseudonyms
from exporter.recent_errors import NAME, RecentErrors, kept_in, read_recent
from exporter.shapes_of import shape_of, shape_of_body
from tests.commands import cloud_with, command, environment_for, exporting
from tests.test_check import free_port
from tests.test_parse import any_json
from tests.wiring import wired

log = logging.getLogger("exporter.asking")


@pytest.fixture
def recent(tmp_path: Path) -> Iterator[RecentErrors]:
    with kept_in(tmp_path) as handler:
        yield handler


# -- shapes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("482500000017", "<digits 12>"),
        ("IQ EV Charger_0017", "<text 18>"),
        ("CHARGING", "CHARGING"),
        ("GREEN_CHARGING", "GREEN_CHARGING"),
        ("WARMING_UP", "<text 10>"),
        ("", ""),
        ("2026-05-02T18:30:00.000Z[UTC]", "<time ISO .000 Z[UTC]>"),
        ("2026-05-02T18:30:00+02:00", "<time ISO +00:00>"),
        ("1777746675", "<time epoch s>"),
        ("140.5", "<decimal text>"),
        ('[\n"ipaddr=192.0.2.1"]', "<text like JSON 21>"),
        ("connectionStatus=0, SSID=Home", "<text key=value 29>"),
        (1777746675250, "<time epoch ms>"),
        (482500000017, "<number>"),
        (32, "<number>"),
        (10542.37, "<decimal>"),
        (32.0, "<decimal .0>"),
        (True, True),
        (None, None),
        ({"sn": "A1"}, {"sn": "<text 2>"}),
        ({"482500000017": {"e_c": 1}}, {"<digits 12>": {"e_c": "<number>"}}),
        ([1, 2, 3], ["<number>", "<3 in all>"]),
        ([1, "x"], ["<number>", "<text 1>"]),
    ],
)
def test_a_value_is_masked_by_what_it_is(value: object, shape: object) -> None:
    assert shape_of(value) == shape


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (b"", "<empty>"),
        (b"<!DOCTYPE html><html>x", "<HTML 22>"),
        (b'{"a":', "<not JSON 5>"),
        (b'"x"', "<text 1>"),
    ],
)
def test_a_body_that_is_no_object_has_a_shape_too(body: bytes, shape: str) -> None:
    assert shape_of_body(body) == shape


@given(any_json)
def test_the_shape_of_a_shape_holds_no_long_number(value: Any) -> None:
    text = json.dumps(shape_of(value))
    assert not any(run.isdigit() and len(run) > 4 for run in text.replace('"', " ").split())


@given(st.text(alphabet="abcxyz0123456789@./ -", min_size=12))
def test_no_text_that_is_not_a_known_word_stays(text: str) -> None:
    assert text.strip() not in json.dumps(shape_of({"name": text})) or not text.strip()


# -- pseudonyms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("site 1234567 is down", "site site-1 is down"),
        ("status: HTTP 503", "status: HTTP 503"),
        ("answer carries an error (iqevc_ms-10007)", "answer carries an error (iqevc_ms-10007)"),
        ("connectorStatusType='WARMING_UP'", "connectorStatusType='WARMING_UP'"),
        ("displayName='Garage of Ann'", "displayName='<text 13>'"),
        ("displayName='Garage of Ann, cut of", "displayName='<text 21>'"),
        ("at 192.168.7.20 and fe80::1:2", "at <ip> and <ip>"),
        ("mac a4:cf:12:9b:33:7e", "mac <mac>"),
        ("https://example.org/x?token=1 failed", "<url> failed"),
        ("ann@example.org wrote", "*** wrote"),
        ("/home/ann/state/state.sqlite3: gone", "<path>: gone"),
        ("charger 482599998888 twice", "charger <text 12> twice"),
        ("token a8b7c6d5e4f3a2b1c0d9", "token <text 20>"),
        ("before 2026-11-22 18:44 UTC", "before 2026-11-22 18:44 UTC"),
    ],
)
def test_free_text_keeps_what_helps_and_nothing_private(text: str, scrubbed: str) -> None:
    names = Pseudonyms()
    names.of("site", "1234567")
    assert names.scrubbed(text) == scrubbed


def test_a_pseudonym_is_the_same_for_the_same() -> None:
    names = Pseudonyms()
    assert [names.of("charger", text) for text in ("A", "B", "A", " A ")] == [
        *("charger-1", "charger-2", "charger-1", "charger-1")
    ]
    assert names.of("name", "") == ""
    assert names.plain("A") == "charger-1"
    assert names.plain("IQ-EVSE-EU-3032") == "IQ-EVSE-EU-3032"
    assert names.plain("Ann's 482500000017") == "<text 18>"


def test_a_traceback_keeps_places_and_types_and_no_source() -> None:
    secret = "482512345678"
    try:
        dict.fromkeys("A")[secret]
    except KeyError:
        text = logging.Formatter().formatException(sys.exc_info())
    told = Pseudonyms().traceback(text)
    assert told[0] == "Traceback (most recent call last):"
    assert told[1].startswith("test_diagnostics.py:")
    assert told[-1] == "KeyError: '<text 12>'"
    assert not any(secret in line or "fromkeys" in line for line in told)


# -- recent errors -----------------------------------------------------------------------------------------


def test_warnings_and_errors_are_on_disk_and_information_is_not(tmp_path: Path) -> None:
    with kept_in(tmp_path):
        log.info("fine")
        log.warning("site is down", extra={"site_id": "1", "why": "status: HTTP 503"})
    (entry,) = read_recent(tmp_path)
    assert (entry["level"], entry["msg"], entry["site_id"]) == ("warning", "site is down", "1")
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_a_quiet_exporter_writes_nothing_and_starts_no_thread(tmp_path: Path, recent: RecentErrors) -> None:
    recent.heard("status", b"{}")
    log.info("fine")
    assert list(tmp_path.iterdir()) == []
    assert recent._thread is None


def test_what_ended_the_exporter_is_there_afterwards(tmp_path: Path) -> None:
    def broken() -> None:
        raise RuntimeError("with a password=hunter2 in it")

    with pytest.raises(RuntimeError), kept_in(tmp_path):
        broken()
    (entry,) = read_recent(tmp_path)
    assert entry["msg"] == "ended by an error"
    assert "RuntimeError" in entry["exc"]
    assert "hunter2" not in entry["exc"]


@pytest.mark.parametrize(
    "extra", [{"endpoint": "status", "detail": "e_c='x'"}, {"why": "status: data is missing"}]
)
def test_a_warning_about_an_answer_has_its_shape(tmp_path: Path, extra: dict[str, str]) -> None:
    with kept_in(tmp_path) as recent:
        recent.heard("status", b'{"old": 1}')
        recent.heard("status", b'{"data": {"sn": "482500000017"}}')
        recent.heard("summary", b"{}")
        log.warning("odd payload", extra=extra)
    (entry,) = read_recent(tmp_path)
    assert entry["shape_of"] == "status"
    assert entry["shape"] == {"data": {"sn": "<digits 12>"}}


def test_a_huge_answer_is_not_held_on_to(tmp_path: Path) -> None:
    with kept_in(tmp_path) as recent:
        recent.heard("status", b" " * 300_000)
        log.warning("odd payload", extra={"endpoint": "status"})
    assert "shape" not in read_recent(tmp_path)[0]


def test_the_files_stay_small_and_keep_the_newest(tmp_path: Path) -> None:
    with kept_in(tmp_path):
        for number in range(3000):
            log.warning("again", extra={"number": number})
    entries = read_recent(tmp_path)
    assert entries[-1]["number"] == 2999
    assert len(entries) == 200
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4 * recent_errors._MOST_BYTES


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"msg": "whole"}\n17\n{"msg": "cut o')
    assert read_recent(tmp_path) == [{"msg": "whole"}]


def test_a_folder_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    with kept_in(tmp_path / "gone"):
        log.warning("site is down")
    assert read_recent(tmp_path / "gone") == []


async def test_an_overheard_client_tells_what_it_reads_and_no_login() -> None:
    heard: list[tuple[str, bytes]] = []
    async with wired() as w:
        w.client.heard = lambda endpoint, body: heard.append((endpoint, body))
        status = await w.client.fetch_status(w.site_id)
        assert w.logins() == 1
    assert [endpoint for endpoint, _ in heard] == ["status"]
    assert status.chargers[0].serial.encode() in heard[0][1]


# -- the file ----------------------------------------------------------------------------------------------


def test_what_was_given_and_where_is_known(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("accounts: [{email: a@b.example, password: x}]\npoll: {interval: 30s}\n")
    path.chmod(0o600)
    found = given_settings(path, {"ENPHASE_EV_LOG_LEVEL": "debug"}, {"poll.align": "none"})
    assert found == {
        "poll.interval": "file",
        "log.level": "environment",
        "accounts[0].email": "file",
        "accounts[0].password": "file",
        "poll.align": "flag",
    }
    load(path, {}, {})


async def test_the_file_shows_settings_by_kind_and_values_only_where_they_are_harmless(
    tmp_path: Path,
) -> None:
    settings = environment_for(
        "http://127.0.0.1:9", tmp_path, ENPHASE_EV_SITES="7654321", ENPHASE_EV_CONTROL_TOKEN="t" * 20
    )
    said = await command(settings, "diagnostics")
    assert said.code == 0, said.err
    document = json.loads(said.out)
    config = document["config"]
    assert config["poll.interval"] == {"from": "environment", "value": "100ms"}
    assert config["poll.align"]["value"] == "none"
    assert config["control.token"]["value"] == "secret"
    assert config["state.path"]["value"] == "given"
    assert config["web.listen_address"]["value"] == "list of 1"
    assert config["cloud"]["value"] == "a loopback address"
    assert document["accounts"] == [
        {"name": "given", "email": "given", "password": "given", "sites": "list of 1"}
    ]
    assert document["exporter"] == {"asked": False, "why": "its port is chosen by the system"}
    assert document["payload_shapes"].startswith("not asked for")
    assert document["state"]["is_writable"] is True


async def test_the_file_has_the_counters_of_the_running_exporter_under_pseudonyms(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(
            cloud.url, tmp_path, ENPHASE_EV_WEB_LISTEN_ADDRESS=f"127.0.0.1:{free_port()}"
        )
        async with exporting(settings) as exporter:
            await exporter.shows('enphase_ev_up{site_id="1234567"} 1', "charger_network_info{")
            said = await command(settings, "diagnostics", "--output", str(tmp_path / "out.json"))
    assert "Look through it before you attach it" in said.out
    text = (tmp_path / "out.json").read_text()
    samples = json.loads(text)["exporter"]["samples"]
    assert 'enphase_ev_up{site_id="site-1"} 1' in samples
    assert any(
        line.startswith('enphase_ev_charger_info{site_id="site-1",serial="charger-1",') for line in samples
    )
    assert any('firmware_version="25.37.1.14"' in line for line in samples)
    assert any(line.startswith('enphase_ev_api_requests_total{account="account-1"') for line in samples)
    assert not any("energy" in line or "session" in line for line in samples)
    for private in ("1234567", "482500000017", "IQ EV Charger", "192.0.2.", "owner@example.com"):
        assert private not in text


async def test_the_file_says_that_another_exporter_answered_and_has_nothing_of_it(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        address = f"127.0.0.1:{free_port()}"
        others = environment_for(cloud.url, tmp_path / "theirs", ENPHASE_EV_WEB_LISTEN_ADDRESS=address)
        async with exporting(others) as exporter:
            await exporter.shows('enphase_ev_up{site_id="1234567"} 1')
            own = others | {"ENPHASE_EV_STATE_PATH": str(tmp_path / "mine")}
            said = await command(own, "diagnostics")
    document = json.loads(said.out)
    why = "another exporter answered; its counters are left out"
    assert document["exporter"] == {"asked": True, "why": why}
    assert (document["state"]["is_writable"], document["state"]["owner_is_caller"]) == (True, None)


async def test_online_it_asks_once_and_shows_shapes(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        said = await command(environment_for(cloud.url, tmp_path), "diagnostics", "--online")
        assert said.code == 0, said.err
        asked = sorted(entry.endpoint for entry in cloud.cloud.journal)
    assert asked == ["charge_mode", "last_reported", "login", "sites", "status", "summary", "token"]
    shapes = json.loads(said.out)["payload_shapes"]
    assert shapes["status"]["data"]["chargers"][0]["sn"] == "<digits 12>"
    assert shapes["charge_mode"]["data"]["modes"]["greenCharging"]["chargingMode"] == "GREEN_CHARGING"
    assert shapes["errors"] == []


async def test_a_refused_login_is_in_the_file_and_still_makes_one(tmp_path: Path) -> None:
    async with cloud_with(email="somebody@else.example") as cloud:
        said = await command(environment_for(cloud.url, tmp_path), "diagnostics", "--online")
    document = json.loads(said.out)
    assert said.code == 0
    assert document["payload_shapes"]["errors"][0].startswith("login: e-mail or password refused")
    assert any(one["level"] == "fail" for one in document["findings"])


async def test_a_file_that_cannot_be_written_is_bad_usage(tmp_path: Path) -> None:
    settings = environment_for("http://127.0.0.1:9", tmp_path)
    said = await command(settings, "diagnostics", "--output", str(tmp_path / "no" / "out.json"))
    assert (said.code, "--output" in said.err) == (2, True)
