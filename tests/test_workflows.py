"""The workflows and forms of .github: what the checkers of tests/e2e/test_workflows.py do not know."""

import re
import runpy
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import __version__
from tests.contract import subparsers

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
PINNED = re.compile(r"uses: (?:\./\S+\.yml|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)(?: # zizmor: .+)?")

notes_of: Callable[[str, Path], str] = runpy.run_path(str(GITHUB / "release_notes.py"))["notes_of"]


def loaded(path: Path) -> dict[str, Any]:
    # `on` is a word for true in YAML 1.1: BaseLoader leaves every scalar the text it is.
    document: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    return document


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = loaded(path)["jobs"]
    return found


def scripts() -> Iterator[str]:
    for path in WORKFLOWS:
        for job in jobs(path).values():
            yield from (step["run"] for step in job.get("steps", ()) if "run" in step)


workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


@workflow
def test_every_action_is_pinned_by_commit_and_says_its_version(path: Path) -> None:
    lines = [line.strip().removeprefix("- ") for line in path.read_text(encoding="utf-8").splitlines()]
    used = [line for line in lines if line.startswith("uses:")]
    assert [line for line in used if not PINNED.fullmatch(line)] == []


def test_an_action_has_one_version_in_all_workflows() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    pins = set(re.findall(r"uses: (\S+)@(\S+) # (\S+)", texts))
    assert len(pins) == len({action for action, _, _ in pins}) > 5


@workflow
def test_a_job_has_only_the_rights_it_names_and_ends_some_day(path: Path) -> None:
    assert loaded(path)["permissions"] == {}
    assert "group" in loaded(path)["concurrency"]
    for job in jobs(path).values():
        assert "permissions" in job
        assert "uses" in job or int(job["timeout-minutes"]) <= 90


@workflow
def test_a_checkout_leaves_no_credentials_behind(path: Path) -> None:
    steps = [step for job in jobs(path).values() for step in job.get("steps", ())]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] == "false" for step in checkouts)


@workflow
def test_what_a_pull_request_starts_can_write_nothing_and_sees_no_secret(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "pull_request_target" not in text
    assert "secrets." not in text
    if "pull_request" in loaded(path)["on"]:
        assert all(job["permissions"] == {"contents": "read"} for job in jobs(path).values())
        assert "github.token" not in text


def test_a_script_takes_what_others_can_name_from_its_environment() -> None:
    assert [script for script in scripts() if "${{" in script] == []


def test_a_script_calls_what_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = "\n".join(scripts())
    made = re.findall(r"^(?:.*&& )?make ((?:[a-z]+ ?)+)", text, re.MULTILINE)
    assert {word for words in made for word in words.split()} <= targets
    assert {"lint", "test", "docs", "dashboards", "lock"} <= {
        word for words in made for word in words.split()
    }
    for file in re.findall(r"(?:bash|python3?) (\.\S+)", text):
        assert (ROOT / file).is_file()
    for command in re.findall(r"enphase-ev-exporter ([a-z][a-z-]+)\b", text):
        assert command in subparsers()


def test_every_python_that_is_promised_is_tested_on_both_machines() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    matrix = jobs(GITHUB / "workflows" / "test.yml")["unit"]["strategy"]["matrix"]
    assert matrix["python"] == promised
    assert {one["machine"]: one["runner"] for one in matrix["include"]} == {
        "amd64": "ubuntu-24.04",
        "arm64": "ubuntu-24.04-arm",
    }
    assert matrix["machine"] == ["amd64", "arm64"]


def test_nothing_is_published_before_the_tests_have_passed() -> None:
    release = jobs(GITHUB / "workflows" / "release.yml")

    def waits_for(name: str) -> set[str]:
        needs = release[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct | {further for one in direct for further in waits_for(one)}

    publishing = {name for name, job in release.items() if "write" in job["permissions"].values()}
    assert publishing == {"image", "index", "release"}
    assert all({"notes", "test", "distributions"} <= waits_for(name) for name in publishing)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_names_each_field_once_and_only_commands_that_exist(path: Path) -> None:
    form = loaded(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    for command in re.findall(r"enphase-ev-exporter ([a-z][a-z-]+)", path.read_text(encoding="utf-8")):
        assert command in subparsers()


@pytest.mark.parametrize(("form", "command"), [("bug", "diagnostics"), ("payload", "record")])
def test_a_form_asks_for_what_a_person_needs_who_has_not_that_account(form: str, command: str) -> None:
    fields = loaded(GITHUB / "ISSUE_TEMPLATE" / f"{form}.yml")["body"]
    asking = [
        field
        for field in fields
        if field["attributes"].get("placeholder", "").startswith(f"enphase-ev-exporter {command} ")
        and field.get("validations", {}).get("required") == "true"
    ]
    assert len(asking) == 1


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository that is ready to release its version."""
    (tmp_path / "exporter").mkdir()
    (tmp_path / "tests" / "golden").mkdir(parents=True)
    shutil.copy(ROOT / "exporter" / "__init__.py", tmp_path / "exporter")
    (tmp_path / "tests/golden/contract.json").write_text(f'{{"release": "{__version__}"}}', encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## [Unreleased]\n\n## [{__version__}] - 2026-12-01\n\n### Added\n\n- All.\n\n"
        "## [0.0.1] - 2026-01-01\n\n- Old.\n",
        encoding="utf-8",
    )
    return tmp_path


def changed(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_the_release_notes_are_the_changelog_of_that_version(tree: Path) -> None:
    assert notes_of(f"v{__version__}", tree) == "### Added\n\n- All."


@pytest.mark.parametrize("tag", [__version__, "v9.9.9", f"v{__version__}rc1"])
def test_a_tag_that_is_not_the_version_is_refused(tree: Path, tag: str) -> None:
    with pytest.raises(ValueError, match=rf"the tag is {re.escape(tag)}, exporter/__init__.py says"):
        notes_of(tag, tree)


def test_a_release_without_a_dated_chapter_is_refused(tree: Path) -> None:
    changed(tree / "CHANGELOG.md", " - 2026-12-01", "")
    with pytest.raises(ValueError, match=r"CHANGELOG\.md has no"):
        notes_of(f"v{__version__}", tree)


def test_an_empty_chapter_is_refused(tree: Path) -> None:
    changed(tree / "CHANGELOG.md", "### Added\n\n- All.\n", "")
    with pytest.raises(ValueError, match=r"CHANGELOG\.md has no"):
        notes_of(f"v{__version__}", tree)


def test_a_release_with_the_contract_of_another_is_refused(tree: Path) -> None:
    changed(tree / "tests/golden/contract.json", __version__, "0.0.1")
    with pytest.raises(ValueError, match="make contract"):
        notes_of(f"v{__version__}", tree)
