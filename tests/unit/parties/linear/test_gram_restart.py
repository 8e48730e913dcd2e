"""Solver `gram` after a restart: what was encrypted is of the basis that the party had then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedbus.errors import JobFailed
from parties.linear.descent import PartyWork
from parties.linear.turns import Descent
from parties.vertical.share import Share


def work(encoded: np.ndarray) -> Any:
    """A party's work as far as a restart that finds training done needs it."""
    made: Any = object.__new__(PartyWork)
    made.encoded, made.session = encoded, SimpleNamespace(party="bank")
    return made


@pytest.mark.parametrize("then", ["direction", "pass", "stop"])
def test_another_basis_than_before_the_restart_ends_the_job(then: str) -> None:
    encoded, zeros = np.arange(12, dtype=np.int64).reshape(4, 3), np.zeros(3)
    began = work(encoded)
    descent = Descent(zeros, zeros, zeros, 0, then, 29, zeros[:0], columns=began._digest(), blocks={})
    share = Share(b"key", 40, {"shop": 3}, b"", b"", zeros, None, zeros, descent.to_map(), trained=5, stopped=True)
    began.share = share
    assert began.train() == share
    other = work(encoded[:, ::-1].copy())
    other.share = share
    with pytest.raises(JobFailed, match="bank comes to another basis of its columns than before its restart"):
        other.train()
