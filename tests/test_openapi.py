"""The document against what is served, judged by schemathesis, which knows neither of them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis import Response as JudgedResponse
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from exporter.command import Outcome, Request, Result
from exporter.control_api import BODY_BYTES
from exporter.control_shapes import CommandAnswer, KnownCharger, KnownCommand, Problem
from exporter.errors import CommandPostponed, CommandRefused, CommandUnconfirmed
from exporter.openapi import OPERATIONS, Operation, document
from exporter.settings import SETTINGS
from tests.control_visits import SERIAL, SITE_ID, TOKEN, Answer, Asked, Served, served


def of_one_charger(described: dict[str, Any]) -> dict[str, Any]:
    """The document with the one serial and site there are: else hardly a request would get past them."""
    narrowed = deepcopy(described)
    for methods in narrowed["paths"].values():
        for operation in methods.values():
            for parameter in operation["parameters"]:
                parameter["schema"]["enum"] = [SERIAL if parameter["name"] == "serial" else SITE_ID]
    return narrowed


SCHEMA = schemathesis.openapi.from_dict(document())
FOR_ONE_CHARGER = schemathesis.openapi.from_dict(of_one_charger(document()))
DOCUMENTED = [
    pytest.param(operation, int(status), id=f"{operation.name}-{status}")
    for operation in OPERATIONS
    for status in document()["paths"][operation.path][operation.method.lower()]["responses"]
]
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
PLANNED = (Request(method="POST", path="/a", body="{}"), Request(method="PUT", path="/a"))
BODIES = {"trigger": {"message": "MeterValues"}, "chargeMode": {"mode": "SMART_CHARGING"}}


async def never_ending() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


def ways(asked: Asked) -> dict[int, Callable[[dict[str, Any]], None]]:
    """How each status is provoked: by what is sent, or by what becomes of the command."""

    def fails(error: Exception) -> Callable[[dict[str, Any]], None]:
        return lambda sent: setattr(asked, "error", error)

    def ends(outcome: Outcome) -> Callable[[dict[str, Any]], None]:
        return lambda sent: setattr(asked, "outcome", outcome)

    return {
        200: ends(Outcome(result=Result.NOOP, detail="", duration_seconds=60.0, would_send=PLANNED)),
        202: ends(Outcome(result=Result.ACCEPTED, detail="not seen", confirmed=False)),
        400: lambda sent: sent.update(query="?nonsense"),
        401: lambda sent: sent.update(token=None),
        404: lambda sent: sent.update(serial="0", site_id="0"),
        408: lambda sent: sent.update(json=None, data=never_ending()),
        413: lambda sent: sent.update(json=None, data=b" " * (BODY_BYTES + 1)),
        415: lambda sent: sent.update(headers={"Content-Type": "text/plain"}),
        429: fails(CommandPostponed("too many", retry_after_seconds=2.5)),
        502: fails(CommandRefused("no", status=400, code="iqevc_sch_10031")),
        504: fails(CommandUnconfirmed("no answer")),
    }


async def provoked(s: Served, operation: Operation, status: int) -> Answer:
    sent: dict[str, Any] = {"serial": SERIAL, "site_id": SITE_ID, "query": "", "token": TOKEN}
    if operation.action is not None:
        sent["json"] = BODIES.get(operation.name, {})
    ways(s.asked)[status](sent)
    path = operation.path.format(serial=sent.pop("serial"), site_id=sent.pop("site_id"))
    return await s.ask(operation.method, f"/api/v1{path}{sent.pop('query')}", **sent)


def judged(answer: Answer, operation: Operation) -> JudgedResponse:
    """The answer in the judge's own terms."""
    names = {name.lower(): [value] for name, value in answer.headers.items()}
    asked = requests.Request(operation.method, f"http://here/api/v1{operation.path}").prepare()
    return JudgedResponse(answer.status, names, answer.body, asked, elapsed=0.1, verify=False)


def test_the_document_tells_what_must_be_given_and_what_may() -> None:
    operations = [operation for path in document()["paths"].values() for operation in path.values()]
    bodies = {operation["operationId"]: operation.get("requestBody", {}) for operation in operations}
    assert {name for name, body in bodies.items() if body.get("required")} == set(BODIES)
    assert {name for name, body in bodies.items() if body} == {
        operation.name for operation in OPERATIONS if operation.action is not None
    }
    for path, methods in document()["paths"].items():
        for operation in methods.values():
            named = {(parameter["in"], parameter["name"]) for parameter in operation["parameters"]}
            assert (("query", "site_id") in named) == ("{serial}" in path)


def test_the_document_is_openapi() -> None:
    assert document()["openapi"] == "3.1.0"
    SCHEMA.validate()


async def test_the_document_is_served() -> None:
    async with served() as s:
        answer = await s.ask("GET", "/api/v1/openapi.json")
        assert (answer.media_type, answer.json()) == ("application/json", document())


@pytest.mark.parametrize(("operation", "status"), DOCUMENTED)
async def test_every_documented_status_is_served_as_documented(operation: Operation, status: int) -> None:
    async with served(body_seconds=0.05 if status == 408 else 5.0) as s:
        answer = await provoked(s, operation, status)
        assert answer.status == status, answer.body
        case = SCHEMA[operation.path][operation.method].Case(
            path_parameters=dict.fromkeys(operation.names, "0")
        )
        case.validate_response(judged(answer, operation), checks=CHECKS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.name.lower())
async def test_whatever_is_sent_is_answered_as_documented(operation: Operation, mode: GenerationMode) -> None:
    cases = FOR_ONE_CHARGER[operation.path][operation.method].as_strategy(generation_mode=mode)
    async with served() as s:

        @settings(max_examples=15, database=None, suppress_health_check=list(HealthCheck))
        @given(case=cases)
        def send(case: "Case[Any]") -> None:
            case.call_and_validate(base_url=f"{s.url}api/v1", headers={"Authorization": f"Bearer {TOKEN}"})

        await asyncio.to_thread(send)


async def test_the_statuses_that_are_documented_are_those_of_the_table() -> None:
    assert {operation.path for operation in OPERATIONS} == set(document()["paths"])
    async with served() as s:
        assert {status for operation in OPERATIONS for status in (200, *operation.statuses)} == set(
            ways(s.asked)
        )


# -- docs/control-api.md -----------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent / "docs" / "control-api.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_page_has_every_operation_and_its_keys(operation: Operation) -> None:
    heading = next(line for line in PAGE.splitlines() if line.startswith("#") and named(operation) in line)
    section = PAGE.split(heading)[1].split("\n### ")[0]
    if operation.action is not None:
        for key in operation.body.__struct_fields__:
            assert f"`{key}`" in section


def named(operation: Operation) -> str:
    return f"{operation.method} /api/v1{operation.path}"


def test_the_page_has_every_status_and_every_key_of_a_charger() -> None:
    statuses = {int(status) for status in re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)}
    assert statuses == {200, 405, *(status for operation in OPERATIONS for status in operation.statuses)}
    told = set(re.findall(r"`(\w+)`", PAGE))
    assert {*KnownCharger.__struct_fields__, *KnownCommand.__struct_fields__} <= told


def test_the_answers_on_the_page_are_answers() -> None:
    answers = [json.loads(block) for block in blocks("json")]
    assert len(answers) == 6
    for answer in answers:
        shape: type[msgspec.Struct] = CommandAnswer if "command" in answer else Problem
        assert msgspec.to_builtins(msgspec.convert(answer, shape)) == answer


def test_the_yaml_on_the_page_can_be_read() -> None:
    assert len(blocks("yaml")) == 3
    for block in blocks("yaml"):
        assert yaml.compose(block, Loader=yaml.SafeLoader) is not None


def test_the_settings_on_the_page_are_settings() -> None:
    keys = {f"control.{key}" for key in yaml.safe_load(blocks("yaml")[0])["control"]}
    assert keys - {"control.tokens"} <= {spelling for setting in SETTINGS for spelling in setting.spellings}
