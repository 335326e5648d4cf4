"""What `/api/v1` can be asked for: its operations, and the OpenAPI document made of them.

Requests are found in the same table and bodies are read into the same shapes, so the document cannot promise
another API than there is.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from exporter.command import Action
from exporter.control_shapes import (
    Body,
    ChargeModeBody,
    CommandAnswer,
    KnownChargeMode,
    KnownCharger,
    KnownChargers,
    LiveStreamBody,
    Problem,
    StartBody,
    StopBody,
    TriggerBody,
)

_READ = (400, 401)
_READ_CHARGER = (*_READ, 404)
_COMMAND = (202, *_READ_CHARGER, 408, 413, 415, 429, 502, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `path` is what follows /api/v1; `statuses` what it answers besides 200.

    `action` and `body` are of commands; a body may be left out unless it has a key that must be there.
    """

    name: str
    method: str
    path: str
    summary: str
    answer: type[msgspec.Struct] | None
    statuses: tuple[int, ...]
    action: Action | None = None
    body: type[Body] = Body

    @property
    def names(self) -> tuple[str, ...]:
        """What the path names: `serial`, `site_id` or nothing."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


def _read(name: str, path: str, answer: type[msgspec.Struct] | None, summary: str) -> Operation:
    statuses = _READ_CHARGER if "{" in path else _READ
    return Operation(name=name, method="GET", path=path, summary=summary, answer=answer, statuses=statuses)


def _command(action: Action, method: str, path: str, body: type[Body], summary: str) -> Operation:
    first, *others = action.split("_")
    return Operation(
        name=first + "".join(map(str.title, others)),
        method=method,
        path=path,
        summary=summary,
        answer=CommandAnswer,
        statuses=_COMMAND,
        action=action,
        body=body,
    )


_CHARGER = "/chargers/{serial}"
_STREAM = "/sites/{site_id}/live-stream"
OPERATIONS = (
    _read("chargers", "/chargers", KnownChargers, "What is known of every charger."),
    _read("charger", _CHARGER, KnownCharger, "What is known of a charger."),
    _command(Action.START, "POST", f"{_CHARGER}/start", StartBody, "Start charging, or set amps."),
    _command(Action.STOP, "POST", f"{_CHARGER}/stop", StopBody, "Stop charging."),
    _command(Action.TRIGGER, "POST", f"{_CHARGER}/trigger", TriggerBody, "Ask for an OCPP message."),
    _read(
        "chargeModeKnown", f"{_CHARGER}/charge-mode", KnownChargeMode, "Preferred and running charge mode."
    ),
    _command(Action.CHARGE_MODE, "PUT", f"{_CHARGER}/charge-mode", ChargeModeBody, "Prefer a charge mode."),
    _command(Action.LIVE_STREAM_START, "POST", _STREAM, LiveStreamBody, "Begin a burst of rapid updates."),
    _command(Action.LIVE_STREAM_STOP, "DELETE", _STREAM, LiveStreamBody, "End the burst."),
    _read("openapi", "/openapi.json", None, "This document."),
)


# -- the document ------------------------------------------------------------------------------------------

_MEANINGS = {
    200: "Done, or without effect by its nature.",
    202: "Accepted by the cloud, and not seen in status within the wait; or a noop that status contradicts.",
    400: "Not a request for this charger; the detail says what is allowed. Nothing was sent.",
    401: "No valid token.",
    404: "No such charger or site. Nothing was sent.",
    408: "The body did not arrive in time. Nothing was sent.",
    413: "The body is too large. Nothing was sent.",
    415: "The body is not JSON. Nothing was sent.",
    429: "Too many commands, or the cloud asks to wait. Not applied; may be given again later.",
    502: "The cloud refused it, or a newer command came first. Not applied, but for two cases: with a"
    " cloud_status from 500 on it may have been; and of a restart the detail tells what was done.",
    504: "The cloud did not answer. It may or may not have been applied; it is not sent again.",
}
_HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    429: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}},
}
_ABOUT = (
    "Control of EV chargers through the Enlighten cloud. Unknown paths answer 404 and unknown methods 405,"
    " both as application/problem+json; without a valid token everything answers 401."
)
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "controlToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Control-Token",
        "description": "Where basic auth takes the Authorization header.",
    },
}
_SITE_ID = {
    "name": "site_id",
    "in": "query",
    "description": "Which site, when a serial is known at several.",
    "schema": {"type": "string"},
}


@cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document, as plain data."""
    shapes = [operation.answer for operation in OPERATIONS if operation.answer is not None]
    bodies = [operation.body for operation in OPERATIONS if operation.action is not None]
    _, schemas = msgspec.json.schema_components(
        [*shapes, *bodies, Problem], ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "enphase-ev-exporter control", "version": "1", "description": _ABOUT},
        "servers": [{"url": "/api/v1"}],
        "security": [{name: []} for name in _SECURITY],
        "paths": paths,
        "components": {"securitySchemes": _SECURITY, "schemas": schemas},
    }


def _described(operation: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in operation.names
    ]
    if "serial" in operation.names:
        parameters.append(_SITE_ID)
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {str(status): _response(operation, status) for status in (200, *operation.statuses)},
    }
    if operation.action is not None:
        needed = any(field.required for field in msgspec.structs.fields(operation.body))
        described["requestBody"] = {
            "required": needed,
            "content": _content("application/json", operation.body),
        }
    return described


def _response(operation: Operation, status: int) -> dict[str, Any]:
    if status >= 400:
        content = _content("application/problem+json", Problem)
    else:
        content = _content("application/json", operation.answer)
    headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
    return {"description": _MEANINGS[status], "content": content, **headers}


def _content(media_type: str, shape: type[msgspec.Struct] | None) -> dict[str, Any]:
    schema = {"type": "object"} if shape is None else {"$ref": f"#/components/schemas/{shape.__name__}"}
    return {media_type: {"schema": schema}}
