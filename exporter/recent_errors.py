"""The newest warnings and errors of a running exporter, on disk, for `diagnostics`.

They have to be there after a crash, so each is appended to a file of the state folder when it happens, by a
thread that exists only once there was one: a quiet exporter pays nothing, and the event loop never waits for
the disk. The file is cut by renaming it, so that two of them hold the newest lines.

Where a warning is about an answer of the cloud, the shape of the newest answer of that endpoint goes with it.
"""

import json
import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from exporter.logs import JsonFormatter

NAME = "recent-errors.jsonl"
_OLDER_NAME = "recent-errors.1.jsonl"
_MOST_BYTES = 64 * 1024
_MOST_WAITING = 500
_LARGEST_BODY = 256 * 1024
_LINES_READ = 200

Waiting = tuple[str, str, bytes | None]
"""A line of JSON; endpoint and body of the answer it is about, where there is one."""


class RecentErrors(logging.Handler):
    """Appends what is logged from warning up to a file; `heard` is told what the cloud answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(JsonFormatter())
        self._folder = folder
        self._newest: dict[str, bytes] = {}
        self._waiting: deque[Waiting] = deque(maxlen=_MOST_WAITING)
        self._thread: ThreadPoolExecutor | None = None

    def heard(self, endpoint: str, body: bytes) -> None:
        """Take note of an answer: a reference to the newest of each endpoint, nothing more."""
        if len(body) <= _LARGEST_BODY:
            self._newest[endpoint] = body

    def emit(self, record: logging.LogRecord) -> None:
        """Have one record written, soon; never waits."""
        endpoint = _endpoint_of(record)
        self._waiting.append((self.format(record), endpoint, self._newest.get(endpoint)))
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recent-errors")
        with suppress(RuntimeError):  # the interpreter is going down: `close` writes the rest
            self._thread.submit(self._write)

    def close(self) -> None:
        """Write what waits."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
        self._write()
        super().close()

    def _write(self) -> None:
        """Append all that waits, in the thread. Of a disk that fails the state tells, which is on it too."""
        lines = []
        while self._waiting:
            lines.append(_line(self._waiting.popleft()))
        if lines:
            with suppress(OSError):
                _append(self._folder, "".join(lines).encode())


def _endpoint_of(record: logging.LogRecord) -> str:
    """The endpoint a record is about: it says so, or gives a CloudError, which begins with it."""
    told = getattr(record, "endpoint", None) or str(getattr(record, "why", "")).partition(":")[0]
    return str(told)


def _line(waiting: Waiting) -> str:
    text, endpoint, body = waiting
    if body is not None:
        from exporter.shapes_of import shape_of_body

        text = json.dumps({**json.loads(text), "shape_of": endpoint, "shape": shape_of_body(body)})
    return f"{text}\n"


def _append(folder: Path, content: bytes) -> None:
    path = folder / NAME
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, content)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size > _MOST_BYTES:
        path.replace(folder / _OLDER_NAME)


@contextmanager
def kept_in(folder: Path) -> Iterator[RecentErrors]:
    """Keep warnings and errors in a folder for as long as this lasts, the error that ends it too."""
    handler = RecentErrors(folder)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler
    except Exception as error:
        # To this handler only: whoever catches it prints it.
        trace = (type(error), error, error.__traceback__)
        handler.handle(
            logging.LogRecord(__name__, logging.ERROR, __file__, 0, "ended by an error", (), trace)
        )
        raise
    finally:
        root.removeHandler(handler)
        handler.close()


def read_recent(folder: Path) -> list[dict[str, Any]]:
    """The newest entries, oldest first; a line that a crash cut off is left out."""
    entries = []
    for name in (_OLDER_NAME, NAME):
        with suppress(FileNotFoundError):
            for line in (folder / name).read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError):
                    entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry, dict)][-_LINES_READ:]
