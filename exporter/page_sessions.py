"""Recent charging sessions as an HTML table. Pure."""

from collections.abc import Sequence

from exporter.model import FinishedSession, Site
from exporter.page_html import moment, name, text
from exporter.page_words import NOT_KNOWN, Moment, duration, energy_in_words, kilowatts, one_mode_in_words

# What a phone has no room for is left out there.
_COLUMNS = (
    ("Began", ""),
    ("Charger", "long"),
    ("Mode", "wide"),
    ("Energy", "num"),
    ("Seen charging", "num"),
    ("Peak, estimated", "num wide"),
)


def sessions_section(sessions: Sequence[FinishedSession], sites: Sequence[Site], at: Moment) -> str:
    """The sessions, newest first as they come, of chargers that the page is about."""
    names = {(one.site_id, one.serial): one.name for site in sites for one in site.chargers}
    listed = {site.site_id for site in sites}
    own = [one for one in sessions if one.site_id in listed]
    if not own:
        return (
            "<section><h2>Recent sessions</h2><p>No finished charging session is recorded yet.</p></section>"
        )
    head = "".join(f'<th scope="col"{_class(css_class)}>{title}</th>' for title, css_class in _COLUMNS)
    rows = "".join(_row(one, names.get((one.site_id, one.serial)), at) for one in own)
    return (
        '<section><h2 id="sessions">Recent sessions</h2><div class="sessions">'
        f'<table aria-labelledby="sessions"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="soft">All of them: <code>enphase-ev-exporter sessions</code></p></section>'
    )


def _row(one: FinishedSession, charger_name: str | None, at: Moment) -> str:
    cells = (
        moment(one.start_seconds, at.clock_time(one.start_seconds, "%H:%M")),
        name(charger_name, one.serial),
        one_mode_in_words(one.mode),
        text(energy_in_words(one.energy_kwh)),
        duration(one.charging_seconds),
        NOT_KNOWN if one.peak_watts is None else kilowatts(one.peak_watts),
    )
    columns = zip(cells, _COLUMNS, strict=True)
    return f"<tr>{''.join(f'<td{_class(css_class)}>{cell}</td>' for cell, (_, css_class) in columns)}</tr>"


def _class(css_class: str) -> str:
    return f' class="{css_class}"' if css_class else ""
