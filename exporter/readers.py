"""Text of one setting → its value, or ValueError with what was expected; pure, wherever the text is from."""

import hmac
import ipaddress
import re
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

MASK = "**********"
_DAY_SECONDS = 86400.0
_TOKEN_LENGTH = 16
_N = "([0-9]{1,9})"
_DURATION = re.compile(rf"(?=[0-9])(?:{_N}h)?(?:{_N}m)?(?:{_N}s)?(?:{_N}ms)?")
_DURATION_UNITS = (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([A-Za-z0-9.-]*)):([0-9]{1,5})")


class Secret:
    """Text that does not print; `reveal()` is the one way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the place that sends or compares it."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is neither pickled nor copied")


def duration(text: str, *, least: float = 0.1, most: float = _DAY_SECONDS) -> float:
    """`1h30m` → 5400.0 seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration with a unit, such as 30s, 10m or 1h30m")
    pairs = zip(match.groups(), _DURATION_UNITS, strict=True)
    seconds = sum(int(amount) * millis for amount, (_, millis) in pairs if amount) / 1000
    if not least <= seconds <= most:
        raise ValueError(f"a duration from {duration_text(least)} to {duration_text(most)}")
    return seconds


def duration_text(seconds: float) -> str:
    """5400.0 → `1h30m`, as `duration` reads it."""
    rest, parts = round(seconds * 1000), []
    for unit, millis in _DURATION_UNITS:
        amount, rest = divmod(rest, millis)
        parts += [f"{amount}{unit}"] if amount else []
    return "".join(parts) or "0s"


def choice(text: str, *, of: tuple[str, ...]) -> str:
    """One of a few words."""
    if text not in of:
        raise ValueError(f"one of {', '.join(of)}")
    return text


def count(text: str) -> int:
    """A whole number from 1 up."""
    if re.fullmatch(r"0*[1-9][0-9]{9,}", text):
        raise ValueError("a whole number of at most 999999999")
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError("a whole number, 1 or more")
    return int(text)


def switch(text: str) -> bool:
    """On or off."""
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def web_config_file(text: str) -> Path:
    """A file in exporter-toolkit's format; `web_config.load_web_file` reads it."""
    if not text.strip():
        raise ValueError("a web config file")
    return Path(text)


def account_name(text: str) -> str:
    """The `account` label."""
    if not text.strip() or "@" in text or not text.isprintable():
        raise ValueError("a short name without @, because it becomes the account label")
    return text.strip()


def token_name(text: str) -> str:
    """Who gave a command, in the log."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", text):
        raise ValueError("a short name of letters, digits, dots, dashes and underscores")
    return text


def email(text: str) -> str:
    """An e-mail address, roughly: the cloud has the last word."""
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ValueError("an e-mail address")
    return text


def site_id(text: str) -> str:
    """Digits; kept as text, as the cloud's own answers spell it both ways."""
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise ValueError("a site id, which is digits only, as in the address of the site's page")
    return text


def url(text: str) -> str:
    """An https URL, or http on a loopback address; without the slash at the end."""
    if not re.fullmatch(r"https?://[^\s/?#@\\]+(/[^\s?#]*)?", text) or not _has_host(text):
        raise ValueError("a URL such as https://enlighten.enphaseenergy.com")
    if text.startswith("http://") and not is_loopback(text):
        raise ValueError("a URL that begins with https:// (http:// is for a loopback address)")
    return text.rstrip("/")


def _has_host(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_loopback(text: str) -> bool:
    """True when the host of this URL is localhost or a loopback address."""
    host = urlsplit(text).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def folder(text: str) -> Path:
    """A folder, which need not be there yet."""
    if not text.strip():
        raise ValueError("a folder")
    return Path(text)


def telemetry_path(text: str) -> str:
    """A path for the metrics that hides none of the exporter's other pages."""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text):
        raise ValueError("a path such as /metrics")
    if text in ("/probe", "/sd", "/-", "/api") or text.startswith(("/-/", "/api/")):
        raise ValueError("a path other than /probe, /sd, /-/… and /api/…, which are taken")
    return text


def listen_address(text: str) -> str:
    """An address `host_and_port` can split; port 0 lets the system choose."""
    expected = "an address such as :10055, 127.0.0.1:10055 or [::1]:10055"
    match = _ADDRESS.fullmatch(text)
    if match is None or (match[1] and not _is_ipv6(match[1])):
        raise ValueError(expected)
    if int(match[3]) > 65535:
        raise ValueError("a port from 0 to 65535")
    return text


def _is_ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def host_and_port(address: str) -> tuple[str, int]:
    """Split a listen address: `:10055` → ("", 10055), `[::1]:0` → ("::1", 0)."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"{address!r} is not a listen address")
    return match[1] or match[2] or "", int(match[3])


def secret(text: str) -> Secret:
    """One line; the newline at a file's end is not part of it."""
    line = text.rstrip("\r\n")
    if not re.fullmatch(r"[^\x00-\x1f\x7f\ud800-\udfff]+", line):
        raise ValueError("one line of text")
    return Secret(line)


def token(text: str) -> Secret:
    """A secret long enough not to be guessed."""
    value = secret(text)
    if len(value.reveal()) < _TOKEN_LENGTH:
        raise ValueError(f"at least {_TOKEN_LENGTH} characters")
    return value
