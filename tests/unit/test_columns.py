"""Columns of several parties held against each other: the first that differs is named, and where."""

from __future__ import annotations

import pytest

from fedbus.algorithms.fedavg.columns import check_as_is, check_same
from fedbus.errors import JobRefused


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"bob": "abc", "alice": "abd", "carol": "abc"}, "column 3 is 'c' at bob and carol, 'd' at alice;"),
        ({"bob": "abd", "alice": "abc", "carol": "abc"}, "column 3 is 'd' at bob, 'c' at alice and carol;"),
        # The same names in another order are other columns.
        ({"bob": "abc", "alice": "acb"}, "column 2 is 'b' at bob, 'c' at alice;"),
        ({"bob": "ab", "alice": "abc"}, "column 3 is missing at bob, 'c' at alice;"),
        ({"bob": "a", "alice": "b", "carol": "c"}, "column 1 is 'a' at bob, 'b' at alice, 'c' at carol;"),
    ],
)
def test_the_first_column_that_differs_is_named(columns: dict[str, str], words: str) -> None:
    with pytest.raises(JobRefused) as caught:
        check_same({party: tuple(names) for party, names in columns.items()})
    assert words in str(caught.value)


def test_the_same_columns() -> None:
    check_same({"bob": ("a", "b"), "alice": ("a", "b")})
    check_same({"bob": ("a", "b")})


def test_a_column_that_is_left_as_it_is_has_to_exist() -> None:
    check_as_is(("smoker",), ("age", "smoker"))
    with pytest.raises(JobRefused, match=r"data\.as_is: there is no column 'smokr'; did you mean 'smoker'\?") as caught:
        check_as_is(("age", "smokr"), ("age", "hiv", "smoker"))
    assert "hiv" not in str(caught.value)
    with pytest.raises(JobRefused, match="no column 'zzz'; take it out") as caught:
        check_as_is(("zzz",), ("age", "hiv"))
    assert "hiv" not in str(caught.value)
