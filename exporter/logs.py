"""One event, one line: logfmt or JSON, with nothing private in it.

ts=2026-11-22T14:50:31.120Z level=warning logger=exporter.poller msg="status poll failed" site_id=1234567

The tail is what `extra={"site_id": …}` holds. `redact` is the one table of what must not be seen; error pages
and dumps use it too.
"""

import json
import logging
import re
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Literal, TextIO
from urllib.parse import quote, quote_plus

_HIDDEN = "***"

# What the logging module itself puts on every record; anything else came with `extra`.
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_PRIVATE_KEYS = frozenset(
    {"password", "otp", "email", "e_auth_token", "access_token", "manager_token", "session_id"}
    | {"cookie", "cookies", "set_cookie", "authorization", "headers", "body"}
)

# A value quoted as in a printed dict or JSON, else to the end of the line: a cookie header has spaces.
_VALUE = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\r\n]*)"""
_HEADER = r"(?<![.\w])((?:set-)?cookie|(?:proxy-)?authorization|e-auth-token)"
_COOKIE_NAMES = r"_?enlighten\w*|login_otp_nonce|(?:BP-)?XSRF-TOKEN"
# Quotes may be escaped: JSON inside JSON, a printed tuple of texts.
_FIELD = (
    rf"""(\\*["'](?:session_?id|session|(?:manager_|access_|auth_)?token|managerToken|password|otp"""
    rf"""|{_COOKIE_NAMES})\\*["']\s*:\s*)(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\+(["']).*?\\+\2)"""
)
_FORM = r"(user(?:\[|%5B)(?:email|password)(?:\]|%5D)|otp|password)=[^&\s]+"
_COOKIE = rf"\b({_COOKIE_NAMES})=[^;\s,\"']+"
_JWT = r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*){0,3}"
_EMAIL = r"[\w.+-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+"
_PATTERNS = (
    (re.compile(_JWT), _HIDDEN),
    (re.compile(rf"(?i){_HEADER}(['\"]?\s*[:=]\s*){_VALUE}"), rf"\1\2{_HIDDEN}"),
    (re.compile(rf"(?i){_FIELD}"), rf"\1{_HIDDEN}"),
    (re.compile(rf"(?i){_COOKIE}"), rf"\1={_HIDDEN}"),
    (re.compile(rf"(?i){_FORM}"), rf"\1={_HIDDEN}"),
    (re.compile(_EMAIL), _HIDDEN),
)

# A shorter one is in words of every line: `e***pected` would spoil the log, and tell the password by what is
# missing. As a value it stands alone, so alone it is hidden.
_LEAST_INSIDE_WORDS = 4

_concealed: set[str] = set()
_longest_first: list[str] = []  # the same in the order of replacing; emptied when one is added


def conceal(text: str) -> None:
    """Replace this exact text, and its forms in URLs and quoted strings, by *** from now on.

    One of fewer than four characters is replaced only where it is no part of a word.
    """
    forms = (text, quote(text, safe=""), quote_plus(text), json.dumps(text)[1:-1], repr(text)[1:-1])
    _concealed.update(form for form in forms if form)
    _longest_first.clear()


def redact(text: str) -> str:
    """`text` without tokens, cookies, e-mail addresses and whatever was concealed."""
    if not _longest_first:  # a short one may be part of a longer one
        _longest_first.extend(sorted(_concealed, key=len, reverse=True))
    for secret in _longest_first:
        if len(secret) < _LEAST_INSIDE_WORDS:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
        else:
            text = text.replace(secret, _HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class _LineFormatter(logging.Formatter):
    """The fields of a record, in the order they are written."""

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": redact(_message(record)),
        }
        for key, value in vars(record).items():
            if key not in _OWN_FIELDS:
                fields[f"{key}_" if key in fields else key] = _plain(key, value)
        if record.exc_info:
            fields["exc"] = redact(self.formatException(record.exc_info))
        if record.stack_info:
            fields["stack"] = redact(record.stack_info)
        return fields


class LogfmtFormatter(_LineFormatter):
    """key=value, quoted where a reader could stumble."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return " ".join(f"{_bare(key)}={_quoted(value)}" for key, value in self.fields(record).items())


class JsonFormatter(_LineFormatter):
    """One JSON object; ASCII, so that no reader takes a character for a line break."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return json.dumps(self.fields(record))


def _message(record: logging.LogRecord) -> str:
    # A wrong placeholder must not make the logging module print the arguments, unredacted, by itself.
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def _plain(key: str, value: object) -> str | int | float | None:
    if key.lower().replace("-", "_") in _PRIVATE_KEYS:
        return _HIDDEN
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    return redact(str(value))


def _bare(key: str) -> str:
    return re.sub(r"[^\w.-]", "_", key)


def _quoted(value: str | float | None) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[^\s\"=\\]+", value) and value.isprintable():
        return value
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    if character.isprintable() and character not in '"\\':
        return character
    return json.dumps(character)[1:-1]


class _Handler(logging.StreamHandler[TextIO]):
    """Known by its type, so that configuring twice replaces it."""


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    """Drop what aiohttp writes of a request that is no HTTP: a traceback that quotes what came.

    By the name of the class, as the log must not load the web server.
    """
    error = record.exc_info[1] if record.exc_info else None
    names = {kind.__name__ for kind in type(error).__mro__}
    return names.isdisjoint(("HttpProcessingError", "RequestPayloadError"))


def configure(level: str, format: Literal["logfmt", "json"], stream: TextIO) -> None:  # noqa: A002 - the setting's name
    """Write everything from `level` up to `stream`, and only there."""
    handler = _Handler(stream)
    handler.setFormatter(JsonFormatter() if format == "json" else LogfmtFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.server").addFilter(_is_no_bad_request)
    # One line a scrape would be most of the log, and request lines name sites.
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL + 1)
