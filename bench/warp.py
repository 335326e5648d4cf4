"""Runs a module in fast time: `python -m bench.warp SPEED MODULE ARGUMENT…`.

Every clock of the process runs SPEED times as fast and its event loop sleeps that much shorter, so the module
does an hour's work in the CPU time that the hour costs, without a setting of it being changed.
"""

import runpy
import selectors
import sys
import time
from collections.abc import Callable


def warp(speed: float) -> None:
    """Speed up what this process takes for time; CPU clocks stay as they are."""
    for name in ("monotonic", "time"):
        setattr(time, name, _warped(getattr(time, name), speed))

    class WarpedSelector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            return super().select(None if timeout is None else timeout / speed)

    selectors.DefaultSelector = WarpedSelector  # type: ignore[misc]  # the loop takes whatever stands here


def _warped(clock: Callable[[], float], speed: float) -> Callable[[], float]:
    start = clock()
    return lambda: start + (clock() - start) * speed


if __name__ == "__main__":
    warp(float(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
