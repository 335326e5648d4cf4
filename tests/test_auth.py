import asyncio

import pytest

from exporter.auth import Credentials
from exporter.errors import (
    BadCredentials,
    CloudError,
    LoginExpired,
    MfaRequired,
    RateLimited,
    Rejected,
    TooManyLogins,
    Unavailable,
)
from exporter.simulator.settings import CloudConfig
from tests.wiring import OWNER, wired


async def test_the_first_read_logs_in_once_and_sends_the_token_and_cookies() -> None:
    async with wired() as w:
        status = await w.client.fetch_status(w.site_id)
        assert status.chargers
        assert w.logins() == 1
        headers = w.cloud.journal.select(endpoint="status")[0].headers
        assert headers["e-auth-token"]
        assert "_enlighten_4_session=" in headers["Cookie"]
        assert headers["User-Agent"].startswith("Mozilla/")
        assert headers["X-Requested-With"] == "XMLHttpRequest"
        assert "%" not in headers["X-CSRF-Token"]
        assert "Authorization" not in headers
        assert w.auth.works is True


async def test_ten_reads_at_once_with_an_expired_login_log_in_once() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.expire_sessions()
        w.cloud.journal.clear()
        w.wall.seconds += 60
        answers = await asyncio.gather(*(w.client.fetch_status(w.site_id) for _ in range(10)))
        assert len(answers) == 10
        assert w.logins() == 1


async def test_ten_waiting_reads_share_one_failed_login() -> None:
    async with wired() as w:
        w.cloud.faults.add("status", endpoint="login", status=503)
        failures = await asyncio.gather(
            *(w.client.fetch_status(w.site_id) for _ in range(10)), return_exceptions=True
        )
        assert all(isinstance(failure, Unavailable) for failure in failures)
        assert w.logins() == 1


async def test_an_expired_token_is_replaced_without_a_login() -> None:
    async with wired(CloudConfig(require_token=False)) as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.journal.clear()
        w.cloud.faults.add("status", endpoint="status", times=1, status=401)
        w.wall.seconds += 60
        await w.client.fetch_status(w.site_id)
        assert w.logins() == 0
        assert w.cloud.journal.count(endpoint="token") == 1
        assert w.cloud.journal.count(endpoint="status") == 2


async def test_a_replay_carries_the_new_headers() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.expire_sessions()
        w.wall.seconds += 60
        w.cloud.journal.clear()
        await w.client.fetch_status(w.site_id)
        first, second = w.cloud.journal.select(endpoint="status")
        assert first.headers["Cookie"] != second.headers["Cookie"]
        assert first.headers["e-auth-token"] != second.headers["e-auth-token"]


@pytest.mark.parametrize("expired_as", ["json", "empty", "login_page", "redirect"])
async def test_every_look_of_an_expired_login_is_renewed(expired_as: str) -> None:
    async with wired(CloudConfig(expired_as=expired_as)) as w:  # type: ignore[arg-type]
        await w.client.fetch_status(w.site_id)
        w.cloud.expire_sessions()
        w.wall.seconds += 60
        await w.client.fetch_status(w.site_id)
        assert w.logins() == 2
        kind = "unauthorized" if expired_as in ("json", "empty") else "login_page"
        assert w.transport.tally.errors["status", kind] == 1


async def test_a_cloud_that_refuses_every_login_it_accepts_is_not_hammered() -> None:
    async with wired() as w:
        w.cloud.faults.add("status", endpoint="status", status=401)
        for _ in range(60):
            with pytest.raises(LoginExpired):
                await w.client.fetch_status(w.site_id)
            w.wall.seconds += 60
        # An hour of 401s: one login, then waits of 300 s, and of a day after the third refusal.
        assert w.logins() <= 4
        assert w.auth.blocked_until_seconds is not None


@pytest.mark.parametrize("status", [500, 502, 503, 550, 403, 429])
async def test_an_error_that_is_no_401_starts_no_login(status: int) -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.journal.clear()
        w.cloud.faults.add("status", endpoint="status", times=1, status=status)
        with pytest.raises(CloudError):
            await w.client.fetch_status(w.site_id)
        assert w.logins() == 0
        assert w.cloud.journal.count(endpoint="token") == 0


async def test_an_outage_page_starts_no_login() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.journal.clear()
        w.cloud.faults.add("html_outage", endpoint="status", status=200, times=1)
        with pytest.raises(Unavailable):
            await w.client.fetch_status(w.site_id)
        assert w.logins() == 0


async def test_an_optional_endpoint_that_answers_401_starts_no_login() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.journal.clear()
        w.cloud.faults.add("status", endpoint="charge_mode", status=401)
        for _ in range(20):
            with pytest.raises(LoginExpired):
                await w.client.fetch_charge_mode(w.site_id, w.serial)
            w.wall.seconds += 300
        assert w.logins() == 0
        assert w.cloud.journal.count(endpoint="token") == 0


async def test_a_summary_that_refuses_a_good_login_renews_it_only_once() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.faults.add("status", endpoint="summary", status=401)
        w.wall.seconds += 60
        w.cloud.journal.clear()
        for _ in range(5):
            with pytest.raises(LoginExpired):
                await w.client.fetch_summary(w.site_id)
            w.wall.seconds += 300
            await w.client.fetch_status(w.site_id)
        assert w.cloud.journal.count(endpoint="token") + w.logins() == 1


@pytest.mark.parametrize(
    ("outcome", "error", "result"),
    [
        ("invalid_401", BadCredentials, "invalid_credentials"),
        ("refused_200", BadCredentials, "invalid_credentials"),
        ("blocked", TooManyLogins, "blocked"),
        ("too_many", TooManyLogins, "blocked"),
        ("mfa_explicit", MfaRequired, "mfa_required"),
        ("mfa_implicit", MfaRequired, "mfa_required"),
    ],
)
async def test_a_refused_login_is_tried_once_and_then_left_alone(
    outcome: str, error: type[CloudError], result: str
) -> None:
    async with wired(CloudConfig(login_outcome=outcome)) as w:
        for _ in range(9):
            with pytest.raises(error):
                await w.client.fetch_status(w.site_id)
            w.wall.seconds += 30
        assert w.logins() == 1
        assert w.cloud.journal.count(endpoint="status") == 0
        assert w.auth.logins[result,] == 1
        assert w.auth.works is False
        assert w.auth.needs_person
        assert (w.auth.blocked_until_seconds is None) == (result == "mfa_required")


async def test_a_wrong_password_is_tried_three_times_in_a_day() -> None:
    async with wired(CloudConfig(password="another")) as w:
        for _ in range(24 * 60):
            with pytest.raises(BadCredentials):
                await w.client.fetch_status(w.site_id)
            w.wall.seconds += 60
        assert w.logins() == 3


async def test_a_login_during_an_outage_is_no_refusal() -> None:
    async with wired() as w:
        w.cloud.faults.add("html_outage", endpoint="login", status=200, times=1)
        with pytest.raises(Unavailable):
            await w.client.fetch_status(w.site_id)
        assert w.auth.guard is None
        assert w.auth.logins["unavailable",] == 1
        assert await w.client.fetch_status(w.site_id)


async def test_a_rate_limited_login_says_how_long_to_wait() -> None:
    async with wired() as w:
        w.cloud.faults.add("status", endpoint="login", status=429, retry_after=77)
        with pytest.raises(RateLimited) as caught:
            await w.client.fetch_status(w.site_id)
        assert caught.value.retry_after_seconds == 77
        assert w.transport.tally.rate_limited["login",] == 1


@pytest.mark.parametrize("wrong_surface_status", [404, 405])
async def test_where_the_web_login_is_missing_the_older_host_is_used(wrong_surface_status: int) -> None:
    config = CloudConfig(surface="entrez", wrong_surface_status=wrong_surface_status)
    async with wired(config) as w:
        assert (await w.client.fetch_status(w.site_id)).chargers
        assert [entry.path for entry in w.cloud.journal.select(endpoint="login")] == [
            "/login/login.json",
            "/login",
        ]
        assert w.cloud.journal.select(endpoint="token")[-1].path == "/access_token"


async def test_a_406_is_answered_with_the_form_page() -> None:
    async with wired() as w:
        w.cloud.faults.add("status", endpoint="login", times=1, status=406)
        assert (await w.client.fetch_status(w.site_id)).chargers
        assert [entry.path for entry in w.cloud.journal.select(endpoint="login")] == [
            "/login/login.json",
            "/login/login",
        ]


@pytest.mark.parametrize("outcome", ["ok", "key_variants", "session_key", "empty_object", "empty_text"])
async def test_every_form_of_a_successful_login_is_taken(outcome: str) -> None:
    async with wired(CloudConfig(login_outcome=outcome)) as w:
        assert (await w.client.fetch_status(w.site_id)).chargers
        assert w.auth.logins["success",] == 1


async def test_a_token_source_that_fails_leaves_a_login_by_cookies() -> None:
    async with wired() as w:
        w.cloud.faults.add("status", endpoint="token", status=404)
        assert (await w.client.fetch_status(w.site_id)).chargers
        assert "e-auth-token" not in w.cloud.journal.select(endpoint="status")[0].headers


async def test_rotated_cookies_are_followed() -> None:
    async with wired(CloudConfig(rotate_every=1)) as w:
        for _ in range(4):
            await w.client.fetch_status(w.site_id)
        cookies = [entry.headers["Cookie"] for entry in w.cloud.journal.select(endpoint="status")]
        assert len(set(cookies)) == 4
        assert w.logins() == 1


async def test_a_token_is_renewed_before_it_expires() -> None:
    async with wired(CloudConfig(token_lifetime_seconds=10_000)) as w:
        await w.client.fetch_status(w.site_id)
        expiry = w.auth.token_expiry_seconds
        assert expiry == pytest.approx(w.wall.seconds + 10_000, abs=2)
        w.wall.seconds += 8_900
        await w.client.fetch_status(w.site_id)
        assert w.auth.token_expiry_seconds == expiry
        w.wall.seconds += 200
        await w.client.fetch_status(w.site_id)
        assert w.auth.token_expiry_seconds == pytest.approx(w.wall.seconds + 10_000, abs=2)
        assert w.logins() == 1
        assert w.transport.tally.errors["status", "unauthorized"] == 0


async def test_captured_headers_are_used_as_given() -> None:
    captured = Credentials(e_auth_token="captured-token", cookie="a=b; _enlighten_4_session=xyz")
    async with wired(CloudConfig(captured_tokens={"captured-token"}), captured) as w:
        assert (await w.client.fetch_status(w.site_id)).chargers
        headers = w.cloud.journal.select(endpoint="status")[0].headers
        assert headers["e-auth-token"] == "captured-token"
        assert headers["Cookie"] == "a=b; _enlighten_4_session=xyz"
        assert w.logins() == 0


async def test_captured_headers_that_expired_are_a_loud_state_and_no_login() -> None:
    captured = Credentials(e_auth_token="stale", cookie="a=b")
    async with wired(None, captured) as w:
        for _ in range(3):
            with pytest.raises(LoginExpired, match="capture them again"):
                await w.client.fetch_status(w.site_id)
        assert w.logins() == 0
        assert w.cloud.journal.count(endpoint="status") == 1
        assert w.auth.works is False
        assert w.auth.needs_person


async def test_captured_headers_with_a_password_beside_them_fall_back_to_a_login() -> None:
    both = Credentials(OWNER.email, OWNER.password, e_auth_token="stale", cookie="a=b")
    async with wired(None, both) as w:
        assert (await w.client.fetch_status(w.site_id)).chargers
        assert w.logins() == 1
        assert not any(login is not None and login.captured for login, _ in w.stored)


async def test_charge_mode_carries_a_bearer() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        await w.client.fetch_charge_mode(w.site_id, w.serial)
        headers = w.cloud.journal.select(endpoint="charge_mode")[0].headers
        assert headers["Authorization"].startswith("Bearer ey")


async def test_a_status_path_that_is_missing_is_replaced_by_the_singular_one_and_remembered() -> None:
    async with wired(CloudConfig(singular_status=True)) as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.journal.clear()
        await w.client.fetch_status(w.site_id)
        assert [entry.path.rsplit("/", 2)[1] for entry in w.cloud.journal] == ["ev_charger"]


async def test_a_site_without_any_status_path_is_told_as_404() -> None:
    async with wired() as w:
        w.cloud.faults.add("status", endpoint="status", status=404)
        with pytest.raises(Rejected) as caught:
            await w.client.fetch_status(w.site_id)
        assert caught.value.status == 404
        assert w.cloud.journal.count(endpoint="status") == 2


async def test_a_login_that_is_cancelled_by_one_waiter_goes_on_for_the_other() -> None:
    async with wired() as w:
        w.cloud.faults.add("slow", endpoint="login", seconds=0.2)
        first = asyncio.create_task(w.client.fetch_status(w.site_id))
        second = asyncio.create_task(w.client.fetch_status(w.site_id))
        await asyncio.sleep(0.05)
        assert w.logins() == 1
        first.cancel()
        assert (await second).chargers
        assert w.logins() == 1


def test_nothing_secret_is_in_the_repr_of_credentials() -> None:
    text = repr(Credentials("owner@example.com", "pass-1", "token-2", "cookie-3", "access-4"))
    assert not any(secret in text for secret in ("owner@", "pass-1", "token-2", "cookie-3", "access-4"))
