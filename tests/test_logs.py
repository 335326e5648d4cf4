import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from exporter import logs

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3MDAwMDAwMDB9.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.getLogger("aiohttp.access").setLevel(logging.NOTSET)


def lines(form: Literal["logfmt", "json"], message: str, *args: object, **more: Any) -> list[str]:
    stream = io.StringIO()
    logs.configure("info", form, stream)
    logging.getLogger("exporter.poller").warning(message, *args, **more)
    return stream.getvalue().splitlines()


def logfmt(message: str, *args: object, **more: Any) -> str:
    (line,) = lines("logfmt", message, *args, **more)
    return line.partition(" level=warning logger=exporter.poller ")[2]


def as_json(message: str, *args: object, **more: Any) -> dict[str, Any]:
    (line,) = lines("json", message, *args, **more)
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_an_event_is_one_logfmt_line_with_its_time_and_its_tail() -> None:
    record = logging.makeLogRecord(
        {"created": 1_763_823_031.12, "levelname": "WARNING", "name": "exporter.poller", "msg": "poll failed"}
        | {"site_id": "1234567", "tries": 3, "wait_seconds": 1.5, "up": False, "error": None}
    )
    assert logs.LogfmtFormatter().format(record) == (
        'ts=2025-11-22T14:50:31.120Z level=warning logger=exporter.poller msg="poll failed" '
        "site_id=1234567 tries=3 wait_seconds=1.5 up=false error=null"
    )


def test_an_event_is_one_json_object_with_typed_fields() -> None:
    fields = as_json("poll %s", "failed", extra={"site_id": "1234567", "tries": 3, "age": float("nan")})
    assert fields.pop("ts").endswith("Z")
    assert fields == {
        "level": "warning",
        "logger": "exporter.poller",
        "msg": "poll failed",
        "site_id": "1234567",
        "tries": 3,
        "age": "nan",
    }


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("Süd", "Süd"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("one\ntwo\r\tthree", r'"one\ntwo\r\tthree"'),
        ("\x1b[31m\x85\u2028", r'"\u001b[31m\u0085\u2028"'),
        ("\udc80", r'"\udc80"'),
    ],
)
def test_a_value_is_quoted_where_a_reader_could_stumble(value: str, written: str) -> None:
    assert logfmt("event", extra={"name_": value}) == f"msg=event name_={written}"


@given(st.text(), st.text())
def test_no_text_whatever_breaks_a_line(message: str, value: str) -> None:
    record = logging.makeLogRecord({"msg": message, "name_": value})
    for formatter in (logs.LogfmtFormatter(), logs.JsonFormatter()):
        assert len(formatter.format(record).splitlines()) == 1


def test_an_exception_stays_on_the_line() -> None:
    error = ValueError("first\nsecond")
    assert logfmt("failed", exc_info=error) == r'msg=failed exc="ValueError: first\nsecond"'
    assert as_json("failed", exc_info=error)["exc"] == "ValueError: first\nsecond"


def test_a_wrong_placeholder_costs_the_arguments_and_not_the_line() -> None:
    record = logging.makeLogRecord({"msg": "took %d s", "args": ("hunter2",)})
    line = logs.LogfmtFormatter().format(record)
    assert 'msg="took %d s"' in line
    assert "hunter2" not in line


def test_a_field_of_the_caller_does_not_replace_one_of_ours() -> None:
    assert as_json("event", extra={"level": "mine"}) | {"ts": ""} == {
        "ts": "",
        "level": "warning",
        "logger": "exporter.poller",
        "msg": "event",
        "level_": "mine",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token {JWT} expired", "token *** expired"),
        (f"Authorization: Bearer {JWT}", "Authorization: ***"),
        ("Cookie: _enlighten_4_session=abc; locale=en", "Cookie: ***"),
        ("{'Cookie': 'a=b; c=d', 'Accept': '*/*'}", "{'Cookie': ***, 'Accept': '*/*'}"),
        ('{"e-auth-token": "x\\"yz", "a": 1}', '{"e-auth-token": ***, "a": 1}'),
        ("e-auth-token=abc", "e-auth-token=***"),
        ("got _enlighten_4_session=0f3a; then", "got _enlighten_4_session=***; then"),
        (f"enlighten_manager_token_production={JWT}", "enlighten_manager_token_production=***"),
        ("login_otp_nonce=n0nce next", "login_otp_nonce=*** next"),
        ('{"session_id": "8f1c", "is_consumer": true}', '{"session_id": ***, "is_consumer": true}'),
        ("{'_enlighten_4_session': '0f3a', 'locale': 'en'}", "{'_enlighten_4_session': ***, 'locale': 'en'}"),
        (r'"{\"managerToken\": \"a b\", \"n\": 1}"', r'"{\"managerToken\": ***, \"n\": 1}"'),
        ("user[email]=x&user[password]=y z", "user[email]=***&user[password]=*** z"),
        ("login of first.last+ev@mail.example.com failed", "login of *** failed"),
        ("/lookup?email=owner%40example.com&x=1", "/lookup?email=***&x=1"),
        ("accounts[0].cookie: expected one line", "accounts[0].cookie: expected one line"),
        ("token: HTTP 401", "token: HTTP 401"),
        ("site 1234567 serial 202312345678", "site 1234567 serial 202312345678"),
    ],
)
def test_the_redaction_table(text: str, shown: str) -> None:
    assert logs.redact(text) == shown


def test_redaction_reaches_message_tail_and_exception() -> None:
    error = RuntimeError(f"bad {JWT}")
    for form in ("logfmt", "json"):
        (line,) = lines(form, "sent %s", JWT, extra={"answer": JWT}, exc_info=error)
        assert "eyJ" not in line
        assert line.count("***") == 3


@pytest.mark.parametrize("key", ["password", "cookie", "Cookie", "e_auth_token", "email", "headers"])
def test_a_tail_field_with_a_private_name_is_hidden_whatever_it_holds(key: str) -> None:
    assert logfmt("event", extra={key: "x"}) == f"msg=event {key}=***"


def test_a_concealed_text_is_hidden_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_concealed", set())
    monkeypatch.setattr(logs, "_longest_first", [])
    secret = 'pä "ss"/w\\ord'
    logs.conceal("")
    logs.conceal("pä")
    logs.conceal(secret)
    forms = (
        secret,
        "p%C3%A4%20%22ss%22%2Fw%5Cord",
        "p%C3%A4+%22ss%22%2Fw%5Cord",
        json.dumps(secret),
        repr(secret),
    )
    for form in forms:
        assert logs.redact(f"sent {form}.").replace('"', "").replace("'", "") == "sent ***."
    (line,) = lines("json", "with %s", secret)
    assert json.loads(line)["msg"] == "with ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("expected x, got 'x'", "expected ***, got '***'"),
        ("password=x&next=xx", "password=***&next=xx"),
        ("x", "***"),
        ("the box", "the box"),
        ("a p%C3%A4 in pärts, pä", "a *** in pärts, ***"),
    ],
)
def test_a_short_secret_is_hidden_as_a_value_and_leaves_other_words_whole(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_concealed", set())
    monkeypatch.setattr(logs, "_longest_first", [])
    logs.conceal("x")
    logs.conceal("pä")
    assert logs.redact(text) == shown


def test_configuring_again_replaces_stream_level_and_format() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure("info", "logfmt", first)
    logs.configure("warning", "json", second)
    logging.getLogger("exporter.x").info("quiet")
    logging.getLogger("exporter.x").warning("loud")
    assert first.getvalue() == ""
    assert [json.loads(line)["msg"] for line in second.getvalue().splitlines()] == ["loud"]


def test_scrapes_are_not_logged() -> None:
    stream = io.StringIO()
    logs.configure("debug", "logfmt", stream)
    logging.getLogger("aiohttp.access").info("GET /metrics")
    assert stream.getvalue() == ""


async def test_a_request_that_is_no_http_is_not_quoted_in_the_log() -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    application = web.Application()
    async with TestServer(application, skip_url_asserts=True) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\nAuthorization: Basic c2VjcmV0" + b"x" * 9000 + b"\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert stream.getvalue() == ""


async def test_a_bug_behind_a_request_is_still_in_the_log() -> None:
    async def broken(request: web.Request) -> web.Response:
        raise KeyError("a bug")

    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    application = web.Application()
    application.router.add_get("/", broken)
    async with (
        TestServer(application) as server,
        ClientSession() as http,
        http.get(server.make_url("/")) as response,
    ):
        assert response.status == 500
    assert "KeyError: 'a bug'" in stream.getvalue()
