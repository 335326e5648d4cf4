"""What `check` finds on this machine's disk: the state folder, the web config file, control's tokens."""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter import state_file
from exporter.certificate import not_after
from exporter.config import Config
from exporter.doctor import Finding, Level, fine, moment_utc
from exporter.errors import ConfigError, StateError
from exporter.page_words import count_in_words, duration
from exporter.readers import Secret, host_and_port, is_loopback
from exporter.web_config import TlsConfig, load_web_file, permission_warnings

_FREE_WARN_BYTES = 100 * 1024 * 1024
_FREE_FAIL_BYTES = 5 * 1024 * 1024
_EXPIRY_WARN_SECONDS = 14 * 86_400.0
_FEW_CHARACTERS = 10
_SUBJECT = "state"


@dataclass(frozen=True, slots=True)
class StateFacts:
    """The state folder as it is on the disk; `damage` and `set_aside` tell of files that were no good.

    `refusal` is the errno with which it cannot be written, 0 when it can. A folder that is not there has no
    owner.
    """

    exists: bool
    refusal: int
    owner_uid: int | None
    free_bytes: int
    size_bytes: int = 0
    newest_write_seconds: float | None = None
    schema: int | None = None
    damage: str = ""
    set_aside: int = 0


def state_facts(folder: Path, *, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> StateFacts:
    """Look at the folder, or at what it would be made in, without changing anything; raises OSError."""
    place = _nearest(folder)
    disk = statvfs(place)
    free_bytes = disk.f_bavail * disk.f_frsize
    if place != folder:
        return StateFacts(False, _refusal(place, disk, os.W_OK | os.X_OK), None, free_bytes)
    parts = [path.stat() for path in folder.glob(f"{state_file.NAME}*") if "corrupt" not in path.name]
    path = folder / state_file.NAME
    damage, schema = _damage(path)
    return StateFacts(
        exists=path.exists(),
        refusal=_refusal(folder, disk, os.W_OK | os.X_OK)
        or (_refusal(path, disk, os.W_OK) if path.exists() else 0),
        owner_uid=(path if path.exists() else folder).stat().st_uid,
        free_bytes=free_bytes,
        size_bytes=sum(part.st_size for part in parts),
        newest_write_seconds=max((part.st_mtime for part in parts), default=None),
        schema=schema,
        damage=damage,
        set_aside=sum(1 for _ in folder.glob(f"{state_file.NAME}.corrupt-*[0-9Z]")),
    )


def _nearest(folder: Path) -> Path:
    """The folder, or of those above it the first that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _refusal(path: Path, disk: os.statvfs_result, rights: int) -> int:
    if rights & os.X_OK and not path.is_dir():
        return errno.ENOTDIR
    if disk.f_flag & os.ST_RDONLY:
        return errno.EROFS
    return 0 if os.access(path, rights) else errno.EACCES


def is_state_held(folder: Path | None) -> bool | None:
    """Whether an exporter that runs has locked this state folder; None where that cannot be seen."""
    if folder is None:
        return None
    try:
        if os.statvfs(_nearest(folder)).f_flag & os.ST_RDONLY:
            return None  # an exporter may run there without a lock
        descriptor = os.open(folder / state_file.LOCK_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def _damage(path: Path) -> tuple[str, int | None]:
    """What is wrong with the file, empty when it is sound, and its schema."""
    if not path.exists():
        return "", None
    try:
        state_file.inspect(path, len(state_file.MIGRATIONS), state_file.user_version)
        database = state_file.connect_to_read(path)
        try:
            return "", state_file.user_version(database)
        finally:
            database.close()
    except StateError as error:
        return str(error), None
    except (sqlite3.Error, OSError, state_file.Damaged) as error:
        return state_file.cause(error), None


def of_state(folder: Path, facts: StateFacts, now: float, *, uid: int) -> list[Finding]:
    """What the exporter would stumble over in its state folder; `uid` is who asks."""
    found = []
    if facts.refusal:
        found.append(_of_refusal(folder, facts, uid))
    elif facts.exists and facts.owner_uid != uid:
        words = f"{folder} belongs to uid {facts.owner_uid}, and this is uid {uid}"
        remedy = "run commands as the user that runs the exporter, so that files stay its own"
        found.append(Finding(Level.WARN, _SUBJECT, words, remedy))
    if facts.damage:
        remedy = "put a backup in its place; else the next start sets it aside and counters begin at 0"
        found.append(Finding(Level.FAIL, _SUBJECT, f"{state_file.NAME}: {facts.damage}", remedy))
    if facts.set_aside:
        words = f"{count_in_words(facts.set_aside, 'damaged file')} set aside earlier"
        remedy = f"look at the disk; when nothing in them is needed: rm {folder}/{state_file.NAME}.corrupt-*"
        found.append(Finding(Level.WARN, _SUBJECT, words, remedy))
    return [*found, *_of_free_space(folder, facts.free_bytes), *_in_words(folder, facts, now, found)]


def _of_refusal(folder: Path, facts: StateFacts, uid: int) -> Finding:
    """A folder that cannot be written: rights can be given, what else stands in the way cannot."""
    if facts.refusal != errno.EACCES:
        why = state_file.cause(OSError(facts.refusal, ""))
        words = f"{folder}: no state can be kept here: {why}"
        return Finding(Level.FAIL, _SUBJECT, words, "name a folder with --state.path")
    made = f"mkdir -p {folder} && chown -R {uid} {folder}"
    owned = f"is not writable for uid {uid}; it belongs to uid {facts.owner_uid}"
    words = f"does not exist, and uid {uid} cannot make it" if facts.owner_uid is None else owned
    remedy = f"run this as the exporter's user; if that is what it is, as root: {made}"
    return Finding(Level.FAIL, _SUBJECT, f"{folder} {words}", remedy)


def _of_free_space(folder: Path, free_bytes: int) -> list[Finding]:
    if free_bytes >= _FREE_WARN_BYTES:
        return []
    level = Level.FAIL if free_bytes < _FREE_FAIL_BYTES else Level.WARN
    words = f"{free_bytes / 2**20:.0f} MiB are free on the disk of {folder}"
    return [Finding(level, _SUBJECT, words, "make room: without it nothing more is counted")]


def _in_words(folder: Path, facts: StateFacts, now: float, found: Sequence[Finding]) -> list[Finding]:
    if found:
        return []
    if not facts.exists or facts.newest_write_seconds is None:
        return [fine(_SUBJECT, f"{folder} can be written; nothing is kept there yet")]
    age = duration(now - facts.newest_write_seconds)
    kept = f"{facts.size_bytes / 1024:.0f} KiB, schema {facts.schema}, last written {age} ago"
    return [fine(_SUBJECT, f"{folder} can be written; {kept}")]


def of_disk(config: Config, folder: Path | None, now: float) -> list[Finding]:
    """State folder, web config file and control, each read from the disk."""
    found = []
    if folder is None:
        # A service may well have one: systemd tells it of its folder, and nobody else.
        words = "no folder is given here, and there is no home folder to put it in"
        remedy = "name the exporter's folder with --state.path"
        found.append(Finding(Level.WARN, _SUBJECT, words, remedy))
    else:
        try:
            found += of_state(folder, state_facts(folder), now, uid=os.geteuid())
        except OSError as error:
            remedy = "run it as the user that runs the exporter"
            found.append(Finding(Level.FAIL, _SUBJECT, f"{folder}: {error.strerror}", remedy))
    return [*found, *_of_web(config, now), *_of_control(config)]


def _of_web(config: Config, now: float) -> list[Finding]:
    path, subject = config.web.config_file, "web config"
    if path is None:
        return []
    try:
        web_file = load_web_file(path)
        warnings = permission_warnings(web_file)
        ends = _certificate_end(web_file.tls)
    except (ConfigError, OSError, ValueError) as error:
        return [Finding(Level.FAIL, subject, str(error), "correct the file; docs/web-config.md has all keys")]
    found = [Finding(Level.WARN, subject, words, "chmod 600 it") for words in warnings]
    if ends is not None:
        found.append(_of_expiry(ends, now))
    users = count_in_words(len(web_file.users), "user") if web_file.users else "no password asked"
    return [*found, fine(subject, f"{path}: {'TLS' if web_file.tls else 'no TLS'}, {users}")]


def _certificate_end(tls: TlsConfig | None) -> float | None:
    if tls is None:
        return None
    pem = tls.cert.reveal() if isinstance(tls.cert, Secret) else tls.cert.read_text(encoding="ascii")
    return not_after(pem)


def _of_expiry(ends: float, now: float) -> Finding:
    subject = "certificate"
    if ends <= now:
        words = f"has expired {moment_utc(ends)}: scrapers refuse it"
        return Finding(Level.FAIL, subject, words, "replace it; the exporter takes it up within seconds")
    words = f"ends {moment_utc(ends)}"
    if ends - now < _EXPIRY_WARN_SECONDS:
        return Finding(Level.WARN, subject, words, "renew it; the exporter takes it up within seconds")
    return fine(subject, words)


def _of_control(config: Config) -> list[Finding]:
    control, subject = config.control, "control"
    if not control.enabled:
        return [fine(subject, "off")]
    found = [
        Finding(
            Level.WARN, subject, f"token {name} is easy to guess", "openssl rand -hex 32 makes a good one"
        )
        for name, token in control.tokens
        if len(set(token.reveal())) < _FEW_CHARACTERS
    ]
    if config.web.config_file is None and not _is_local(config):
        words = "commands and their token travel unencrypted"
        remedy = "serve TLS (docs/web-config.md), or listen on 127.0.0.1 behind a proxy that does"
        found.append(Finding(Level.WARN, subject, words, remedy))
    return found or [fine(subject, f"on, {count_in_words(len(control.tokens), 'token')}")]


def _is_local(config: Config) -> bool:
    hosts = [host_and_port(address)[0] for address in config.web.listen_addresses]
    return all(host and is_loopback(f"http://{f'[{host}]' if ':' in host else host}") for host in hosts)


def of_warnings(warnings: Sequence[str]) -> list[Finding]:
    """What loading the config has warned of: files with a secret that others can read."""
    return [Finding(Level.WARN, "config", words, "chmod 600 it") for words in warnings]
