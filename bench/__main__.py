"""`python -m bench`: every row of the target table in one run; exit code 1 when a target is missed."""

import argparse
import sys
from collections.abc import Callable, Iterator
from time import monotonic

from bench import day, exposition, image, memory, missed, polling, queries, startup, state
from bench.processes import scratch
from bench.table import Row, table

# What is timed by the wall stands first: nothing else runs beside it then.
PARTS: tuple[tuple[frozenset[int], Callable[..., Iterator[Row]]], ...] = (
    (frozenset({8, 9}), startup.rows),
    (frozenset({13, 14}), polling.rows),
    (frozenset({15}), day.rows),
    (frozenset({10}), memory.rows),
    (frozenset({1, 2, 3, 4, 5, 7, 11, 12, 18}), exposition.rows),
    (frozenset({19, 20, 21}), state.rows),
    (frozenset({16}), missed.rows),
    (frozenset({23}), image.rows),
    (frozenset({24}), queries.rows),
)
EVERY_ROW = frozenset[int]().union(*(numbers for numbers, _ in PARTS))


def main() -> int:
    """Run the parts asked for and print their rows as one table."""
    options = _options()
    rows: list[Row] = []
    started = monotonic()
    with scratch():
        for numbers, part in PARTS:
            if wanted := numbers & options.only:
                _progress(f"rows {', '.join(map(str, sorted(wanted)))} ...")
                rows += (row for row in part(quick=options.quick) if row.number in wanted)
    _progress(f"{monotonic() - started:.0f} s")
    print(table(rows))
    missed_targets = [row.row for row in rows if row.is_missed]
    if missed_targets:
        print(f"\nMissed: row {', '.join(missed_targets)}")
    return 1 if missed_targets else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", type=_numbers, default=EVERY_ROW, metavar="8,9", help="these rows only")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; ratios are less certain")
    return parser.parse_args()


def _numbers(text: str) -> frozenset[int]:
    numbers = frozenset(int(word) for word in text.split(","))
    if not numbers <= EVERY_ROW:
        raise argparse.ArgumentTypeError(f"there are rows {', '.join(map(str, sorted(EVERY_ROW)))}")
    return numbers


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
