"""What the doctor says of what was found: level, words and the remedy, nothing asked and nothing read."""

import errno
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.asking import PollSettings
from exporter.certificate import not_after
from exporter.config import AccountConfig, Config, StateConfig
from exporter.doctor import (
    Finding,
    Level,
    as_json,
    fine,
    has_failed,
    lines,
    of_clock,
    of_cloud,
    of_forecast,
    of_guard,
    of_site,
    of_staleness,
    summary,
)
from exporter.doctor_disk import StateFacts, of_state
from exporter.doctor_running import of_running, of_scrapes
from exporter.errors import (
    BadCredentials,
    ExporterError,
    LoginExpired,
    MfaRequired,
    RateLimited,
    Rejected,
    StateError,
    TooManyLogins,
    Unavailable,
    UnexpectedPayload,
    Unreachable,
)
from exporter.forecast import forecast
from exporter.model import Charger, Guard, SiteEntry
from exporter.parse_commissioned import parse_not_commissioned
from exporter.running import Running, parsed, why_another
from exporter.seen import AccountSeen, Seen, SiteSeen
from tests.certificates import authority

NOW = 1_800_000_000.0
BAD = Finding(Level.FAIL, "state", "is broken", "mend it")
ODD = Finding(Level.WARN, "clock", "is off", "set it")


def account(**more: object) -> AccountSeen:
    seen = AccountSeen("home", visible=(SiteEntry("1", "Main"),), sites=[site()])
    for name, value in more.items():
        setattr(seen, name, value)
    return seen


def site(*chargers: Charger) -> SiteSeen:
    return SiteSeen("1", chargers or (Charger("1", "482500000017", connected=True),))


def said(findings: Sequence[Finding], subject: str) -> list[tuple[str, str]]:
    return [(one.level.value, one.words) for one in findings if one.subject == subject]


def test_a_finding_is_a_line_and_its_remedy_another() -> None:
    assert lines([fine("clock", "agrees"), BAD]) == [
        "ok    clock  agrees",
        "fail  state  is broken",
        "             → mend it",
    ]


def test_only_a_failure_fails() -> None:
    assert not has_failed([fine("clock", "agrees"), ODD])
    assert has_failed([ODD, BAD])
    assert summary([fine("clock", "agrees"), ODD]) == "nothing failed: 1 ok, 1 warning, 0 failed"
    assert summary([ODD, ODD, BAD]) == "problems found: 0 ok, 2 warnings, 1 failed"


def test_programs_get_the_same_as_json() -> None:
    document = json.loads(as_json([BAD], {"poll": {"interval": "30s"}}, [{"serial": "A"}]))
    assert document["findings"] == [
        {"level": "fail", "subject": "state", "words": "is broken", "remedy": "mend it"}
    ]
    assert document["failed"] is True
    assert document["chargers"] == [{"serial": "A"}]
    assert document["config"] == {"poll": {"interval": "30s"}}


@pytest.mark.parametrize(
    ("ahead_seconds", "level", "words"),
    [
        (0.4, "ok", "agrees with the cloud's"),
        (-29.0, "ok", "agrees with the cloud's"),
        (31.0, "warn", "31 s ahead of the cloud's, so ages and token times are wrong"),
        (-290.0, "warn", "5 min behind the cloud's, so ages and token times are wrong"),
        (-301.0, "fail", "5 min behind the cloud's, so ages and token times are wrong"),
    ],
)
def test_a_clock_warns_above_half_a_minute_and_fails_above_five(
    ahead_seconds: float, level: str, words: str
) -> None:
    found = of_clock(ahead_seconds)
    assert (found.level.value, found.words) == (level, words)
    assert bool(found.remedy) == (level != "ok")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (BadCredentials("login", "refused"), "correct e-mail and password"),
        (
            MfaRequired("login", "a code"),
            "run where the exporter runs: enphase-ev-exporter login --account home",
        ),
        (TooManyLogins("login", "blocked"), "leave the account alone"),
        (LoginExpired("login", "gone"), "run: enphase-ev-exporter login --account home"),
        (RateLimited("sites", "HTTP 429"), "make poll.interval longer"),
        (Unreachable("sites", "no connection"), "name server"),
        (Unavailable("sites", "HTTP 503"), "the cloud is down"),
        (Rejected("sites", "HTTP 400"), "look at `sites`"),
        (UnexpectedPayload("sites", "sites is missing"), "run `record`"),
        (StateError("not writable"), "as the user that runs the exporter"),
        (ExporterError("odd"), "`diagnostics`"),
    ],
)
def test_every_error_of_an_account_has_a_remedy(error: ExporterError, remedy: str) -> None:
    (found,) = of_cloud(Seen([account(error=error, visible=None, sites=[])]), NOW)
    assert (found.level, found.subject) == (Level.FAIL, "account home")
    assert str(error) in found.words
    assert remedy in found.remedy


def test_a_guard_says_until_when_nothing_is_tried() -> None:
    guard = Guard("invalid_credentials", "e-mail or password refused", 1, NOW, NOW + 300, "")
    error = BadCredentials("login", guard.message)
    (found,) = of_cloud(Seen([account(error=error, guard=guard, visible=None)]), NOW)
    assert found.words.endswith("; no login is tried before 2027-01-15 08:05 UTC")
    kept = of_guard("home", replace(guard, until_seconds=None), NOW)
    assert kept.words.endswith("; no login is tried until a person helps")
    assert kept.remedy == "run: enphase-ev-exporter login --account home"


def test_a_login_that_works_is_fine_and_its_token_has_an_end() -> None:
    found = of_cloud(Seen([account(token_expiry_seconds=NOW + 3600)]), NOW)
    assert said(found, "account home") == [("ok", "the kept login works")]
    assert said(found, "token home") == [
        ("ok", "expires 2027-01-15 09:00 UTC; the exporter renews it before")
    ]
    assert not has_failed(found)


@pytest.mark.parametrize(("left_seconds", "level"), [(90_000.0, "ok"), (3600.0, "warn"), (-1.0, "warn")])
def test_captured_headers_that_end_soon_are_a_warning(left_seconds: float, level: str) -> None:
    found = of_cloud(Seen([account(captured=True, token_expiry_seconds=NOW + left_seconds)]), NOW)
    assert [one[0] for one in said(found, "token home")] == [level]


def test_a_configured_site_that_is_not_visible_fails_and_names_what_is() -> None:
    found = of_cloud(Seen([account(configured=("1", "99"))]), NOW)
    assert said(found, "sites home") == [("fail", "the account does not see 99; it sees 1")]


def test_a_search_that_finds_nothing_is_only_a_warning_where_sites_are_configured() -> None:
    found = of_cloud(Seen([account(configured=("1",), visible=())]), NOW)
    assert said(found, "sites home") == [("warn", "the account does not see 1; it sees none")]
    found = of_cloud(Seen([account(visible=(), sites=[])]), NOW)
    assert said(found, "sites home") == [("fail", "the account sees no site")]


def test_a_site_without_a_charger_or_an_answer_fails() -> None:
    (found,) = of_site(SiteSeen("1"))
    assert (found.level, found.words) == (Level.FAIL, "no charger found")
    (found,) = of_site(SiteSeen("1", error="status: HTTP 403"))
    assert (found.level, found.words) == (Level.FAIL, "status: HTTP 403")


def test_a_charger_that_can_tell_nothing_is_a_warning() -> None:
    charger = Charger("1", "A", connected=False, last_reported_seconds=NOW, faulted=True)
    seen = site(charger)
    seen.not_commissioned = frozenset({"A"})
    assert said(of_site(seen), "charger A") == [
        ("warn", "is not commissioned, so it may report nothing"),
        ("warn", "is offline to the cloud; its last report is of 2027-01-15 08:00 UTC"),
        ("warn", "reports a fault"),
    ]


@pytest.mark.parametrize(
    ("body", "serials"),
    [
        (b'{"data":{"chargers":[{"sn":"A","commissioned":0},{"sn":"B","commissioned":1}]}}', {"A"}),
        (b'{"data":{"chargers":[{"sn":"A","isCommissioned":"false"}]}}', {"A"}),
        (b'{"data":{"chargers":[{"sn":"A","connectors":[{"commissioned":false}]}]}}', {"A"}),
        (b'{"data":[{"serialNumber":"A","commissioningStatus":0}]}', {"A"}),
        (b'{"data":{"serialNumber":"A","commissioningStatus":0}}', {"A"}),
        (b'[{"serialNumber":7,"commissioningStatus":0}]', {"7"}),
        (b'{"evChargerData":[{"sn":"A"}]}', set()),
        (b'{"data":null}', set()),
        (b"<html>", set()),
    ],
)
def test_what_is_not_commissioned_is_read_from_every_shape(body: bytes, serials: set[str]) -> None:
    assert parse_not_commissioned(body) == serials


def plan_for(sites: int, **settings: object) -> Finding:
    chosen = PollSettings(**settings)  # type: ignore[arg-type]  # one keyword at a time
    return of_forecast("home", forecast([1] * sites, chosen), 60.0, 30.0)


def test_a_budget_that_suffices_says_what_it_takes() -> None:
    found = plan_for(1)
    assert found.level is Level.OK
    assert "want 84 requests an hour while no car is plugged in, 144 with a car" in found.words


def test_a_budget_that_does_not_suffice_says_how_far_sites_are_slowed() -> None:
    found = plan_for(10)
    assert found.level is Level.WARN
    assert "instead of 30 s with a car at every site" in found.words
    assert found.remedy.startswith("make poll.interval longer")


def test_a_budget_that_slow_requests_use_up_says_to_ask_less_of_them() -> None:
    found = plan_for(10, summary_interval_seconds=60.0)
    assert "poll.summary_interval, poll.charge_mode_interval" in found.remedy


def test_live_streams_that_do_not_fit_are_a_warning() -> None:
    found = plan_for(3, live_stream="on_change")
    assert (found.level, "live streams fit for 1 of the sites" in found.words) == (Level.WARN, True)


def test_a_stale_limit_shorter_than_the_slowed_polls_allow_is_a_warning() -> None:
    assert of_staleness(300.0, 60.0, 300.0).level is Level.OK
    found = of_staleness(300.0, 240.0, 600.0)
    assert found.level is Level.WARN
    assert "only every 4 min, so its series stay for 10 min" in found.words


@pytest.mark.parametrize(
    ("period_seconds", "level", "words"),
    [
        (None, "warn", "no scraper is seen"),
        (30.0, "ok", "every 30 s"),
        (5.0, "ok", "about every 6. one has a fresh answer"),
        (200.0, "warn", "one that is missed leaves a gap"),
        (300.0, "warn", "Prometheus forgets after 5 min"),
    ],
)
def test_scrapes_are_held_against_polls_and_staleness(
    period_seconds: float | None, level: str, words: str
) -> None:
    found = of_scrapes(period_seconds, 30.0)
    assert found.level.value == level
    assert words in found.words


METRICS = """\
enphase_ev_exporter_build_info{version="0.1.0"} 1
enphase_ev_scrape_interval_seconds 30
enphase_ev_up{site_id="1"} 1
enphase_ev_up{site_id="2"} 0
enphase_ev_auth_reauthentication_required{account="home"} 1
enphase_ev_state_writes_failed_total 3
enphase_ev_config_last_reload_successful 0
"""


def running(text: str = METRICS, **more: object) -> Running:
    shown = Running("127.0.0.1:10055", status=200, is_ready=True, ready="ready", samples=parsed(text))
    return replace(shown, **more)  # type: ignore[arg-type]  # one field at a time


def test_the_running_exporters_own_troubles_are_findings() -> None:
    found = of_running(running(), "0.1.0", 30.0)
    assert said(found, "exporter") == [
        ("ok", "version 0.1.0 runs at 127.0.0.1:10055"),
        ("fail", "a login needs a person (1 account: home)"),
        ("fail", "the last status poll failed (1 site: 2)"),
        ("warn", "state could not be written at least once since its start"),
        ("warn", "it refused a changed config and runs on with the old one"),
    ]
    assert said(found, "scrapes") == [("ok", "every 30 s")]


OF_HOME = Config((AccountConfig(name="home"),), state=StateConfig(path=Path("/s")))
ANOTHER_ACCOUNT = "it reads account demo, not home"
NOT_HELD = "no exporter keeps its state in /s"


@pytest.mark.parametrize(
    ("shown", "is_held", "why"),
    [
        ('enphase_ev_auth_up{account="home"} 1', True, ""),
        ('enphase_ev_auth_up{account="home"} 1', None, ""),
        ('enphase_ev_auth_up{account="home"} 1', False, NOT_HELD),
        ('enphase_ev_auth_up{account="demo"} 1', True, ANOTHER_ACCOUNT),
        ('enphase_ev_auth_up{account="demo"} 1', False, ANOTHER_ACCOUNT),
        ('enphase_ev_site_info{site_id="1",name="x",account="demo"} 1', None, ANOTHER_ACCOUNT),
        ("", True, ""),
        ("", False, NOT_HELD),
    ],
)
def test_another_exporter_is_told_by_its_accounts_and_by_a_state_nobody_holds(
    shown: str, is_held: bool | None, why: str
) -> None:
    answer = running(f'enphase_ev_exporter_build_info{{version="0.1.0"}} 1\n{shown}\n')
    assert why_another(answer, OF_HOME, is_held) == why


def test_one_account_in_common_or_none_configured_makes_no_stranger() -> None:
    answer = running(
        METRICS + 'enphase_ev_auth_up{account="cabin"} 1\nenphase_ev_auth_up{account="home"} 1\n'
    )
    assert why_another(answer, OF_HOME, True) == ""
    assert why_another(answer, Config(()), True) == ""
    assert why_another(Running("x:1", status=404), OF_HOME, False) == ""


def test_of_another_exporter_nothing_is_found_but_that_it_is_there() -> None:
    (found,) = of_running(running(), "0.1.0", 30.0, another=ANOTHER_ACCOUNT)
    assert (found.level, found.subject) == (Level.WARN, "exporter")
    assert found.words == f"another exporter answers here: 127.0.0.1:10055, and {ANOTHER_ACCOUNT}"
    assert "choose another port with web.listen_address" in found.remedy


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (None, "ok", "a port the system chooses"),
        (Running("x:1", why="Connection refused"), "warn", "none answers at x:1 (Connection refused)"),
        (Running("x:1", status=401), "warn", "hides its metrics (HTTP 401"),
        (Running("x:1", status=404), "fail", "something else answers at x:1"),
        (running("node_load1 1\n"), "fail", "something else answers"),
    ],
)
def test_an_exporter_that_is_not_seen_says_why(answer: Running | None, level: str, words: str) -> None:
    (found,) = of_running(answer, "0.1.0", 30.0)
    assert found.level.value == level
    assert words in found.words


def test_another_version_and_an_unready_exporter_are_warnings() -> None:
    unready = running(is_ready=False, ready="not ready\nsite 1: not polled yet")
    found = of_running(unready, "0.2.0", 30.0)
    assert ("warn", "version 0.1.0 runs at 127.0.0.1:10055, and this command is 0.2.0") in said(
        found, "exporter"
    )
    assert ("warn", "not ready; site 1: not polled yet") in said(found, "exporter")


SOUND = StateFacts(
    exists=True,
    refusal=0,
    owner_uid=1000,
    free_bytes=10**10,
    size_bytes=4096,
    newest_write_seconds=NOW - 30,
    schema=4,
)


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, "ok", "/s can be written; 4 KiB, schema 4, last written 30 s ago"),
        (
            {"exists": False, "newest_write_seconds": None},
            "ok",
            "/s can be written; nothing is kept there yet",
        ),
        (
            {"refusal": errno.EACCES},
            "fail",
            "/s is not writable for uid 1000; it belongs to uid 1000",
        ),
        (
            {"refusal": errno.EACCES, "owner_uid": None},
            "fail",
            "/s does not exist, and uid 1000 cannot make it",
        ),
        ({"refusal": errno.EROFS}, "fail", "/s: no state can be kept here: Read-only file system"),
        ({"owner_uid": 0}, "warn", "/s belongs to uid 0, and this is uid 1000"),
        ({"damage": "it is empty"}, "fail", "state.sqlite3: it is empty"),
        ({"set_aside": 2}, "warn", "2 damaged files set aside earlier"),
        ({"free_bytes": 50 * 2**20}, "warn", "50 MiB are free on the disk of /s"),
        ({"free_bytes": 2**20}, "fail", "1 MiB are free on the disk of /s"),
    ],
)
def test_a_state_folder_says_what_is_wrong_with_it(change: dict[str, object], level: str, words: str) -> None:
    facts = replace(SOUND, **change)  # type: ignore[arg-type]  # one field at a time
    found = of_state(Path("/s"), facts, NOW, uid=1000)[0]
    assert (found.level.value, found.words) == (level, words)


def test_rights_are_the_remedy_only_where_rights_are_missing() -> None:
    remedies = [
        of_state(Path("/s"), replace(SOUND, refusal=refusal), NOW, uid=0)[0].remedy
        for refusal in (errno.EROFS, errno.ENOTDIR, errno.EACCES)
    ]
    assert remedies[:2] == ["name a folder with --state.path"] * 2
    assert remedies[2].endswith("as root: mkdir -p /s && chown -R 0 /s")


def test_the_end_of_a_certificate_is_read_from_its_pem(tmp_path: Path) -> None:
    made = authority(tmp_path)
    ends = not_after(made.cert.read_text())
    assert 86_400 < ends - made.cert.stat().st_mtime <= 2 * 86_400 + 1


@pytest.mark.parametrize(
    "text",
    ["", "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMA"],
)
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        not_after(text)
