"""Asks the exporter that runs by the same config for its readiness and its metrics, at its own address."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

from exporter.config import Config
from exporter.errors import ConfigError
from exporter.healthcheck import client_context, connection_to, in_words, own_address

_WITHIN_SECONDS = 5.0
_MOST_BYTES = 64 * 1024 * 1024
_OWN_FAMILY = "enphase_ev_exporter_build_info"
_ACCOUNT_FAMILIES = ("enphase_ev_auth_up", "enphase_ev_site_info")


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the metrics."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Running:
    """What answered at `where`: `status` is that of the metrics page, 0 when nobody answered.

    `ready` is the body of /-/ready. Samples are there only where the page is shown to anyone.
    """

    where: str
    status: int = 0
    why: str = ""
    is_ready: bool = False
    ready: str = ""
    samples: tuple[Sample, ...] = field(default=(), repr=False)

    @property
    def is_ours(self) -> bool:
        """Whether these are the metrics of this exporter, of whatever version."""
        return any(sample.name == _OWN_FAMILY for sample in self.samples)

    @property
    def accounts(self) -> frozenset[str]:
        """The names of the accounts it reads; empty before it has tried the first."""
        shown = (labels for family in _ACCOUNT_FAMILIES for labels, _ in self.values(family))
        return frozenset(labels["account"] for labels in shown if "account" in labels)

    def values(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        """Labels and value of every series of a name."""
        return [(one.labels, one.value) for one in self.samples if one.name == name]


def ask_running(config: Config, *, within_seconds: float = _WITHIN_SECONDS) -> Running | None:
    """Ask at the first listen address; None when its port is chosen by the system. Blocks; raises nothing."""
    host, port = own_address(config)
    if port == 0:
        return None
    where = in_words(host, port)
    try:
        context = _context(config)
        ready_status, ready = _page(host, port, context, "/-/ready", within_seconds)
        status, text = _page(host, port, context, config.web.telemetry_path, within_seconds)
        samples = parsed(text) if status == 200 else ()
    except (OSError, HTTPException, ConfigError, ValueError) as error:
        return Running(where, why=str(getattr(error, "strerror", None) or error))
    return Running(where, status, "", ready_status == 200, ready.strip(), samples)


def why_another(running: Running | None, config: Config, is_held: bool | None) -> str:
    """What shows that an exporter which answers does not run by this config; empty when nothing does.

    `is_held` is whether an exporter has the config's state folder, None where that cannot be seen.
    """
    if running is None or not running.is_ours:
        return ""
    shown, own = running.accounts, {account.name for account in config.accounts}
    if shown and own and shown.isdisjoint(own):
        return f"it reads account {', '.join(sorted(shown))}, not {', '.join(sorted(own))}"
    return f"no exporter keeps its state in {config.state.path}" if is_held is False else ""


def _context(config: Config) -> ssl.SSLContext | None:
    if config.web.config_file is None:
        return None
    from exporter.web_config import load_web_file

    tls = load_web_file(config.web.config_file).tls
    return client_context(tls) if tls else None


def _page(
    host: str, port: int, context: ssl.SSLContext | None, path: str, within_seconds: float
) -> tuple[int, str]:
    connection = connection_to(host, port, within_seconds, context)
    try:
        connection.request("GET", path, headers={"User-Agent": "enphase-ev-exporter check"})
        response = connection.getresponse()
        return response.status, response.read(_MOST_BYTES).decode(errors="replace")
    finally:
        connection.close()


def parsed(text: str) -> tuple[Sample, ...]:
    """Every sample of a metrics page in the text format; ValueError for a page of another kind."""
    return tuple(
        Sample(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )
