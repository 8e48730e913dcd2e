"""What a client asks of the coordinator's ledger, and what it alone is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fedbus.messages.envelope import Message


@dataclass(frozen=True, slots=True)
class ListJobs(Message):
    """Client to coordinator: which jobs are there? An operator is told all of them, anybody else their own.

    Attributes:
        limit: of the newest so many.
        unfinished: only those that have not ended.
    """

    kind: ClassVar[str] = "list_jobs"
    limit: int
    unfinished: bool


@dataclass(frozen=True, slots=True)
class ShowJob(Message):
    """Client to coordinator: what does the ledger have of this job?"""

    kind: ClassVar[str] = "show_job"


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job of the ledger, in short. Times are in seconds since the epoch.

    Attributes:
        since: when it came to its state.
        done, most: how far it has come, and how far it goes at most, in `unit` ("round" or "epoch"); done is None where
            nothing was heard of its rounds since the coordinator was started.
    """

    job: str
    name: str
    algorithm: str
    parties: list[str]
    owner: str
    state: str
    reason: str
    submitted: float
    since: float
    done: int | None
    most: int | None
    unit: str


@dataclass(frozen=True, slots=True)
class JobList(Message):
    """Coordinator to one client: the jobs it asked for, newest first.

    Attributes:
        more: there are older ones.
    """

    kind: ClassVar[str] = "job_list"
    jobs: list[JobLine]
    more: bool


@dataclass(frozen=True, slots=True)
class StateLine:
    """A state that a job came to, and when, in seconds since the epoch."""

    state: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class JobShown(Message):
    """Coordinator to one client: a job of the ledger.

    Attributes:
        refusal: why it is not shown; the rest is empty then.
        spec: the job file as it was submitted.
        states: all that the job came to, in order.
        report: as far as there is one.
    """

    kind: ClassVar[str] = "job_shown"
    refusal: str = ""
    line: JobLine | None = None
    spec: dict[str, Any] | None = None
    states: list[StateLine] | None = None
    report: dict[str, Any] | None = None
