"""`check` beside a simulated cloud and a running exporter: what it finds, and that it does no harm."""

import errno
import json
import os
import socket
from pathlib import Path

import pytest

from exporter.config import load
from exporter.doctor import Finding
from exporter.doctor_disk import is_state_held, of_disk, state_facts
from exporter.once import clock_ahead, look
from exporter.simulator.cloud import start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import World, WorldConfig
from tests.certificates import USERS, authority
from tests.commands import Said, cloud_with, command, config_from, environment_for, exporting, logins
from tests.state_folder import opened, saved

DAY_SECONDS = 86_400.0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def told(said: Said, subject: str) -> list[str]:
    """Level and words of the findings on a subject."""
    rows = [
        line.split(None, 1) for line in said.out.splitlines() if line[:4].strip() in ("ok", "warn", "fail")
    ]
    return [
        f"{level} {rest.removeprefix(subject).strip()}"
        for level, rest in rows
        if rest.startswith(f"{subject} ")
    ]


async def test_a_check_asks_each_thing_once_and_logs_in_once(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path)
        said = await command(settings, "check", "--online")
        assert said.code == 0, said.out + said.err
        asked = [entry.endpoint for entry in cloud.cloud.journal]
        assert sorted(asked) == ["login", "sites", "status", "summary", "token"]
        again = await command(settings, "check", "--online")
        assert "ok the kept login works" in told(again, "account default")
        asked = [entry.endpoint for entry in cloud.cloud.journal][5:]
        assert asked == ["sites", "status", "summary"]
        assert again.out.splitlines()[-1].startswith("nothing failed: ")


async def test_an_offline_check_asks_nobody(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_SITES="1234567")
        said = await command(settings, "check")
        assert said.code == 0
        assert len(cloud.cloud.journal) == 0
        assert told(said, "exporter") == []
        assert told(said, "account default")[0].startswith("ok no login is kept")
        assert "1 site and 1 charger want" in told(said, "budget default")[0]


async def test_a_refusal_is_not_repeated_and_the_guard_is_named(tmp_path: Path) -> None:
    async with cloud_with(email="somebody@else.example") as cloud:
        settings = environment_for(cloud.url, tmp_path)
        first = await command(settings, "check", "--online")
        assert (first.code, logins(cloud)) == (1, 1)
        second = await command(settings, "check", "--online")
        assert (second.code, logins(cloud)) == (1, 1)
        assert "no login is tried before 20" in told(second, "account default")[0]
        offline = await command(settings, "check")
        assert offline.code == 1
        assert "no login is tried before 20" in told(offline, "account default")[0]


async def test_a_code_that_is_wanted_names_the_command(tmp_path: Path) -> None:
    async with cloud_with(mfa="explicit") as cloud:
        said = await command(environment_for(cloud.url, tmp_path), "check", "--online")
        assert said.code == 1
        assert "→ run where the exporter runs: enphase-ev-exporter login --account default" in said.out


async def test_a_clock_that_is_off_fails_even_where_the_login_is_refused(tmp_path: Path) -> None:
    async with cloud_with(email="somebody@else.example") as cloud:
        cloud.cloud.faults.add("clock_skew", seconds=3600)
        said = await command(environment_for(cloud.url, tmp_path), "check", "--online")
        assert told(said, "clock") == ["fail 1 h behind the cloud's, so ages and token times are wrong"]


def test_a_date_header_tells_the_clock() -> None:
    assert clock_ahead("Fri, 15 Jan 2027 08:00:00 GMT", 1_800_000_040.5) == 40
    assert clock_ahead("", 1_800_000_000) is None
    assert clock_ahead("yesterday", 1_800_000_000) is None


async def test_a_site_that_fails_does_not_hide_the_others(tmp_path: Path) -> None:
    running = await start_cloud(World(WorldConfig(sites=2, chargers=1)), CloudConfig())
    try:
        running.cloud.faults.add("status", status=500, endpoint="status", site="1234567")
        said = await command(environment_for(running.url, tmp_path), "check", "--online")
        assert said.code == 1
        assert told(said, "site 1234567") == ["fail status: HTTP 500"]
        assert told(said, "site 1234568") == ["ok 1 charger found"]
    finally:
        await running.close()


async def test_after_a_429_nothing_more_is_asked_for_an_account(tmp_path: Path) -> None:
    running = await start_cloud(World(WorldConfig(sites=3, chargers=1)), CloudConfig())
    try:
        running.cloud.faults.add("status", status=429, endpoint="status")
        said = await command(environment_for(running.url, tmp_path), "check", "--online")
        assert running.cloud.journal.count(endpoint="status") == 1
        assert told(said, "account default") == ["fail status: HTTP 429"]
    finally:
        await running.close()


async def test_a_site_that_is_not_the_accounts_fails(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_SITES="7777777")
        said = await command(settings, "check", "--online")
        assert told(said, "sites default") == ["fail the account does not see 7777777; it sees 1234567"]


async def test_with_a_damaged_state_the_cloud_is_not_asked(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        (tmp_path / "state.sqlite3").write_bytes(b"no database" * 100)
        said = await command(environment_for(cloud.url, tmp_path), "check", "--online")
        assert said.code == 1
        assert told(said, "cloud")[0].startswith("fail not asked: ")
        assert told(said, "state")[0].startswith("fail state.sqlite3: ")
        assert len(cloud.cloud.journal) == 0


async def test_a_look_leaves_a_sound_state_as_it_was(tmp_path: Path) -> None:
    path = await saved(tmp_path)
    before = path.read_bytes()
    said = await command(environment_for("http://127.0.0.1:9", tmp_path), "check")
    assert said.code == 0, said.out
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["state.lock", "state.sqlite3"]


async def test_the_exporter_of_the_same_config_is_found(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        address = f"127.0.0.1:{free_port()}"
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_WEB_LISTEN_ADDRESS=address)
        none = await command(settings, "check", "--online")
        assert told(none, "exporter") == [f"warn none answers at {address} (Connection refused)"]
        async with exporting(settings) as exporter:
            await exporter.shows('enphase_ev_up{site_id="1234567"} 1')
            said = await command(settings, "check", "--online")
        assert told(said, "exporter") == [f"ok version 0.1.0 runs at {address}"]
        assert said.code == 0


@pytest.mark.parametrize("name", ["home", "default"])
async def test_another_exporter_at_the_address_is_not_taken_for_this_one(tmp_path: Path, name: str) -> None:
    async with cloud_with() as cloud:
        address = f"127.0.0.1:{free_port()}"
        others = environment_for(cloud.url, tmp_path / "theirs", ENPHASE_EV_WEB_LISTEN_ADDRESS=address)
        own = others | {"ENPHASE_EV_STATE_PATH": str(tmp_path / "mine"), "ENPHASE_EV_NAME": name}
        async with exporting(others) as exporter:
            await exporter.shows('enphase_ev_auth_up{account="default"} 1')
            said = await command(own, "check", "--online")
    (found,) = told(said, "exporter")
    assert found.startswith(f"warn another exporter answers here: {address}, and ")
    assert told(said, "scrapes") == []


async def test_a_state_is_held_while_an_exporter_has_it_and_no_longer(tmp_path: Path) -> None:
    assert is_state_held(None) is None
    assert is_state_held(tmp_path / "never" / "made") is False
    async with opened(tmp_path):
        assert is_state_held(tmp_path) is True
    assert is_state_held(tmp_path) is False


async def test_an_exporter_behind_a_password_says_that_it_hides(tmp_path: Path) -> None:
    web_file = tmp_path / "web.yml"
    web_file.write_text(USERS)
    web_file.chmod(0o600)
    async with cloud_with() as cloud:
        settings = environment_for(
            cloud.url,
            tmp_path / "state",
            ENPHASE_EV_WEB_LISTEN_ADDRESS=f"127.0.0.1:{free_port()}",
            ENPHASE_EV_WEB_CONFIG_FILE=str(web_file),
        )
        async with exporting(settings):
            said = await command(settings, "check", "--online")
        assert "answers, but hides its metrics (HTTP 401" in told(said, "exporter")[0]
        assert told(said, "web config") == [f"ok {web_file}: no TLS, 1 user"]


async def test_programs_get_json_and_nothing_else(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        said = await command(environment_for(cloud.url, tmp_path), "check", "--online", "--format", "json")
        document = json.loads(said.out)
        assert document["failed"] is False
        assert document["chargers"][0]["serial"] == "482500000017"
        assert document["config"]["poll"]["interval"] == "100ms"
        assert {one["level"] for one in document["findings"]} <= {"ok", "warn"}


async def test_an_account_of_many_sites_is_told_how_far_it_is_slowed(tmp_path: Path) -> None:
    sites = ",".join(str(number) for number in range(1, 30))
    settings = environment_for(
        "http://127.0.0.1:9",
        tmp_path,
        ENPHASE_EV_SITES=sites,
        ENPHASE_EV_POLL_INTERVAL="30s",
        ENPHASE_EV_POLL_IDLE_INTERVAL="60s",
        ENPHASE_EV_POLL_MAX_REQUESTS_PER_HOUR="600",
    )
    said = await command(settings, "check")
    assert said.code == 0
    assert told(said, "budget default")[0].startswith("warn 29 sites and 29 chargers want 2436 requests")
    assert told(said, "poll.stale_after")[0].startswith("warn is 5 min, but a site may be polled only every")


async def test_a_file_with_a_secret_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o644)
    settings = environment_for("http://127.0.0.1:9", tmp_path, ENPHASE_EV_PASSWORD="")
    said = await command({**settings, "ENPHASE_EV_PASSWORD_FILE": str(password)}, "check")
    assert said.code == 0
    assert "holds a secret and others can read it" in told(said, "config")[0]


def disk(tmp_path: Path, *, at_seconds: str = "0", **more: str) -> list[Finding]:
    config = config_from(environment_for("http://127.0.0.1:9", tmp_path, **more))
    return of_disk(config, tmp_path, float(at_seconds))


def about(findings: list[Finding], subject: str) -> list[str]:
    return [f"{one.level.value} {one.words}" for one in findings if one.subject == subject]


def test_a_shell_without_a_state_folder_is_no_failure(tmp_path: Path) -> None:
    config = config_from(environment_for("http://127.0.0.1:9", tmp_path, ENPHASE_EV_STATE_PATH=""))
    assert about(of_disk(config, None, 0.0), "state") == [
        "warn no folder is given here, and there is no home folder to put it in"
    ]


def test_a_read_only_disk_is_called_that_whoever_owns_the_folder(tmp_path: Path) -> None:
    def read_only(path: Path) -> os.statvfs_result:
        disk = list(os.statvfs(path))
        disk[8] |= os.ST_RDONLY
        return os.statvfs_result(disk)

    for folder in (tmp_path, tmp_path / "missing"):
        assert state_facts(folder, statvfs=read_only).refusal == errno.EROFS
        assert state_facts(folder).refusal == 0


def test_a_folder_that_cannot_be_made_is_given_no_owner(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "state"
    config = config_from(environment_for("http://127.0.0.1:9", folder))
    assert about(of_disk(config, folder, 0.0), "state") == [
        f"fail {folder}: no state can be kept here: Not a directory"
    ]
    assert state_facts(tmp_path / "missing").owner_uid is None


async def test_a_check_that_finds_no_charger_shows_no_table(tmp_path: Path) -> None:
    async with cloud_with(email="somebody@else.example") as cloud:
        said = await command(environment_for(cloud.url, tmp_path), "check", "--online")
    assert "account  site" not in said.out
    assert "\n\nNo chargers to list.\n\nproblems found: " in said.out


def test_control_tells_of_weak_tokens_and_open_wires(tmp_path: Path) -> None:
    weak, strong = "a" * 20, "0123456789abcdef0123456789abcdef"
    on = {"ENPHASE_EV_CONTROL_ENABLED": "true"}
    assert about(disk(tmp_path), "control") == ["ok off"]
    assert about(disk(tmp_path, ENPHASE_EV_CONTROL_TOKEN=strong, **on), "control") == ["ok on, 1 token"]
    everywhere = {"ENPHASE_EV_WEB_LISTEN_ADDRESS": ":10055"}
    assert about(disk(tmp_path, ENPHASE_EV_CONTROL_TOKEN=weak, **on, **everywhere), "control") == [
        "warn token default is easy to guess",
        "warn commands and their token travel unencrypted",
    ]


@pytest.mark.parametrize(
    ("days", "level"), [(-20.0, "ok ends "), (0.0, "warn ends "), (3.0, "fail has expired ")]
)
def test_a_certificate_near_its_end_is_told_of(tmp_path: Path, days: float, level: str) -> None:
    made = authority(tmp_path)
    web_file = tmp_path / "web.yml"
    web_file.write_text(f"tls_server_config:\n  cert_file: {made.cert}\n  key_file: {made.key}\n")
    now = made.cert.stat().st_mtime + days * DAY_SECONDS
    found = disk(tmp_path, at_seconds=str(now), ENPHASE_EV_WEB_CONFIG_FILE=str(web_file))
    assert [one.startswith(level) for one in about(found, "certificate")] == [True]
    assert about(found, "web config") == [f"ok {web_file}: TLS, no password asked"]


def test_a_web_config_that_is_no_good_fails(tmp_path: Path) -> None:
    web_file = tmp_path / "web.yml"
    web_file.write_text("tls_server_config: {cert_file: gone.crt, key_file: gone.key}\n")
    found = disk(tmp_path, ENPHASE_EV_WEB_CONFIG_FILE=str(web_file))
    assert about(found, "web config")[0].startswith("fail ")


async def test_a_look_hears_every_answer_that_is_data_and_no_login(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        heard: dict[str, bytes] = {}
        config, _ = load(None, environment_for(cloud.url, tmp_path), {})
        seen = await look(config, heard=heard.__setitem__, everything=True)
        assert sorted(heard) == ["charge_mode", "last_reported", "sites", "status", "summary"]
        assert [one.error for one in seen.accounts] == [None]
        assert [charger.serial for _, charger in seen.chargers()] == ["482500000017"]
