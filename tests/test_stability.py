"""What users build on does not change unsaid: see docs/stability.md."""

import pytest

from exporter import __version__
from tests.contract import (
    ROOT,
    Contract,
    contract_of_the_code,
    released_contract,
    section_of,
    unnamed,
    versions_of,
)

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
METRICS = {"enphase_ev_up": "gauge {site_id}", "enphase_ev_sites": "gauge {}"}
BEFORE: Contract = {"metrics": METRICS}


def test_what_differs_from_the_last_release_is_named_in_the_changelog() -> None:
    _, released = released_contract()
    missing = unnamed(released, contract_of_the_code(), section_of(CHANGELOG, "Unreleased"))
    assert not missing, "\n".join(("users must be told (docs/stability.md):", *missing))


def test_the_contract_is_that_of_the_newest_release() -> None:
    """Before the first one, that of the version in the making: what is built on it already is told too."""
    version, _ = released_contract()
    assert version == (versions_of(CHANGELOG) or [__version__])[0]


def test_the_contract_covers_metrics_settings_and_commands() -> None:
    code = contract_of_the_code()
    assert code["metrics"]["enphase_ev_up"] == "gauge {site_id}"
    mode = code["metrics"]["enphase_ev_charger_charge_mode"]
    assert mode.startswith("gauge {site_id, serial, mode} MANUAL_CHARGING, ")
    assert code["settings"]["poll.idle_interval"] == "--poll.idle-interval"
    assert code["settings"]["control.token"] == ""
    assert code["settings"]["accounts[].password_file"] == ""
    assert code["commands"]["login"] == "--account --email --forget --status"
    assert {"run", "demo", "check", "healthcheck"} <= set(code["commands"])


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ({"enphase_ev_up": "gauge {site_id}"}, "### Removed\n\n- `enphase_ev_sites`: count the info series."),
        (METRICS | {"enphase_ev_new": "gauge {}"}, "### Added\n\n- Metric `enphase_ev_new`."),
        (
            METRICS | {"enphase_ev_up": "counter {site_id}"},
            "### Changed\n\n- `enphase_ev_up{site_id}` is a counter.",
        ),
        (
            METRICS | {"enphase_ev_up": "gauge {site_id, account}"},
            "### Changed\n\n- enphase_ev_up has the label `account`.",
        ),
    ],
    ids=["removed", "added", "type", "labels"],
)
def test_a_difference_must_be_told_in_its_own_chapter(after: dict[str, str], told: str) -> None:
    assert unnamed(BEFORE, {"metrics": after}, told) == []
    assert len(unnamed(BEFORE, {"metrics": after}, "")) == 1
    assert len(unnamed(BEFORE, {"metrics": after}, told.replace("### ", "### Fixed\n\n### X"))) == 1


def test_a_longer_name_does_not_stand_for_a_shorter_one() -> None:
    after = METRICS | {"enphase_ev_new": "gauge {}"}
    told = "### Added\n\n- `enphase_ev_new_total`, `enphase_ev_new.x` and my-enphase_ev_new.\n"
    assert len(unnamed(BEFORE, {"metrics": after}, told)) == 1


def test_an_unnamed_difference_says_what_it_is() -> None:
    after = {"enphase_ev_up": "counter {site_id}", "enphase_ev_sites": "gauge {}"}
    assert unnamed(BEFORE, {"metrics": after}, "") == [
        "enphase_ev_up (gauge {site_id} → counter {site_id}): "
        "not named under '### Changed' of Unreleased in CHANGELOG.md"
    ]


def test_a_renamed_metric_is_told_twice() -> None:
    after = {"enphase_ev_up": "gauge {site_id}", "enphase_ev_site_count": "gauge {}"}
    assert len(unnamed(BEFORE, {"metrics": after}, "")) == 2


def test_only_what_is_under_unreleased_counts() -> None:
    changelog = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- new\n\n"
    changelog += "## [1.0.0] - 2026-12-01\n\n### Added\n\n- old\n"
    assert section_of(changelog, "Unreleased") == "### Added\n\n- new"
    assert section_of(changelog, "1.0.0") == "### Added\n\n- old"
    assert section_of(changelog, "1.0") == ""
    assert versions_of(changelog) == ["1.0.0"]
