"""The parts of a vertical job: one party has the label, and all have columns of the same rows."""

from __future__ import annotations

from fedbus.job import NonEmpty, Part


class Guest(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The party that holds the label, which is a column of its data set.

    Attributes:
        label: The column to predict. It may have any unit; its values stay below 4e12 in magnitude.
    """

    label: NonEmpty


class Host(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A party that holds features only."""
