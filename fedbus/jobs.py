"""What a job is: its specification, validated; its states; how a job file is read."""

from __future__ import annotations

import enum
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fedbus.codec import NAME
from fedbus.errors import ConfigError
from fedbus.schema import convert, nearest, read_toml

COORDINATOR = "coordinator"
# What a coordinator says of a job that it does not have, in place of a state.
UNKNOWN = "unknown"
MIN_KEY_BITS = 2048
_MIN_TEST_KEY_BITS = 512
_COLUMN_BITS = 24
# The report has the loss of each round, and has to fit one message.
MAX_ROUNDS = 100_000

Name = Annotated[str, Meta(pattern=rf"^{NAME.pattern}$")]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]


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


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one party brings.

    Attributes:
        dataset: a name in the party's own file.
        test: a data set of its own for held-out rows, with the same columns.
    """

    party: Name
    dataset: Name
    test: Name | None = None


class Guest(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The party with the label, a column of its data set."""

    label: str


class Host(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A party with features only."""


class LinearParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Parameters of `vertical-linear`.

    Attributes:
        solver: "gram", conjugate gradients on encrypted cross products; or "sgd", gradient descent on encrypted
            residuals, to which learning_rate, optimizer, momentum, batch_size and patience belong.
        learning_rate: of the optimiser at each party, on standardised columns.
        optimizer: "momentum" (heavy ball) or "adam".
        l2: ridge; the objective is sum(d^2)/(2 rows) + l2/2 |w|^2 without the intercept.
        batch_size: rows a round; None takes all of them.
        tolerance: converged when an epoch's loss changed by no more than this part of itself, `patience` times running;
            with solver "gram" when the norm of the preconditioned residual is this part of the first one.
        max_epochs: times the batches of an epoch it may come to MAX_ROUNDS; checked once the rows are known.
        feature_bits: fraction bits of the fixed point of standardised columns; None is 24 with solver "sgd", and with
            "gram" the fewer the more rows there are.
        insecure_for_tests: allows a key below 2048 bits. Never for real data.
    """

    solver: str = "gram"
    key_bits: Annotated[int, Meta(ge=_MIN_TEST_KEY_BITS, le=8192, multiple_of=2)] = MIN_KEY_BITS
    learning_rate: Positive = 0.1
    optimizer: str = "momentum"
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    l2: NotNegative = 0.0
    batch_size: Annotated[int, Meta(ge=1)] | None = None
    tolerance: NotNegative = 1e-6
    patience: Annotated[int, Meta(ge=1)] = 3
    max_epochs: Annotated[int, Meta(ge=1, le=MAX_ROUNDS)] = 500
    feature_bits: Annotated[int, Meta(ge=8, le=40)] | None = None
    insecure_for_tests: bool = False

    @property
    def column_bits(self) -> int:
        """Fraction bits of columns with solver "sgd"."""
        return _COLUMN_BITS if self.feature_bits is None else self.feature_bits


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How long a job waits, in seconds.

    Attributes:
        join: for every party to accept.
        silence: for any sign of life of a peer. A party that computes still answers; one that is down does not.
        resend: before a missing message is asked for again; doubles with each asking.
    """

    join: Positive = 60.0
    silence: Positive = 600.0
    resend: Positive = 15.0


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job as submitted; every participant validates it anew."""

    name: Annotated[str, Meta(min_length=1, max_length=80)]
    algorithm: str
    guest: Guest
    hosts: Annotated[tuple[Host, ...], Meta(min_length=1, max_length=64)]
    params: LinearParams = LinearParams()
    limits: Limits = Limits()
    coordinator: Name = COORDINATOR

    @property
    def parties(self) -> tuple[str, ...]:
        """Guest first."""
        return tuple(part.party for part in self.parts)

    @property
    def participants(self) -> tuple[str, ...]:
        return (*self.parties, self.coordinator)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Guest first."""
        return (self.guest, *self.hosts)

    def trained(self, columns: Mapping[str, int]) -> dict[str, int]:
        """How many weights each of these parties trains: one a feature, and the guest's intercept."""
        return {party: count + (party == self.guest.party) for party, count in columns.items()}

    def part_of(self, party: str) -> Part:
        """What a party brings; raises KeyError where it has no part."""
        return {part.party: part for part in self.parts}[party]

    def to_map(self) -> dict[str, Any]:
        """The form in which it is sent."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


ALGORITHMS = ("vertical-linear",)
SOLVERS = ("gram", "sgd")
OPTIMIZERS = ("momentum", "adam")
# What means nothing to the other solver.
_OF_SGD = ("learning_rate", "optimizer", "momentum", "batch_size", "patience")


def parse(fields: Any, where: str = "job") -> JobSpec:
    """A job specification from a map.

    Raises:
        ConfigError: names the place, the key, and the nearest known name.
    """
    if isinstance(fields, dict) and isinstance(fields.get("algorithm"), str):
        _known("algorithm", fields["algorithm"], ALGORITHMS, where)
        # A flag of the whole job reads well at its top too.
        if "insecure_for_tests" in fields and isinstance(fields.get("params", {}), dict):
            fields = {**fields, "params": {**fields.get("params", {})}}
            fields["params"]["insecure_for_tests"] = fields.pop("insecure_for_tests")
    spec = convert(fields, JobSpec, where)
    params = spec.params
    _known("params.solver", params.solver, SOLVERS, where)
    _known("params.optimizer", params.optimizer, OPTIMIZERS, where)
    foreign = [key for key in fields.get("params", {}) if key in _OF_SGD]
    if params.solver != "sgd" and foreign:
        raise ConfigError(
            f"{where}: params.{foreign[0]}: belongs to solver 'sgd', this is {params.solver!r}; "
            'leave it out, or set params.solver = "sgd"'
        )
    if params.key_bits < MIN_KEY_BITS and not params.insecure_for_tests:
        raise ConfigError(
            f"{where}: params.key_bits: {params.key_bits} is below {MIN_KEY_BITS}, which protects nobody; "
            "only a job with params.insecure_for_tests = true may say so"
        )
    if len(set(spec.participants)) != len(spec.participants):
        raise ConfigError(f"{where}: a party can have one role only; named twice among {', '.join(spec.participants)}")
    tests = [part.test is not None for part in spec.parts]
    if any(tests) and not all(tests):
        raise ConfigError(f"{where}: `test` names held-out rows at every party or at none")
    return spec


def load(path: Path) -> JobSpec:
    """The specification in a job file (TOML).

    Raises:
        ConfigError: see `parse`.
    """
    fields = read_toml(path)
    if "datasets" in fields:
        raise ConfigError(
            f"{path}: this is a party file; a job file has the keys name, algorithm, [guest] and [[hosts]]"
        )
    return parse(fields, str(path))


def new_id(name: str) -> str:
    """A job id that nobody else makes: the name's letters and 64 random bits."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "job"
    return f"{stem}-{secrets.token_hex(8)}"


def _known(key: str, value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        raise ConfigError(f"{where}: {key}: unknown {value!r}; {nearest(value, known)}")
