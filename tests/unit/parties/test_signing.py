"""When a party signs its audit log, and that a store which cannot be written stops nothing."""

from __future__ import annotations

import datetime
import threading
from pathlib import Path

import pytest

from fedbus.audit import SIGNATURE
from fedbus.errors import StoreFull
from fedbus.store.sqlite import SqliteStore
from keyring import credentials
from parties import signing
from parties.signing import Signing


def events(store: SqliteStore) -> list[str]:
    return [record.fields["event"] for record in store.audit.records()]


def test_what_is_there_is_signed_at_a_start_a_midnight_and_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days, looks, midnights = [datetime.date(2026, 1, 1)], threading.Semaphore(0), threading.Semaphore(0)

    def look() -> float:
        looks.release()
        return 0.001

    monkeypatch.setattr(signing, "_today", lambda: days[-1])
    monkeypatch.setattr(signing, "_until_tomorrow", look)
    with SqliteStore(tmp_path / "bank.db") as store:
        store.audit.enter("accepted", "before")
        made = Signing(store.audit, credentials("bank"))
        sign = made.sign

        def spy() -> None:
            sign()
            midnights.release()

        monkeypatch.setattr(made, "sign", spy)
        made.start()
        assert midnights.acquire(timeout=10)
        assert events(store) == ["accepted", SIGNATURE]
        store.audit.enter("accepted", "today")
        # Nothing is signed while it is still the same day, however often the clock is looked at.
        for _ in range(20):
            assert looks.acquire(timeout=10)
        assert events(store)[2:] == ["accepted"]
        days.append(datetime.date(2026, 1, 2))
        assert midnights.acquire(timeout=10)
        assert events(store)[2:] == ["accepted", SIGNATURE]
        store.audit.enter("accepted", "last")
        made.stop()
        assert events(store)[4:] == ["accepted", SIGNATURE]


def test_a_full_disk_is_for_others_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteStore(tmp_path / "bank.db") as store:
        store.audit.enter("accepted", "job")

        def full(*_: object) -> None:
            raise StoreFull("full")

        monkeypatch.setattr(store.audit, "sign", full)
        Signing(store.audit, credentials("bank")).sign()
        assert events(store) == ["accepted"]


def test_the_next_midnight_is_within_a_day() -> None:
    assert 0 < signing._until_tomorrow() <= 24 * 3600 + 1
