"""Columns of several parties held against each other: the first that differs is named, and where."""

from __future__ import annotations

import pytest

from fedbus.algorithms.fedavg.columns import Columns, check_as_is, check_same
from fedbus.errors import JobRefused


def named(names: str, units: dict[str, str] | None = None, references: dict[str, str] | None = None) -> Columns:
    """Columns of one letter each; the label's unit is that of "y"."""
    units, references = units or {}, references or {}
    return Columns(
        tuple(names), tuple(units.get(n, "") for n in names + "y"), tuple(references.get(n, "") for n in names)
    )


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
        check_same({party: named(names) for party, names in columns.items()})
    assert words in str(caught.value)


def test_the_same_columns() -> None:
    check_same({"bob": named("ab", {"a": "hours"}, {"b": "w"}), "alice": named("ab", {"a": "hours"}, {"b": "w"})})
    check_same({"bob": named("ab")})


def refused(columns: dict[str, Columns]) -> str:
    with pytest.raises(JobRefused) as caught:
        check_same(columns)
    return str(caught.value)


def test_columns_of_one_name_that_are_not_the_same() -> None:
    days, hours, plain = (named("ab", {"b": unit}) for unit in ("days", "hours", ""))
    told = refused({"bob": days, "alice": hours, "carol": days})
    assert "column 'b' is a date in days at bob and carol, a date in hours at alice; write" in told
    told = refused({"bob": plain, "alice": hours})
    assert "column 'b' is a number at bob, a date in hours at alice; write" in told
    told = refused({"bob": named("ab", {"y": "days"}), "alice": named("ab", {"y": "hours"})})
    assert "the label is a date in days at bob, a date in hours at alice; write" in told
    told = refused({"bob": named("ab", None, {"a": "w"}), "alice": named("ab", None, {"a": "z"})})
    assert "column 'a' is against 'w' as the first level at bob, against 'z' as the first level at alice; list" in told


def test_a_party_whose_description_is_of_other_columns() -> None:
    short = Columns(("a", "b"), ("", ""), ("", ""))
    assert refused({"bob": named("ab"), "alice": short}) == "alice describes other columns than it names"
    short = Columns(("a", "b"), ("", "", ""), ("",))
    assert refused({"bob": short, "alice": short}) == "bob describes other columns than it names"


def test_a_column_that_is_left_as_it_is_has_to_exist() -> None:
    check_as_is(("smoker",), ("age", "smoker"))
    with pytest.raises(JobRefused, match=r"data\.as_is: there is no column 'smokr'; did you mean 'smoker'\?") as caught:
        check_as_is(("age", "smokr"), ("age", "hiv", "smoker"))
    assert "hiv" not in str(caught.value)
    with pytest.raises(JobRefused, match="no column 'zzz'; take it out") as caught:
        check_as_is(("zzz",), ("age", "hiv"))
    assert "hiv" not in str(caught.value)
