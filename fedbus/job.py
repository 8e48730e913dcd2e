"""What every job has, whatever its algorithm: names, parts, limits, states."""

from __future__ import annotations

import enum
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from fedbus.errors import ConfigError
from fedbus.names import Name, unknown

COORDINATOR = "coordinator"
# What a coordinator says of a job that it does not have, in place of a state.
UNKNOWN = "unknown"
MIN_KEY_BITS = 2048
MIN_TEST_KEY_BITS = 512
MAX_KEY_BITS = 8192
# The report has the loss of each round, and has to fit one message.
MAX_ROUNDS = 100_000

# As small and as large as anything sensible, so that neither infinity nor what becomes it gets into arithmetic.
_SMALL, _LARGE = 1e-12, 1e12
MAX_WAIT = 7 * 24 * 3600.0

Positive = Annotated[float, Meta(ge=_SMALL, le=_LARGE)]
NotNegative = Annotated[float, Meta(ge=0, le=_LARGE)]
HowMany = Annotated[int, Meta(ge=1, le=2**31 - 1)]
# Seconds; as long as the queues of a job are kept.
Wait = Annotated[float, Meta(ge=0.05, le=MAX_WAIT)]
NonEmpty = Annotated[str, Meta(min_length=1, max_length=1000)]
KeyBits = Annotated[int, Meta(ge=MIN_TEST_KEY_BITS, le=MAX_KEY_BITS, multiple_of=2)]


class JobState(enum.StrEnum):
    """A job's states; succeeded, failed and cancelled are final, and cancelling leads to one of them only."""

    SUBMITTED = "submitted"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def is_final(state: str) -> bool:
    """Whether a state that a client is told is a job's last; one that the coordinator does not have gets no other."""
    return state == UNKNOWN or JobState(state).final


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one party brings to a job.

    Attributes:
        party: The name of the party, as its own file has it.
        dataset: Which of the party's data sets it trains on, by its name in the party's own file.
        test: A data set of its own for held-out rows, with the same columns (the label's too, at who holds it) and ids
            of its own. Held-out rows are named at every party or at none.
    """

    party: Name
    dataset: Name
    test: Name | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How long a job waits, in seconds.

    Attributes:
        join: How long the coordinator waits for every party to accept the job, and so for the operators who have to
            approve it first, where a party's policy asks them.
        silence: How long a process waits for any sign of life of another one before the job fails. A party that
            computes still answers; one that is down does not.
        resend: How long a process waits for a message before it asks for it again; the time doubles with each asking.
    """

    join: Wait = 60.0
    silence: Wait = 600.0
    resend: Annotated[float, Meta(ge=0.05, le=3600)] = 15.0


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job as submitted; every participant validates it anew. Each algorithm has a class of its own.

    Attributes:
        name: What the job is called. Its id, under which reports and models are kept, is made of this and of random
            digits.
        algorithm: The algorithm, by one of the names that head the sections of this page.
        coordinator: The name of the coordinator, as its own file has it.
    """

    ALGORITHM: ClassVar[str]

    name: Annotated[str, Meta(min_length=1, max_length=80)]
    algorithm: str
    limits: Limits = Limits()
    coordinator: Name = COORDINATOR

    @classmethod
    def draft(cls, tables: Sequence[tuple[str, str]], label: str) -> dict[str, Any]:  # noqa: ARG003  # classes of jobs do
        """Draft the keys of a job file for somebody to begin with; {} for an algorithm that has no draft.

        Args:
            tables: parties and their data sets; where one party alone has the label, it is the first.
        """
        return {}

    @property
    def parts(self) -> tuple[Part, ...]:
        """What each party brings; of a vertical job the guest's first."""
        raise NotImplementedError

    @property
    def places(self) -> tuple[str, ...]:
        """Where the job file has each of `parts`."""
        raise NotImplementedError

    @property
    def parties(self) -> tuple[str, ...]:
        return tuple(part.party for part in self.parts)

    @property
    def participants(self) -> tuple[str, ...]:
        return (*self.parties, self.coordinator)

    @property
    def length(self) -> tuple[int, str]:
        """How far the job goes at most, and in what: "round" or "epoch"."""
        raise NotImplementedError

    @property
    def key_bits(self) -> int | None:
        """The length of the job's Paillier key, None where it has none."""
        return None

    @property
    def epsilon(self) -> float | None:
        """The most that the job may spend of the privacy of each row; None where it has no bound."""
        return None

    @property
    def insecure(self) -> bool:
        """The job asks for what protects nobody."""
        return False

    @property
    def led(self) -> bool:
        """The coordinator leads and can go on without some of the parties, who need nobody else."""
        return False

    @property
    def finish_within(self) -> float | None:
        """Seconds in which parties tell their figures at the end; None where all have to, however long it takes."""
        return None

    @property
    def same_columns(self) -> bool:
        """Whether all parties have the same columns, of rows of their own."""
        return False

    @property
    def needs_identities(self) -> bool:
        """Parties sign what they tell each other."""
        return False

    @property
    def model_facts(self) -> dict[str, Any]:
        """What a stored model says of itself beside what every one does; the loss and the label at least."""
        raise NotImplementedError

    def reported(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:  # noqa: ARG002  # classes of jobs do
        """Parts of a report: what the parties say of the outcome.

        Args:
            results: the figures of each party that took part to the end.
        """
        return {}

    def role(self, party: str) -> str:
        """What a participant is in the job, for metrics and messages."""
        return "coordinator" if party == self.coordinator else "party"

    def label_of(self, party: str) -> str | None:  # noqa: ARG002  # classes of jobs do
        """The column that a party is to predict, None where it has none."""
        return None

    def part_of(self, party: str) -> Part:
        """What a party brings; raises KeyError where it has no part."""
        return {part.party: part for part in self.parts}[party]

    def check(self, fields: dict[str, Any], where: str) -> None:  # noqa: ARG002  # classes of jobs do
        """Hold the job against what its types do not say.

        Args:
            fields: that were given, to tell them from defaults.
            where: the file, for errors.

        Raises:
            ConfigError: names the place, the key and the remedy.
        """
        if len(set(self.participants)) != len(self.participants):
            among = ", ".join(self.participants)
            raise ConfigError(f"{where}: a party can have one role only; named twice among {among}")
        tests = [part.test is not None for part in self.parts]
        if any(tests) and not all(tests):
            raise ConfigError(f"{where}: `test` names held-out rows at every party or at none")
        if self.key_bits is not None and self.key_bits < MIN_KEY_BITS and not self.insecure:
            raise ConfigError(
                f"{where}: params.key_bits: {self.key_bits} is below {MIN_KEY_BITS}, which protects nobody; "
                "only a job with params.insecure_for_tests = true may say so"
            )

    def to_map(self) -> dict[str, Any]:
        """The form in which it is sent."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    def canonical(self) -> bytes:
        """The job as the same bytes for everybody who reads it, for signatures."""
        return json.dumps(self.to_map(), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def check_known(key: str, value: str, known: tuple[str, ...], where: str) -> None:
    """Raise ConfigError with the nearest known value, and all of them, where this is none."""
    if value not in known:
        raise ConfigError(f"{where}: {key}: {unknown(value, known)}")


def new_id(name: str) -> str:
    """A job id that nobody else makes: the name's letters and 64 random bits."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "job"
    return f"{stem}-{secrets.token_hex(8)}"
