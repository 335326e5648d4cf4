"""What systemd hears: a real datagram socket stands where its own would be."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.app import App
from exporter.config import Config
from exporter.errors import ConfigError
from exporter.notify import Supervisor
from tests.commands import cloud_with, config_from, environment_for


class Heard:
    """A datagram socket at a path, or at an @name, and what has come in."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def messages(self) -> list[list[str]]:
        """What has come since the last time, a list of lines each."""
        found: list[list[str]] = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return found

    async def until(self, line: str) -> list[list[str]]:
        """All that has come, as soon as a message begins with that line."""
        found: list[list[str]] = []
        async with asyncio.timeout(10):
            while not any(message[0] == line for message in found):
                await asyncio.sleep(0.01)
                found += self.messages()
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Heard]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@{os.getpid()}-{tmp_path.name}"
    listener = Heard(address)
    yield listener
    listener.close()


def test_readiness_and_the_end_are_told_with_a_status(heard: Heard) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": heard.address})
    supervisor.ready("serving http://localhost:10055")
    supervisor.stopping()
    assert heard.messages() == [
        ["READY=1", "STATUS=serving http://localhost:10055"],
        ["STOPPING=1", "STATUS=stopping"],
    ]


def test_a_reload_is_told_with_the_time_it_began(heard: Heard) -> None:
    before = time.monotonic_ns() // 1000
    Supervisor({"NOTIFY_SOCKET": heard.address}).reloading()
    ((reloading, moment, _),) = heard.messages()
    name, _, microseconds = moment.partition("=")
    assert (reloading, name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_nothing_is_told_when_nobody_asked(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor({"WATCHDOG_USEC": "1000000"})
    supervisor.ready("")
    supervisor.reloading()
    supervisor.stopping()
    assert supervisor.watchdog_seconds is None
    assert not caplog.records


def test_a_supervisor_that_is_gone_is_a_warning_and_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "nothing")}).ready("")
    assert "systemd cannot be told READY=1: No such file or directory" in caplog.text


def test_a_supervisor_that_does_not_read_does_not_stop_the_exporter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Heard(str(tmp_path / "notify"))
    supervisor = Supervisor({"NOTIFY_SOCKET": listener.address})
    for _ in range(2000):  # far more than a socket holds
        supervisor.stopping()
        if caplog.records:
            break
    assert "systemd cannot be told STOPPING=1: Resource temporarily unavailable" in caplog.text
    listener.close()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_patience_is_read_from_the_environment(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert Supervisor({"NOTIFY_SOCKET": "/nowhere"} | environ).watchdog_seconds == seconds


async def test_signs_of_life_are_given_only_while_healthy(heard: Heard) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": heard.address, "WATCHDOG_USEC": "40000"})
    asked = [True, True, False, False, False, True, True]
    given: list[int] = []

    def is_healthy() -> bool:
        given.append(len(heard.messages()))
        if not asked:
            raise EOFError
        return asked.pop(0)

    with pytest.raises(EOFError):
        await supervisor.ping(is_healthy)
    assert given == [0, 1, 1, 0, 0, 0, 1, 1]


async def test_an_exporter_tells_of_its_start_its_reloads_and_its_end(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", heard.address)
    monkeypatch.setenv("WATCHDOG_USEC", "50000")
    async with cloud_with() as cloud:
        config = config_from(environment_for(cloud.url, tmp_path))
        coming: list[ConfigError | None] = [ConfigError("no"), None]

        def load_next() -> Config:
            error = coming.pop(0)
            if error is not None:
                raise error
            return config

        app = App(config, load_config=load_next)
        running = asyncio.create_task(app.run())
        ready = await heard.until("READY=1")
        assert ready[0] == ["READY=1", f"STATUS=serving {app.urls[0]}"]
        await heard.until("WATCHDOG=1")

        for refused in ("; the new config was refused, the old one stays", ""):
            os.kill(os.getpid(), signal.SIGHUP)
            told = [message for message in await heard.until("READY=1") if message != ["WATCHDOG=1"]]
            assert [message[0] for message in told] == ["RELOADING=1", "READY=1"]
            assert told[1][1] == f"STATUS=serving {app.urls[0]}{refused}"

        await heard.until("WATCHDOG=1")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10)
        told = [message for message in heard.messages() if message != ["WATCHDOG=1"]]
        assert told == [["STOPPING=1", "STATUS=stopping"]]
