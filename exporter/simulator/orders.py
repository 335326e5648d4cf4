"""What the cloud has accepted for a charger and the charger has not carried out yet, in the order it came."""

from collections import deque
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Order:
    """One accepted command.

    amps: of a start; None is the level stored before. in_place: a start on a running charging session
    changes its current at once. resumes_after_seconds: of a stop; a charger that follows the sun begins
    again by itself so much later.
    """

    kind: Literal["start", "stop", "report"]
    amps: int | None = None
    in_place: bool = False
    resumes_after_seconds: float | None = None


class Orders:
    """First come, first carried out: a later order waits for an earlier one, whenever it is due itself."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Order]] = deque()

    def put(self, order: Order, due: float) -> None:
        """Accepts an order that is due at `due`, epoch seconds."""
        self._waiting.append((due, order))

    def take(self, until: float) -> list[tuple[float, Order]]:
        """The orders due by `until`, each with the time it was due; they wait no longer."""
        taken = []
        while self._waiting and self._waiting[0][0] <= until:
            taken.append(self._waiting.popleft())
        return taken

    @property
    def asks_for_charging(self) -> bool | None:
        """What the newest waiting start or stop wants; None when neither waits."""
        kinds = [order.kind for _, order in self._waiting if order.kind != "report"]
        return kinds[-1] == "start" if kinds else None

    def __len__(self) -> int:
        return len(self._waiting)
