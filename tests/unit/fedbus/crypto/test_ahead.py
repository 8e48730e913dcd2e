"""One piece is computed while another is handled; nothing is taken before it is needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fedbus.crypto.ahead import ahead


def test_computes_the_next_while_the_caller_handles_one() -> None:
    begun = {number: threading.Event() for number in range(4)}

    def work(number: int) -> int:
        begun[number].set()
        return number * number

    for number, result in enumerate(ahead(work, range(4))):
        assert result == number * number
        # Not when this result is handled, but before: without any more from the caller.
        assert number == 3 or begun[number + 1].wait(10)


def test_items_are_taken_by_the_caller_at_most_one_ahead() -> None:
    taken: list[int] = []
    callers: set[int] = set()

    def items() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            callers.add(threading.get_ident())
            yield number

    for number, _ in enumerate(ahead(str, items())):
        assert len(taken) <= number + 2
    assert callers == {threading.get_ident()}


def test_errors_come_in_the_place_of_their_result() -> None:
    results = ahead(lambda number: 6 // number, [3, 2, 0, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_an_abandoned_stream_ends_its_thread() -> None:
    before = threading.active_count()
    results = ahead(str, range(100))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
