import argparse
import contextlib
import copy
import json
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter import config, readers
from exporter.config import AccountConfig, Config, ControlConfig, PollConfig, Secret
from exporter.errors import ConfigError
from exporter.settings import ACCOUNT_SETTINGS, SETTINGS, TOKEN_SETTINGS, variable

ROOT = Path(__file__).parent.parent
BAD_CONFIGS = sorted((Path(__file__).parent / "bad_configs").glob("*.yml"))
LOGIN = {"ENPHASE_EV_EMAIL": "owner@example.com", "ENPHASE_EV_PASSWORD": "correct horse"}
ACCOUNT = "accounts: [{name: home, email: owner@example.com, password: correct horse}]\n"


def written(folder: Path, text: str, name: str = "config.yml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def loaded(text: str, folder: Path) -> Config:
    return config.load(written(folder, text), {}, {})[0]


def refusal(
    path: Path | None, environ: dict[str, str], flags: dict[str, str | list[str]] | None = None
) -> str:
    with pytest.raises(ConfigError) as refused:
        config.load(path, environ, flags or {})
    return str(refused.value)


@pytest.mark.parametrize("path", BAD_CONFIGS, ids=lambda path: path.stem)
def test_a_bad_config_is_refused_in_one_sentence(path: Path) -> None:
    first_line = path.read_text(encoding="utf-8").partition("\n")[0]
    expected = first_line.removeprefix("# expected: ")
    message = refusal(path, {})
    assert message == expected.replace("{file}", str(path)).replace("{folder}", str(path.parent))
    assert "expected" in message
    assert "\n" not in message
    assert "correct horse" not in message
    assert "example.com" not in message


def test_the_example_config_gives_the_defaults(tmp_path: Path) -> None:
    example = (ROOT / "config.example.yml").read_text(encoding="utf-8")
    password = written(tmp_path, "correct horse\n", "enphase_password")
    read = loaded(example.replace("/run/secrets/enphase_password", str(password)), tmp_path)
    account = AccountConfig(name="home", email="owner@example.com", password=Secret("correct horse"))
    assert read == Config((account,))


def test_the_example_config_names_every_key() -> None:
    example = (ROOT / "config.example.yml").read_text(encoding="utf-8")
    uncommented = re.sub(r"^( *)# (?=\w+_file:)", r"\1", example, flags=re.MULTILINE)
    document = yaml.safe_load(uncommented)
    keys = {f"{section}.{key}" for section in document if section != "accounts" for key in document[section]}
    assert keys == {setting.spellings[-1] for setting in SETTINGS} | {"control.tokens"}
    assert set(document["accounts"][0]) == {setting.spellings[-1] for setting in ACCOUNT_SETTINGS}
    for setting in (*SETTINGS, *ACCOUNT_SETTINGS):
        if setting.secret:
            assert f"or {setting.key.rpartition('.')[2]}:" in example


def test_the_documentation_names_every_key_variable_and_flag() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for setting in (*SETTINGS, *ACCOUNT_SETTINGS):
        for spelling in setting.spellings:
            key = spelling if "." in spelling else f"accounts[].{spelling}"
            row = next(line for line in page.splitlines() if line.startswith(f"| `{key}` |"))
            assert f"`{variable(spelling)}`" in row
            if "." in spelling and spelling == setting.spellings[-1]:
                assert f"`{setting.flag}`" in row


def test_the_documented_defaults_are_the_defaults() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    documented = {row[0]: row[3] for row in rows if len(row) == 5}
    effective = config.masked(Config((AccountConfig(email="owner@example.com"),)))
    for setting in SETTINGS:
        section, _, key = setting.key.partition(".")
        default = effective[section][key]
        text = default if isinstance(default, str) else json.dumps(default)
        assert documented[setting.key].startswith(text.strip("[]").replace("null", "none").strip('"'))


def test_environment_beats_file_and_flag_beats_environment(tmp_path: Path) -> None:
    path = written(tmp_path, ACCOUNT + "poll: {interval: 20s, idle_interval: 2m, request_timeout: 5s}\n")
    environ = {"ENPHASE_EV_POLL_INTERVAL": "25s", "ENPHASE_EV_POLL_REQUEST_TIMEOUT": "6s"}
    read, _ = config.load(path, environ, {"poll.request_timeout": "7s"})
    assert read.poll.idle_interval_seconds == 120
    assert read.poll.interval_seconds == 25
    assert read.poll.request_timeout_seconds == 7


def test_every_key_can_be_given_as_a_variable() -> None:
    texts = {
        "poll.interval": "20s", "poll.idle_interval": "2m", "poll.summary_interval": "6m",
        "poll.charge_mode_interval": "7m", "poll.align": "clock", "poll.request_timeout": "5s",
        "poll.stale_after": "1h30m", "poll.max_requests_per_hour": "100", "poll.live_stream": "never",
        "cloud.base_url": "https://a.example", "cloud.entrez_url": "https://b.example/",
        "state.path": "/var/lib/x", "web.listen_address": "[::1]:1, 127.0.0.1:2", "web.telemetry_path": "/m",
        "web.config_file": "/etc/web.yml",
        "control.enabled": "true", "control.token": "0123456789abcdef", "control.command_limit": "3",
        "control.command_limit_window": "1m", "control.dry_run": "true",
        "control.amps_while_charging": "refuse", "log.level": "debug", "log.format": "json",
    }  # fmt: skip
    assert set(texts) == {setting.key for setting in SETTINGS}
    environ = LOGIN | {variable(key): text for key, text in texts.items()}
    read, _ = config.load(None, environ, {})
    assert read.poll == PollConfig(
        interval_seconds=20,
        idle_interval_seconds=120,
        summary_interval_seconds=360,
        charge_mode_interval_seconds=420,
        align="clock",
        request_timeout_seconds=5,
        stale_after_seconds=5400,
        max_requests_per_hour=100,
        live_stream="never",
    )
    assert (read.cloud.base_url, read.cloud.entrez_url) == ("https://a.example", "https://b.example")
    assert read.state.path == Path("/var/lib/x")
    assert (read.web.listen_addresses, read.web.telemetry_path) == (("[::1]:1", "127.0.0.1:2"), "/m")
    assert read.web.config_file == Path("/etc/web.yml")
    assert read.control == ControlConfig(
        enabled=True,
        token=Secret("0123456789abcdef"),
        command_limit=3,
        command_limit_window_seconds=60,
        dry_run=True,
        amps_while_charging="refuse",
    )
    assert (read.log.level, read.log.format) == ("debug", "json")


def test_flags_are_named_by_their_keys_and_only_given_ones_count() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    config.add_flags(parser)
    arguments = "--poll.idle-interval 2m --web.listen-address :1 --web.listen-address :2 --no-control.enabled"
    namespace = parser.parse_args(["--config.file", "x.yml", *arguments.split()])
    assert config.config_path_of(namespace) == Path("x.yml")
    flags = config.flags_of(namespace)
    assert flags == {
        "poll.idle_interval": "2m",
        "web.listen_address": [":1", ":2"],
        "control.enabled": "false",
    }
    read, _ = config.load(None, LOGIN, flags)
    assert read.poll.idle_interval_seconds == 120
    assert read.web.listen_addresses == (":1", ":2")


def test_no_flag_takes_a_secret_itself() -> None:
    parser = argparse.ArgumentParser()
    config.add_flags(parser)
    page = parser.format_help()
    assert "--control.token-file" in page
    assert "--control.token " not in page
    assert "password" not in page
    assert all(setting.flag in page for setting in SETTINGS)


def test_a_flags_help_shows_what_kind_of_value_it_wants() -> None:
    parser = argparse.ArgumentParser()
    config.add_flags(parser)
    shown = {action.option_strings[0]: action.metavar for action in parser._actions if action.metavar}
    choices = "{never,on_command,on_change,while_charging}"
    assert (
        shown
        | {
            "--control.token-file": "FILE",
            "--web.config.file": "FILE",
            "--poll.interval": "DURATION",
            "--poll.request-timeout": "DURATION",
            "--poll.max-requests-per-hour": "N",
            "--poll.live-stream": choices,
            "--control.amps-while-charging": "{next_session,restart,refuse}",
            "--web.listen-address": "ADDRESS",
            "--web.telemetry-path": "PATH",
            "--cloud.base-url": "URL",
            "--state.path": "FOLDER",
        }
        == shown
    )


@pytest.mark.parametrize(
    ("raw", "is_shown"),
    [
        ("hunter2", False),
        ("hunter2.x9", False),
        ("eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3MDB9.c2lnbmF0dXJl", False),
        ("c2Vj/cmV0+canary", False),
        ("long-" * 60, False),
        ("long-" * 60 + "/canary", False),
        ("no-such-file.txt", True),
        ("tests/no-such-file", True),
        ("/no-such-folder/password", True),
    ],
)
def test_a_missing_file_of_a_secret_is_named_only_where_it_cannot_be_the_secret_itself(
    raw: str, is_shown: bool
) -> None:
    for flags, environ in (({"control.token_file": raw}, {}), ({}, {"ENPHASE_EV_CONTROL_TOKEN_FILE": raw})):
        message = refusal(None, LOGIN | environ, {**flags})
        assert (raw in message) == is_shown
        assert message.endswith(
            "holds the secret" if is_shown else "expected the path of a file that holds it"
        )


@pytest.mark.parametrize(
    ("environ", "flags", "start"),
    [
        ({"ENPHASE_EV_LOG_LEVEL": "loud"}, {}, 'ENPHASE_EV_LOG_LEVEL: got "loud", expected one of debug'),
        ({"ENPHASE_EV_SITES": "12,x"}, {}, 'ENPHASE_EV_SITES[1]: got "x", expected a site id'),
        ({}, {"log.level": "loud"}, '--log.level: got "loud", expected one of debug'),
        ({}, {"web.config_file": " "}, '--web.config.file: got " ", expected a web config file'),
        ({"ENPHASE_EV_SITE": "1"}, {}, "ENPHASE_EV_SITE: is not a setting, expected ENPHASE_EV_SITES "),
        ({"ENPHASE_EV_PORT": "9000"}, {}, "ENPHASE_EV_PORT: is not a setting, expected "),
        (
            {"ENPHASE_EV_PASSWORD_FILE": "x"},
            {},
            "ENPHASE_EV_PASSWORD_FILE: is given beside ENPHASE_EV_PASSWORD,",
        ),
    ],
)
def test_a_bad_variable_or_flag_is_named(
    environ: dict[str, str], flags: dict[str, str | list[str]], start: str
) -> None:
    assert refusal(None, LOGIN | environ, flags).startswith(start)


def test_an_empty_variable_is_no_setting() -> None:
    read, _ = config.load(None, LOGIN | {"ENPHASE_EV_LOG_LEVEL": "", "ENPHASE_EV_NO_SUCH_NAME": ""}, {})
    assert read.log.level == "info"


def test_the_variables_kubernetes_makes_of_a_service_are_no_settings() -> None:
    links = {
        "ENPHASE_EV_EXPORTER_SERVICE_HOST": "10.0.0.1",
        "ENPHASE_EV_EXPORTER_SERVICE_PORT": "10055",
        "ENPHASE_EV_EXPORTER_SERVICE_PORT_METRICS": "10055",
        "ENPHASE_EV_EXPORTER_PORT": "tcp://10.0.0.1:10055",
        "ENPHASE_EV_EXPORTER_PORT_10055_TCP": "tcp://10.0.0.1:10055",
        "ENPHASE_EV_EXPORTER_PORT_10055_TCP_PROTO": "tcp",
        "ENPHASE_EV_EXPORTER_PORT_10055_TCP_ADDR": "10.0.0.1",
    }
    assert config.load(None, LOGIN | links, {})[0].accounts[0].email == "owner@example.com"


def test_without_any_account_the_ways_to_give_one_are_named() -> None:
    message = refusal(None, {})
    assert message.startswith("environment: no account to log in with, expected ")
    assert "--config.file" in message
    assert "ENPHASE_EV_EMAIL and ENPHASE_EV_PASSWORD_FILE" in message
    assert "ENPHASE_EV_E_AUTH_TOKEN_FILE and ENPHASE_EV_COOKIE_FILE" in message


def test_the_line_end_of_a_variable_is_no_part_of_a_secret() -> None:
    read, _ = config.load(None, LOGIN | {"ENPHASE_EV_PASSWORD": "correct horse\r\n"}, {})
    assert read.accounts[0].password == Secret("correct horse")


def test_half_a_login_in_variables_names_the_variable_that_lacks() -> None:
    message = refusal(None, {"ENPHASE_EV_PASSWORD": "correct horse"})
    assert message == "environment: half of a login, expected ENPHASE_EV_EMAIL too"


def test_an_email_alone_is_enough_for_an_account_that_a_person_logs_in() -> None:
    read, _ = config.load(None, {"ENPHASE_EV_EMAIL": "owner@example.com"}, {})
    assert read.accounts == (AccountConfig(email="owner@example.com"),)


def test_commands_that_do_not_ask_the_cloud_need_no_account() -> None:
    read, _ = config.load(None, {}, {}, accounts_needed=False)
    assert read.accounts == ()


def test_a_captured_session_is_a_way_to_log_in() -> None:
    environ = {
        "ENPHASE_EV_E_AUTH_TOKEN": "token",
        "ENPHASE_EV_COOKIE": "a=b; c=d",
        "ENPHASE_EV_SITES": "12,34",
    }
    read, _ = config.load(None, environ, {})
    account = AccountConfig(e_auth_token=Secret("token"), cookie=Secret("a=b; c=d"), sites=("12", "34"))
    assert read.accounts == (account,)


def test_the_variables_of_the_single_account_complete_the_account_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "accounts: [{name: home, email: owner@example.com, password_file: gone}]\n")
    read, _ = config.load(path, {"ENPHASE_EV_PASSWORD": "correct horse"}, {})
    account = AccountConfig(name="home", email="owner@example.com", password=Secret("correct horse"))
    assert read.accounts == (account,)


def test_the_variables_of_the_single_account_do_not_choose_among_two(tmp_path: Path) -> None:
    entry = "- {name: NAME, email: owner@example.com, password: correct horse}\n"
    path = written(tmp_path, "accounts:\n" + entry.replace("NAME", "a") + entry.replace("NAME", "b"))
    message = refusal(path, {"ENPHASE_EV_SITES": "12"})
    assert message.startswith(f"ENPHASE_EV_SITES: is for a single account and {path} has 2, expected ")


def test_a_password_is_the_text_that_stands_in_the_file(tmp_path: Path) -> None:
    for text in ("0123", "yes", "1e5", "2026-11-22", "1:30", "0x1f"):
        read = loaded(f"accounts: [{{email: owner@example.com, password: {text}}}]\n", tmp_path)
        assert read.accounts[0].password == Secret(text)


def test_a_site_id_may_be_written_with_or_without_quotes(tmp_path: Path) -> None:
    sites = "[1234567, '7654321', 0123]"
    read = loaded(ACCOUNT.replace("}]", f", sites: {sites}}}]"), tmp_path)
    assert read.accounts[0].sites == ("1234567", "7654321", "0123")


def test_null_and_empty_sections_mean_the_default(tmp_path: Path) -> None:
    read = loaded(ACCOUNT + "poll:\nlog: {level: null, format: ~}\ncontrol: {token_file: }\n", tmp_path)
    assert read == loaded(ACCOUNT, tmp_path)


def test_the_file_may_be_named_in_the_environment(tmp_path: Path) -> None:
    path = written(tmp_path, ACCOUNT)
    assert config.load(None, {"ENPHASE_EV_CONFIG_FILE": str(path)}, {})[0].accounts[0].name == "home"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("gone.yml", None, "cannot be read (No such file or directory), expected a YAML file"),
        (".", None, "cannot be read (Is a directory), expected a YAML file"),
        ("latin.yml", "name: Süd".encode("latin-1"), "is not UTF-8, expected a YAML file saved as UTF-8"),
    ],
)
def test_a_config_file_that_is_none_is_refused(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert refusal(path, {}) == f"{path}: {problem}"


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_bytes(b"\xef\xbb\xbf" + ACCOUNT.encode())
    assert config.load(path, {}, {})[0].accounts[0].name == "home"


def test_a_secret_file_is_found_beside_the_config_and_loses_its_newline(tmp_path: Path) -> None:
    written(tmp_path, "correct horse\r\n", "password")
    path = written(tmp_path, "accounts: [{email: owner@example.com, password_file: password}]\n")
    read, warnings = config.load(path, {}, {})
    assert read.accounts[0].password == Secret("correct horse")
    assert warnings == ()


def test_a_secret_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    password = written(tmp_path, "correct horse", "password")
    password.chmod(0o640)
    _, warnings = config.load(
        None, {"ENPHASE_EV_EMAIL": "owner@example.com", "ENPHASE_EV_PASSWORD_FILE": str(password)}, {}
    )
    assert warnings == (f"{password}: holds a secret and others can read it (mode 0640), expected mode 0600",)


def test_a_secret_that_is_read_as_a_member_of_its_group_is_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = written(tmp_path, "correct horse", "password")
    environ = {"ENPHASE_EV_EMAIL": "owner@example.com", "ENPHASE_EV_PASSWORD_FILE": str(password)}
    monkeypatch.setattr(os, "geteuid", lambda: password.stat().st_uid + 1)
    password.chmod(0o440)
    assert config.load(None, environ, {})[1] == ()
    password.chmod(0o444)
    assert len(config.load(None, environ, {})[1]) == 1
    monkeypatch.setattr(os, "getegid", lambda: password.stat().st_gid + 1)
    monkeypatch.setattr(os, "getgroups", list)
    password.chmod(0o440)
    assert len(config.load(None, environ, {})[1]) == 1


def test_a_config_file_with_a_password_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    path = written(tmp_path, ACCOUNT)
    assert config.load(path, {}, {})[1] == ()
    path.chmod(0o644)
    assert config.load(path, {}, {})[1][0].startswith(f"{path}: holds a secret")
    written(tmp_path, "correct horse", "password")
    public = written(tmp_path, ACCOUNT.replace("password: correct horse", "password_file: password"))
    public.chmod(0o644)
    assert config.load(public, {}, {})[1] == ()


def test_a_loopback_cloud_may_be_polled_ten_times_a_second(tmp_path: Path) -> None:
    for host in ("127.0.0.1:8080", "localhost:1", "[::1]:8080", "127.3.2.1"):
        read = loaded(
            ACCOUNT + f"cloud: {{base_url: 'http://{host}'}}\npoll: {{interval: 100ms}}\n", tmp_path
        )
        assert read.poll.interval_seconds == 0.1


def test_defaults_follow_a_long_interval(tmp_path: Path) -> None:
    poll = loaded(ACCOUNT + "poll: {interval: 10m}\n", tmp_path).poll
    assert poll.idle_interval_seconds == 600
    assert poll.summary_interval_seconds == 600
    assert poll.charge_mode_interval_seconds == 600
    assert poll.stale_after_seconds == 1200


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/h"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/h"}, "/state/enphase-ev-exporter"),
        ({"HOME": "/h"}, "/h/.local/state/enphase-ev-exporter"),
        ({"ENPHASE_EV_STATE_PATH": "here", "HOME": "/h"}, "here"),
    ],
)
def test_the_state_folder_is_chosen_as_the_platform_does(environ: dict[str, str], expected: str) -> None:
    assert config.load(None, LOGIN | environ, {})[0].state.path == Path(expected)


def test_without_a_home_there_is_no_state_folder() -> None:
    assert config.load(None, LOGIN, {})[0].state.path is None


def test_a_secret_does_not_print() -> None:
    account = AccountConfig(email="owner@example.com", password=Secret("hunter2"))
    shown = [
        repr(account),
        str(account),
        f"{account.password}",
        f"{account.password:>12}",
        f"{account.password!r}",
    ]
    assert not any("hunter2" in text for text in shown)
    assert repr(account.password) == "**********"
    for leak in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            leak(account.password)


def test_secrets_compare_by_their_text() -> None:
    assert Secret("pässword") == Secret("pässword")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_the_effective_config_is_fit_to_be_shown(tmp_path: Path) -> None:
    control = "control: {token: 0123456789abcdef, tokens: [{name: evcc, token: fedcba9876543210}]}\n"
    read = loaded(ACCOUNT + control + "poll: {stale_after: 1h30m}\n", tmp_path)
    shown = config.masked(replace(read, state=config.StateConfig(path=Path("/var/lib/x"))))
    assert shown["accounts"] == [
        {
            "name": "home",
            "email": "o***@***",
            "password": "**********",
            "e_auth_token": None,
            "cookie": None,
            "access_token": None,
            "sites": [],
        }
    ]
    assert shown["poll"]["stale_after"] == "1h30m"
    assert shown["poll"]["max_requests_per_hour"] == 600
    assert shown["web"] == {"listen_address": [":10055"], "telemetry_path": "/metrics", "config_file": None}
    assert shown["control"] == {
        "enabled": False,
        "token": "**********",
        "command_limit": 10,
        "command_limit_window": "10m",
        "dry_run": False,
        "amps_while_charging": "next_session",
        "tokens": [{"name": "evcc", "token": "**********"}],
    }
    assert shown["state"] == {"path": "/var/lib/x"}
    assert "0123456789abcdef" not in yaml.safe_dump(shown)
    assert "fedcba9876543210" not in yaml.safe_dump(shown)


def test_private_texts_are_the_secrets_and_the_addresses(tmp_path: Path) -> None:
    control = "control: {token: 0123456789abcdef, tokens: [{name: evcc, token: fedcba9876543210}]}\n"
    texts = config.private_texts(loaded(ACCOUNT + control, tmp_path))
    assert set(texts) == {"owner@example.com", "correct horse", "0123456789abcdef", "fedcba9876543210"}


def test_several_tokens_are_told_apart_by_their_names(tmp_path: Path) -> None:
    written(tmp_path, "fedcba9876543210\n", "evcc")
    tokens = "[{name: evcc, token_file: evcc}, {name: home-assistant, token: 0011223344556677}]"
    read = loaded(ACCOUNT + f"control: {{enabled: true, tokens: {tokens}}}\n", tmp_path)
    assert read.control.tokens == (
        ("evcc", Secret("fedcba9876543210")),
        ("home-assistant", Secret("0011223344556677")),
    )
    with_one_more = replace(read.control, token=Secret("0123456789abcdef"))
    assert [name for name, _ in with_one_more.tokens] == ["default", "evcc", "home-assistant"]


def test_control_in_the_environment_without_a_token_is_refused_by_its_variable() -> None:
    message = refusal(None, LOGIN | {"ENPHASE_EV_CONTROL_ENABLED": "true"})
    assert message.startswith("ENPHASE_EV_CONTROL_ENABLED: control is on without a token, expected control")


def test_a_named_token_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    path = written(tmp_path, ACCOUNT + "control: {tokens: [{name: evcc, token_file: evcc}]}\n")
    written(tmp_path, "fedcba9876543210", "evcc").chmod(0o644)
    _, warnings = config.load(path, {}, {})
    assert [warning for warning in warnings if "evcc" in warning] == list(warnings) != []


def test_a_listen_address_is_split_as_sockets_want_it() -> None:
    assert readers.host_and_port(":10055") == ("", 10055)
    assert readers.host_and_port("127.0.0.1:0") == ("127.0.0.1", 0)
    assert readers.host_and_port("[::1]:10055") == ("::1", 10055)
    assert readers.host_and_port("exporter.example:1") == ("exporter.example", 1)
    with pytest.raises(ValueError, match="not a listen address"):
        readers.host_and_port("::1")


@given(st.integers(100, 86_400_000))
def test_a_duration_is_read_as_it_is_written(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert readers.duration(readers.duration_text(seconds)) == seconds


@given(st.text() | st.from_regex(r"\A[0-9hms.]{0,12}\Z"))
def test_no_text_whatever_breaks_a_reader(text: str) -> None:
    for setting in (*SETTINGS, *ACCOUNT_SETTINGS, *TOKEN_SETTINGS):
        with contextlib.suppress(ValueError):
            setting.read(text)
