"""Where Alertmanager's notifications arrive: a receiver of webhooks in the test's own process."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """A listening receiver; `notifications` are the bodies that came, in order."""

    url: str
    notifications: list[dict[str, Any]] = field(default_factory=list)

    def told(self, **labels: str) -> list[dict[str, Any]]:
        """Every alert of every notification so far with these labels, in order."""
        alerts = (alert for one in list(self.notifications) for alert in one["alerts"])
        return [alert for alert in alerts if labels.items() <= alert["labels"].items()]

    def newest(self, **labels: str) -> dict[str, Any] | None:
        """The last such alert told of."""
        told = self.told(**labels)
        return told[-1] if told else None

    def status(self, **labels: str) -> str | None:
        """`firing` or `resolved`, as last told; None when nothing was."""
        alert = self.newest(**labels)
        return alert["status"] if alert else None


@contextmanager
def listening_webhook() -> Iterator[Webhook]:
    """A receiver on a free port of this machine."""
    notifications: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            notifications.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Webhook(f"http://127.0.0.1:{server.server_port}/", notifications)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
