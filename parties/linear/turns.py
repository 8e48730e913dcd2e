"""A party's state between two rounds of solver `gram`, and which turns of the coordinator it follows.

Each round tells a party something of the others' columns, and so does another pass. The parties see to it themselves
that there are no more than the job allows, whatever the coordinator says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedbus.algorithms.linear.layout import Layout
from fedbus.algorithms.linear.messages import CHECK, DIRECTION, PASS, PROBE, STOP, Turn
from fedbus.algorithms.linear.spec import MOST_FEATURE_BITS, LinearParams
from fedbus.errors import ProtocolError

# What may come after what: no more than one probe in a pass.
_FOLLOWS = {
    DIRECTION: (DIRECTION, CHECK),
    CHECK: (DIRECTION, PROBE, PASS, STOP),
    PROBE: (PROBE, PASS, STOP),
    PASS: (DIRECTION, CHECK, PROBE, STOP),
}
# Each round of training, the check after it, and two probes of as many rounds; besides them a pass and its check.
_MOST_ROUNDS, _MORE_ROUNDS = 4, 2


@dataclass(frozen=True, slots=True)
class Descent:
    """A party's part of conjugate gradients between two rounds, vectors of shape (columns,).

    Attributes:
        right: b.
        residual: b - A w.
        direction: v.
        exponent: of the power of two in whose units the next product is taken.
        then: what comes next; see Turn.
        bits: fraction bits of the columns, of the next pass where that comes next.
        kept: of a probe, the direction along which the columns of all parties vary least, in units near its norm;
            empty where they do vary.
        columns: a digest of the columns that were multiplied, or will be in the pass that comes next.
        blocks: the encrypted cross blocks: of each other party, a tensor's bytes for each pack.
    """

    right: np.ndarray
    residual: np.ndarray
    direction: np.ndarray
    exponent: int
    then: str
    bits: int
    kept: np.ndarray
    columns: bytes
    blocks: dict[str, list[bytes]]

    def to_map(self) -> dict[str, Any]:
        """Return the state as a map, for a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}

    def turned(self, turn: Turn, preconditioned: np.ndarray) -> Descent:
        """Return the state after what the coordinator says of the next round."""
        direction = preconditioned + turn.factor * self.direction
        bits = turn.bits if turn.then == PASS else self.bits
        return replace(self, direction=direction, exponent=turn.exponent, then=turn.then, bits=bits)

    def check(self, turn: Turn, coordinator: str, layout: Layout, params: LinearParams) -> None:
        """Raise ProtocolError where the turn is none that may come next."""
        if turn.then not in _FOLLOWS[self.then]:
            raise ProtocolError(f"{coordinator} asks for {turn.then} after {self.then}, which never comes after it")
        if turn.then != PASS:
            return
        if params.feature_bits is not None or not layout.bits < turn.bits == MOST_FEATURE_BITS:
            raise ProtocolError(f"{coordinator} asks for another pass with {turn.bits} fraction bits")


def check_rounds(done: int, coordinator: str, params: LinearParams) -> None:
    """Raise ProtocolError where so many rounds, checks, passes and rounds of probes are all that a job may have."""
    if done >= _MOST_ROUNDS * params.max_epochs + _MORE_ROUNDS:
        raise ProtocolError(f"{coordinator} asks for more rounds than params.max_epochs allows")
