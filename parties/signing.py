"""A party signs its audit log once a day, and when its process starts and stops."""

from __future__ import annotations

import datetime
import threading

import structlog

from fedbus.credentials import Credentials
from fedbus.errors import StoreError
from fedbus.store.base import AuditLog

log = structlog.get_logger()

# A clock that was set, or a machine that slept, is noticed within this time.
_LONGEST_WAIT = 3600.0


class Signing:
    """Signs an audit log with its member's identity.

    Each signature is also a line of the process's own log. Whoever keeps that elsewhere notices a log whose end was cut
    off together with its signatures.
    """

    def __init__(self, audit: AuditLog, credentials: Credentials) -> None:
        self._audit, self._credentials = audit, credentials
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Sign what a process before this one left unsigned, and then each day's records when it is over."""
        self.sign()
        self._thread = threading.Thread(target=self._watch, name="signs the audit log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Sign what is there, and no more at the end of a day."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self.sign()

    def sign(self) -> None:
        """Sign what no signature reaches yet; a store that cannot be written is for others to tell."""
        try:
            head = self._audit.sign(self._credentials.identity, self._credentials.name)
        except StoreError as error:
            log.warning("the audit log cannot be signed now", error=str(error))
            return
        if head is not None:
            log.info("audit log signed", records=head.number, hash=head.hash.hex())

    def _watch(self) -> None:
        day = _today()
        while not self._stopping.wait(min(_LONGEST_WAIT, _until_tomorrow())):
            if _today() != day:
                day = _today()
                self.sign()


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _until_tomorrow() -> float:
    """Seconds to a second after the next midnight, UTC."""
    now = datetime.datetime.now(datetime.UTC)
    midnight = datetime.datetime.combine(now.date() + datetime.timedelta(days=1), datetime.time(), datetime.UTC)
    return (midnight - now).total_seconds() + 1.0
