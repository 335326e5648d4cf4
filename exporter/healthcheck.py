"""The `healthcheck` command: asks the exporter that runs by the same config for /-/healthy.

It is run every few seconds beside the exporter, so it loads only what the config makes necessary.
"""

import threading
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.config import Config
from exporter.errors import ConfigError
from exporter.readers import host_and_port

if TYPE_CHECKING:  # loaded only where the exporter serves TLS
    import ssl

    from exporter.web_config import TlsConfig

HEALTHY, UNHEALTHY = 0, 1
_WITHIN_SECONDS = 5.0
# The exporter takes an edit of its web config file over within 2 s: so long both sides can differ.
_AGAIN_AFTER_SECONDS = 2.5
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_CERTIFICATE_ALERTS = (
    *("CERTIFICATE_REQUIRED", "UNKNOWN_CA", "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE"),
    *("CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "CERTIFICATE_REVOKED"),
)


@dataclass(frozen=True)
class Answer:
    """What came of one try; `mismatch` when the other side seems to go by another web config file."""

    code: int
    text: str
    mismatch: bool = False


def healthcheck(
    config: Config,
    *,
    within_seconds: float = _WITHIN_SECONDS,
    again_after_seconds: float = _AGAIN_AFTER_SECONDS,
) -> tuple[int, str]:
    """Exit code and a sentence, within 5 s whatever the other side does. Raises ConfigError."""
    host, port = own_address(config)
    if port == 0:
        address = config.web.listen_addresses[0]
        raise ConfigError(f'web.listen_address: got "{address}", expected a port that healthcheck can ask')
    asking = _Asking(host, port, config.web.config_file, within_seconds)
    # On a thread, because a name server or a dripping answer can outlast every time-out of a socket.
    thread = threading.Thread(target=asking.run, args=(again_after_seconds,), daemon=True)
    thread.start()
    thread.join(within_seconds)
    if asking.answer is None:
        return UNHEALTHY, f"no answer from {asking.where} within {within_seconds:g} s"
    return asking.answer.code, asking.answer.text


class _Asking:
    """One run of the command: one answer, or a second one where the first may be of an edit under way."""

    def __init__(self, host: str, port: int, web_file: Path | None, within_seconds: float) -> None:
        self.answer: Answer | None = None
        self.where = in_words(host, port)
        self._target = host, port
        self._web_file = web_file
        self._within_seconds = within_seconds

    def run(self, again_after_seconds: float) -> None:
        if self._web_file is None:
            self.answer = self._ask(None, None, None)
            return
        answer = self._by(self._web_file)
        if answer.mismatch:
            time.sleep(again_after_seconds)
            answer = self._by(self._web_file)
        self.answer = answer

    def _by(self, path: Path) -> Answer:
        """Ask as the web config file says; where it is no good, the exporter goes by an older one."""
        from exporter.web_config import healthcheck_proof, load_web_file

        try:
            proof = f"Healthcheck {healthcheck_proof(path.read_bytes())}"
            tls = load_web_file(path).tls
            context = client_context(tls) if tls else None
        except OSError as error:
            return Answer(UNHEALTHY, f"{path}: cannot be read ({error.strerror})")
        except ConfigError as error:
            answer = self._ask(proof, client_context(None), None)
            answer = self._ask(proof, None, None) if answer.mismatch else answer
            return Answer(answer.code, f"{answer.text}\n{error}", mismatch=answer.mismatch)
        return self._ask(proof, context, tls)

    def _ask(self, proof: str | None, context: "ssl.SSLContext | None", tls: "TlsConfig | None") -> Answer:
        # Nobody waits so long: the thread is given up before.
        connection = connection_to(*self._target, 2 * self._within_seconds, context)
        try:
            connection.request("GET", "/-/healthy", headers={"Authorization": proof} if proof else {})
            response = connection.getresponse()
            text = response.read(4096).decode(errors="replace").strip()
        except (OSError, HTTPException) as error:
            if context is not None and (refusal := _certificate_refusal(error)):
                return Answer(HEALTHY, self._alive(refusal))
            said = getattr(error, "reason", None) or error
            return Answer(UNHEALTHY, f"no answer from {self.where}: {said}", mismatch=_is_mismatch(error))
        finally:
            connection.close()
        if response.status == 403 and tls is not None and tls.client_allowed_sans:
            return Answer(HEALTHY, self._alive(text))
        code = HEALTHY if response.status == 200 else UNHEALTHY
        return Answer(code, text, mismatch=response.status in (400, 401))

    def _alive(self, refusal: str) -> str:
        return (
            f"{self.where} is listening: it serves TLS and refused the health check for its client "
            f"certificate ({refusal}); /-/healthy itself was not asked"
        )


def own_address(config: Config) -> tuple[str, int]:
    """Where the exporter of this config is asked on its own machine; port 0 where the system chooses it."""
    host, port = host_and_port(config.web.listen_addresses[0])
    return _LOOPBACK.get(host, host), port


def in_words(host: str, port: int) -> str:
    """An address as a person writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connection_to(
    host: str, port: int, timeout_seconds: float, context: "ssl.SSLContext | None"
) -> HTTPConnection:
    """A connection that is not open yet; by TLS with a context."""
    if context is None:
        return HTTPConnection(host, port, timeout=timeout_seconds)
    from http.client import HTTPSConnection

    return HTTPSConnection(host, port, timeout=timeout_seconds, context=context)


def client_context(tls: "TlsConfig | None") -> "ssl.SSLContext":
    """A context that shows the server's own certificate where clients must have one; raises ConfigError."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The exporter is asked on this machine, at an address its certificate need not name, and nothing secret
    # is sent: the proof is of use for this one path only.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if tls is not None and tls.client_auth == "RequireAndVerifyClientCert":
        from exporter.tls import load_own_certificate

        load_own_certificate(context, tls)
    return context


def _certificate_refusal(error: Exception) -> str:
    """The alert that says the other side wants another client certificate; empty for any other error."""
    reason = str(getattr(error, "reason", ""))
    return reason if "ALERT" in reason and reason.endswith(_CERTIFICATE_ALERTS) else ""


def _is_mismatch(error: Exception) -> bool:
    """Whether it is one of TLS, as where the other side does not speak it; every OpenSSL says it its way."""
    return bool(getattr(error, "reason", ""))
