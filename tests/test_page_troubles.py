from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.model import Site, Snapshot
from exporter.page_troubles import DOCS, Trouble, history_trouble, troubles
from tests.page_worlds import (
    ACCOUNT,
    AT,
    CHARGING,
    FAULTED,
    FREE,
    MFA,
    OFFLINE,
    SITE,
    VIEWS,
    WAITING,
    WALL,
    account,
    of_site,
)

ROOT = Path(__file__).parents[1]


def of(snapshot: Snapshot) -> list[Trouble]:
    return troubles(snapshot, snapshot.sites, AT)


def only(snapshot: Snapshot) -> Trouble:
    (trouble,) = of(snapshot)
    return trouble


def of_clouds(*sites: Site, **changes: Any) -> Snapshot:
    return Snapshot(sites, (replace(ACCOUNT, **changes),))


def test_nothing_is_wrong_with_a_healthy_world() -> None:
    assert of(of_site(FREE, CHARGING, WAITING)) == []


def test_a_login_that_needs_a_person_names_the_command_once() -> None:
    trouble = only(account(auth_up=False, reauthentication_required=True, error=MFA))
    assert trouble.title == "Account home: login needed"
    assert trouble.command == "enphase-ev-exporter login --account home"
    assert trouble.words.startswith("The account wants a one-time code. The exporter does not try again")
    assert "enphase-ev-exporter" not in trouble.words + trouble.remedy
    assert "--config.file" not in trouble.words
    assert "with the same `--config.file`" in trouble.remedy
    assert trouble.urgent


def test_a_refused_password_keeps_its_advice_and_says_when_a_login_is_tried_again() -> None:
    refused = "e-mail or password refused: correct them, or run `enphase-ev-exporter login --account home`"
    changes = {"reauthentication_required": True, "error": refused, "blocked_until_seconds": WALL + 300}
    words = only(account(**changes)).words
    assert words.startswith("E-mail or password refused: correct them. No login is tried before 14:10 UTC.")


def test_a_pause_the_cloud_asked_for_says_until_when() -> None:
    trouble = only(account(backoff_seconds=312.0))
    assert "Requests resume at 14:10 UTC, in 5 min." in trouble.words
    assert "poll.interval" in trouble.remedy


def test_a_used_up_budget_is_told_and_one_with_room_is_not() -> None:
    assert "600 of 600 requests" in only(account(requests_last_hour=600)).words
    assert of(account(requests_last_hour=580)) == []
    assert of(account(requests_last_hour=0, request_budget_per_hour=0)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"error": "the account sees no site: set `sites` to the site id"}, "The account sees no site"),
        ({"blocked_until_seconds": WALL + 60}, "A login was cut off moments ago"),
        ({"token_expiry_seconds": WALL - 60}, "It ran out at 14:04 UTC"),
    ],
)
def test_other_troubles_of_an_account_are_told(changes: dict[str, Any], words: str) -> None:
    assert only(account(**changes)).words.startswith(words)


def test_a_token_that_has_yet_to_expire_is_no_trouble() -> None:
    assert of(account(token_expiry_seconds=WALL + 60)) == []


def test_a_cloud_that_is_down_is_one_trouble_for_all_its_sites() -> None:
    sites = [
        replace(SITE, site_id=str(n), name=None, up=False, error="status: HTTP 503", chargers=())
        for n in range(9)
    ]
    trouble = only(of_clouds(*sites))
    assert trouble.title == "The Enphase cloud does not answer"
    assert trouble.concerns == tuple("012345678")
    assert "HTTP 503" in trouble.words
    assert "came at 14:04 UTC, 8 s ago" in trouble.words
    assert trouble.urgent


def test_a_site_left_behind_by_the_others_is_told_apart() -> None:
    down = replace(SITE, site_id="7", up=False, error="status: HTTP 404", chargers=())
    trouble = only(of_clouds(down, SITE))
    assert trouble.title == "The cloud gives no status of 1 site"
    assert trouble.doc.endswith("EnphaseEVDataStale.md")


def test_last_answers_of_several_sites_are_told_as_a_span() -> None:
    ages = [
        replace(
            SITE, site_id=str(age), up=False, error="x", status_received_monotonic=1000.0 - age, chargers=()
        )
        for age in (600, 1200)
    ]
    assert "between 13:45 UTC and 13:55 UTC" in only(of_clouds(*ages)).words


def test_a_site_that_never_answered_has_no_last_answer() -> None:
    assert "Not one status came" in only(of_clouds(Site("1", "home", up=False))).words


@pytest.mark.parametrize(
    "changes",
    [{"reauthentication_required": True, "error": MFA}, {"backoff_seconds": 60.0}],
    ids=["login needed", "rate limited"],
)
def test_sites_that_fail_for_the_sake_of_their_account_are_not_told_again(changes: dict[str, Any]) -> None:
    trouble = only(of_clouds(replace(SITE, up=False, error="login: MFA"), **changes))
    assert trouble.title.startswith("Account home")


def test_chargers_with_a_fault_or_no_connection_are_named() -> None:
    nameless = replace(FAULTED, name=" ", serial="4825")
    fault, offline = of(of_site(FREE, OFFLINE, FAULTED, nameless))
    assert (fault.title, fault.concerns) == ("2 chargers with a fault", ("Carport", "4825"))
    assert (offline.title, offline.concerns) == ("1 charger offline", ("Guests",))
    assert (fault.urgent, offline.urgent) == (True, False)


def test_a_silent_charger_is_told_only_while_its_site_is_up() -> None:
    silent = replace(FREE, last_reported_seconds=WALL - 3600)
    assert only(of_site(silent)).title == "1 charger silent"
    assert of(of_site(replace(silent, last_reported_seconds=WALL - 1700))) == []
    titles = [trouble.title for trouble in of(of_site(silent, up=False))]
    assert titles == ["The Enphase cloud does not answer"]


def test_troubles_of_the_exporter_itself_are_told() -> None:
    found = of(VIEWS["exporter"].snapshot)
    assert [trouble.title for trouble in found] == [
        "A changed config was refused",
        "The state could not be written",
        "The state was damaged and set aside",
    ]
    assert found[0].command == "enphase-ev-exporter check"
    assert "with the same `--config.file`" in found[0].remedy
    assert found[1].words.startswith("3 writes failed")


def test_the_most_pressing_come_first() -> None:
    urgent = [one.urgent for one in of(replace(account(backoff_seconds=5.0), config_reload_successful=False))]
    assert urgent == [True, False]


def test_every_document_that_is_named_exists() -> None:
    named = {trouble.doc for view in VIEWS.values() for trouble in troubles(view.snapshot, view.sites(), AT)}
    named |= {history_trouble("").doc, *DOCS}
    assert len(named) > 10
    assert [file for file in sorted(named) if not (ROOT / file).exists()] == []
