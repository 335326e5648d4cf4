import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.__main__ import run
from exporter.model import ChargeMode, FinishedSession
from exporter.simulator.cloud import start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import World, WorldConfig
from exporter.state import State

GOOD = "accounts: [{name: home, email: owner@example.com, password: pass-canary}]\n"


@pytest.fixture(autouse=True)
def state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yml"
    path.write_text(GOOD)
    path.chmod(0o600)
    return path


@pytest.fixture
def cloud_url() -> Iterator[str]:
    """A simulated cloud on a loop of its own, for commands that bring theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    cloud = asyncio.run_coroutine_threadsafe(start_cloud(World(WorldConfig())), loop).result(10)
    yield cloud.url
    asyncio.run_coroutine_threadsafe(cloud.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def online_config(path: Path, url: str, password: str = CloudConfig.password) -> Path:
    path.write_text(
        f"accounts: [{{name: home, email: {CloudConfig.email}, password: {password}}}]\n"
        f"cloud: {{base_url: {url}, entrez_url: {url}}}\n"
    )
    path.chmod(0o600)
    return path


def test_check_prints_the_effective_config_with_secrets_masked(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", "--config.file", str(config_file), "--poll.interval", "45s"]) == 0
    out = capsys.readouterr().out
    assert "interval: 45s" in out
    assert "pass-canary" not in out
    assert "owner@example.com" not in out


def test_a_flag_before_the_command_counts_like_one_after_it(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--config.file", str(config_file), "--poll.interval", "45s", "check"]) == 0
    assert "interval: 45s" in capsys.readouterr().out


def test_a_bad_config_is_one_sentence_and_exit_code_2(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text(GOOD + "pol: {interval: 30s}\n")
    assert run(["run", "--config.file", str(config_file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("enphase-ev-exporter: ")
    assert error.count("\n") == 1
    assert str(config_file) in error
    assert "pol" in error


@pytest.mark.parametrize("arguments", [["nonsense"], ["--no-such-flag"], ["check", "--online=yes"]])
def test_bad_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(arguments)
    assert caught.value.code == 2


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "enphase-ev-exporter 0.1.0\n"


def test_without_a_config_it_says_how_to_log_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENPHASE_EV_EMAIL", raising=False)
    assert run([]) == 2
    assert "ENPHASE_EV_E_AUTH_TOKEN_FILE" in capsys.readouterr().err


def test_check_online_lists_the_chargers(
    tmp_path: Path, cloud_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = online_config(tmp_path / "config.yml", cloud_url)
    assert run(["check", "--online", "--config.file", str(path)]) == 0
    out = capsys.readouterr().out
    table, summary = out[out.index("account  site") :].strip().split("\n\n")
    assert len(table.splitlines()) == 1 + 3
    assert "482500000017" in table
    assert summary.startswith("nothing failed: ")


def test_check_online_with_a_wrong_password_is_exit_code_1_and_says_so(
    tmp_path: Path, cloud_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = online_config(tmp_path / "config.yml", cloud_url, password="wrong-canary")
    assert run(["check", "--online", "--config.file", str(path)]) == 1
    captured = capsys.readouterr()
    assert "login: e-mail or password refused" in captured.out
    assert "→ correct e-mail and password in the config, or run: enphase-ev-exporter login" in captured.out
    assert "wrong-canary" not in captured.out + captured.err


def test_healthcheck_without_an_exporter_fails_with_the_address(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--config.file", str(config_file), "--web.listen-address", "127.0.0.1:9"]
    assert run(["healthcheck", *flags]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_metrics_doc_prints_the_committed_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["metrics-doc"]) == 0
    assert capsys.readouterr().out == Path("docs/metrics.md").read_text()


@pytest.mark.parametrize("command", ["metrics-doc", "check", "diagnostics", "sessions", "assets", "--help"])
def test_a_reader_that_leaves_early_is_exit_code_1_without_a_traceback(
    command: str, tmp_path: Path, config_file: Path
) -> None:
    kept_sessions(tmp_path)
    more = [str(tmp_path / "assets")] if command == "assets" else []
    reader, writer = os.pipe()
    os.close(reader)
    said = subprocess.run(
        [sys.executable, "-m", "exporter", command, *more],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "ENPHASE_EV_CONFIG_FILE": str(config_file),
            "ENPHASE_EV_STATE_PATH": str(tmp_path),
        },
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert (said.returncode, said.stderr) == (1, b"")


def test_logs_can_be_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yml"
    path.write_text(GOOD)
    path.chmod(0o644)
    assert run(["check", "--config.file", str(path), "--log.format", "json"]) == 0
    warning = json.loads(capsys.readouterr().err.splitlines()[0])
    assert warning["level"] == "warning"
    assert str(path) in warning["msg"]


def kept_sessions(folder: Path) -> None:
    state = State.open(folder)
    base = FinishedSession(
        site_id="1",
        serial="A",
        start_seconds=1_777_660_000.0,
        end_seconds=1_777_667_200.0,
        plugged_in_seconds=1_777_659_000.0,
        plugged_out_seconds=1_777_670_000.0,
        energy_kwh=12.5,
        peak_watts=7360.0,
        charging_seconds=7200.0,
        mode=ChargeMode.MANUAL_CHARGING,
        cost=3.1,
    )
    later = replace(base, serial="B", start_seconds=1_777_750_000.0, energy_kwh=7.5)
    asyncio.run(state.save([], [base, later]))
    state.close_now()


def test_sessions_are_listed_as_a_table_with_totals(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    kept_sessions(tmp_path)
    assert run(["sessions", "--state.path", str(tmp_path), "--utc"]) == 0
    text = capsysbinary.readouterr().out.decode()
    assert "2026-05-01 18:26" in text
    assert "20.0" in text


def test_sessions_are_narrowed_by_serial_and_time(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    kept_sessions(tmp_path)
    common = ["sessions", "--state.path", str(tmp_path), "--utc", "--format", "json"]
    assert run([*common, "--serial", "B"]) == 0
    assert [one["serial"] for one in json.loads(capsysbinary.readouterr().out)] == ["B"]
    assert run([*common, "--since", "2026-05-01", "--until", "2026-05-02"]) == 0
    assert [one["serial"] for one in json.loads(capsysbinary.readouterr().out)] == ["A"]


def test_sessions_as_csv_have_a_header_and_a_row_each(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    kept_sessions(tmp_path)
    assert run(["sessions", "--state.path", str(tmp_path), "--utc", "--format", "csv"]) == 0
    lines = capsysbinary.readouterr().out.decode().split("\r\n")
    assert len(lines) == 1 + 2 + 1
    assert "serial" in lines[0]


def test_sessions_since_nonsense_is_exit_code_2_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sessions", "--state.path", str(tmp_path), "--since", "yesterday-ish"]) == 2
    assert "yesterday-ish" in capsys.readouterr().err


def test_sessions_without_a_state_say_where_they_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sessions", "--state.path", str(tmp_path / "nothing")]) == 1
    assert str(tmp_path / "nothing") in capsys.readouterr().err
