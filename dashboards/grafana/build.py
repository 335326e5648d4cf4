"""Writes the dashboards' JSON: `python -m dashboards.grafana.build`, from the repository's root."""

from collections.abc import Callable
from pathlib import Path

from dashboards.grafana import charger, cloud, fleet
from dashboards.grafana.board import Description, json_text

FOLDER = Path(__file__).parent
DESCRIPTIONS: dict[str, Callable[[], Description]] = {
    "charger.json": charger.description,
    "fleet.json": fleet.description,
    "exporter.json": cloud.description,
}


def texts() -> dict[str, str]:
    """File name -> the text that belongs in it."""
    return {name: json_text(describe()) for name, describe in DESCRIPTIONS.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
