"""Whose answers are waited for, how long, and whom that tells; on a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from coordinator.sums import gathering
from coordinator.sums.cohort import Cohort
from coordinator.sums.gathering import Gathering
from fedbus.algorithms.sums.messages import Abstained, MaskedUpdate
from fedbus.algorithms.sums.rules import SumRules
from fedbus.errors import JobFailed

ASKED = ("bob", "alice", "carol")
RULES = SumRules.of("masked", ASKED, deadline=10.0)
LIMITS = SimpleNamespace(resend=4.0, silence=30.0)


@dataclass
class World:
    """A session and its attendance, whose time passes only while somebody waits.

    Attributes:
        answers: when each party's answer comes.
        abstentions: when each says that it has none.
        signs: whose signs of life come all the time; others are silent from the beginning.
    """

    answers: dict[str, float] = field(default_factory=dict)
    abstentions: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    signs: tuple[str, ...] = ()
    now: float = 100.0
    asked: list[tuple[str, str, int, float]] = field(default_factory=list)
    told: list[tuple[list[str], float]] = field(default_factory=list)
    spec: Any = field(default_factory=lambda: SimpleNamespace(limits=LIMITS, parties=ASKED))
    job: str = "job-1"

    @property
    def attendance(self) -> World:
        return self

    def monotonic(self) -> float:
        return self.now

    def arrived(self, party: str, kind: Any) -> bool:
        when = self.abstentions if kind is Abstained else self.answers
        return party in when and self.now - 100.0 >= when[party]

    def silence(self, party: str, since: float) -> float:
        return 0.0 if party in self.signs else self.now - since

    def heard_since(self, party: str, since: float) -> bool:
        return party in self.signs and self.now > since

    def ask(self, party: str, kind: Any, attempt: int) -> None:
        self.asked.append((party, kind.kind, attempt, self.now - 100.0))

    def recv(self, party: str, kind: Any) -> Abstained:  # noqa: ARG002  # as a session
        return Abstained(f"{party} has none", keyless=True)

    def publish_event(self, event: Any) -> None:
        self.told.append(([event.text], self.now - 100.0))

    def wait_until(
        self, done: Callable[[], bool], seconds: float, asked: Callable[[], Collection[str]] = tuple
    ) -> bool:
        """Let time pass to the next arrival, or for so long."""
        assert seconds > 0
        asked()
        times = sorted({*self.answers.values(), *self.abstentions.values()})
        end = self.now + seconds
        for time in times:
            if self.now < 100.0 + time <= end:
                self.now = 100.0 + time
                if done():
                    return True
        self.now = end
        return done()


@pytest.fixture
def gather(monkeypatch: pytest.MonkeyPatch) -> Any:
    def waited(world: World, least: int = 2, *, all_of: bool = True) -> tuple[list[str], list[str], float]:
        monkeypatch.setattr(gathering, "time", world)

        def tell(parties: Sequence[str]) -> None:
            world.told.append((list(parties), world.now - 100.0))

        found = Gathering(
            world,  # type: ignore[arg-type]
            MaskedUpdate,
            ASKED,
            least,
            deadline=10.0,
            all_of=all_of,
            tell=tell,
        ).wait()
        return (*found, world.now - 100.0)

    return waited


def test_it_ends_as_soon_as_all_have_answered(gather: Any) -> None:
    world = World({"bob": 1.0, "alice": 2.0, "carol": 3.0})
    assert gather(world) == (["bob", "alice", "carol"], [], 3.0)
    assert (world.asked, world.told) == ([], [])


def test_who_abstains_or_failed_is_not_waited_for(gather: Any) -> None:
    world = World({"bob": 1.0}, {"alice": 2.0}, {"carol": "it failed"})
    assert gather(world) == (["bob"], [], 2.0)


def test_enough_answers_end_it_at_the_deadline_and_those_who_are_late_stay_open(gather: Any) -> None:
    world = World({"bob": 1.0, "alice": 2.0}, signs=("carol",))
    assert gather(world) == (["bob", "alice"], ["carol"], 10.0)
    assert world.told == []
    # What may have been lost is asked for once limits.resend seconds are over.
    assert world.asked == [("carol", "masked_update", 1, 6.0)]


def test_enough_answers_end_it_at_once_where_not_all_are_wanted(gather: Any) -> None:
    assert gather(World({"bob": 1.0, "alice": 2.0, "carol": 3.0}), all_of=False) == (["bob", "alice"], ["carol"], 2.0)


def test_too_few_answers_are_waited_for_past_the_deadline_and_that_is_told_once(gather: Any) -> None:
    world = World({"bob": 1.0, "alice": 21.0}, signs=("alice", "carol"))
    assert gather(world) == (["bob", "alice"], ["carol"], 21.0)
    assert world.told == [(["alice", "carol"], 10.0)]


def test_it_ends_once_all_who_are_open_are_silent_for_too_long(gather: Any) -> None:
    there, open_, _ = gather(world := World({"bob": 1.0}))
    assert (there, open_) == (["bob"], ["alice", "carol"])
    assert 30.0 <= world.now - 100.0 <= 34.0
    attempts = [attempt for party, _, attempt, _ in world.asked if party == "alice"]
    assert attempts == list(range(1, len(attempts) + 1))
    assert len(attempts) >= 5


def test_a_deadline_that_passes_between_two_looks_at_the_clock_costs_no_wait(
    monkeypatch: pytest.MonkeyPatch, gather: Any
) -> None:
    world = World({"bob": 1.0, "alice": 9.995}, signs=("carol",))
    look = World.monotonic

    def slow(self: World) -> float:
        found = look(self)
        # Just before the deadline a look at the clock takes long enough to pass it.
        self.now += 0.01 if 9.99 <= found - 100.0 < 10.0 else 0.0
        return found

    monkeypatch.setattr(World, "monotonic", slow)
    assert gather(world)[2] <= 10.02


def cohort(world: World, monkeypatch: pytest.MonkeyPatch) -> Cohort:
    monkeypatch.setattr(gathering, "time", world)
    monkeypatch.setattr("coordinator.sums.cohort.time", world)
    return Cohort(world, RULES, [], {})  # type: ignore[arg-type]


def test_who_is_late_is_absent_until_it_is_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"alice": 1.0, "bob": 2.0}, signs=("carol",))
    parties = cohort(world, monkeypatch)
    # In the order of the job, whoever is first.
    assert parties.gather(MaskedUpdate, ("alice", "carol", "bob"), 2) == ("bob", "alice")
    assert parties.absent == ["carol"]
    assert parties.reasons == {"carol": "did not answer within 10 s (params.deadline)"}
    world.now += 1.0
    assert parties.present() == ASKED
    assert parties.absent == []


def test_too_few_answers_end_the_job_with_each_ones_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    parties = cohort(World({"bob": 1.0}, {"alice": 2.0}), monkeypatch)
    with pytest.raises(JobFailed) as caught:
        parties.gather(MaskedUpdate, ASKED, 2)
    assert str(caught.value) == (
        "a round takes 2 of the 3 parties, and fewer answer: alice: alice has none; "
        "carol: gave no sign of life for 30 s (limits.silence)"
    )
