"""What the cloud's JSON answers have in common: the envelope, its errors, and lists of chargers.

    {"meta": {"serverTimeStamp": <epoch ms or ISO text>}, "data": …, "error": {}}

Messages of errors say what was found and never quote it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

from exporter.errors import UnexpectedPayload
from exporter.model import ChargerStatus, ChargerSummary, Problem
from exporter.parse_values import WORD_LENGTH_MAX, Problems, kind_of, note, seconds, serial_text, text

Fields = Mapping[str, Any]
Entry = TypeVar("Entry", ChargerStatus, ChargerSummary)

NOTHING: Fields = {}

REFUSAL_LENGTH_MAX = 200
REMEMBERED_MAX = 20_000
CODE = re.compile(r"[A-Za-z0-9_.-]{1,40}", re.ASCII)


def decode(endpoint: str, body: bytes) -> Any:
    """The JSON value of a body that is an object or a list."""
    if not body.strip():
        raise UnexpectedPayload(endpoint, "empty body")
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        raise UnexpectedPayload(endpoint, "body is not JSON") from None
    if not isinstance(answer, dict | list):
        raise UnexpectedPayload(endpoint, f"body is {kind_of(answer)}, not an object")
    return answer


def decode_object(endpoint: str, body: bytes) -> Fields:
    """The JSON object of a body that does not report an error."""
    answer = decode(endpoint, body)
    if not isinstance(answer, dict):
        raise UnexpectedPayload(endpoint, "body is a list, not an object")
    refuse_error(endpoint, answer)
    return answer


def refuse_error(endpoint: str, answer: Fields) -> None:
    """A filled `error` means failure even with HTTP 200; `{}`, null and none at all mean success."""
    error = answer.get("error")
    if error:
        code = plain_code(first_given(error, "errorMessageCode", "code")) if isinstance(error, dict) else None
        raise UnexpectedPayload(endpoint, f"answer carries an error{f' ({code})' if code else ''}")


def refuse_data(endpoint: str, fields: Fields, name: str) -> NoReturn:
    """Raise for a part of the answer that is not there, or is not what it should be."""
    found = kind_of(fields[name]) if name in fields else "missing"
    raise UnexpectedPayload(endpoint, f"{name} is {found}")


class Remembered(Generic[Entry]):
    """The entry of each charger that was read last, and its JSON: most polls tell nothing new of a charger.

    The same JSON then gives the very same object, which the join can tell by a look. An entry with a problem
    is read again each time, so that the problem is counted again.
    """

    def __init__(self) -> None:
        self._newest: dict[str, tuple[bytes, Entry]] = {}

    def read(
        self, entry: Fields, serial: Any, read: Callable[[Fields], Entry | None], problems: Problems
    ) -> Entry | None:
        """What `read` makes of the entry, or made of it before."""
        if not isinstance(serial, str):
            return read(entry)
        wire = msgspec.json.encode(entry)
        known = self._newest.get(serial)
        if known is not None and known[0] == wire:
            return known[1]
        before = len(problems)
        charger = read(entry)
        if charger is not None and len(problems) == before:
            if len(self._newest) >= REMEMBERED_MAX:
                self._newest.clear()
            self._newest[serial] = (wire, charger)
        return charger


def read_entries(
    entries: Iterable[Any],
    remembered: Remembered[Entry],
    serial_name: str,
    read: Callable[[Fields], Entry | None],
    problems: Problems,
) -> tuple[Entry, ...]:
    """Read each object of a list; of several with one serial the one that reported last is kept."""
    found: dict[str, Entry] = {}
    for entry in entries:
        is_object = isinstance(entry, dict)
        charger = remembered.read(entry, entry.get(serial_name), read, problems) if is_object else None
        if charger is None:
            kind = "missing_serial" if isinstance(entry, dict) else "bad_type"
            problems.append(Problem(kind, f"charger entry is {kind_of(entry)}"))
            continue
        known = found.setdefault(charger.serial, charger)
        if known is not charger:
            problems.append(Problem("duplicate_serial", f"serial={charger.serial!r}"))
            if (charger.last_reported_seconds or 0) > (known.last_reported_seconds or 0):
                found[charger.serial] = charger
    return tuple(found.values())


def answer_seconds(answer: Fields, problems: Problems) -> float | None:
    """The cloud's own time on an answer."""
    meta = object_at(answer, "meta", problems)
    stamp = first_given(meta, "serverTimeStamp", otherwise=answer.get("ts"))
    return seconds(stamp, "serverTimeStamp", problems)


def object_at(fields: Fields, name: str, problems: Problems) -> Fields:
    """The object in a field; an empty one for null, and for anything else with a problem."""
    value = fields.get(name)
    if isinstance(value, dict):
        return value
    if value is not None:
        note(problems, "bad_type", name[:WORD_LENGTH_MAX], value)
    return NOTHING


def given(connector: Fields, charger: Fields, name: str) -> Any:
    """A connector's field, or the charger's of the same name where the connector has none."""
    value = connector.get(name)
    return charger.get(name) if value is None else value


def first_given(fields: Fields, *names: str, otherwise: Any = None) -> Any:
    """The first of these fields that is not null."""
    for name in names:
        value = fields.get(name)
        if value is not None:
            return value
    return otherwise


def first_text(fields: Fields, problems: Problems, *names: str) -> str | None:
    """The first of these fields that holds a text."""
    for name in names:
        found = text(fields.get(name), name, problems)
        if found is not None:
            return found
    return None


def plain_code(value: Any) -> str | None:
    """A code word or number, fit for a message."""
    code = serial_text(value)
    return code if code is not None and CODE.fullmatch(code) else None


def one_line(value: str) -> str:
    """Text fit for one log line."""
    return " ".join(value.split()).encode(errors="replace").decode()[:REFUSAL_LENGTH_MAX]


@dataclass(frozen=True, slots=True)
class CloudRefusal:
    """What the cloud said when it refused; `code` is "" and `error_code` None where it gave none."""

    code: str
    error_code: str | None
    message: str


def parse_refusal(body: bytes) -> CloudRefusal | None:
    """Read why the cloud refused; None where the body says nothing of the kind. Never raises.

    Knows the envelope of the EV services, Spring's problem JSON, a bare message and plain text.
    """
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        plain = one_line(body[: REFUSAL_LENGTH_MAX * 4].decode(errors="replace"))
        return CloudRefusal("", None, plain) if plain and not plain.startswith("<") else None
    if isinstance(answer, str):
        return CloudRefusal("", None, one_line(answer)) if answer.strip() else None
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    told = error if isinstance(error, dict) and error else answer
    said = first_given(told, "displayMessage", "detail", "message", "title")
    if said is None and isinstance(error, str):
        said = error
    error_code = plain_code(told.get("errorMessageCode"))
    if said is None and error_code is None and told is answer:
        return None
    code = plain_code(first_given(told, "code", "status")) or ""
    return CloudRefusal(code, error_code, one_line(said) if isinstance(said, str) else "")
