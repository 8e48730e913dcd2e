"""Questions to an operator and the answers: who may read them, how long they stay, and what is no answer."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedbus.cli import app
from fedbus.cli.app import invoke
from fedbus.errors import ConfigError, JobFailed, JobRefused, NotFound, PeerSilent, StoreError
from fedbus.settings import load_party
from fedbus.statuses import Status
from parties.approval import Approvals, OperatorAnswer, check_answer

FACTS = {"submitter": "olga", "algorithm": "fedavg", "dataset": "users", "parties": ["bank", "shop"], "rounds": 3}


class Waiting:
    """A session that waits: each look is one step of the test, after which the job has failed."""

    def __init__(self, job: str, *steps: Any) -> None:
        self.job, self.steps, self.told = job, list(steps), list[str]()
        self.spec = SimpleNamespace(limits=SimpleNamespace(join=60.0, silence=5.0))
        self.attendance, self.coordinator, self.quiet = self, "coordinator", 0.0

    def silence(self, _: str, __: float) -> float:
        return self.quiet

    def tell(self, sentence: str) -> None:
        self.told.append(sentence)

    def wait_until(self, _: Any, __: float) -> bool:
        if not self.steps:
            raise JobFailed("the coordinator ended the job")
        self.steps.pop(0)()
        return False


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "bank.toml"
    made.write_text('name = "bank"\nstate = "state/bank.db"\n[datasets.users]\nsource = "u.csv"\nid = "id"\n')
    return made


@pytest.fixture
def approvals(file: Path) -> Approvals:
    return Approvals.of(load_party(file, {}))


def wait(approvals: Approvals, job: str, *steps: Any) -> tuple[OperatorAnswer, list[str]]:
    session: Any = Waiting(job, *steps)
    return approvals.wait(session, FACTS), session.told


def ask(approvals: Approvals, job: str) -> None:
    """Have a job wait, and its process die over it."""
    with pytest.raises(JobFailed):
        wait(approvals, job)


def test_a_job_waits_until_its_operator_approves_and_watchers_are_told(
    approvals: Approvals, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing() -> None:
        assert [question["job"] for question in approvals.pending()] == ["job-1"]

    answer, told = wait(
        approvals, "job-1", nothing, nothing, lambda: invoke(app, ["party", "approve", str(file), "job-1"])
    )
    assert answer.approved
    check_answer(answer)
    assert len(told) == 1
    assert "operator" in told[0]
    assert "limits.join (60 s)" in told[0]
    assert capsys.readouterr().out.endswith("bank: job job-1 approved\n")


def test_a_job_that_is_rejected_says_why(approvals: Approvals, file: Path) -> None:
    reject = ["party", "reject", str(file), "job-1", "--why", "not agreed"]
    answer, _ = wait(approvals, "job-1", lambda: invoke(app, reject))
    with pytest.raises(JobRefused, match=r"operator does not approve .*`ask`.*: not agreed"):
        check_answer(answer)


def test_a_coordinator_that_is_gone_is_not_waited_for(approvals: Approvals) -> None:
    session: Any = Waiting("job-1")
    session.steps.append(lambda: setattr(session, "quiet", 5.0))
    with pytest.raises(PeerSilent, match=r"coordinator gave no sign of life for 5 s .*operator"):
        approvals.wait(session, FACTS)


def test_an_answer_outlives_the_process_and_nobody_is_asked_twice(approvals: Approvals) -> None:
    ask(approvals, "job-1")
    approvals.answer("job-1", approved=True)
    assert approvals.pending() == []
    assert wait(approvals, "job-1")[0].approved
    with pytest.raises(NotFound, match="no job does"):
        approvals.answer("job-1", approved=False)
    approvals.forget("job-1")
    ask(approvals, "job-1")
    assert len(approvals.pending()) == 1


def test_only_the_own_user_reads_and_writes(approvals: Approvals) -> None:
    ask(approvals, "job-1")
    approvals.answer("job-1", approved=True)
    assert stat.S_IMODE(approvals.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in approvals.folder.iterdir()} == {0o600}
    # A folder that others could write to is closed before anybody is asked.
    approvals.folder.chmod(0o777)
    with pytest.raises(JobFailed):
        wait(approvals, "job-2")
    assert stat.S_IMODE(approvals.folder.stat().st_mode) == 0o700


def test_what_is_left_of_other_jobs_is_removed(approvals: Approvals) -> None:
    approvals.keep_only([])
    for job in ("job-1", "job-2"):
        ask(approvals, job)
        approvals.answer(job, approved=True)
    approvals.keep_only(["job-2"])
    assert sorted(path.name for path in approvals.folder.iterdir()) == ["job-2.answer.json", "job-2.question.json"]


@pytest.mark.parametrize("text", ["", "true", '{"approved": 1, "by": "x", "at": "y"}', '{"approved": true}'])
def test_what_is_no_answer_approves_nothing(approvals: Approvals, text: str) -> None:
    ask(approvals, "job-1")
    (approvals.folder / "job-1.answer.json").write_text(text)
    with pytest.raises(StoreError, match="remove it, and answer again"):
        wait(approvals, "job-1")


def test_answers_to_what_does_not_wait_are_refused(approvals: Approvals) -> None:
    ask(approvals, "job-1")
    with pytest.raises(NotFound, match="did you mean 'job-1'"):
        approvals.answer("job-2", approved=True)
    with pytest.raises(NotFound):
        approvals.answer("../job-1", approved=True)
    with pytest.raises(ConfigError, match="--why: has 1001 characters"):
        approvals.answer("job-1", approved=False, why="x" * 1001)


def test_what_waits_is_listed_with_what_it_asks_for(
    approvals: Approvals, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(app, ["party", "pending", str(file)]) == Status.DONE
    assert capsys.readouterr().out == "no job waits\n"
    ask(approvals, "job-1")
    assert invoke(app, ["party", "pending", str(file)]) == Status.DONE
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("job-1", "olga", "fedavg", "users", "bank, shop", "rounds"))
    assert invoke(app, ["party", "pending", str(file), "--json", "-"]) == Status.DONE
    (question,) = json.loads(capsys.readouterr().out)["pending"]
    assert {**FACTS, "job": "job-1"}.items() <= question.items()
    assert invoke(app, ["party", "approve", str(file), "job-9"]) == Status.NOT_FOUND
