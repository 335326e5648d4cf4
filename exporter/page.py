"""The page for people at `/`: a snapshot as HTML, pure. Works without JavaScript and loads nothing."""

import base64
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from exporter.model import Account, Charger, ConnectorStatus, Site, Snapshot

_STYLE = """
:root{color-scheme:light dark;--line:#8886}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem}h2{font-size:1.15rem;margin:1.5rem 0 .25rem}
table{border-collapse:collapse;width:100%}.wide{overflow-x:auto}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
.note{margin:.25rem 0}.bad{border-left:.25rem solid #c22;padding-left:.6rem}
td:first-child{min-width:7rem;overflow-wrap:anywhere}
.num{text-align:right;font-variant-numeric:tabular-nums}
nav a{margin-right:1rem}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_REFRESH_SECONDS = 30

_WORDS = {
    ConnectorStatus.AVAILABLE: "available",
    ConnectorStatus.PREPARING: "preparing",
    ConnectorStatus.CHARGING: "charging",
    ConnectorStatus.FINISHING: "finishing",
    ConnectorStatus.SUSPENDED: "paused",
    ConnectorStatus.SUSPENDED_EV: "paused by the car",
    ConnectorStatus.SUSPENDED_EVSE: "held back by the charger",
    ConnectorStatus.RESERVED: "reserved",
    ConnectorStatus.UNAVAILABLE: "unavailable",
    ConnectorStatus.FAULTED: "faulted",
    ConnectorStatus.UNKNOWN: "unknown",
}


def page(snapshot: Snapshot, *, telemetry_path: str, version: str, now: float, wall: float) -> str:
    """Render the page; `now` is the monotonic clock of the snapshot, `wall` epoch seconds."""
    body = [
        "<h1>Enphase EV exporter</h1>",
        *(_account(account, wall) for account in snapshot.accounts),
        *(_site(site, now) for site in snapshot.sites),
        "" if snapshot.sites else "<p>No site is known yet.</p>",
        "<h2>More</h2><nav>",
        *_links(snapshot.sites, telemetry_path),
        f"</nav><p>Version {escape(version)}, shown at {_clock_time(wall)}. "
        f"This page loads itself again every {_REFRESH_SECONDS} s.</p>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Enphase EV exporter</title><style>{_STYLE}</style></head><body>"
        + "\n".join(body)
        + "</body></html>\n"
    )


def _account(account: Account, wall: float) -> str:
    name = escape(account.name)
    notes = []
    if account.error:
        notes.append(f"{account.error}.")
    if account.blocked_until_seconds:
        notes.append(f"No login is tried before {_clock_time(account.blocked_until_seconds)}.")
    if account.backoff_seconds > 0:
        notes.append(f"The cloud asked us to slow down: next request in {account.backoff_seconds:.0f} s.")
    if account.token_expiry_seconds is not None and account.token_expiry_seconds < wall:
        notes.append("The access token has expired.")
    state = {True: "logged in", False: "not logged in", None: "not logged in yet"}[account.auth_up]
    used = f"{account.requests_last_hour} of {account.request_budget_per_hour} requests in the last hour"
    bad = "".join(f'<p class="note bad">{escape(note)}</p>' for note in notes)
    return f'<p class="note">Account {name}: {state}, {used}.</p>{bad}'


def _site(site: Site, now: float) -> str:
    title = f"{site.name} ({site.site_id})" if site.name else site.site_id
    rows = "".join(_charger(charger, site) for charger in site.chargers)
    table = (
        '<div class="wide"><table><thead><tr><th scope="col">Charger</th><th scope="col">State</th>'
        '<th scope="col" class="num">Energy of session</th><th scope="col" class="num">Level</th>'
        '<th scope="col">Mode</th><th scope="col">Reported</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    return f"<h2>{escape(title)}</h2>{_freshness(site, now)}{table if rows else '<p>No charger known.</p>'}"


def _freshness(site: Site, now: float) -> str:
    if site.status_received_monotonic is None:
        heard = "no status yet"
    else:
        heard = f"status {_duration(now - site.status_received_monotonic)} old"
    every = f", polled every {_duration(site.poll_interval_seconds)}" if site.poll_interval_seconds else ""
    problem = f'<p class="note bad">Last poll failed: {escape(site.error)}.</p>' if site.error else ""
    return f'<p class="note">{heard}{every}.</p>{problem}'


def _charger(charger: Charger, site: Site) -> str:
    energy = charger.session_energy_kwh
    level = charger.charging_level_amperes
    mode = charger.running_charge_mode or charger.charge_mode
    cells = (
        f"<td>{escape(charger.name or '')}<br><small>{escape(charger.serial)}</small></td>",
        f"<td>{escape(state_in_words(charger))}</td>",
        f'<td class="num">{"" if energy is None else f"{energy:.2f} kWh"}</td>',
        f'<td class="num">{"" if level is None else f"{level:g} A"}</td>',
        f"<td>{'' if mode is None else mode.value.removesuffix('_CHARGING').lower()}</td>",
        f"<td>{_report_age(charger, site)}</td>",
    )
    return f"<tr>{''.join(cells)}</tr>"


def state_in_words(charger: Charger) -> str:
    """What a person would say of the charger; the raw text of a state the exporter does not know."""
    if charger.connected is False:
        return "offline"
    status = charger.connector_status or ConnectorStatus.UNKNOWN
    words = [charger.connector_status_raw or _WORDS[status]]
    if charger.faulted and status is not ConnectorStatus.FAULTED:
        words.append("faulted")
    if charger.plugged_in and not charger.charging:
        words.append("plugged in")
    if charger.connector_status_reason:
        words.append(charger.connector_status_reason)
    return ", ".join(words)


def _report_age(charger: Charger, site: Site) -> str:
    """Age by the cloud's own clock, so that a wrong clock on either side does not show."""
    if charger.last_reported_seconds is None:
        return "unknown"
    if site.status_timestamp_seconds is None:
        return _clock_time(charger.last_reported_seconds)
    return f"{_duration(site.status_timestamp_seconds - charger.last_reported_seconds)} before the status"


def _links(sites: Iterable[Site], telemetry_path: str) -> list[str]:
    path = escape(telemetry_path)
    probes = [
        f'<a href="/probe?target={escape(site.site_id)}">probe {escape(site.site_id)}</a>'
        for site in list(sites)[:10]
    ]
    return [
        f'<a href="{path}">metrics</a>',
        '<a href="/sd">service discovery</a>',
        *probes,
        '<a href="/-/ready">ready</a>',
    ]


def _clock_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h"
