"""The processes under measurement: started, asked, weighed and ended. Needs Linux for its /proc."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median as median  # what every row is made of
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from urllib.request import Request, urlopen

SITE_ID = "1234568"  # the simulated site with two chargers
SCRAPE_HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.9,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/3.5.0",
}
# What tells that an answer holds charger data and not only the exporter's own series.
CHARGER_SERIES = b"\nenphase_ev_charger_info{"
_DEADLINE_SECONDS = 30.0

Environment = Mapping[str, str]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def exporter_environment(cloud_url: str, port: int, **more: str) -> dict[str, str]:
    """The environment of an exporter at `port` that reads the site with two chargers."""
    return {
        "ENPHASE_EV_EMAIL": "owner@example.com",
        "ENPHASE_EV_PASSWORD": "correct horse",
        "ENPHASE_EV_SITES": SITE_ID,
        "ENPHASE_EV_CLOUD_BASE_URL": cloud_url,
        "ENPHASE_EV_CLOUD_ENTREZ_URL": cloud_url,
        "ENPHASE_EV_WEB_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "ENPHASE_EV_LOG_LEVEL": "error",
        "ENPHASE_EV_STATE_PATH": tempfile.mkdtemp(prefix="state-"),
        **more,
    }


@contextmanager
def scratch() -> Iterator[None]:
    """A folder for what the run leaves: state, and compiled files, as an installed exporter has them too."""
    with TemporaryDirectory(prefix="bench-") as folder:
        tempfile.tempdir = folder
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            yield
        finally:
            tempfile.tempdir = None


def python(
    *arguments: str, environment: Environment | None = None, stderr: int | None = None
) -> "subprocess.Popen[bytes]":
    """Start a Python that sees nothing of this shell's exporter settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENPHASE_EV_")}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**inherited, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


@contextmanager
def running(
    *arguments: str, environment: Environment | None = None, stderr: int | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """A Python process that is ended on leaving."""
    process = python(*arguments, environment=environment, stderr=stderr)
    try:
        yield process
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to end, then insist."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=10)
    process.kill()
    process.communicate()


def first_line(process: "subprocess.Popen[bytes]") -> str:
    """What a child says first; RuntimeError when it ends without a word."""
    line = process.stdout.readline().decode() if process.stdout else ""
    if not line:
        raise RuntimeError(f"a child of the bench ended early: {process.args!r}")
    return line.strip()


@contextmanager
def simulated_cloud() -> Iterator[str]:
    """The simulated cloud in a process of its own; gives its address."""
    with running("-u", "-m", "exporter", "simulate", "--port", "0") as process:
        yield first_line(process).split()[-1].rstrip("/")


def send_cars_away(cloud_url: str) -> None:
    """Leave every charger of the simulated cloud without a car, for good."""
    with urlopen(f"{cloud_url}/_sim/world") as answer:
        serials = [charger["serial"] for charger in json.load(answer)["chargers"]]
    for serial in serials:
        urlopen(Request(f"{cloud_url}/_sim/chargers/{serial}/unplug", method="POST")).close()


class Scraper:
    """Scrapes one exporter over a kept connection, as Prometheus does."""

    def __init__(self, port: int, headers: Mapping[str, str] = SCRAPE_HEADERS) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=_DEADLINE_SECONDS)
        self._headers = dict(headers)

    def scrape(self) -> bytes:
        """One scrape."""
        self._connection.request("GET", "/metrics", headers=self._headers)
        return self._connection.getresponse().read()

    def first_scrape(self, contents: bytes = b"") -> bytes:
        """The first answer that holds `contents`, tried for until there is one."""
        give_up = monotonic() + _DEADLINE_SECONDS
        while monotonic() < give_up:
            with suppress(OSError, HTTPException):
                body = self.scrape()
                if contents in body:
                    return body
            self.close()
            sleep(0.001)
        raise RuntimeError("the exporter did not answer in time")

    def close(self) -> None:
        """Give the connection up."""
        self._connection.close()


def plain_scraper(port: int) -> Scraper:
    """A scraper whose bodies can be looked at."""
    return Scraper(port, {})


def cpu_seconds(pid: int, threads: str = "all") -> float:
    """CPU time of a process, its threads that still live together or its `main` one, to the nanosecond."""
    every = Path(f"/proc/{pid}/task")
    tasks = [every / str(pid)] if threads == "main" else every.iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def rss_mebibytes(pid: int) -> float:
    """Memory of a process that is in use now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory: it has ended")
