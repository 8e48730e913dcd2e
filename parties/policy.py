"""What a party consents to: its operator's rules, held against every job before any data is read."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fedbus.algorithms import registry
from fedbus.algorithms.sums.rules import AGGREGATIONS
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
