import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.command import Action
from exporter.parse_reply import Meaning, read_reply

WRITES = (Action.START, Action.STOP, Action.TRIGGER, Action.CHARGE_MODE)
NO_ROUTE = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "No static resource x/y."}
PAGE = b"<!DOCTYPE html><html><body>Bad gateway: no static resource</body></html>"


def enveloped(status: int, message: str = "Something else", code: str | None = None) -> dict[str, Any]:
    error = {
        "displayMessage": message,
        "code": str(status),
        "errorMessageCode": code,
        "status": "BAD_REQUEST",
    }
    return {"meta": {"serverTimeStamp": 1777746600000}, "data": None, "error": error}


def meaning(action: Action, status: int, answer: object) -> Meaning:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return read_reply(action, status, body).meaning


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, {"status": "accepted", "chargingLevel": 32}),
        (200, {"meta": {}, "data": {"status": "accepted"}, "error": {}}),
        (200, {"meta": {}, "data": {"status": "Accepted"}, "error": None}),
        (200, {"data": {"status": "ACCEPTED"}}),
        (200, {"meta": {}, "data": None, "error": {}}),
        (200, {"status": "accepted", "message": "MeterValues", "details": {"trackingId": "T-1"}}),
        (202, {"message": "Request sent successfully"}),
        (204, b""),
        (205, b""),
        (200, b" \n"),
    ],
)
def test_every_shape_of_an_accepted_answer_is_accepted(action: Action, status: int, answer: object) -> None:
    assert meaning(action, status, answer) is Meaning.ACCEPTED


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ({"message": "Request sent\nsuccessfully"}, "Request sent successfully"),
        ({"status": "accepted", "chargingLevel": 32}, "charging level 32 A"),
        (
            {"status": "accepted", "message": "MeterValues", "details": {"trackingId": "T-1"}},
            "MeterValues; tracking id T-1",
        ),
        ({"status": "accepted"}, ""),
    ],
)
def test_an_accepted_answer_tells_what_it_says_beside_that(answer: object, detail: str) -> None:
    assert read_reply(Action.TRIGGER, 200, json.dumps(answer).encode()).detail == detail


@pytest.mark.parametrize(
    "word", ["Rejected", "REJECTED", "NotImplemented", "not_implemented", "NotSupported"]
)
@pytest.mark.parametrize("shape", ["flat", "enveloped"])
def test_a_word_that_refuses_refuses_in_any_case_and_shape(word: str, shape: str) -> None:
    answer = {"status": word} if shape == "flat" else {"meta": {}, "data": {"status": word}, "error": {}}
    verdict = read_reply(Action.TRIGGER, 200, json.dumps(answer).encode())
    assert verdict.meaning is Meaning.REFUSED
    assert word in verdict.detail


@pytest.mark.parametrize(
    "answer",
    [{"status": "perhaps"}, {"status": 200}, {"data": []}, {"data": "accepted"}, [], 1, b"OK", b'{"a'],
)
@pytest.mark.parametrize("action", WRITES)
def test_a_success_in_no_known_form_is_neither_accepted_nor_refused(action: Action, answer: object) -> None:
    assert meaning(action, 200, answer) is Meaning.UNCLEAR


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("error", [enveloped(503, "Down", "iqevc_ms-10007")["error"], "no", {"x": 1}])
def test_an_error_in_a_success_is_a_refusal(action: Action, error: object) -> None:
    assert meaning(action, 200, {"data": {"status": "accepted"}, "error": error}) is Meaning.REFUSED


def test_the_code_and_the_words_of_an_error_in_a_success_are_told() -> None:
    body = json.dumps(enveloped(400, "Not now", "iqevc_ms-10007")).encode()
    verdict = read_reply(Action.STOP, 200, body)
    assert (verdict.status, verdict.code) == (200, "iqevc_ms-10007")
    assert "Not now" in verdict.detail


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 409, 422, 500, 502, 503])
def test_a_web_page_is_a_refusal_and_never_benign(action: Action, status: int) -> None:
    assert meaning(action, status, PAGE) is Meaning.REFUSED
    assert meaning(action, status, b"\xef\xbb\xbf\r\n" + PAGE) is Meaning.REFUSED


@pytest.mark.parametrize("action", [Action.START, Action.STOP])
@pytest.mark.parametrize("status", [404, 405])
def test_a_web_page_that_says_not_found_is_a_missing_route(action: Action, status: int) -> None:
    assert meaning(action, status, b"\xef\xbb\xbf" + PAGE.replace(b"static", b"such")) is Meaning.NEXT


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (400, enveloped(400, code="iqevc_ms-10012"), Meaning.NOOP),
        (400, enveloped(400, "Charger is Already in charging state"), Meaning.NOOP),
        (400, b"already in charging state", Meaning.NOOP),
        (400, {"errorMessageCode": "iqevc_ms-10008"}, Meaning.NOOP),
        (400, enveloped(400, "The EV is not plugged in"), Meaning.NOOP),
        (400, enveloped(400, code="iqevc_ms-100120"), Meaning.NEXT),
        (400, enveloped(400), Meaning.NEXT),
        (400, b"", Meaning.NEXT),
        (404, NO_ROUTE, Meaning.NEXT),
        (404, {"error": "no static resource"}, Meaning.NEXT),
        (404, b"No Static Resource service/x", Meaning.NEXT),
        (404, enveloped(404, "No such transaction"), Meaning.ASK_STATUS),
        (404, b"", Meaning.ASK_STATUS),
        (405, b"", Meaning.NEXT),
        (409, b"", Meaning.NOOP),
        (422, enveloped(422), Meaning.NOOP),
        (500, enveloped(500, "Invalid charge level"), Meaning.LEVEL_REFUSED),
        (500, enveloped(500), Meaning.REFUSED),
        (503, enveloped(503, "Invalid charge level"), Meaning.REFUSED),
    ],
)
def test_answers_to_a_start(status: int, answer: object, expected: Meaning) -> None:
    assert meaning(Action.START, status, answer) is expected


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (400, enveloped(400), Meaning.NOOP),
        (400, b"", Meaning.NOOP),
        (404, enveloped(404, "No such transaction"), Meaning.NOOP),
        (404, {"detail": "No static resource x."}, Meaning.NEXT),
        (404, {"title": "No static resource x."}, Meaning.NEXT),
        (404, {"message": "No static resource x."}, Meaning.NEXT),
        (404, {"error": {"displayMessage": "No static resource x."}}, Meaning.NEXT),
        (404, b"No static resource x.", Meaning.NEXT),
        (405, b"", Meaning.NEXT),
        (409, enveloped(409), Meaning.NOOP),
        (422, b"", Meaning.NOOP),
        (500, enveloped(500, "Invalid charge level"), Meaning.REFUSED),
        (503, enveloped(503, code="iqevc_ms-10007"), Meaning.REFUSED),
    ],
)
def test_answers_to_a_stop(status: int, answer: object, expected: Meaning) -> None:
    assert meaning(Action.STOP, status, answer) is expected


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (400, enveloped(400), Meaning.REFUSED),
        (400, enveloped(400, code="iqevc_ms-10008"), Meaning.REFUSED),
        (404, NO_ROUTE, Meaning.REFUSED),
        (405, b"", Meaning.REFUSED),
        (409, b"", Meaning.NOOP),
        (422, b"", Meaning.NOOP),
    ],
)
def test_answers_to_a_trigger(status: int, answer: object, expected: Meaning) -> None:
    assert meaning(Action.TRIGGER, status, answer) is expected


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (400, enveloped(400, code="iqevc_sch_10031"), Meaning.REFUSED),
        (400, enveloped(400, "No Schedules enabled"), Meaning.REFUSED),
        (400, enveloped(400, "iqevc-scheduler answered 503"), Meaning.REFUSED),
        (404, b"Scheduler MS is not there", Meaning.REFUSED),
        (400, enveloped(400), Meaning.READ_BACK),
        (400, b"", Meaning.READ_BACK),
        (404, NO_ROUTE, Meaning.REFUSED),
        (409, b"", Meaning.NOOP),
        (422, b"", Meaning.NOOP),
        (500, b"", Meaning.REFUSED),
        (504, b"", Meaning.REFUSED),
    ],
)
def test_answers_to_a_change_of_charge_mode(status: int, answer: object, expected: Meaning) -> None:
    assert meaning(Action.CHARGE_MODE, status, answer) is expected


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize(
    "status", [*range(301, 309), 401, 403, 406, 410, 466, 468, 472, 473, *range(501, 513), 550, 551, 552]
)
def test_these_refuse_whatever_was_asked(action: Action, status: int) -> None:
    assert (
        meaning(action, status, enveloped(status, "already in charging state, not plugged"))
        is Meaning.REFUSED
    )


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("body", [b"", b"slow down", PAGE])
def test_too_many_requests_postpone(action: Action, body: bytes) -> None:
    assert read_reply(action, 429, body).meaning is Meaning.POSTPONED


def test_a_refusal_tells_status_code_and_words() -> None:
    body = json.dumps(enveloped(503, "The service cannot\ndo this now.", "iqevc_ms-10007")).encode()
    verdict = read_reply(Action.STOP, 503, body)
    assert (verdict.status, verdict.code) == (503, "iqevc_ms-10007")
    said = "the cloud answered HTTP 503 iqevc_ms-10007: The service cannot do this now."
    assert verdict.detail == f"the cloud failed, and may have applied it all the same ({said})"


def test_no_enabled_schedule_is_told_in_words_that_help() -> None:
    body = json.dumps(enveloped(400, "", "iqevc_sch_10031")).encode()
    assert "enable one in the Enphase app" in read_reply(Action.CHARGE_MODE, 400, body).detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "error", "status", "message", "details"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(
    st.sampled_from(WRITES),
    st.integers(100, 599),
    st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()),
)
def test_any_answer_has_a_verdict_and_only_a_success_is_accepted(
    action: Action, status: int, body: bytes
) -> None:
    verdict = read_reply(action, status, body)
    assert verdict.meaning is not Meaning.ACCEPTED or 200 <= status < 300
    assert verdict.meaning is not Meaning.NOOP or status in (400, 404, 409, 422)
    assert "\n" not in verdict.detail
