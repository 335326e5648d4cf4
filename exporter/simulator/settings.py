"""How the pretend cloud behaves when nothing is wrong, and which of the real cloud's faces it shows."""

from dataclasses import dataclass, field
from typing import Literal

DAY_SECONDS = 86400.0


@dataclass
class CloudConfig:
    """Every field may be changed while the cloud runs.

    surface: `web` logs in at /login/login.json, `entrez` at /login; the other one answers
    `wrong_surface_status`. captured_tokens: e-auth-token values that are a session together with any cookie.
    expired_as: what a request without a valid session gets: 401 with JSON or an empty body, or the HTML
    login page with 200, at once or through a redirect. require_token: 500 from EV services without
    e-auth-token. rotate_every: every n-th answer to a logged-in client brings a new session cookie.
    journal_entries: how many requests the journal keeps; read when the cloud is made.
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
