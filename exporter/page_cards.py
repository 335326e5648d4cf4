"""Sites and their chargers as HTML: totals, cards, the last 24 hours. Pure."""

from collections.abc import Sequence

from exporter.history import SLOT_SECONDS, History, mean_watts
from exporter.model import Charger, Site
from exporter.page_html import facts, moment, name, text, told_ago
from exporter.page_words import (
    NOT_KNOWN,
    Moment,
    Tone,
    ago,
    amperes_in_words,
    count_in_words,
    duration,
    energy_in_words,
    kilowatts,
    limits_in_words,
    mode_in_words,
    most_pressing_first,
    power_in_words,
    sentence,
    state_in_words,
    sum_in_words,
    tone,
)
from exporter.sparkline import sparkline

_Facts = list[tuple[str, str]]


def site_section(
    site: Site, chargers: Sequence[Charger], history: History, at: Moment, *, is_old: bool, compact: bool
) -> str:
    """One site with the chargers that are shown of it; `compact` folds what can wait into details."""
    title = name(site.name, site.site_id)
    number = f" <small>site {name(site.site_id, '')}</small>" if site.name else ""
    cards = "".join(
        f"<li>{card(charger, site, history, at, is_old=is_old, compact=compact)}</li>"
        for charger in most_pressing_first(chargers)
    )
    hidden = len(site.chargers) - len(chargers)
    more = f"<p>{count_in_words(hidden, 'more charger')} not shown here.</p>" if hidden else ""
    none = "" if site.chargers else "<p>No charger is known yet.</p>"
    totals = facts(_totals(site), "totals") if site.chargers else ""
    return (
        f"<section><h2>{title}{number}</h2>{totals}{_freshness(site, at, is_old=is_old)}"
        + (f'<ul class="cards">{cards}</ul>' if cards else "")
        + f"{none}{more}</section>"
    )


def _totals(site: Site) -> _Facts:
    chargers = site.chargers
    charging = sum(tone(charger) is Tone.CHARGING for charger in chargers)
    return [
        ("Chargers", f"{len(chargers):,}"),
        ("Charging now", f"{charging:,}"),
        ("Energy counted", text(sum_in_words([charger.energy_kwh for charger in chargers], "energy"))),
        ("Power", text(sum_in_words([charger.power_watts for charger in chargers], "power"))),
    ]


def _freshness(site: Site, at: Moment, *, is_old: bool) -> str:
    age_seconds, every = at.status_age_seconds(site), site.poll_interval_seconds
    polled = f", polled every {duration(every)}" if every else ""
    if age_seconds is None:
        return f'<p class="soft">No status yet{polled}.</p>'
    arrived = at.wall - age_seconds
    if is_old:
        told = told_ago(arrived, ago(age_seconds), at)
        return f'<p class="soft"><strong>These figures are old:</strong> from {told}{polled}.</p>'
    return f'<p class="soft">Status from {moment(arrived, ago(age_seconds))}{polled}.</p>'


def card(charger: Charger, site: Site, history: History, at: Moment, *, is_old: bool, compact: bool) -> str:
    """One charger; in compact form only what matters now shows until it is opened."""
    css_class = f"card {tone(charger)}{' old' if is_old else ''}"
    title = f"<h3>{name(charger.name, charger.serial)}</h3>"
    state = text(sentence(state_in_words(charger))) + (" (old)" if is_old else "")
    details = (
        facts(_now(charger, site, at), "facts")
        + _day(charger, site, history, at, is_old=is_old)
        + f'<p class="fineprint">{_seldom(charger)}</p>'
    )
    if not compact:
        return f'<article class="{css_class}">{title}<p class="state">{state}</p>{details}</article>'
    brief = "".join(f"<small>, {one}</small>" for one in _brief(charger))
    return (
        f'<details class="{css_class}"><summary>{title} <span class="brief">'
        f'<span class="state">{state}</span>{brief}</span></summary>'
        f'<div class="inner">{details}</div></details>'
    )


def _brief(charger: Charger) -> list[str]:
    words = [power_in_words(charger.power_watts)] if charger.power_watts else []
    if charger.plugged_in and charger.session_energy_kwh is not None:
        words.append(f"{energy_in_words(charger.session_energy_kwh)} this session")
    return [text(one) for one in words]


def _now(charger: Charger, site: Site, at: Moment) -> _Facts:
    return [
        ("Power", text(power_in_words(charger.power_watts))),
        ("This session" if charger.plugged_in else "Last session", _session(charger, site, at)),
        ("Current asked for", text(amperes_in_words(charger.charging_level_amperes))),
        ("Mode", text(mode_in_words(charger))),
        ("Last report", _report(charger, site, at)),
    ]


def _session(charger: Charger, site: Site, at: Moment) -> str:
    energy = text(energy_in_words(charger.session_energy_kwh))
    began = charger.session_start_seconds
    if began is None:
        return energy
    # Up to the status, not to now: the energy is of then.
    passed_seconds = (site.status_timestamp_seconds or at.wall) - began
    if charger.plugged_in:
        return f"{energy} in {duration(passed_seconds)}, since {moment(began, at.clock_time(began))}"
    return f"{energy}, begun {moment(began, at.clock_time(began))}"


def _report(charger: Charger, site: Site, at: Moment) -> str:
    reported = charger.last_reported_seconds
    if reported is None:
        return NOT_KNOWN
    return told_ago(reported, ago(at.cloud_seconds(site) - reported), at)


def _seldom(charger: Charger) -> str:
    """What is looked up now and then, in small print."""
    pairs = (
        ("energy counted", text(energy_in_words(charger.energy_kwh))),
        ("limits", text(limits_in_words(charger))),
        ("firmware", name(charger.firmware_version, NOT_KNOWN)),
        ("model", name(charger.model, NOT_KNOWN)),
        ("serial", name(charger.serial, NOT_KNOWN)),
    )
    return sentence("; ".join(f"{term} {value}" for term, value in pairs))


def _day(charger: Charger, site: Site, history: History, at: Moment, *, is_old: bool) -> str:
    """The last 24 hours, in words and as a picture; no picture where nothing was recorded."""
    slots = history.slots.get((charger.site_id, charger.serial), ())
    seconds = site.status_timestamp_seconds
    watts = mean_watts(slots, at.wall if seconds is None else seconds)
    known = [value for value in watts if value is not None]
    if not known:
        return '<p class="soft">Last 24 hours: nothing recorded yet.</p>'
    which, end = ("The 24 hours before", "then") if is_old else ("Last 24 hours", "now")
    words = f"{which}: {_day_in_words(known, len(watts))}"
    # The quarter hour that is not over yet would look like a drop.
    picture = sparkline(watts[:-1], label=f"Power. {words}")
    axis = f'<div class="axis" aria-hidden="true"><span>24 h ago</span><span>{end}</span></div>'
    return f"<figure>{picture}{axis}<figcaption>{words}</figcaption></figure>"


def _day_in_words(known: Sequence[float], slots: int) -> str:
    total_kwh, peak = sum(known) * SLOT_SECONDS / 3_600_000, max(known)
    words = f"{energy_in_words(total_kwh)}, at most {kilowatts(peak)}" if peak > 0 else "nothing charged"
    is_whole = len(known) > slots - 2
    return words if is_whole else f"{words}; known for {duration(len(known) * SLOT_SECONDS)}"
