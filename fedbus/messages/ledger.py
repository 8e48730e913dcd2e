"""With these messages a client asks about the coordinator's ledger, and is told what nobody else is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from fedbus.messages.envelope import CLIENT, COORDINATOR, Message
from fedbus.messages.fields import Address, Count, Finite, Names, Text, Word, check_plain

# A line is a few hundred bytes, and an answer is one message.
MAX_LINES = 1000


@dataclass(frozen=True, slots=True)
class ListJobs(Message):
    """Client to coordinator: which jobs are there? An operator is told all of them, anybody else their own.

    Attributes:
        limit: of the newest so many.
        unfinished: only those that have not ended.
        before: only those submitted before this (time, job): the last of an answer that said there are more.
    """

    kind: ClassVar[str] = "list_jobs"
    senders: ClassVar[tuple[str, ...]] = (CLIENT,)
    limit: Count
    unfinished: bool
    before: tuple[Finite, Address] | None = None


@dataclass(frozen=True, slots=True)
class ShowJob(Message):
    """Client to coordinator: what does the ledger have of this job?"""

    kind: ClassVar[str] = "show_job"
    senders: ClassVar[tuple[str, ...]] = (CLIENT,)


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job of the ledger, in short. Times are in seconds since the epoch.

    Attributes:
        since: when it came to its state.
        done, most: how far it has come, and how far it goes at most, in `unit` ("round" or "epoch"); done is None where
            nothing was heard of its rounds since the coordinator was started.
    """

    job: Address
    name: Address
    algorithm: Word
    parties: Names
    owner: Address
    state: Word
    reason: Text
    submitted: Finite
    since: Finite
    done: Count | None
    most: Count | None
    unit: Word


JobLines = Annotated[list[JobLine], Meta(max_length=MAX_LINES)]


@dataclass(frozen=True, slots=True)
class JobList(Message):
    """Coordinator to one client: the jobs it asked for, newest first; as many as fit one message.

    Attributes:
        more: there are older ones.
    """

    kind: ClassVar[str] = "job_list"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    jobs: JobLines
    more: bool


@dataclass(frozen=True, slots=True)
class StateLine:
    """A state that a job came to, and when, in seconds since the epoch."""

    state: Word
    reason: Text
    at: Finite


StateLines = Annotated[list[StateLine], Meta(max_length=MAX_LINES)]


@dataclass(frozen=True, slots=True)
class JobShown(Message):
    """Coordinator to one client: a job of the ledger.

    Attributes:
        refusal: why it is not shown; the rest is empty then.
        known: there is such a job.
        spec: what the job file says, as a map: neither its comments nor its order.
        states: all that the job came to, in order; the last ones where there are too many.
        report: as far as there is one; its longest lists are cut where it does not fit.
    """

    kind: ClassVar[str] = "job_shown"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    refusal: Text = ""
    known: bool = True
    line: JobLine | None = None
    spec: dict[str, Any] | None = None
    states: StateLines | None = None
    report: dict[str, Any] | None = None

    def check(self) -> None:
        check_plain(self.spec, "spec", finite=False)
        check_plain(self.report, "report", finite=False)
