"""What a party's policy says of the rows that a vertical job aligns, and of the batches that it sums over."""

from __future__ import annotations

from collections.abc import Mapping

from fedbus.errors import JobRefused
from parties.consent import check_ratio
from parties.policy import Policy


def check_alignment(policy: Policy, rows: int, kind: str = "rows") -> None:
    """Hold the number of aligned rows against `min_aligned_rows`; raises JobRefused, which names both.

    Args:
        kind: what rows they are, for the message.
    """
    if rows < policy.min_aligned_rows:
        raise JobRefused(
            f"the parties have {rows} {kind} in common, and this party's policy asks for at least"
            f" {policy.min_aligned_rows} (`min_aligned_rows`); check that both sides write the same"
            " ids alike: the log of each says in what form its own are; or ask the operator to lower it"
        )


def check_columns(policy: Policy, rows: int, columns: Mapping[str, int]) -> None:
    """Hold aligned rows for each column of all parties against `min_rows_per_column`; raises JobRefused."""
    check_ratio(policy, rows, sum(columns.values()))


def check_batches(policy: Policy, smallest: int, columns: Mapping[str, int], *, centred: bool) -> None:
    """Hold the smallest batch against `min_batch_rows`, and against what one round tells each party.

    A party with p columns gets p sums over the rows of a batch, X^T d, and all get sum d^2. Over no more than
    p + 1 rows these are as many equations as unknowns, and the first round, where d = -y, gives the labels away;
    no setting allows that. Of a label around its mean the sum is known to be zero, which is one equation more.

    Args:
        smallest: rows of the smallest batch.
        columns: of every party, for each one's columns endanger what the others hold.
        centred: the label is trained around its mean.

    Raises:
        JobRefused: with the numbers, the setting and the remedy.
    """
    if smallest < policy.min_batch_rows:
        raise JobRefused(
            f"a batch has {smallest} rows, and this party's policy asks for at least {policy.min_batch_rows}"
            " (`min_batch_rows`); raise the job's `batch_size` or leave it out, or ask the operator to lower it"
        )
    party = max(columns, key=columns.__getitem__)
    least = columns[party] + (3 if centred else 2)
    if smallest < least:
        raise JobRefused(
            f"a batch has {smallest} rows, and {party} trains {columns[party]} columns (the intercept is one at the"
            f" guest): one round would tell it the others' values; that takes at least {least} rows:"
            " raise the job's `batch_size` or leave it out, have more rows in common, or offer fewer columns"
        )
