"""What the demo takes from its surroundings, what it leaves, and what `simulate` tells."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from exporter.demo import demo_config, serve_cloud, serve_demo, variables_of
from exporter.errors import ConfigError
from exporter.sections import Config
from exporter.simulator.settings import CloudConfig

CLOUD = "http://127.0.0.1:9"
TOKEN = "0123456789abcdef-canary"


def config_with(tmp_path: Path, environ: dict[str, str], **flags: str | list[str]) -> Config:
    return demo_config(CLOUD, str(tmp_path), flags, variables_of(environ).taken)[0]


def test_the_demo_takes_the_variables_of_web_control_and_log(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    config = config_with(
        tmp_path,
        {
            "ENPHASE_EV_WEB_LISTEN_ADDRESS": ":10091",
            "ENPHASE_EV_CONTROL_ENABLED": "true",
            "ENPHASE_EV_CONTROL_TOKEN_FILE": str(token_file),
            "ENPHASE_EV_LOG_LEVEL": "debug",
        },
    )
    assert [str(address) for address in config.web.listen_addresses] == [":10091"]
    assert [token.reveal() for _, token in config.control.tokens] == [TOKEN]
    assert config.log.level == "debug"


def test_a_flag_of_the_demo_wins_over_the_variable(tmp_path: Path) -> None:
    environ = {"ENPHASE_EV_LOG_FORMAT": "json", "ENPHASE_EV_LOG_LEVEL": "debug"}
    config = config_with(tmp_path, environ, **{"log.level": "error"})
    assert (config.log.level, config.log.format) == ("error", "json")


def test_the_demo_leaves_what_is_of_a_real_account_and_names_it(tmp_path: Path) -> None:
    others = {
        "ENPHASE_EV_CLOUD_BASE_URL": "https://enlighten.enphaseenergy.com",
        "ENPHASE_EV_CONFIG_FILE": "/etc/enphase-ev-exporter/config.yml",
        "ENPHASE_EV_EMAIL": "owner@example.net",
        "ENPHASE_EV_PASSWORD_FILE": "/nowhere",
        "ENPHASE_EV_POLL_INTERVAL": "1h",
        "ENPHASE_EV_STATE_PATH": "/nowhere",
    }
    mine = {"ENPHASE_EV_LOG_FORMAT": "json", "PATH": "/bin", "ENPHASE_EV_WEB_CONFIG_FILE": ""}
    assert variables_of(mine | others) == ({"ENPHASE_EV_LOG_FORMAT": "json"}, tuple(others))
    config = config_with(tmp_path, mine | others)
    assert (config.cloud.base_url, config.accounts[0].email) == (CLOUD, CloudConfig.email)
    assert (config.poll.interval_seconds, config.state.path) == (1.0, tmp_path)


def test_the_demo_refuses_a_variable_that_is_no_setting() -> None:
    with pytest.raises(ConfigError, match="ENPHASE_EV_WEB_LISTEN_ADRESS: is not a setting"):
        variables_of({"ENPHASE_EV_WEB_LISTEN_ADRESS": ":10091"})


async def test_the_demo_refuses_a_config_file() -> None:
    said: list[str] = []
    with pytest.raises(ConfigError, match=r"--config\.file: the demo has its own account"):
        await serve_demo({}, 7, 240.0, said.append, environ={}, config_path=Path("config.yml"))
    assert said == []


async def test_simulate_tells_all_that_an_exporter_and_its_owner_need() -> None:
    said: list[str] = []
    running = asyncio.create_task(serve_cloud("127.0.0.1", 0, 7, 240.0, said.append))
    while not said:
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    text = "\n".join(said)
    url = said[0].removeprefix("The simulated cloud: ").removesuffix("/")
    assert url.startswith("http://127.0.0.1:")
    for word in (CloudConfig.email, CloudConfig.password, CloudConfig.mfa_code, "poll.max_requests_per_hour"):
        assert word in text
    assert {f"ENPHASE_EV_CLOUD_{name}_URL={url}" for name in ("BASE", "ENTREZ")} <= set(text.split())
