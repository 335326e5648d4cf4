"""The `record` command: what a real account is sent, scrubbed, as cases of tests/payloads.

Bodies only: neither a header nor a cookie gets here, and no answer to a login. The person is asked to look at
the files before sharing them, because no list of what is private is ever complete.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.config import Config
from exporter.errors import ConfigError, UnexpectedPayload
from exporter.merge import Knowledge, join, with_status, with_summary
from exporter.model import Problem
from exporter.parse import parse_charge_mode, parse_status, parse_summary
from exporter.scrub import Scrubber
from exporter.seen import Seen

_FEWEST_DAYS, _MOST_DAYS = 30, 400
# The order in which `once` asks for a site: the first of them begins the next site.
_FIRST = "status"


@dataclass(slots=True)
class Recording:
    """The answers of one account or several, in the order they came, by site."""

    sites: list[bytes] = field(default_factory=list)  # answers to the search for sites
    of_sites: list[list[tuple[str, bytes]]] = field(default_factory=list)  # (endpoint, body) of each site

    def heard(self, endpoint: str, body: bytes) -> None:
        """Take in one answer."""
        if endpoint == "sites":
            self.sites.append(body)
            return
        if endpoint == _FIRST or not self.of_sites:
            self.of_sites.append([])
        self.of_sites[-1].append((endpoint, body))


def record(config: Config, folder: Path) -> tuple[list[Path], Seen]:
    """Ask the cloud once and write what it sent; the files, and what was seen. Raises ExporterError.

    Nothing is overwritten: `folder` has to be new or empty.
    """
    from exporter.once import look

    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: is not empty, expected a new folder, so that nothing is overwritten")
    recording = Recording()
    seen = asyncio.run(look(config, heard=recording.heard, everything=True))
    return written(recording, folder, Scrubber(random_days())), seen


def random_days() -> int:
    """By how many days every time moves back: nobody can tell which day it was."""
    return _FEWEST_DAYS + secrets.randbelow(_MOST_DAYS - _FEWEST_DAYS)


def written(recording: Recording, folder: Path, scrubber: Scrubber) -> list[Path]:
    """Write a file a site, and one for each search for sites; raises ConfigError where that cannot be."""
    texts = {
        f"recorded-sites-{number}.json": _indented(scrubber.body("sites", body))
        for number, body in enumerate(recording.sites, 1)
    }
    for number, answers in enumerate(recording.of_sites, 1):
        scrubbed = [(endpoint, scrubber.body(endpoint, body)) for endpoint, body in answers]
        texts[f"recorded-{number}.yaml"] = case_text(number, scrubbed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}), expected a new folder") from error
    return [folder / name for name in texts]


def case_text(number: int, answers: Sequence[tuple[str, bytes]]) -> str:
    """One case of tests/payloads: the bodies, and what today's parser makes of them."""
    lines = [
        "# Recorded with `enphase-ev-exporter record`, scrubbed. Look through it before you share it.",
        "# `chargers` and `problems` are what this version reads: correct them if that is wrong.",
        f"- name: a recorded site {number}",
        "  source: recorded",
    ]
    several: dict[str, int] = {}
    for endpoint, body in answers:
        several[endpoint] = several.get(endpoint, 0) + 1
        if several[endpoint] == 1:
            lines += [f"  {endpoint}: |", *(f"    {line}" for line in _indented(body).splitlines())]
        else:  # the table has room for the mode of one charger
            lines += [f"  # {endpoint}, another one: {body.decode()}"]
    return "\n".join([*lines, *(f"  {key}: {value}" for key, value in _outcome(answers).items())]) + "\n"


def _outcome(answers: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    """How many chargers these answers tell of, and what is odd in them; or the message of the refusal."""
    known = Knowledge()
    problems: list[Problem] = []
    first = dict(reversed(answers))
    try:
        if "summary" in first:
            summary = parse_summary(first["summary"])
            known, problems = with_summary(known, summary), [*problems, *summary.problems]
        if "status" in first:
            status = parse_status(first["status"])
            known, problems = with_status(known, status), [*problems, *status.problems]
        if "charge_mode" in first:
            problems += parse_charge_mode(first["charge_mode"]).problems
    except UnexpectedPayload as error:
        return {"refused": json.dumps(str(error))}
    chargers, doubts = join("1234567", known)
    kinds = [problem.kind for problem in (*problems, *doubts)]
    return {"chargers": len(chargers)} | ({"problems": json.dumps(kinds)} if kinds else {})


def _indented(body: bytes) -> str:
    """JSON on several lines, for a person to look through; anything else as it is."""
    with suppress(ValueError):
        return json.dumps(json.loads(body), indent=1, ensure_ascii=False) + "\n"
    return body.decode(errors="replace") + "\n"
