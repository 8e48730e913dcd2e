"""The parts of a vertical job: one party has the label, and all have columns of the same rows."""

from __future__ import annotations

from fedbus.job import NonEmpty, Part


class Guest(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The party with the label, a column of its data set."""

    label: NonEmpty


class Host(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A party with features only."""
