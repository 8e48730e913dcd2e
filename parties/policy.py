"""What a party consents to: its operator's rules, held against every job before any data is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.spec import AGGREGATIONS, AverageJob
from fedbus.errors import JobRefused
from fedbus.job import MIN_KEY_BITS, JobSpec, check_known
from fedbus.schema import convert
from fedbus.settings import PartySettings


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the party consents to. Its process holds every job against this before it reads any data.

    Rules for rows are there because a figure over a few rows tells about each of them.

    Attributes:
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
        insecure_for_tests: Whether a job that says `insecure_for_tests` may use short keys here, which protect nobody.
            A simulation allows it unless the file says false.
    """

    algorithms: tuple[str, ...] = msgspec.field(default_factory=lambda: tuple(registry.named()))
    aggregations: tuple[str, ...] = ("masked", "paillier")
    models: tuple[str, ...] = ()
    min_parties: Annotated[int, msgspec.Meta(ge=2)] = 2
    min_rows: Annotated[int, msgspec.Meta(ge=1)] = 10
    min_aligned_rows: Annotated[int, msgspec.Meta(ge=1)] = 10
    min_batch_rows: Annotated[int, msgspec.Meta(ge=1)] = 10
    insecure_for_tests: bool = False

    @classmethod
    def of(cls, settings: PartySettings) -> Policy:
        """The policy in a party's file.

        Raises:
            ConfigError: an unknown key or a wrong value.
        """
        policy = convert(settings.policy, cls, settings.file, "policy")
        # One that is misspelt would allow nothing, and nobody would know.
        for key, known in (("algorithms", tuple(registry.named())), ("aggregations", AGGREGATIONS)):
            for number, value in enumerate(getattr(policy, key)):
                check_known(f"policy.{key}[{number}]", value, known, settings.file)
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
        if spec.insecure and not self.insecure_for_tests:
            raise JobRefused(
                "the job says `insecure_for_tests`, and this party's policy does not allow that;"
                f" remove it from the job and use `key_bits` of {MIN_KEY_BITS} or more, or, where no data is real,"
                " set `insecure_for_tests = true` in section [policy] of the party file (`fedbus simulate` allows it"
                " wherever the file does not say false)"
            )

    def check_average(self, spec: AverageJob) -> None:
        """Hold a job of federated averaging against the policy; raises JobRefused as `check_job`."""
        aggregation, factory, parties = spec.params.aggregation, spec.model.factory, len(spec.parties)
        if aggregation not in self.aggregations:
            allowed = ", ".join(f"'{name}'" for name in self.aggregations) or "none"
            raise JobRefused(
                f"this party does not take part with aggregation '{aggregation}'; its policy's `aggregations` allows"
                f" {allowed}: ask its operator to add it, or choose another"
            )
        if factory is not None and factory not in self.models:
            raise JobRefused(
                f"the job's network is made by {factory}, which this party's policy does not list; ask its operator to"
                " install it and add it to `models`, or describe the network by `layers`"
            )
        if parties < self.min_parties:
            raise JobRefused(
                f"the job has {parties} parties, and this party's policy asks for {self.min_parties} (`min_parties`)"
            )
        if aggregation != "plain" and spec.min_clients < self.min_parties:
            raise JobRefused(
                f"the job's sums may be over {spec.min_clients} parties (params.min_clients), and this party's policy"
                f" asks for {self.min_parties} (`min_parties`); raise params.min_clients"
            )

    def check_rows(self, rows: int) -> None:
        """Hold the number of this party's rows for training against `min_rows`; raises JobRefused, which names both."""
        if rows < self.min_rows:
            raise JobRefused(
                f"this party has {rows} {'row' if rows == 1 else 'rows'} to train on, and its policy asks for at least"
                f" {self.min_rows} (`min_rows`); bring more rows, or ask its operator to lower it"
            )

    def check_alignment(self, rows: int, kind: str = "rows") -> None:
        """Hold the number of aligned rows against `min_aligned_rows`; raises JobRefused, which names both.

        Args:
            kind: what rows they are, for the message.
        """
        if rows < self.min_aligned_rows:
            raise JobRefused(
                f"the parties have {rows} {kind} in common, and this party's policy asks for at least"
                f" {self.min_aligned_rows} (`min_aligned_rows`); check that both sides write the same"
                " ids alike: the log of each says in what form its own are; or ask the operator to lower it"
            )

    def check_batches(self, smallest: int, columns: Mapping[str, int], solver: str) -> None:
        """Hold the smallest batch against `min_batch_rows`, and against what one round tells each party.

        A party with p columns gets p sums over the rows of a batch, X^T d, and all get sum d^2. Over no more than
        p + 1 rows these are as many equations as unknowns, and the first round, where d = -y, gives the labels away;
        no setting allows that. With solver `gram` the label's mean is known to be zero, which is one equation more.

        Args:
            smallest: rows of the smallest batch.
            columns: of every party, for each one's columns endanger what the others hold.

        Raises:
            JobRefused: with the numbers, the setting and the remedy.
        """
        if smallest < self.min_batch_rows:
            raise JobRefused(
                f"a batch has {smallest} rows, and this party's policy asks for at least {self.min_batch_rows}"
                " (`min_batch_rows`); raise the job's `batch_size` or leave it out, or ask the operator to lower it"
            )
        party = max(columns, key=columns.__getitem__)
        least = columns[party] + (3 if solver == "gram" else 2)
        if smallest < least:
            raise JobRefused(
                f"a batch has {smallest} rows, and {party} trains {columns[party]} columns (the intercept is one at the"
                f" guest): one round would tell it the others' values; that takes at least {least} rows:"
                " raise the job's `batch_size` or leave it out, have more rows in common, or offer fewer columns"
            )
