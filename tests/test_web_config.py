"""The web config file → WebFile; bad ones are refused in one sentence."""

import hashlib
import hmac
import re
from pathlib import Path

import pytest

from exporter import readers
from exporter.errors import ConfigError
from exporter.readers import Secret
from exporter.web_config import (
    TLS12_SUITES,
    RateLimit,
    TlsConfig,
    WebFile,
    healthcheck_proof,
    load_web_file,
    permission_warnings,
)

BAD = sorted((Path(__file__).parent / "bad_web_configs").glob("*.yml"))
HASH = "$2y$10$59Zcurf1sDPgpJwKoh4k7eouKWDv14Y3Lkbk2KlfwBPvU40cJqqAi"
FILES = "tls_server_config:\n  cert_file: server.crt\n  key_file: keys/server.key\n"
CLIENTS = "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"


def loaded(folder: Path, text: str) -> WebFile:
    path = folder / "web.yml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return load_web_file(path)


def tls_of(folder: Path, text: str) -> TlsConfig:
    tls = loaded(folder, FILES + text).tls
    assert tls is not None
    return tls


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_web_config_is_refused_in_one_sentence(path: Path) -> None:
    first_line = path.read_text(encoding="utf-8").partition("\n")[0]
    with pytest.raises(ConfigError) as refused:
        load_web_file(path)
    message = str(refused.value)
    assert message == first_line.removeprefix("# expected: ").replace("{file}", str(path))
    assert "expected" in message
    assert "\n" not in message
    assert "canary" not in message
    assert "$2y$" not in message


@pytest.mark.parametrize(
    "text", ["", "tls_server_config:\nbasic_auth_users: {}\n", "tls_server_config: {cert_file: ''}"]
)
def test_an_empty_file_asks_for_nothing(text: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, text) == WebFile(path=tmp_path / "web.yml", content=text.encode())


def test_everything_the_format_has_is_understood(tmp_path: Path) -> None:
    text = (
        FILES
        + CLIENTS
        + (
            "  client_allowed_sans: [prometheus.example.net, 10.0.0.7]\n"
            "  min_version: TLS12\n"
            "  max_version: TLS12\n"
            "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n"
            "  prefer_server_cipher_suites: false\n"
            "  curve_preferences: [CurveP384]\n"
            "http_server_config:\n"
            "  http2: true\n"
            "  headers:\n"
            "    Strict-Transport-Security: max-age=31536000\n"
            "    X-Frame-Options: deny\n"
            "    X-Content-Type-Options: nosniff\n"
            "    X-XSS-Protection: ''\n"
            f"basic_auth_users:\n  prometheus: {HASH}\n"
            "rate_limit: {interval: 1s, burst: 20}\n"
        )
    )
    assert loaded(tmp_path, text) == WebFile(
        path=tmp_path / "web.yml",
        content=text.encode(),
        tls=TlsConfig(
            cert=tmp_path / "server.crt",
            key=tmp_path / "keys/server.key",
            client_ca=tmp_path / "ca.crt",
            client_auth="RequireAndVerifyClientCert",
            client_allowed_sans=("prometheus.example.net", "10.0.0.7"),
            min_version="TLS12",
            max_version="TLS12",
            suites=("ECDHE-RSA-AES128-GCM-SHA256",),
            prefer_server_suites=False,
            curve="secp384r1",
        ),
        headers={
            "Strict-Transport-Security": "max-age=31536000",
            "X-Frame-Options": "deny",
            "X-Content-Type-Options": "nosniff",
        },
        users={"prometheus": Secret(HASH)},
        rate_limit=RateLimit(1.0, 20),
    )


def test_certificates_can_stand_in_the_file_itself(tmp_path: Path) -> None:
    web_file = loaded(
        tmp_path,
        "tls_server_config:\n  cert: |\n    one\n    two\n  key: key-canary\n"
        "  client_ca: three\n  client_auth_type: VerifyClientCertIfGiven\n",
    )
    assert web_file.tls == TlsConfig(
        cert=Secret("one\ntwo\n"),
        key=Secret("key-canary"),
        client_ca=Secret("three"),
        client_auth="VerifyClientCertIfGiven",
    )
    assert web_file.files == (tmp_path / "web.yml",)


def test_the_files_to_watch_are_the_file_and_those_it_names(tmp_path: Path) -> None:
    names = [path.relative_to(tmp_path) for path in loaded(tmp_path, FILES + CLIENTS).files]
    assert [str(name) for name in names] == ["web.yml", "server.crt", "keys/server.key", "ca.crt"]


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    web_file = loaded(tmp_path, "tls_server_config: {cert_file: /etc/a.crt, key_file: /etc/a.key}")
    assert web_file.files[1:] == (Path("/etc/a.crt"), Path("/etc/a.key"))


def test_ciphers_of_tls_13_alone_leave_none_of_tls_12(tmp_path: Path) -> None:
    assert tls_of(tmp_path, "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n").suites == ()
    assert tls_of(tmp_path, "").suites is None
    every = ", ".join(TLS12_SUITES)
    assert tls_of(tmp_path, f"  cipher_suites: [{every}]\n").suites == tuple(TLS12_SUITES.values())
    assert tls_of(tmp_path, f"  min_version: TLS13\n  cipher_suites: [{every}]\n").suites is None


@pytest.mark.parametrize(
    "text", ["rate_limit: {interval: 0}", "rate_limit: {interval: 0s, burst: 5}", "rate_limit:"]
)
def test_an_interval_of_0_is_no_rate_limit(text: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, text).rate_limit is None


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
def test_hashes_of_every_bcrypt_are_taken(prefix: str, tmp_path: Path) -> None:
    hashed = HASH.replace("2y", prefix)
    assert loaded(tmp_path, f"basic_auth_users: {{a: {hashed}}}").users["a"].reveal() == hashed


def test_nothing_secret_is_printed(tmp_path: Path) -> None:
    text = f"tls_server_config: {{cert: cert-canary, key: key-canary}}\nbasic_auth_users: {{owner: {HASH}}}"
    shown = repr(loaded(tmp_path, text))
    assert "owner" in shown
    assert "canary" not in shown
    assert HASH[10:] not in shown


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"none\.yml: cannot be read \(No such file or directory\), expected"
    ):
        load_web_file(tmp_path / "none.yml")
    (tmp_path / "latin.yml").write_bytes("basic_auth_users: {jürgen: x}".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_web_file(tmp_path / "latin.yml")


def test_secrets_that_others_can_read_are_warnings(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    key = tmp_path / "keys/server.key"
    key.touch(0o600)
    web_file = loaded(tmp_path, FILES)
    web_file.path.chmod(0o644)
    assert permission_warnings(web_file) == []  # nothing in it is secret
    key.chmod(0o640)
    (warning,) = permission_warnings(web_file)
    assert warning.startswith(f"{key}: holds a secret and others can read it (mode 0640)")
    for text in (f"basic_auth_users: {{owner: {HASH}}}", "tls_server_config: {cert: a, key: b}"):
        with_secret = loaded(tmp_path, text)
        assert permission_warnings(with_secret) == []
        with_secret.path.chmod(0o644)
        (warning,) = permission_warnings(with_secret)
        assert warning.startswith(f"{with_secret.path}: holds a secret")


def test_the_proof_of_the_health_check_is_an_hmac_under_the_files_bytes() -> None:
    expected = hmac.new(b"the file", b"/-/healthy", hashlib.sha256).hexdigest()
    assert healthcheck_proof(b"the file") == expected


def test_the_examples_of_the_document_are_understood(tmp_path: Path) -> None:
    document = (Path(__file__).parents[1] / "docs/web-config.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```yaml\n(tls_server_config:.*?)^```", document, re.MULTILINE | re.DOTALL)
    first, second = (loaded(tmp_path, example) for example in examples)
    assert set(first.users) == {"prometheus"}
    assert second.tls is not None
    assert second.tls.client_auth == "RequireAndVerifyClientCert"


def test_the_document_names_what_the_format_has_and_python_has_not() -> None:
    document = (Path(__file__).parents[1] / "docs/web-config.md").read_text(encoding="utf-8")
    for word in ("RequestClientCert", "RequireAnyClientCert", "min_version", "curve_preferences", "http2"):
        assert f"`{word}`" in document


def test_the_setting_is_a_path() -> None:
    assert readers.web_config_file("web.yml") == Path("web.yml")
    with pytest.raises(ValueError, match="a web config file"):
        readers.web_config_file(" ")
