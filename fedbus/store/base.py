"""What sessions and services need of a store, whatever keeps it: the memory of one process over restarts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from fedbus.audit import Head, Record
from fedbus.errors import StoreError
from fedbus.identity import Identity
from fedbus.job import JobState
from fedbus.store.records import Checkpoint, JobRecord, Sketch, StateRecord, StoredMessage, Used


class AuditLog(Protocol):
    """The audit log of one store; any thread may call it."""

    def enter(self, event: str, job: str, **fields: Any) -> None:
        """Enter a decision, which is durable when this returns; raises StoreError where it cannot be written."""

    def sign(self, identity: Identity, name: str) -> Head | None:
        """Sign the log with a member's identity; what was signed, None where a signature ends it already."""
        ...

    def records(self) -> Iterator[Record]:
        """All records in order, a few of them in memory."""
        ...


class Past(Protocol):
    """What the store remembers of its party's jobs; any thread may call it, and what it entered is durable."""

    def begin(self, job: str, dataset: str, charged: float | None) -> None:
        """Enter that a job uses a data set, and what it may spend, unless it is there."""

    def spend(self, job: str, epsilon: float | None) -> None:
        """Enter what a job has spent until now; None where that is not known any more, as it goes on."""

    def enter_rows(self, job: str, sketch: Sketch) -> None:
        """Enter which rows a job uses."""

    def drop(self, job: str) -> None:
        """Forget a job that used nothing in the end, and spent nothing."""

    def used(self, job: str) -> Used | None:
        """The use by a job; None where there is none."""
        ...

    def uses(self, dataset: str) -> list[Used]:
        """The uses of a data set, oldest first."""
        ...

    def since(self, at: float) -> list[Used]:
        """The uses that began after a time, in seconds since 1970."""
        ...

    def sketch(self, ids: Sequence[str]) -> Sketch:
        """A sketch of the rows of these ids under the store's key."""
        ...


class Store(Protocol):
    """The store of one process, which holds it alone until it is closed. All methods may be called from any thread.

    Every method raises StoreError where the store cannot be read or written, StoreFull where its disk is full, and
    StoreDamaged where a record is not the one that was written. What a method wrote is durable when it returns.

    Attributes:
        place: what errors call the store: its file, or its database.
        lost: a sentence on entries that the store once had and has no more; empty where all is there. What it has is
            consistent, but jobs have gone on from where it is.
    """

    place: str
    lost: str

    @property
    def audit(self) -> AuditLog:
        """What a party decided and sent."""
        ...

    @property
    def past(self) -> Past:
        """What a party remembers of its jobs."""
        ...

    def close(self) -> None:
        """Give the store free for another process. Idempotent."""

    def add_job(self, job: str, spec: bytes, state: JobState, reason: str = "", owner: str = "") -> bool:
        """Enter a job with a new secret; False where it is in the ledger already."""

    def set_state(self, job: str, state: JobState, reason: str = "", report: bytes | None = None) -> bool:
        """Move a job to a state; False where it has ended, or is to be cancelled and this is no end.

        An end with the report PROVISIONAL may be replaced by another end.
        """

    def begin(self, job: str) -> float:
        """Enter that a job's work begins, unless it has; when it began, in seconds since 1970."""

    def purge(self, *jobs: str) -> None:
        """Overwrite all that jobs needed only to go on: messages, checkpoints, secrets. Their ends are seen through."""

    def job(self, job: str) -> JobRecord | None:
        """A job of the ledger; raises StoreError where its record is damaged."""

    def jobs(self) -> list[JobRecord]:
        """All jobs whose records are sound, oldest first."""

    def newest(
        self, *, owner: str | None = None, unfinished: bool = False, before: tuple[float, str] | None = None
    ) -> Iterator[JobRecord]:
        """The newest jobs first, whose records are sound; a few are in memory.

        Args:
            owner: of this one only.
            unfinished: only those that have not ended.
            before: only those entered before this time, or then and of an earlier id.
        """

    def history(self, job: str) -> list[StateRecord]:
        """The states that a job came to, in order; a state that was entered again is there again."""

    def unfinished(self) -> list[JobRecord]:
        """The jobs that were not purged, oldest first: interrupted, or ended without all that the end entails."""

    def damaged(self) -> dict[str, StoreError]:
        """The jobs whose records in the ledger are damaged, and what a reader of each is told."""

    def give_up(self, job: str, reason: str) -> JobRecord:
        """Enter the failure of a job whose record is damaged, keeping of it what can be read."""

    def count_jobs(self) -> dict[JobState, int]:
        """How many jobs there are in each state."""

    def write(
        self,
        job: str,
        *,
        received: Sequence[StoredMessage] = (),
        posted: Sequence[StoredMessage] = (),
        checkpoint: Checkpoint | None = None,
    ) -> list[bool]:
        """Journal what happened in a job, in one transaction.

        Args:
            received: for the inbox.
            posted: for the outbox.
            checkpoint: replaces the last one.

        Returns:
            Of each message posted whether it is new; where it is not, the outbox has what was sent before.
        """

    def forget(self, job: str, covered: int | None, trims: Mapping[str, int]) -> None:
        """Drop messages that no restart needs.

        Args:
            covered: the round of a checkpoint: received ones up to it; None for none.
            trims: for each recipient the round up to which it has checkpointed what it was sent.
        """

    def posted(self, job: str, message_id: str) -> bytes | None:
        """The body of a message in the outbox."""

    def inbox(self, job: str, after: int = -1) -> Iterator[StoredMessage]:
        """The messages of a job of rounds after this one; a few at a time are in memory."""

    def received(self, job: str, message_id: str) -> bytes | None:
        """The body of a message in the inbox."""

    def sent_after(self, job: str, recipient: str, round_: int) -> Iterator[StoredMessage]:
        """What a recipient was sent after a round and has not checkpointed, in order; a few are in memory."""

    def last_posted(self, job: str) -> int:
        """The last round of a job in which something was sent that is in the outbox; -1 where there is nothing."""

    def decided(self, job: str, kind: str, round_: int) -> bytes | None:
        """The body of a message of this kind and round that was sent, to whomever."""

    def outbox(self, job: str, place: tuple[str, str, int, int] | None = None) -> Iterator[StoredMessage]:
        """The messages of a job that were sent and that not all have checkpointed, in order; a few are in memory.

        Args:
            place: only the chunks of this (recipient, kind, round, batch).
        """

    def put_proof(self, job: str, name: str, proof: bytes) -> None:
        """Keep what a member signed for a job: its submitter the job, a participant its public key."""

    def proofs(self, job: str) -> dict[str, bytes]:
        """What members signed for a job, by their names."""

    def last_checkpoint(self, job: str) -> tuple[int, bytes] | None:
        """Round and state of a job's checkpoint."""

    def blob(self, job: str, name: str) -> bytearray | None:
        """A blob of a job's checkpoint."""

    def save_model(self, job: str, share: bytes) -> None:
        """Keep this party's share of a model."""

    def model(self, job: str) -> bytes | None:
        """This party's share of the model that a job trained."""
