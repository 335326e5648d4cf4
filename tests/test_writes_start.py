"""Starting: every row of its table of answers, against the simulated cloud and its journal."""

from pathlib import Path
from typing import Any

import pytest

from exporter.command import Result
from exporter.errors import CommandPostponed, CommandRefused, CommandUnconfirmed, Unavailable
from exporter.simulator.settings import CloudConfig
from tests.wiring import Commanded, commanded

CAMEL, SNAKE, LEVEL = (
    '{"chargingLevel":16,"connectorId":1}',
    '{"charging_level":16,"connector_id":1}',
    '{"chargingLevel":16}',
)
CONNECTOR = '{"connectorId":1}'
ALL = [
    ("POST", "ev_chargers", CAMEL),
    ("PUT", "ev_chargers", CAMEL),
    ("POST", "ev_charger", CAMEL),
    ("POST", "ev_chargers", SNAKE),
    ("POST", "ev_chargers", CONNECTOR),
    ("POST", "ev_chargers", ""),
    ("POST", "ev_charger", ""),
    ("POST", "ev_chargers", LEVEL),
]
WITH_LEVEL = [*ALL[:4], ALL[7]]
WITHOUT_LEVEL = ALL[4:7]


def answer_with(c: Commanded, *statuses: int, **parameters: Any) -> None:
    """Let the next starts be answered so, one after the other."""
    for status in statuses:
        c.w.cloud.faults.add("status", endpoint="start_charging", times=1, status=status, **parameters)


@pytest.mark.parametrize(
    ("accepted_as", "detail"),
    [
        ("seed", "charging level 16 A"),
        ("enveloped", ""),
        ("official", "Request sent successfully"),
        ("no_content", ""),
        ("reset_content", ""),
        ("empty", ""),
    ],
)
async def test_a_start_in_any_accepted_shape_is_one_request_with_level_and_connector(
    tmp_path: Path, accepted_as: Any, detail: str
) -> None:
    async with commanded(tmp_path, CloudConfig(accepted_as=accepted_as)) as c:
        c.w.cloud.world.charger(c.w.serial).plug()
        reply = await c.start(16)
        assert (reply.result, reply.detail) == (Result.ACCEPTED, detail)
        assert c.sent() == ALL[:1]
        assert c.kept.of(c.w.site_id, "start-with-level") == 0


async def test_a_start_carries_what_the_cloud_wants_of_a_command(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 204)
        await c.start(16)
        (entry,) = c.w.cloud.journal
        assert entry.headers["Content-Type"] == "application/json"
        assert entry.headers["Authorization"].startswith("Bearer ")
        assert entry.headers["e-auth-token"]
        assert entry.headers["Accept"] == "application/json, text/javascript, */*; q=0.01"
        assert entry.json() == {"chargingLevel": 16, "connectorId": 1}


async def test_a_start_without_a_level_sends_none_and_no_body_has_no_content_type(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 405, 405, 204)
        assert (await c.start(None)).result is Result.ACCEPTED
        assert c.sent() == WITHOUT_LEVEL
        names = [entry.header_names for entry in c.w.cloud.journal]
        assert ["content-type" in one for one in names] == [True, False, False]


@pytest.mark.parametrize(
    ("amps", "may_drop", "expected"),
    [(16, True, ALL), (16, False, WITH_LEVEL), (None, False, WITHOUT_LEVEL), (None, True, WITHOUT_LEVEL)],
)
@pytest.mark.parametrize("status", [400, 405])
async def test_each_variant_is_tried_once_in_the_documented_order(
    tmp_path: Path, amps: int | None, may_drop: bool, expected: list[tuple[str, str, str]], status: int
) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, *[status] * len(expected))
        planned = c.writes.planned_start(c.w.site_id, c.w.serial, level_amperes=amps, may_drop_level=may_drop)
        with pytest.raises(CommandRefused) as caught:
            await c.start(amps, may_drop=may_drop)
        assert (caught.value.status, caught.value.code) == (status, f"iqevc_ms-{10000 + status}")
        assert c.sent() == expected
        entries = c.w.cloud.journal.entries
        assert [(one.method, one.path, one.body or "") for one in planned] == [
            (entry.method, entry.path, entry.body.decode()) for entry in entries
        ]


async def test_a_start_that_no_route_takes_has_failed(tmp_path: Path) -> None:
    async with commanded(tmp_path, CloudConfig(start_variants=frozenset())) as c:
        with pytest.raises(
            CommandRefused, match=r"none of 5 ways to ask worked.*No static resource"
        ) as caught:
            await c.start(16)
        assert caught.value.status == 404
        assert c.sent() == WITH_LEVEL
        assert c.asked_status == 0
        assert c.kept.of(c.w.site_id, "start-with-level") is None


async def test_the_last_failure_is_the_one_reported(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 405, 405)
        answer_with(c, 400, code="iqevc_ms-10099", message="The last word")
        with pytest.raises(CommandRefused, match="The last word") as caught:
            await c.start(None)
        assert (caught.value.status, caught.value.code) == (400, "iqevc_ms-10099")


@pytest.mark.parametrize("working", [1, 3, 7])
async def test_the_variant_that_worked_is_tried_first_next_time_and_after_a_restart(
    tmp_path: Path, working: int
) -> None:
    config = CloudConfig(start_variants={working})
    async with commanded(tmp_path, config) as c:
        c.w.cloud.world.charger(c.w.serial).plug()
        before = [ALL[index] for index in (0, 1, 2, 3, 7) if index <= working]
        assert (await c.start(16)).result is Result.ACCEPTED
        assert c.sent() == before
        await c.start(16)
        assert c.sent() == [*before, ALL[working]]
    async with commanded(tmp_path, config) as c:
        c.w.cloud.world.charger(c.w.serial).plug()
        await c.start(16)
        assert c.sent() == [ALL[working]]
        answer_with(c, 405, 204)
        await c.start(16)
        assert c.sent()[1:] == [ALL[working], ALL[0]]
        assert c.kept.of(c.w.site_id, "start-with-level") == 0


async def test_variants_with_and_without_a_level_are_remembered_apart(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 405, 204, 405, 405, 204)
        await c.start(16)
        await c.start(None)
        known = [c.kept.of(c.w.site_id, chain) for chain in ("start-with-level", "start-without-level")]
        assert known == [1, 6]
        c.w.cloud.journal.clear()
        answer_with(c, *[405] * 16)
        for may_drop in (False, True):
            with pytest.raises(CommandRefused):
                await c.start(16, may_drop=may_drop)
        with pytest.raises(CommandRefused):
            await c.start(None)
        explicit = [ALL[index] for index in (1, 0, 2, 3, 7)]
        whole = [ALL[index] for index in (1, 0, 2, 3, 6, 4, 5, 7)]
        assert c.sent() == [*explicit, *whole, *(ALL[index] for index in (6, 4, 5))]


async def test_a_remembered_variant_this_version_does_not_know_is_passed_over(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        await c.kept.remember(c.w.site_id, "start-with-level", 99)
        answer_with(c, 204)
        await c.start(16)
        assert c.sent() == ALL[:1]


@pytest.mark.parametrize(
    ("status", "parameters", "words"),
    [
        (409, {}, "not ready"),
        (422, {}, "not ready"),
        (400, {"code": "iqevc_ms-10012"}, "already charging"),
        (400, {"message": "Charger is already in charging state"}, "already charging"),
        (400, {"code": "iqevc_ms-10008"}, "no vehicle is plugged in"),
        (400, {"message": "Vehicle is not plugged in"}, "no vehicle is plugged in"),
    ],
)
async def test_a_benign_answer_ends_the_chain_as_a_noop_and_is_not_remembered(
    tmp_path: Path, status: int, parameters: dict[str, str], words: str
) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 405)
        answer_with(c, status, **parameters)
        reply = await c.start(16)
        assert reply.result is Result.NOOP
        assert words in reply.detail
        assert c.sent() == ALL[:2]
        assert c.kept.of(c.w.site_id, "start-with-level") is None


@pytest.mark.parametrize(
    "status", [401, 403, 406, 466, 468, 472, 473, 500, 501, 502, 503, 504, 550, 551, 552]
)
async def test_these_answers_stop_the_chain_and_remember_nothing(tmp_path: Path, status: int) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 405, status)
        with pytest.raises(CommandRefused) as caught:
            await c.start(16, may_drop=True)
        assert (caught.value.status, caught.value.code) == (status, f"iqevc_ms-{10000 + status}")
        assert c.sent() == ALL[:2]
        assert c.kept.of(c.w.site_id, "start-with-level") is None


@pytest.mark.parametrize(("retry_after", "seconds"), [(17, 17.0), (0, 0.0), (None, 60.0)])
async def test_too_many_requests_stop_the_chain_and_say_how_long_to_wait(
    tmp_path: Path, retry_after: int | None, seconds: float
) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 429, retry_after=retry_after)
        with pytest.raises(CommandPostponed) as caught:
            await c.start(16)
        assert caught.value.retry_after_seconds == seconds
        assert c.sent() == ALL[:1]
        assert c.w.transport.tally.rate_limited["start_charging",] == 1


@pytest.mark.parametrize("charges", [True, False])
async def test_a_404_that_is_no_missing_route_is_verified_by_status_once(
    tmp_path: Path, charges: bool
) -> None:
    async with commanded(tmp_path) as c:
        c.charges = charges
        answer_with(c, *[404] * 5, message="No such transaction")
        if charges:
            reply = await c.start(16)
            assert reply.result is Result.NOOP
            assert "nothing was changed" in reply.detail
            assert c.sent() == ALL[:1]
        else:
            with pytest.raises(CommandRefused, match="No such transaction") as caught:
                await c.start(16)
            assert caught.value.status == 404
            assert c.sent() == WITH_LEVEL
        assert c.asked_status == 1
        assert c.kept.of(c.w.site_id, "start-with-level") is None


async def test_a_404_that_status_cannot_explain_ends_the_chain(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 404, message="No such transaction")

        async def is_charging() -> bool:
            raise Unavailable("status", "HTTP 503", status=503)

        with pytest.raises(CommandRefused, match="status cannot tell") as caught:
            await c.writes.start_charging(
                c.w.site_id, c.w.serial, level_amperes=16, may_drop_level=False, is_charging=is_charging
            )
        assert caught.value.status == 404
        assert c.sent() == ALL[:1]


async def test_a_refused_level_goes_on_without_one_when_the_operator_named_none(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        charger = c.w.cloud.world.charger(c.w.serial)
        charger.plug()
        charger.levels_refused = True
        assert (await c.start(16, may_drop=True)).result is Result.ACCEPTED
        assert c.sent() == [ALL[0], ALL[4]]
        known = [c.kept.of(c.w.site_id, chain) for chain in ("start-with-level", "start-without-level")]
        assert known == [None, 4]


async def test_a_refused_level_that_the_operator_named_is_a_refusal(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 500, message="Invalid charge level")
        with pytest.raises(
            CommandRefused, match=r"^the charging level is refused .*Invalid charge level"
        ) as caught:
            await c.start(16)
        assert caught.value.status == 500
        assert c.sent() == ALL[:1]


async def test_a_level_that_is_refused_without_one_ends_the_chain(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 500, 500, message="Invalid charge level")
        with pytest.raises(CommandRefused) as caught:
            await c.start(16, may_drop=True)
        assert caught.value.status == 500
        assert c.sent() == [ALL[0], ALL[4]]


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("login_page", {}),
        ("html_outage", {"status": 200}),
        ("html_outage", {"status": 503}),
        ("error_with_200", {}),
        ("status", {"status": 302}),
    ],
)
async def test_a_page_an_error_or_a_redirect_in_place_of_an_answer_is_a_refusal(
    tmp_path: Path, kind: str, parameters: dict[str, Any]
) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add(kind, endpoint="start_charging", **parameters)
        with pytest.raises(CommandRefused):
            await c.start(16)
        assert c.sent() == ALL[:1]
        assert c.w.logins() == 0


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("not_json", {}), ("not_object", {}), ("oversized", {"mebibytes": 5}), ("cut", {})],
)
async def test_an_answer_that_cannot_be_read_leaves_open_what_became_of_the_start(
    tmp_path: Path, kind: str, parameters: dict[str, Any]
) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.world.charger(c.w.serial).plug()
        c.w.cloud.faults.add(kind, endpoint="start_charging", applied=True, **parameters)
        with pytest.raises(CommandUnconfirmed):
            await c.start(16)
        assert c.sent() == ALL[:1]


async def test_a_lost_answer_to_a_put_is_unconfirmed_and_nothing_is_sent_again(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 405)
        c.w.cloud.faults.add("reset", endpoint="start_charging", method="PUT")
        with pytest.raises(CommandUnconfirmed):
            await c.start(16)
        assert c.sent() == ALL[:2]


@pytest.mark.parametrize(("status", "message"), [(405, ""), (404, "No such transaction")])
async def test_no_further_way_is_tried_once_the_start_is_not_wanted_any_more(
    tmp_path: Path, status: int, message: str
) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, *[status] * 5, message=message)
        answers = [True, False]
        with pytest.raises(CommandRefused, match="superseded by a newer command") as caught:
            await c.writes.start_charging(
                c.w.site_id,
                c.w.serial,
                level_amperes=16,
                may_drop_level=False,
                is_charging=c.is_charging,
                still_wanted=lambda: answers.pop(0),
            )
        assert caught.value.status == 0
        assert c.sent() == ALL[:2]
        assert c.asked_status == (1 if message else 0)
