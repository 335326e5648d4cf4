import asyncio

import aiohttp
import pytest
from aioresponses import aioresponses
from yarl import URL

from exporter.errors import (
    CloudError,
    LoginExpired,
    NotOffered,
    RateLimited,
    Rejected,
    Unavailable,
    UnexpectedPayload,
    Unreachable,
)
from exporter.transport import (
    MAX_BODY_BYTES,
    Answer,
    Request,
    Tally,
    Transport,
    error_of,
    retry_after_seconds,
)
from tests.wiring import wired

URL_ = URL("http://127.0.0.1/service/x")
READ = Request("status", "GET", URL_, {})
OPTIONAL = Request("charge_mode", "GET", URL_, {}, optional=True)
NOW = 1_777_746_600.0  # Sat, 02 May 2026 18:30:00 GMT


@pytest.mark.parametrize(
    ("request_", "status", "error", "kind"),
    [
        (READ, 302, Unavailable, "server_error"),
        (READ, 400, Rejected, "client_error"),
        (READ, 401, LoginExpired, "unauthorized"),
        (READ, 403, Rejected, "client_error"),
        (READ, 404, Rejected, "client_error"),
        (READ, 406, Rejected, "client_error"),
        (READ, 429, RateLimited, "rate_limited"),
        (READ, 466, Rejected, "client_error"),
        (READ, 473, Rejected, "client_error"),
        (READ, 500, Unavailable, "server_error"),
        (READ, 503, Unavailable, "server_error"),
        (READ, 550, Unavailable, "server_error"),
        (READ, 552, Unavailable, "server_error"),
        (OPTIONAL, 401, LoginExpired, "unauthorized"),
        (OPTIONAL, 403, NotOffered, "client_error"),
        (OPTIONAL, 404, NotOffered, "client_error"),
        (OPTIONAL, 500, Unavailable, "server_error"),
    ],
)
def test_each_status_means_one_error(
    request_: Request, status: int, error: type[CloudError], kind: str
) -> None:
    found = error_of(request_, Answer(status, b"{}", {}))
    assert type(found) is error
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize("status", [200, 202, 204, 205])
def test_a_success_is_no_error(status: int) -> None:
    assert error_of(READ, Answer(status, b"", {})) is None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<!DOCTYPE html><form action='/login/login'>", LoginExpired),
        (b'<html><input type="password"></html>', LoginExpired),
        (b"<html><script>window.OptanonWrapper</script>", LoginExpired),
        (b"<html><script>var otLang = 1</script>", LoginExpired),
        (b"<html><meta http-equiv='X-UA-Compatible'><a href='https://enphaseenergy.com'>", LoginExpired),
        (b"<html>Down for maintenance, see enphaseenergy.com</html>", Unavailable),
        (b"<html><meta http-equiv='X-UA-Compatible'>Bad gateway</html>", Unavailable),
        (b"\xef\xbb\xbf \n<!doctype HTML><title>x</title>", Unavailable),
        (b"plain text", type(None)),
        (b'{"html":"<html>/login/login"}', type(None)),
    ],
)
def test_html_in_place_of_data_is_told_apart(body: bytes, error: type) -> None:
    assert type(error_of(READ, Answer(200, body, {}))) is error


def test_a_redirect_to_the_login_page_is_an_expired_login() -> None:
    found = error_of(READ, Answer(302, b"", {}, location="https://x/login?ref=1"))
    assert isinstance(found, LoginExpired)
    assert found.kind == "login_page"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("Sat, 02 May 2026 18:31:00 GMT", 60.0),
        ("Sat, 02 May 2026 18:29:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("²", None),
        ("9" * 400, 999_999_999_999.0),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds


async def test_a_retry_after_date_is_read_against_the_clouds_own_clock() -> None:
    tally = Tally(("status",))
    async with aiohttp.ClientSession() as http:
        with aioresponses() as cloud:
            cloud.get(
                URL_,
                status=429,
                headers={
                    "Date": "Sat, 02 May 2026 18:30:00 GMT",
                    "Retry-After": "Sat, 02 May 2026 18:30:40 GMT",
                },
            )
            with pytest.raises(RateLimited) as caught:
                await _transport(http, tally).read(READ)
    assert caught.value.retry_after_seconds == 40


def _transport(http: aiohttp.ClientSession, tally: Tally) -> Transport:
    return Transport(http, tally, timeout_seconds=1, sent=lambda: None, timed=lambda endpoint, seconds: None)


@pytest.mark.parametrize(
    ("kind", "error", "label"),
    [
        ("reset", Unreachable, "connection"),
        ("cut", Unreachable, "connection"),
        ("oversized", UnexpectedPayload, "invalid_payload"),
    ],
)
async def test_a_broken_answer_is_counted_by_its_kind(kind: str, error: type[CloudError], label: str) -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        parameters = {"mebibytes": 5} if kind == "oversized" else {}
        w.cloud.faults.add(kind, endpoint="status", **parameters)  # type: ignore[arg-type]
        with pytest.raises(error):
            await w.client.fetch_status(w.site_id)
        assert w.transport.tally.errors["status", label] == 1


async def test_an_oversized_body_is_not_read_to_its_end() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.faults.add("oversized", endpoint="status", mebibytes=64, chunked=True)
        with pytest.raises(UnexpectedPayload, match=str(MAX_BODY_BYTES)):
            await w.client.fetch_status(w.site_id)


async def test_a_slow_answer_is_a_timeout_and_counts_as_unanswered() -> None:
    async with wired(timeout_seconds=0.2) as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.faults.add("slow", endpoint="status", seconds=5)
        with pytest.raises(Unreachable) as caught:
            await w.client.fetch_status(w.site_id)
        assert caught.value.kind == "timeout"
        assert w.transport.tally.requests["status", "0"] == 1
        assert w.transport.tally.errors["status", "timeout"] == 1


async def test_requests_are_counted_by_status_and_known_sets_start_at_zero() -> None:
    async with wired() as w:
        assert w.transport.tally.requests["summary", "200"] == 0
        assert w.transport.tally.errors["summary", "rate_limited"] == 0
        w.cloud.faults.add("status", endpoint="summary", status=550, times=1)
        with pytest.raises(Unavailable):
            await w.client.fetch_summary(w.site_id)
        await w.client.fetch_summary(w.site_id)
        assert w.transport.tally.requests["summary", "550"] == 1
        assert w.transport.tally.requests["summary", "200"] == 1
        assert len(w.sent) == sum(w.transport.tally.requests.values())


async def test_never_more_than_two_reads_of_an_account_are_under_way() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.journal.clear()
        w.cloud.faults.add("slow", endpoint="status", seconds=0.05)
        await asyncio.gather(*(w.client.fetch_status(w.site_id) for _ in range(6)))
        entries = w.cloud.journal.select(endpoint="status")
        for entry in entries:
            under_way = [
                other
                for other in entries
                if other.monotonic_seconds
                <= entry.monotonic_seconds
                < (other.done_monotonic_seconds or float("inf"))
            ]
            assert len(under_way) <= 2


async def test_an_error_names_no_address_and_no_query() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.faults.add("reset", endpoint="status")
        with pytest.raises(Unreachable) as caught:
            await w.client.fetch_status(w.site_id)
        assert "127.0.0.1" not in str(caught.value)
        assert caught.value.__cause__ is None
