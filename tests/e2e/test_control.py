"""A charger of the running demo, commanded over HTTP as an owner's script would."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.exporters import Demo, started_demo
from tests.e2e.programs import Answer, eventually, fetch

pytestmark = pytest.mark.e2e

TOKEN = "0123456789abcdef-the-owners"
SITE, SERIAL = "1234567", "482500000017"
CONFIRMATION_SECONDS = 90.0


@pytest.fixture(scope="module")
def controlled_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo with control on, and its first charger with a car that waits to be told."""
    folder = tmp_path_factory.mktemp("controlled")
    token: Path = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with started_demo(folder, "--control.enabled", "--control.token-file", str(token)) as demo:
        eventually("both sites are up", lambda: demo.is_up(2), within_seconds=20)
        demo.cloud.act(SERIAL, "unplug", "plug")
        eventually(
            "a car waits to be told",
            lambda: (shown(demo, "plugged_in"), shown(demo, "charging")) == (1, 0),
            within_seconds=20,
        )
        yield demo


def told(demo: Demo, action: str, *, token: str = TOKEN, **fields: Any) -> Answer:
    return fetch(
        f"{demo.url}/api/v1/chargers/{SERIAL}/{action}",
        method="POST",
        headers={"Authorization": f"Bearer {token}"},
        send=fields,
    )


def shown(demo: Demo, name: str) -> float | None:
    return demo.scrape().value(f"enphase_ev_charger_{name}", serial=SERIAL)


def soon(what: str, condition: Callable[[], bool]) -> None:
    eventually(what, condition, within_seconds=CONFIRMATION_SECONDS)


def amps_of_truth(demo: Demo) -> float:
    chargers = demo.cloud.world()["chargers"]
    return next(float(charger["amps"]) for charger in chargers if charger["serial"] == SERIAL)


def test_a_car_is_started_set_and_stopped_and_the_metrics_show_it(controlled_demo: Demo) -> None:
    demo = controlled_demo
    assert shown(demo, "charging") == 0

    started = told(demo, "start", amps=16)
    assert (started.status, started.json()["result"], started.json()["confirmed"]) == (200, "accepted", True)
    assert shown(demo, "charging") == 1
    soon("power flows", lambda: (shown(demo, "power_watts") or 0.0) > 1000)
    soon("16 A show", lambda: shown(demo, "charging_level_amperes") == 16)

    set_lower = told(demo, "start", amps=10)
    assert set_lower.status == 200, set_lower.text
    assert "next charging session" in set_lower.json()["detail"]
    assert amps_of_truth(demo) == 10

    stopped = told(demo, "stop")
    assert (stopped.status, stopped.json()["result"], stopped.json()["confirmed"]) == (200, "accepted", True)
    assert shown(demo, "charging") == 0
    soon("no power flows", lambda: shown(demo, "power_watts") == 0)

    scrape = demo.scrape()
    counted = "enphase_ev_control_commands_total"
    assert scrape.value(counted, command="start", result="accepted") == 2
    assert scrape.value(counted, command="stop", result="accepted") == 1


def test_without_the_token_nothing_reaches_the_cloud(controlled_demo: Demo) -> None:
    demo = controlled_demo
    before = len(demo.cloud.requests("start_charging"))
    for token in ("", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()):
        assert told(demo, "start", token=token).status == 401
    assert len(demo.cloud.requests("start_charging")) == before
    assert TOKEN not in demo.program.output + demo.program.log


def test_the_log_names_who_gave_a_command(controlled_demo: Demo) -> None:
    told(controlled_demo, "trigger", message="MeterValues")
    assert controlled_demo.program.said(r"msg=command who=(\S+) command=trigger") == "default"
