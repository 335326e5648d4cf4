"""Row 23: the image's size over its base, and from the start of a container to its first answer.

Both are of the image the end-to-end tests build and run too, on a Debian base whose own size is left out.
"""

import time
from collections.abc import Iterator
from shutil import which

from bench.processes import exporter_environment, free_port, median, plain_scraper
from bench.table import Limit, Row
from tests.e2e.image import Image, built_image

_PROGRAMS = ("buildah", "podman", "runc", "debootstrap")
_SIZE_LIMITS = (Limit(40, unit=" MB"), Limit(30, unit=" MB"))
_START_LIMITS = (Limit(2), Limit(1.5))
_SIZE, _START = "what the image adds to its base", "start of a container to the first answer, cloud down"


def rows(*, quick: bool) -> Iterator[Row]:
    """Both rows; not measured where a program is missing."""
    missing = [name for name in _PROGRAMS if which(name) is None]
    if missing:
        note = f"not measured: no {', '.join(missing)}"
        yield Row("23a", _SIZE, "-", float("nan"), *_SIZE_LIMITS, note)
        yield Row("23b", _START, "-", float("nan"), *_START_LIMITS, note)
        return
    with built_image() as image:
        yield Row("23a", _SIZE, "-", image.added_bytes / 1e6, *_SIZE_LIMITS)
        yield _start_row(image, 3 if quick else 9)


def _start_row(image: Image, rounds: int) -> Row:
    """Against a container that only says its version: what is left is the engine's and Python's own time."""
    bare, answered = [], []
    for number in range(1 + rounds):  # the first round fills the file cache and does not count
        bare.append(_version_seconds(image))
        answered.append(_first_answer_seconds(image, f"start-{number}"))
    floor, taken = median(bare[1:]), median(answered[1:])
    note = f"{taken * 1e3:.0f} ms over {floor * 1e3:.0f} ms"
    return Row("23b", _START, "-", taken / floor, *_START_LIMITS, note)


def _version_seconds(image: Image) -> float:
    started = time.perf_counter()
    image.ran("--version")
    return time.perf_counter() - started


def _first_answer_seconds(image: Image, name: str) -> float:
    port = free_port()
    environment = exporter_environment(f"http://127.0.0.1:{free_port()}", port, ENPHASE_EV_STATE_PATH="/data")
    scraper = plain_scraper(port)
    started = time.perf_counter()
    with image.running(name, environment=environment):
        scraper.first_scrape()
        taken = time.perf_counter() - started
        scraper.close()
    return taken
