"""Starts real programs for the tests, waits for what they say, and stops them again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import pytest

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[2]
EXPORTER = Path(sys.executable).parent / "enphase-ev-exporter"
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "curl": "curl",
    "kubectl": "kubernetes-client",
    "openssl": "openssl",
}
# A user's shell has none of these, or others.
_NOT_INHERITED = re.compile(r"ENPHASE_EV_|PYTHONUNBUFFERED$|.*_proxy$", re.IGNORECASE)
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


def path_of(program: str) -> str:
    """Where a program is; fails the test when it is not installed."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"{program} is missing; on Debian: apt-get install {PACKAGES[program]}", pytrace=False)
    return found


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


def fetch(
    url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, send: Any = None
) -> Answer:
    """One request over a connection of its own; `send` goes as JSON. Raises OSError, HTTPException."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    body = None if send is None else json.dumps(send)
    more = {} if send is None else {"Content-Type": "application/json"}
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, path, body=body, headers={**more, **(headers or {})})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def eventually(what: str, condition: Callable[[], T | None], *, within_seconds: float) -> T:
    """The first true answer of `condition`, asked again and again; fails the test when none comes in time."""
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            answer = condition()
        except (OSError, HTTPException) as error:
            answer, last = None, repr(error)
        else:
            last = repr(answer)
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_seconds:g} s: {what}; last: {last[:500]}")
        time.sleep(0.1)


@dataclass
class Program:
    """One running program; what it prints and logs is in files."""

    name: str
    process: "subprocess.Popen[bytes]"
    output_path: Path
    log_path: Path

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def said(self, pattern: str, *, within_seconds: float = _START_SECONDS) -> str:
        """The first group of a pattern, as soon as the program has printed or logged it."""

        def found() -> "re.Match[str] | None":
            match = re.search(pattern, self.output + self.log)
            if match is None:
                self.must_run()
            return match

        return eventually(f"{self.name} says {pattern!r}", found, within_seconds=within_seconds)[1]

    def must_run(self) -> None:
        """Fails the test when the program has ended, with the last it said."""
        if self.process.poll() is not None:
            pytest.fail(f"{self.name} ended with {self.process.returncode}: {self.log[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ends it as a service manager does; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"{self.name} was still there {_STOP_SECONDS:g} s after SIGTERM")


@contextmanager
def started(
    name: str, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """A program that runs inside `folder` until the end of the block at the latest."""
    folder.mkdir(parents=True, exist_ok=True)
    inherited = {key: value for key, value in os.environ.items() if not _NOT_INHERITED.match(key)}
    home = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    output_path, log_path = folder / f"{name}.out", folder / f"{name}.log"
    with output_path.open("wb") as output, log_path.open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=inherited | home | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
        )
    program = Program(name, process, output_path, log_path)
    try:
        yield program
    finally:
        if process.poll() is None:
            program.stop()
