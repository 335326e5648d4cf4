"""The `login` command at a real terminal, over a pipe, and beside a running exporter."""

import asyncio
import os
import pty
import stat
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exporter.guard import fingerprint, is_same
from exporter.kept_logins import read_logins, write_guard
from exporter.model import Guard
from tests.commands import (
    CODE,
    EMAIL,
    PASSWORD,
    Said,
    cloud_with,
    command,
    environment_for,
    exporting,
    logins,
)

# As under `docker exec -it`: the terminal is the one of the process.
AT_TERMINAL = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
REAL_COMMAND = AT_TERMINAL + "from exporter.__main__ import main; sys.exit(main())"
# The same conversation for people in a hurry.
WITHOUT_PAUSE = (
    AT_TERMINAL
    + """
import asyncio, os
from exporter.config import load
from exporter.login_terminal import Terminal, account_of, login_account
config, _ = load(None, os.environ, {}, accounts_needed=False)
terminal = Terminal(lambda line: print(line, flush=True))
asyncio.run(login_account(config, account_of(config, None), None, terminal, resend_pause_seconds=0))
"""
)
PROMPT = "Code (r: send it again): "


class Screen:
    """The person's side of a pseudo-terminal."""

    def __init__(self, descriptor: int) -> None:
        self.text = ""
        self._descriptor = descriptor
        self._read_to = 0
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, 4096)
        except OSError:  # the other side has gone
            data = b""
        if not data:
            self.close()
        self.text += data.decode()
        self._changed.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)

    async def expect(self, words: str) -> None:
        """Wait for words after those that were waited for before."""
        try:
            async with asyncio.timeout(10):
                while (found := self.text.find(words, self._read_to)) < 0:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pytest.fail(f"no {words!r} on the screen:\n{self.text}")
        self._read_to = found + len(words)

    def type(self, line: str) -> None:
        os.write(self._descriptor, line.encode() + b"\n")

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._descriptor)[3] & termios.ECHO)


@asynccontextmanager
async def at_terminal(
    script: str, settings: Mapping[str, str], *arguments: str
) -> AsyncIterator[tuple[Screen, "subprocess.Popen[bytes]"]]:
    ours, theirs = pty.openpty()
    with subprocess.Popen(  # noqa: ASYNC220 (asyncio's own wants pipes it can watch)
        [sys.executable, "-c", script, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"PATH": os.environ["PATH"], "TERM": "dumb", **settings},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        screen = Screen(ours)
        try:
            yield screen, process
        finally:
            process.kill()
            screen.close()
            os.close(ours)


async def ended(process: "subprocess.Popen[bytes]") -> int:
    return await asyncio.wait_for(asyncio.to_thread(process.wait), 10)


async def test_at_a_terminal_it_asks_for_email_password_and_code_and_hides_the_password(
    tmp_path: Path,
) -> None:
    async with cloud_with(mfa="explicit") as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_EMAIL="", ENPHASE_EV_PASSWORD="")
        async with at_terminal(REAL_COMMAND, settings, "login") as (screen, process):
            await screen.expect("E-mail: ")
            assert screen.echoes()
            screen.type(EMAIL)
            await screen.expect("Password: ")
            assert not screen.echoes()
            screen.type(PASSWORD)
            await screen.expect("The account wants the one-time code")
            await screen.expect(PROMPT)
            screen.type("999999")
            await screen.expect("That code is wrong or has expired.")
            await screen.expect(PROMPT)
            screen.type("r")
            await screen.expect("it can be sent again in")
            await screen.expect(PROMPT)
            screen.type(CODE)
            await screen.expect("Logged in. The access token expires ")
            assert await ended(process) == 0
            assert PASSWORD not in screen.text
        assert logins(cloud) == 1
        assert read_logins(tmp_path)["default"].login is not None


async def test_a_code_wrong_once_resent_once_then_right_brings_a_waiting_exporter_back(
    tmp_path: Path,
) -> None:
    async with cloud_with(mfa="explicit") as cloud:
        settings = environment_for(cloud.url, tmp_path)
        async with exporting(settings) as exporter:
            await exporter.shows(
                'enphase_ev_auth_reauthentication_required{account="default"} 1',
                'enphase_ev_auth_logins_total{account="default",result="mfa_required"} 1',
            )
            words = "run `enphase-ev-exporter login --account default` with the same --config.file"
            assert words in await exporter.page("/-/ready")
            # At once: that a code is wanted is no refusal, so there is nothing to wait for.
            async with at_terminal(WITHOUT_PAUSE, settings) as (screen, process):
                await screen.expect(PROMPT)
                screen.type("999999")
                await screen.expect("That code is wrong or has expired.")
                await screen.expect(PROMPT)
                screen.type("r")
                await screen.expect("A new code is on its way.")
                await screen.expect(PROMPT)
                screen.type(CODE)
                await screen.expect("Logged in.")
                assert await ended(process) == 0
            await exporter.shows(
                'enphase_ev_auth_up{account="default"} 1',
                'enphase_ev_auth_reauthentication_required{account="default"} 0',
                'enphase_ev_up{site_id="1234567"} 1',
                'enphase_ev_charger_connected{site_id="1234567"',
            )
        assert logins(cloud) == 2  # the exporter's own, and the person's
        paths = [entry.path for entry in cloud.cloud.journal.select(endpoint="mfa")]
        assert [path.rpartition("/")[2] for path in paths] == [
            "validate_login_otp",
            "generate_mfa_login_otp",
            "validate_login_otp",
        ]


@pytest.mark.parametrize(("keys", "words"), [("\x04", "no more input to answer 'E-mail:'"), ("\x03", "")])
async def test_who_gives_up_at_the_terminal_sees_no_traceback(tmp_path: Path, keys: str, words: str) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_EMAIL="", ENPHASE_EV_PASSWORD="")
        async with at_terminal(REAL_COMMAND, settings, "login") as (screen, process):
            await screen.expect("E-mail: ")
            screen.type(keys)
            await screen.expect(words)
            assert await ended(process) == 1
            assert "Traceback" not in screen.text
        assert logins(cloud) == 0


async def over_a_pipe(settings: Mapping[str, str], typed: str, *arguments: str) -> Said:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "login", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **settings},
    )
    out, err = await asyncio.wait_for(process.communicate(typed.encode()), 10)
    return Said(process.returncode or 0, out.decode(), err.decode())


async def test_over_a_pipe_the_lines_are_the_answers(tmp_path: Path) -> None:
    async with cloud_with(mfa="implicit") as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_EMAIL="", ENPHASE_EV_PASSWORD="")
        said = await over_a_pipe(settings, f"{PASSWORD}\n999999\r\n{CODE}\r\n", "--email", EMAIL)
        assert (said.code, said.err) == (0, "")
        assert "Logged in." in said.out
        assert logins(cloud) == 1


async def test_a_code_from_a_file_and_a_password_from_another_do(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    async with cloud_with(mfa="implicit") as cloud:
        settings = environment_for(
            cloud.url, tmp_path / "state", ENPHASE_EV_PASSWORD="", ENPHASE_EV_PASSWORD_FILE=str(secret)
        )
        said = await command(settings, "login", typed=CODE)
        assert said.code == 0
        assert logins(cloud) == 1


@pytest.mark.parametrize(
    ("typed", "wanted"), [("", "E-mail"), (EMAIL, "Password"), (f"{EMAIL}\n{PASSWORD}\n", "Code")]
)
async def test_input_that_ends_too_soon_says_what_was_wanted(tmp_path: Path, typed: str, wanted: str) -> None:
    async with cloud_with(mfa="explicit") as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_EMAIL="", ENPHASE_EV_PASSWORD="")
        said = await command(settings, "login", typed=typed)
        assert said.code == 1
        assert said.err.startswith("enphase-ev-exporter: ")
        assert wanted in said.err
        assert logins(cloud) == (wanted == "Code")
        assert "default" not in read_logins(tmp_path)


async def test_a_login_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        assert (await command(environment_for(cloud.url, tmp_path / "state"), "login")).code == 0
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
        assert set(modes) >= {"state.sqlite3", "login.stamp"}
        assert set(modes.values()) == {0o600}


async def test_status_shows_account_expiry_and_guard_and_no_secret(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path)
        assert (await command(settings, "login", "--status")).out == "default: no login kept\n"
        await command(settings, "login")
        said = await command(settings, "login", "--status")
        assert said.out.startswith("default: logged in since ")
        assert "The access token expires " in said.out
        kept = read_logins(tmp_path)["default"].login
        assert kept is not None
        secrets = [EMAIL, PASSWORD, kept.token, kept.bearer, kept.owner, *kept.cookies.values()]
        assert not [secret for secret in secrets if secret and len(secret) > 2 and secret in said.out]


async def test_status_tells_what_holds_logins_back(tmp_path: Path) -> None:
    async with cloud_with(password="another") as cloud:
        settings = environment_for(cloud.url, tmp_path)
        async with exporting(settings) as exporter:
            await exporter.shows('enphase_ev_auth_reauthentication_required{account="default"} 1')
        said = await command(settings, "login", "--status")
        assert "e-mail or password refused" in said.out
        assert "no login is tried before 20" in said.out


async def test_forget_removes_the_login_and_says_so(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path)
        assert "No login is kept" in (await command(settings, "login", "--forget")).out
        await command(settings, "login")
        assert "is removed" in (await command(settings, "login", "--forget")).out
        assert (await command(settings, "login", "--status")).out == "default: no login kept\n"
        assert logins(cloud) == 1


async def test_check_online_uses_the_login_that_is_kept(tmp_path: Path) -> None:
    async with cloud_with(mfa="explicit") as cloud:
        settings = environment_for(cloud.url, tmp_path)
        assert (await command(settings, "login", typed=CODE)).code == 0
        for _ in range(2):
            said = await command(settings, "check", "--online")
            assert said.code == 0, said.err
        assert logins(cloud) == 1


async def test_a_check_keeps_its_login_and_an_exporter_goes_on_with_it(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path)
        assert (await command(settings, "check", "--online")).code == 0
        async with exporting(settings) as exporter:
            await exporter.shows('enphase_ev_up{site_id="1234567"} 1')
        assert logins(cloud) == 1


async def test_a_login_with_an_email_only_config_serves_the_exporter(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_PASSWORD="")
        async with exporting(settings) as exporter:
            await exporter.shows('enphase_ev_auth_reauthentication_required{account="default"} 1')
            assert logins(cloud) == 0
            assert (await command(settings, "login", typed=PASSWORD)).code == 0
            await exporter.shows('enphase_ev_up{site_id="1234567"} 1')
        assert logins(cloud) == 1


async def test_a_refused_login_by_hand_must_wait_a_minute_and_holds_the_exporter_back(
    tmp_path: Path,
) -> None:
    async with cloud_with(password="another") as cloud:
        settings = environment_for(cloud.url, tmp_path)
        said = await command(settings, "login")
        assert (said.code, said.err.count("\n")) == (1, 1)
        assert "e-mail or password refused" in said.err
        said = await command(settings, "login")
        assert "wait 60 s" in said.err or "wait 59 s" in said.err
        async with exporting(settings) as exporter:
            page = await exporter.shows('enphase_ev_auth_reauthentication_required{account="default"} 1')
            assert 'enphase_ev_auth_blocked_until_timestamp_seconds{account="default"}' in page
        assert logins(cloud) == 1


async def test_a_wrong_password_typed_by_hand_does_not_hold_back_the_right_one_of_the_config(
    tmp_path: Path,
) -> None:
    async with cloud_with() as cloud:
        by_hand = environment_for(cloud.url, tmp_path, ENPHASE_EV_PASSWORD="")
        assert (await command(by_hand, "login", typed="wrong")).code == 1
        async with exporting(environment_for(cloud.url, tmp_path)) as exporter:
            await exporter.shows('enphase_ev_auth_up{account="default"} 1')
        assert logins(cloud) == 2


@pytest.mark.parametrize(("typed", "refusals"), [("another", 1), (PASSWORD, 3)])
async def test_a_refusal_by_hand_is_added_to_the_exporters_guard_or_leaves_it_in_force(
    tmp_path: Path, typed: str, refusals: int
) -> None:
    now = time.time()
    by_exporter = fingerprint(EMAIL, PASSWORD, None, None, None)
    guard = Guard("blocked", "no", refusals - (typed == PASSWORD), now - 100, now + 80_000, by_exporter)
    write_guard(tmp_path, "default", guard)
    async with cloud_with(password="neither") as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_PASSWORD="")
        assert (await command(settings, "login", typed=typed)).code == 1
        assert logins(cloud) == 1
    kept = read_logins(tmp_path)["default"].guard
    assert kept is not None
    assert is_same(kept.credentials, EMAIL, PASSWORD, None, None, None)
    assert kept.refusals == refusals
    assert kept.until_seconds is not None
    assert kept.until_seconds > now + 79_000
    assert kept.at_seconds >= now


async def test_the_password_of_the_config_is_not_sent_with_another_email(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path)
        said = await command(settings, "login", "--email", "other@example.com")
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert "--email" in said.err
        assert logins(cloud) == 0


def several(tmp_path: Path, url: str) -> dict[str, str]:
    path = tmp_path / "config.yml"
    path.write_text(
        f"accounts:\n- {{name: one, email: {EMAIL}, password: {PASSWORD}}}\n"
        "- {name: two, email: b@example.com}\n"
        f"cloud: {{base_url: {url}, entrez_url: {url}}}\n"
    )
    path.chmod(0o600)
    return {"ENPHASE_EV_CONFIG_FILE": str(path), "ENPHASE_EV_STATE_PATH": str(tmp_path / "state")}


async def test_with_several_accounts_the_one_meant_must_be_named(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = several(tmp_path, cloud.url)
        said = await command(settings, "login")
        assert said.code == 2
        assert "one, two" in said.err
        assert "one, two" in (await command(settings, "login", "--account", "three")).err
        assert (await command(settings, "login", "--account", "one")).code == 0
        said = await command(settings, "login", "--status")
        assert said.out.startswith("one: logged in since ")
        assert said.out.endswith("two: no login kept\n")
        assert logins(cloud) == 1


async def test_without_any_config_a_login_can_be_made(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_EMAIL="", ENPHASE_EV_PASSWORD="")
        said = await command(settings, "login", typed=f"{EMAIL}\n{PASSWORD}\n")
        assert said.code == 0
        assert (await command(settings, "login", "--status")).out.startswith("default: logged in")


async def test_an_account_that_no_config_names_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path, ENPHASE_EV_EMAIL="", ENPHASE_EV_PASSWORD="")
        said = await command(settings, "login", "--account", "home", typed=f"{EMAIL}\n{PASSWORD}\n")
        assert (said.code, said.out) == (2, "")
        assert "no account 'home'" in said.err
        assert "--config.file" in said.err
        assert logins(cloud) == 0
        said = await command(settings, "login", "--account", "default", typed=f"{EMAIL}\n{PASSWORD}\n")
        assert said.code == 0


async def test_a_login_names_the_state_folder_it_is_kept_in(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        said = await command(environment_for(cloud.url, tmp_path / "state"), "login")
        assert f"kept in {tmp_path / 'state'}: an exporter with this state folder" in said.out


async def test_a_state_that_cannot_be_written_is_told_before_the_password_is_sent(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    async with cloud_with() as cloud:
        said = await command(environment_for(cloud.url, tmp_path / "state"), "login")
        assert said.code == 1
        assert str(tmp_path / "state") in said.err
        assert logins(cloud) == 0
