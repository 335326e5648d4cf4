"""The shipped rules, what they ask of Prometheus, and the same rules on a faster clock."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.dashboard_queries import Asked, asked_by

REPOSITORY = Path(__file__).parents[1]
RULE_FILES = tuple(sorted((REPOSITORY / "alerts").glob("*.yml")))
RULE_TEST_FILES = tuple(sorted((REPOSITORY / "alerts" / "tests").glob("*.yml")))
ALERTMANAGER_CONFIG = REPOSITORY / "deploy" / "alertmanager" / "alertmanager.yml"

_DURATION = re.compile(r"(?<![\w.:])(\d+)(ms|[smhdw])\b")
_SECONDS_NUMBER = re.compile(r"(?<![\w.:])\d{3,}(?![\w.:])")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Rule:
    """One rule of a file; `alert` or `record` is its name, the other one is empty."""

    alert: str
    record: str
    expression: str
    asked: Asked
    wait: str = "0s"  # `for`
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


def shipped_rules() -> Iterator[Rule]:
    """Every rule of every shipped file, in order."""
    for path in RULE_FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield Rule(
                    rule.get("alert", ""),
                    rule.get("record", ""),
                    rule["expr"],
                    asked_by(rule["expr"]),
                    rule.get("for", "0s"),
                    rule.get("labels", {}),
                    rule.get("annotations", {}),
                )


def metrics_used() -> set[str]:
    """The names in all shipped rules, recorded ones among them."""
    return {name for rule in shipped_rules() for name in rule.asked.metrics}


def seconds_of(duration: str) -> float:
    """A Prometheus duration of one unit in seconds."""
    match = _DURATION.fullmatch(duration)
    assert match, duration
    return int(match[1]) * float(_UNIT_SECONDS[match[2]])


def hurried(text: str, factor: float) -> str:
    """Every duration of a config divided by `factor`, and nothing else changed."""
    return _DURATION.sub(lambda match: f"{round(seconds_of(match[0]) * 1000 / factor)}ms", text)


def hurried_rules(text: str, factor: float) -> str:
    """A rule file with every duration divided by `factor`, and in expressions every number of seconds.

    A number of three digits or more in an expression is one of seconds; a test holds the rules to that.
    """
    document = yaml.safe_load(text)
    for group in document["groups"]:
        _change(group, "interval", lambda duration: hurried(duration, factor))
        for rule in group["rules"]:
            for key in ("for", "keep_firing_for"):
                _change(rule, key, lambda duration: hurried(duration, factor))
            rule["expr"] = _SECONDS_NUMBER.sub(
                lambda match: f"{int(match[0]) / factor:g}", hurried(rule["expr"], factor)
            )
    return yaml.safe_dump(document, sort_keys=False)


def _change(mapping: dict[str, Any], key: str, change: Callable[[str], str]) -> None:
    if key in mapping:
        mapping[key] = change(mapping[key])
