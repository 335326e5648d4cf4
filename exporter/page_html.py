"""Text as HTML that cannot harm: escaped, isolated, without characters that turn their neighbours. Pure."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from unicodedata import category

from exporter.page_words import Moment

_INSTEAD = "\N{REPLACEMENT CHARACTER}"
# Without these two, words of some languages and many pictures fall apart; they turn nothing around.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_CODE = re.compile(r"`([^`]+)`")


def tidy(raw: str) -> str:
    """Text without control, direction-changing and broken characters; each leaves a mark in its place."""
    if raw.isascii() and raw.isprintable():
        return raw
    return "".join(
        " " if one.isspace() else _INSTEAD if category(one)[0] == "C" and one not in _JOINERS else one
        for one in raw
    )


def text(raw: str) -> str:
    """Any text, safe between tags and inside a quoted attribute."""
    return escape(tidy(raw))


def coded(raw: str) -> str:
    """Our own sentences: what stands in backticks is a command or a file."""
    return _CODE.sub(r"<code>\1</code>", text(raw))


def name(raw: str | None, otherwise: str) -> str:
    """A name from outside, isolated from the direction of what is around it."""
    words = tidy(raw or "").strip() or otherwise
    return f'<bdi dir="auto">{escape(words)}</bdi>'


def moment(seconds: float, shown: str) -> str:
    """A time as people read it, with the exact one for programs."""
    exact = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'<time datetime="{exact}">{text(shown)}</time>'


def told_ago(seconds: float, age_words: str, at: Moment) -> str:
    """`3 min ago, 14:05 CEST` with the exact time."""
    return f"{moment(seconds, age_words)}, {text(at.clock_time(seconds))}"


def facts(pairs: Iterable[tuple[str, str]], css_class: str) -> str:
    """A list of terms and what is known of them; the values are HTML already."""
    rows = "".join(f"<div><dt>{text(term)}</dt><dd>{value}</dd></div>" for term, value in pairs)
    return f'<dl class="{css_class}">{rows}</dl>'
