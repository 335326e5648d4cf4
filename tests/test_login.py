"""The conversation with both login surfaces, one-time codes above all."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import pytest

from exporter.errors import LoginExpired, Unreachable
from exporter.login import (
    MFA_COOKIE,
    Attempt,
    Surfaces,
    attempt_login,
    cookie_headers,
    fetch_token,
    resend_code,
    session_of,
    validate_code,
)
from exporter.parse_auth import LoginOutcome
from exporter.simulator.settings import CloudConfig
from tests.wiring import Wired, wired

MFA = CloudConfig.mfa_code
EMAIL, PASSWORD = CloudConfig.email, CloudConfig.password


def surfaces(w: Wired) -> Surfaces:
    return Surfaces(w.url, w.url)


async def challenged(w: Wired) -> Attempt:
    attempt = await attempt_login(w.transport, surfaces(w), EMAIL, PASSWORD)
    assert attempt.answer.outcome is LoginOutcome.MFA_REQUIRED
    return attempt


async def entered(w: Wired, challenge: Attempt, code: str = MFA) -> Attempt:
    return await validate_code(w.transport, surfaces(w), challenge, EMAIL, code)


def form(body: bytes) -> Mapping[str, str]:
    return dict(parse_qsl(body.decode(), strict_parsing=True))


async def test_a_login_is_posted_as_the_vendors_own_page_posts_it() -> None:
    async with wired() as w:
        await attempt_login(w.transport, surfaces(w), "a+b@example.com", "p&=ä")
        (entry,) = w.cloud.journal.select(endpoint="login")
        assert (entry.method, entry.path) == ("POST", "/login/login.json")
        assert form(entry.body) == {"user[email]": "a+b@example.com", "user[password]": "p&=ä"}
        assert entry.headers["Content-Type"] == "application/x-www-form-urlencoded; charset=UTF-8"
        assert entry.headers["Referer"] == f"{w.url}"
        assert entry.headers["X-Requested-With"] == "XMLHttpRequest"
        assert entry.headers["User-Agent"].startswith("Mozilla/5.0")
        assert "Cookie" not in entry.headers


async def test_the_form_page_is_asked_as_a_browser_asks_it() -> None:
    async with wired(CloudConfig(login_outcome="not_acceptable")) as w:
        attempt = await attempt_login(w.transport, surfaces(w), EMAIL, PASSWORD)
        assert attempt.answer.outcome is LoginOutcome.SUCCESS
        entry = w.cloud.journal.select(path="/login/login")[0]
        assert form(entry.body) == {"user[email]": EMAIL, "user[password]": PASSWORD}
        assert entry.headers["Accept"].startswith("text/html,")
        assert entry.headers["Origin"] == str(w.url).rstrip("/")


@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        ({"mfa": "implicit"}, LoginOutcome.MFA_REQUIRED),
        ({"password": "another"}, LoginOutcome.INVALID_CREDENTIALS),
        ({"max_logins": 0}, LoginOutcome.TOO_MANY_SESSIONS),
    ],
)
async def test_the_form_page_has_its_own_ways_to_say_no(
    config: dict[str, Any], outcome: LoginOutcome
) -> None:
    async with wired(CloudConfig(login_outcome="not_acceptable", **config)) as w:
        attempt = await attempt_login(w.transport, surfaces(w), EMAIL, PASSWORD)
        assert attempt.answer.outcome is outcome
        assert w.logins() == 2


async def test_a_form_page_that_sets_no_cookie_logged_nobody_in() -> None:
    async with wired(CloudConfig(login_outcome="not_acceptable")) as w:
        w.cloud.faults.add("status", endpoint="login", times=1, status=406)
        w.cloud.faults.add("html_outage", endpoint="login", times=1, status=200)
        attempt = await attempt_login(w.transport, surfaces(w), EMAIL, PASSWORD)
        assert attempt.answer.outcome is LoginOutcome.UNEXPECTED


async def test_a_form_page_that_is_refused_as_well_is_not_asked_twice() -> None:
    async with wired() as w:
        w.cloud.faults.add("status", endpoint="login", status=406)
        attempt = await attempt_login(w.transport, surfaces(w), EMAIL, PASSWORD)
        assert attempt.answer.outcome is LoginOutcome.NOT_ACCEPTABLE
        assert w.logins() == 2


@pytest.mark.parametrize("style", ["explicit", "implicit"])
async def test_a_code_is_answered_with_the_cookies_of_the_challenge(style: Any) -> None:
    async with wired(CloudConfig(mfa=style)) as w:
        challenge = await challenged(w)
        attempt = await entered(w, challenge, " 123456 ")
        assert attempt.answer.outcome is LoginOutcome.SUCCESS
        (entry,) = w.cloud.journal.select(path="/app-api/validate_login_otp")
        assert form(entry.body) == {
            "email": base64.b64encode(EMAIL.encode()).decode(),
            "otp": "MTIzNDU2",
            "xhrFields[withCredentials]": "true",
        }
        assert entry.headers["Accept"] == "application/json, text/plain, */*"
        assert entry.headers["Content-Type"] == "application/x-www-form-urlencoded; charset=UTF-8"
        for name in (MFA_COOKIE, "_enlighten_4_session"):
            assert f"{name}={challenge.cookies[name]}" in entry.headers["Cookie"]


async def test_a_code_replaces_the_session_and_drops_the_challenge() -> None:
    async with wired(CloudConfig(mfa="explicit")) as w:
        challenge = await challenged(w)
        assert not await is_taken(w, challenge.cookies)
        attempt = await entered(w, challenge)
        assert MFA_COOKIE not in attempt.cookies
        assert session_of(attempt.cookies) != session_of(challenge.cookies)
        assert await is_taken(w, attempt.cookies)


async def is_taken(w: Wired, cookies: Mapping[str, str]) -> bool:
    try:
        token, _ = await fetch_token(w.transport, surfaces(w), cookies)
    except LoginExpired:
        return False
    return token is not None


async def test_a_code_keeps_its_leading_zeros() -> None:
    async with wired(CloudConfig(mfa="explicit", mfa_code="000042")) as w:
        assert (await entered(w, await challenged(w), "000042")).answer.outcome is LoginOutcome.SUCCESS


SUCCESS, WRONG, GONE = LoginOutcome.SUCCESS, LoginOutcome.WRONG_CODE, LoginOutcome.CHALLENGE_GONE
UNAVAILABLE, BLOCKED = LoginOutcome.UNAVAILABLE, LoginOutcome.BLOCKED


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "login_outcome", "outcome": "thin"}, SUCCESS),
        ({"kind": "login_outcome", "outcome": "thin_204"}, SUCCESS),
        ({"kind": "login_outcome", "outcome": "thin_message"}, SUCCESS),
        ({"kind": "login_outcome", "outcome": "thin_success"}, SUCCESS),
        ({"kind": "login_outcome", "outcome": "thin_valid"}, SUCCESS),
        ({"kind": "login_outcome", "outcome": "thin_bare"}, LoginOutcome.UNEXPECTED),
        ({"kind": "login_outcome", "outcome": "text_plain"}, SUCCESS),
        ({"kind": "login_outcome", "outcome": "blocked"}, BLOCKED),
        ({"kind": "login_outcome", "outcome": "blocked_refused"}, BLOCKED),
        ({"kind": "login_outcome", "outcome": "throttled"}, BLOCKED),
        ({"kind": "login_outcome", "outcome": "too_many"}, LoginOutcome.TOO_MANY_SESSIONS),
        ({"kind": "status", "status": 400}, WRONG),
        ({"kind": "status", "status": 404}, WRONG),
        ({"kind": "status", "status": 409}, WRONG),
        ({"kind": "status", "status": 422}, WRONG),
        ({"kind": "status", "status": 401}, GONE),
        ({"kind": "status", "status": 403}, GONE),
        ({"kind": "status", "status": 500}, UNAVAILABLE),
        ({"kind": "status", "status": 503}, UNAVAILABLE),
        ({"kind": "status", "status": 302}, UNAVAILABLE),
        ({"kind": "html_outage", "status": 200}, UNAVAILABLE),
        ({"kind": "login_page"}, UNAVAILABLE),
        ({"kind": "not_json"}, UNAVAILABLE),
        ({"kind": "not_object"}, UNAVAILABLE),
    ],
)
async def test_each_answer_to_a_code_has_its_outcome(fault: dict[str, Any], outcome: LoginOutcome) -> None:
    async with wired(CloudConfig(mfa="explicit")) as w:
        challenge = await challenged(w)
        w.cloud.faults.add(**fault, endpoint="mfa", times=1)
        attempt = await entered(w, challenge)
        assert attempt.answer.outcome is outcome
        assert (MFA_COOKIE in attempt.cookies) == (outcome is not SUCCESS)
        assert w.cloud.journal.count(endpoint="mfa") == 1


@pytest.mark.parametrize("status", [400, 500, 503])
async def test_the_challenge_survives_a_wrong_code_and_an_outage(status: int) -> None:
    async with wired(CloudConfig(mfa="explicit")) as w:
        challenge = await challenged(w)
        w.cloud.faults.add("status", endpoint="mfa", times=1, status=status)
        challenge = await entered(w, challenge)
        challenge = await entered(w, challenge, "999999")
        assert challenge.answer.outcome is WRONG
        assert (await entered(w, challenge)).answer.outcome is SUCCESS
        assert w.logins() == 1


async def test_a_code_that_meets_no_answer_is_unreachable() -> None:
    async with wired(CloudConfig(mfa="explicit")) as w:
        challenge = await challenged(w)
        w.cloud.faults.add("reset", endpoint="mfa")
        with pytest.raises(Unreachable):
            await entered(w, challenge)
        with pytest.raises(Unreachable):
            await resend_code(w.transport, surfaces(w), challenge)


async def test_after_too_many_wrong_codes_the_account_is_blocked() -> None:
    async with wired(CloudConfig(mfa="explicit")) as w:
        challenge = await challenged(w)
        outcomes = [(await entered(w, challenge, "1")).answer.outcome for _ in range(6)]
        assert outcomes == [WRONG] * 4 + [BLOCKED] * 2


async def test_a_challenge_that_ran_out_is_gone() -> None:
    async with wired(CloudConfig(mfa="explicit")) as w:
        challenge = await challenged(w)
        w.wall.seconds += 601
        assert (await entered(w, challenge)).answer.outcome is GONE


async def test_a_code_sent_again_is_answered_with_the_new_challenge() -> None:
    async with wired(CloudConfig(mfa="implicit")) as w:
        first = await challenged(w)
        second = await resend_code(w.transport, surfaces(w), first)
        assert second.answer.outcome is LoginOutcome.MFA_REQUIRED
        (entry,) = w.cloud.journal.select(path="/app-api/generate_mfa_login_otp")
        assert entry.body == b"locale=en"
        assert second.cookies[MFA_COOKIE] != first.cookies[MFA_COOKIE]
        assert (await entered(w, first)).answer.outcome is GONE
        assert (await entered(w, second)).answer.outcome is SUCCESS


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "login_outcome", "outcome": "empty_text"}, LoginOutcome.MFA_REQUIRED),
        ({"kind": "login_outcome", "outcome": "refused_200"}, LoginOutcome.UNEXPECTED),
        ({"kind": "login_outcome", "outcome": "blocked"}, BLOCKED),
        ({"kind": "login_outcome", "outcome": "throttled"}, BLOCKED),
        ({"kind": "status", "status": 401}, GONE),
        ({"kind": "status", "status": 500}, UNAVAILABLE),
        ({"kind": "html_outage", "status": 200}, UNAVAILABLE),
    ],
)
async def test_each_answer_to_a_resend_has_its_outcome_and_the_challenge_stands(
    fault: dict[str, Any], outcome: LoginOutcome
) -> None:
    async with wired(CloudConfig(mfa="explicit")) as w:
        challenge = await challenged(w)
        w.cloud.faults.add(**fault, endpoint="mfa", times=1)
        resent = await resend_code(w.transport, surfaces(w), challenge)
        assert resent.answer.outcome is outcome
        assert resent.cookies == challenge.cookies
        assert (await entered(w, resent)).answer.outcome is SUCCESS


@pytest.mark.parametrize("wrong_surface_status", [404, 405])
async def test_the_older_host_gets_its_code_plain_and_on_its_own_path(wrong_surface_status: int) -> None:
    config = CloudConfig(surface="entrez", mfa="explicit", wrong_surface_status=wrong_surface_status)
    async with wired(config) as w:
        challenge = await challenged(w)
        assert challenge.older_host
        assert (await entered(w, challenge, "1")).answer.outcome is WRONG
        assert (await entered(w, challenge)).answer.outcome is SUCCESS
        entries = w.cloud.journal.select(path="/login/mfa/verify")
        assert [entry.body for entry in entries] == [b"otp=1", b"otp=123456"]
        paths = [entry.path for entry in w.cloud.journal.select(endpoint="login")]
        assert paths == ["/login/login.json", "/login"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_source_that_does_not_know_the_login_says_so(status: int) -> None:
    async with wired() as w:
        attempt = await attempt_login(w.transport, surfaces(w), EMAIL, PASSWORD)
        w.cloud.faults.add("status", endpoint="token", status=status)
        with pytest.raises(LoginExpired):
            await fetch_token(w.transport, surfaces(w), attempt.cookies)
        assert w.cloud.journal.count(endpoint="token") == 1


@pytest.mark.parametrize(
    ("status", "asked"), [(400, 2), (404, 2), (405, 2), (422, 2), (429, 1), (500, 1), (503, 1)]
)
async def test_a_login_without_a_token_goes_on_and_the_next_source_is_asked_where_it_may_help(
    status: int, asked: int
) -> None:
    async with wired() as w:
        attempt = await attempt_login(w.transport, surfaces(w), EMAIL, PASSWORD)
        w.cloud.faults.add("status", endpoint="token", status=status)
        token, cookies = await fetch_token(w.transport, surfaces(w), attempt.cookies)
        assert token is None
        assert cookies == attempt.cookies
        assert w.cloud.journal.count(endpoint="token") == asked


async def test_an_older_token_source_that_does_not_know_us_does_not_end_the_login() -> None:
    async with wired() as w:
        attempt = await attempt_login(w.transport, surfaces(w), EMAIL, PASSWORD)
        w.cloud.faults.add("status", endpoint="token", times=1, status=422)
        w.cloud.faults.add("status", endpoint="token", times=1, status=401)
        token, _ = await fetch_token(w.transport, surfaces(w), attempt.cookies)
        assert token is None


@pytest.mark.parametrize(
    ("cookies", "found"),
    [
        ({"_enlighten_session": "c", "enlighten_session": "b", "_enlighten_4_session": "a"}, "a"),
        ({"_enlighten_session": "c", "enlighten_session": "b"}, "b"),
        ({"_enlighten_session": "c"}, "c"),
        ({"_enlighten_session": "", "locale": "en"}, None),
        ({}, None),
    ],
)
def test_the_session_is_read_from_the_cookies_in_the_clouds_order(
    cookies: dict[str, str], found: str | None
) -> None:
    assert session_of(cookies) == found


@pytest.mark.parametrize("name", ["XSRF-TOKEN", "BP-XSRF-Token", "xsrf-token"])
def test_a_quoted_and_encoded_xsrf_cookie_becomes_a_plain_header(name: str) -> None:
    headers = cookie_headers({name: '"a%2Bb%3D%3D"', "locale": "en"})
    assert headers["X-CSRF-Token"] == "a+b=="
    assert headers["Cookie"] == f'{name}="a%2Bb%3D%3D"; locale=en'


def test_no_cookies_make_no_headers() -> None:
    assert cookie_headers({}) == {}
