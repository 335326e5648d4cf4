"""Both login surfaces of the pretend cloud, outcome by outcome."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from tests.visitor import NOON, OWNER, SITE, STATUS, Open, visits


@pytest.fixture
async def visit() -> AsyncIterator[Open]:
    async with visits() as open_cloud:
        yield open_cloud


# login, web surface


async def test_a_login_brings_session_cookies_and_a_token_whose_expiry_can_be_read(visit: Open) -> None:
    visitor = await visit(token_lifetime_seconds=3600)
    answer = await visitor.ask("POST", "/login/login.json", data=OWNER)
    body = answer.json()
    assert (body["message"], body["system_id"], len(body["session_id"])) == ("success", SITE, 32)
    assert answer.cookies["_enlighten_4_session"] == body["session_id"]
    assert answer.cookies["enlighten_manager_token_production"] == body["manager_token"]
    assert answer.cookies["XSRF-TOKEN"].endswith('%3D%3D"')
    token = await visitor.read("/users/self/token")
    claims = jwt.decode(token.json()["token"], options={"verify_signature": False})
    assert claims["exp"] == token.json()["expires_at"] == NOON + 3600
    assert claims["user_id"]
    assert token.cookies["_enlighten_4_session"] != body["session_id"]


@pytest.mark.parametrize(
    ("style", "status", "body"),
    [
        ("401", 401, {"message": "Invalid"}),
        ("403", 403, {"message": "Invalid"}),
        ("200", 200, {"success": False}),
    ],
)
async def test_a_wrong_password_is_refused_in_the_configured_style(
    visit: Open, style: str, status: int, body: Any
) -> None:
    visitor = await visit(refusal=style)
    answer = await visitor.ask("POST", "/login/login.json", data={**OWNER, "user[password]": "guess"})
    assert (answer.status, answer.json()) == (status, body)
    assert (await visitor.read(STATUS)).status == 401


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        ("success_bare", 200, '{"success":true}'),
        ("invalid_401", 401, '{"message":"Invalid"}'),
        ("invalid_403", 403, '{"message":"Invalid"}'),
        ("refused_200", 200, '{"success":false}'),
        ("blocked", 200, '{"isBlocked":true}'),
        ("blocked_refused", 200, '{"success":false,"isBlocked":true}'),
        ("token_only", 200, '{"manager_token":'),
        ("too_many", 403, '{"message":"Too many active sessions.."}'),
        ("too_many_200", 200, '{"message":"TOO MANY ACTIVE SESSIONS.."}'),
        ("too_many_text", 422, "Too many active sessions.."),
        ("too_many_escaped", 200, '"{\\"message\\": \\"Too many active sessions..\\"}"'),
        ("not_acceptable", 406, "<html>"),
        ("server_error", 503, "upstream connect error"),
        ("html", 200, "<!DOCTYPE html>"),
        ("unmatched", 200, '{"message":"welcome"}'),
        ("throttled", 429, '{"message":"slow down"}'),
        ("key_variants", 200, '{"message":"success","sessionId":'),
        ("session_key", 200, '{"message":"success","session":'),
        ("empty_object", 200, "{}"),
        ("mfa_explicit", 200, '{"requires_mfa":true}'),
        ("mfa_implicit", 200, '{"success":true,"isBlocked":false}'),
    ],
)
async def test_a_login_outcome_can_be_ordered_once(
    visit: Open, outcome: str, status: int, expected: str
) -> None:
    visitor = await visit()
    visitor.cloud.faults.add("login_outcome", endpoint="login", times=1, outcome=outcome)
    first = await visitor.ask("POST", "/login/login.json", data=OWNER)
    assert first.status == status
    assert first.text.startswith(expected)
    assert (await visitor.ask("POST", "/login/login.json", data=OWNER)).json()["message"] == "success"


async def test_a_login_with_an_empty_answer_still_brings_a_session(visit: Open) -> None:
    visitor = await visit(login_outcome="empty_text")
    answer = await visitor.ask("POST", "/login/login.json", data=OWNER)
    assert (answer.status, answer.text) == (200, "")
    assert (await visitor.read(STATUS)).status == 200


async def test_more_logins_than_allowed_are_too_many(visit: Open) -> None:
    visitor = await visit(max_logins=1, session_lifetime_seconds=60)
    await visitor.log_in()
    refused = await visitor.ask("POST", "/login/login.json", data=OWNER)
    assert "Too many active sessions" in refused.text
    visitor.clock.seconds += 61
    assert (await visitor.ask("POST", "/login/login.json", data=OWNER)).json()["message"] == "success"


async def test_the_form_fallback_tells_its_outcome_by_cookies_only(visit: Open) -> None:
    visitor = await visit()
    refused = await visitor.ask("POST", "/login/login", data={**OWNER, "user[password]": "guess"})
    assert (refused.status, refused.cookies) == (401, {})
    answer = await visitor.ask("POST", "/login/login", data=OWNER)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert {"_enlighten_4_session", "enlighten_manager_token_production"} <= answer.cookies.keys()
    assert (await visitor.read("/users/self/token")).status == 200


def one_time_code(code: str) -> dict[str, str]:
    return {
        "email": base64.b64encode(b"owner@example.com").decode(),
        "otp": base64.b64encode(code.encode()).decode(),
        "xhrFields[withCredentials]": "true",
    }


@pytest.mark.parametrize("style", ["explicit", "implicit"])
async def test_a_one_time_code_finishes_the_login(visit: Open, style: str) -> None:
    visitor = await visit(mfa=style)
    challenge = await visitor.ask("POST", "/login/login.json", data=OWNER)
    assert {"login_otp_nonce", "_enlighten_4_session"} == challenge.cookies.keys()
    assert (await visitor.read(STATUS)).status == 401
    wrong = await visitor.ask("POST", "/app-api/validate_login_otp", data=one_time_code("654321"))
    assert wrong.json() == {"isValid": False, "isBlocked": False}
    right = await visitor.ask("POST", "/app-api/validate_login_otp", data=one_time_code("123456"))
    assert (right.json()["message"], right.json()["isValidMobileNumber"]) == ("success", True)
    assert right.cookies["_enlighten_4_session"] != challenge.cookies["_enlighten_4_session"]
    assert (await visitor.read(STATUS)).status == 200


async def test_a_resent_code_replaces_the_challenge(visit: Open) -> None:
    visitor = await visit(mfa="explicit")
    old = (await visitor.ask("POST", "/login/login.json", data=OWNER)).cookies["login_otp_nonce"]
    resent = await visitor.ask("POST", "/app-api/generate_mfa_login_otp", data={"locale": "en"})
    assert resent.json() == {"success": True, "isBlocked": False}
    new = resent.cookies["login_otp_nonce"]
    assert new != old
    stale = await visitor.ask(
        "POST",
        "/app-api/validate_login_otp",
        data=one_time_code("123456"),
        cookies={"login_otp_nonce": old},
    )
    assert stale.status == 401
    good = await visitor.ask(
        "POST",
        "/app-api/validate_login_otp",
        data=one_time_code("123456"),
        cookies={"login_otp_nonce": new},
    )
    assert good.json()["message"] == "success"


async def test_a_challenge_ends_after_ten_minutes_and_too_many_wrong_codes_block(visit: Open) -> None:
    visitor = await visit(mfa="explicit")
    await visitor.ask("POST", "/login/login.json", data=OWNER)
    answers = [
        (await visitor.ask("POST", "/app-api/validate_login_otp", data=one_time_code("000000"))).json()
        for _ in range(6)
    ]
    assert [answer["isBlocked"] for answer in answers] == [False] * 4 + [True] * 2
    visitor.clock.seconds += 601
    late = await visitor.ask("POST", "/app-api/validate_login_otp", data=one_time_code("123456"))
    assert late.status == 401


async def test_a_thin_answer_to_a_right_code_is_a_login_all_the_same(visit: Open) -> None:
    visitor = await visit(mfa="implicit")
    await visitor.ask("POST", "/login/login.json", data=OWNER)
    visitor.cloud.faults.add("login_outcome", endpoint="mfa", outcome="thin")
    answer = await visitor.ask("POST", "/app-api/validate_login_otp", data=one_time_code("123456"))
    assert (answer.status, answer.text) == (200, "")
    assert (await visitor.read(STATUS)).status == 200


# login, older surface


async def test_the_older_surface_logs_in_and_gives_an_access_token(visit: Open) -> None:
    visitor = await visit(surface="entrez")
    body = (
        await visitor.ask("POST", "/login", json={"email": OWNER["user[email]"], "password": "no"})
    ).json()
    assert body == {"message": "Invalid"}
    answer = await visitor.ask(
        "POST", "/login", data={"email": "owner@example.com", "password": "correct horse"}
    )
    assert answer.cookies["_enlighten_session"] == answer.json()["session_id"]
    by_cookie = await visitor.read("/access_token")
    assert jwt.decode(by_cookie.json()["access_token"], options={"verify_signature": False})["exp"] > NOON
    by_value = await visitor.ask("POST", "/access_token", json={"session_id": answer.json()["session_id"]})
    assert by_value.status == 200
    token = by_cookie.json()["access_token"]
    assert (await visitor.read(STATUS, headers={"e-auth-token": token})).status == 200


async def test_the_older_surface_asks_for_a_one_time_code(visit: Open) -> None:
    visitor = await visit(surface="entrez", mfa="explicit")
    assert (await visitor.ask("POST", "/login", data=OWNER)).json() == {"requires_mfa": True}
    assert (await visitor.read("/access_token")).status == 401
    assert (await visitor.ask("POST", "/login/mfa/verify", json={"code": "123456"})).status == 200
    assert (await visitor.read("/access_token")).status == 200


@pytest.mark.parametrize("status", [404, 405])
async def test_only_the_configured_surface_is_there(visit: Open, status: int) -> None:
    web = await visit(wrong_surface_status=status)
    assert (await web.ask("POST", "/login", data=OWNER)).status == status
    assert (await web.read("/access_token")).status == status
    older = await visit(surface="entrez", wrong_surface_status=status)
    assert (await older.ask("POST", "/login/login.json", data=OWNER)).status == status
    assert (await older.read("/users/self/token")).status == status
