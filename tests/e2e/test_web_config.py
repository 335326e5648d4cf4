"""TLS, client certificates and passwords, as curl and a real Prometheus meet them."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.certificates import HASH, PASSWORD, USERS, Certificate, authority, issued, text_of, write
from tests.e2e.exporters import EMAIL, SimulatedCloud, started_cloud
from tests.e2e.exporters import PASSWORD as CLOUD_PASSWORD
from tests.e2e.programs import EXPORTER, Program, eventually, path_of, started
from tests.e2e.prometheus_server import Prometheus, started_prometheus

pytestmark = pytest.mark.e2e

JOBS = ("good", "wrong_password", "no_password", "no_certificate", "foreign_certificate", "plain")


class Curled(NamedTuple):
    """What curl printed, and how it ended; 0 as HTTP status when there was no answer."""

    exit_code: int
    status: int
    body: str
    said: str


def curl(*arguments: str | Path) -> Curled:
    command = [path_of("curl"), "--silent", "--show-error", "--noproxy", "*", "--max-time", "10"]
    ended = subprocess.run(
        [*command, "--write-out", "\n%{http_code}", *map(str, arguments)], capture_output=True, text=True
    )
    body, _, status = ended.stdout.rpartition("\n")
    return Curled(ended.returncode, int(status), body, ended.stderr)


@dataclass
class Secured:
    """An exporter behind a web config file, and who can come to it."""

    program: Program
    url: str
    web_file: Path
    environment: Mapping[str, str]
    ca: Certificate
    client: Certificate
    foreign: Certificate

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    @property
    def trusted(self) -> tuple[str | Path, ...]:
        return "--cacert", self.ca.cert

    @property
    def certified(self) -> tuple[str | Path, ...]:
        return *self.trusted, "--cert", self.client.cert, "--key", self.client.key

    def curled(self, *arguments: str | Path, path: str = "/metrics") -> Curled:
        return curl(*arguments, f"https://localhost:{self.port}{path}")

    def healthcheck(self) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, **self.environment, "ENPHASE_EV_WEB_LISTEN_ADDRESS": f":{self.port}"}
        return subprocess.run(
            [EXPORTER, "healthcheck"], env=environment, capture_output=True, text=True, timeout=30
        )


def environment_of(cloud: SimulatedCloud, folder: Path, web_file: Path) -> dict[str, str]:
    return {
        "ENPHASE_EV_EMAIL": EMAIL,
        "ENPHASE_EV_PASSWORD": CLOUD_PASSWORD,
        "ENPHASE_EV_CLOUD_BASE_URL": cloud.url,
        "ENPHASE_EV_CLOUD_ENTREZ_URL": cloud.url,
        "ENPHASE_EV_STATE_PATH": str(folder / "state"),
        "ENPHASE_EV_WEB_LISTEN_ADDRESS": "127.0.0.1:0",
        "ENPHASE_EV_WEB_CONFIG_FILE": str(web_file),
    }


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedCloud]:
    with started_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@contextmanager
def started_secured(folder: Path, cloud: SimulatedCloud) -> Iterator[Secured]:
    ca = authority(folder)
    foreign = issued(authority(folder, "other"), folder, "foreign", usage="clientAuth")
    client = issued(ca, folder, "prometheus", sans="DNS:prometheus", usage="clientAuth")
    shown = issued(ca, folder, "server")
    text = text_of(shown, ca, "client_auth_type: RequireAndVerifyClientCert") + USERS
    web_file = write(folder / "web.yml", text)
    environment = environment_of(cloud, folder, web_file)
    with started("exporter", [EXPORTER, "run"], folder, environment) as program:
        url = program.said(r"msg=listening url=(https://\S+)")
        secured = Secured(program, url, web_file, environment, ca, client, foreign)
        eventually(
            "the sites are up",
            lambda: re.search(r"^enphase_ev_up\S* 1", good(secured).body, re.MULTILINE),
            within_seconds=20,
        )
        yield secured


def good(secured: Secured) -> Curled:
    return secured.curled(*secured.certified, "--user", f"owner:{PASSWORD}")


@pytest.fixture(scope="module")
def secured(cloud: SimulatedCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with started_secured(tmp_path_factory.mktemp("secured"), cloud) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(secured: Secured, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with one job for each way to come, right or wrong."""
    with started_prometheus(tmp_path_factory.mktemp("prometheus"), scrape_config(secured)) as running:
        yield running


def scrape_config(secured: Secured) -> str:
    target = f"static_configs: [{{targets: ['localhost:{secured.port}']}}]"
    password = f"basic_auth: {{username: owner, password: {PASSWORD}}}"
    trust = f"ca_file: {secured.ca.cert}"
    shown = f"{trust}, cert_file: {secured.client.cert}, key_file: {secured.client.key}"
    other = f"{trust}, cert_file: {secured.foreign.cert}, key_file: {secured.foreign.key}"
    ways = {
        "good": f"scheme: https, tls_config: {{{shown}}}, {password}",
        "wrong_password": f"scheme: https, tls_config: {{{shown}}}, {password.replace('right', 'wrong')}",
        "no_password": f"scheme: https, tls_config: {{{shown}}}",
        "no_certificate": f"scheme: https, tls_config: {{{trust}}}, {password}",
        "foreign_certificate": f"scheme: https, tls_config: {{{other}}}, {password}",
        "plain": f"scheme: http, {password}",
    }
    assert tuple(ways) == JOBS
    jobs = [f"  - {{job_name: {job}, {way}, {target}}}" for job, way in ways.items()]
    return "\n".join(["global: {scrape_interval: 1s}", "scrape_configs:", *jobs, ""])


def wait_for_scrapes(prometheus: Prometheus, job: str, times: int) -> None:
    eventually(f"{times} scrapes of {job}", lambda: prometheus.has_scraped(job, times), within_seconds=60)


@pytest.mark.parametrize("job", JOBS)
def test_prometheus_gets_in_with_password_and_certificate_and_no_other_way(
    job: str, prometheus: Prometheus
) -> None:
    wait_for_scrapes(prometheus, job, 3)
    (up,) = prometheus.query(f'up{{job="{job}"}}[10m]')
    assert {value for _, value in up.samples} == {1.0 if job == "good" else 0.0}
    stored = prometheus.query(f'{{job="{job}",__name__=~"enphase_.*|process_.*|python_.*"}}')
    assert bool(stored) == (job == "good")


def test_prometheus_is_told_why_it_is_refused(prometheus: Prometheus) -> None:
    for job in JOBS:
        wait_for_scrapes(prometheus, job, 1)
    errors = {one["labels"]["job"]: one["lastError"] for one in prometheus.ask("targets")["activeTargets"]}
    assert errors["good"] == ""
    assert "401" in errors["wrong_password"]
    assert "401" in errors["no_password"]
    assert "certificate required" in errors["no_certificate"]
    assert "certificate" in errors["foreign_certificate"]
    assert "400" in errors["plain"]


def test_a_new_certificate_costs_prometheus_no_scrape(secured: Secured, prometheus: Prometheus) -> None:
    wait_for_scrapes(prometheus, "good", 1)
    folder = secured.web_file.parent
    before = shown_certificate(secured)
    renewed = issued(secured.ca, folder, "renewed")
    renewed.key.replace(folder / "server.key")
    renewed.cert.replace(folder / "server.crt")
    eventually(
        "the new certificate is shown",
        lambda: shown_certificate(secured) != before,
        within_seconds=20,
    )
    assert "renewed" in shown_certificate(secured)
    (up,) = prometheus.query('up{job="good"}[10m]')
    wait_for_scrapes(prometheus, "good", len(up.samples) + 3)
    (up,) = prometheus.query('up{job="good"}[10m]')
    assert {value for _, value in up.samples} == {1.0}


def shown_certificate(secured: Secured) -> str:
    """The subject of the certificate that the exporter shows now."""
    said = secured.curled(*secured.certified, "--verbose").said
    found = re.search(r"subject: (.*)", said)
    return found[1] if found else ""


def test_curl_gets_in_with_password_and_certificate(secured: Secured) -> None:
    answer = good(secured)
    assert (answer.exit_code, answer.status) == (0, 200)
    assert "enphase_ev_up" in answer.body


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/-/healthy", "/-/ready", "/sd", "/probe", "/api/v1/chargers", "/x"]
)
def test_curl_gets_nothing_without_the_right_password(path: str, secured: Secured) -> None:
    for arguments in ((), ("--user", "owner:wrong"), ("--user", f"nobody:{PASSWORD}")):
        answer = secured.curled(*secured.certified, *arguments, path=path)
        assert (answer.exit_code, answer.status, answer.body) == (0, 401, "unauthorized\n")


def test_curl_gets_nothing_without_a_certificate_of_the_ca(secured: Secured) -> None:
    password = ("--user", f"owner:{PASSWORD}")
    nothing = secured.curled(*secured.trusted, *password)
    other = ("--cert", secured.foreign.cert, "--key", secured.foreign.key)
    foreign = secured.curled(*secured.trusted, *other, *password)
    for answer in (nothing, foreign):
        assert (answer.status, answer.body) == (0, "")
        assert answer.exit_code in (35, 56)  # an alert: in the handshake, or with TLS 1.3 after it
    assert "certificate required" in nothing.said
    assert "unknown ca" in foreign.said
    assert secured.curled().exit_code == 60  # and curl does not trust this server by itself


def test_old_versions_of_tls_are_refused(secured: Secured) -> None:
    answer = secured.curled(*secured.certified, "--tls-max", "1.1")
    assert (answer.exit_code, answer.status) == (35, 0)


def test_a_plain_request_is_told_of_tls(secured: Secured) -> None:
    answer = curl("--user", f"owner:{PASSWORD}", f"http://localhost:{secured.port}/metrics")
    assert (answer.exit_code, answer.status) == (0, 400)
    assert "HTTPS" in answer.body


def test_the_health_check_needs_no_password(secured: Secured) -> None:
    ended = secured.healthcheck()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "is listening: it serves TLS and refused the health check" in ended.stdout


def test_users_and_client_rules_change_without_a_restart(cloud: SimulatedCloud, tmp_path: Path) -> None:
    with started_secured(tmp_path, cloud) as secured:
        write(
            secured.web_file, text_of(Certificate(tmp_path / "server.crt", tmp_path / "server.key")) + USERS
        )
        owner = ("--user", f"owner:{PASSWORD}")
        eventually(
            "no certificate is asked for",
            lambda: secured.curled(*secured.trusted, *owner).status == 200,
            within_seconds=20,
        )
        assert secured.healthcheck().stdout == "healthy: yes\n"
        write(secured.web_file, USERS.replace("owner", "other"))
        url = f"http://localhost:{secured.port}/metrics"
        eventually("plain again", lambda: curl(url).status == 401, within_seconds=20)
        assert curl(*owner, url).status == 401
        assert curl("--user", f"other:{PASSWORD}", url).status == 200
        write(secured.web_file, "basic_auth_users: {other: plaintext-canary}")
        secured.program.said("(web config refused, the old one stays)")
        assert curl(url).status == 401
        assert secured.healthcheck().returncode == 0
        assert "canary" not in secured.program.log
        assert secured.program.stop() == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("basic_auth_users: {owner: plaintext-canary}", "basic_auth_users.owner: expected a bcrypt hash"),
        ("tls_server_config: {cert_file: no.crt, key_file: no.key}", "no.crt cannot be read"),
        ("tls_config: {}", "tls_config: is not a key of a web config"),
    ],
)
def test_a_bad_web_config_is_exit_2_and_a_sentence(
    text: str, message: str, cloud: SimulatedCloud, tmp_path: Path
) -> None:
    environment = environment_of(cloud, tmp_path, write(tmp_path / "web.yml", text))
    with started("exporter", [EXPORTER, "run"], tmp_path, environment) as program:
        assert program.process.wait(20) == 2
        assert f"{tmp_path / 'web.yml'}: " in program.log
        assert message in program.log
        assert "canary" not in program.log
        assert "Traceback" not in program.log


def test_refused_clients_leave_no_trace_in_the_log(secured: Secured, prometheus: Prometheus) -> None:
    for job in JOBS:
        wait_for_scrapes(prometheus, job, 3)
    assert PASSWORD not in secured.program.log
    assert HASH not in secured.program.log
    assert not re.search(r"Traceback|level=(warning|error)|Basic|handshake", secured.program.log)
