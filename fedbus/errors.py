"""Every error that fedbus raises, as one tree.

    FedbusError
    ├── ConfigError            a job file, a party file or an environment variable is wrong
    │   └── NoPredictions      the folder for predictions takes none
    ├── DataError              a data source is wrong; names file, column and row
    │   └── NoSuchLabel        it has no column of the label's name
    ├── JobError
    │   ├── JobRefused         the coordinator or a party does not accept the job
    │   └── JobFailed          the job ended without a model; says why
    │       └── TrainingDiverged   a network's weights or loss are not finite
    ├── ProtocolError          a peer did what the protocol does not allow
    │   ├── DecodeError        bytes that are no valid message
    │   ├── WrongKey           ciphertexts of another key than the job's
    │   ├── PeerFailed         a peer reported that it failed
    │   └── PeerSilent         a peer sent nothing for too long
    ├── CryptoError            arithmetic that cannot be done safely
    │   ├── FixedPointOverflow a value outside the range of its encoding
    │   ├── InvalidCiphertext  a number that is no ciphertext of the key
    │   └── InvalidPoint       bytes that are no element of the group
    ├── BrokerError
    │   ├── ConnectionLost     the broker cannot be reached; may pass
    │   │   └── Untrusted      it or this side does not accept the other's certificate
    │   ├── Nacked             the broker did not take the message; may pass
    │   ├── Congested          too many messages wait for the broker already; may pass
    │   ├── Unroutable         no queue takes the message
    │   └── AccessRefused      the broker does not allow it
    ├── StoreError
    │   ├── StoreInUse         another process works on the same store
    │   ├── StoreFull          its disk is full; may pass
    │   ├── StoreLost          it was deleted, moved or replaced
    │   └── StoreDamaged       what it gives back is not what it was given
    ├── NotFound               there is no such job, or no such model in the store
    └── OutputError            what was done cannot be shown, or not written to the file that was named for it
        └── ReaderGone         whoever read standard output wants no more

The class says what an operator can do about it, the exit status of the command line, and what other participants are
told: the text where `tells_text`, as it is about the job or the protocol, and otherwise the kind of trouble only. A
text may name files and hold what follows from cells, and a job's submitter could ask for it as often as he likes.
"""

from __future__ import annotations

from typing import Any

from fedbus.statuses import Status


class FedbusError(Exception):
    """Base of all errors of fedbus.

    Attributes:
        tells_text: whether the text may leave the process.
        kind: what others are told in its place.
    """

    exit_status = Status.OTHER
    tells_text = False
    kind = "an error"

    @property
    def told(self) -> str:
        """What other participants are told; the process's own log has the text."""
        return str(self) if self.tells_text else f"{self.kind}; its log says more"


class ConfigError(FedbusError):
    """A job file, a party file or an environment variable is wrong; the message names the setting."""

    exit_status = Status.CONFIGURATION
    kind = "its configuration does not allow the job"


class NoPredictions(ConfigError):
    """The folder that a party file names for predictions of held-out rows takes none."""

    kind = "it cannot write its predictions of held-out rows"


class DataError(FedbusError):
    """A data source is missing or wrong; the message names file, column and row, never the value of a cell."""

    exit_status = Status.DATA
    kind = "its data do not fit the job"


class NoSuchLabel(DataError):
    """The data source has no column of the name that the job gives as the label."""

    kind = "its data have no column of the label's name"


class JobError(FedbusError):
    """A job cannot be run or did not end well; the message holds nothing of a party's data."""

    exit_status = Status.JOB
    tells_text = True


class JobRefused(JobError):
    """The coordinator or a party does not accept the job."""


class JobFailed(JobError):
    """The job ended without a model."""


class TrainingDiverged(JobFailed):
    """The network's weights or loss are not finite; the message names the setting to change."""


class ProtocolError(FedbusError):
    """A peer did what the protocol does not allow; the message is about what the peer sent."""

    exit_status = Status.PROTOCOL
    tells_text = True


class DecodeError(ProtocolError):
    """The bytes are no valid message.

    Attributes:
        raw: the bytes, for the dead-letter queue.
        about: the message's envelope without its payload, where so much could be read; None elsewhere.
        why: one word for the metric `fedbus_refused_total`.
        sealed_by: the sender, where its seal proves that this was its message; empty elsewhere.
    """

    def __init__(self, reason: str, raw: bytes = b"", *, why: str = "malformed") -> None:
        super().__init__(reason)
        self.raw = raw
        self.why = why
        self.about: Any = None
        self.sealed_by = ""


class WrongKey(ProtocolError):
    """Ciphertexts were made under another key than the job's."""


class PeerFailed(ProtocolError):
    """A peer reported that it failed; the message is its reason."""


class PeerSilent(ProtocolError):
    """A peer sent nothing for longer than the job allows."""


class CryptoError(FedbusError):
    """Arithmetic that cannot be done safely; the message is about keys, shares and ciphertexts."""

    tells_text = True


class FixedPointOverflow(CryptoError):
    """A value is outside the range of its fixed-point encoding; the message may count a party's values."""

    tells_text = False
    kind = "a value is outside the range of the job's fixed point"


class InvalidCiphertext(CryptoError):
    """A number that is no ciphertext of the key (zero, too large, or not a unit)."""


class InvalidPoint(CryptoError):
    """Bytes that are no element of the group, or its identity."""


class BrokerError(FedbusError):
    """The message broker did not do what was asked."""

    exit_status = Status.BROKER
    kind = "its broker did not do what it asked"


class ConnectionLost(BrokerError):
    """The broker cannot be reached; this may pass."""


class Untrusted(ConnectionLost):
    """The broker or this side does not accept the other's certificate; this passes when somebody mends it."""


class Nacked(BrokerError):
    """The broker refused to take the message for now; this may pass."""


class Congested(BrokerError):
    """Too many messages wait for the broker to confirm them, and the publisher does not wait; this may pass."""


class Unroutable(BrokerError):
    """No queue takes the message: its recipient is not known to the broker."""


class AccessRefused(BrokerError):
    """The broker does not allow it: wrong password or no permission."""


class StoreError(FedbusError):
    """The local store cannot be read or written."""

    exit_status = Status.STORE
    kind = "its store cannot be read or written"


class StoreInUse(StoreError):
    """Another process works on the same store."""


class StoreFull(StoreError):
    """The disk of the store is full; this may pass."""

    kind = "its disk is full"


class StoreLost(StoreError):
    """The store was deleted, moved or replaced while the process works on it."""

    kind = "its store was lost or replaced"


class StoreDamaged(StoreError):
    """What the store gives back is not what it was given."""

    kind = "its store is damaged"


class NotFound(FedbusError):
    """There is no job, or no model, of the name that was asked for; the message says where it would be."""

    exit_status = Status.NOT_FOUND
    kind = "it was asked for what it does not have"


class OutputError(FedbusError):
    """All was done, but its result cannot be shown, or not written to the file that was named for it."""

    exit_status = Status.OUTPUT
    kind = "its output cannot be written"


class ReaderGone(OutputError):
    """Whoever read standard output wants no more, as `head` does; the status is the one that shells give for it."""

    exit_status = Status.READER_GONE
