"""Payloads as anyone may see them: structure, types and spellings stay, what is private is replaced. Pure.

Safe by default: a text or a number stays only where its field, or the value itself, is known to say nothing
of an owner. Everything else is replaced by something of the same form. Serials, site ids, names and
addresses get one stand-in each, so that what belongs together still does; times move by whole days.

This reads no meaning into payloads, parse.py does: names of fields are here as a list of what may stay.
"""

import re
from datetime import date, timedelta
from typing import Any

import msgspec

from exporter.invented import MAC, Invented, masked
from exporter.model import ChargeMode, ConnectorStatus
from exporter.parse_values import FALSE_WORDS, NEWEST_SECONDS, OLDEST_SECONDS, TRUE_WORDS

DAY_SECONDS = 86_400
# Fields whose numbers stay, however large.
NUMBERS = frozenset(
    {"e_c", "miles", "session_cost", "sessionCost", "charge_level", "chargeLevel", "chargingLevel"}
    | {"charging_level", "charginglevel", "min", "max", "granularity", "maxCurrent", "breakerRating"}
    | {"ratedCurrent", "operatingVoltage", "phaseMode", "phaseCount", "gridType", "dlbEnabled", "limit"}
    | {"lifeTimeConsumption", "reportingInterval", "rowCount", "connectorId", "safeLimitState", "status"}
    | {"safe_limit_state", "mode", "enabled", "connectionStatus", "warrantyPeriod", "signalStrength"}
)
# Fields whose texts stay while they are plain words.
WORDS = frozenset(
    {"connectorStatusType", "connectorStatusInfo", "connectorStatusReason", "offGrid", "mode", "chargeMode"}
    | {"chargingMode", "charge_mode", "type", "status", "activeConnection", "modelName", "model", "modelId"}
    | {"sku", "skuScope", "partNumber", "phaseMode", "defaultChargeLevel", "profile", "modeSyncStatus"}
    | {"connectionStatus", "bootproto", "interface_name", "interface", "code", "errorMessageCode", "wifiMode"}
    | {"L1", "L2", "L3", "N"}
)
KNOWN_WORDS = frozenset({*ConnectorStatus, *ChargeMode}) | {word.upper() for word in TRUE_WORDS | FALSE_WORDS}
_SERIALS = re.compile(r"(?i)sn|.*serial.*")
_SITES = frozenset({"site", "siteid", "site_id", "id", "systemid", "system_id"})
_NAMES = frozenset(
    {"name", "displayname", "display_name", "title", "sitename", "site_name", "evmanufacturername"}
)
_ZONES = frozenset({"tz", "timezone", "time_zone"})
_SECRETS = re.compile(r"(?i).*(token|auth|cookie|passw|secret|session_?id|mail|ssid|user).*")
_NETWORKS = frozenset({"networkConfig", "wifiConfig", "cellularConfig", "defaultRoute"})

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_PLAIN = re.compile(r"(?!.*[0-9]{6})[A-Za-z0-9 ._+/()-]{1,64}")
_SMALL = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{0,3})?|0+|[0-9]{2}:[0-9]{2}")
_NUMBER = re.compile(r"[+-]?[0-9]{0,400}(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_ISO = re.compile(
    r"(?P<day>[0-9]{4}(?P<dash>-?)[0-9]{2}(?P=dash)[0-9]{2})"
    r"(?P<clock>(?:[T ][0-9:.,]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)(?P<zone>\[.*)?"
)
_PAIR = re.compile(
    r'(?<!\w)(?P<key>[a-z][A-Za-z_]{0,30}|[A-Z]{2,8})(?P<sign>"?\s*[=:]\s*"?)(?P<value>[^,"\n\]}]*)'
)


class Scrubber:
    """One recording: what it has replaced stays replaced the same way in all its payloads."""

    def __init__(self, days_back: int) -> None:
        """Every time moves back by so many days."""
        self.invented = Invented()
        self._days = days_back

    def body(self, endpoint: str, body: bytes) -> bytes:
        """A body as anyone may see it; one that is not JSON is masked as a whole."""
        try:
            answer = msgspec.json.decode(body)
            return msgspec.json.encode(self._answer(endpoint, answer))
        except (ValueError, RecursionError):
            return masked(body.decode(errors="replace")).encode()

    def _answer(self, endpoint: str, answer: Any) -> Any:
        """The answer; `data` may be keyed by serials, which only its place tells."""
        data = answer.get("data") if isinstance(answer, dict) else None
        keyed = endpoint == "last_reported" or (
            endpoint == "status" and isinstance(data, dict) and data.keys().isdisjoint({"chargers", "site"})
        )
        if not keyed or not isinstance(data, dict):
            return self._value("", answer)
        by_serial = {self.invented.word("serial", key): self._value("", one) for key, one in data.items()}
        return {
            self._key(key): by_serial if key == "data" else self._value(key, one)
            for key, one in answer.items()
        }

    def _value(self, key: str, value: Any) -> Any:
        """A value by the field it is in; those of a list are in the list's field."""
        if isinstance(value, dict):
            return {self._key(name): self._value(name, inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._value(key, inner) for inner in value]
        if isinstance(value, str):
            return self._text(key, value) if value.strip() else value
        if isinstance(value, bool) or value is None:
            return value
        return self._number(key, value)

    def _key(self, key: str) -> str:
        if _FIELD.fullmatch(key) and sum(one.isdigit() for one in key) < 4:
            return key
        return self.invented.word("serial", key)

    def _text(self, key: str, text: str) -> str:
        lower = key.lower()
        if _SERIALS.fullmatch(key):
            return self.invented.word("serial", text)
        if lower in _SITES:
            return self.invented.word("site", text)
        if lower in _NAMES:
            return self.invented.name(text)
        if lower in _ZONES:
            return "Europe/Berlin"
        if key in _NETWORKS:
            return self._network(text)
        if _SECRETS.fullmatch(key):
            return masked(text)
        if (key in WORDS or lower.endswith("version")) and self._may_stay(key, text):
            return text
        return self._unknown(key, text)

    def _may_stay(self, key: str, text: str) -> bool:
        # A version such as 25.37.1.14 could be an address as well.
        is_address = not key.lower().endswith("version") and self.invented.address(text) is not None
        return bool(_PLAIN.fullmatch(text)) and not is_address

    def _unknown(self, key: str, text: str) -> str:
        """A text of a field that tells nothing: by what the text itself looks like."""
        core = text.strip()
        if core.upper() in KNOWN_WORDS or _SMALL.fullmatch(core):
            return text
        if key in NUMBERS and _NUMBER.fullmatch(core):
            return text
        if MAC.fullmatch(core):
            return self.invented.mac(core)
        address = self.invented.address(core)
        return address or self._shifted_text(core) or masked(text)

    def _shifted_text(self, text: str) -> str | None:
        """A time in any spelling, moved; None when it is none."""
        if text.isascii() and text.isdigit():
            moved = self._shifted(int(text[:20]))
            return None if moved is None else str(moved)
        match = _ISO.fullmatch(text)
        if match is None:
            return None
        zone = match["zone"] or ""
        day = self._shifted_day(match["day"])
        return None if day is None else day + match["clock"] + (zone if zone == "[UTC]" else masked(zone))

    def _shifted_day(self, text: str) -> str | None:
        try:
            day = date.fromisoformat(text)
            moved = day - timedelta(days=self._days)
        except (ValueError, OverflowError):
            return None
        # A day that the parser takes for no time must not become one, nor the other way round.
        moved = moved if moved.year > 2010 and day.year < 2100 else day
        return moved.isoformat() if "-" in text else f"{moved:%Y%m%d}"

    def _shifted(self, number: float) -> float | None:
        """Epoch seconds or milliseconds, moved; None for a number that is no time."""
        for per_second in (1, 1000):
            if OLDEST_SECONDS * per_second <= number <= NEWEST_SECONDS * per_second:
                moved = number - self._days * DAY_SECONDS * per_second
                return moved if moved >= OLDEST_SECONDS * per_second else number
        return None

    def _number(self, key: str, number: float) -> float:
        if isinstance(number, int) and (_SERIALS.fullmatch(key) or key.lower() in _SITES):
            return int(self._text(key, str(number)))
        if key in NUMBERS or (isinstance(number, int) and abs(number) < 1000) or not number:
            return number
        moved = None if key.lower() in _NAMES else self._shifted(number)
        if moved is not None:
            return moved
        ones = re.sub("[0-9]", "1", repr(number))
        return int(ones) if isinstance(number, int) else float(ones)

    def _network(self, text: str) -> str:
        """`key=value` lists, or JSON in a text, cut off or not: what is neither key nor known is masked."""
        parts, end = [], 0
        for pair in _PAIR.finditer(text):
            value = self._value(pair["key"], pair["value"])
            parts += [masked(text[end : pair.start()]), pair["key"], pair["sign"], value]
            end = pair.end()
        return "".join(parts) + masked(text[end:])
