"""Rows 1 to 5, 7, 11, 12 and 18: what a scrape costs, against labelled objects of prometheus-client."""

import asyncio
import gc
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import pairwise
from shutil import which

from prometheus_client import generate_latest

from bench.fleet import Labelled, fleet, partly
from bench.processes import first_line, median, running
from bench.table import Limit, Row, table
from exporter.exposition import Exposition, Format
from exporter.model import Snapshot

SERIES = 35_000
PLAIN = {"Accept": "text/plain;version=0.0.4"}
GZIP = {**PLAIN, "Accept-Encoding": "gzip"}


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _at_least(value: float) -> Limit:
    return Limit(value, at_least=True)


class Renderer:
    """An exposition in a loop of its own, rendering as a scrape has it rendered."""

    def __init__(self) -> None:
        self._exposition = Exposition()
        self._loop = asyncio.new_event_loop()

    def seconds(self, *snapshots: Snapshot) -> float:
        """Of one rendering; several are timed as one, for they are short beside a turn of the CPU."""
        return _seconds(lambda: self._loop.run_until_complete(self._all(snapshots))) / len(snapshots)

    async def _all(self, snapshots: tuple[Snapshot, ...]) -> None:
        for snapshot in snapshots:
            await self._exposition.render(snapshot, Format.TEXT)

    def close(self) -> None:
        self._loop.close()


def body_rows(rounds: int) -> Iterator[Row]:
    """Rows 1 and 2: bodies of 35k series, all variants in every round."""
    steps = [fleet(SERIES, step) for step in range(4)]
    thirds = _thirds(steps)
    labelled = Labelled()
    labelled.show(steps[0])
    renderer = Renderer()
    gc.collect()
    gc.freeze()
    reference, every, third, nothing = [], [], [], []
    for _ in range(rounds):
        reference.append(_seconds(lambda: generate_latest(labelled.registry)))
        every.append(renderer.seconds(*steps * 2))
        third.append(renderer.seconds(*thirds * 4))
        nothing.append(renderer.seconds(*[thirds[-1]] * 50))
    renderer.close()
    gc.unfreeze()
    base = median(reference)
    for row, what, measured, times, target, stretch in (
        ("1", "body of 35k series, every number, flag and state changed", "42x, 112x", every, 20, 80),
        ("2a", "the same, 30 % of chargers changed", "118x", third, 50, 90),
        ("2b", "the same, nothing changed", "1,125x", nothing, 300, 800),
    ):
        note = f"{base * 1e3:.0f} ms over {median(times) * 1e3:.3g} ms"
        ratio = base / median(times)
        yield Row(row, what, measured, ratio, _at_least(target), _at_least(stretch), note)


def _thirds(steps: list[Snapshot]) -> list[Snapshot]:
    """A cycle of snapshots between any two of which 30 % of the chargers differ."""
    first, second = steps[0], partly(steps[0], steps[1], 0.3)
    return [first, second]


def linearity_rows(rounds: int) -> Iterator[Row]:
    """Row 7: the same renderer at 3.5k, 35k and 350k series, every value changed."""
    sizes = (SERIES // 10, SERIES, SERIES * 10)
    renderers = [Renderer() for _ in sizes]
    worlds = [[fleet(size, step) for step in range(3)] for size in sizes]
    times: list[list[float]] = [[] for _ in sizes]
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for size, repeats in enumerate((30, 6, 1)):
            times[size].append(renderers[size].seconds(*worlds[size] * repeats))
    for renderer in renderers:
        renderer.close()
    gc.unfreeze()
    small, middle, large = (median(of_size[1:]) for of_size in times)
    note = f"{small * 1e3:.2g}, {middle * 1e3:.2g}, {large * 1e3:.3g} ms"
    yield Row("7a", "ns per series, 350k over 3.5k", "1.9x", large / small / 100, Limit(3), Limit(2), note)
    yield Row("7b", "time, 350k over 35k", "13.2x", large / middle, Limit(16), Limit(14), note)


def memory_rows(rounds: int) -> Iterator[Row]:
    """Row 11: growth of the process for 35k series."""
    ours: list[float] = []
    labelled: list[float] = []
    for _ in range(rounds):
        for kind, found in (("exposition", ours), ("labelled", labelled)):
            with running("-m", "bench.footprint", kind, str(SERIES)) as process:
                found.append(float(first_line(process)))
    note = f"{median(ours):.1f} MiB over {median(labelled):.1f} MiB"
    ratio = median(ours) / median(labelled)
    yield Row(
        "11", "RSS growth for 35k series, peak of scrapes included", "0.27x to 0.38x", ratio,
        Limit(0.5), Limit(0.4), note,
    )  # fmt: skip


@contextmanager
def _server(kind: str, series: int) -> Iterator[tuple[int, int]]:
    """A server with a fleet: its port and process id."""
    with running("-m", "bench.scrape_server", kind, str(series)) as process:
        yield int(first_line(process)), process.pid


class Client:
    """Asks one server, over one connection as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, path: str, headers: dict[str, str]) -> bytes:
        self._connection.request("GET", path, headers=headers)
        return self._connection.getresponse().read()

    def scrape_seconds(self, headers: dict[str, str]) -> float:
        return _seconds(lambda: self.ask("/metrics", headers))

    def close(self) -> None:
        self._connection.close()


def scrape_rows(rounds: int) -> Iterator[Row]:
    """Rows 3 and 4: scrapes of 35k series, a poll between any two."""
    with _server("exposition", SERIES) as (our_port, _), _server("labelled", SERIES) as (their_port, _):
        ours, theirs = Client(our_port), Client(their_port)
        for row, what, headers, measured, target, stretch in (
            ("3", "HTTP scrape of 35k series, p50", PLAIN, "90x to 100x", 30, 60),
            ("4", "the same with gzip, all chargers polled between scrapes", GZIP, "~100x", 40, 80),
        ):
            yield _compared(
                row, what, measured, ours, theirs, headers, rounds, (_at_least(target), _at_least(stretch))
            )
        ours.close()
        theirs.close()


def small_rows(rounds: int) -> Iterator[Row]:
    """Row 5: a scrape of two chargers, the own instruments and process_* included on both sides."""
    with _server("exposition", 70) as (our_port, _), _server("labelled", 70) as (their_port, _):
        ours, theirs = Client(our_port), Client(their_port)
        limits = (_at_least(3), _at_least(5))
        yield _compared(
            "5", "HTTP scrape of two chargers, p50", "5x to 7x", ours, theirs, PLAIN, rounds, limits
        )
        ours.close()
        theirs.close()


def _compared(
    row: str,
    what: str,
    measured: str,
    ours: Client,
    theirs: Client,
    headers: dict[str, str],
    rounds: int,
    limits: tuple[Limit, Limit],
) -> Row:
    our_times: list[float] = []
    their_times: list[float] = []
    for _ in range(1 + rounds):
        their_times.append(theirs.scrape_seconds(headers))
        our_times.extend(ours.scrape_seconds(headers) for _ in range(5))
    our_p50, their_p50 = median(our_times[5:]), median(their_times[1:])
    note = f"{their_p50 * 1e3:.3g} ms over {our_p50 * 1e3:.3g} ms"
    return Row(row, what, measured, their_p50 / our_p50, *limits, note)


def lag_rows(rounds: int) -> Iterator[Row]:
    """Row 12: the longest the loop was held while 350k series are scraped each second."""
    with _server("exposition", SERIES * 10) as (port, _):
        ours_ms = _worst_lag_ms(port, rounds)
    with _server("labelled-in-loop", SERIES * 10) as (port, _):
        theirs_ms = _worst_lag_ms(port, 2)
    note = f"{ours_ms:.1f} ms over {theirs_ms:.0f} ms"
    yield Row(
        "12", "longest loop lag, 350k series each second", "1/490 to 1/530", ours_ms / theirs_ms,
        Limit(1 / 50), Limit(1 / 200), note,
    )  # fmt: skip


def _worst_lag_ms(port: int, scrapes: int) -> float:
    client = Client(port)
    client.ask("/lag", {})  # forget what the start took
    for _ in range(scrapes):
        time.sleep(max(0.0, 1 - client.scrape_seconds(PLAIN)))
    worst_seconds = float(client.ask("/lag", {}))
    client.close()
    return worst_seconds * 1e3


def syscall_rows(scrapes: int) -> Iterator[Row]:
    """Row 18: system calls of a scrape on a kept connection."""
    strace = which("strace")
    limits = (Limit(6, unit=""), Limit(4, unit=""))
    if strace is None:
        yield Row("18", "syscalls per scrape", "3 to 4", float("nan"), *limits, "not measured: no strace")
        return
    with _server("exposition", 70) as (port, pid):
        calls = _calls_of_scrapes(strace, port, pid, scrapes)
    note = f"median of {len(calls)}; aiohttp alone makes 6 before Python 3.12, 4 since"
    yield Row("18", "syscalls per scrape of two chargers", "3 to 4", median(calls), *limits, note)


def _calls_of_scrapes(strace: str, port: int, pid: int, scrapes: int) -> list[int]:
    """The number of calls from the reading of each request to the reading of the next."""
    client = Client(port)
    client.ask("/metrics", PLAIN)
    with subprocess.Popen([strace, "-f", "-p", str(pid)], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr
        tracer.stderr.readline()  # "attached"
        for _ in range(scrapes):
            client.ask("/metrics", PLAIN)
        tracer.send_signal(signal.SIGINT)
        trace = tracer.communicate()[1].splitlines()
    client.close()
    reads = [number for number, line in enumerate(trace) if "recvfrom(" in line]
    return [after - before for before, after in pairwise(reads)]


def rows(*, quick: bool) -> Iterator[Row]:
    """All of them, one after the other."""
    yield from body_rows(5 if quick else 15)
    yield from scrape_rows(3 if quick else 9)
    yield from small_rows(50 if quick else 200)
    yield from linearity_rows(4 if quick else 8)
    yield from memory_rows(1 if quick else 3)
    yield from lag_rows(3 if quick else 8)
    yield from syscall_rows(50)


if __name__ == "__main__":
    print(table(rows(quick=False)))
