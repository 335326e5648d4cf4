"""TLS settings → the ssl context of the listener, with every file they name read and checked."""

import hashlib
import ipaddress
import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from exporter.errors import ConfigError
from exporter.web_config import Pem, TlsConfig, WebFile

log = logging.getLogger(__name__)

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def _answer(status: str, text: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
    return f"{head}Connection: close\r\n\r\n{text}".encode()


_NOT_PLAIN = _answer("400 Bad Request", "This is an HTTPS server, and the request was plain HTTP.\n")
_NOT_ALLOWED = _answer("403 Forbidden", "No name of the client certificate is allowed here.\n")


class _Connection(ssl.SSLObject):
    """One connection's TLS; a handshake that fails is told to the client and is one line at debug.

    asyncio drops the connection at an error, and with it the alert that OpenSSL has written. So a failed
    handshake pretends to wait for more: asyncio sends what is written, and the client, or the listener's
    handshake time-out, closes.
    """

    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    _failed = False

    def of(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> "_Connection":
        self._incoming, self._outgoing = incoming, outgoing
        return self

    def do_handshake(self) -> None:
        if not self._failed:
            try:
                super().do_handshake()
                if self._has_allowed_name():
                    return
                log.debug("TLS client refused", extra={"because": "none of its names is allowed"})
                self.write(_NOT_ALLOWED)
                with suppress(ssl.SSLError):  # it waits for the client's own goodbye
                    self.unwrap()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                log.debug("TLS handshake failed", extra={"because": error.reason or "closed by the client"})
                if error.reason == "HTTP_REQUEST":
                    self._outgoing.read()
                    self._outgoing.write(_NOT_PLAIN)
                if not self._outgoing.pending:
                    raise
            self._failed = True
        self._incoming.read()
        raise ssl.SSLWantReadError

    def _has_allowed_name(self) -> bool:
        context = self.context
        allowed = context.allowed_names if isinstance(context, ServerContext) else frozenset()
        return not allowed or not allowed.isdisjoint(_names(self.getpeercert() or {}))


class ServerContext(ssl.SSLContext):
    """The listener's context; `made_from` is equal for equal settings and files."""

    allowed_names: frozenset[str] = frozenset()
    made_from: bytes = b""

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **more: Any
    ) -> ssl.SSLObject:
        """As the base class."""
        connection = super().wrap_bio(incoming, outgoing, *args, **more)
        return connection.of(incoming, outgoing) if isinstance(connection, _Connection) else connection


def server_context(web_file: WebFile) -> ServerContext | None:
    """The context for what the file asks, None when it asks for no TLS. Raises ConfigError."""
    tls = web_file.tls
    if tls is None:
        return None
    where = f"{web_file.path}: tls_server_config."
    cert, key = _pem(tls.cert, f"{where}cert", "CERTIFICATE"), _pem(tls.key, f"{where}key", "PRIVATE KEY")
    client_ca = _pem(tls.client_ca, f"{where}client_ca", "CERTIFICATE") if tls.client_ca else b""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Connection
    context.made_from = hashlib.sha256(repr((tls, cert, key, client_ca)).encode()).digest()
    context.allowed_names = frozenset(tls.client_allowed_sans)
    _set_protocol(context, tls, where)
    _load_certificate(
        context, (_place(tls.cert, f"{where}cert"), cert), (_place(tls.key, f"{where}key"), key)
    )
    if tls.client_ca:
        _ask_for_certificate(context, tls, _place(tls.client_ca, f"{where}client_ca"), client_ca)
    return context


def load_own_certificate(context: ssl.SSLContext, tls: TlsConfig) -> None:
    """Show the listener's certificate from a client's side. Raises ConfigError."""
    cert, key = _pem(tls.cert, "cert", "CERTIFICATE"), _pem(tls.key, "key", "PRIVATE KEY")
    _load_certificate(context, (_place(tls.cert, "cert"), cert), (_place(tls.key, "key"), key))


def _set_protocol(context: ssl.SSLContext, tls: TlsConfig, where: str) -> None:
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    if tls.suites is not None:
        _set_suites(context, tls.suites, where)
    if not tls.prefer_server_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.curve:
        context.set_ecdh_curve(tls.curve)


def _set_suites(context: ssl.SSLContext, suites: tuple[str, ...], where: str) -> None:
    if not suites:  # nothing of TLS 1.2 is left to agree on
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    with suppress(ssl.SSLError):  # none of them is there: told below
        context.set_ciphers(":".join(suites))
    offered = {cipher["name"] for cipher in context.get_ciphers()}
    for suite in suites:
        if suite not in offered:
            message = f"{suite} is switched off in this system's OpenSSL, expected others"
            raise ConfigError(f"{where}cipher_suites: {message}")


def _place(pem: Pem, where: str) -> str:
    return f"{where}_file: {pem}" if isinstance(pem, Path) else f"{where}: the text"


def _pem(pem: Pem, where: str, kind: str) -> bytes:
    place = _place(pem, where)
    try:
        content = pem.read_bytes() if isinstance(pem, Path) else pem.reveal().encode()
    except OSError as error:
        raise ConfigError(f"{place} cannot be read ({error.strerror}), expected a PEM file") from error
    if kind.encode() + b"-----" not in content:
        raise ConfigError(f"{place} has no {kind}, expected PEM with -----BEGIN … {kind}-----")
    return content


def _load_certificate(context: ssl.SSLContext, cert: tuple[str, bytes], key: tuple[str, bytes]) -> None:
    """Load both; `cert` and `key` are each their place and content."""
    _check_parses(*cert)
    if b"ENCRYPTED" in key[1]:
        raise ConfigError(f"{key[0]} is encrypted, expected a key without a passphrase")
    try:
        with _on_disk(cert[1]) as cert_path, _on_disk(key[1]) as key_path:
            context.load_cert_chain(cert_path, key_path, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{key[0]} does not belong to the certificate, expected its key") from None
        if error.reason and error.reason.startswith(("EE_", "CA_")):  # too weak for the system's policy
            reason = error.reason.lower().replace("_", " ")
            raise ConfigError(
                f"{cert[0]} is refused by OpenSSL ({reason}), expected a stronger one"
            ) from None
        raise ConfigError(f"{key[0]} cannot be understood, expected the certificate's key in PEM") from None


def _check_parses(place: str, content: bytes) -> None:
    try:
        throwaway = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        throwaway.load_verify_locations(cadata=content.decode("ascii", "ignore"))
    except ssl.SSLError:
        raise ConfigError(f"{place} cannot be understood, expected certificates in PEM") from None


def _no_passphrase() -> NoReturn:
    # Without this OpenSSL would ask at the terminal.
    raise ssl.SSLError("no passphrase")


def _ask_for_certificate(context: ssl.SSLContext, tls: TlsConfig, place: str, client_ca: bytes) -> None:
    _check_parses(place, client_ca)
    context.load_verify_locations(cadata=client_ca.decode("ascii", "ignore"))
    context.verify_mode = _AUTH[tls.client_auth]
    # As Go: every certificate of the file is trusted, an intermediate one too.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    # A resumed session is not asked for its certificate again.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


@contextmanager
def _on_disk(content: bytes) -> Iterator[str]:
    """A path to the content: Python loads certificates from files only. In memory where the system can."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pem"), "wb", buffering=0) as file:
            file.write(content)
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile() as named:  # readable for the owner only
        named.write(content)
        named.flush()
        yield named.name


def _names(certificate: Any) -> Iterator[str]:
    """The alternative names of a peer certificate, as Go spells them."""
    for kind, name in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "email", "URI"):
            yield name
        elif kind == "IP Address":
            with suppress(ValueError):
                yield str(ipaddress.ip_address(name.strip()))
