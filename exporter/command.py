"""A command to a charger and what became of it; values only."""

from dataclasses import dataclass
from enum import StrEnum

from exporter.model import ChargeMode

CONFIRM_SECONDS = 90.0
"""How long status may lag behind a command: the cloud queues it, and the charger takes its time."""


class Action(StrEnum):
    """What can be asked for; the `command` label of `enphase_ev_control_commands_total`."""

    START = "start"
    STOP = "stop"
    TRIGGER = "trigger"
    CHARGE_MODE = "charge_mode"
    LIVE_STREAM_START = "live_stream_start"
    LIVE_STREAM_STOP = "live_stream_stop"


COUNTED_RESULTS = ("accepted", "unconfirmed", "noop", "failed", "refused")
"""The `result` label: of those accepted, the ones that status did not show in time are told apart."""


class Result(StrEnum):
    """What became of a command: queued by the cloud, without effect by its nature, or not done."""

    ACCEPTED = "accepted"
    NOOP = "noop"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command as it was asked for. `serial` is None for a live stream, which is of a whole site.

    `amps`, `restart` are of START; `message`, `sure` of TRIGGER; `mode` of CHARGE_MODE. `who` is the name of
    the token. `wait_seconds` is how long the caller waits for status to confirm it; 0: not at all.
    """

    action: Action
    who: str
    site_id: str
    serial: str | None = None
    amps: int | None = None
    restart: bool = False
    message: str = ""
    sure: bool = False
    mode: ChargeMode | None = None
    dry_run: bool = False
    wait_seconds: float = CONFIRM_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request that a command makes, or would make: for a dry run and for the log."""

    method: str
    path: str
    body: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a command that was not refused.

    `confirmed`: status has shown the effect since (True), has not within the wait (False), or cannot show it
    (None). `would_send` is of a dry run: the first request, then those tried if the cloud has no such route.
    """

    result: Result
    detail: str
    confirmed: bool | None = None
    duration_seconds: float | None = None
    would_send: tuple[Request, ...] = ()
