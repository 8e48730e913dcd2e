"""The rules that remember: what earlier jobs used and spent, in a real store, whatever became of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedbus.errors import JobRefused
from fedbus.job import JobState
from fedbus.store.sqlite import SqliteStore
from parties.past import Remembered
from parties.policy import Policy

Use = Callable[..., Remembered]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "bank.db") as made:
        yield made


@pytest.fixture
def use(store: SqliteStore) -> Use:
    """Makes the use of data set `rows` by a job, which is entered in the ledger."""

    def made(job: str, may_spend: float | None = None, **rules: Any) -> Remembered:
        store.add_job(job, b"spec", JobState.RUNNING)
        spec = SimpleNamespace(part_of=lambda _: SimpleNamespace(dataset="rows"), epsilon=may_spend)
        session: Any = SimpleNamespace(job=job, party="bank", spec=spec, when_there_is_room=lambda work: work())
        return Remembered(session, store, Policy(**rules))

    return made


def names(first: int, last: int) -> list[str]:
    return [f"id{number}" for number in range(first, last)]


def test_a_budget_counts_what_running_jobs_may_spend_and_ended_ones_did(store: SqliteStore, use: Use) -> None:
    rules: dict[str, Any] = {"epsilon": {"rows": 5.0}}
    first = use("first", 3.0, **rules)
    first.begin()
    first.spent(1.0)
    # It runs: it may still spend all of it.
    with pytest.raises(JobRefused, match=r"epsilon of 2\.5 .*'rows'.* is 5 .*3 of it spent .*`epsilon`.* to 2,"):
        use("second", 2.5, **rules).begin()
    store.set_state("first", JobState.FAILED)
    use("second", 2.5, **rules).begin()
    with pytest.raises(JobRefused, match=r"lower privacy\.epsilon to 1\.5"):
        use("third", 2.0, **rules).begin()
    use("third", 1.5, **rules).begin()
    with pytest.raises(JobRefused, match="nothing is left"):
        use("fourth", 0.1, **rules).begin()


def test_a_job_that_ended_without_a_word_of_what_it_spent_counts_in_full(store: SqliteStore, use: Use) -> None:
    use("first", 3.0, epsilon={"rows": 5.0}).begin()
    store.set_state("first", JobState.FAILED)
    with pytest.raises(JobRefused, match="3 of it spent"):
        use("second", 2.5, epsilon={"rows": 5.0}).begin()


def test_what_a_job_had_spent_before_a_restart_is_not_all_that_it_spent(store: SqliteStore, use: Use) -> None:
    rules: dict[str, Any] = {"epsilon": {"rows": 5.0}}
    first = use("first", 3.0, **rules)
    first.begin()
    first.spent(1.0)
    # It goes on, trains, and is killed: nobody says any more what it spent.
    use("first", 3.0, **rules).go_on()
    store.set_state("first", JobState.FAILED)
    with pytest.raises(JobRefused, match="3 of it spent"):
        use("second", 2.5, **rules).begin()


def test_what_jobs_spent_before_there_was_a_budget_counts(use: Use) -> None:
    use("first", 3.0).begin()
    with pytest.raises(JobRefused, match="`epsilon`"):
        use("second", 2.5, epsilon={"rows": 5.0}).begin()


def test_a_restart_charges_once_and_what_did_not_begin_is_given_back(store: SqliteStore, use: Use) -> None:
    rules: dict[str, Any] = {"epsilon": {"rows": 5.0}}
    use("first", 3.0, **rules).begin()
    again = use("first", 3.0, **rules)
    again.begin()
    # Entered in an earlier life of the process, in which it may have begun.
    again.take_back()
    assert [each.job for each in store.past.uses("rows")] == ["first"]
    waited = use("second", 2.0, **rules)
    waited.begin()
    waited.take_back()
    use("third", 2.0, **rules).begin()


def test_so_many_jobs_a_day(store: SqliteStore, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for number, ago in enumerate([25 * 3600, 23 * 3600, 3600]):
        monkeypatch.setattr(time, "time", lambda ago=ago: now - ago)
        use(f"job{number}", max_jobs_per_day=2).begin()
    monkeypatch.setattr(time, "time", lambda: now)
    free = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now + 3600))
    with pytest.raises(JobRefused, match=rf"2 jobs .*allows 2 \(`max_jobs_per_day`\).*after {free} UTC"):
        use("one more", max_jobs_per_day=2).begin()
    use("one more", max_jobs_per_day=3).begin()
    assert len(store.past.since(now - 1)) == 1


def test_nearly_the_same_rows_are_refused_and_others_are_not(use: Use) -> None:
    rules: dict[str, Any] = {"max_similar_jobs": 2}

    def trains(job: str, ids: list[str]) -> None:
        made = use(job, **rules)
        made.begin()
        made.on(ids)

    trains("all", names(0, 500))
    trains("all but one", names(1, 500))
    # Half of them: no difference of a few rows.
    trains("half", names(0, 250))
    with pytest.raises(JobRefused, match=r"2 jobs .*499 rows.*allows 2 \(`max_similar_jobs`\).*differ.*few rows"):
        trains("all but another", [*names(0, 400), *names(401, 500)])
    trains("others", names(1000, 1500))


def test_sketches_of_many_rows_tell_how_alike_they_are(store: SqliteStore) -> None:
    base = store.past.sketch(names(0, 20_000))
    assert base.resemblance(store.past.sketch(list(reversed(names(0, 20_000))))) == 1.0
    assert base.resemblance(store.past.sketch(names(30_000, 50_000))) < 0.05
    # 18000 of 22000 together are common.
    assert abs(base.resemblance(store.past.sketch(names(2_000, 22_000))) - 18 / 22) < 0.06


def test_sketches_are_kept_and_another_store_s_are_others(store: SqliteStore, use: Use, tmp_path: Path) -> None:
    made = use("job")
    made.begin()
    made.on(names(0, 50))
    found = store.past.used("job")
    assert found is not None
    assert found.sketch == store.past.sketch(names(0, 50))
    with SqliteStore(tmp_path / "other.db") as other:
        assert not set(other.past.sketch(names(0, 50)).least) & set(found.sketch.least)
