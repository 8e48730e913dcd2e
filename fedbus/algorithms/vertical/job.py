"""What every vertical job says: one party has the label, and all have columns of the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from fedbus.job import JobSpec, NonEmpty, Part


class Guest(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The party that holds the label, which is a column of its data set.

    Attributes:
        label: The column to predict. It may have any unit; its values stay below 4e12 in magnitude.
    """

    label: NonEmpty


class Host(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A party that holds features only."""


class VerticalJob(JobSpec, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job of one guest and its hosts. What vertical algorithms share asks it, and no class of one algorithm."""

    guest: Guest
    hosts: Annotated[tuple[Host, ...], Meta(min_length=1, max_length=64)]

    @classmethod
    def draft(cls, tables: Sequence[tuple[str, str]], label: str) -> dict[str, Any]:
        """Draft a job whose guest is the first table's party; see `JobSpec`."""
        guest, *hosts = [{"party": party, "dataset": dataset} for party, dataset in tables]
        return {"guest": {**guest, "label": label}, "hosts": hosts}

    @property
    def guest_party(self) -> str:
        """The name of the party with the label."""
        return self.guest.party

    @property
    def host_parties(self) -> tuple[str, ...]:
        """The names of the parties without it."""
        return tuple(host.party for host in self.hosts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What each party brings, the guest's first."""
        return (self.guest, *self.hosts)

    @property
    def places(self) -> tuple[str, ...]:
        return ("guest", *(f"hosts[{number}]" for number in range(len(self.hosts))))

    @property
    def key_bits(self) -> int:
        raise NotImplementedError

    @property
    def batch_size(self) -> int | None:
        """Rows of a round of training; None takes all of them."""
        return None

    @property
    def centred(self) -> bool:
        """The label is trained around its mean, so that all parties know that its mean is zero."""
        return False

    @property
    def column_bits(self) -> int:
        """Fraction bits of columns that encrypted residuals are multiplied by."""
        raise NotImplementedError

    @property
    def against_divergence(self) -> str:
        """What to change in the job where its scores grow without bound."""
        raise NotImplementedError

    def role(self, party: str) -> str:
        """guest, host or coordinator."""
        if party == self.coordinator:
            return "coordinator"
        return "guest" if party == self.guest.party else "host"

    def label_of(self, party: str) -> str | None:
        """The guest's label."""
        return self.guest.label if party == self.guest.party else None
