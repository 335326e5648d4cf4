"""The `login` command: a person at a terminal or a script at a pipe at one end, the state at the other."""

import getpass
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from exporter import __version__, logs
from exporter import guard as guards
from exporter.accounts import build_transport, cloud_http, credentials_of, revealed, surfaces_of
from exporter.auth import Credentials
from exporter.config import AccountConfig, Config, state_folder
from exporter.errors import AuthError, BadCredentials, ConfigError, TooManyLogins
from exporter.instruments import Instruments
from exporter.kept_logins import (
    NOTHING_KEPT,
    KeptLogin,
    read_logins,
    ready_to_write,
    write_by_person,
    write_guard,
)
from exporter.login_command import RESEND_PAUSE_SECONDS, log_in
from exporter.model import Guard, Login
from exporter.schedule import RequestWindow

# The cloud counts logins made by hand as well.
MANUAL_PAUSE_SECONDS = 60.0
# A code that is asked for, and headers that have expired, are no refusals.
_NO_REFUSALS = ("mfa_required", "expired")
_REFUSALS: Mapping[type[AuthError], str] = {BadCredentials: "invalid_credentials", TooManyLogins: "blocked"}


@dataclass
class Terminal:
    """Asks at a terminal, or reads line by line from a pipe."""

    tell: Callable[[str], None]
    lines: Iterator[str] = field(default_factory=lambda: iter(sys.stdin))

    def ask(self, prompt: str) -> str:
        """One line; EOFError when there is none."""
        return self._answer(prompt, input)

    def ask_secret(self, prompt: str) -> str:
        """One line that is not shown; EOFError when there is none."""
        return self._answer(prompt, getpass.getpass)

    def _answer(self, prompt: str, at_terminal: Callable[[str], str]) -> str:
        try:
            if not sys.stdin.isatty():
                return next(self.lines).rstrip("\r\n")
            with _interruptible():
                return at_terminal(prompt)
        except (EOFError, StopIteration):
            raise EOFError(f"no more input to answer {prompt.strip()!r}") from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a prompt at once; asyncio's handler would wait for the line."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def account_of(config: Config, name: str | None) -> AccountConfig:
    """The account meant: the named one, or the only one. Raises ConfigError."""
    names = [account.name for account in config.accounts]
    if name is None and len(names) > 1:
        raise ConfigError(f"--account: there are several, expected one of {', '.join(names)}")
    for account in config.accounts:
        if name in (None, account.name):
            return account
    if names:
        raise ConfigError(f"--account: no account {name!r}, expected one of {', '.join(names)}")
    nameless = AccountConfig()
    if name not in (None, nameless.name):  # no exporter would find what is kept under it
        raise ConfigError(
            f"--account: no account {name!r}, as no account is configured, expected --config.file with the "
            "config that has it"
        )
    return nameless


async def login_account(
    config: Config,
    account: AccountConfig,
    email: str | None,
    terminal: Terminal,
    *,
    resend_pause_seconds: float = RESEND_PAUSE_SECONDS,
) -> None:
    """Log in and keep the login; the state folder's exporter picks it up. Raises ExporterError, EOFError."""
    folder = state_folder(config)
    kept = read_logins(folder).get(account.name, NOTHING_KEPT)
    _refuse_haste(kept.guard)
    email = _email(account, email) or terminal.ask("E-mail: ").strip()
    password = revealed(account.password) or terminal.ask_secret("Password: ")
    for private in (email, password):
        logs.conceal(private)
    ready_to_write(folder)  # a login that cannot be kept would be one for nothing
    # A person may take minutes over a code, and the cloud closes what idles.
    async with cloud_http(keep_open=False) as http:
        transport = build_transport(config, http, Instruments(__version__), RequestWindow())
        try:
            login = await log_in(
                transport,
                surfaces_of(config),
                email,
                password,
                terminal,
                resend_pause_seconds=resend_pause_seconds,
            )
        except AuthError as error:
            if type(error) in _REFUSALS:
                used = replace(credentials_of(account), email=email, password=password)
                write_guard(folder, account.name, _refused(kept.guard, error, used, time.time()))
            raise
    write_by_person(folder, account.name, login)
    terminal.tell(
        f"Logged in. {_expiry(login)} The login is kept in {folder.absolute()}: an exporter with this state "
        "folder picks it up within seconds."
    )


def _email(account: AccountConfig, email: str | None) -> str | None:
    """The e-mail meant. Another one than the config's would be a login that the exporter does not take."""
    if email and account.email and email.strip() != account.email:
        raise ConfigError(f"--email: account {account.name} has another one in the config, expected that one")
    return account.email or (email or "").strip() or None


def _refuse_haste(guard: Guard | None) -> None:
    if guard is None or guard.reason in _NO_REFUSALS:
        return
    waited = time.time() - guard.at_seconds
    if 0 <= waited < MANUAL_PAUSE_SECONDS:
        raise TooManyLogins(
            "login", f"one was refused moments ago: wait {MANUAL_PAUSE_SECONDS - waited:.0f} s"
        )


def _refused(before: Guard | None, error: AuthError, used: Credentials, now: float) -> Guard:
    """The guard to keep: no second try with the same credentials, by the exporter or in haste by hand."""
    if before is not None and not guards.holds_for(before, *used.parts()):
        return replace(before, at_seconds=now)  # it holds for what the exporter logs in with
    message = str(error).partition(": ")[2]
    fingerprint = guards.fingerprint(*used.parts())
    return guards.after_refusal(before, _REFUSALS[type(error)], message, now=now, credentials=fingerprint)


def forget(config: Config, account: AccountConfig) -> str:
    """Remove the kept login; says what was done."""
    folder = state_folder(config)
    if read_logins(folder).get(account.name, KeptLogin()).login is None:
        return f"No login is kept for account {account.name}."
    write_by_person(folder, account.name, None)
    return f"The login of account {account.name} is removed."


def status(config: Config, names: list[str]) -> list[str]:
    """A line or two for each account: the login that is kept, and what holds logins back. Nothing secret."""
    kept = read_logins(state_folder(config))
    lines = []
    for name in names or sorted(kept):
        known = kept.get(name, KeptLogin())
        lines.append(f"{name}: {'no login kept' if known.login is None else _described(known.login)}")
        if known.guard is not None and known.guard.reason != "unfinished":
            until = known.guard.until_seconds
            when = "until a person helps" if until is None else f"before {_moment(until)}"
            lines.append(f"{name}: {known.guard.message}; no login is tried {when}")
    return lines or ["no account is configured and no login is kept"]


def _described(login: Login) -> str:
    return f"logged in since {_moment(login.obtained_seconds)}. {_expiry(login)}"


def _expiry(login: Login) -> str:
    if login.token is None:
        return "There is no access token; cookies have to do."
    if login.token_expiry_seconds is None:
        return "The access token does not say when it expires."
    return f"The access token expires {_moment(login.token_expiry_seconds)}."


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
