from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import guard as guards
from exporter.errors import AuthError, BadCredentials, LoginExpired, MfaRequired, TooManyLogins
from exporter.model import Guard

NOW = 1_800_000_000.0
DAY = 86_400.0


def refused(times: int, reason: str = "invalid_credentials", now: float = NOW) -> Guard:
    guard = None
    for _ in range(times):
        guard = guards.after_refusal(guard, reason, "no", now=now, credentials="c")
    assert guard is not None
    return guard


@pytest.mark.parametrize(
    ("reason", "times", "wait"),
    [
        ("invalid_credentials", 1, 300.0),
        ("invalid_credentials", 2, 300.0),
        ("invalid_credentials", 3, DAY),
        ("invalid_credentials", 9, DAY),
        ("rejected", 1, 300.0),
        ("rejected", 3, DAY),
        ("blocked", 1, DAY),
    ],
)
def test_a_refusal_waits_as_documented(reason: str, times: int, wait: float) -> None:
    guard = refused(times, reason)
    assert guard.until_seconds == NOW + wait
    assert guards.is_shut(guard, NOW)
    assert guards.is_shut(guard, NOW + wait - 0.001)
    assert not guards.is_shut(guard, NOW + wait)


@pytest.mark.parametrize("reason", ["mfa_required", "expired"])
def test_what_only_a_person_can_help_waits_for_ever(reason: str) -> None:
    guard = refused(1, reason)
    assert guard.until_seconds is None
    assert guards.is_shut(guard, NOW + 1000 * DAY)


def test_without_a_guard_a_login_may_be_tried() -> None:
    assert not guards.is_shut(None, NOW)


@given(pauses=st.lists(st.floats(0, 7200), min_size=1, max_size=400))
def test_whatever_the_pace_a_day_of_refusals_sees_three_attempts(pauses: list[float]) -> None:
    guard, now, attempts = None, NOW, 0
    for pause in pauses:
        if now >= NOW + DAY:
            break
        if not guards.is_shut(guard, now):
            attempts += 1
            guard = guards.after_refusal(guard, "invalid_credentials", "no", now=now, credentials="c")
        now += pause
    assert attempts <= 3


@given(
    moments=st.lists(
        st.tuples(st.floats(0, 20_000), st.sampled_from(["invalid_credentials", "blocked", "crash"])),
        max_size=60,
    )
)
def test_crashes_in_the_middle_of_logins_never_shorten_the_waits(moments: list[tuple[float, str]]) -> None:
    guard: Guard | None = None
    now, last, wait = NOW, -DAY, 0.0
    for pause, end in moments:
        now += pause
        if guards.is_shut(guard, now):
            continue
        assert now - last >= wait
        last, before = now, guard
        guard = guards.unfinished(guard, now=now)
        wait = guards.UNFINISHED_WAIT_SECONDS
        if end != "crash":
            guard = guards.after_refusal(before, end, "no", now=now, credentials="c")
            wait = DAY if end == "blocked" or guard.refusals >= 3 else 300.0


def test_a_login_cut_off_keeps_count_of_the_refusals_before_it() -> None:
    cut_off = guards.unfinished(refused(2), now=NOW + 500)
    assert (cut_off.reason, cut_off.refusals) == ("unfinished", 2)
    assert cut_off.until_seconds == NOW + 560
    again = guards.after_refusal(cut_off, "invalid_credentials", "no", now=NOW + 600, credentials="c")
    assert again.until_seconds == NOW + 600 + DAY


def test_the_first_login_ever_cut_off_counts_no_refusal() -> None:
    assert guards.unfinished(None, now=NOW).refusals == 0


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("invalid_credentials", BadCredentials),
        ("mfa_required", MfaRequired),
        ("blocked", TooManyLogins),
        ("expired", LoginExpired),
        ("unfinished", LoginExpired),
        ("rejected", LoginExpired),
        ("a reason of a later version", LoginExpired),
    ],
)
def test_a_guard_stands_for_the_error_that_shut_it(reason: str, error: type[AuthError]) -> None:
    caught = guards.error_of(replace(refused(1), reason=reason, message="why it is shut"))
    assert type(caught) is error
    assert "why it is shut" in str(caught)


texts = st.text(max_size=20)


@given(st.lists(st.one_of(st.none(), texts.filter(bool)), min_size=1, max_size=3))
def test_credentials_are_known_again_by_their_fingerprint(credentials: list[str | None]) -> None:
    known = guards.fingerprint(*credentials)
    assert guards.is_same(known, *credentials)
    assert not guards.is_same(known, *credentials[:-1], "another one altogether, and longer")


def test_a_fingerprint_tells_neither_the_credentials_nor_that_two_are_equal() -> None:
    one, two = (guards.fingerprint("owner@example.com", "pass-canary") for _ in range(2))
    assert one != two
    assert "owner" not in one
    assert "canary" not in one


@pytest.mark.parametrize("known", ["", "$", "zz$zz", "00", "00$ü", "ünlesbar$00"])
def test_a_damaged_fingerprint_is_of_no_credentials(known: str) -> None:
    assert not guards.is_same(known, "owner@example.com")
