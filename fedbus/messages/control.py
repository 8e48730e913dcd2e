"""Jobs and their events: between clients, the coordinator and the parties."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import Any, ClassVar

from fedbus.messages.envelope import CLIENT, COORDINATOR, PARTIES, Message
from fedbus.messages.fields import (
    MAX_ADDRESS,
    MAX_TEXT,
    Address,
    Batch,
    Chunks,
    Columns,
    Count,
    Round,
    Seconds,
    Signature,
    Text,
    Word,
    check_map,
    check_plain,
)
from fedbus.names import Name

# Of a party's figures: cells of its tables that were filled, or unknown, rows that were left out, and held-out rows
# that have ids of training rows; what else the report counts; and how good its predictions are.
CELL_COUNTS = ("missing_cells", "left_out_rows", "test_missing_cells", "test_unknown_levels", "test_training_ids")
_COUNTS = ("bytes_sent", "peak_memory_bytes", "clipped", "columns", *CELL_COUNTS)
_SCORES = ("train", "test")


@dataclass(frozen=True, slots=True)
class Submit(Message):
    """Client to coordinator: run this job.

    Attributes:
        signature: of the job by its submitter; see fedbus.seals.sign.
    """

    kind: ClassVar[str] = "submit"
    senders: ClassVar[tuple[str, ...]] = (CLIENT,)
    spec: dict[str, Any]
    signature: Signature

    def check(self) -> None:
        # The rest is the job's own to say, with the key's name.
        check_plain(self.spec, "spec", finite=False)


@dataclass(frozen=True, slots=True)
class Query(Message):
    """Client to coordinator: publish the job's state again."""

    kind: ClassVar[str] = "query"
    senders: ClassVar[tuple[str, ...]] = (CLIENT,)


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """Client to coordinator: end the job."""

    kind: ClassVar[str] = "cancel"
    senders: ClassVar[tuple[str, ...]] = (CLIENT,)


@dataclass(frozen=True, slots=True)
class Start(Message):
    """Coordinator to a party: take part in this job.

    Attributes:
        owner: who submitted the job.
        signature: of the job, as in Submit.
        accepted: the party has said that it does; one that knows nothing of it must not begin again.
    """

    kind: ClassVar[str] = "start"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    spec: dict[str, Any]
    owner: Name
    signature: Signature
    accepted: bool = False

    def check(self) -> None:
        check_plain(self.spec, "spec", finite=False)


@dataclass(frozen=True, slots=True)
class Inquire(Message):
    """To the process of a silent participant: a party says whether it has the job not, the coordinator how it ended."""

    kind: ClassVar[str] = "inquire"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR, *PARTIES)


@dataclass(frozen=True, slots=True)
class Departed(Message):
    """Party to the coordinator's process: it has seen the job through, and reads the job's queue no more."""

    kind: ClassVar[str] = "departed"
    senders: ClassVar[tuple[str, ...]] = PARTIES


@dataclass(frozen=True, slots=True)
class Outcome(Message):
    """Coordinator to a party: how the job ended."""

    kind: ClassVar[str] = "outcome"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    state: Word
    reason: Text


@dataclass(frozen=True, slots=True)
class Accepted(Message):
    """Party to coordinator: its data is read and its policy agrees.

    Attributes:
        rows: of its tables before alignment.
        metrics: the address of its /metrics page.
    """

    kind: ClassVar[str] = "accepted"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    rows: dict[str, Count]
    columns: Columns
    metrics: Address

    def check(self) -> None:
        check_plain(self.rows, "rows")
        check_map(self.rows, "rows", of=int, needed=("train", "test"))


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """Party to coordinator: it cannot go on. The reason is what its error tells others: see fedbus.errors."""

    kind: ClassVar[str] = "failed"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    reason: Text


@dataclass(frozen=True, slots=True)
class Finished(Message):
    """Party to coordinator: its part is done; what it adds to the report."""

    kind: ClassVar[str] = "finished"
    senders: ClassVar[tuple[str, ...]] = PARTIES
    figures: dict[str, Any]

    def check(self) -> None:
        check_plain(self.figures, "figures")
        counts = {key: self.figures[key] for key in _COUNTS if key in self.figures}
        check_map(counts, "figures", of=int, needed=("bytes_sent", "peak_memory_bytes"))
        page = self.figures.get("metrics", "")
        if not isinstance(page, str) or len(page) > MAX_ADDRESS:
            raise ValueError(f"figures.metrics: an address has at most {MAX_ADDRESS} characters")
        written = self.figures.get("predictions", {})
        if not isinstance(written, dict) or (written and not isinstance(written.get("written"), bool)):
            raise ValueError("figures.predictions: does not say whether they are written")
        told = {key: written[key] for key in ("file", "reason") if key in written}
        if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in told.values()):
            raise ValueError(f"figures.predictions: a file and a reason have at most {MAX_TEXT} characters")
        for key in _SCORES:
            if key in self.figures:
                check_map(self.figures[key], f"figures.{key}", of=(int, float, NoneType))


@dataclass(frozen=True, slots=True)
class Resend(Message):
    """To a peer whose message is missing: publish it again from the outbox."""

    kind: ClassVar[str] = "resend"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR, *PARTIES)
    wanted: Word
    round: Round
    batch: Batch
    missing: Chunks


@dataclass(frozen=True, slots=True)
class ResendAfter(Message):
    """To a peer of whom it is not known what it sends next: publish again all that it sent here after a round."""

    kind: ClassVar[str] = "resend_after"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR, *PARTIES)
    round: Round


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """To a peer that was not heard for a while: give a sign of life."""

    kind: ClassVar[str] = "ping"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR, *PARTIES)


@dataclass(frozen=True, slots=True)
class Alive(Message):
    """Answer to Ping, and to who asks for a message that is still to come: the process lives."""

    kind: ClassVar[str] = "alive"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR, *PARTIES)


@dataclass(frozen=True, slots=True)
class StateChanged(Message):
    """The job's state, with the report once it has ended."""

    kind: ClassVar[str] = "state"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR, *PARTIES)
    state: Word
    reason: Text = ""
    report: dict[str, Any] | None = None

    def check(self) -> None:
        # A report that cannot be shown in full is worth more than none.
        check_plain(self.report, "report", finite=False)


@dataclass(frozen=True, slots=True)
class Notice(Message):
    """What whoever watches should know of a job that goes on: who is missing, and why."""

    kind: ClassVar[str] = "notice"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR, *PARTIES)
    text: Text


@dataclass(frozen=True, slots=True)
class Progress(Message):
    """A training round is done.

    Attributes:
        test_loss: on held-out rows, of the model that the round began with; None where there are none.
    """

    kind: ClassVar[str] = "progress"
    senders: ClassVar[tuple[str, ...]] = (COORDINATOR,)
    round: Count
    epoch: Count
    loss: float
    seconds: Seconds
    test_loss: float | None = None


# What a client is told of a job.
Event = StateChanged | Progress | Notice
