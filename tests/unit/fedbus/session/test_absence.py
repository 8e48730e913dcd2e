"""Who is silent is named once, and once more when it is back, however soon what it kept waiting goes on."""

from __future__ import annotations

from typing import Any

import pytest

from fedbus.session.absence import Absence


class Hearing:
    """What a mailbox knows of who was heard, and when."""

    def __init__(self) -> None:
        self.failures: dict[str, str] = {}
        self.heard: dict[str, float] = {}

    def heard_since(self, party: str, since: float) -> bool:
        return self.heard.get(party, -1.0) >= since

    def silence(self, *_: object) -> float:
        return 7.0


def test_a_return_is_told_with_the_first_thing_that_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    hearing, told, called, now = Hearing(), [], [], [100.0]
    monkeypatch.setattr("fedbus.session.absence.time.monotonic", lambda: now[0])
    mailbox: Any = hearing
    absence = Absence(mailbox, lambda party, _: called.append(party), told.append)
    for _ in range(4):
        absence.look(["bank", "shop"])
        now[0] += 3.0
        hearing.heard["shop"] = now[0]
    assert called == ["bank", "shop"]
    assert [sentence.split(":")[0] for sentence in told] == ["waiting for bank"]
    absence.welcome()
    assert len(told) == 1
    # No time passes: the next thing to come is there at once.
    hearing.heard["bank"] = now[0]
    absence.welcome()
    absence.welcome()
    assert told[1:] == ["bank is there again; the job goes on"]
