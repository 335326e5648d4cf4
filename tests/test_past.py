import asyncio

from exporter.errors import StateError
from exporter.history import History
from exporter.past import KEPT_SECONDS, Past
from tests.page_worlds import HISTORY


class Disk:
    """A history that may fail to be read, and a clock."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.reads = 0
        self.error = ""

    def clock(self) -> float:
        return self.seconds

    async def read(self) -> History:
        self.reads += 1
        await asyncio.sleep(0)
        if self.error:
            raise StateError(self.error)
        return HISTORY


async def test_pages_loaded_shortly_after_each_other_read_the_disk_once() -> None:
    disk = Disk()
    past = Past(disk.read, clock=disk.clock)
    assert await asyncio.gather(*(past.newest() for _ in range(5))) == [(HISTORY, "")] * 5
    disk.seconds += KEPT_SECONDS - 0.1
    await past.newest()
    assert disk.reads == 1
    disk.seconds += 0.1
    await past.newest()
    assert disk.reads == 2


async def test_a_disk_that_fails_leaves_what_was_read_before_and_says_why() -> None:
    disk = Disk()
    past = Past(disk.read, clock=disk.clock)
    await past.newest()
    disk.error = "disk I/O error"
    disk.seconds += KEPT_SECONDS
    assert await past.newest() == (HISTORY, "disk I/O error")
    disk.error = ""
    disk.seconds += KEPT_SECONDS
    assert await past.newest() == (HISTORY, "")


async def test_a_disk_that_fails_from_the_start_is_not_asked_all_the_time() -> None:
    disk = Disk()
    disk.error = "disk I/O error"
    past = Past(disk.read, clock=disk.clock)
    assert await past.newest() == (History(), "disk I/O error")
    assert await past.newest() == (History(), "disk I/O error")
    assert disk.reads == 1
