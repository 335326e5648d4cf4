"""Chromium through chromedriver's own HTTP protocol."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.programs import eventually, fetch, path_of, started

PHONE = {"width": 390, "height": 844, "pixelRatio": 2}
DESKTOP = {"width": 1280, "height": 900, "pixelRatio": 1}
_MOST_STARTS = 5


@dataclass
class Browser:
    """One window."""

    url: str

    def ask(self, path: str, **params: Any) -> Any:
        answer = fetch(f"{self.url}/{path}", method="POST", send=params)
        assert answer.status == 200, answer.text
        return answer.json()["value"]

    def open(self, url: str) -> None:
        self.ask("url", url=url)

    def run(self, script: str) -> Any:
        return self.ask("execute/sync", script=script, args=[])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(fetch(f"{self.url}/screenshot").json()["value"]))

    def console(self) -> list[str]:
        """What the page wrote to the console or made the browser write there, errors included."""
        return [entry["message"] for entry in self.ask("se/log", type="browser")]

    def requested(self) -> list[str]:
        """The addresses of all requests over a network since this was asked last."""
        events = [json.loads(entry["message"])["message"] for entry in self.ask("se/log", type="performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        urls = [params["request"]["url"] for params in sent]
        return [url for url in urls if url.startswith(("http", "ws"))]


@contextmanager
def started_driver(folder: Path) -> Iterator[str]:
    """chromedriver on a free port. It takes one of IPv4 and wants it of IPv6 too, where it may be taken."""
    command = [path_of("chromedriver"), "--port=0"]
    for _ in range(_MOST_STARTS):
        with started("chromedriver", command, folder) as program:
            eventually(
                "chromedriver listens or has ended",
                lambda: "successfully on port" in program.output or program.process.poll() is not None,
                within_seconds=20,
            )
            if program.process.poll() is not None and "Address already in use" in program.log:
                continue
            port = program.said(r"successfully on port (\d+)")
            yield f"http://127.0.0.1:{port}"
            return
    pytest.fail(f"chromedriver found no free port in {_MOST_STARTS} starts")


@contextmanager
def started_browser(folder: Path, screen: dict[str, int]) -> Iterator[Browser]:
    """A headless Chromium with a screen of that size and nothing remembered."""
    chromium = path_of("chromium")
    options = {
        "binary": chromium,
        "args": [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            f"--user-data-dir={folder / 'profile'}",
        ],
        "mobileEmulation": {"deviceMetrics": {**screen, "mobile": screen is PHONE, "touch": screen is PHONE}},
    }
    wanted = {
        "browserName": "chrome",
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    }
    with started_driver(folder) as driver:
        answer = eventually(
            "chromedriver answers",
            lambda: fetch(f"{driver}/session", method="POST", send={"capabilities": {"alwaysMatch": wanted}}),
            within_seconds=60,
        )
        assert answer.status == 200, answer.text
        url = f"{driver}/session/{answer.json()['value']['sessionId']}"
        try:
            yield Browser(url)
        finally:
            fetch(url, method="DELETE")
