"""The page for people at `/`: a snapshot and the past as HTML. Pure; no JavaScript, and nothing is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import quote

from exporter.history import History
from exporter.model import Account, Charger, Site, Snapshot
from exporter.page_cards import site_section
from exporter.page_html import coded, name, text
from exporter.page_sessions import sessions_section
from exporter.page_style import STYLE
from exporter.page_troubles import DOCS, Trouble, history_trouble, troubles
from exporter.page_words import Moment, Tone, count_in_words, most_pressing_first, sum_in_words, tone

_REFRESH_SECONDS = 30
# Beyond this, details are folded: a phone shows no more at once.
_MOST_UNFOLDED = 8
# Beyond this, a page takes too long to make and to read; the rest has pages of its own.
_MOST_CHARGERS = 200
_MOST_LINKS = 50
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class View:
    """What a page is made of.

    `known` has sites as they are known however old, by id, where `snapshot` leaves out what is stale;
    `history_error` says why `history` is missing or old; `refreshes`: whether the page loads itself again.
    """

    snapshot: Snapshot
    telemetry_path: str
    version: str
    known: Mapping[str, Site] = field(default_factory=dict)
    history: History = field(default_factory=History)
    history_error: str = ""
    refreshes: bool = True

    def sites(self) -> list[Site]:
        """Every site with the chargers that are known of it."""
        return [self.known.get(site.site_id, site) for site in self.snapshot.sites]

    def stale_site_ids(self) -> set[str]:
        """Sites whose chargers scrapes no longer show, because what is known of them is too old."""
        pairs = zip(self.snapshot.sites, self.sites(), strict=True)
        return {known.site_id for shown, known in pairs if known.chargers and not shown.chargers}


def page(view: View, at: Moment) -> str:
    """Render the page as it is at that moment."""
    sites = view.sites()
    found = troubles(view.snapshot, sites, at)
    if view.history_error:
        found.append(history_trouble(view.history_error))
    body = (
        "<header><h1>Enphase EV exporter</h1>",
        f'<p class="lead">{_overall(sites, is_old=bool(view.stale_site_ids()))}</p></header><main>',
        *map(_trouble, found),
        "" if found else _fine(sites),
        *_sites(view, sites, at),
        sessions_section(view.history.sessions, sites, at),
        "</main><footer>",
        _more(view, at),
        "</footer>",
    )
    refresh = f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">' if view.refreshes else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_title(sites, found)}</title><style>{STYLE}</style></head><body>"
        + "\n".join(body)
        + "</body></html>\n"
    )


def _title(sites: Sequence[Site], found: Sequence[Trouble]) -> str:
    """What a row of browser tabs should tell."""
    if any(trouble.urgent for trouble in found):
        return "Trouble | Enphase EV exporter"
    charging = sum(tone(charger) is Tone.CHARGING for site in sites for charger in site.chargers)
    return f"{charging} charging | Enphase EV exporter" if charging else "Enphase EV exporter"


def _overall(sites: Sequence[Site], *, is_old: bool) -> str:
    chargers = [charger for site in sites for charger in site.chargers]
    if not chargers:
        return "No charger is known yet."
    where = f" at {count_in_words(len(sites), 'site')}" if len(sites) > 1 else ""
    charging = sum(tone(charger) is Tone.CHARGING for charger in chargers)
    words = f"{count_in_words(len(chargers), 'charger')}{where}, {charging or 'none'} charging"
    if charging:
        words += f", {sum_in_words([charger.power_watts for charger in chargers], 'power')}"
    return text(f"When last heard of: {words}." if is_old else f"{words}.")


def _trouble(trouble: Trouble) -> str:
    named = ", ".join(name(one, "without a name") for one in trouble.concerns[:_MOST_NAMED])
    others = len(trouble.concerns) - _MOST_NAMED
    if others > 0:
        named += f" and {others:,} more"
    # A browser breaks lines after hyphens, and half an option is no option.
    words = " ".join(f"<span>{text(word)}</span>" for word in trouble.command.split())
    command = f'<p class="command"><code>{words}</code></p>' if words else ""
    return (
        f'<section class="trouble{" urgent" if trouble.urgent else ""}"><h2>{text(trouble.title)}</h2>'
        + (f'<p class="concerns">{named}</p>' if named else "")
        + f"<p>{coded(trouble.words)}</p><p>{coded(trouble.remedy)}</p>{command}"
        f'<p class="soft">Read on in <code>{text(trouble.doc).replace("/", "/<wbr>")}</code></p></section>'
    )


def _fine(sites: Sequence[Site]) -> str:
    if sites and all(site.up for site in sites):
        return '<p class="fine">All is well: the cloud answers, and no charger reports a fault.</p>'
    return (
        '<p class="fine waiting">The exporter waits for the first answers of the cloud. '
        "Chargers appear here as soon as it has them.</p>"
    )


def _sites(view: View, sites: Sequence[Site], at: Moment) -> list[str]:
    """A section for each site that has a charger among those shown; links to the pages of the others."""
    chargers = list(chain.from_iterable(site.chargers for site in sites))
    shown: dict[str, list[Charger]] = {}
    for charger in most_pressing_first(chargers)[:_MOST_CHARGERS]:
        shown.setdefault(charger.site_id, []).append(charger)
    is_large, is_compact = len(chargers) > _MOST_CHARGERS, len(chargers) > _MOST_UNFOLDED
    stale = view.stale_site_ids()
    sections = [
        site_section(
            site,
            shown.get(site.site_id, ()),
            view.history,
            at,
            is_old=site.site_id in stale,
            compact=is_compact,
        )
        for site in (sorted(sites, key=_calmness) if is_compact else sites)
        if site.site_id in shown or not is_large
    ]
    return [*sections, _rest(sites, shown)] if is_large else sections


def _calmness(site: Site) -> bool:
    """False, which sorts first, for a site that has a fault."""
    return not any(tone(charger) is Tone.FAULT for charger in site.chargers)


def _rest(sites: Sequence[Site], shown: Mapping[str, Sequence[Charger]]) -> str:
    partly = [site for site in sites if len(shown.get(site.site_id, ())) < len(site.chargers)]
    links = (f'<a href="{_address(one)}">{name(one.name, one.site_id)}</a>' for one in partly[:_MOST_LINKS])
    more = len(partly) - _MOST_LINKS
    others = f"<p>And {more:,} more: add <code>?site_id=</code> and a site's id to the address.</p>"
    return (
        f"<section><h2>More chargers</h2><p>The {_MOST_CHARGERS} chargers above are the most pressing. "
        f'These sites have more, each on a page of its own:</p><p class="links">{"".join(links)}</p>'
        f"{others if more > 0 else ''}</section>"
    )


def _address(site: Site) -> str:
    return text(f"/?site_id={quote(site.site_id, safe='')}")


def _more(view: View, at: Moment) -> str:
    if view.refreshes:
        again = (
            f'It loads itself again every {_REFRESH_SECONDS} s; <a href="/?refresh=off">hold it still</a>.'
        )
    else:
        again = 'It does not load itself again; <a href="/">let it</a>.'
    docs = "".join(f"<li>{about}: <code>{file}</code></li>" for file, about in DOCS.items())
    return (
        f'<h2>More</h2><nav class="links" aria-label="More of this exporter">{"".join(_links(view))}</nav>'
        f"{''.join(map(_account, view.snapshot.accounts[:_MOST_NAMED]))}"
        f'<details class="more"><summary>Documentation, in the exporter\'s repository</summary>'
        f'<ul class="docs">{docs}</ul></details>'
        f'<p class="soft">Version {text(view.version)}. Made at {text(at.clock_time(at.wall))}. {again}</p>'
    )


def _account(account: Account) -> str:
    state = {True: "logged in", False: "not logged in", None: "not logged in yet"}[account.auth_up]
    used = f"{account.requests_last_hour:,} of {account.request_budget_per_hour:,} requests in the last hour"
    return f'<p class="soft">Account {name(account.name, "without a name")}: {state}, {used}.</p>'


def _links(view: View) -> list[str]:
    return [
        f'<a href="{text(view.telemetry_path)}">all metrics</a>',
        *map(_probe_link, view.snapshot.sites[:_MOST_NAMED]),
        '<a href="/sd">service discovery</a>',
        '<a href="/-/healthy">health</a>',
        '<a href="/-/ready">readiness</a>',
    ]


def _probe_link(site: Site) -> str:
    address = text(f"/probe?target={quote(site.site_id, safe='')}")
    return f'<a href="{address}">metrics of {name(site.name, site.site_id)}</a>'
