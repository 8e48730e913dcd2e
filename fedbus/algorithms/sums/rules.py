"""What both sides of a sum must agree on: how vectors are hidden, over how many parties, and what keys are made for.

A job that has vectors summed says so in its [params], by the settings that SumRules has; errors name them there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedbus.errors import ConfigError
from fedbus.job import MIN_KEY_BITS, check_known

AGGREGATIONS = ("masked", "paillier", "plain")
# Of a window of keys: sums that its two round trips of preparation serve.
WINDOW_SUMS = 64
# A sum over one party is that party's vector.
_LEAST_SUM = 2
# Nothing else has a key.
_OF_PAILLIER = ("key_bits", "insecure_for_tests")


@dataclass(frozen=True, slots=True, kw_only=True)
class SumRules:
    """How a job's vectors are summed.

    Attributes:
        aggregation: "masked", the coordinator sees sums only; "paillier", not even these unless a party opens them;
            "plain", it sees each vector.
        parties: of the job, in its order.
        threshold: parties without which nothing can be unmasked.
        min_clients: parties without whose vectors no sum is made.
        client_fraction: of the parties, drawn at random for each sum.
        deadline: seconds that a sum waits for all its parties; then it goes on as soon as min_clients have answered.
        key_bits: of the Paillier key; with "paillier" only.
    """

    aggregation: str
    parties: tuple[str, ...]
    threshold: int
    min_clients: int
    client_fraction: float = 1.0
    deadline: float = 60.0
    key_bits: int = MIN_KEY_BITS

    @classmethod
    def of(
        cls,
        aggregation: str,
        parties: tuple[str, ...],
        *,
        threshold: int | None = None,
        min_clients: int | None = None,
        **others: Any,
    ) -> SumRules:
        """The rules of a job that need not say everything.

        Args:
            aggregation: one of AGGREGATIONS.
            threshold: None is more than half of all parties.
            min_clients: None is the threshold, with "paillier" 2, with "plain" 1.
            others: attributes that have defaults.
        """
        threshold = threshold or len(parties) // 2 + 1
        least = {"masked": threshold, "paillier": _LEAST_SUM, "plain": 1}[aggregation]
        return cls(
            aggregation=aggregation,
            parties=parties,
            threshold=threshold,
            min_clients=min_clients or least,
            **others,
        )

    @property
    def hides(self) -> bool:
        """The coordinator sees no party's vector."""
        return self.aggregation != "plain"

    def in_order(self, names: Collection[str]) -> tuple[str, ...]:
        """These parties in the order of the job."""
        return tuple(party for party in self.parties if party in names)

    def check(self, where: str) -> None:
        """Refuse rules that contradict each other.

        Args:
            where: the job file, for errors.

        Raises:
            ConfigError: names the place, the key and the remedy.
        """
        parties = len(self.parties)
        for key, value in (("threshold", self.threshold), ("min_clients", self.min_clients)):
            if value > parties:
                raise ConfigError(f"{where}: params.{key}: {value} parties are asked for and the job has {parties}")
        if self.aggregation == "masked" and 2 * self.threshold <= parties:
            raise ConfigError(
                f"{where}: params.threshold: {self.threshold} of {parties} parties are no majority; two halves could "
                f"unmask different things of one party: at least {parties // 2 + 1} are needed"
            )
        if self.aggregation == "masked" and self.min_clients < self.threshold:
            raise ConfigError(
                f"{where}: params.min_clients: below {self.threshold} parties (params.threshold) nothing is unmasked"
            )
        if self.aggregation == "paillier" and self.min_clients < _LEAST_SUM:
            raise ConfigError(f"{where}: params.min_clients: a sum over one party is that party's update")


def check_aggregation(aggregation: str, where: str) -> None:
    """Raise ConfigError with the nearest known aggregation where this is none."""
    check_known("params.aggregation", aggregation, AGGREGATIONS, where)


def check_key_settings(aggregation: str, given: Mapping[str, Any] | Sequence[str], where: str) -> None:
    """Refuse settings of a key where there is none.

    Args:
        given: names of the settings in the job's [params].

    Raises:
        ConfigError: names the first of them.
    """
    foreign = [key for key in given if key in _OF_PAILLIER]
    if aggregation != "paillier" and foreign:
        raise ConfigError(
            f"{where}: params.{foreign[0]}: belongs to aggregation 'paillier', this is {aggregation!r}; leave it out"
        )


def mask_label(job: str, window: int, slot: int) -> str:
    """What the masks of one sum are derived for."""
    return f"{job}/{window}/{slot}"


def channel_label(job: str, window: int, sender: str, recipient: str) -> bytes:
    """What a party seals for another in a window; nothing else may be sealed under the same words."""
    return f"{job}/{window}/{sender}/{recipient}".encode()
