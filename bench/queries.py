"""Row 24: every query of the rules and the dashboards on a day of 1,000 chargers in Prometheus.

Chargers report every five minutes; here they are polled every four and scraped every minute, the longest
interval that the docs call good. The day is written up to now, then the shipped rules run, so that what they
record is there.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import yaml

from bench.past_day import PastFleet
from bench.processes import cpu_seconds, free_port, median
from bench.remote_write import RemoteWriter
from bench.table import Limit, Row
from tests.dashboard_queries import FILES, DashboardQuery, dashboard, queries
from tests.e2e.panel_data import View
from tests.e2e.programs import Program, eventually, fetch, started
from tests.e2e.prometheus_server import Prometheus
from tests.rule_queries import RULE_FILES, shipped_rules

CHARGERS, QUICK_CHARGERS = 1_000, 100
POLL_SECONDS, SCRAPE_SECONDS = 240.0, 60.0
RULE_INTERVAL_SECONDS = 30.0
_DAY_SECONDS, _QUICK_SECONDS = 86_400.0, 4 * 3600.0
_STEPS_A_WRITE = 7  # less than an hour: what is older than that, Prometheus refuses
_ROUNDS, _ENOUGH_SECONDS = 3, 2.0  # a query that is slower is asked less often
_RULES_SECONDS = 2.0
_RESTING_CPU_SECONDS = 0.05  # in a second
_PANEL_POINTS = 720  # of a graph as wide as half a screen
_OF_ONE = "charger.json"  # also asked as it is used: with one charger chosen
_TARGET = {"job": "enphase-ev", "instance": "localhost:10055"}
_NO_LIMITS = (Limit(float("inf"), unit=" s"), Limit(float("inf"), unit=" s"))
_RANGE_SECONDS = {"now-6h": 6 * 3600.0, "now-24h": _DAY_SECONDS}


@dataclass(frozen=True, slots=True)
class Timed:
    """One query: how long its answer took, and whether there was anything in it."""

    name: str
    seconds: float
    has_data: bool


def rows(*, quick: bool) -> Iterator[Row]:
    """The rules, then each dashboard with all chargers, then the charger dashboard with one."""
    if which("prometheus") is None:
        yield Row("24a", "all rules once", "-", float("nan"), *_NO_LIMITS, "not measured: no prometheus")
        return
    chargers = QUICK_CHARGERS if quick else CHARGERS
    with TemporaryDirectory() as folder, _prometheus(Path(folder)) as prometheus:
        serial = _write_past(prometheus, chargers, _QUICK_SECONDS if quick else _DAY_SECONDS)
        asker = Asker(prometheus, _evaluate_rules(prometheus, Path(folder)))
        yield _rules_row(asker.rules(), chargers)
        for letter, path in zip("bcd", FILES, strict=True):
            title = dashboard(path.name)["title"]
            yield _row(
                f"24{letter}", f'dashboard "{title}", {chargers:,} chargers', asker.dashboard(path.name)
            )
        timed = asker.dashboard(_OF_ONE, serial)
        yield _row("24e", f'dashboard "{dashboard(_OF_ONE)["title"]}", one of them', timed)


def _rules_row(timed: Sequence[Timed], chargers: int) -> Row:
    row = _row("24a", f"all rules once, {chargers:,} chargers", timed)
    return replace(row, note=f"{row.note}; {row.value / RULE_INTERVAL_SECONDS:.1%} of their interval")


def _row(number: str, what: str, timed: Sequence[Timed]) -> Row:
    slowest = max(timed, key=lambda one: one.seconds)
    with_data = sum(one.has_data for one in timed)
    note = (
        f"slowest {slowest.seconds * 1e3:.0f} ms: {slowest.name}; {with_data} of {len(timed)} returned data"
    )
    return Row(number, what, "-", sum(one.seconds for one in timed), *_NO_LIMITS, note)


class Asker:
    """Asks a Prometheus as its rules and Grafana would at one moment, and takes the time."""

    def __init__(self, prometheus: Prometheus, now: float) -> None:
        self._prometheus, self._now = prometheus, now
        self._connection = HTTPConnection(prometheus.url.removeprefix("http://"), timeout=300)

    def rules(self) -> list[Timed]:
        """Every rule's expression."""
        return [
            self._timed(rule.alert or rule.record, "query", query=rule.expression, time=f"{self._now:.3f}")
            for rule in shipped_rules()
        ]

    def dashboard(self, file: str, serial: str = "") -> list[Timed]:
        """Every query of a dashboard in its own time range; of all chargers or of one."""
        range_seconds = _RANGE_SECONDS[dashboard(file)["time"]["from"]]
        step_seconds = max(60.0, range_seconds / _PANEL_POINTS)
        view = View(self._prometheus, self._now - range_seconds, self._now, step_seconds)
        return [
            self._shown(view, replace(query, expr=query.expr.replace("$charger", serial or "$charger")))
            for query in queries()
            if query.file == file
        ]

    def _shown(self, view: View, query: DashboardQuery) -> Timed:
        expression = view.filled(query)
        if query.target.get("instant") or query.place.startswith("variable"):
            return self._timed(query.name, "query", query=expression, time=f"{view.end:.3f}")
        start, step = view.range_of(query)
        times = {"start": f"{start:.3f}", "end": f"{view.end:.3f}", "step": f"{step:g}"}
        return self._timed(query.name, "query_range", query=expression, **times)

    def _timed(self, name: str, path: str, **parameters: str) -> Timed:
        """Until the whole answer is there, unread."""
        seconds = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            self._connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            response = self._connection.getresponse()
            answer = response.read()
            seconds.append(time.perf_counter() - began)
            if response.status != 200:
                raise RuntimeError(f"{name}: {response.status} {answer[:500]!r}")
            if sum(seconds) > _ENOUGH_SECONDS:
                break
        return Timed(name, median(seconds), b'"result":[]' not in answer)


@contextmanager
def _prometheus(folder: Path) -> Iterator[Prometheus]:
    """One that takes in what is past, and does nothing else yet."""
    port, config = free_port(), folder / "prometheus.yml"
    config.write_text("{}")
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        # Joining blocks to longer ones would go on beside the queries.
        "--storage.tsdb.min-block-duration=2h",
        "--storage.tsdb.max-block-duration=2h",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--web.enable-lifecycle",
    ]
    with started("prometheus", command, folder) as program:
        url = f"http://127.0.0.1:{port}"
        eventually("Prometheus is ready", lambda: fetch(f"{url}/-/ready").status == 200, within_seconds=20)
        yield Prometheus(program, url)


def _write_past(prometheus: Prometheus, chargers: int, range_seconds: float) -> str:
    """Tell Prometheus of so many chargers from then till now; gives the serial of one."""
    at = time.time() - range_seconds
    fleet = PastFleet(chargers, at, at + range_seconds, poll_seconds=POLL_SECONDS)
    writer = RemoteWriter(prometheus.url.removeprefix("http://"), _TARGET)
    with ThreadPoolExecutor(1) as beside:
        written: Future[None] = beside.submit(writer.write, ())
        for step in count():
            now = time.time()
            if at >= now or step % _STEPS_A_WRITE == 0:
                written.result()
                written = beside.submit(writer.write, writer.taken())
            if at >= now:
                break
            scrapes = [at + later for later in range(0, int(POLL_SECONDS), int(SCRAPE_SECONDS))]
            writer.add(fleet.body(at), [moment for moment in scrapes if moment <= now])
            at += POLL_SECONDS
        written.result()
    return fleet.serial


def _evaluate_rules(prometheus: Prometheus, folder: Path) -> float:
    """Let the shipped rules run twice, without their `for`, so that alerts fire; gives the time after."""
    groups = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    for group in groups:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule.pop("for", None)
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    config = {"global": {"evaluation_interval": f"{_RULES_SECONDS:g}s"}, "rule_files": ["rules.yml"]}
    _reload(prometheus, folder, config)
    for since in (time.time(), time.time() + _RULES_SECONDS):  # some read what others record
        eventually("the rules run", partial(_have_run_since, prometheus, since), within_seconds=60)
    now = time.time()
    _reload(prometheus, folder, {})
    _await_rest(prometheus.program)
    return now


def _reload(prometheus: Prometheus, folder: Path, config: dict[str, Any]) -> None:
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    answer = fetch(f"{prometheus.url}/-/reload", method="POST")
    if answer.status != 200:
        raise RuntimeError(f"Prometheus refuses its config: {answer.text}")


def _have_run_since(prometheus: Prometheus, since: float) -> bool:
    """Whether every group has been evaluated since then; raises RuntimeError for a rule that fails."""
    groups = prometheus.ask("rules")["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        if rule["health"] == "err":
            raise RuntimeError(f"rule {rule['name']}: {rule['lastError']}")
    times = [datetime.fromisoformat(group["lastEvaluation"]).timestamp() for group in groups]
    return bool(times) and min(times) > since


def _await_rest(program: Program) -> None:
    """Until what Prometheus still has to do with what was written is done."""
    pid = program.process.pid

    def rests() -> bool:
        before = cpu_seconds(pid)
        time.sleep(1.0)
        return cpu_seconds(pid) - before < _RESTING_CPU_SECONDS

    eventually("Prometheus rests", rests, within_seconds=60)
