"""The least an exporter can be, to measure ours against: client, server and renderer, without any care.

`python -m bench.skeleton CLOUD_URL SITE_ID PORT` polls status and summary every 30 s and serves /metrics.
"""

import asyncio
import sys
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

POLL_SECONDS = 30.0
BROWSER = {"User-Agent": "Mozilla/5.0"}
_LOGIN = {"user[email]": "owner@example.com", "user[password]": "correct horse"}
_CHARGER_FAMILIES = 31


def urls_of(cloud_url: str, site_id: str) -> tuple[str, str]:
    """Where a site's status and summary are."""
    service = f"{cloud_url}/service/evse_controller"
    summary = f"{service}/api/v2/{site_id}/ev_chargers/summary?filter_retired=true"
    return f"{service}/{site_id}/ev_chargers/status", summary


def open_http() -> aiohttp.ClientSession:
    """Connections that are kept, and no cookie jar: that takes a third of a request."""
    connector = aiohttp.TCPConnector(keepalive_timeout=130)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def log_in(http: aiohttp.ClientSession, cloud_url: str) -> dict[str, str]:
    """The headers of a login."""
    async with http.post(f"{cloud_url}/login/login.json", data=_LOGIN, headers=BROWSER) as response:
        cookies = "; ".join(f"{name}={given.value}" for name, given in response.cookies.items())
    return {**BROWSER, "Cookie": cookies}


class Skeleton:
    """Keeps the two newest answers and renders them anew at each scrape."""

    def __init__(self) -> None:
        self._status: list[dict[str, Any]] = []
        self._summary: list[dict[str, Any]] = []

    async def poll(self, cloud_url: str, site_id: str) -> None:
        status_url, summary_url = urls_of(cloud_url, site_id)
        async with open_http() as http:
            headers = await log_in(http, cloud_url)
            while True:
                self._status = (await _fetched(http, status_url, headers))["data"]["chargers"]
                self._summary = (await _fetched(http, summary_url, headers))["data"]
                await asyncio.sleep(POLL_SECONDS)

    async def metrics(self, request: web.Request) -> web.Response:
        response = web.Response(text=self._rendered(), content_type="text/plain")
        response.enable_compression()  # when asked for, as Prometheus does
        return response

    def _rendered(self) -> str:
        lines = []
        labels = [f'{{serial="{charger["sn"]}"}}' for charger in self._status]
        values = [_values(*pair) for pair in zip(self._status, self._summary, strict=False)]
        for family in range(_CHARGER_FAMILIES):
            name = f"skeleton_charger_{family}"
            lines.append(f"# HELP {name} One value of a charger.\n# TYPE {name} gauge")
            lines += [
                f"{name}{label} {own[family % len(own)]}" for label, own in zip(labels, values, strict=False)
            ]
        return "\n".join(lines) + "\n"


def _values(status: dict[str, Any], summary: dict[str, Any]) -> tuple[float, ...]:
    connector, charging_session = status["connectors"][0], status["session_d"]
    return (
        float(status["connected"]),
        float(status["pluggedIn"]),
        float(status["charging"]),
        float(status["faulted"]),
        float(connector["connectorStatusType"] == "CHARGING"),
        float(charging_session["e_c"] or 0) / 1000,
        float(summary["maxCurrent"] or 0),
        float(summary["operatingVoltage"] or 0),
    )


async def _fetched(http: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Any:
    async with http.get(url, headers=headers) as response:
        return msgspec.json.decode(await response.read())


async def serve(cloud_url: str, site_id: str, port: int) -> None:
    """Poll and serve until ended."""
    skeleton = Skeleton()
    application = web.Application()
    application.router.add_get("/metrics", skeleton.metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await skeleton.poll(cloud_url, site_id)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
