"""Every error the exporter raises on purpose.

ExporterError                        reason: the metric label, bounded
├── ConfigError                      names file, key and rule; exit 2
├── StateError                       unreadable state: set aside, start cold, warn once
├── CloudError(endpoint)             kind: the `kind` label of enphase_ev_api_errors_total
│   ├── Unreachable                  DNS, connect, timeout           retry, backoff
│   │   └── NotSent                  no connection, or no login      a command was not applied
│   ├── Unavailable                  5xx, maintenance HTML           retry, backoff
│   ├── RateLimited(retry_after)     429                             wait; header honoured, capped
│   ├── Rejected                     another 4xx                     long wait: asking again does not help
│   ├── NotOffered                   403/404 on an optional endpoint ask again much later; not a failure
│   ├── UnexpectedPayload            not what parse.py knows         no retry; keep last snapshot
│   └── AuthError
│       ├── LoginExpired             401 / login page with 200       one renewal, one replay, reads only
│       ├── BadCredentials           refused                         stop; no further login until changed
│       ├── MfaRequired              a person is needed              stop; message says which command
│       └── TooManyLogins            account limit or lock           cool down, long
└── CommandError                     a command to a charger that was not done
    ├── CommandInvalid               not a command for this charger  400; says what is allowed
    ├── UnknownCharger               no such charger or site         404
    ├── CommandPostponed(retry_after) our limit, or the cloud's 429  429; later
    ├── CommandRefused(status, code) provably not applied            502; report
    └── CommandUnconfirmed           may have been applied           504; report; never replay

A class exists when some handler does something different for it.
"""

from typing import ClassVar


class ExporterError(Exception):
    """Root of the tree; `reason` is a bounded word fit for a metric label."""

    reason: ClassVar[str] = "internal"


class ConfigError(ExporterError):
    """A setting that cannot be used; the message names file, key and rule."""

    reason = "config"


class StateError(ExporterError):
    """State that cannot be read or written."""

    reason = "state"


class CloudError(ExporterError):
    """One exchange with the cloud that did not give what was asked for.

    `endpoint` is the label value of the exchange, `kind` the label of `enphase_ev_api_errors_total`,
    `status` the HTTP status or 0 when there was no answer.
    """

    def __init__(self, endpoint: str, message: str, *, kind: str | None = None, status: int = 0) -> None:
        super().__init__(f"{endpoint}: {message}")
        self.endpoint = endpoint
        self.kind = kind or self.reason
        self.status = status


class Unreachable(CloudError):
    """No answer: DNS, connect, reset (`connection`) or `timeout`."""

    reason = "connection"


class NotSent(Unreachable):
    """The cloud was not reached at all, so that it cannot have done anything."""


class Unavailable(CloudError):
    """The cloud answered that it cannot answer: 5xx, or an outage page in place of JSON."""

    reason = "server_error"


class RateLimited(CloudError):
    """429. `retry_after_seconds` is what the Retry-After header asked for, None without a usable one."""

    reason = "rate_limited"

    def __init__(
        self, endpoint: str, message: str, *, retry_after_seconds: float | None = None, status: int = 429
    ) -> None:
        super().__init__(endpoint, message, status=status)
        self.retry_after_seconds = retry_after_seconds


class Rejected(CloudError):
    """A 4xx that asking again will not change: wrong site id, no permission, User-Agent refused."""

    reason = "client_error"


class NotOffered(CloudError):
    """403 or 404 on an endpoint this account or site need not have."""

    reason = "client_error"


class UnexpectedPayload(CloudError):
    """A body that is not what parse.py knows."""

    reason = "invalid_payload"


class AuthError(CloudError):
    """The cloud does not accept who we are."""

    reason = "unauthorized"


class LoginExpired(AuthError):
    """401, or a login page in place of JSON (`kind` is then `login_page`)."""


class BadCredentials(AuthError):
    """E-mail or password refused."""


class MfaRequired(AuthError):
    """The account wants a one-time code, so only a person can log in."""


class TooManyLogins(AuthError):
    """The account is blocked, or has too many active sessions."""


class CommandError(ExporterError):
    """A command that was not done; the message is for the one who gave it."""

    reason = "command"


class CommandInvalid(CommandError):
    """Not a command for this charger; nothing was sent, and the message says what is allowed."""


class UnknownCharger(CommandError):
    """No charger, or site, of that name; nothing was sent."""


class CommandPostponed(CommandError):
    """Too many commands, or the cloud asks to wait; not applied, and may be given again later."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class CommandRefused(CommandError):
    """The cloud answered, and the answer means that nothing was done.

    `status` is its HTTP status and `code` its errorMessageCode, empty where it gave none.
    """

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CommandUnconfirmed(CommandError):
    """No answer came: the command may or may not have been applied. It is never sent again by itself."""
