"""The web config file, in exporter-toolkit's format → one frozen `WebFile`.

What the format allows and Python's ssl cannot do is refused with a sentence: nothing is weakened unseen.
"""

import difflib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from exporter import readers
from exporter.document import load_document
from exporter.errors import ConfigError
from exporter.layers import readable_by_others, shape
from exporter.readers import Secret

Pem = Path | Secret  # a file, or the text itself
ClientAuth = Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]

_SECTIONS = {
    "tls_server_config": (
        *("cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file", "client_auth_type"),
        *("client_allowed_sans", "min_version", "max_version", "cipher_suites"),
        *("prefer_server_cipher_suites", "curve_preferences"),
    ),
    "http_server_config": ("http2", "headers"),
    "rate_limit": ("interval", "burst"),
    "basic_auth_users": (),
}
_HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
# Go's names of the suites it still offers. Those of TLS 1.3 can be listed and are always on, as in Go.
TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
TLS12_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
# A cost of 14 takes a second, on a small box several; a stop must not wait longer for a check under way.
_LEAST_COST, _MOST_COST = 4, 14
_HOW_TO_HASH = "a bcrypt hash, as this prints it: htpasswd -nBC 10 \"\" | tr -d ':\\n'"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """`tls_server_config`: what the listener shows, and what it asks of clients.

    `suites` are OpenSSL's names of TLS 1.2 suites: None for the library's, empty when only those of TLS 1.3
    are wanted. `curve` is OpenSSL's name, None for the library's choice.
    """

    cert: Pem
    key: Pem
    client_ca: Pem | None = None
    client_auth: ClientAuth = "NoClientCert"
    client_allowed_sans: tuple[str, ...] = ()
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    suites: tuple[str, ...] | None = None
    prefer_server_suites: bool = True
    curve: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it names."""
        return tuple(pem for pem in (self.cert, self.key, self.client_ca) if isinstance(pem, Path))


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: a request takes one, one comes back every interval, `burst` is the most there are."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFile:
    """What one web config file says; `content` is the file as it was read."""

    path: Path
    content: bytes = field(repr=False)
    tls: TlsConfig | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, Secret] = field(default_factory=dict)
    rate_limit: RateLimit | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself and those it names."""
        return self.path, *(self.tls.files if self.tls else ())


def load_web_file(path: Path) -> WebFile:
    """Read a web config file, but not the files it names. Raises ConfigError with file, key and rule."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}), expected a web config file") from error
    top = _Keys(f"{path}: ", load_document(path), tuple(_SECTIONS))
    tls, http, rate, users = (
        _Keys(f"{path}: {section}.", top.raw.get(section), known) for section, known in _SECTIONS.items()
    )
    http.flag("http2", default=True)  # HTTP/1.1 is spoken either way, which every client of HTTP/2 speaks too
    return WebFile(
        path=path,
        content=content,
        tls=_tls(tls, path.parent),
        headers=_headers(_Keys(f"{http.where}headers.", http.raw.get("headers"), tuple(_HEADERS))),
        users={name: _hash(users, name) for name in users.raw},
        rate_limit=_rate_limit(rate),
    )


def permission_warnings(web_file: WebFile) -> list[str]:
    """A warning for each file with a secret that others can read; raises OSError for one that is gone."""
    tls = web_file.tls
    holds_secret = bool(web_file.users) or (tls is not None and isinstance(tls.key, Secret))
    warnings = readable_by_others(web_file.path) if holds_secret else []
    return warnings + (readable_by_others(tls.key) if tls and isinstance(tls.key, Path) else [])


def healthcheck_proof(content: bytes) -> str:
    """What the `healthcheck` command shows in place of a password: that it can read the web config file.

    The file has only hashes, so a command beside the exporter could not log in as a user.
    """
    return hmac.digest(content, b"/-/healthy", "sha256").hex()


class _Keys:
    """One mapping of the file and where it stands; an empty value counts as none, as in the toolkit."""

    def __init__(self, where: str, content: object, known: tuple[str, ...]) -> None:
        if content is not None and not isinstance(content, dict):
            place = where.rstrip(": .")
            raise ConfigError(f"{place}: expected `key: value` lines, got {shape(content)}")
        self.where = where
        self.raw: dict[str, Any] = content or {}
        for key in self.raw:
            if not isinstance(key, str):
                raise ConfigError(f"{where.rstrip(': .')}: has a key that is no text, expected names")
            if known and key not in known:
                nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
                raise self.refusal(key, f"is not a key of a web config, expected {nearest}{_OR_OTHERS}")

    def refusal(self, key: str, message: str) -> ConfigError:
        return ConfigError(f"{self.where}{key}: {message}")

    def text(self, key: str) -> str | None:
        raw = self.raw.get(key)
        if raw is not None and not isinstance(raw, str):
            raise self.refusal(key, f"expected a single value, got {shape(raw)}")
        return raw or None

    def texts(self, key: str) -> tuple[str, ...] | None:
        raw = self.raw.get(key)
        if raw is None:
            return None
        if not isinstance(raw, list) or not raw or not all(isinstance(one, str) and one for one in raw):
            raise self.refusal(key, "expected a list of texts, at least one")
        return tuple(raw)

    def flag(self, key: str, *, default: bool) -> bool:
        text = self.text(key)
        if text not in (None, "true", "false"):
            raise self.refusal(key, f"got {quoted(text)}, expected true or false")
        return default if text is None else text == "true"

    def pem(self, name: str, folder: Path) -> Pem | None:
        text, file = self.text(name), self.text(f"{name}_file")
        if text and file:
            raise self.refusal(f"{name}_file", f"is given beside {name}, expected one of the two")
        if text:
            return Secret(text)
        return folder / file if file else None


_OR_OTHERS = " or another one of docs/web-config.md"


def quoted(text: str) -> str:
    """The begin of a text that is not secret, for an error message."""
    return json.dumps(text[:60], ensure_ascii=False)


def _tls(keys: _Keys, folder: Path) -> TlsConfig | None:
    given = [key for key, raw in keys.raw.items() if raw not in (None, "")]
    if not given:
        return None
    cert, key = (_needed(keys, name, folder, beside=given[0]) for name in ("cert", "key"))
    client_ca = keys.pem("client_ca", folder)
    client_auth = _client_auth(keys, has_ca=client_ca is not None)
    min_version, max_version = (_version(keys, f"{end}_version") for end in ("min", "max"))
    if (min_version, max_version) == ("TLS13", "TLS12"):
        raise keys.refusal("max_version", "is below min_version, expected at least TLS13")
    return TlsConfig(
        cert=cert,
        key=key,
        client_ca=client_ca,
        client_auth=client_auth,
        client_allowed_sans=_allowed_sans(keys, client_auth),
        min_version=min_version or "TLS12",
        max_version=max_version or "TLS13",
        suites=_suites(keys, tls12_only=max_version == "TLS12", tls13_only=min_version == "TLS13"),
        prefer_server_suites=keys.flag("prefer_server_cipher_suites", default=True),
        curve=_curve(keys),
    )


def _needed(keys: _Keys, name: str, folder: Path, *, beside: str) -> Pem:
    pem = keys.pem(name, folder)
    if pem is None:
        raise keys.refusal(f"{name}_file", f"is missing beside {beside}, expected a file, or {name}")
    return pem


def _client_auth(keys: _Keys, *, has_ca: bool) -> ClientAuth:
    text = keys.text("client_auth_type") or "NoClientCert"
    choices = "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
    if text in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"):
        rule = f"{text} takes a certificate without checking it, which is not offered, expected {choices}"
        raise keys.refusal("client_auth_type", rule)
    if text == "NoClientCert":
        if has_ca:
            raise keys.refusal(
                "client_auth_type", "is missing beside client_ca, expected RequireAndVerifyClientCert"
            )
        return "NoClientCert"
    if text not in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert"):
        raise keys.refusal("client_auth_type", f"got {quoted(text)}, expected {choices}")
    if not has_ca:
        raise keys.refusal("client_ca_file", f"is missing, expected the CA that {text} checks against")
    return "VerifyClientCertIfGiven" if text == "VerifyClientCertIfGiven" else "RequireAndVerifyClientCert"


def _allowed_sans(keys: _Keys, client_auth: ClientAuth) -> tuple[str, ...]:
    names = keys.texts("client_allowed_sans")
    if names is not None and client_auth != "RequireAndVerifyClientCert":
        rule = "needs a certificate of every client, expected client_auth_type RequireAndVerifyClientCert"
        raise keys.refusal("client_allowed_sans", rule)
    return names or ()


def _version(keys: _Keys, key: str) -> Literal["TLS12", "TLS13"] | None:
    match keys.text(key):
        case None:
            return None
        case "TLS12":
            return "TLS12"
        case "TLS13":
            return "TLS13"
        case other:
            raise keys.refusal(
                key, f"got {quoted(other)}, expected TLS12 or TLS13, because older ones are not safe"
            )


def _suites(keys: _Keys, *, tls12_only: bool, tls13_only: bool) -> tuple[str, ...] | None:
    names = keys.texts("cipher_suites")
    if names is None:
        return None
    for name in names:
        if name not in TLS12_SUITES and name not in TLS13_SUITES:
            nearest = difflib.get_close_matches(name, [*TLS12_SUITES, *TLS13_SUITES], n=1, cutoff=0.0)[0]
            rule = (
                f"got {quoted(name)}, expected names of Go's crypto/tls that are not insecure, as {nearest}"
            )
            raise keys.refusal("cipher_suites", rule)
    suites = tuple(TLS12_SUITES[name] for name in names if name in TLS12_SUITES)
    if tls12_only and not suites:
        raise keys.refusal("cipher_suites", "has only suites of TLS 1.3, expected some of max_version TLS12")
    return None if tls13_only else suites


def _curve(keys: _Keys) -> str | None:
    names = keys.texts("curve_preferences")
    if names is None:
        return None
    if len(names) > 1:
        raise keys.refusal("curve_preferences", "Python sets one curve or leaves them all on, expected one")
    if names[0] not in _CURVES:
        rule = f"got {quoted(names[0])}, expected one of {', '.join(_CURVES)}"
        raise keys.refusal("curve_preferences", rule)
    return _CURVES[names[0]]


def _headers(keys: _Keys) -> dict[str, str]:
    given = {name: text for name in keys.raw if (text := keys.text(name))}
    for name, text in given.items():
        if _HEADERS[name] and text not in _HEADERS[name]:
            raise keys.refusal(name, f"got {quoted(text)}, expected {' or '.join(_HEADERS[name])}")
        if not re.fullmatch(r"[\x20-\x7e]+", text):
            raise keys.refusal(name, "expected one line of plain ASCII")
    return given


def _hash(users: _Keys, name: str) -> Secret:
    if not name or ":" in name or not name.isprintable():
        raise users.refusal(
            quoted(name), "expected a name without a colon, as the browser sends name:password"
        )
    raw = users.raw[name]
    match = _BCRYPT.fullmatch(raw) if isinstance(raw, str) else None
    if match is None:
        raise users.refusal(name, f"expected {_HOW_TO_HASH}")
    if not _LEAST_COST <= int(match[1]) <= _MOST_COST:
        rule = f"expected {_LEAST_COST} to {_MOST_COST}, because more takes seconds at a login"
        raise users.refusal(name, f"has cost {int(match[1])}, {rule}")
    return Secret(raw)


def _rate_limit(keys: _Keys) -> RateLimit | None:
    interval, burst = keys.text("interval"), keys.text("burst")
    if interval in (None, "0", "0s"):
        return None
    try:
        seconds = readers.duration(interval, least=0.001)
    except ValueError as error:
        raise keys.refusal("interval", f"got {quoted(interval)}, expected {error}, or 0 for none") from None
    try:
        return RateLimit(seconds, readers.count(burst or ""))
    except ValueError as error:
        raise keys.refusal("burst", f"got {quoted(burst or '')}, expected {error}") from None
