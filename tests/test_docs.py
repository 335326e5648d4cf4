"""What the pages say that code can check: links, commands, metrics, settings."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from itertools import count, dropwhile, takewhile
from pathlib import Path

import pytest
import yaml

from exporter.__main__ import _parser
from exporter.config import load
from exporter.metrics import catalogue
from exporter.readers import duration
from exporter.schedule import SiteLoad, stretched_intervals
from exporter.sections import PollConfig
from exporter.settings import SECTIONS
from tests.contract import ROOT, subparsers

PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob(".github/**/*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/**/README.md"),
    }
)
FENCED = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
PROGRAM = "enphase-ev-exporter"
SHELL_WORDS = {"|", "||", "&&", ";", "&", "<", ">", ">>", "(", ")"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


page_by_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    return FENCED.sub("", text_of(page))


def anchors_of(page: Path) -> set[str]:
    """The anchors GitHub makes of the headings."""
    heads = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).replace("`", "") for head in heads]
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in plain}


def dead_links_of(page: Path) -> list[str]:
    dead = []
    for target in LINK.findall(prose_of(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors_of(there)):
            dead.append(target)
    return dead


@page_by_page
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    assert dead_links_of(page) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `page`: one\n\n[a](#a-page-one) [b](#b) [c](page.md#a-page-one) [d](no.md) [e](page.md#no)\n"
        "[f](https://example.com/#no) [g](.)\n\n```\n# b\n[h](no.md)\n```\n"
    )
    assert dead_links_of(page) == ["#b", "no.md", "page.md#no"]


def test_every_page_of_the_docs_is_reached_from_their_index() -> None:
    docs = ROOT / "docs"
    reached, waiting = set[Path](), [docs / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.is_relative_to(docs):
            reached.add(page)
            targets = (target.partition("#")[0] for target in LINK.findall(prose_of(page)))
            waiting += [(page.parent / target).resolve() for target in targets if "://" not in target]
    assert {page for page in PAGES if page.is_relative_to(docs)} - reached == set()


def commands_of(page: Path) -> Iterator[str]:
    """What stands behind the program's name wherever a page shows a command line of it."""
    for block in FENCED.finditer(text_of(page)):
        if block["language"] in ("", "sh", "bash", "console"):
            for line in block["text"].replace("\\\n", " ").splitlines():
                yield from commands_in(line)
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose_of(page)):
        yield from commands_in(re.sub(r"^… ", f"{PROGRAM} ", span))


def commands_in(line: str) -> Iterator[str]:
    words = _words(line)
    for place, word in enumerate(words):
        if word != PROGRAM and not word.endswith(f"bin/{PROGRAM}"):
            continue
        rest = words[place + 1 :]
        end = next((index for index, one in enumerate(rest) if one in SHELL_WORDS), len(rest))
        # The name is also that of a container, a unit, a user: what follows there is no command of ours.
        if _is_first(words[:place]) or (rest and rest[0] in subparsers()):
            yield " ".join(rest[:end])


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(re.sub(r"[\[\]]", "", line), posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # an apostrophe of prose
        return []


def _is_first(before: list[str]) -> bool:
    since = max((index for index, word in enumerate(before) if word in SHELL_WORDS), default=-1) + 1
    return all(word in ("$", "sudo", "exec") or re.match(r"[A-Z_]+=", word) for word in before[since:])


def refusal(command: str) -> str | None:
    """What the real command line says against a command, None when it takes it."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            _parser().parse_args(shlex.split(command))
        except SystemExit as end:
            return None if end.code == 0 else said.getvalue().splitlines()[-1]
    return None


@page_by_page
def test_every_command_that_is_shown_is_one(page: Path) -> None:
    refused = {command: refusal(command) for command in commands_of(page) if refusal(command) is not None}
    assert refused == {}


def test_a_command_that_is_none_is_found() -> None:
    assert [refusal(command) is None for command in ("", "check --online", "--version")] == [True] * 3
    assert [refusal(command) is None for command in ("chek", "check --onlin", "run --poll.pace 3s")] == [
        False
    ] * 3


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("sudo enphase-ev-exporter check --online   # once", ["check --online"]),
        ("TZ=UTC .venv/bin/enphase-ev-exporter sesions | head", ["sesions"]),
        ("docker exec enphase-ev-exporter enphase-ev-exporter login", ["login"]),
        ("docker run --name enphase-ev-exporter --restart always image", []),
        ("systemctl status enphase-ev-exporter", []),
        ("printf x | enphase-ev-exporter login < answers", ["login"]),
        ("enphase-ev-exporter check [--online]", ["check --online"]),
    ],
)
def test_commands_are_told_from_names(line: str, commands: list[str]) -> None:
    assert list(commands_in(line)) == commands


def test_the_pages_show_most_of_the_commands() -> None:
    shown = {command.partition(" ")[0] for page in PAGES for command in commands_of(page)}
    assert set(subparsers()) - shown == set()


METRICS = {entry.name for entry in catalogue()}
SAMPLES = METRICS | {
    entry.name + suffix
    for entry in catalogue()
    if entry.kind == "histogram"
    for suffix in ("_bucket", "_sum", "_count")
}
RECORDED = set(re.findall(r"record: (\S+)", (ROOT / "alerts/enphase-ev-recording.yml").read_text()))


def unknown_metrics_in(text: str) -> list[str]:
    for name in RECORDED:
        text = text.replace(name, "")
    names = set(re.findall(r"(?<![\w/.-])enphase_ev_\w*", text))
    return sorted(name for name in names - SAMPLES if not (name.endswith("_") and _begins_one(name)))


def _begins_one(beginning: str) -> bool:
    return any(name.startswith(beginning) for name in METRICS)


# CHANGELOG.md names those that are gone, too.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_every_metric_that_is_named_exists(page: Path) -> None:
    assert unknown_metrics_in(text_of(page)) == []


def test_a_metric_that_does_not_exist_is_found() -> None:
    assert (
        unknown_metrics_in("`enphase_ev_up`, `enphase_ev_api_*`, `enphase_ev_scrape_data_age_seconds_sum`")
        == []
    )
    assert unknown_metrics_in("enphase_ev_down or enphase_ev_zzz_*") == ["enphase_ev_down", "enphase_ev_zzz_"]


def configs_of(page: Path) -> Iterator[str]:
    """The YAML blocks that are a config of the exporter, or a part of one."""
    for block in FENCED.finditer(text_of(page)):
        if block["language"] != "yaml":
            continue
        text = re.sub(f"^{block['indent']}", "", block["text"], flags=re.MULTILINE)
        documents = list(yaml.load_all(text, yaml.BaseLoader)) if "!" not in text else []
        if (
            len(documents) == 1
            and isinstance(documents[0], dict)
            and set(documents[0]) <= {"accounts", *SECTIONS}
        ):
            yield text


def secret_files(folder: Path) -> Iterator[Path]:
    for number in count():
        path = folder / f"secret{number}"
        path.write_text(f"0123456789abcdef{number}\n")
        path.chmod(0o600)
        yield path


@page_by_page
def test_every_config_that_is_shown_loads(page: Path, tmp_path: Path) -> None:
    secrets = secret_files(tmp_path)
    for text in configs_of(page):
        config = tmp_path / "config.yml"
        config.write_text(re.sub(r"(?<=\w_file: )[^\s,}]+", lambda _: str(next(secrets)), text))
        config.chmod(0o600)
        load(config, {}, {}, accounts_needed=False)


def test_configs_are_found() -> None:
    assert sum(1 for page in PAGES for _ in configs_of(page)) > 3


def cells_of(page: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading line, its head left out."""
    lines = iter(text_of(ROOT / "docs" / page).split(heading)[1].splitlines())
    rows = list(takewhile(lambda line: line.startswith("|"), dropwhile(lambda line: line[:1] != "|", lines)))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_the_request_counts_of_the_faq_are_those_of_the_defaults() -> None:
    poll = PollConfig()
    for chargers, idle, active in cells_of("faq.md", "### What is that in requests?"):
        slow = 3600 / poll.summary_interval_seconds + int(chargers) * 3600 / poll.charge_mode_interval_seconds
        assert float(idle) == slow + 3600 / poll.idle_interval_seconds
        assert float(active) == slow + 3600 / poll.interval_seconds


def test_the_stretched_intervals_of_the_fleet_page_are_those_of_the_schedule() -> None:
    poll = PollConfig()
    rows = cells_of("fleet.md", "## When the budget does not suffice")
    assert len(rows) == 5
    for sites, slow_interval, active, idle in rows:
        others = 2 * 3600 / duration(slow_interval)
        plugged_in = int(sites) // 4
        loads = [SiteLoad(poll.interval_seconds, True, others)] * plugged_in
        loads += [SiteLoad(poll.idle_interval_seconds, False, others)] * (int(sites) - plugged_in)
        stretched = stretched_intervals(loads, poll.max_requests_per_hour)
        assert (active, idle) == (f"{stretched[0]:.0f} s", f"{stretched[-1]:.0f} s")
