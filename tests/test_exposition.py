"""What the exposition promises to a web server: one body, little work, a free loop."""

import asyncio
import gzip
import zlib
from dataclasses import replace
from itertools import count, groupby

import pytest

from exporter.exposition import Body, Exposition, Format, accepts_gzip, negotiate
from exporter.metrics import METRICS
from exporter.model import Site, Snapshot
from tests.worlds import SNAPSHOT, large_world


def test_a_name_that_has_no_utf8_does_not_cost_the_scrape() -> None:
    site = Site("1", "home", name="bad\ud800name")
    body = Exposition().render_now(Snapshot((site,)), Format.TEXT)
    assert b'enphase_ev_site_info{site_id="1",name="bad?name",account="home"} 1\n' in body


def test_an_empty_snapshot_is_an_empty_exposition() -> None:
    assert Exposition().render_now(Snapshot(), Format.TEXT) == b""
    assert Exposition().render_now(Snapshot(), Format.OPENMETRICS) == b"# EOF\n"


def joined(body: Body) -> bytes:
    return b"".join(body.pieces)


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("chargers", [2, 400])
async def test_gzip_is_one_stream_of_the_plain_body(form: Format, chargers: int) -> None:
    exposition, extra = Exposition(), b"# TYPE extra gauge\nextra 1\n" * 100
    for mark in (1, 1, 2):
        world = large_world(mark, chargers)
        body = await exposition.render(world, form, gzipped=True, extra=extra)
        plain = await exposition.render(world, form, extra=extra)
        assert gzip.decompress(joined(body)) == joined(plain)
        first_member = zlib.decompressobj(31)
        assert first_member.decompress(joined(body)) == joined(plain)
        assert (first_member.eof, first_member.unused_data) == (True, b"")
        assert body.gzipped
        assert not plain.gzipped


@pytest.mark.parametrize("gzipped", [False, True])
async def test_length_and_blocks_are_those_of_the_pieces(gzipped: bool) -> None:
    body = await Exposition().render(large_world(1), Format.TEXT, gzipped=gzipped)
    assert body.length == len(joined(body))
    assert b"".join(body.blocks(10_000)) == joined(body)


@pytest.mark.parametrize(
    ("pieces", "blocks"),
    [
        ([], []),
        ([b"aaaa", b"bbbb", b"cccc", b"dd"], [b"aaaabbbb", b"ccccdd"]),
        ([b"a", b"b" * 25, b"", b"c"], [b"a", b"b" * 10, b"b" * 10, b"b" * 5, b"c"]),
    ],
)
def test_small_pieces_are_joined_and_large_ones_cut(pieces: list[bytes], blocks: list[bytes]) -> None:
    body = Body(Format.TEXT, False, tuple(pieces), sum(map(len, pieces)))
    assert list(map(bytes, body.blocks(10))) == blocks


async def test_extra_families_stand_before_the_closing_line() -> None:
    body = await Exposition().render(Snapshot(), Format.OPENMETRICS, extra=b"# TYPE extra gauge\nextra 1\n")
    assert joined(body) == b"# TYPE extra gauge\nextra 1\n# EOF\n"


async def test_scrapes_that_come_together_each_show_one_snapshot() -> None:
    exposition, worlds = Exposition(), [large_world(mark) for mark in (1, 2, 3)]
    scrapes = [exposition.render(world, Format.TEXT, gzipped=mark == 1) for mark, world in enumerate(worlds)]
    first, second, third = await asyncio.gather(*scrapes)
    bodies = [joined(first), gzip.decompress(joined(second)), joined(third)]
    assert bodies == [Exposition().render_now(world, Format.TEXT) for world in worlds]


async def test_the_loop_is_free_while_a_large_world_is_rendered() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count_turns())
    await Exposition().render(large_world(1, 1000), Format.TEXT)
    counter.cancel()
    assert turns >= 2


async def test_a_scraper_that_hangs_up_leaves_nothing_half_rendered() -> None:
    exposition, old, new = Exposition(), large_world(1, 2000), large_world(2, 2000)
    before, after = exposition.render_now(old, Format.TEXT), Exposition().render_now(new, Format.TEXT)
    for turns in count(1):
        scrape = asyncio.create_task(exposition.render(new, Format.TEXT))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not scrape.cancel():
            break
        with pytest.raises(asyncio.CancelledError):
            await scrape
        assert exposition.render_now(old, Format.TEXT) == before
    assert turns > 2
    assert joined(await scrape) == after


async def test_an_unchanged_world_is_not_rendered_again() -> None:
    exposition, world = Exposition(), large_world(1)
    first = await exposition.render(world, Format.TEXT)
    same = await exposition.render(replace(world), Format.TEXT)
    assert all(one is other for one, other in zip(first.pieces, same.pieces, strict=True))


async def test_only_families_whose_values_changed_are_rendered_again() -> None:
    exposition = Exposition()
    first = await exposition.render(large_world(1), Format.TEXT)
    second = await exposition.render(large_world(2), Format.TEXT)
    renewed = [new for old, new in zip(first.pieces, second.pieces, strict=True) if new is not old]
    assert [body.partition(b"{")[0] for body in renewed] == [b"enphase_ev_charger_session_energy_kwh"]


@pytest.mark.parametrize("chargers", [(2200, 900, 2000), (2, 1000, 1002), (1500, 0, 1500)])
def test_a_fleet_that_grows_and_shrinks_is_shown_whole(chargers: tuple[int, ...]) -> None:
    exposition = Exposition()
    for size in chargers:
        world = large_world(1, size)
        body = exposition.render_now(world, Format.TEXT)
        assert body.count(b"\nenphase_ev_charger_connected{") == size
        assert body == Exposition().render_now(world, Format.TEXT)


def test_a_fleet_of_several_slices_keeps_each_family_together() -> None:
    body = Exposition().render_now(large_world(1, 2002), Format.TEXT)
    names = [line.partition(b"{")[0] for line in body.splitlines() if not line.startswith(b"#")]
    runs = [name for name, _ in groupby(names)]
    assert len(runs) == len(set(runs))
    assert body.count(b"# TYPE ") == len(runs)


# Parts of a world.


def test_rows_of_some_scopes_can_be_rendered_alone() -> None:
    of_sites = [metric for metric in METRICS if "site_id" in metric.scope.labels]
    body = Exposition(of_sites).render_now(SNAPSHOT, Format.TEXT)
    lines = [line for line in body.splitlines() if not line.startswith(b"#")]
    assert lines
    assert all(b'{site_id="4100' in line for line in lines)


# Headers.

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format.TEXT),
        ("application/json", Format.TEXT),
        (PROMETHEUS_3, Format.OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5", Format.OPENMETRICS),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("Application/OpenMetrics-Text;Version=1.0.0", Format.OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", Format.TEXT),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Format.TEXT),
        ("application/openmetrics-text;q=0", Format.TEXT),
        ("application/openmetrics-text;q=nonsense", Format.TEXT),
        ("text/plain,application/openmetrics-text", Format.TEXT),
        ("application/openmetrics-text,text/plain", Format.OPENMETRICS),
        (",;q=1,/", Format.TEXT),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str, form: Format) -> None:
    assert negotiate(accept) is form


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("*", True),
        ("*;q=0.5, gzip;q=0", False),
        ("gzip;q=", False),
    ],
)
def test_gzip_is_sent_only_where_it_is_accepted(accept_encoding: str, accepted: bool) -> None:
    assert accepts_gzip(accept_encoding) is accepted
