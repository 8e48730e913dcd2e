"""Whether the columns of several parties are the same, as federated averaging needs them.

The coordinator holds them against each other when a job begins; `fedbus check` and `fedbus plan` do before it is
submitted, for the party files that they are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import zip_longest

from fedbus.errors import JobRefused
from fedbus.schema import listed


def check_same(columns: Mapping[str, Sequence[str]]) -> None:
    """Make sure that all parties have the same columns in the same order.

    Args:
        columns: of each party.

    Raises:
        JobRefused: names the first column that differs, what it is and at which parties.
    """
    for number, names in enumerate(zip_longest(*columns.values()), 1):
        owners: dict[str | None, list[str]] = {}
        for party, name in zip(columns, names, strict=True):
            owners.setdefault(name, []).append(party)
        if len(owners) > 1:
            places = [
                f"{'missing' if name is None else repr(name)} at {listed(parties)}" for name, parties in owners.items()
            ]
            raise JobRefused(
                f"the parties have to have the same columns, and column {number} is {', '.join(places)}; rename it, or "
                "choose the same ones in the same order by `columns`, `levels` and `indicators` in the party files"
            )


def check_as_is(as_is: Sequence[str], columns: Sequence[str]) -> None:
    """Make sure that the columns which a job leaves as they are exist; raises JobRefused with the nearest name.

    It travels to all who take part or watch: of the other columns it names none.
    """
    for name in as_is:
        if name not in columns:
            near = get_close_matches(name, columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "take it out, or name a feature of the parties' tables"
            raise JobRefused(f"data.as_is: there is no column {name!r}; {hint}")
