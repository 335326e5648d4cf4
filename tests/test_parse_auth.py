import jwt
import pytest

from exporter.parse_auth import LoginOutcome, claims, parse_login, parse_token

KEY = "0" * 32


@pytest.mark.parametrize(
    ("status", "body", "challenge", "outcome"),
    [
        (200, b'{"message":"success","session_id":"8f1c","manager_token":"x"}', False, "SUCCESS"),
        (200, b'{"sessionId":"8f1c"}', False, "SUCCESS"),
        (200, b'{"session":"8f1c"}', False, "SUCCESS"),
        (200, b"{}", False, "COOKIE_ONLY"),
        (200, b"", False, "COOKIE_ONLY"),
        (200, b"  \n", True, "MFA_REQUIRED"),
        (200, b"{}", True, "MFA_REQUIRED"),
        (200, b'{"requires_mfa":true}', False, "MFA_REQUIRED"),
        (200, b'{"success":true,"isBlocked":false}', True, "MFA_REQUIRED"),
        (200, b'{"success":true}', False, "INVALID_CREDENTIALS"),
        (401, b'{"message":"Invalid"}', False, "INVALID_CREDENTIALS"),
        (403, b"", False, "INVALID_CREDENTIALS"),
        (200, b'{"success":false}', False, "INVALID_CREDENTIALS"),
        (200, b'{"isBlocked":true}', False, "BLOCKED"),
        (200, b'{"success":false,"isBlocked":true}', False, "BLOCKED"),
        (200, b'{"success":true,"isBlocked":"true"}', True, "BLOCKED"),
        (200, b'{"manager_token":"x"}', False, "INVALID_CREDENTIALS"),
        (200, b'{"message":"Too many active sessions.."}', False, "TOO_MANY_SESSIONS"),
        (401, b'{"message":"Too many active sessions.."}', False, "TOO_MANY_SESSIONS"),
        (422, b"TOO MANY ACTIVE SESSIONS", False, "TOO_MANY_SESSIONS"),
        (200, b'"{\\"message\\":\\"too many active sessions\\"}"', False, "TOO_MANY_SESSIONS"),
        (200, b'{"session_id":"1","note":"too many active sessions"}', False, "TOO_MANY_SESSIONS"),
        (404, b"", False, "NO_SUCH_SURFACE"),
        (405, b"", False, "NO_SUCH_SURFACE"),
        (406, b"<html>", False, "NOT_ACCEPTABLE"),
        (429, b"", False, "RATE_LIMITED"),
        (500, b'{"message":"Invalid"}', False, "UNAVAILABLE"),
        (503, b"too many active sessions", False, "UNAVAILABLE"),
        (550, b"", False, "UNAVAILABLE"),
        (200, b"<!DOCTYPE html><html>", False, "UNAVAILABLE"),
        (200, b"[1]", False, "UNAVAILABLE"),
        (200, b'{"message":"welcome"}', False, "UNEXPECTED"),
        (302, b"", False, "UNEXPECTED"),
        (400, b"{}", False, "UNEXPECTED"),
    ],
)
def test_each_answer_of_the_login_table_has_its_outcome(
    status: int, body: bytes, challenge: bool, outcome: str
) -> None:
    assert parse_login(status, body, has_mfa_challenge=challenge).outcome is LoginOutcome[outcome]


def test_a_page_for_a_browser_is_judged_by_cookies_alone() -> None:
    page = b"<html>Welcome</html>"
    answer = parse_login(200, page, has_mfa_challenge=False, by_cookies=True)
    assert answer.outcome is LoginOutcome.COOKIE_ONLY
    answer = parse_login(200, page, has_mfa_challenge=True, by_cookies=True)
    assert answer.outcome is LoginOutcome.MFA_REQUIRED
    answer = parse_login(200, b"Too many active sessions", has_mfa_challenge=False, by_cookies=True)
    assert answer.outcome is LoginOutcome.TOO_MANY_SESSIONS


def test_a_successful_login_hands_out_ids_and_tokens() -> None:
    answer = parse_login(
        200, b'{"sessionId":"abc","managerToken":"jwt","system_id":1234567}', has_mfa_challenge=False
    )
    assert (answer.session_id, answer.manager_token, answer.system_id) == ("abc", "jwt", "1234567")
    assert "abc" not in repr(answer)
    assert "jwt" not in repr(answer)


@pytest.mark.parametrize(
    ("body", "text", "expiry"),
    [
        (b'{"token":"t","expires_at":1777748400}', "t", 1777748400.0),
        (b'{"auth_token":"t","expiresAt":"1777748400"}', "t", 1777748400.0),
        (b'{"access_token":"t","expiration":1777748400000}', "t", 1777748400.0),
        (b'{"token":"not a jwt"}', "not a jwt", None),
        (b'{"token":"t","expires_at":0}', "t", None),
        (b'{"token":"t","expires_at":true}', "t", None),
    ],
)
def test_every_spelling_of_a_token_answer_is_read(body: bytes, text: str, expiry: float | None) -> None:
    token = parse_token(body)
    assert token is not None
    assert (token.text, token.expiry_seconds) == (text, expiry)
    assert repr(text) not in repr(token)


def test_a_token_without_an_expiry_beside_it_is_asked_for_its_own() -> None:
    text = jwt.encode({"exp": 1777748400}, KEY)
    token = parse_token(b'{"token":"%s"}' % text.encode())
    assert token is not None
    assert token.expiry_seconds == 1777748400


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{}", b'{"token":""}', b'{"token":null}'])
def test_an_answer_without_a_token_is_none(body: bytes) -> None:
    assert parse_token(body) is None


def test_claims_are_read_at_top_level_and_under_data_without_verifying() -> None:
    top = claims(jwt.encode({"exp": 1777748400, "user_id": 7, "session_id": "s"}, KEY))
    assert (top.expiry_seconds, top.user_id, top.session_id) == (1777748400, "7", "s")
    nested = claims(jwt.encode({"exp": 1, "data": {"userId": "u", "sessionId": "t"}}, KEY))
    assert (nested.expiry_seconds, nested.user_id, nested.session_id) == (1, "u", "t")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.W10.x", "null"])
def test_an_unreadable_token_has_no_claims(token: str) -> None:
    assert claims(token).expiry_seconds is None
