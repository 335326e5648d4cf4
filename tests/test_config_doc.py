"""The tables of docs/configuration.md."""

from pathlib import Path

import pytest

from exporter.config_doc import MEANINGS, rewritten
from exporter.settings import ACCOUNT_SETTINGS, SETTINGS, TOKEN_SETTINGS

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"


def rows(name: str) -> list[str]:
    page = rewritten(f"before\n<!-- settings: {name} -->\n| `gone` |\n<!-- end -->\nafter\n")
    assert page.startswith(f"before\n<!-- settings: {name} -->\n| key |")
    assert page.endswith("|\n<!-- end -->\nafter\n")
    assert "gone" not in page
    return [line for line in page.splitlines() if line.startswith("| `")]


def test_the_page_is_what_the_settings_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == rewritten(page), "make docs brings docs/configuration.md up to date"


def test_every_setting_has_a_meaning_and_every_meaning_a_setting() -> None:
    keys = {setting.key for setting in SETTINGS}
    keys |= {f"accounts[].{setting.key}" for setting in ACCOUNT_SETTINGS}
    keys |= {f"control.tokens[].{setting.key}" for setting in TOKEN_SETTINGS}
    assert set(MEANINGS) == keys


def test_the_page_has_a_row_for_every_key() -> None:
    shown = [
        line.split("`")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"
    ]
    spelled = [spelling for setting in SETTINGS for spelling in setting.spellings]
    spelled += [f"accounts[].{spelling}" for setting in ACCOUNT_SETTINGS for spelling in setting.spellings]
    spelled += [
        f"control.tokens[].{spelling}" for setting in TOKEN_SETTINGS for spelling in setting.spellings
    ]
    assert sorted(shown) == sorted(spelled)


def test_a_row_names_key_variable_flag_default_and_meaning() -> None:
    cells = "`poll.align` | `ENPHASE_EV_POLL_ALIGN` | `--poll.align` | `scrape` | " + MEANINGS["poll.align"]
    assert f"| {cells} |" in rows("poll")


def test_a_secret_has_two_rows_and_only_its_file_a_flag() -> None:
    secret, file, *_ = (row for row in rows("control") if "TOKEN" in row)
    assert secret.startswith("| `control.token` | `ENPHASE_EV_CONTROL_TOKEN` | | none |")
    assert "| `ENPHASE_EV_CONTROL_TOKEN_FILE` | `--control.token-file` | none | a file with it |" in file


def test_several_sections_make_one_table() -> None:
    assert rows("state, log") == rows("state") + rows("log")


def test_what_stands_outside_the_marks_stays() -> None:
    assert rewritten("# Configuration\n\nNo table.\n") == "# Configuration\n\nNo table.\n"


def test_a_table_of_no_section_is_an_error() -> None:
    with pytest.raises(KeyError, match="pole"):
        rows("poll, pole")
