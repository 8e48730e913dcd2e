"""What a party's policy refuses of aligned rows and of batches, by the setting and the remedy."""

from __future__ import annotations

import pytest

from fedbus.errors import JobRefused
from parties.policy import Policy
from parties.vertical.consent import check_alignment, check_batches


def test_too_few_aligned_rows() -> None:
    check_alignment(Policy(), 10)
    with pytest.raises(JobRefused, match=r"9 rows in common.* 10 \(`min_aligned_rows`\)"):
        check_alignment(Policy(), 9)
    check_alignment(Policy(min_aligned_rows=9), 9)
    with pytest.raises(JobRefused, match=r"9 held-out rows in common.* 10 \(`min_aligned_rows`\)"):
        check_alignment(Policy(), 9, "held-out rows")


def test_too_few_rows_in_a_batch() -> None:
    with pytest.raises(JobRefused, match=r"9 rows.* 10 \(`min_batch_rows`\).*`batch_size`"):
        check_batches(Policy(), 9, {"shop": 1, "bank": 1}, centred=False)
    check_batches(Policy(), 10, {"shop": 1, "bank": 1}, centred=False)
    check_batches(Policy(min_batch_rows=4), 4, {"shop": 1, "bank": 1}, centred=False)


def test_a_batch_has_more_rows_than_a_round_has_equations_whatever_the_policy() -> None:
    # X^T d has a row for each of 11 columns, sum d^2 is one more: over 12 rows they can be solved.
    policy, columns = Policy(min_batch_rows=1), {"shop": 3, "bank": 11, "credit": 2}
    for rows in (1, 11, 12):
        with pytest.raises(JobRefused, match=rf"{rows} rows, and bank trains 11 columns.*at least 13.*`batch_size`"):
            check_batches(policy, rows, columns, centred=False)
    check_batches(policy, 13, columns, centred=False)
    # With `gram` the label has a mean that is known: one equation more.
    check_batches(policy, 14, columns, centred=True)
    with pytest.raises(JobRefused, match="at least 14 rows"):
        check_batches(policy, 13, columns, centred=True)
