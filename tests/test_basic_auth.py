"""Who may ask: users, the control token's way in, the health check's proof, the rate limit."""

import asyncio
import base64
import hmac
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import bcrypt
import pytest

from exporter.basic_auth import Bucket, Passwords, decoded, nobodys_hash
from exporter.readers import Secret
from exporter.web_config import RateLimit
from tests.certificates import HASH, OWNER, PASSWORD, USERS, Served, served

NOWHERE = ("/nowhere", "/api/v1/nowhere", "/-/healthy/", "//metrics")
PAGES = ("/", "/metrics", "/-/healthy", "/-/ready", "/api/v1", "/api/v1/chargers/", "/api/v1x", *NOWHERE)


def basic(user: str, password: str | bytes) -> str:
    return "Basic " + pair(user, password)


def pair(user: str, password: str | bytes) -> str:
    raw = password if isinstance(password, bytes) else password.encode()
    return base64.b64encode(user.encode() + b":" + raw).decode()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, USERS) as running:
        yield running


async def test_every_path_asks_who_is_there_also_one_that_leads_nowhere(server: Served) -> None:
    for path in PAGES:
        answer = await server.ask(path)
        assert (path, answer.status) == (path, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert await answer.text() == "unauthorized\n"
        assert (await server.ask(path, Authorization=OWNER)).status == (404 if path in NOWHERE else 200)


async def test_without_users_nobody_is_asked(tmp_path: Path) -> None:
    async with served(tmp_path, "http_server_config: {headers: {X-Frame-Options: deny}}") as server:
        answer = await server.ask("/-/healthy")
        assert (answer.status, answer.headers["X-Frame-Options"]) == (200, "deny")
        assert (await server.ask("/nowhere")).headers["X-Frame-Options"] == "deny"


async def test_headers_are_on_refusals_too(tmp_path: Path) -> None:
    text = USERS + "http_server_config: {headers: {Strict-Transport-Security: max-age=60}}"
    async with served(tmp_path, text) as server:
        answer = await server.ask("/")
        assert (answer.status, answer.headers["Strict-Transport-Security"]) == (401, "max-age=60")


@pytest.mark.parametrize(
    "sent",
    [
        basic("owner", "wrong"),
        basic("owner", ""),
        basic("nobody", PASSWORD),
        basic("", ""),
        basic("Owner", PASSWORD),
        "Basic",
        "Basic ",
        "Basic ***",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"owner:\xff\xfe").decode(),
        "Basic " + base64.b64encode(b"\xff:x").decode(),
        "Basic " + pair("owner", PASSWORD)[:-3],
        "Basic gr\u00fc\u00dfe",
        basic("owner", "x" * 5000),
        basic("owner", "a\0b"),
        pair("owner", PASSWORD),
        "Digest " + pair("owner", PASSWORD),
        "Bearer " + PASSWORD,
        "Healthcheck " + PASSWORD,
        "Healthcheck \u00fc",
        "",
    ],
)
async def test_what_is_no_users_password_is_401(sent: str, server: Served) -> None:
    assert (await server.ask("/metrics", Authorization=sent)).status == 401
    assert (await server.ask("/-/healthy", Authorization=sent)).status == 401


async def test_the_schemes_name_may_be_in_any_case(server: Served) -> None:
    assert (await server.ask("/", Authorization="bAsIc " + pair("owner", PASSWORD))).status == 200


async def test_a_bearer_token_is_the_control_apis_to_judge_and_opens_nothing_else(server: Served) -> None:
    for path in ("/api/v1", "/api/v1/chargers/", "/api/v1/chargers/482500000017/start"):
        assert (await server.ask(path, Authorization="Bearer anything")).status == 200
    for path in ("/", "/metrics", "/-/healthy", "/api/v1x", *NOWHERE, "/api/v1/../metrics"):
        assert (path, (await server.ask(path, Authorization="Bearer anything")).status) == (path, 401)


async def test_a_method_that_is_not_there_is_guarded_too(server: Served) -> None:
    _, writer = opened = await asyncio.open_connection("127.0.0.1", server.port)
    request = "POST /api/v1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 0\r\n\r\n"
    writer.write(request.encode())
    assert (await opened[0].readline()).startswith(b"HTTP/1.1 401 ")
    writer.close()


async def test_the_health_check_proves_that_it_can_read_the_file_and_gets_no_further(server: Served) -> None:
    proof = "Healthcheck " + hmac.digest(server.path.read_bytes(), b"/-/healthy", "sha256").hex()
    assert (await server.ask("/-/healthy", Authorization=proof)).status == 200
    assert (await server.ask("/-/healthy", Authorization=proof[:-1] + "x")).status == 401
    for path in PAGES:
        if path != "/-/healthy":
            assert (path, (await server.ask(path, Authorization=proof)).status) == (path, 401)


async def test_the_proof_holds_while_a_newer_file_is_refused(server: Served) -> None:
    bad = "basic_auth_users: [not, good]\n"
    await server.rewrite(bad)
    for content, status in ((bad, 200), (USERS, 200), ("other", 401)):
        proof = hmac.digest(content.encode(), b"/-/healthy", "sha256").hex()
        assert (await server.ask("/-/healthy", Authorization=f"Healthcheck {proof}")).status == status


async def test_a_user_who_is_taken_out_is_out_at_once(server: Served) -> None:
    assert (await server.ask("/", Authorization=OWNER)).status == 200
    changed = bcrypt.hashpw(b"another", bcrypt.gensalt(4)).decode()
    await server.rewrite(f"basic_auth_users: {{owner: {changed}}}")
    assert (await server.ask("/", Authorization=OWNER)).status == 401
    assert (await server.ask("/", Authorization=basic("owner", "another"))).status == 200


async def test_a_password_that_was_compared_is_not_compared_again() -> None:
    passwords = Passwords({"owner": Secret(HASH)})
    threads: set[str] = set()

    async def compared(user: str, password: str) -> tuple[bool, int]:
        """The verdict, and how many comparisons it took."""
        before = passwords.comparisons
        verdict = await passwords.fit(pair(user, password))
        threads.update(thread.name for thread in threading.enumerate())
        return verdict, passwords.comparisons - before

    assert await compared("owner", PASSWORD) == (True, 1)
    assert await compared("owner", PASSWORD) == (True, 0)
    assert await compared("owner", "wrong") == (False, 1)
    assert await compared("owner", "wrong") == (False, 0)
    assert await compared("nobody", PASSWORD) == (False, 1)
    assert await compared("nobody", PASSWORD) == (False, 0)
    assert any(name.startswith("asyncio_") for name in threads)


async def test_requests_that_come_together_with_one_password_share_its_comparison() -> None:
    passwords = Passwords({"owner": Secret(HASH)})
    assert await asyncio.gather(*(passwords.fit(pair("owner", PASSWORD)) for _ in range(10))) == [True] * 10
    assert passwords.comparisons <= 2


async def test_guesses_do_not_push_out_who_is_in_and_are_not_all_remembered() -> None:
    passwords = Passwords({"owner": Secret(HASH)})
    assert await passwords.fit(pair("owner", PASSWORD))
    for guess in range(300):
        assert not await passwords.fit(pair("owner", f"guess {guess}"))
    before = passwords.comparisons
    assert await passwords.fit(pair("owner", PASSWORD))
    assert not await passwords.fit(pair("owner", "guess 299"))
    assert passwords.comparisons == before
    assert not await passwords.fit(pair("owner", "guess 0"))
    assert passwords.comparisons == before + 1


async def test_no_password_is_kept_or_printed() -> None:
    passwords = Passwords({"owner": Secret(HASH)})
    assert await passwords.fit(pair("owner", PASSWORD))
    assert PASSWORD not in repr(vars(passwords))
    assert PASSWORD not in repr(decoded(pair("owner", PASSWORD)))


async def test_passwords_are_compared_as_far_as_bcrypt_reads_them() -> None:
    long = "p" * 72
    passwords = Passwords({"owner": Secret(bcrypt.hashpw(long.encode(), bcrypt.gensalt(4)).decode())})
    assert await passwords.fit(pair("owner", long))
    assert await passwords.fit(pair("owner", long + "and more"))
    assert not await passwords.fit(pair("owner", long[:-1] + "q"))
    assert not await passwords.fit(pair("owner", long[:-1]))


async def test_a_colon_and_letters_of_any_language_can_be_in_a_password() -> None:
    password = "a:b:grüße"
    passwords = Passwords({"jürgen": Secret(bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode())})
    assert await passwords.fit(pair("jürgen", password))
    assert not await passwords.fit(pair("jürgen", "a"))


def test_nobodys_hash_costs_what_the_users_hashes_cost_and_fits_no_password() -> None:
    users = {"a": Secret(HASH), "b": Secret(HASH.replace("$04$", "$06$"))}
    assert nobodys_hash(users).startswith(b"$2b$06$")
    assert not bcrypt.checkpw(b"", nobodys_hash(users))


def test_a_bucket_lets_a_burst_through_and_then_one_each_interval() -> None:
    now = 100.0
    bucket = Bucket(RateLimit(2.0, 3), lambda: now)
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 2.0]
    now += 1.5
    assert bucket.take() == pytest.approx(0.5)
    now += 0.5
    assert [bucket.take() for _ in range(2)] == [0.0, 2.0]
    now += 3600
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 2.0]


async def test_too_many_requests_are_told_when_to_come_again_but_not_the_health_check(tmp_path: Path) -> None:
    text = USERS + "rate_limit: {interval: 1h, burst: 2}\n"
    async with served(tmp_path, text) as server:
        statuses = [(await server.ask("/", Authorization=OWNER)).status for _ in range(2)]
        answer = await server.ask("/", Authorization=OWNER)
        assert [*statuses, answer.status] == [200, 200, 429]
        assert 3590 < int(answer.headers["Retry-After"]) <= 3600
        await server.rewrite(text + "\n")  # the same limit goes on counting
        assert (await server.ask("/", Authorization=OWNER)).status == 429
        proof = hmac.digest(server.path.read_bytes(), b"/-/healthy", "sha256").hex()
        assert (await server.ask("/-/healthy", Authorization=f"Healthcheck {proof}")).status == 200
        await server.rewrite(USERS)
        assert (await server.ask("/", Authorization=OWNER)).status == 200
