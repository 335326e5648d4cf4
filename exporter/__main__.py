"""argv → subcommand → exit code; the only place that prints or exits.

Exit codes: 0 a clean stop, 1 a failure while running, 2 bad usage or config.
"""

import argparse
import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from exporter import __version__, logs
from exporter.config import (
    Config,
    add_flags,
    config_path_of,
    flags_of,
    load,
    masked,
    private_texts,
    state_folder,
)
from exporter.errors import ConfigError, ExporterError

OK, FAILED, BAD_USAGE = 0, 1, 2


def main() -> int:
    """Run the command line of this process; a reader that leaves early, as `head` does, is exit code 1."""
    sys.excepthook = _print_bug
    try:
        try:
            return run(sys.argv[1:])
        finally:
            if sys.stdout is not None:  # closed by the caller
                sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more as it ends, and would complain of what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _print_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback that can be shown to anyone: errors of bugs hold whatever they stumbled over."""
    text = "".join(traceback.format_exception(kind, error, trace))
    print(logs.redact(text), end="", file=sys.stderr)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ConfigError as error:
        print(f"enphase-ev-exporter: {error}", file=sys.stderr)
        return BAD_USAGE
    except ExporterError as error:
        print(f"enphase-ev-exporter: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return FAILED


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    add_flags(common)
    parser = argparse.ArgumentParser(
        prog="enphase-ev-exporter",
        description="Prometheus exporter for Enphase IQ EV chargers. Without a command: run.",
        parents=[common],
        allow_abbrev=False,
    )
    parser.set_defaults(command=_run)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="")
    for name, command, text in (
        ("run", _run, "the exporter, in the foreground"),
        ("check", _check, "say what is wrong with config, machine and account, and show the config"),
        ("healthcheck", _healthcheck, "ask the running exporter's /-/healthy"),
        ("metrics-doc", _metrics_doc, "print docs/metrics.md"),
    ):
        sub = commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        sub.set_defaults(command=command)
        if name == "check":
            sub.add_argument("--online", action="store_true", help="also ask the cloud and the exporter")
            sub.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    _add_login(commands, common)
    _add_sessions(commands, common)
    _add_simulated(commands, common)
    _add_reports(commands, common)
    _add_assets(commands, common)
    return parser


def _add_login(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    text = "log in once and keep the login; asks for the one-time code"
    sub = commands.add_parser("login", help=text, description=text, parents=[common], allow_abbrev=False)
    sub.set_defaults(command=_login)
    sub.add_argument("--account", metavar="NAME", help="the account meant; needed when there are several")
    sub.add_argument("--email", help="where the config has none; the password is asked for, or read")
    what = sub.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="show what is kept, nothing secret")
    what.add_argument("--forget", action="store_true", help="remove the login that is kept")


def _add_sessions(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    text = "list the recorded charging sessions"
    sub = commands.add_parser("sessions", help=text, description=text, parents=[common], allow_abbrev=False)
    sub.set_defaults(command=_sessions)
    moment = "2026-05-01, '2026-05-01 18:30', with an offset, or back from now: 7d, 24h"
    sub.add_argument("--since", metavar="TIME", help=f"sessions that began then or later: {moment}")
    sub.add_argument("--until", metavar="TIME", help="sessions that began before then")
    sub.add_argument("--serial", help="sessions of one charger")
    sub.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    sub.add_argument("--utc", action="store_true", help="times in UTC instead of the local zone")


def _add_reports(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    text = "write one JSON file that can be attached to a public issue"
    sub = commands.add_parser(
        "diagnostics", help=text, description=text, parents=[common], allow_abbrev=False
    )
    sub.set_defaults(command=_diagnostics)
    sub.add_argument("--output", metavar="FILE", type=Path, help="default: standard output")
    sub.add_argument("--online", action="store_true", help="also ask the cloud once, for shapes of payloads")
    text = "write scrubbed payloads of a real account, as fixtures for the tests"
    sub = commands.add_parser("record", help=text, description=text, parents=[common], allow_abbrev=False)
    sub.set_defaults(command=_record)
    sub.add_argument("folder", metavar="DIR", type=Path, help="a new folder")


def _add_assets(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    text = "write the dashboards, rules, unit file and example configs to a folder"
    sub = commands.add_parser("assets", help=text, description=text, parents=[common], allow_abbrev=False)
    sub.set_defaults(command=_assets)
    sub.add_argument("folder", metavar="DIR", type=Path)
    sub.add_argument("--force", action="store_true", help="overwrite files that differ")


def _add_simulated(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    demo = commands.add_parser(
        "demo",
        help="the exporter against a simulated cloud: no account, no network",
        description="Run the exporter against the built-in simulated cloud.",
        parents=[common],
    )
    demo.set_defaults(command=_demo)
    simulate = commands.add_parser(
        "simulate", help="the simulated cloud alone, on a port", description="Run the simulated cloud alone."
    )
    simulate.set_defaults(command=_simulate)
    simulate.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    simulate.add_argument("--port", type=int, default=10056, help="port to listen on (%(default)s)")
    for sub in (demo, simulate):
        sub.add_argument("--seed", type=int, default=7, help="the life of the cars (%(default)s)")
        sub.add_argument(
            "--speed", type=float, default=240.0, help="simulated seconds per second (%(default)s)"
        )


def _loaded(options: argparse.Namespace, *, accounts_needed: bool = True) -> Config:
    return _loaded_with_warnings(options, accounts_needed=accounts_needed)[0]


def _loaded_with_warnings(
    options: argparse.Namespace, *, accounts_needed: bool = True
) -> tuple[Config, tuple[str, ...]]:
    config, warnings = load(
        config_path_of(options), os.environ, flags_of(options), accounts_needed=accounts_needed
    )
    logs.configure(config.log.level, config.log.format, sys.stderr)
    for text in private_texts(config):
        logs.conceal(text)
    for warning in warnings:
        logging.getLogger(__name__).warning("%s", warning)
    return config, warnings


def _run(options: argparse.Namespace) -> int:
    from exporter.app import App  # here, so that a wrong flag is told without loading the exporter
    from exporter.recent_errors import kept_in

    config = _loaded(options)
    with kept_in(state_folder(config)) as recent:
        app = App(config, load_config=lambda: _loaded(options), heard=recent.heard)
        asyncio.run(app.run())
    return OK


def _announce(line: str) -> None:
    """Print at once: where the output is a pipe or a file, the addresses must not wait in a buffer."""
    print(line, flush=True)


def _demo(options: argparse.Namespace) -> int:
    from exporter.demo import serve_demo

    logs.configure("info", "logfmt", sys.stderr)
    asyncio.run(
        serve_demo(
            flags_of(options),
            options.seed,
            options.speed,
            _announce,
            environ=os.environ,
            config_path=config_path_of(options),
        )
    )
    return OK


def _simulate(options: argparse.Namespace) -> int:
    from exporter.demo import serve_cloud

    try:
        asyncio.run(serve_cloud(options.host, options.port, options.seed, options.speed, _announce))
    except BrokenPipeError:  # of the output, not of the cloud
        raise
    except OSError as error:
        print(f"enphase-ev-exporter: cannot listen: {error.strerror or error}", file=sys.stderr)
        return FAILED
    return OK


def _check(options: argparse.Namespace) -> int:
    import yaml

    from exporter import doctor
    from exporter.check import check_offline, check_online, table

    config, warnings = _loaded_with_warnings(options)
    if config.web.config_file is not None:
        from exporter.listening import load_rules

        for warning in load_rules(config.web.config_file).warnings:
            logging.getLogger(__name__).warning("%s", warning)
    as_text = options.format == "text"
    if as_text:
        _announce(yaml.safe_dump(masked(config), sort_keys=False, allow_unicode=True))
    if options.online:
        checked = asyncio.run(check_online(config, warnings))
    else:
        checked = check_offline(config, warnings)
    if not as_text:
        print(doctor.as_json(checked.findings, masked(config), checked.chargers()))
    else:
        print("\n".join(doctor.lines(checked.findings)))
        if options.online:
            print(f"\n{table(checked)}")
        print(f"\n{doctor.summary(checked.findings)}")
    return FAILED if doctor.has_failed(checked.findings) else OK


def _diagnostics(options: argparse.Namespace) -> int:
    from exporter.diagnostics import diagnostics, given_settings

    config, warnings = _loaded_with_warnings(options, accounts_needed=False)
    given = given_settings(config_path_of(options), os.environ, flags_of(options))
    text = diagnostics(config, given, warnings, online=options.online)
    if options.output is None:
        print(text, end="")
        return OK
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: {options.output} cannot be written ({error.strerror})") from error
    print(f"{options.output} is written. Look through it before you attach it to an issue.")
    return OK


def _record(options: argparse.Namespace) -> int:
    from exporter.record import record

    paths, seen = record(_loaded(options), options.folder)
    for path in paths:
        print(path)
    errors = [str(one.error) for one in seen.accounts if one.error is not None]
    errors += [f"site: {site.error}" for one in seen.accounts for site in one.sites if site.error]
    for error in errors:
        print(f"enphase-ev-exporter: not recorded: {error}", file=sys.stderr)
    if paths:
        print(
            "Serials, site ids, names, addresses and tokens are replaced, times are moved. Look through "
            "every file before you share it: docs/contributing-payloads.md says what to look for."
        )
    return FAILED if errors or not paths else OK


def _login(options: argparse.Namespace) -> int:
    from exporter.login_terminal import Terminal, account_of, forget, login_account, status

    config = _loaded(options, accounts_needed=False)
    if options.status:
        names = [options.account] if options.account else [account.name for account in config.accounts]
        print("\n".join(status(config, names)))
        return OK
    account = account_of(config, options.account)
    if options.forget:
        print(forget(config, account))
        return OK
    try:
        asyncio.run(login_account(config, account, options.email, Terminal(_announce)))
    except EOFError as error:
        print(f"enphase-ev-exporter: {error}", file=sys.stderr)
        return FAILED
    return OK


def _sessions(options: argparse.Namespace) -> int:
    from datetime import UTC

    from exporter.session_report import parse_moment, sessions_text
    from exporter.state import read_sessions

    config = _loaded(options, accounts_needed=False)
    zone = UTC if options.utc else None
    try:
        since, until = (
            None if text is None else parse_moment(text, zone) for text in (options.since, options.until)
        )
    except ValueError as error:
        raise ConfigError(f"sessions: {error}") from error
    sessions = read_sessions(
        state_folder(config), since_seconds=since, until_seconds=until, serial=options.serial
    )
    # As bytes: a stream of text might change the line ends of the CSV.
    sys.stdout.buffer.write(sessions_text(sessions, options.format, zone, serial=options.serial).encode())
    return OK


def _healthcheck(options: argparse.Namespace) -> int:
    from exporter.healthcheck import healthcheck

    code, text = healthcheck(_loaded(options, accounts_needed=False))
    print(text, file=sys.stdout if code == OK else sys.stderr)
    return OK if code == OK else FAILED


def _assets(options: argparse.Namespace) -> int:
    from exporter.assets import write_assets

    print("\n".join(write_assets(options.folder, overwrite=options.force)))
    return OK


def _metrics_doc(options: argparse.Namespace) -> int:
    from exporter.metrics import markdown

    print(markdown(), end="")
    return OK


if __name__ == "__main__":
    sys.exit(main())
