from dataclasses import replace

import pytest

from exporter.errors import LoginExpired, MfaRequired, NotOffered, NotSent, UnexpectedPayload
from exporter.model import ChargeMode, LiveStream
from exporter.simulator.settings import CloudConfig
from tests.wiring import Wired, wired


async def test_sites_are_discovered_with_their_names() -> None:
    async with wired() as w:
        entries = await w.client.fetch_sites()
        assert {entry.site_id: entry.name for entry in entries} == {
            site.site_id: site.name for site in w.cloud.world.sites.values()
        }


async def test_status_and_summary_tell_the_same_chargers() -> None:
    async with wired() as w:
        status = await w.client.fetch_status(w.site_id)
        summary = await w.client.fetch_summary(w.site_id)
        assert {charger.serial for charger in status.chargers} == {w.serial}
        assert {charger.serial for charger in summary.chargers} == {w.serial}


async def test_both_shapes_of_status_are_read() -> None:
    async with wired(CloudConfig(shape="flat")) as w:
        assert [charger.serial for charger in (await w.client.fetch_status(w.site_id)).chargers] == [w.serial]


async def test_a_summary_path_that_is_missing_is_replaced_by_its_alias_and_remembered() -> None:
    async with wired() as w:
        w.cloud.faults.add("status", endpoint="summary", status=404, times=1)
        for _ in range(2):
            assert (await w.client.fetch_summary(w.site_id)).chargers
        paths = [entry.path for entry in w.cloud.journal.select(endpoint="summary")]
        assert ["api/v2" in path for path in paths] == [True, False, False]


async def test_the_preferred_charge_mode_is_read() -> None:
    async with wired() as w:
        w.cloud.world.charger(w.serial).mode = "GREEN_CHARGING"
        await w.client.fetch_status(w.site_id)
        preference = await w.client.fetch_charge_mode(w.site_id, w.serial)
        assert preference.mode is ChargeMode.GREEN_CHARGING


async def test_the_time_of_the_last_report_is_read() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        times = await w.client.fetch_last_reported(w.site_id)
        assert times[w.serial] == pytest.approx(w.cloud.world.charger(w.serial).last_reported, abs=0.01)


async def test_a_live_stream_is_started_and_stopped() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        assert await w.client.start_live_stream(w.site_id) == LiveStream(900.0)
        await w.client.stop_live_stream(w.site_id)
        paths = [entry.path.rsplit("/", 1)[1] for entry in w.cloud.journal.select(endpoint="live_stream")]
        assert paths == ["start_live_stream", "stop_live_stream"]


@pytest.mark.parametrize("status", [403, 404])
async def test_an_optional_endpoint_that_is_refused_is_not_offered(status: int) -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.faults.add("status", endpoint="charge_mode", status=status)
        with pytest.raises(NotOffered):
            await w.client.fetch_charge_mode(w.site_id, w.serial)


@pytest.mark.parametrize("kind", ["data_null", "error_with_200", "not_object", "empty_body"])
async def test_an_answer_that_holds_no_data_is_an_invalid_payload_and_no_proof_of_the_login(
    kind: str,
) -> None:
    async with wired() as w:
        w.cloud.faults.add(kind, endpoint="status")
        with pytest.raises(UnexpectedPayload):
            await w.client.fetch_status(w.site_id)
        assert w.transport.tally.errors["status", "invalid_payload"] == 1
        assert w.auth.works is not True


async def test_a_live_stream_that_is_refused_starts_no_login() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        w.cloud.journal.clear()
        w.cloud.faults.add("status", endpoint="live_stream", status=401)
        with pytest.raises(LoginExpired):
            await w.client.start_live_stream(w.site_id)
        assert w.logins() == 0


async def stopped(w: Wired) -> None:
    path = f"/service/evse_controller/{w.site_id}/ev_chargers/{w.serial}/stop_charging"
    await w.client.write("stop_charging", w.site_id, "PUT", path, None)


async def test_a_write_and_an_optional_read_without_a_login_ask_the_cloud_for_nothing() -> None:
    async with wired() as w:
        for _ in range(5):
            with pytest.raises(NotSent, match="no login"):
                await stopped(w)
            with pytest.raises(LoginExpired):
                await w.client.fetch_charge_mode(w.site_id, w.serial)
        assert len(w.cloud.journal) == 0
        assert w.client.writes == {}
        await w.client.fetch_status(w.site_id)
        await stopped(w)
        assert w.cloud.journal.count(endpoint="stop_charging") == 1
        assert w.client.writes == {w.site_id: 1}


async def test_a_write_without_a_login_tells_why_there_is_none() -> None:
    async with wired(CloudConfig(login_outcome="mfa_explicit")) as w:
        with pytest.raises(MfaRequired):
            await w.client.fetch_status(w.site_id)
        with pytest.raises(NotSent, match="one-time code"):
            await stopped(w)
        assert w.logins() == 1


async def test_a_write_and_an_optional_read_take_the_token_at_hand_however_near_its_end() -> None:
    async with wired() as w:
        await w.client.fetch_status(w.site_id)
        login = w.auth._login
        assert login is not None
        w.auth._login = replace(login, token_expiry_seconds=w.wall() + 5, obtained_seconds=w.wall() - 80_000)
        w.cloud.journal.clear()
        await stopped(w)
        await w.client.fetch_charge_mode(w.site_id, w.serial)
        assert w.cloud.journal.count(endpoint="token") == 0
        await w.client.fetch_status(w.site_id)
        assert w.cloud.journal.count(endpoint="token") == 1
