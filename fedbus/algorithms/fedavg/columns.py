"""Federated averaging needs the same columns at all parties, which is checked here.

The coordinator holds them against each other when a job begins; `fedbus check` and `fedbus plan` do before it is
submitted, for the party files that they are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import zip_longest

from fedbus.errors import JobRefused
from fedbus.names import listed


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one party, as its network sees them, and what their names do not say.

    Attributes:
        names: of the columns.
        date_units: of each column, and last of all of the label: what a date is counted in; "" for what is no date.
        references: of each column that a level of text became: the level that has no column; "" for others.
    """

    names: tuple[str, ...]
    date_units: tuple[str, ...]
    references: tuple[str, ...]


def check_same(columns: Mapping[str, Columns]) -> None:
    """Make sure that all parties have the same columns in the same order, and mean the same by them.

    Args:
        columns: of each party.

    Raises:
        JobRefused: names the first column that differs, what it is and at which parties.
    """
    for party, each in columns.items():
        if (len(each.date_units), len(each.references)) != (len(each.names) + 1, len(each.names)):
            raise JobRefused(f"{party} describes other columns than it names")
    for number, names in enumerate(zip_longest(*(each.names for each in columns.values())), 1):
        found = _apart(columns, ["missing" if name is None else repr(name) for name in names])
        if found:
            raise JobRefused(
                f"the parties have to have the same columns, and column {number} is {found}; rename it, or "
                "choose the same ones in the same order by `columns`, `levels` and `indicators` in the party files"
            )
    names = next(iter(columns.values())).names
    for number, name in enumerate((*names, None)):
        what = "the label" if name is None else f"column {name!r}"
        units = [each.date_units[number] for each in columns.values()]
        if found := _apart(columns, [f"a date in {unit}" if unit else "a number" for unit in units]):
            raise JobRefused(
                f"the parties have to count dates alike, and {what} is {found}; write the same `dates` and `date_unit`"
                " in the party files"
            )
        if name is None:
            return
        references = [each.references[number] for each in columns.values()]
        told = [f"against {level!r} as the first level" if level else "a number" for level in references]
        if found := _apart(columns, told):
            raise JobRefused(
                f"the parties have to have the same levels, and {what} is {found}; list the same `levels` in the same"
                " order in the party files"
            )


def _apart(parties: Iterable[str], told: Sequence[str]) -> str:
    """What each party has of something, where they differ; empty where they do not."""
    owners: dict[str, list[str]] = {}
    for party, each in zip(parties, told, strict=True):
        owners.setdefault(each, []).append(party)
    return ", ".join(f"{each} at {listed(owned)}" for each, owned in owners.items()) if len(owners) > 1 else ""


def check_as_is(as_is: Sequence[str], columns: Sequence[str]) -> None:
    """Make sure that the columns which a job leaves as they are exist; raises JobRefused with the nearest name.

    It travels to all who take part or watch: of the other columns it names none.
    """
    for name in as_is:
        if name not in columns:
            near = get_close_matches(name, columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "take it out, or name a feature of the parties' tables"
            raise JobRefused(f"data.as_is: there is no column {name!r}; {hint}")
