"""How the pretend cloud behaves when nothing is wrong, and which of the real cloud's faces it shows."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

DAY_SECONDS = 86400.0

AcceptedAs = Literal["seed", "enveloped", "official", "no_content", "reset_content", "empty"]


@dataclass
class CloudConfig:
    """Every field may be changed while the cloud runs.

    surface: `web` logs in at /login/login.json, `entrez` at /login; the other one answers
    `wrong_surface_status`. captured_tokens: e-auth-token values that are a session together with any cookie.
    expired_as: what a request without a valid session gets: 401 with JSON or an empty body, or the HTML
    login page with 200, at once or through a redirect. require_token: 500 from EV services without
    e-auth-token. rotate_every: every n-th answer to a logged-in client brings a new session cookie.
    journal_entries: how many requests the journal keeps; read when the cloud is made.

    start_variants, stop_variants: which ways to ask work, by their index in controls.STARTS and STOPS; the
    others meet a wrong verb (405), a missing route (404) or unknown keys (400). accepted_as: the shape of
    `accepted`; None is the seed's for start and stop, that of status for triggers. not_plugged_status: 400,
    409 or 422 for a start without a car. repeated_start_status: 400 or 404 for a start while charging.
    nothing_to_stop_status: 400, 404, 409 or 422. command_lag_seconds, mode_lag_seconds: simulated, until an
    accepted command has its effect. levels_need_restart: a new level is stored, and a running charging
    session keeps its own. green_resumes_after_seconds: how long a stop lasts in green and smart mode; None is
    for ever. trigger_word: the charger's answer to a trigger; only `accepted` makes it do something.
    mode_put_400_though_applied: a change of mode is answered like a refusal. live_stream_status: 200, or the
    refusals 472 and 473. live_stream_seconds: None is 900, or 60 in the flat shape.
    """

    email: str = "owner@example.com"
    password: str = "correct horse"  # noqa: S105 (the pretend owner's)
    surface: Literal["web", "entrez"] = "web"
    wrong_surface_status: int = 404
    login_outcome: str = "ok"
    mfa: Literal["explicit", "implicit"] | None = None
    mfa_code: str = "123456"
    refusal: Literal["401", "403", "200"] = "401"
    max_logins: int | None = None
    token_lifetime_seconds: float = DAY_SECONDS
    session_lifetime_seconds: float = 30 * DAY_SECONDS
    captured_tokens: set[str] = field(default_factory=set)
    expired_as: Literal["json", "empty", "login_page", "redirect"] = "json"
    require_token: bool = False
    rotate_every: int = 0
    shape: Literal["enveloped", "flat"] = "enveloped"
    singular_status: bool = False
    unknown_site_status: int = 403
    latency_seconds: float = 0.0
    clock_skew_seconds: float = 0.0
    journal_entries: int = 10_000
    start_variants: AbstractSet[int] = frozenset({0, 3, 4, 5, 7})
    stop_variants: AbstractSet[int] = frozenset({0})
    accepted_as: AcceptedAs | None = None
    not_plugged_status: int = 400
    repeated_start_status: Literal[400, 404] = 400
    nothing_to_stop_status: int = 400
    command_lag_seconds: float = 0.0
    levels_need_restart: bool = True
    green_resumes_after_seconds: float | None = None
    trigger_word: str = "accepted"
    mode_lag_seconds: float = 0.0
    mode_put_400_though_applied: bool = False
    live_stream_status: int = 200
    live_stream_seconds: int | None = None
