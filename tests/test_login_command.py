"""The conversation of the `login` command, with a person who answers from a list."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest

from exporter.errors import (
    AuthError,
    BadCredentials,
    CloudError,
    LoginExpired,
    RateLimited,
    TooManyLogins,
    Unavailable,
    Unreachable,
)
from exporter.guard import is_owner
from exporter.login import Surfaces
from exporter.login_command import MOST_CODES, log_in
from exporter.model import Login
from exporter.simulator.settings import CloudConfig
from tests.wiring import Wired, wired

EMAIL, PASSWORD, RIGHT, WRONG = CloudConfig.email, CloudConfig.password, CloudConfig.mfa_code, "999999"
AGAIN = "r"


@dataclass
class Person:
    """Gives its answers in turn; one that is a function is called before the next one is given."""

    answers: list[str | Callable[[], object]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def ask(self, prompt: str) -> str:
        while self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, str):
                return answer
            answer()
        raise EOFError(prompt)

    def ask_secret(self, prompt: str) -> str:
        return self.ask(prompt)

    def tell(self, text: str) -> None:
        self.told.append(text)


async def logged_in(w: Wired, person: Person, email: str = EMAIL, password: str = PASSWORD) -> Login:
    return await log_in(
        w.transport, Surfaces(w.url, w.url), email, password, person, clock=w.wall, wall_clock=w.wall
    )


def with_mfa(**more: Any) -> AbstractAsyncContextManager[Wired]:
    return wired(CloudConfig(mfa="explicit", **more))


def seconds_pass(w: Wired, seconds: float) -> Callable[[], object]:
    def move() -> None:
        w.wall.seconds += seconds

    return move


def mfa_paths(w: Wired) -> list[str]:
    return [entry.path.rpartition("/")[2] for entry in w.cloud.journal.select(endpoint="mfa")]


async def test_a_login_without_a_code_asks_nothing() -> None:
    async with wired() as w:
        login = await logged_in(w, person := Person())
        assert login.token
        assert login.token_expiry_seconds == pytest.approx(w.wall.seconds + 86_400, abs=2)
        assert login.user_id == "7654321"
        assert login.obtained_seconds == w.wall.seconds
        assert is_owner(login.owner, EMAIL)
        assert not login.captured
        assert person.told == []
        assert w.logins() == 1


async def test_the_login_works() -> None:
    async with with_mfa() as w:
        w.auth.take_over(await logged_in(w, Person([RIGHT])))
        assert (await w.client.fetch_status(w.site_id)).chargers
        assert w.logins() == 1


async def test_a_wrong_code_is_told_and_asked_again() -> None:
    async with with_mfa() as w:
        await logged_in(w, person := Person([WRONG, "", "  ", RIGHT]))
        assert "That code is wrong or has expired." in person.told
        assert mfa_paths(w) == ["validate_login_otp"] * 2
        assert w.logins() == 1


async def test_a_code_wrong_once_resent_once_then_right() -> None:
    async with with_mfa() as w:
        person = Person([WRONG, seconds_pass(w, 30), AGAIN, RIGHT])
        await logged_in(w, person)
        assert mfa_paths(w) == ["validate_login_otp", "generate_mfa_login_otp", "validate_login_otp"]
        assert "A new code is on its way." in person.told


async def test_a_code_is_sent_again_at_most_every_30_seconds() -> None:
    async with with_mfa() as w:
        later = seconds_pass(w, 29)
        one_more = seconds_pass(w, 1)
        person = Person([AGAIN, later, AGAIN, one_more, AGAIN, AGAIN, later, AGAIN, one_more, AGAIN, RIGHT])
        await logged_in(w, person)
        assert mfa_paths(w).count("generate_mfa_login_otp") == 2
        assert "A code was sent moments ago; it can be sent again in 1 s." in person.told


async def test_the_older_host_sends_no_second_code_and_says_so() -> None:
    async with with_mfa(surface="entrez") as w:
        person = Person([seconds_pass(w, 100), AGAIN, RIGHT])
        assert (await logged_in(w, person)).token
        assert mfa_paths(w) == ["verify"]
        assert any("start again" in line for line in person.told)


async def test_five_wrong_codes_end_the_conversation() -> None:
    async with with_mfa() as w:
        w.cloud.faults.add("status", endpoint="mfa", status=422)
        with pytest.raises(LoginExpired, match="start again"):
            await logged_in(w, Person([WRONG] * 9))
        assert w.cloud.journal.count(endpoint="mfa") == MOST_CODES


async def test_the_clouds_own_limit_of_wrong_codes_is_a_block() -> None:
    async with with_mfa() as w:
        with pytest.raises(TooManyLogins, match="day"):
            await logged_in(w, Person([WRONG] * 9))
        assert w.cloud.journal.count(endpoint="mfa") == MOST_CODES


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "html_outage"},
        {"kind": "not_json"},
    ],
)
async def test_an_outage_does_not_use_up_a_code(fault: dict[str, Any]) -> None:
    async with with_mfa() as w:
        w.cloud.faults.add(**fault, endpoint="mfa", times=1)
        await logged_in(w, person := Person([RIGHT, RIGHT]))
        assert any(line.endswith("the code was not used up.") for line in person.told)
        assert w.logins() == 1


async def test_an_answer_that_is_too_long_or_lost_leaves_a_code_in_doubt() -> None:
    async with with_mfa() as w:
        w.cloud.faults.add("oversized", endpoint="mfa", times=1, mebibytes=9)
        await logged_in(w, person := Person([RIGHT, RIGHT]))
        assert any(line.endswith("try the code again.") for line in person.told)
    async with with_mfa() as w:
        w.cloud.faults.add("reset", endpoint="mfa", times=1)
        with pytest.raises(LoginExpired, match="start again"):  # it had arrived
            await logged_in(w, Person([RIGHT, RIGHT]))
        assert w.logins() == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "html_outage", "status": 200},
        {"kind": "login_outcome", "outcome": "refused_200"},
    ],
)
async def test_a_resend_that_fails_is_told_may_be_repeated_and_leaves_the_challenge(
    fault: dict[str, Any],
) -> None:
    async with with_mfa() as w:
        w.cloud.faults.add(**fault, endpoint="mfa", times=1)
        await logged_in(w, person := Person([seconds_pass(w, 30), AGAIN, AGAIN, RIGHT]))
        assert [line for line in person.told if "new code" in line][1:] == ["A new code is on its way."]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "login_outcome", "outcome": "blocked"}, TooManyLogins),
        ({"kind": "login_outcome", "outcome": "throttled"}, TooManyLogins),
        ({"kind": "status", "status": 401}, LoginExpired),
        ({"kind": "status", "status": 403}, LoginExpired),
    ],
)
@pytest.mark.parametrize("answer", [RIGHT, AGAIN])
async def test_a_code_or_a_resend_that_ends_the_login_says_why(
    fault: dict[str, Any], error: type[AuthError], answer: str
) -> None:
    async with with_mfa() as w:
        w.cloud.faults.add(**fault, endpoint="mfa")
        with pytest.raises(error):
            await logged_in(w, Person([seconds_pass(w, 30), answer, RIGHT]))
        assert w.cloud.journal.count(endpoint="mfa") == 1


async def test_a_thin_success_without_a_new_session_is_no_login() -> None:
    async with with_mfa() as w:
        w.cloud.faults.add("login_outcome", endpoint="mfa", outcome="thin_bare")
        with pytest.raises(Unavailable):
            await logged_in(w, Person([RIGHT]))


@pytest.mark.parametrize(
    ("outcome", "error", "words"),
    [
        ("invalid_401", BadCredentials, "refused"),
        ("refused_200", BadCredentials, "refused"),
        ("blocked", TooManyLogins, "blocked"),
        ("too_many_escaped", TooManyLogins, "too many active sessions"),
        ("html", Unavailable, "try again later"),
        ("unmatched", Unavailable, "unexpected"),
        ("throttled", RateLimited, "429"),
    ],
)
async def test_a_login_that_is_not_taken_says_why_and_is_not_repeated(
    outcome: str, error: type[CloudError], words: str
) -> None:
    async with wired(CloudConfig(login_outcome=outcome)) as w:
        with pytest.raises(error, match=words):
            await logged_in(w, Person())
        assert w.logins() == 1


async def test_a_cloud_out_of_reach_is_told() -> None:
    async with wired() as w:
        w.cloud.faults.add("reset", endpoint="login")
        with pytest.raises(Unreachable):
            await logged_in(w, Person())


async def test_no_more_answers_end_the_conversation() -> None:
    async with with_mfa() as w:
        with pytest.raises(EOFError, match="Code"):
            await logged_in(w, Person([WRONG]))


async def test_a_login_whose_token_cannot_be_had_is_one_by_cookies() -> None:
    async with wired() as w:
        w.cloud.faults.add("reset", endpoint="token")
        login = await logged_in(w, Person())
        assert login.token is None
        assert "_enlighten_4_session" in login.cookies


async def test_a_login_the_cloud_forgets_at_once_is_no_login() -> None:
    async with wired() as w:
        w.cloud.faults.add("status", endpoint="token", status=401)
        with pytest.raises(LoginExpired):
            await logged_in(w, Person())
