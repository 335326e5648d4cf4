"""Stopping: every row of its table of answers, and what holds for every write."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from exporter.client import Client
from exporter.command import Result
from exporter.errors import CommandPostponed, CommandRefused, CommandUnconfirmed
from exporter.simulator.settings import CloudConfig
from exporter.transport import Tally, Transport
from exporter.writes import Writes
from tests.wiring import Commanded, commanded

ALL = [("PUT", "ev_chargers", ""), ("POST", "ev_chargers", ""), ("POST", "ev_charger", "")]


def answer_with(c: Commanded, *statuses: int, **parameters: Any) -> None:
    """Let the next stops be answered so, one after the other."""
    for status in statuses:
        c.w.cloud.faults.add("status", endpoint="stop_charging", times=1, status=status, **parameters)


def kept(c: Commanded) -> int | None:
    return c.kept.of(c.w.site_id, "stop")


@pytest.mark.parametrize(
    "accepted_as", ["seed", "enveloped", "official", "no_content", "reset_content", "empty"]
)
async def test_a_stop_in_any_accepted_shape_is_one_put_without_a_body(
    tmp_path: Path, accepted_as: Any
) -> None:
    async with commanded(tmp_path, CloudConfig(accepted_as=accepted_as)) as c:
        charger = c.w.cloud.world.charger(c.w.serial)
        charger.plug()
        charger.start(16)
        assert (await c.stop()).result is Result.ACCEPTED
        assert c.sent() == ALL[:1]
        assert "content-type" not in c.w.cloud.journal[0].header_names
        assert kept(c) == 0
        assert not charger.charging


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_nothing_to_stop_is_a_noop_after_one_request_and_is_not_remembered(
    tmp_path: Path, status: int
) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, status)
        reply = await c.stop()
        assert reply.result is Result.NOOP
        assert "nothing to stop" in reply.detail
        assert c.sent() == ALL[:1]
        assert kept(c) is None


async def test_a_404_that_is_no_missing_route_is_a_noop_and_is_not_remembered(tmp_path: Path) -> None:
    async with commanded(tmp_path, CloudConfig(nothing_to_stop_status=404)) as c:
        assert (await c.stop()).result is Result.NOOP
        assert c.sent() == ALL[:1]
        assert kept(c) is None


async def test_a_stop_that_no_route_takes_has_failed(tmp_path: Path) -> None:
    async with commanded(tmp_path, CloudConfig(stop_variants=frozenset())) as c:
        charger = c.w.cloud.world.charger(c.w.serial)
        charger.plug()
        charger.start(16)
        with pytest.raises(
            CommandRefused, match=r"none of 3 ways to ask worked.*No static resource"
        ) as caught:
            await c.stop()
        assert caught.value.status == 404
        assert c.sent() == ALL
        assert kept(c) is None
        assert charger.charging


async def test_an_outage_before_a_missing_route_is_one_request_and_a_failure(tmp_path: Path) -> None:
    async with commanded(tmp_path, CloudConfig(stop_variants=frozenset())) as c:
        answer_with(c, 503, code="iqevc_ms-10007")
        with pytest.raises(CommandRefused) as caught:
            await c.stop()
        assert (caught.value.status, caught.value.code) == (503, "iqevc_ms-10007")
        assert c.sent() == ALL[:1]
        assert kept(c) is None


@pytest.mark.parametrize("status", [500, 502, 503, 504, 550, 551, 552])
async def test_a_server_error_stops_the_chain_wherever_it_comes(tmp_path: Path, status: int) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 405, status)
        with pytest.raises(CommandRefused) as caught:
            await c.stop()
        assert caught.value.status == status
        assert c.sent() == ALL[:2]
        assert kept(c) is None


@pytest.mark.parametrize("status", [401, 403, 466, 468, 472, 473])
async def test_a_refusal_of_the_account_or_site_is_a_failure(tmp_path: Path, status: int) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, status)
        with pytest.raises(CommandRefused) as caught:
            await c.stop()
        assert caught.value.status == status
        assert c.sent() == ALL[:1]


async def test_too_many_requests_postpone_a_stop(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        answer_with(c, 429, retry_after=5)
        with pytest.raises(CommandPostponed) as caught:
            await c.stop()
        assert caught.value.retry_after_seconds == 5
        assert c.sent() == ALL[:1]


@pytest.mark.parametrize(("working", "first"), [(1, 405), (2, 404)])
async def test_the_stop_that_worked_is_tried_first_next_time_and_after_a_restart(
    tmp_path: Path, working: int, first: int
) -> None:
    config = CloudConfig(stop_variants={working})
    async with commanded(tmp_path, config) as c:
        charger = c.w.cloud.world.charger(c.w.serial)
        charger.plug()
        charger.start(16)
        assert (await c.stop()).result is Result.ACCEPTED
        assert c.sent() == ALL[: working + 1]
        assert c.w.cloud.journal[0].status == first
    async with commanded(tmp_path, config) as c:
        assert [request.method for request in c.writes.planned_stop("1", "2")] == ["PUT", "POST", "POST"]
        planned = c.writes.planned_stop(c.w.site_id, c.w.serial)
        assert len(planned) == 3
        assert (await c.stop()).result is Result.NOOP
        assert c.sent() == [ALL[working]]
        assert planned[0].path == c.w.cloud.journal[0].path


@pytest.mark.parametrize("status", [404, 405])
async def test_a_web_page_that_says_not_found_is_no_proof_that_there_was_nothing_to_stop(
    tmp_path: Path, status: int
) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("html_outage", endpoint="stop_charging", status=status)
        with pytest.raises(CommandRefused):
            await c.stop()
        assert c.sent() == ALL


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("login_page", {}),
        ("html_outage", {"status": 200}),
        ("error_with_200", {}),
        ("status", {"status": 302}),
    ],
)
async def test_a_success_that_is_none_is_a_failure_and_starts_no_login(
    tmp_path: Path, kind: str, parameters: dict[str, Any]
) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add(kind, endpoint="stop_charging", **parameters)
        with pytest.raises(CommandRefused):
            await c.stop()
        assert c.sent() == ALL[:1]
        assert kept(c) is None


# what holds for every write


@pytest.mark.parametrize("applied", [True, False])
async def test_a_lost_answer_is_unconfirmed_and_the_put_is_not_sent_again(
    tmp_path: Path, applied: bool
) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("reset", endpoint="stop_charging", applied=applied)
        with pytest.raises(CommandUnconfirmed, match="may have taken"):
            await c.stop()
        assert c.sent() == ALL[:1]
        assert c.w.transport.tally.errors["stop_charging", "connection"] == 1


async def test_a_stop_without_an_answer_in_time_is_unconfirmed_and_not_sent_again(tmp_path: Path) -> None:
    async with commanded(tmp_path, timeout_seconds=0.3) as c:
        c.w.cloud.faults.add("slow", endpoint="stop_charging", seconds=5, applied=True)
        with pytest.raises(CommandUnconfirmed, match="no answer in time"):
            await c.stop()
        assert c.sent() == ALL[:1]
        assert c.w.transport.tally.requests["stop_charging", "0"] == 1


async def test_a_stop_that_reached_nobody_is_known_not_to_be_done(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            nobody = URL(f"http://127.0.0.1:{unused.getsockname()[1]}/")
            writes = Writes(Client(c.w.transport, c.w.auth, nobody), c.kept)
            with pytest.raises(CommandRefused, match="nothing was done") as caught:
                await writes.stop_charging(c.w.site_id, c.w.serial)
        assert caught.value.status == 0


async def test_an_expired_login_refuses_a_stop_and_is_neither_renewed_nor_replayed(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.expire_sessions()
        c.w.cloud.expire_tokens()
        with pytest.raises(CommandRefused, match="login has expired") as caught:
            await c.stop()
        assert caught.value.status == 401
        assert [entry.endpoint for entry in c.w.cloud.journal] == ["stop_charging"]


async def test_cookies_that_an_answer_rotates_are_kept(tmp_path: Path) -> None:
    async with commanded(tmp_path, CloudConfig(rotate_every=1)) as c:
        before = len(c.w.stored)
        charger = c.w.cloud.world.charger(c.w.serial)
        charger.plug()
        charger.start(16)
        await c.stop()
        assert len(c.w.stored) == before + 1


async def test_a_stop_does_not_wait_behind_slow_reads(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        c.w.cloud.faults.add("slow", endpoint="status", seconds=30)
        reads = [asyncio.create_task(c.w.client.fetch_status(c.w.site_id)) for _ in range(6)]
        while c.w.cloud.journal.count(endpoint="status") < 2:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            assert (await c.stop()).result is Result.NOOP
        assert not any(read.done() for read in reads)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


async def test_a_stop_goes_out_though_every_slot_of_all_accounts_is_taken(tmp_path: Path) -> None:
    async with commanded(tmp_path) as c:
        timed: list[str] = []
        transport = Transport(
            c.w.http,
            Tally(()),
            timeout_seconds=5,
            sent=lambda: timed.append("sent"),
            timed=lambda endpoint, seconds: timed.append(endpoint),
            slots=asyncio.Semaphore(0),
        )
        writes = Writes(Client(transport, c.w.auth, c.w.url), c.kept)
        async with asyncio.timeout(5):
            assert (await writes.stop_charging(c.w.site_id, c.w.serial)).result is Result.NOOP
        assert timed == ["sent", "stop_charging"]
        assert transport.tally.requests == {("stop_charging", "400"): 1}


@pytest.mark.parametrize("serial", ["../../1/x", "a/b?c=d#e", "..", "%2e%2e", "a b", "ü"])
async def test_a_serial_stays_one_segment_of_the_path(tmp_path: Path, serial: str) -> None:
    async with commanded(tmp_path) as c:
        with pytest.raises(CommandRefused):
            await c.writes.start_charging(
                c.w.site_id,
                serial,
                level_amperes=None,
                may_drop_level=False,
                is_charging=c.is_charging,
            )
        assert c.w.cloud.journal.count(endpoint="start_charging", site_id=c.w.site_id) == 3
