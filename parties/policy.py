"""What a party consents to: its operator's rules, held against every job before any data is read.

parties/consent.py has the rules for a party's own part of a job, parties/past.py those that remember earlier jobs, and
each algorithm's folder those of its own.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from fedbus.algorithms import registry
from fedbus.algorithms.sums.rules import AGGREGATIONS
from fedbus.errors import JobRefused
from fedbus.job import MAX_KEY_BITS, MIN_KEY_BITS, JobSpec, Positive, check_known
from fedbus.names import Name
from fedbus.schema import convert
from fedbus.settings import PartySettings

_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
_Patterns = tuple[Annotated[str, msgspec.Meta(min_length=1)], ...]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the party consents to. Its process holds every job against this before it reads any data.

    Rules for rows are there because a figure over a few rows tells about each of them. What a rule without a default
    is about is not held against jobs where it is left out. The page [consent](../howto/consent.md) says more of the
    rules that remember earlier jobs.

    Attributes:
        submitters: The clients whose jobs the party takes part in. A simulation, whose client is made up, passes over
            this rule.
        datasets: The data sets that jobs may name; all of the file's where it is left out.
        columns: Patterns of columns that may be features of a job, as `["age", "income_*"]`; `*` stands for any text
            and `?` for one character. They are held against the names in the table, before text is made into numbers.
        labels: Patterns of columns that a job may name as its label.
        algorithms: The algorithms that the party takes part in.
        aggregations: Of horizontal jobs: the ways of summing that the party takes part in. With "plain", which has to
            be listed, the coordinator sees this party's own updates.
        models: Of horizontal jobs: "module:callable" of networks that a job may name as `model.factory`. They run in
            this party's process.
        min_parties: Of horizontal jobs: the party leaves a job, or a sum, of fewer parties. Where there are two, each
            can subtract itself from the sum.
        min_rows: Of horizontal jobs: the party leaves a job for which it has fewer rows of its own to train on.
            Held-out rows are not counted.
        min_aligned_rows: Of vertical jobs: the party leaves a job in which the parties have fewer rows in common; it
            counts held-out rows apart, by the same rule.
        min_batch_rows: Of vertical jobs: the party leaves a job with fewer rows in a batch. A gradient is a sum over
            them.
        min_rows_per_column: The party leaves a job with fewer training rows for each column that is trained, of all
            parties in a vertical job: a model with nearly as many columns as rows repeats its rows.
        min_key_bits: The party leaves a job with a shorter Paillier key.
        max_rounds: The party leaves a job that may take more rounds, or epochs.
        max_jobs_per_day: So many jobs begin here within 24 hours, and no more.
        epsilon: For data sets by their names: the budget of epsilon over all jobs that train on the data set, as
            `{ patients = 8.0 }`. Jobs without section [privacy] do not train on it.
        max_similar_jobs: So many jobs may have trained on the same or nearly the same rows of a data set; one more is
            left. What two such jobs differ by tells of the few rows that only one of them had.
        similar_rows: The part of the rows of two jobs together that both have from which on they are nearly the same.
        ask: Whether each job waits until this party's operator approves it by `fedbus party approve`. A simulation
            passes over this rule.
        insecure_for_tests: Whether a job that says `insecure_for_tests` may use short keys here, which protect nobody.
            A simulation allows it unless the file says false.
    """

    submitters: tuple[Name, ...] | None = None
    datasets: tuple[str, ...] | None = None
    columns: _Patterns | None = None
    labels: _Patterns | None = None
    algorithms: tuple[str, ...] = msgspec.field(default_factory=lambda: tuple(registry.named()))
    aggregations: tuple[str, ...] = ("masked", "paillier")
    models: tuple[str, ...] = ()
    min_parties: Annotated[int, msgspec.Meta(ge=2)] = 2
    min_rows: Annotated[int, msgspec.Meta(ge=1)] = 10
    min_aligned_rows: Annotated[int, msgspec.Meta(ge=1)] = 10
    min_batch_rows: Annotated[int, msgspec.Meta(ge=1)] = 10
    min_rows_per_column: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.0
    min_key_bits: Annotated[int, msgspec.Meta(ge=MIN_KEY_BITS, le=MAX_KEY_BITS)] = MIN_KEY_BITS
    max_rounds: _AtLeastOne | None = None
    max_jobs_per_day: _AtLeastOne | None = None
    epsilon: dict[str, Positive] = {}
    max_similar_jobs: _AtLeastOne | None = None
    similar_rows: Annotated[float, msgspec.Meta(ge=0.5, le=1.0)] = 0.9
    ask: bool = False
    insecure_for_tests: bool = False

    @classmethod
    def of(cls, settings: PartySettings) -> Policy:
        """The policy in a party's file.

        Raises:
            ConfigError: an unknown key, a wrong value, or a data set that the file does not have.
        """
        policy = convert(settings.policy, cls, settings.file, "policy")
        # One that is misspelt would allow nothing, and nobody would know.
        for key, known in (("algorithms", tuple(registry.named())), ("aggregations", AGGREGATIONS)):
            for number, value in enumerate(getattr(policy, key)):
                check_known(f"policy.{key}[{number}]", value, known, settings.file)
        own = tuple(settings.datasets)
        for number, name in enumerate(policy.datasets or ()):
            check_known(f"policy.datasets[{number}]", name, own, settings.file)
        for name in policy.epsilon:
            check_known("policy.epsilon", name, own, settings.file)
        return policy

    def check_job(self, spec: JobSpec) -> None:
        """Hold a job against the policy.

        Raises:
            JobRefused: names the setting and the remedy.
        """
        algorithm, key_bits = spec.algorithm, spec.key_bits
        if algorithm not in self.algorithms:
            allowed = ", ".join(f"'{name}'" for name in self.algorithms) or "none"
            raise JobRefused(
                f"this party does not take part in '{algorithm}'; its policy's `algorithms` allows {allowed}:"
                " ask its operator to add it, or choose another"
            )
        if key_bits is not None and key_bits < MIN_KEY_BITS and not spec.insecure:
            raise JobRefused(
                f"`key_bits` is {key_bits}, and below {MIN_KEY_BITS} a key protects nobody; raise `key_bits`"
                f" to {MIN_KEY_BITS}"
            )
        if key_bits is not None and key_bits < self.min_key_bits and not spec.insecure:
            raise JobRefused(
                f"`key_bits` is {key_bits}, and this party's policy asks for {self.min_key_bits} (`min_key_bits`);"
                " raise the job's `key_bits`"
            )
        length, unit = spec.length
        if self.max_rounds is not None and length > self.max_rounds:
            raise JobRefused(
                f"the job may take {length} {unit}s, and this party's policy allows {self.max_rounds} (`max_rounds`);"
                f" lower the job's number of {unit}s, or ask its operator to raise it"
            )
        if spec.insecure and not self.insecure_for_tests:
            raise JobRefused(
                "the job says `insecure_for_tests`, and this party's policy does not allow that;"
                f" remove it from the job and use `key_bits` of {MIN_KEY_BITS} or more, or, where no data is real,"
                " set `insecure_for_tests = true` in section [policy] of the party file (`fedbus simulate` allows it"
                " wherever the file does not say false)"
            )
