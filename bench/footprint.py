"""How much memory a fleet takes in one design, peak of scrapes included; run in a process of its own.

python -m bench.footprint exposition|labelled SERIES
"""

import asyncio
import sys
from pathlib import Path

from prometheus_client import generate_latest

from bench.fleet import Labelled, fleet
from exporter.exposition import Exposition, Format

_SCRAPES = 5


def _kibibytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise RuntimeError(f"no {field} in /proc/self/status")


async def _exposition(series: int) -> None:
    """The snapshot of the last scrape lives on while the next one is made and rendered."""
    exposition = Exposition()
    for step in range(_SCRAPES):
        body = await exposition.render(fleet(series, step), Format.TEXT)
        for _ in body.blocks():
            pass


def _labelled(series: int) -> None:
    labelled = Labelled()
    for step in range(_SCRAPES):
        labelled.show(fleet(series, step))
        generate_latest(labelled.registry)


def main(kind: str, series: int) -> None:
    asyncio.run(asyncio.sleep(0))
    before = _kibibytes("VmRSS:")
    if kind == "exposition":
        asyncio.run(_exposition(series))
    else:
        _labelled(series)
    print((_kibibytes("VmHWM:") - before) / 1024, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
