"""The unit under a real systemd, installed and used by the commands of docs/install/systemd.md."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.e2e.exporters import PASSWORD
from tests.e2e.programs import REPOSITORY, eventually, started
from tests.e2e.systemd_box import Box, started_box
from tests.e2e.wheel import built, wheel_in

pytestmark = pytest.mark.e2e

UNIT = "enphase-ev-exporter.service"
UNIT_FILE = REPOSITORY / "deploy/systemd" / UNIT
PAGE = (REPOSITORY / "docs/install/systemd.md").read_text()
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)).splitlines()
SHOWN = next(index for index, line in enumerate(COMMANDS) if line.startswith("curl "))
CONFIG = "/etc/enphase-ev-exporter/config.yml"
CLOUD = "http://127.0.0.1:10056"
METRICS = "curl -s http://localhost:10055/metrics"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with started_box(tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture(scope="module")
def service(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """The page followed to the line that shows the first metrics, with a simulated cloud for the real one."""
    wheel = wheel_in(built(tmp_path_factory.mktemp("dist")))
    subprocess.run(
        [*box.entering(), "sh", "-c", f"mkdir /srv/install && cat > /srv/install/{wheel.name}"],
        input=wheel.read_bytes(),
        check=True,
    )
    before = next(index for index, line in enumerate(COMMANDS) if "-exporter check " in line)
    for line in COMMANDS[:before]:
        follow(box, line)
    box.run(f'printf \'cloud: {{base_url: "{CLOUD}", entrez_url: "{CLOUD}"}}\\n\' >> {CONFIG}')
    simulate = [*box.entering(), "/usr/local/bin/enphase-ev-exporter", "simulate"]
    with started("cloud", simulate, tmp_path_factory.mktemp("cloud")) as cloud:
        cloud.said(r"The simulated cloud: (http://\S+)/")
        for line in COMMANDS[before:SHOWN]:
            follow(box, line)
        eventually(
            "the page's last command shows two sites",
            lambda: ups(box, COMMANDS[SHOWN]) == 2,
            within_seconds=20,
        )
        yield box


def follow(box: Box, line: str) -> str:
    said = box.run(f"cd /srv/install && {line}", typed=f"{PASSWORD}\n", online="pip install" in line)
    assert said.code == 0, f"{line} ended with {said.code}: {said.text}{box.journal_of(UNIT)}"
    return said.text


def ups(box: Box, line: str = f"{METRICS} | grep ^enphase_ev_up") -> int:
    return box.run(line).text.count("} 1")


def status(box: Box) -> dict[str, str]:
    """What /proc says of the service's process, and its user as `Uid`."""
    pid = box.property_of(UNIT, "MainPID")
    return dict(re.findall(r"^(\w+):\t(.*)$", box.run(f"cat /proc/{pid}/status").text, re.MULTILINE))


def differ(now: Callable[[], str], before: str) -> bool:
    return now() != before


def test_the_page_gives_the_exposure_that_systemd_sees() -> None:
    analysed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT_FILE],
        capture_output=True,
        text=True,
        check=True,
    )
    (exposure,) = re.findall(r"Overall exposure level for \S+: (\d+\.\d)", analysed.stdout)
    assert f"gives exposure {exposure}," in PAGE


def test_systemd_has_nothing_to_say_about_the_unit(service: Box) -> None:
    assert service.run(f"systemd-analyze verify --man=no /etc/systemd/system/{UNIT}") == (0, "")
    assert not re.findall(rf"{UNIT}:\d+.*", service.run("journalctl --no-pager --output=cat _PID=1").text)


def test_the_service_is_up_and_says_where_it_serves(service: Box) -> None:
    assert service.property_of(UNIT, "ActiveState") == "active"
    assert service.property_of(UNIT, "StatusText").startswith("serving http://")
    assert service.property_of(UNIT, "WatchdogUSec") == "1min"
    assert "enphase_ev_exporter_build_info" in service.run(METRICS).text
    assert "process_start_time_seconds" in service.run(METRICS).text


def test_it_may_do_nothing_and_is_nobody_of_the_machine(service: Box) -> None:
    has = status(service)
    user = int(has["Uid"].split()[0])
    assert 61184 <= user <= 65519  # those that systemd makes up
    assert int(has["CapEff"], 16) == int(has["CapBnd"], 16) == int(has["CapAmb"], 16) == 0
    assert (has["NoNewPrivs"], has["Seccomp"]) == ("1", "2")


def test_it_sees_the_secrets_of_the_unit_and_no_others(service: Box) -> None:
    folder = "/etc/enphase-ev-exporter/secrets"
    follow(service, f"install -m 600 /dev/stdin {folder}/other")
    assert service.run(f"ls {folder}").text.split() == ["other", "password"]
    pid = service.property_of(UNIT, "MainPID")
    seen = service.run(f"nsenter --target {pid} --mount ls -l {folder}").text
    assert re.findall(r"^-r--------.* (\S+)$", seen, re.MULTILINE) == ["control_token", "password"]
    assert "other" not in seen


def owners_and_modes(box: Box) -> set[str]:
    """Of the state's folder and of all files in it."""
    state = "/var/lib/enphase-ev-exporter"
    return set(box.run(f"stat -Lc '%F %a %u' {state} {state}/*").text.splitlines())


def test_its_state_is_its_own(service: Box) -> None:
    user = status(service)["Uid"].split()[0]
    kinds = ("regular file", "regular empty file")
    assert owners_and_modes(service) == {f"directory 700 {user}", *(f"{kind} 600 {user}" for kind in kinds)}


def test_the_rest_of_the_page_works_beside_the_running_service(service: Box) -> None:
    rest = COMMANDS[SHOWN + 1 :]
    before = owners_and_modes(service)
    assert [shlex.split(line)[0] for line in rest] == ["enphase-ev-exporter-as-service", "systemctl"]
    assert "Logged in." in follow(service, rest[0])
    follow(service, rest[1])
    assert "No finished charging sessions." in follow(service, "enphase-ev-exporter-as-service sessions")
    assert "logged in since" in follow(service, "enphase-ev-exporter-as-service login --status")
    assert owners_and_modes(service) == before


def test_a_bad_config_is_refused_by_a_reload_which_the_status_says(service: Box) -> None:
    follow(service, f"cp {CONFIG} good.yml && echo nonsense: 1 >> {CONFIG} && systemctl reload {UNIT}")
    refused = "; the new config was refused, the old one stays"
    assert service.property_of(UNIT, "StatusText").endswith(refused)
    assert service.property_of(UNIT, "ActiveState") == "active"
    follow(service, f"cp good.yml {CONFIG} && systemctl reload {UNIT}")
    assert not service.property_of(UNIT, "StatusText").endswith(refused)
    assert ups(service) == 2


def test_one_that_hangs_is_started_again_and_keeps_its_login(service: Box) -> None:
    drop_in = f"/etc/systemd/system/{UNIT}.d"
    follow(
        service,
        f"mkdir {drop_in} && printf '[Service]\\nWatchdogSec=2s\\nRestartSec=100ms\\n' > {drop_in}/soon.conf",
    )
    follow(service, f"systemctl daemon-reload && systemctl restart {UNIT}")
    follow(service, f"kill -STOP {service.property_of(UNIT, 'MainPID')}")
    eventually(
        "it was started again", lambda: service.property_of(UNIT, "NRestarts") == "1", within_seconds=20
    )
    eventually("both sites are up", lambda: ups(service) == 2, within_seconds=20)
    assert "Watchdog timeout" in service.journal_of(UNIT)
    assert (
        service.run(METRICS).text.count('enphase_ev_auth_logins_total{account="home",result="success"} 0')
        == 1
    )
    for _ in range(3):  # longer than systemd waits: a healthy one lives on
        signs = partial(service.property_of, UNIT, "WatchdogTimestampMonotonic")
        before = signs()
        eventually("a sign of life", partial(differ, signs, before), within_seconds=10)
    assert service.property_of(UNIT, "NRestarts") == "1"
    follow(service, f"rm -r {drop_in} && systemctl daemon-reload")


def test_without_the_password_it_still_starts_where_the_config_names_none(service: Box) -> None:
    follow(service, f"rm /etc/enphase-ev-exporter/secrets/password && sed -i /password_file/d {CONFIG}")
    follow(service, f"systemctl restart {UNIT}")
    eventually("both sites are up by the kept login", lambda: ups(service) == 2, within_seconds=20)


def test_it_stops_in_time_and_cleanly(service: Box) -> None:
    follow(service, f"systemctl stop {UNIT}")
    assert service.property_of(UNIT, "Result") == "success"
    assert service.property_of(UNIT, "ExecMainStatus") == "0"
    assert (
        "not running; as root: systemctl start" in service.run("enphase-ev-exporter-as-service sessions").text
    )


def test_a_config_that_cannot_be_used_is_not_tried_again(service: Box) -> None:
    follow(service, f"echo nonsense: 1 >> {CONFIG}")
    assert service.run(f"systemctl start {UNIT}").code != 0
    shown = [service.property_of(UNIT, name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")]
    assert shown == ["failed", "2", "0"]
    assert f"{CONFIG}: nonsense" in service.journal_of(UNIT)
