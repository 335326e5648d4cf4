import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from exporter.command import Action, Command, Outcome
from exporter.control_api import BODY_BYTES, ControlApi
from exporter.errors import CommandInvalid
from exporter.model import Site, Snapshot
from exporter.readers import Secret
from tests.control_visits import (
    CHARGER_PATH,
    EVCC_TOKEN,
    SERIAL,
    SITE_ID,
    START,
    STREAM_PATH,
    TOKEN,
    TOKENS,
    UMLAUT_TOKEN,
    Asked,
    commanded,
    served,
)
from tests.worlds import GARAGE, HOME

# -- who asks ----------------------------------------------------------------------------------------------

STRANGERS: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": TOKEN},
    {"Authorization": f"Bearer{TOKEN}"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Bearer {TOKEN.upper()}"},
    {"Authorization": f"Bearer {TOKEN} {TOKEN}"},
    {"Authorization": f"Bearer {TOKEN},{EVCC_TOKEN}"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": "Bearer schlüssel"},
    {"Authorization": "Bearer " + "x" * 4000},
    {"X-Control-Token": ""},
    {"X-Control-Token": TOKEN[:-1]},
    {"X-Control-Token": f"Bearer {TOKEN}"},
    {"Cookie": f"token={TOKEN}"},
]


@pytest.mark.parametrize("headers", STRANGERS, ids=lambda headers: str(headers)[:40])
async def test_without_a_valid_token_everything_is_refused_alike(headers: dict[str, str]) -> None:
    asks = [("POST", START), ("GET", "/api/v1/chargers"), ("GET", "/api/v1/nothing"), ("DELETE", START)]
    asks += [("GET", "/api/v1"), ("GET", "/api/v1/openapi.json"), ("POST", f"{START}?token={TOKEN}")]
    async with served() as s:
        answers = [await s.ask(method, path, token=None, headers=headers) for method, path in asks]
        for answer in answers:
            answer.problem(401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.body == answers[0].body
        assert answers[0].json()["detail"] == "a valid control token is needed"
        assert s.asked.commands == []


@pytest.mark.parametrize(
    ("headers", "who"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, "default"),
        ({"Authorization": f"bearer {TOKEN}"}, "default"),
        ({"Authorization": f"BEARER   {EVCC_TOKEN} "}, "evcc"),
        ({"Authorization": f"Bearer {UMLAUT_TOKEN}"}, "umlaut"),
        ({"X-Control-Token": EVCC_TOKEN}, "evcc"),
        ({"X-Control-Token": EVCC_TOKEN, "Authorization": "Basic b3duZXI6c2VjcmV0"}, "evcc"),
        ({"X-Control-Token": "wrong", "Authorization": f"Bearer {TOKEN}"}, "default"),
    ],
)
async def test_a_command_carries_the_name_of_its_token(headers: dict[str, str], who: str) -> None:
    async with served() as s:
        assert (await s.ask("POST", START, token=None, headers=headers)).status == 200
        assert [command.who for command in s.asked.commands] == [who]


async def test_the_token_is_looked_at_before_the_body_comes() -> None:
    async with served() as s:
        said = await s.raw(f"POST {START} HTTP/1.1\r\nHost: here\r\nContent-Length: 9999\r\n\r\n".encode())
        assert said.startswith(b"HTTP/1.1 401 ")


async def test_one_line_a_minute_tells_of_requests_without_a_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "exporter")
    async with served() as s:
        for _ in range(3):
            await s.ask("GET", CHARGER_PATH, token="wrong-0123456789ab")
        s.asked.now += 59.9
        await s.ask("GET", CHARGER_PATH, token="wrong-0123456789ab")
        s.asked.now += 0.2
        await s.ask("GET", CHARGER_PATH, token=TOKEN)
        await s.ask("GET", CHARGER_PATH, token=None)
    lines = [vars(record) for record in caplog.records]
    assert [(line["levelname"], line["remote"], line["requests"]) for line in lines] == [
        ("WARNING", "127.0.0.1", 1),
        ("WARNING", "127.0.0.1", 4),
    ]
    assert "wrong-0123456789ab" not in str(lines)
    assert TOKEN not in str(lines)


def test_the_tokens_do_not_print() -> None:
    async def run(command: Command) -> Outcome:
        raise NotImplementedError

    api = ControlApi(run, Snapshot, lambda site_id, serial: None, TOKENS, refused=print)
    assert TOKEN not in repr(vars(api))


async def test_a_token_that_is_withdrawn_opens_nothing_any_more() -> None:
    async with served() as s:
        s.api.adopt([("evcc", Secret(EVCC_TOKEN))])
        (await s.ask("GET", CHARGER_PATH)).problem(401)
        assert (await s.ask("GET", CHARGER_PATH, token=EVCC_TOKEN)).status == 200
        s.api.adopt(())
        for token in (TOKEN, EVCC_TOKEN, None):
            (await s.ask("GET", CHARGER_PATH, token=token)).problem(404)
            (await s.ask("POST", START, token=token)).problem(404)
        assert s.asked.commands == []


# -- bodies ------------------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
MODE = f"{CHARGER_PATH}/charge-mode"
TRIGGER = f"{CHARGER_PATH}/trigger"


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        (START, b'{"amps":"16"}', "amps: "),
        (START, b'{"amps":16.5}', "amps: "),
        (START, b'{"amps":true}', "amps: "),
        (START, b'{"amps":null}', "amps: "),
        (START, b'{"amps":0}', "amps: "),
        (START, b'{"amps":-6}', "amps: "),
        (START, b'{"amps":1e400}', "amps: "),
        (START, b'{"amps":' + b"9" * 9000 + b"}", "allowed: amps (a whole number, 1 to 100)"),
        (START, b'{"amps":[16]}', "amps: "),
        (START, b'{"amps":' + b"[" * 16000, "amps: "),
        (START, b"[" * 16000, "object"),
        (START, b'{"x":' * 3000, "`x`"),
        (START, b'{"amp":16}', "`amp`"),
        (START, b'{"Amps":16}', "`Amps`"),
        (START, b'{"' + b"long" * 3000 + b'":1}', "`longlong"),
        (START, b'{"amps":6,"amps":32}', "amps: given more than once"),
        (START, b'{"amps":6,"\\u0061mps":6}', "amps: given more than once"),
        (START, b'{"restart":"no"}', "restart: "),
        (START, b'{"restart":0}', "restart: "),
        (START, b'{"dry_run":null}', "dry_run: "),
        (START, b'{"dry_run":"true"}', "dry_run: "),
        (START, b'{"wait_seconds":-1}', "wait_seconds: "),
        (START, b'{"wait_seconds":91}', "wait_seconds (0 to 90)"),
        (START, b'{"wait_seconds":1e400}', "wait_seconds: "),
        (START, b'{"wait_seconds":NaN}', "allowed: "),
        (START, b'{"mode":"GREEN_CHARGING"}', "`mode`"),
        (START, b"[]", "object"),
        (START, b'"amps"', "object"),
        (START, b"null", "object"),
        (START, b"16", "object"),
        (START, b"{", "allowed: "),
        (START, b"{} {}", "allowed: "),
        (START, b"{}\x00", "allowed: "),
        (START, b"   ", "allowed: "),
        (START, b"amps=16", "allowed: "),
        (START, b"\xef\xbb\xbf{}", "allowed: "),
        (START, b'{"amps":16,"\xff":1}', "allowed: "),
        (START, '{"amps":16}'.encode("utf-16"), "allowed: "),
        (f"{CHARGER_PATH}/stop", b'{"amps":16}', "`amps`"),
        (TRIGGER, b"", "`message`"),
        (TRIGGER, b'{"message":7}', "message: "),
        (TRIGGER, b'{"message":"\xff"}', "allowed: message"),
        (MODE, b"", "mode (one of MANUAL_CHARGING, "),
        (MODE, b'{"mode":"UNKNOWN"}', "mode: "),
        (MODE, b'{"mode":"green_charging"}', "mode: "),
        (STREAM_PATH, b'{"wait_seconds":1}', "`wait_seconds`"),
    ],
    ids=lambda part: repr(part)[:40],
)
async def test_a_body_that_is_not_a_command_is_told_what_is_allowed(
    path: str, body: bytes, names: str
) -> None:
    async with served() as s:
        answer = await s.ask("PUT" if path == MODE else "POST", path, data=body, headers=JSON)
        problem = answer.problem(400)
        assert names in problem["detail"]
        assert "; allowed: " in problem["detail"]
        assert "dry_run (true or false)" in problem["detail"]
        assert problem["result"] == "failed"
        assert len(answer.body) < 1000
        assert s.asked.commands == []
        (refusal,) = s.asked.refusals
        assert refusal[1:] == (
            "default",
            SITE_ID if path == STREAM_PATH else "",
            None if path == STREAM_PATH else SERIAL,
            problem["detail"],
        )


@pytest.mark.parametrize(
    ("path", "sent", "detail"),
    [
        (f"{START}?dryrun=true", {}, "the query may hold site_id only"),
        (START, {"data": b" " * (BODY_BYTES + 1), "headers": JSON}, "a body has at most"),
        (START, {"data": b"amps=16"}, "Content-Type must be"),
        (START, {"json": {}, "headers": {"Content-Encoding": "gzip"}}, "compressed"),
    ],
)
async def test_a_command_that_is_refused_unread_is_noted_once(
    path: str, sent: dict[str, Any], detail: str
) -> None:
    async with served() as s:
        assert (await s.ask("POST", path, **sent)).status >= 400
        ((action, who, site_id, serial, why),) = s.asked.refusals
        assert (action, who, site_id, serial) == (Action.START, "default", "", SERIAL)
        assert why.startswith(detail) or detail in why


async def test_a_command_for_a_charger_of_two_sites_is_noted_as_refused() -> None:
    twice = Snapshot(sites=(HOME, Site("9", "work", chargers=(replace(GARAGE, site_id="9"),))))
    async with served(Asked(twice)) as s:
        (await s.post(START)).problem(400)
        assert [refusal[0] for refusal in s.asked.refusals] == [Action.START]


async def test_what_is_no_command_and_what_control_itself_refuses_is_not_noted_again() -> None:
    async with served(Asked(error=CommandInvalid("amps: 6 to 40"))) as s:
        (await s.post(START)).problem(400)
        (await s.ask("GET", f"{CHARGER_PATH}?x=1")).problem(400)
        (await s.ask("PUT", START)).problem(405)
        (await s.ask("POST", START, token="wrong")).problem(401)
        assert s.asked.refusals == []


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/jsonx",
        "",
    ],
)
async def test_a_body_that_does_not_say_it_is_json_is_refused(content_type: str) -> None:
    async with served() as s:
        answer = await s.ask("POST", START, data=b'{"amps":16}', headers={"Content-Type": content_type})
        assert "application/json" in answer.problem(415)["detail"]
        assert s.asked.commands == []


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/json;v=1",
    ],
)
async def test_a_body_that_says_it_is_json_is_read(content_type: str) -> None:
    async with served() as s:
        answer = await s.ask("POST", START, data=b'{"amps":16}', headers={"Content-Type": content_type})
        assert answer.status == 200
        assert [command.amps for command in s.asked.commands] == [16]


@pytest.mark.parametrize("amps", [b"16", b"16.0", b"1.6e1"])
async def test_a_whole_number_is_taken_however_json_writes_it(amps: bytes) -> None:
    async with served() as s:
        await s.ask("POST", START, data=b'{"amps":%s}' % amps, headers=JSON)
        assert [repr(command.amps) for command in s.asked.commands] == ["16"]


async def test_an_empty_body_needs_no_type() -> None:
    async with served() as s:
        answer = await s.ask("POST", START, data=b"", headers={"Content-Type": "text/plain"})
        assert answer.status == 200
        assert s.asked.commands == [commanded(Action.START)]


async def test_a_compressed_body_is_refused() -> None:
    async with served() as s:
        answer = await s.ask("POST", START, data=b"{}", headers=JSON | {"Content-Encoding": "gzip"})
        answer.problem(415)
        assert s.asked.commands == []


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 1024):
        yield b" " * 1024


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
async def test_a_body_that_is_too_large_is_refused(chunked: bool) -> None:
    size = BODY_BYTES + 1024
    async with served() as s:
        answer = await s.ask("POST", START, data=pieces(size) if chunked else b" " * size, headers=JSON)
        assert str(BODY_BYTES) in answer.problem(413)["detail"]
        assert s.asked.commands == []


async def test_the_largest_body_is_read() -> None:
    body = b'{"amps":16}'
    async with served() as s:
        answer = await s.ask("POST", START, data=body + b" " * (BODY_BYTES - len(body)), headers=JSON)
        assert answer.status == 200


HEAD = (
    f"POST {START} HTTP/1.1\r\nHost: here\r\nX-Control-Token: {TOKEN}\r\nContent-Type: application/json\r\n"
)


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with served(body_seconds=0.05) as s:
        said = await s.raw(f'{HEAD}Content-Length: 11\r\n\r\n{{"amps":'.encode())
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in said
        assert s.asked.commands == []


async def test_a_body_that_breaks_off_is_no_command(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as s:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await s.raw(f"{HEAD}Content-Length: 11\r\n\r\n{{}}".encode(), half_closed=True)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await s.raw(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n".encode(), half_closed=True)
        assert s.asked.commands == []
    assert [record.getMessage() for record in caplog.records] == []


async def test_a_body_that_cannot_be_put_together_is_no_command() -> None:
    asked = Asked()
    api = ControlApi(asked.run, lambda: asked.snapshot, asked.last, TOKENS, refused=asked.refused)
    body = aiohttp.StreamReader(Mock(), 2**16, loop=asyncio.get_running_loop())
    body.feed_data(b'{"amps":')
    body.set_exception(web.RequestPayloadError("a chunk is broken"))
    request = make_mocked_request("POST", START, {"X-Control-Token": TOKEN} | JSON, payload=body)
    answer = await api.answer(request)
    assert (answer.status, answer.content_type) == (400, "application/problem+json")
    assert asked.commands == []
