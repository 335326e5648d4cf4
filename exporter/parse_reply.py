"""What the cloud's answers to writes mean: (command, HTTP status, body) → verdict.

Pure, and the only place with the wire spellings of these answers. A table for each command, read from the
top; after it comes what a status means whatever was asked. Accepted answers come in four shapes:

    (empty)    {"status": "accepted", …}    {"message": …}    {"meta": …, "data": {…} or null, "error": {}}
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

import msgspec

from exporter.command import Action
from exporter.parse_shapes import CloudRefusal, Fields, one_line, parse_refusal


class Meaning(Enum):
    """What follows from one answer."""

    ACCEPTED = auto()  # queued by the cloud, which is not yet done
    NOOP = auto()  # without effect, by the state the charger is in
    NEXT = auto()  # this way to ask is not known here
    ASK_STATUS = auto()  # without effect: needless if status shows it done, else the next way to ask
    LEVEL_REFUSED = auto()  # no charging level is wanted
    READ_BACK = auto()  # refused, and yet it may have been taken
    POSTPONED = auto()  # the cloud asks to wait
    REFUSED = auto()
    UNCLEAR = auto()  # a success that says something nobody has seen


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of one answer. `code`: its errorMessageCode or ""; `detail`: for the one who asked."""

    meaning: Meaning
    status: int
    detail: str
    code: str = ""


class Row(NamedTuple):
    """An answer with one of `statuses` and, where given, that code or one of those texts in lower case."""

    statuses: Collection[int]
    meaning: Meaning
    words: str = ""
    code: str = ""
    texts: tuple[str, ...] = ()


_NO_ROUTE = ("no static resource",)
_NOT_READY = "the charger is not ready"

_START = (
    Row((400,), Meaning.NOOP, "already charging", "iqevc_ms-10012", ("already in charging state",)),
    Row((400,), Meaning.NOOP, "no vehicle is plugged in", "iqevc_ms-10008", ("not plugged",)),
    Row((409, 422), Meaning.NOOP, _NOT_READY),
    Row((400, 405), Meaning.NEXT),
    Row((404,), Meaning.NEXT, texts=_NO_ROUTE),
    Row((404,), Meaning.ASK_STATUS),  # seen when a start is repeated while charging
    # Older chargers, of any level.
    Row((500,), Meaning.LEVEL_REFUSED, "the charging level is refused", texts=("invalid charge level",)),
)
_STOP = (
    # A missing route that was taken for "nothing to stop" has let a car charge on.
    Row((404,), Meaning.NEXT, texts=_NO_ROUTE),
    Row((405,), Meaning.NEXT),
    Row((400, 404, 409, 422), Meaning.NOOP, "nothing to stop"),
)
_TRIGGER = (Row((409, 422), Meaning.NOOP, _NOT_READY),)
_CHARGE_MODE = (
    Row(
        (400,),
        Meaning.REFUSED,
        "no schedule is enabled for this charger: enable one in the Enphase app first",
        "iqevc_sch_10031",
        ("no schedules enabled",),
    ),
    Row(
        range(400, 600),
        Meaning.REFUSED,
        "the cloud's scheduler is down",
        texts=("iqevc-scheduler", "scheduler ms"),
    ),
    Row((400,), Meaning.READ_BACK),  # comes for the mode already set, and sometimes though it was taken
    Row((409, 422), Meaning.NOOP, _NOT_READY),
)
_ROWS: Mapping[Action, tuple[Row, ...]] = {
    Action.START: _START,
    Action.STOP: _STOP,
    Action.TRIGGER: _TRIGGER,
    Action.CHARGE_MODE: _CHARGE_MODE,
}
# A page of HTML is not the service's word, so that nothing in it is benign.
_PAGE = (Row((404, 405), Meaning.NEXT, "a web page in place of an answer"),)
_WHATEVER_WAS_ASKED = (
    Row(range(300, 400), Meaning.REFUSED, "redirected, as an expired login is"),
    Row((401,), Meaning.REFUSED, "the login has expired; give the command again after the next poll"),
    Row((403,), Meaning.REFUSED, "the account may not do this"),
    Row((429,), Meaning.POSTPONED, "too many requests"),
    Row((466,), Meaning.REFUSED, "the site's gateway does not support this"),
    Row((468,), Meaning.REFUSED, "no such site"),
    Row((472,), Meaning.REFUSED, "the site does not support a live stream"),
    Row((473,), Meaning.REFUSED, "the site's gateway does not report to the cloud"),
    Row((550, 551, 552), Meaning.REFUSED, "the cloud cannot reach the charger"),
    # A gateway says so too when what is behind it took the command and was slow to answer.
    Row(range(500, 600), Meaning.REFUSED, "the cloud failed, and may have applied it all the same"),
)
_OTHERWISE = Row((), Meaning.REFUSED)

_BEFORE_TEXT = b"\xef\xbb\xbf \t\r\n"  # a byte order mark, and blanks
# The words of OCPP, without case and punctuation.
_ACCEPTED, _REJECTED = "accepted", ("rejected", "notimplemented", "notsupported")


def read_reply(action: Action, status: int, body: bytes) -> Verdict:
    """What the answer to a start, stop, trigger or charge mode command means. Never raises."""
    is_page = body.lstrip(_BEFORE_TEXT)[:1] == b"<"
    if 200 <= status < 300:
        return _success_page(status) if is_page else _success(status, body)
    refusal = parse_refusal(body) or CloudRefusal("", None, "")
    text = body.decode(errors="replace").lower()
    rows = (*(_PAGE if is_page else _ROWS[action]), *_WHATEVER_WAS_ASKED)
    row = next((row for row in rows if _fits(row, status, refusal.error_code, text)), _OTHERWISE)
    return Verdict(row.meaning, status, _detail(status, row.words, refusal), refusal.error_code or "")


def _fits(row: Row, status: int, code: str | None, text: str) -> bool:
    if status not in row.statuses:
        return False
    wants_any = not row.code and not row.texts
    return wants_any or (code is not None and code == row.code) or any(part in text for part in row.texts)


def _detail(status: int, words: str, refusal: CloudRefusal) -> str:
    code = f" {refusal.error_code}" if refusal.error_code else ""
    told = f"the cloud answered HTTP {status}{code}"
    said = f"{told}: {refusal.message}" if refusal.message else told
    return f"{words} ({said})" if words else said


def _success_page(status: int) -> Verdict:
    words = "a web page in place of an answer: the login has expired, or the cloud is down"
    return Verdict(Meaning.REFUSED, status, _detail(status, words, CloudRefusal("", None, "")))


def _success(status: int, body: bytes) -> Verdict:
    if not body.strip():
        return Verdict(Meaning.ACCEPTED, status, "")
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        answer = None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(data, dict | None):
        return Verdict(Meaning.UNCLEAR, status, f"the cloud answered HTTP {status} in no form that is known")
    if answer.get("error"):
        refusal = parse_refusal(body) or CloudRefusal("", None, "")
        words = "an error in place of an answer"
        return Verdict(Meaning.REFUSED, status, _detail(status, words, refusal), refusal.error_code or "")
    return _worded(status, answer if data is None else data)


def _worded(status: int, told: Fields) -> Verdict:
    """The verdict of an answer without an error: by its `status` word, or accepted where it has none."""
    word = told.get("status")
    if word is None or _plain(word) == _ACCEPTED:
        return Verdict(Meaning.ACCEPTED, status, _particulars(told))
    said = f"the cloud answered {one_line(str(word))!r}"
    detail = "; ".join(part for part in (said, _particulars(told)) if part)
    return Verdict(Meaning.REFUSED if _plain(word) in _REJECTED else Meaning.UNCLEAR, status, detail)


def _plain(word: Any) -> str:
    return "".join(filter(str.isalnum, word)).casefold() if isinstance(word, str) else ""


def _particulars(told: Fields) -> str:
    """What an answer tells beside its verdict: a message, the level that was taken, a number to refer to."""
    message, level, details = told.get("message"), told.get("chargingLevel"), told.get("details")
    tracking_id = details.get("trackingId") if isinstance(details, dict) else None
    parts = (
        one_line(message) if isinstance(message, str) else "",
        f"charging level {level} A" if isinstance(level, int) else "",
        f"tracking id {one_line(tracking_id)}" if isinstance(tracking_id, str) else "",
    )
    return "; ".join(part for part in parts if part)
