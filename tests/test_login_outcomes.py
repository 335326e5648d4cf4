"""Every row of the tables of login answers: through a running exporter, and through the `login` command."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from exporter.auth import LOGIN_RESULTS
from exporter.kept_logins import read_logins
from tests.commands import CODE, cloud_with, command, environment_for, exporting, logins

ACCOUNT = '{account="default"}'
HELP = "enphase-ev-exporter login --account default"
REFUSED, BLOCKED, FULL = "e-mail or password refused", "has blocked the account", "too many active sessions"
DAY = 86_400.0

LET_IN = [
    ({"login_outcome": "ok"}, 1),
    ({"login_outcome": "key_variants"}, 1),
    ({"login_outcome": "session_key"}, 1),
    ({"login_outcome": "empty_object"}, 1),
    ({"login_outcome": "empty_text"}, 1),
    ({"login_outcome": "not_acceptable"}, 2),
    ({"surface": "entrez"}, 2),
    ({"surface": "entrez", "wrong_surface_status": 405}, 2),
    ({"rotate_every": 1}, 1),
]
TURNED_AWAY = [
    ({"mfa": "explicit"}, "mfa_required", "one-time code", None, 1),
    ({"mfa": "implicit"}, "mfa_required", "one-time code", None, 1),
    ({"mfa": "implicit", "login_outcome": "not_acceptable"}, "mfa_required", "one-time code", None, 2),
    ({"mfa": "explicit", "surface": "entrez"}, "mfa_required", "one-time code", None, 2),
    ({"login_outcome": "success_bare"}, "invalid_credentials", REFUSED, 300.0, 1),
    ({"password": "another"}, "invalid_credentials", REFUSED, 300.0, 1),
    ({"password": "another", "refusal": "403"}, "invalid_credentials", REFUSED, 300.0, 1),
    ({"password": "another", "refusal": "200"}, "invalid_credentials", REFUSED, 300.0, 1),
    ({"password": "another", "surface": "entrez"}, "invalid_credentials", REFUSED, 300.0, 2),
    (
        {"password": "another", "login_outcome": "not_acceptable"},
        "invalid_credentials",
        REFUSED,
        300.0,
        2,
    ),
    ({"login_outcome": "token_only"}, "invalid_credentials", REFUSED, 300.0, 1),
    ({"login_outcome": "blocked"}, "blocked", BLOCKED, DAY, 1),
    ({"login_outcome": "blocked_refused"}, "blocked", BLOCKED, DAY, 1),
    ({"login_outcome": "too_many"}, "blocked", FULL, DAY, 1),
    ({"login_outcome": "too_many_200"}, "blocked", FULL, DAY, 1),
    ({"login_outcome": "too_many_text"}, "blocked", FULL, DAY, 1),
    ({"login_outcome": "too_many_escaped"}, "blocked", FULL, DAY, 1),
    ({"max_logins": 0}, "blocked", FULL, DAY, 1),
]
NO_ANSWER = [
    ({"login_outcome": "server_error"}, "unavailable"),
    ({"login_outcome": "html"}, "unavailable"),
    ({"login_outcome": "unmatched"}, "unexpected"),
    ({"login_outcome": "throttled"}, "429"),
]


def named(row: Any) -> str | None:
    return "-".join(map(str, row.values())) if isinstance(row, dict) else None


def value_of(page: str, name: str) -> float | None:
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return None if found is None else float(found[1])


def results(page: str) -> dict[str, float]:
    """How often each result was met, those that never were left out."""
    name = 'enphase_ev_auth_logins_total{{account="default",result="{}"}}'
    found = {result: value_of(page, name.format(result)) for result in LOGIN_RESULTS}
    assert None not in found.values()
    return {result: count for result, count in found.items() if count}


@pytest.mark.parametrize(("config", "requests"), LET_IN, ids=named)
async def test_an_exporter_that_is_let_in_says_so(
    tmp_path: Path, config: dict[str, Any], requests: int
) -> None:
    async with (
        cloud_with(**config) as cloud,
        exporting(environment_for(cloud.url, tmp_path)) as exporter,
    ):
        page = await exporter.shows('enphase_ev_up{site_id="1234567"} 1', f"enphase_ev_auth_up{ACCOUNT} 1")
        assert value_of(page, f"enphase_ev_auth_reauthentication_required{ACCOUNT}") == 0
        assert value_of(page, f"enphase_ev_auth_blocked_until_timestamp_seconds{ACCOUNT}") is None
        expiry = value_of(page, f"enphase_ev_auth_token_expiry_timestamp_seconds{ACCOUNT}")
        assert expiry == pytest.approx(time.time() + DAY, abs=60)
        assert results(page) == {"success": 1}
        assert logins(cloud) == requests


@pytest.mark.parametrize(("config", "result", "words", "wait", "requests"), TURNED_AWAY, ids=named)
async def test_an_exporter_that_is_turned_away_says_why_and_does_not_insist(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    config: dict[str, Any],
    result: str,
    words: str,
    wait: float | None,
    requests: int,
) -> None:
    async with (
        cloud_with(**config) as cloud,
        exporting(environment_for(cloud.url, tmp_path)) as exporter,
    ):
        await exporter.shows(f"enphase_ev_auth_reauthentication_required{ACCOUNT} 1")
        await asyncio.sleep(0.25)  # two or three polls' worth of chances to insist
        page = await exporter.page()
        assert value_of(page, f"enphase_ev_auth_up{ACCOUNT}") == 0
        until = value_of(page, f"enphase_ev_auth_blocked_until_timestamp_seconds{ACCOUNT}")
        assert until == (None if wait is None else pytest.approx(time.time() + wait, abs=30))
        assert results(page) == {result: 1}
        assert logins(cloud) == requests
        assert cloud.cloud.journal.count(endpoint="status") == 0
        ready = await exporter.page("/-/ready")
        assert words in ready
        assert words in (await exporter.page("/")).lower()  # there it begins a sentence
        if result != "blocked":
            assert HELP in ready
        refusals = [record for record in caplog.records if record.getMessage() == "no login"]
        assert len(refusals) == 1
        assert words in vars(refusals[0])["why"]
    kept = read_logins(tmp_path)["default"]
    assert kept.login is None
    assert kept.guard is not None


@pytest.mark.parametrize("status", [401, 403])
async def test_a_login_that_is_accepted_and_not_taken_is_left_alone_for_a_while(
    tmp_path: Path, status: int
) -> None:
    async with cloud_with() as cloud:
        cloud.cloud.faults.add("status", endpoint="token", status=status)
        async with exporting(environment_for(cloud.url, tmp_path)) as exporter:
            await exporter.shows(f"enphase_ev_auth_reauthentication_required{ACCOUNT} 1")
            await asyncio.sleep(0.25)
            page = await exporter.page()
            until = value_of(page, f"enphase_ev_auth_blocked_until_timestamp_seconds{ACCOUNT}")
            assert until == pytest.approx(time.time() + 300, abs=30)
            assert results(page) == {"unavailable": 1}
            assert "it has just accepted" in await exporter.page("/-/ready")
        assert logins(cloud) == 1


@pytest.mark.parametrize(("config", "words"), NO_ANSWER, ids=named)
async def test_an_exporter_without_a_usable_answer_goes_on_trying_and_recovers_by_itself(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    async with (
        cloud_with(**config) as cloud,
        exporting(environment_for(cloud.url, tmp_path)) as exporter,
    ):
        async with asyncio.timeout(10):
            while not results(page := await exporter.page()):
                await asyncio.sleep(0.02)
        assert results(page).keys() == {"unavailable"}
        assert value_of(page, f"enphase_ev_auth_up{ACCOUNT}") == 0
        assert value_of(page, f"enphase_ev_auth_reauthentication_required{ACCOUNT}") == 0
        assert value_of(page, f"enphase_ev_auth_blocked_until_timestamp_seconds{ACCOUNT}") is None
        if words == "429":
            assert "enphase_ev_api_rate_limited_total" in page
            assert logins(cloud) == 1  # Retry-After: 60
            return
        cloud.cloud.config.login_outcome = "ok"
        page = await exporter.shows(f"enphase_ev_auth_up{ACCOUNT} 1", 'enphase_ev_up{site_id="1234567"} 1')
        assert results(page)["success"] == 1
    assert read_logins(tmp_path)["default"].guard is None


@pytest.mark.parametrize(("config", "requests"), LET_IN, ids=named)
async def test_the_command_keeps_a_login_that_is_let_in(
    tmp_path: Path, config: dict[str, Any], requests: int
) -> None:
    async with cloud_with(**config) as cloud:
        said = await command(environment_for(cloud.url, tmp_path), "login")
        assert (said.code, said.err) == (0, "")
        assert "Logged in." in said.out
        assert logins(cloud) == requests
    assert read_logins(tmp_path)["default"].login is not None


@pytest.mark.parametrize(("config", "result", "words", "wait", "requests"), TURNED_AWAY, ids=named)
async def test_the_command_says_why_it_was_turned_away_or_asks_for_the_code(
    tmp_path: Path, config: dict[str, Any], result: str, words: str, wait: float | None, requests: int
) -> None:
    async with cloud_with(**config) as cloud:
        said = await command(environment_for(cloud.url, tmp_path), "login", typed=f"{CODE}\n")
        assert words in said.out + said.err
        assert said.code == (0 if result == "mfa_required" else 1)
        assert said.err.count("\n") == said.code
        assert logins(cloud) == requests
    kept = read_logins(tmp_path)["default"]
    assert (kept.login is None) == bool(said.code)
    assert (kept.guard is None) == (not said.code)


@pytest.mark.parametrize(("config", "words"), NO_ANSWER, ids=named)
async def test_the_command_without_a_usable_answer_says_to_try_later_and_keeps_no_guard(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    async with cloud_with(**config) as cloud:
        said = await command(environment_for(cloud.url, tmp_path), "login")
        assert said.code == 1
        assert words in said.err
        assert logins(cloud) == 1
    assert "default" not in read_logins(tmp_path)


CODES = [
    ({"kind": "login_outcome", "outcome": "text_plain"}, 0, "Logged in."),
    ({"kind": "login_outcome", "outcome": "thin"}, 0, "Logged in."),
    ({"kind": "login_outcome", "outcome": "thin_204"}, 0, "Logged in."),
    ({"kind": "login_outcome", "outcome": "thin_message"}, 0, "Logged in."),
    ({"kind": "login_outcome", "outcome": "thin_success"}, 0, "Logged in."),
    ({"kind": "login_outcome", "outcome": "thin_valid"}, 0, "Logged in."),
    ({"kind": "login_outcome", "outcome": "thin_bare"}, 1, "no usable answer"),
    ({"kind": "login_outcome", "outcome": "blocked"}, 1, BLOCKED),
    ({"kind": "login_outcome", "outcome": "throttled"}, 1, BLOCKED),
    ({"kind": "status", "status": 400}, 0, "wrong or has expired"),
    ({"kind": "status", "status": 404}, 0, "wrong or has expired"),
    ({"kind": "status", "status": 409}, 0, "wrong or has expired"),
    ({"kind": "status", "status": 422}, 0, "wrong or has expired"),
    ({"kind": "status", "status": 401}, 1, "start again"),
    ({"kind": "status", "status": 403}, 1, "start again"),
    ({"kind": "status", "status": 503}, 0, "the code was not used up"),
    ({"kind": "html_outage"}, 0, "the code was not used up"),
]


@pytest.mark.parametrize(("fault", "code", "words"), CODES, ids=named)
async def test_the_command_understands_every_answer_to_a_code(
    tmp_path: Path, fault: dict[str, Any], code: int, words: str
) -> None:
    async with cloud_with(mfa="explicit") as cloud:
        cloud.cloud.faults.add(**fault, endpoint="mfa", times=1)
        said = await command(environment_for(cloud.url, tmp_path), "login", typed=f"{CODE}\n{CODE}\n")
        assert said.code == code
        assert words in said.out + said.err
        assert logins(cloud) == 1
    assert (read_logins(tmp_path).get("default", (None,))[0] is None) == bool(code)
