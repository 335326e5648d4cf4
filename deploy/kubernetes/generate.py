"""Writes what the chart takes in from alerts/ and dashboards/: `python deploy/kubernetes/generate.py`.

Copies, because neither kustomize nor Helm reads a file outside its own folder. Kustomize refuses links
that lead out of it, and not every tool that carries a chart to a cluster keeps them. A test compares.
"""

from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
FILES = Path(__file__).parent / "chart" / "files"
RULES = "rules/prometheusrule.yaml"
NAME = "enphase-ev-exporter"


class _Dumper(yaml.SafeDumper):
    """Expressions and descriptions on as many lines as they have."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)


def texts() -> dict[str, str]:
    """Path below the chart's `files` -> the text that belongs in it."""
    dashboards = sorted((REPOSITORY / "dashboards" / "grafana").glob("*.json"))
    return {RULES: _rules()} | {
        f"dashboards/{path.name}": path.read_text(encoding="utf-8") for path in dashboards
    }


def _rules() -> str:
    """Every rule file as one PrometheusRule."""
    paths = sorted((REPOSITORY / "alerts").glob("*.yml"))
    groups = [group for path in paths for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    labels = {f"app.kubernetes.io/{label}": NAME for label in ("name", "instance")}
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": NAME, "labels": labels},
        "spec": {"groups": groups},
    }
    header = "# Made of alerts/*.yml by deploy/kubernetes/generate.py.\n"
    return header + yaml.dump(rule, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


if __name__ == "__main__":
    for name, text in texts().items():
        (FILES / name).write_text(text, encoding="utf-8")
