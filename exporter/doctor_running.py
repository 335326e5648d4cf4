"""What `check` makes of the running exporter's pages: is it there, is it scraped, what ails it. Pure."""

from collections.abc import Iterable, Sequence

from exporter.doctor import Finding, Level, fine
from exporter.page_words import count_in_words, duration
from exporter.running import Running

# Prometheus takes a series for gone when its newest sample is older.
_PROMETHEUS_FORGETS_SECONDS = 300.0
_SUBJECT = "exporter"
_SCRAPES = "scrapes"
_SHOWN = 5
_REMEDY_OF_ANOTHER = (
    "stop it, or choose another port with web.listen_address, then start this one: enphase-ev-exporter run; "
    "if it is this one, name its config and its state folder: --config.file, --state.path"
)


def of_running(
    running: Running | None, version: str, poll_interval_seconds: float, *, another: str = ""
) -> list[Finding]:
    """The exporter that runs by this config, as it answers at its own address.

    `another` is what shows that the one that answers runs by another config; nothing is found of that one.
    """
    if running is None:
        return [fine(_SUBJECT, "listens on a port the system chooses, so the running one is not asked")]
    unseen = _not_seen(running)
    if unseen is not None:
        return [unseen]
    if another:
        words = f"another exporter answers here: {running.where}, and {another}"
        return [Finding(Level.WARN, _SUBJECT, words, _REMEDY_OF_ANOTHER)]
    scraped = of_scrapes(_scrape_interval(running), poll_interval_seconds)
    return [_of_version(running, version), *_of_readiness(running), scraped, *_of_troubles(running)]


def _not_seen(running: Running) -> Finding | None:
    """Why nothing can be said of the exporter; None when it shows itself."""
    where = running.where
    if running.status == 0:
        words = f"none answers at {where} ({running.why})"
        remedy = "start it: enphase-ev-exporter run; without it Prometheus has nothing to scrape"
        return Finding(Level.WARN, _SUBJECT, words, remedy)
    if running.status in (401, 403):
        words = f"{where} answers, but hides its metrics (HTTP {running.status}: web config file)"
        remedy = f"ask as a user of the web config file: curl -u NAME http(s)://{where}/metrics"
        return Finding(Level.WARN, _SUBJECT, words, remedy)
    if not running.is_ours:
        words = f"something else answers at {where} (HTTP {running.status})"
        remedy = "stop it, or choose another port with web.listen_address"
        return Finding(Level.FAIL, _SUBJECT, words, remedy)
    return None


def _of_version(running: Running, version: str) -> Finding:
    ((labels, _),) = running.values("enphase_ev_exporter_build_info")[:1]
    found = labels.get("version", "")
    if found == version:
        return fine(_SUBJECT, f"version {found} runs at {running.where}")
    words = f"version {found} runs at {running.where}, and this command is {version}"
    return Finding(Level.WARN, _SUBJECT, words, "restart it")


def _of_readiness(running: Running) -> list[Finding]:
    if running.is_ready:
        return []
    why = "; ".join(running.ready.splitlines())
    return [Finding(Level.WARN, _SUBJECT, why, "wait for the first poll of every site; its log says more")]


def _scrape_interval(running: Running) -> float | None:
    return next((value for _, value in running.values("enphase_ev_scrape_interval_seconds")), None)


def of_scrapes(period_seconds: float | None, poll_interval_seconds: float) -> Finding:
    """Who scrapes how often, against how often there is something new and what Prometheus remembers."""
    if period_seconds is None:
        remedy = (
            "see Status → Targets in Prometheus, and docs/prometheus.md; a scraper is known after about four "
            "scrapes"
        )
        return Finding(Level.WARN, _SCRAPES, "no scraper is seen, so panels stay empty", remedy)
    words = f"every {duration(period_seconds)}"
    if period_seconds >= _PROMETHEUS_FORGETS_SECONDS:
        remedy = "set scrape_interval to a minute or less"
        gaps = "Prometheus forgets after 5 min, so panels have gaps and alerts stop"
        return Finding(Level.WARN, _SCRAPES, f"{words}: {gaps}", remedy)
    if period_seconds > _PROMETHEUS_FORGETS_SECONDS / 2:
        remedy = "set scrape_interval to a minute or less"
        return Finding(
            Level.WARN, _SCRAPES, f"{words}: one that is missed leaves a gap in the panels", remedy
        )
    if period_seconds < poll_interval_seconds / 2:
        every = round(poll_interval_seconds / period_seconds)
        return fine(
            _SCRAPES, f"{words}; about every {every}. one has a fresh answer, which is as it should be"
        )
    return fine(_SCRAPES, words)


def _of_troubles(running: Running) -> Iterable[Finding]:
    """What the exporter itself tells of its accounts, sites and state."""
    for name, label, level, words, remedy in _TROUBLES:
        whom = [labels.get(label, "") for labels, value in running.values(name) if _is_bad(name, value)]
        if whom:
            yield Finding(level, _SUBJECT, f"{words}{_named(label, whom)}", remedy)


def _is_bad(name: str, value: float) -> bool:
    good_is_one = name in ("enphase_ev_up", "enphase_ev_config_last_reload_successful")
    return value == 0 if good_is_one else value > 0


def _named(label: str, whom: Sequence[str]) -> str:
    if not label:
        return ""
    more = f" and {len(whom) - _SHOWN} more" if len(whom) > _SHOWN else ""
    return f" ({count_in_words(len(whom), label.removesuffix('_id'))}: {', '.join(whom[:_SHOWN])}{more})"


_TROUBLES = (
    (
        "enphase_ev_auth_reauthentication_required",
        "account",
        Level.FAIL,
        "a login needs a person",
        "run: enphase-ev-exporter login --account NAME",
    ),
    (
        "enphase_ev_up",
        "site_id",
        Level.FAIL,
        "the last status poll failed",
        "its page and its log say why; docs/runbooks/EnphaseEVCloudDown.md",
    ),
    (
        "enphase_ev_api_backoff_seconds",
        "account",
        Level.WARN,
        "the cloud asked to be asked less often",
        "make poll.interval longer, and look for other programs that use this account",
    ),
    (
        "enphase_ev_state_writes_failed_total",
        "",
        Level.WARN,
        "state could not be written at least once since its start",
        "see the findings on `state`; docs/runbooks/EnphaseEVStateWritesFailing.md",
    ),
    (
        "enphase_ev_config_last_reload_successful",
        "",
        Level.WARN,
        "it refused a changed config and runs on with the old one",
        "correct the file that `check` names, then send SIGHUP",
    ),
)
