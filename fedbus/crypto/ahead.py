"""One piece of a stream is computed while another one is being sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Return what a function makes of each item, in order. It works on the next item while the caller handles a result.

    Items are taken in the caller's thread, as soon as they come: they may be messages that are received. At most two
    of them, and two results, are held at a time.

    Raises:
        Exception: what the function or the items raised, where the result would have come.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as worker:
        begun: Future[B] | None = None
        for item in items:
            following = worker.submit(function, item)
            if begun is not None:
                yield begun.result()
            begun = following
        if begun is not None:
            yield begun.result()
