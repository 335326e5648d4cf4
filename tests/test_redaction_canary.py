"""Canaries in every place that holds a secret; then every command, page and error, at debug level."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import urllib.parse
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exporter.kept_logins import read_logins
from exporter.recent_errors import kept_in
from exporter.simulator.cloud import RunningCloud
from tests.commands import Said, cloud_with, command, environment_for

EMAIL = "canary.mail+ev@canary-host.example"
PASSWORD = "canary pass/w\"ö'rd&9"
TOKEN = "canary-e-auth-token-1f2e3d"
ACCESS = "canary-access-token-9a8b7c"
COOKIES = {"_enlighten_4_session": "canary-cookie-5d4c3b", "other": "canary-plain-cookie-77"}
COOKIE = "; ".join(f"{name}={value}" for name, value in COOKIES.items())
CODE = "80417263"

# An answer of the cloud that holds what it was sent: an error text must not quote it.
TELLTALE = json.dumps({"you_sent": [EMAIL, PASSWORD, TOKEN, ACCESS, COOKIE, CODE]})

# Those that an exporter goes on asking through.
LASTING: list[dict[str, Any]] = [
    {"kind": "status", "status": 500, "message": TELLTALE},
    {"kind": "html_outage"},
    {"kind": "reset"},
    {"kind": "cut"},
    {"kind": "not_json", "text": TELLTALE + "}"},
    {"kind": "not_json", "text": TELLTALE},
    {"kind": "not_object", "value": [EMAIL, TOKEN, PASSWORD]},
]
PROVOKED: list[dict[str, Any]] = [
    *LASTING,
    {"kind": "status", "status": 400, "message": TELLTALE},
    {"kind": "status", "status": 429, "message": TELLTALE, "retry_after": 1},
    {"kind": "status", "status": 401, "message": TELLTALE},
    {"kind": "login_page"},
    {"kind": "login_outcome", "outcome": "invalid_401", "endpoint": "login"},
    {"kind": "login_outcome", "outcome": "blocked", "endpoint": "login"},
    {"kind": "login_outcome", "outcome": "too_many_escaped", "endpoint": "login"},
    {"kind": "login_outcome", "outcome": "unmatched", "endpoint": "login"},
]


def canaries(cloud: RunningCloud, folder: Path) -> set[str]:
    """Every secret there is by now, those that the cloud has given out included."""
    secrets = {EMAIL, EMAIL.partition("@")[2], PASSWORD, TOKEN, ACCESS, CODE, *COOKIES.values()}
    logins = cloud.cloud.logins
    secrets |= {*logins._tokens, *logins._by_cookie}
    for entry in cloud.cloud.journal:
        pairs = entry.headers.get("Cookie", "").split("; ")
        secrets |= {pair.partition("=")[2].strip('"') for pair in pairs}
        secrets |= {entry.headers.get(name, "") for name in ("e-auth-token", "X-CSRF-Token")}
        secrets |= {entry.headers.get("Authorization", "").removeprefix("Bearer ")}
    for kept in read_logins(folder).values() if folder.exists() else ():
        if kept.login is not None:
            secrets |= {kept.login.token or "", kept.login.bearer or "", kept.login.owner}
            secrets |= {kept.login.user_id or "", *kept.login.cookies.values()}
        if kept.guard is not None:
            secrets.add(kept.guard.credentials)
    return {form for secret in secrets if len(secret) > 5 for form in spellings(secret)}


def spellings(secret: str) -> set[str]:
    quoted = urllib.parse.quote(secret, safe="")
    return {
        secret,
        quoted,
        urllib.parse.quote_plus(secret),
        b64encode(secret.encode()).decode(),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    }


def leaks(text: str, cloud: RunningCloud, folder: Path) -> list[str]:
    return sorted(secret for secret in canaries(cloud, folder) if secret in text)


def settings_for(cloud: RunningCloud, folder: Path, **more: str) -> dict[str, str]:
    settings = environment_for(
        cloud.url,
        folder,
        ENPHASE_EV_EMAIL=EMAIL,
        ENPHASE_EV_PASSWORD=PASSWORD,
        ENPHASE_EV_LOG_LEVEL="debug",
    )
    return {"PATH": os.environ["PATH"], "PYTHONASYNCIODEBUG": "1", **settings, **more}


def captured(**more: str) -> dict[str, str]:
    return {
        "ENPHASE_EV_E_AUTH_TOKEN": TOKEN,
        "ENPHASE_EV_COOKIE": COOKIE,
        "ENPHASE_EV_ACCESS_TOKEN": ACCESS,
        **more,
    }


async def program(settings: Mapping[str, str], *arguments: str, typed: str = "") -> Said:
    """Run a command as a program of its own, looking at the list of processes meanwhile."""
    process = await start(settings, *arguments)
    seen = listed(process.pid)
    out, err = await asyncio.wait_for(process.communicate(typed.encode()), 20)
    return Said(process.returncode or 0, out.decode() + seen, err.decode())


async def start(settings: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=settings,
    )


def listed(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")


@asynccontextmanager
async def watched_exporter(settings: Mapping[str, str], said: list[str]) -> AsyncIterator[str]:
    """A running exporter as a program; all it wrote goes to `said` when it has ended."""
    process = await start(settings, "run")
    assert process.stderr is not None
    said.append(listed(process.pid))
    lines: list[str] = []
    async with asyncio.timeout(20):
        while " msg=listening " not in (line := (await process.stderr.readline()).decode()):
            lines.append(line)
            assert line, "".join(lines)
    lines.append(line)
    try:
        yield line.rpartition("url=")[2].strip().strip('"')
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        said += [*lines, out.decode(), err.decode()]
        assert process.returncode == 0


async def pages(url: str, site: str = "1234567") -> str:
    texts = []
    paths = ("/metrics", "/", "/-/ready", "/-/healthy", "/sd", f"/probe?target={site}", "/probe?target=x")
    async with aiohttp.ClientSession() as http:
        for path in paths:
            async with http.get(url + path) as response:
                texts.append(await response.text() + str(response.headers))
    return "\n".join(texts)


def canary_cloud(**more: Any) -> dict[str, Any]:
    return {"email": EMAIL, "password": PASSWORD, "mfa_code": CODE, **more}


async def test_a_running_exporter_shows_no_canary_whatever_is_provoked(tmp_path: Path) -> None:
    async with cloud_with(**canary_cloud(rotate_every=3)) as cloud:
        said: list[str] = []
        async with watched_exporter(settings_for(cloud, tmp_path), said) as url:
            async with asyncio.timeout(10):
                while "enphase_ev_up" not in await pages(url):
                    await asyncio.sleep(0.02)
            for fault in LASTING:
                cloud.cloud.faults.clear()
                cloud.cloud.faults.add(**fault)
                before = len(cloud.cloud.journal)
                async with asyncio.timeout(10):
                    while len(cloud.cloud.journal) < before + 2:
                        await asyncio.sleep(0.02)
                    said.append(await pages(url))
                    cloud.cloud.faults.clear()
                    while 'enphase_ev_up{site_id="1234567"} 1' not in (page := await pages(url)):
                        await asyncio.sleep(0.02)
            cloud.cloud.faults.add("login_outcome", outcome="blocked")
            cloud.cloud.expire_sessions()
            async with asyncio.timeout(10):
                while "blocked" not in (page := await pages(url)):
                    await asyncio.sleep(0.02)
            said.append(page)
        text = "\n".join(said)
        assert "level=debug" in text
        assert leaks(text, cloud, tmp_path) == []


@pytest.mark.parametrize("more", [{}, captured(), captured(ENPHASE_EV_EMAIL="", ENPHASE_EV_PASSWORD="")])
async def test_an_exporter_that_is_refused_shows_no_canary(tmp_path: Path, more: dict[str, str]) -> None:
    async with cloud_with(email="somebody@else.example", captured_tokens={"other"}) as cloud:
        settings = settings_for(cloud, tmp_path, **more)
        settings = {name: value for name, value in settings.items() if value}
        said: list[str] = []
        async with watched_exporter(settings, said) as url:
            async with asyncio.timeout(10):
                while 'reauthentication_required{account="default"} 1' not in (page := await pages(url)):
                    await asyncio.sleep(0.05)
            said.append(page)
        assert "no login" in "\n".join(said)
        assert leaks("\n".join(said), cloud, tmp_path) == []


async def test_captured_headers_that_work_show_no_canary(tmp_path: Path) -> None:
    async with cloud_with(captured_tokens={TOKEN, ACCESS}) as cloud:
        settings = settings_for(cloud, tmp_path, **captured())
        said: list[str] = []
        async with watched_exporter(settings, said) as url:
            async with asyncio.timeout(10):
                while 'enphase_ev_up{site_id="1234567"} 1' not in (page := await pages(url)):
                    await asyncio.sleep(0.05)
            said.append(page)
        assert leaks("\n".join(said), cloud, tmp_path) == []


async def test_no_command_shows_a_canary(tmp_path: Path) -> None:
    async with cloud_with(**canary_cloud(mfa="explicit")) as cloud:
        settings = settings_for(cloud, tmp_path)
        typed = {**settings, "ENPHASE_EV_EMAIL": "", "ENPHASE_EV_PASSWORD": ""}
        said = [
            await program(settings | captured(), "check"),
            await program(settings, "check", "--online"),
            await program(settings, "login", "--status"),
            await program(typed, "login", typed=f"{EMAIL}\n{PASSWORD}\n999999\n{CODE}\n"),
            await program(settings, "login", "--status"),
            await program(settings, "check", "--online"),
            await program(settings, "sessions"),
            await program(settings, "healthcheck", "--web.listen-address", "127.0.0.1:9"),
            await program(settings, "login", "--forget"),
        ]
        codes = [one.code for one in said]
        assert codes == [0, 1, 0, 0, 0, 0, 0, 1, 0]
        assert leaks("\n".join(one.out + one.err for one in said), cloud, tmp_path) == []


@pytest.mark.parametrize("arguments", [("login",), ("check", "--online")], ids=" ".join)
async def test_a_command_that_fails_shows_no_canary(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with cloud_with(**canary_cloud()) as cloud:
        texts = []
        for number, fault in enumerate(PROVOKED):
            cloud.cloud.faults.clear()
            cloud.cloud.faults.add(**fault)
            said = await command(settings_for(cloud, tmp_path / str(number)), *arguments)
            assert said.code == 1, fault
            texts.append(said.out + said.err)
        assert leaks("\n".join(texts), cloud, tmp_path) == []


async def test_a_bug_leaves_a_traceback_without_a_canary(tmp_path: Path) -> None:
    broken = (
        "import sys\nfrom exporter import __main__, auth\n"
        "def broken(self, path, *, bearer):\n"
        "    login, given = self._login, self._credentials\n"
        "    words = f'{login.cookies} {login.token} {login} {given} {given.parts()}'\n"
        "    raise RuntimeError(words, given.password)\n"
        "auth.Auth._built_headers = broken\nsys.exit(__main__.main())"
    )
    async with cloud_with(**canary_cloud()) as cloud:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", broken, "run"),
            stderr=asyncio.subprocess.PIPE,
            env=settings_for(cloud, tmp_path, ENPHASE_EV_SITES="1234567"),
        )
        assert process.stderr is not None
        lines: list[str] = []
        async with asyncio.timeout(20):
            while "Traceback" not in "".join(lines):
                lines.append((await process.stderr.readline()).decode())
                assert lines[-1], "".join(lines)
        if process.returncode is None:
            process.terminate()
        lines.append((await process.communicate())[1].decode())
        assert "RuntimeError" in "".join(lines)
        assert leaks("".join(lines), cloud, tmp_path) == []


NAMES = ("Canary Garage", "Main Site")
ACCOUNT = "canary-account"
PRIVATE = ("1234567", "482500000017", "192.0.2.19", "02:00:00:00:00:11", "122300000017", ACCOUNT, *NAMES)


def private_in(text: str) -> list[str]:
    return [private for private in PRIVATE if private in text]


@asynccontextmanager
async def named_cloud(**more: Any) -> AsyncIterator[RunningCloud]:
    """A cloud whose charger has a name that nobody else has."""
    async with cloud_with(**canary_cloud(**more)) as cloud:
        (charger,) = cloud.cloud.world.chargers.values()
        charger.name = NAMES[0]
        yield cloud


async def test_neither_diagnostics_nor_a_recording_shows_anything_private(tmp_path: Path) -> None:
    config, folder = tmp_path / "config.yml", tmp_path / "state"
    config.write_text(f"accounts: [{{name: {ACCOUNT}, sites: ['1234567']}}]\n")
    async with named_cloud() as cloud:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        more = {"ENPHASE_EV_CONFIG_FILE": str(config), "ENPHASE_EV_WEB_LISTEN_ADDRESS": address}
        settings = settings_for(cloud, folder, **more)
        lines: list[str] = []
        said = []
        async with watched_exporter(settings, lines) as url:
            for fault in (LASTING[5], {"kind": "garbage_values"}, {"kind": "wrong_types"}):
                cloud.cloud.faults.clear()
                cloud.cloud.faults.add(**fault)
                before = len(cloud.cloud.journal)
                async with asyncio.timeout(10):
                    while len(cloud.cloud.journal) < before + 3:
                        await asyncio.sleep(0.02)
                    cloud.cloud.faults.clear()
                    while 'enphase_ev_up{site_id="1234567"} 1' not in await pages(url):
                        await asyncio.sleep(0.02)
            with kept_in(folder):
                logging.getLogger("exporter").warning(
                    "one of %s", PRIVATE[:6], extra={"why": " ".join(PRIVATE[:6])}
                )
            said.append(await program(settings, "diagnostics"))
        for number, fault in enumerate(({}, LASTING[0], LASTING[6])):
            cloud.cloud.faults.clear()
            if fault:
                cloud.cloud.faults.add(**fault)
            said.append(await command(settings, "diagnostics", "--online"))
            recording = await command(settings, "record", str(tmp_path / f"recorded-{number}"))
            said.append(replace(recording, out="", err=""))  # it is the files that are shared
        files = [path.read_text() for path in tmp_path.glob("recorded-*/*")]
        kept = (folder / "recent-errors.jsonl").read_text()
        shared = "\n".join([*(one.out.partition("/proc")[0] for one in said), *files])
        assert [one.code for one in said][:3] == [0, 0, 0]
        assert len(files) >= 2
        assert "odd payload" in shared
        assert '"shape_of": "status"' in shared
        assert "one of " in shared
        assert leaks(shared + kept, cloud, folder) == []
        assert private_in(shared) == []
        assert str(tmp_path) not in shared
        assert "127.0.0.1" not in shared
        assert private_in(kept + "".join(lines)) != []


def test_the_cloud_tells_on_whoever_quotes_it() -> None:
    forms = {form for secret in (EMAIL, PASSWORD, TOKEN, ACCESS, CODE) for form in spellings(secret)}
    assert sum(form in TELLTALE for form in forms) >= 5
    assert len(spellings(PASSWORD)) == 6
