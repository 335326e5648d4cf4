"""The rules against the metric table, their runbooks, their promtool tests and Alertmanager's config."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from exporter.metrics import catalogue
from tests.dashboard_queries import asked_by
from tests.rule_queries import (
    ALERTMANAGER_CONFIG,
    REPOSITORY,
    RULE_FILES,
    RULE_TEST_FILES,
    Rule,
    hurried,
    hurried_rules,
    metrics_used,
    seconds_of,
    shipped_rules,
)

RULES = tuple(shipped_rules())
ALERTS = tuple(rule for rule in RULES if rule.alert)
RECORDS = {rule.record for rule in RULES if rule.record}
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
RUNBOOK_PREFIX = "docs/runbooks/"
TABLE = REPOSITORY / "docs" / "alerts.md"
DASHBOARDS = ("enphase-ev-charger", "enphase-ev-fleet", "enphase-ev-exporter")

SUFFIXES = {"histogram": ("_bucket", "_count", "_sum")}
EXPOSED = {
    entry.name + suffix: set(entry.labels)
    for entry in catalogue()
    for suffix in ("", *SUFFIXES.get(entry.kind, ()))
}
OF_PROMETHEUS = {
    "up": {"job", "instance"},
    "ALERTS": {"alertname", "alertstate", "severity", "site_id", "serial", "account", "site", "name"},
}
TARGET_LABELS = {"job", "instance", "le"}
# What shows in one scrape and does not go away by itself needs no patience, and a window has its own.
WITHOUT_PATIENCE = {"EnphaseEVFirmwareChanged", "EnphaseEVStateWritesFailing", "EnphaseEVStateSetAside"}
LEAST_WAIT_SECONDS = 180  # two failed polls of a site without a car


def named(rule: Rule) -> str:
    return rule.alert or rule.record


def labels_after(name: str) -> set[str]:
    """The labels a metric may carry; of a recorded one, those its rule keeps or adds."""
    if name in EXPOSED:
        return EXPOSED[name]
    if name in OF_PROMETHEUS:
        return OF_PROMETHEUS[name]
    (rule,) = [rule for rule in RULES if rule.record == name]
    return set(rule.asked.grouped | rule.asked.made)


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_a_rule_asks_only_for_metrics_and_labels_that_exist(rule: Rule) -> None:
    known = EXPOSED.keys() | OF_PROMETHEUS.keys() | RECORDS
    assert rule.asked.metrics.keys() <= known
    for name, matched in rule.asked.metrics.items():
        assert matched <= labels_after(name) | TARGET_LABELS, name
    carried = set().union(*(labels_after(name) for name in rule.asked.metrics))
    assert rule.asked.grouped <= carried | TARGET_LABELS | rule.asked.made


@pytest.mark.parametrize("rule", ALERTS, ids=named)
def test_an_alert_tells_a_person_what_where_and_what_to_do(rule: Rule) -> None:
    assert re.fullmatch(r"EnphaseEV([A-Z][a-z]+)+", rule.alert)
    assert rule.labels.keys() == {"severity"}
    assert rule.labels["severity"] in {"critical", "warning", "info"}
    assert rule.annotations.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
    assert all(
        re.search(r"[.]( *{{ *end *}})?$", rule.annotations[key]) for key in ("summary", "description")
    )
    assert rule.annotations["runbook_url"] == f"{RUNBOOK_PREFIX}{rule.alert}.md"
    uid = re.match(r"/d/([\w-]+)(?:\?|$)", rule.annotations["dashboard_url"])
    assert uid is not None
    assert uid[1] in DASHBOARDS


@pytest.mark.parametrize("rule", ALERTS, ids=named)
def test_the_words_of_an_alert_name_only_labels_it_has(rule: Rule) -> None:
    words = " ".join(rule.annotations.values())
    carried = rule.asked.grouped | rule.asked.made
    assert set(re.findall(r"\$labels\.(\w+)", words)) <= carried
    assert hurried(words, 2) == words, "words that look like durations would not be true on a faster clock"


@pytest.mark.parametrize("rule", ALERTS, ids=named)
def test_an_alert_waits_for_two_failed_polls(rule: Rule) -> None:
    assert rule.alert in WITHOUT_PATIENCE or seconds_of(rule.wait) >= LEAST_WAIT_SECONDS


@pytest.mark.parametrize("rule", ALERTS, ids=named)
def test_an_alert_is_tested_before_it_fires_while_it_does_and_after(rule: Rule) -> None:
    timelines = [
        [bool(one.get("exp_alerts")) for one in sorted(cases, key=lambda one: seconds_of(one["eval_time"]))]
        for cases in promtool_cases(rule.alert)
    ]
    assert any(firing[0] is False and True in firing and firing[-1] is False for firing in timelines)


def promtool_cases(alert: str) -> Iterator[list[dict[str, Any]]]:
    """What each promtool test asks of an alert."""
    for path in RULE_TEST_FILES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            cases = [case for case in test.get("alert_rule_test", ()) if case["alertname"] == alert]
            if cases:
                yield cases


def test_every_record_is_named_by_level_metric_and_operations() -> None:
    for rule in RULES:
        if rule.record:
            level, metric, operations = rule.record.split(":")
            assert re.fullmatch(r"fleet|account|site_id|site_id_serial", level)
            assert metric in EXPOSED or f"{metric}_total" in EXPOSED
            assert re.fullmatch(r"[a-z]+(1d)?", operations)


def test_no_alert_needs_the_recording_rules() -> None:
    (alerts_path,) = (path for path in RULE_FILES if path.name == "enphase-ev-alerts.yml")
    for rule in ALERTS:
        recorded = {name for name in rule.asked.metrics if ":" in name}
        assert all(f"record: {name}\n" in alerts_path.read_text() for name in recorded)


@pytest.mark.parametrize("rule", ALERTS, ids=named)
def test_an_alert_has_a_runbook_that_says_what_to_look_at_and_what_to_do(rule: Rule) -> None:
    text = (RUNBOOKS / f"{rule.alert}.md").read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert headings == [rule.alert, "What it means", "What to look at", "What to do"]


def test_there_is_a_runbook_for_nothing_else() -> None:
    assert {path.stem for path in RUNBOOKS.iterdir()} == {rule.alert for rule in ALERTS}


@pytest.mark.parametrize("path", sorted([*RUNBOOKS.iterdir(), TABLE]), ids=lambda path: path.stem)
def test_a_runbook_names_only_metrics_that_exist(path: Any) -> None:
    text = path.read_text()
    names = set(re.findall(r"(?:\w+:)?\benphase_ev_[a-z0-9_]+(?::\w+)?", text))
    assert names <= EXPOSED.keys() | RECORDS
    for block in re.findall(r"^```promql\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            asked = asked_by(line.partition("#")[0])
            assert asked.metrics.keys() <= EXPOSED.keys() | OF_PROMETHEUS.keys() | RECORDS, line
            for name, matched in asked.metrics.items():
                assert matched <= labels_after(name) | TARGET_LABELS, line


def test_the_table_lists_every_alert_as_it_is() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| (\w+) \| (\w+) \| ", TABLE.read_text(), re.MULTILINE
    )
    expected = {(one.alert, one.alert, one.labels["severity"], one.wait) for one in ALERTS}
    assert set(rows) == expected
    assert len(rows) == len(expected)


# Alertmanager's config.

CONFIG = yaml.safe_load(ALERTMANAGER_CONFIG.read_text())


def matched(matchers: list[str]) -> set[str]:
    """The alerts that matchers on their name fit."""
    found = set()
    for matcher in matchers:
        label, operator, value = re.fullmatch(r'(\w+) (=~|=) "?([^"]+)"?', matcher).groups()  # type: ignore[union-attr]  # no match fails the test
        assert label == "alertname"
        pattern = value if operator == "=~" else re.escape(value)
        found |= {rule.alert for rule in ALERTS if re.fullmatch(pattern, rule.alert)}
    return found


@pytest.mark.parametrize("rule", CONFIG["inhibit_rules"], ids=lambda rule: str(rule["target_matchers"]))
def test_alerts_that_inhibit_each_other_exist_and_share_the_labels_compared(rule: dict[str, Any]) -> None:
    sources, targets = matched(rule["source_matchers"]), matched(rule["target_matchers"])
    assert sources
    assert targets
    assert not sources & targets
    for alert in ALERTS:
        if alert.alert in sources | targets:
            assert set(rule["equal"]) <= alert.asked.grouped


def test_while_the_cloud_is_down_no_alert_about_a_single_charger_or_site_is_told() -> None:
    held_back = {
        target
        for rule in CONFIG["inhibit_rules"]
        if "EnphaseEVCloudDown" in matched(rule["source_matchers"])
        for target in matched(rule["target_matchers"])
    }
    assert {
        rule.alert for rule in ALERTS if "site_id" in rule.asked.grouped and "site" in words(rule)
    } <= held_back


def words(rule: Rule) -> set[str]:
    return set(re.findall(r"\$labels\.(\w+)", rule.annotations["description"]))


# The faster clock.


def test_the_rules_use_metrics_of_chargers_accounts_and_the_exporter() -> None:
    expected = {
        "enphase_ev_charger_faulted",
        "enphase_ev_api_backoff_seconds",
        "enphase_ev_state_set_aside",
        "up",
    }
    assert expected <= metrics_used()


def test_a_hurried_config_has_all_its_durations_divided_and_nothing_else() -> None:
    config = "a: 30s\nb: [1h, 3d] # localhost:9093, avg1d, v2.42s\nwait: 500ms\n"
    assert (
        hurried(config, 60)
        == "a: 500ms\nb: [60000ms, 4320000ms] # localhost:9093, avg1d, v2.42s\nwait: 8ms\n"
    )


def test_hurried_rules_have_their_seconds_divided_as_well() -> None:
    text = """
groups:
  - name: a
    interval: 2m
    rules:
      - expr: max_over_time(x:y:avg1d[5m] offset 1h) > clamp_min(3 * 0.98, 600)
        for: 3m
        keep_firing_for: 5m
      - {record: "a:b:increase1d", expr: "b"}
"""
    first, second = yaml.safe_load(hurried_rules(text, 60))["groups"][0]["rules"]
    assert first == {
        "expr": "max_over_time(x:y:avg1d[5000ms] offset 60000ms) > clamp_min(3 * 0.98, 10)",
        "for": "3000ms",
        "keep_firing_for": "5000ms",
    }
    assert second == {"record": "a:b:increase1d", "expr": "b"}


def test_every_large_number_in_a_rule_is_one_of_seconds() -> None:
    large = {number for rule in RULES for number in re.findall(r"\b\d{3,}\b", rule.expression)}
    assert large == {"600", "900", "1800"}
