"""SIGKILL at random moments under load: nothing acknowledged is lost, no file is damaged.

A nursery process, started once, forks a worker for each round: an interpreter that is warm already keeps
the rounds short. A worker tells what it finds in the file, goes on from there, and tells each save once it
has returned. Between rounds the file is only read, so that each worker meets what the last one left behind.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import sleep

import pytest

from exporter.state_file import connect_to_read

ROUNDS = 180
ROUNDS_OF_BEGINNING = 40

NURSERY = """
import asyncio, os, sys
from pathlib import Path
from exporter.model import FinishedSession, Ledger
from exporter.state import State

NOTHING = dict.fromkeys(FinishedSession.__dataclass_fields__)

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

async def work(folder):
    state = State.open(Path(folder))
    count = max((ledger.sessions for ledger in state.load_ledgers().values()), default=0)
    tell("found", count, state.set_aside)
    while True:
        count += 1
        ledger = Ledger(1.0, energy_kwh=count / 4, sessions=count)
        start_seconds = 60.0 * (count % 500)
        known = {"site_id": "1", "serial": "A", "start_seconds": start_seconds, "charging_seconds": 0.0}
        finished = FinishedSession(**NOTHING | known | {"energy_kwh": count / 4})
        await state.save([("1", "A", ledger), ("1", "B", ledger)], [finished])
        tell("saved", count)

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        asyncio.run(work(line.strip()))
    tell("born", pid)
    os.waitpid(pid, 0)
    tell("dead")
"""


@dataclass
class Life:
    """What one worker told before it was killed."""

    found: list[str] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)


@dataclass
class Nursery:
    """The process that makes workers."""

    process: "subprocess.Popen[str]"

    def life(self, folder: Path, seconds: float) -> Life:
        """A worker's life of about so many seconds; it may speak before the nursery tells its pid."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        life = Life()
        for line in self.process.stdout:
            word, *rest = line.split()
            if word == "born":
                sleep(seconds)
                os.kill(int(rest[0]), signal.SIGKILL)
            elif word == "found":
                life.found = rest
            elif word == "saved":
                life.saved.append(int(rest[0]))
            else:
                return life
        raise AssertionError("the nursery died")


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        yield Nursery(process)
        process.kill()


def stored_count(folder: Path) -> int:
    """The newest count in the file, after seeing that the file is sound and all in it belongs together."""
    path = folder / "state.sqlite3"
    if not path.exists() or not path.stat().st_size:
        return 0
    with closing(connect_to_read(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not database.execute("SELECT * FROM sqlite_master").fetchall():
            return 0
        counts = database.execute(
            "SELECT DISTINCT json_extract(ledger, '$.sessions') FROM ledgers"
        ).fetchall()
        (energy_kwh,) = database.execute("SELECT max(energy_kwh) FROM finished_sessions").fetchone()
    assert len(counts) <= 1
    count = int(counts[0][0]) if counts else 0
    assert (energy_kwh or 0) == count / 4
    return count


def test_kills_under_load_lose_nothing_acknowledged_and_damage_nothing(
    nursery: Nursery, tmp_path: Path
) -> None:
    random = Random()
    count = saves = 0
    for _ in range(ROUNDS):
        life = nursery.life(tmp_path, random.uniform(0, 0.06))
        assert life.found in ([], [str(count), "None"])
        saves += len(life.saved)
        acknowledged = max(life.saved, default=count)
        count = stored_count(tmp_path)
        assert count in (acknowledged, acknowledged + 1)  # the newest may be written and not yet told
    assert saves


def test_kills_while_the_file_is_made_leave_one_that_the_next_start_takes(
    nursery: Nursery, tmp_path: Path
) -> None:
    random = Random()
    for number in range(ROUNDS_OF_BEGINNING):
        folder = tmp_path / str(number)
        first = nursery.life(folder, random.uniform(0, 0.015))
        second = nursery.life(folder, 0.03)
        acknowledged = max(first.saved, default=0)
        assert second.found in ([], [str(acknowledged), "None"], [str(acknowledged + 1), "None"])
        assert stored_count(folder) >= max(second.saved, default=acknowledged)
