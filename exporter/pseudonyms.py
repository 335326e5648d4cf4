"""Names for what must not be named: `site-1`, `charger-2`, the same for the same throughout one file. Pure.

Free text goes through `scrubbed`: what is known to be private gets its pseudonym, and what only looks
private, such as long numbers, addresses, quoted values and paths, is masked by type.
"""

import re

from exporter import logs

_FILE_LINE = re.compile(
    r'(?P<lead>[ |+-]*)File "(?P<path>[^"]*)", line (?P<line>[0-9]+), in (?P<name>[\w.<>]+)'
)
_CODE = re.compile(r"iqevc_\w{2,6}-[0-9]{3,6}")
_DAY = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")
_ENUM_WORD = re.compile(r"[A-Z][A-Z_]{2,30}")
_HEX_PAIRS = r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"
_PATTERNS = (
    (re.compile(r"\w+://[^\s'\"]+"), "<url>"),
    (re.compile(r"[\w.+-]+(?:@|%40)[\w.-]+"), "<email>"),
    (re.compile(_HEX_PAIRS), "<mac>"),
    (re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w.])"), "<ip>"),
    (re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])"), "<ip>"),
    (re.compile(r"(?<![\w/<])~?(?:/[\w.@+-]+){2,}/?"), "<path>"),
)
# A quoted value may be cut off before its closing quote.
_QUOTED = re.compile(r"(?<!\w)(?P<quote>['\"])(?P<text>(?:[^\\]|\\.)*?)(?:(?P=quote)|$)")
_WORD = re.compile(r"[\w-]{5,}")
_PLAIN = re.compile(r"(?!.*[0-9]{6})[A-Za-z0-9._ -]{1,40}")


class Pseudonyms:
    """What stands for what, in one file."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def of(self, kind: str, text: str) -> str:
        """The pseudonym of a text; the first of its kind is `kind-1`. Of nothing, nothing."""
        core = text.strip()
        if not core:
            return ""
        if core not in self._known:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._known[core] = f"{kind}-{self._counts[kind]}"
        return self._known[core]

    def scrubbed(self, text: str) -> str:
        """Free text without anything private, as far as anyone can tell."""
        text = logs.redact(text)
        for known in sorted(self._known, key=len, reverse=True):
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(known)}(?![A-Za-z0-9])", self._known[known], text)
        for pattern, mask in _PATTERNS:
            text = pattern.sub(mask, text)
        text = _QUOTED.sub(self._quoted, text)
        return _WORD.sub(self._word, text)

    def plain(self, text: str) -> str:
        """A version or a model as it is, if that is what it looks like; else its length."""
        known = self._known.get(text.strip())
        if known is not None:
            return known
        return text if not text or (_PLAIN.fullmatch(text) and self.scrubbed(text) == text) else masked(text)

    def traceback(self, text: str) -> list[str]:
        """Files, lines and messages of a traceback; no source, and of paths only what is in a package."""
        told = []
        for line in logs.redact(text).splitlines():
            place = _FILE_LINE.match(line)
            if place is not None:
                told.append(f"{_in_package(place['path'])}:{place['line']} {place['name']}")
            elif not line.startswith(("    ", "  |   ")):
                told.append(self.scrubbed(line))
        return told

    def _quoted(self, found: re.Match[str]) -> str:
        text = found["text"]
        shown = text if _ENUM_WORD.fullmatch(text) or text in self._known.values() else masked(text)
        return f"{found['quote']}{shown}{found['quote']}"

    def _word(self, found: re.Match[str]) -> str:
        """A word stays unless it holds a long number, or letters and digits enough for a token."""
        word = found[0]
        digits = sum(one.isdigit() for one in word)
        if not digits or word in self._known.values() or _CODE.fullmatch(word) or _DAY.fullmatch(word):
            return word
        if word.isdigit() and len(word) < 6:
            return word
        return masked(word) if digits >= 5 or len(word) >= 20 else word


def masked(text: str) -> str:
    """A text by its length."""
    return f"<text {len(text)}>"


def _in_package(path: str) -> str:
    for folder in ("site-packages/", "exporter/"):
        _, found, rest = path.rpartition(folder)
        if found:
            return rest if folder == "site-packages/" else found + rest
    return path.rpartition("/")[2]
