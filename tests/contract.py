"""What users build on, in the code and as of the last release: metrics, settings, commands.

`python -m tests.contract` writes the code's into tests/golden/contract.json, which is part of a release.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter import __version__
from exporter.__main__ import _parser
from exporter.metrics import METRICS, catalogue
from exporter.settings import ACCOUNT_SETTINGS, SETTINGS, TOKEN_SETTINGS

ROOT = Path(__file__).parents[1]
RELEASED = Path(__file__).parent / "golden" / "contract.json"

Promises = Mapping[str, str]  # name → what it is, for example "counter {account, endpoint}"
Contract = Mapping[str, Promises]


def contract_of_the_code() -> dict[str, dict[str, str]]:
    return {"metrics": _metrics(), "settings": _settings(), "commands": _commands()}


def _metrics() -> dict[str, str]:
    states = {metric.name: f" {', '.join(metric.states)}" for metric in METRICS if metric.states}
    return {
        entry.name: f"{entry.kind} {{{', '.join(entry.labels)}}}{states.get(entry.name, '')}"
        for entry in catalogue()
    }


def _settings() -> dict[str, str]:
    keys = dict.fromkeys((spelling for setting in SETTINGS for spelling in setting.spellings), "")
    keys |= {setting.spellings[-1]: setting.flag for setting in SETTINGS}
    keys |= {f"accounts[].{spelling}": "" for setting in ACCOUNT_SETTINGS for spelling in setting.spellings}
    keys |= {
        f"control.tokens[].{spelling}": "" for setting in TOKEN_SETTINGS for spelling in setting.spellings
    }
    return keys


def subparsers() -> Mapping[str, argparse.ArgumentParser]:
    [commands] = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    parsers: Mapping[str, argparse.ArgumentParser] = commands.choices
    return parsers


def _commands() -> dict[str, str]:
    """Each command with what it takes beyond the flags that are settings."""
    common = {setting.flag for setting in SETTINGS} | {"--config.file", "--help"}
    return {
        name: " ".join(sorted(_words(parser) - common - {f"--no-{flag[2:]}" for flag in common}))
        for name, parser in subparsers().items()
    }


def _words(parser: argparse.ArgumentParser) -> set[str]:
    return {action.option_strings[-1] if action.option_strings else action.dest for action in parser._actions}


def released_contract() -> tuple[str, Contract]:
    """The version and the contract of the last release."""
    document: dict[str, Any] = json.loads(RELEASED.read_text(encoding="utf-8"))
    return document.pop("release"), document


def unnamed(released: Contract, code: Contract, unreleased: str) -> list[str]:
    """What differs from the last release and is not named where CHANGELOG.md tells of it, as sentences."""
    chapters = _chapters(unreleased)
    return [
        f"{name} ({what}): not named under '### {chapter}' of Unreleased in CHANGELOG.md"
        for kind in code
        for chapter, name, what in _differences(released.get(kind, {}), code[kind])
        if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w\[-]|\.\w)", chapters.get(chapter, ""))
    ]


def _differences(released: Promises, code: Promises) -> Iterator[tuple[str, str, str]]:
    for name in sorted(released.keys() | code.keys()):
        before, after = released.get(name), code.get(name)
        if before is None:
            yield "Added", name, f"{after}"
        elif after is None:
            yield "Removed", name, f"was {before}"
        elif before != after:
            yield "Changed", name, f"{before} → {after}"


def _chapters(section: str) -> dict[str, str]:
    heads = re.split(r"^### (\w+)$", section, flags=re.MULTILINE)[1:]
    return dict(zip(heads[::2], heads[1::2], strict=True))


def section_of(changelog: str, version: str) -> str:
    """The text under the heading of a version, or of `Unreleased`; empty when there is none."""
    heading = rf"^## \[{re.escape(version)}\].*$"
    found = re.search(rf"{heading}\n(?P<text>(?:(?!^## ).*\n?)*)", changelog, flags=re.MULTILINE)
    return found["text"].strip() if found else ""


def versions_of(changelog: str) -> list[str]:
    """The released versions, newest first."""
    return re.findall(r"^## \[([0-9][^\]]*)\]", changelog, flags=re.MULTILINE)


if __name__ == "__main__":
    document = {"release": __version__} | contract_of_the_code()
    RELEASED.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
