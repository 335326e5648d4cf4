"""TLS settings → the listener's context; what cannot be used is named, by file, key and rule."""

import socket
import ssl
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from exporter.readers import Secret
from exporter.tls import ServerContext, server_context
from exporter.web_config import TlsConfig, WebFile
from tests.certificates import (
    Certificate,
    authority,
    client_context,
    issued,
    openssl,
    served,
    text_of,
)


def web_file(tls: TlsConfig | None) -> WebFile:
    return WebFile(path=Path("web.yml"), content=b"", tls=tls)


def built(shown: Certificate, **more: object) -> ServerContext:
    settings: dict[str, object] = {"cert": shown.cert, "key": shown.key}
    context = server_context(web_file(TlsConfig(**settings | more)))  # type: ignore[arg-type]  # by name
    assert context is not None
    return context


def refusal(shown: Certificate, **more: object) -> str:
    with pytest.raises(ConfigError) as refused:
        built(shown, **more)
    return str(refused.value)


def agreed(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Both sides after a handshake in memory; raises what either raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        done = 0
        for side in (theirs, ours):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
        if done == 2:
            return theirs
    raise AssertionError("no agreement")


@pytest.fixture
def shown(tmp_path: Path) -> Certificate:
    return issued(authority(tmp_path), tmp_path, "server")


def test_no_tls_is_no_context() -> None:
    assert server_context(web_file(None)) is None


def test_tls_12_and_13_are_spoken_and_nothing_older(shown: Certificate) -> None:
    context = built(shown)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    assert agreed(context, client_context()).version() == "TLSv1.3"


def test_versions_can_be_narrowed(shown: Certificate) -> None:
    assert agreed(built(shown, max_version="TLS12"), client_context()).version() == "TLSv1.2"
    old = client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        agreed(built(shown, min_version="TLS13"), old)


def test_the_first_common_cipher_is_the_servers_or_the_clients_as_asked(shown: Certificate) -> None:
    suites = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256")
    client = client_context()
    client.set_ciphers(":".join(reversed(suites)))
    for prefer_server, chosen in ((True, suites[0]), (False, suites[1])):
        server = built(shown, max_version="TLS12", suites=suites, prefer_server_suites=prefer_server)
        cipher = agreed(server, client).cipher()
        assert cipher is not None
        assert cipher[0] == chosen


def test_suites_of_tls_13_alone_switch_tls_12_off(shown: Certificate) -> None:
    assert built(shown, suites=()).minimum_version == ssl.TLSVersion.TLSv1_3


def test_a_suite_that_this_openssl_lacks_is_refused(shown: Certificate) -> None:
    message = refusal(shown, suites=("ECDHE-ECDSA-AES128-GCM-SHA256", "NO-SUCH-SUITE"))
    assert message.startswith("web.yml: tls_server_config.cipher_suites: NO-SUCH-SUITE is switched off")


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1", "X25519"])
def test_each_curve_can_be_the_only_one(curve: str, shown: Certificate) -> None:
    server = built(shown, curve=curve)
    assert agreed(server, client_context()).version() == "TLSv1.3"
    other = client_context()
    other.set_ecdh_curve("secp384r1" if curve != "secp384r1" else "prime256v1")
    with pytest.raises(ssl.SSLError):
        agreed(server, other)


def test_pem_text_in_place_of_files_serves_the_same(tmp_path: Path, shown: Certificate) -> None:
    server = built(shown, cert=Secret(shown.cert.read_text()), key=Secret(shown.key.read_text()))
    assert agreed(server, client_context(tmp_path / "ca.crt")).version() == "TLSv1.3"


def test_loading_leaves_nothing_open_and_nothing_on_disk(tmp_path: Path, shown: Certificate) -> None:
    before = len(list(Path("/proc/self/fd").iterdir())), set(tmp_path.iterdir())
    built(shown)
    assert (len(list(Path("/proc/self/fd").iterdir())), set(tmp_path.iterdir())) == before


def test_equal_settings_and_files_are_known_to_be_equal(tmp_path: Path, shown: Certificate) -> None:
    made_from = built(shown).made_from
    assert built(shown).made_from == made_from
    assert built(shown, min_version="TLS13").made_from != made_from
    ca = authority(tmp_path, "clients")
    asking = {"client_ca": ca.cert, "client_auth": "RequireAndVerifyClientCert"}
    with_ca = built(shown, **asking).made_from
    authority(tmp_path, "clients")
    assert built(shown, **asking).made_from != with_ca
    issued(Certificate(tmp_path / "ca.crt", tmp_path / "ca.key"), tmp_path, "server")
    assert built(shown).made_from != made_from


def test_the_files_of_a_bad_certificate_are_named_with_the_rule(tmp_path: Path, shown: Certificate) -> None:
    other = issued(authority(tmp_path, "other-ca"), tmp_path, "other")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n")
    no_key = tmp_path / "no.key"
    no_key.write_text("-----BEGIN PRIVATE KEY-----\nbm90aGluZw==\n-----END PRIVATE KEY-----\n")
    encrypted = tmp_path / "encrypted.key"
    openssl("pkcs8", "-topk8", "-in", shown.key, "-out", encrypted, "-passout", "pass:canary")
    missing = tmp_path / "missing.pem"
    place = "web.yml: tls_server_config."
    for given, message in (
        (
            {"cert": missing},
            f"{place}cert_file: {missing} cannot be read (No such file or directory), expected",
        ),
        ({"key": tmp_path}, f"{place}key_file: {tmp_path} cannot be read (Is a directory), expected"),
        ({"cert": shown.key}, f"{place}cert_file: {shown.key} has no CERTIFICATE, expected PEM"),
        ({"key": shown.cert}, f"{place}key_file: {shown.cert} has no PRIVATE KEY, expected PEM"),
        ({"cert": broken}, f"{place}cert_file: {broken} cannot be understood, expected certificates"),
        ({"key": no_key}, f"{place}key_file: {no_key} cannot be understood, expected the certificate's key"),
        ({"key": other.key}, f"{place}key_file: {other.key} does not belong to the certificate, expected"),
        (
            {"key": encrypted},
            f"{place}key_file: {encrypted} is encrypted, expected a key without a passphrase",
        ),
        ({"key": Secret("canary")}, f"{place}key: the text has no PRIVATE KEY, expected PEM"),
        (
            {"client_ca": broken, "client_auth": "RequireAndVerifyClientCert"},
            f"{place}client_ca_file: {broken} cannot be understood, expected certificates",
        ),
    ):
        found = refusal(shown, **given)
        assert found.startswith(message)
        assert "canary" not in found


def test_a_key_too_weak_for_the_system_is_told_as_the_certificates_fault(tmp_path: Path) -> None:
    weak = Certificate(tmp_path / "weak.crt", tmp_path / "weak.key")
    openssl(
        *("req", "-x509", "-newkey", "rsa:512", "-nodes", "-subj", "/CN=weak"),
        *("-keyout", weak.key, "-out", weak.cert),
    )
    assert "is refused by OpenSSL (ee key too small), expected a stronger one" in refusal(weak)


async def test_a_client_certificate_is_optional_when_it_is_only_verified_if_given(tmp_path: Path) -> None:
    ca, other = authority(tmp_path, "clients"), authority(tmp_path, "other")
    good = issued(ca, tmp_path, "good", usage="clientAuth")
    foreign = issued(other, tmp_path, "foreign", usage="clientAuth")
    text = text_of(issued(ca, tmp_path, "server"), ca, "client_auth_type: VerifyClientCertIfGiven")
    async with served(tmp_path, text) as server:
        assert (await server.ask(context=client_context(ca.cert))).status == 200
        assert (await server.ask(context=client_context(ca.cert, good))).status == 200
        with pytest.raises(OSError, match=r"(?i)unknown ca"):
            await server.ask(context=client_context(ca.cert, foreign))


async def test_an_intermediate_ca_can_be_the_one_that_is_trusted(tmp_path: Path) -> None:
    root = authority(tmp_path, "root")
    between = issued(root, tmp_path, "between", constraints="CA:TRUE")
    client = issued(between, tmp_path, "client", usage="clientAuth")
    of_root = issued(root, tmp_path, "of-root", usage="clientAuth")
    shown = issued(root, tmp_path, "server")
    text = text_of(shown, between, "client_auth_type: RequireAndVerifyClientCert")
    async with served(tmp_path, text) as server:
        assert (await server.ask(context=client_context(root.cert, client))).status == 200
        with pytest.raises(OSError, match=r"(?i)unknown ca"):
            await server.ask(context=client_context(root.cert, of_root))


@pytest.mark.parametrize(
    ("sans", "status"),
    [
        ("DNS:prometheus.example.net", 200),
        ("DNS:other.example.net,URI:spiffe://home/prometheus", 200),
        ("email:prometheus@example.net", 200),
        ("IP:2001:db8::7", 200),
        ("IP:10.0.0.7", 200),
        ("DNS:other.example.net", 403),
        ("DNS:sub.prometheus.example.net", 403),
        ("IP:10.0.0.8", 403),
    ],
)
async def test_only_clients_with_an_allowed_name_are_let_in(sans: str, status: int, tmp_path: Path) -> None:
    ca = authority(tmp_path)
    shown = issued(ca, tmp_path, "server")
    names = (
        "prometheus.example.net, 'spiffe://home/prometheus', prometheus@example.net, 10.0.0.7, '2001:db8::7'"
    )
    text = text_of(
        shown, ca, "client_auth_type: RequireAndVerifyClientCert", f"client_allowed_sans: [{names}]"
    )
    client = issued(ca, tmp_path, "client", sans=sans, usage="clientAuth")
    async with served(tmp_path, text) as server:
        answer = await server.ask(context=client_context(ca.cert, client))
        assert answer.status == status
        assert answer.headers.get("Content-Security-Policy") == ("own" if status == 200 else None)


async def test_a_client_that_sends_on_after_its_refusal_is_not_listened_to(tmp_path: Path) -> None:
    shown = issued(authority(tmp_path), tmp_path, "server")
    async with served(tmp_path, text_of(shown)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
            plain.setblocking(False)
            plain.send(b"GET / HTTP/1.1\r\n\r\n")
            assert (await server.ask(context=client_context())).status == 200
            plain.send(b"GET /metrics HTTP/1.1\r\n\r\n" * 100)
            assert (await server.ask(context=client_context())).status == 200
            answers = plain.recv(65536)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.startswith(b"HTTP/1.1 400 ")
