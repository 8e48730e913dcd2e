"""These are the records of a store, in the form in which those who use the store see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedbus.job import JobState

Buffer = bytes | bytearray | memoryview

# In place of the report, with an end that a process entered because it did not hear of one: an empty map.
PROVISIONAL = b"\x80"
# Digests of a sketch at most.
SKETCHED = 1024


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job in the ledger; spec and report are packed by the codec.

    Attributes:
        secret: of the job's randomness; empty once the job's end has been seen through.
        owner: the broker's user who submitted it, at the coordinator.
        created_at, updated_at: when it was entered, and when it came to its state; seconds since 1970.
        started_at: when its work began; None where it has not.
    """

    job: str
    spec: bytes
    state: JobState
    reason: str
    report: bytes | None
    secret: bytes
    owner: str
    created_at: float
    updated_at: float
    started_at: float | None = None

    def may_become(self, state: JobState) -> bool:
        """Return whether a job may move to a state from the one that it has."""
        if self.state.final:
            return state.final and self.report == PROVISIONAL
        return self.state is not JobState.CANCELLING or state.final


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A state to which a job came; `at` is in seconds since 1970."""

    state: JobState
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in the inbox (peer is the sender) or the outbox (peer is the recipient).

    Attributes:
        shape: of what a message to be sent releases, for the audit log; None for one that is not entered there. It is
            no part of the record.
    """

    id: str
    job: str
    peer: str
    kind: str
    round: int
    batch: int
    chunk: int
    body: bytes
    shape: str | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a job's computation at the end of a round.

    Attributes:
        state: packed by the codec.
        blobs: by name, what is too long to be copied with the state; those that are not named stay as they were.
    """

    round: int
    state: bytes
    blobs: Mapping[str, Buffer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sketch:
    """Which rows a job used.

    Attributes:
        rows: how many.
        least: the least digests of their ids, in order, SKETCHED at most.
    """

    rows: int
    least: tuple[bytes, ...]

    def resemblance(self, other: Sketch) -> float:
        """The part of the rows of both together that both have: 0 for none, 1 for the same rows."""
        both = set(self.least) & set(other.least)
        # Beyond the shorter sketch's last digest that one has no say, unless it has all of its rows.
        least = sorted({*self.least, *other.least})[:SKETCHED]
        return sum(each in both for each in least) / len(least) if least else 1.0


@dataclass(frozen=True, slots=True)
class Used:
    """The use of a data set by a job.

    Attributes:
        at: when it began, in seconds since 1970.
        charged: the epsilon that it may spend; None where its data set had no budget.
        spent: what it did spend until now, None while nothing is known.
        sketch: of the rows, once they are known.
    """

    job: str
    dataset: str
    at: float
    charged: float | None = None
    spent: float | None = None
    sketch: Sketch | None = None


def to_row(message: StoredMessage) -> tuple[Any, ...]:
    """Return a message as the values of a record of the inbox or the outbox."""
    place = (message.round, message.batch, message.chunk)
    return (message.id, message.job, message.peer, message.kind, *place, message.body)


def to_record(row: Sequence[Any]) -> JobRecord:
    """Make a job's record of the values that the ledger has of it."""
    job, spec, state, reason, report, secret, owner, *times = row
    return JobRecord(job, spec, JobState(state), reason, report, secret, owner, *times)


def to_entry(record: JobRecord) -> tuple[Any, ...]:
    """Return a job as the values of a record of the ledger."""
    told = (record.job, record.spec, record.state.value, record.reason, record.report, record.secret, record.owner)
    return (*told, record.created_at, record.updated_at, record.started_at)
