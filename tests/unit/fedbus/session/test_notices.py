"""What watchers hear of participants that say much."""

from __future__ import annotations

from queue import Empty, SimpleQueue

import pytest

from fedbus.session.notices import Notices


def test_the_last_of_many_notices_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.session.notices.PAUSE_SECONDS", 0.2)
    told: SimpleQueue[tuple[str, str]] = SimpleQueue()
    notices = Notices(lambda sender, text: told.put((sender, text)))
    for number in range(10_000):
        notices.put("shop", f"number {number}")
    notices.put("bank", "the disk is full")
    seen = []
    while ("shop", "number 9999") not in seen:
        seen.append(told.get(timeout=10))
    # At once the first of each, then one a pause: how many pauses 10,000 take is the machine's affair, and few.
    assert seen[0] == ("shop", "number 0")
    assert ("bank", "the disk is full") in seen
    assert len(seen) < 100
    notices.close()


def test_a_sentence_is_told_once_while_it_is_repeated_and_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.session.notices.PAUSE_SECONDS", 0.0)
    told: list[str] = []
    notices = Notices(lambda _, text: told.append(text))
    for text in ("full", "full", "room", "full"):
        notices.put("shop", text)
    assert told == ["full", "room", "full"]
    monkeypatch.setattr("fedbus.session.notices.SAME_SECONDS", 0.0)
    notices.put("shop", "full")
    assert told == ["full", "room", "full", "full"]
    notices.close()


def test_nothing_is_told_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbus.session.notices.PAUSE_SECONDS", 0.05)
    told: SimpleQueue[str] = SimpleQueue()
    notices = Notices(lambda _, text: told.put(text))
    notices.put("shop", "first")
    notices.put("shop", "second")
    notices.close()
    assert told.get(timeout=1) == "first"
    with pytest.raises(Empty):
        told.get(timeout=0.2)
