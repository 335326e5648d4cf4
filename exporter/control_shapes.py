"""The JSON of `/api/v1`: what commands are read into, and what is told of chargers and commands."""

import json
import re
from typing import Annotated, Any, ClassVar, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from exporter.command import CONFIRM_SECONDS, Action, Command, Outcome, Result
from exporter.errors import CommandInvalid
from exporter.lane import LastCommand
from exporter.model import ChargeMode, Charger, ConnectorStatus, Site

# A float, since to JSON 16 and 16.0 are one number, and clients that calculate send the latter.
Amps = Annotated[
    float,
    Meta(
        ge=1,
        le=100,
        multiple_of=1,
        description="Amperes; within what the charger allows.",
        extra_json_schema={"type": "integer"},
    ),
]
DryRun = Annotated[bool, Meta(description="Only tell what would be sent to the cloud.")]
WaitSeconds = Annotated[
    float,
    Meta(
        ge=0,
        le=CONFIRM_SECONDS,
        description="How long to wait for status to confirm it; 0: answer at once.",
    ),
]
Mode = Literal["MANUAL_CHARGING", "SCHEDULED_CHARGING", "GREEN_CHARGING", "SMART_CHARGING"]
_MODES = get_args(Mode)
_REASON_LENGTH = 160  # a key may be as long as the body
_SWITCH = "true or false"
_DRY_RUN = f"dry_run ({_SWITCH})"
_WAIT = f"wait_seconds (0 to {CONFIRM_SECONDS:g})"


# -- what is taken: `expects` is what a refused body is answered with --------------------------------------


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every command takes."""

    expects: ClassVar[str] = _DRY_RUN

    dry_run: DryRun = False


class LiveStreamBody(Body, kw_only=True):
    """How to begin or end a live stream."""


class StopBody(Body, kw_only=True):
    """How to stop charging."""

    expects: ClassVar[str] = f"{_DRY_RUN}, {_WAIT}"

    wait_seconds: WaitSeconds = CONFIRM_SECONDS


class StartBody(StopBody, kw_only=True):
    """How to start charging, or which amps to set."""

    expects: ClassVar[str] = f"amps (a whole number, 1 to 100), restart ({_SWITCH}), {StopBody.expects}"

    amps: Amps | UnsetType = UNSET
    restart: Annotated[
        bool, Meta(description="Stop a session that is going on and start it again with these amps.")
    ] = False


class TriggerBody(Body, kw_only=True):
    """Which OCPP message to ask the charger for."""

    expects: ClassVar[str] = f"message (a name such as MeterValues), sure ({_SWITCH}), {_DRY_RUN}"

    message: Annotated[
        str, Meta(description="Heartbeat, MeterValues, StatusNotification; others only when sure.")
    ]
    sure: Annotated[bool, Meta(description="Allow a message that does more than report.")] = False


class ChargeModeBody(StopBody, kw_only=True):
    """Which charge mode to prefer."""

    expects: ClassVar[str] = f"mode (one of {', '.join(_MODES)}), {StopBody.expects}"

    mode: Mode


def command_fields(text: bytes, shape: type[Body]) -> dict[str, Any]:
    """The fields of a Command that a JSON body gives; an empty body gives none.

    Raises CommandInvalid, naming the key and what is allowed.
    """
    text = text or b"{}"
    try:
        body = msgspec.json.decode(text, type=shape)
        # Every value is plain by now, so that this reader cannot be led into the deep.
        json.loads(text, object_pairs_hook=_without_repetition)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CommandInvalid(f"{_reason(error)}; allowed: {shape.expects}") from None
    given = msgspec.structs.asdict(body).items()
    fields = {name: value for name, value in given if value is not UNSET}
    for name, made in (("amps", int), ("mode", ChargeMode)):
        if name in fields:
            fields[name] = made(fields[name])
    return fields


def _without_repetition(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    repeated = next((key for key in keys if keys.count(key) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated}: given more than once")


def _reason(error: Exception) -> str:
    """The message with the key in front: ``amps: Expected `int`, got `str` ``."""
    text = str(error) if isinstance(error, msgspec.DecodeError) or type(error) is ValueError else "not JSON"
    match = re.fullmatch(r"(.*) - at `\$\.(.*)`", text, re.DOTALL)
    text = f"{match[2]}: {match[1]}" if match else text
    return text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}…"


# -- what is given -----------------------------------------------------------------------------------------


class PlannedRequest(msgspec.Struct, kw_only=True):
    """A request to the cloud."""

    method: str
    path: str
    body: str | None


class CommandAnswer(msgspec.Struct, kw_only=True):
    """What became of a command."""

    command: Action
    site_id: Annotated[str | None, Meta(description="null while status of its site is too old to show.")]
    serial: str | None
    result: Literal["accepted", "noop"]
    detail: str
    confirmed: Annotated[
        bool | None,
        Meta(description="Status has shown the effect, has not in time, or (null) cannot show it."),
    ]
    duration_seconds: Annotated[float | None, Meta(description="For how long a live stream was granted.")]
    would_send: Annotated[
        list[PlannedRequest],
        Meta(description="Of a dry run: the first request, then those tried if there is no such route."),
    ]


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a request was not done, after RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    result: Annotated[Literal["failed"] | UnsetType, Meta(description="Of a command only.")] = UNSET
    cloud_status: Annotated[int | UnsetType, Meta(description="HTTP status of the cloud's answer.")] = UNSET
    cloud_code: Annotated[str | UnsetType, Meta(description="The cloud's own code, when it gave one.")] = (
        UNSET
    )


class KnownCommand(msgspec.Struct, kw_only=True):
    """The newest command to a charger since the exporter started: commanded, not observed."""

    command: Action
    amps: int | None
    mode: ChargeMode | None
    result: Result
    confirmed: Annotated[bool | None, Meta(description="As in the answer; false while it is awaited.")]
    timestamp_seconds: float


class KnownChargeMode(msgspec.Struct, kw_only=True):
    """The charge mode that is preferred, and the one that is running; they may differ."""

    site_id: str
    serial: str
    charge_mode: ChargeMode | None
    running_charge_mode: ChargeMode | None


class KnownCharger(KnownChargeMode, kw_only=True):
    """What is known of a charger, named as its metrics are; null is what the cloud did not say."""

    account: str
    site_name: str | None
    up: Annotated[bool | None, Meta(description="Whether the last status poll of its site worked.")]
    status_timestamp_seconds: float | None
    status_age_seconds: Annotated[float | None, Meta(description="Since the last good status arrived.")]
    name: str | None
    model: str | None
    firmware_version: str | None
    processor_board_version: str | None
    connected: bool | None
    plugged_in: bool | None
    charging: bool | None
    faulted: bool | None
    connector_status: ConnectorStatus | None
    connector_status_reason: str | None
    iec_status: Annotated[
        Literal["A", "B", "C", "F"] | None,
        Meta(description="A no car, B car, C charging, F fault; null while the charger is away or unknown."),
    ]
    charging_level_amperes: float | None
    min_amperes: float | None
    max_amperes: float | None
    granularity_amperes: Annotated[float | None, Meta(description="Step between the amps it allows.")]
    rated_amperes: float | None
    operating_voltage_volts: float | None
    power_watts: Annotated[float | None, Meta(description="An estimate from reported energy.")]
    session_energy_kwh: float | None
    session_start_timestamp_seconds: float | None
    session_plugged_in_timestamp_seconds: float | None
    session_plugged_out_timestamp_seconds: float | None
    energy_kwh_total: float | None
    lifetime_energy_kwh_total: float | None
    sessions_total: int | None
    faults_total: int | None
    charging_seconds_total: float | None
    plugged_in_seconds_total: float | None
    safe_limit_active: bool | None
    dlb_active: bool | None
    dlb_enabled: bool | None
    schedule_enabled: bool | None
    last_reported_timestamp_seconds: float | None
    last_command: KnownCommand | None


class KnownChargers(msgspec.Struct, kw_only=True):
    """Every charger of every site."""

    chargers: list[KnownCharger]


# Names of the metrics that differ from the names of the Charger's fields.
_FIELDS = {
    "session_start_timestamp_seconds": "session_start_seconds",
    "session_plugged_in_timestamp_seconds": "session_plugged_in_seconds",
    "session_plugged_out_timestamp_seconds": "session_plugged_out_seconds",
    "last_reported_timestamp_seconds": "last_reported_seconds",
    "energy_kwh_total": "energy_kwh",
    "lifetime_energy_kwh_total": "lifetime_energy_kwh",
    "sessions_total": "sessions",
    "faults_total": "faults",
    "charging_seconds_total": "charging_seconds",
    "plugged_in_seconds_total": "plugged_in_seconds",
}
_OF_CHARGER = {
    name: _FIELDS.get(name, name)
    for name in KnownCharger.__struct_fields__
    if hasattr(Charger, _FIELDS.get(name, name))
}


def iec_status(charger: Charger) -> Literal["A", "B", "C", "F"] | None:
    """The letter of IEC 61851: A no car, B car, C charging, F fault; None while it cannot be known.

    An offline charger's fields are as they last were, so they say nothing of now.
    """
    if charger.connected is False:
        return None
    if charger.faulted:
        return "F"
    if charger.charging:
        return "C"
    if charger.plugged_in is False:
        return "A"
    return "B" if charger.plugged_in and charger.charging is False else None


def known_charger(
    site: Site, charger: Charger, last: LastCommand | None, *, status_age_seconds: float | None
) -> KnownCharger:
    """What is known of a charger; the address it has at home is not told."""
    return KnownCharger(
        **{name: getattr(charger, field) for name, field in _OF_CHARGER.items()},
        account=site.account,
        site_name=site.name,
        up=site.up,
        status_timestamp_seconds=site.status_timestamp_seconds,
        status_age_seconds=status_age_seconds,
        iec_status=iec_status(charger),
        last_command=None if last is None else _known_command(last),
    )


def _known_command(last: LastCommand) -> KnownCommand:
    return KnownCommand(
        command=last.action,
        amps=last.amps,
        mode=last.mode,
        result=last.result,
        confirmed=last.confirmed,
        timestamp_seconds=last.at_seconds,
    )


def command_answer(command: Command, outcome: Outcome) -> CommandAnswer:
    """What the one who gave a command is told of its outcome."""
    return CommandAnswer(
        command=command.action,
        site_id=command.site_id or None,
        serial=command.serial,
        result="noop" if outcome.result is Result.NOOP else "accepted",
        detail=outcome.detail,
        confirmed=outcome.confirmed,
        duration_seconds=outcome.duration_seconds,
        would_send=[
            PlannedRequest(method=planned.method, path=planned.path, body=planned.body)
            for planned in outcome.would_send
        ],
    )
