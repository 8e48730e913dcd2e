"""What may happen as often as somebody else likes is logged now and then only: the log must not grow with it."""

from __future__ import annotations

import threading
import time

PAUSE_SECONDS = 60.0


class Seldom:
    """Says whether something of a kind is due to be logged: once in PAUSE_SECONDS. Kinds have to be a few."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def due(self, kind: str) -> dict[str, int] | None:
        """What a line says besides: how many of the kind were not logged since the last one. None: not due."""
        with self._lock:
            now = time.monotonic()
            if kind in self._logged and now - self._logged[kind] < PAUSE_SECONDS:
                self._silent[kind] = self._silent.get(kind, 0) + 1
                return None
            self._logged[kind] = now
            others = self._silent.pop(kind, 0)
        return {"others_since": others} if others else {}
