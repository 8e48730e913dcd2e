"""The records of a store, as those see them who use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedbus.jobs import JobState


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job in the ledger; spec and report are packed by the codec.

    Attributes:
        secret: of the job's randomness; empty once the job's end has been seen through.
        owner: the broker's user who submitted it, at the coordinator.
    """

    job: str
    spec: bytes
    state: JobState
    reason: str
    report: bytes | None
    secret: bytes
    owner: str
    created_at: float


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in the inbox (peer is the sender) or the outbox (peer is the recipient)."""

    id: str
    job: str
    peer: str
    kind: str
    round: int
    batch: int
    chunk: int
    body: bytes


def to_row(message: StoredMessage, peer: str) -> dict[str, Any]:
    """A message as a row; `peer` names the column of its peer."""
    return {
        "id": message.id, "job": message.job, peer: message.peer, "kind": message.kind, "round": message.round,
        "batch": message.batch, "chunk": message.chunk, "body": message.body,
    }  # fmt: skip


def to_record(row: Sequence[Any]) -> JobRecord:
    """A row of the ledger as a record."""
    job, spec, state, reason, report, secret, owner, created_at, _ = row
    return JobRecord(job, spec, JobState(state), reason, report, secret, owner, created_at)
